// Package e2e drives real daemons with real mounts: a leader and followers as child
// processes (package cluster), workloads as further children, and after each of
// them a comparison of all mounts by everything that DESIGN.md calls equal.
//
// The programs are taken from $WDTEST_BIN, or built once at the start. Without
// /dev/fuse the tests are skipped, unless WOLFDISK_REQUIRE_FUSE=1 makes that a
// failure. Those that need root say so and are skipped without it. With -short the
// inputs are smaller and the loops fewer; WDTEST_SOAK=DURATION adds TestSoak.
//
// The test process itself never opens a file of a mount. What touches one is a
// helper (main_test.go lists them) or a shell command, each with a deadline.
package e2e
