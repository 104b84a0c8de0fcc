// Package posix is WolfDisk's own proof that a mount is a POSIX file system: a table of
// cases, each named after the clause it shows (rename/same-inode-changes-nothing), and
// exercisers that compare long random histories with a model.
//
// # Grounds
//
// The table runs on a plain ext4 directory first, which shows that the cases themselves
// are right; then on the mount of a leader with a real directory, and on that of a leader
// with chunks, each with a follower, whose tree must then equal the leader's (and
// `wolfdiskctl verify` must find nothing). What can be asked without changing anything
// runs on the follower's mount too, together with a list of what it must refuse.
// A case that cannot hold on a plain directory says why (test.mountOnly).
//
// # Random histories
//
// TestFile works on one file by every call that reads or changes content and compares
// it with a model in memory; TestTree works on names and attributes of a mount and
// of a plain directory in step, and compares errnos and results; TestCrowd lets many
// processes work in one tree and compares the nodes; TestHoles makes files with holes, and
// compares where the nodes have data, also after a copy of the volume. All depend on one seed, which is
// printed and can be given again: WDTEST_SEED=N. WDTEST_OPS=N sets the length.
//
// # Caches
//
// TestCoherence changes content, attributes, names and listings on the leader while
// readers on the follower, which have all of it in their caches, look: what they see must
// never be older than what the follower says it has applied. WDTEST_COHERENCE=DURATION
// sets how long.
//
// # Processes
//
// The test process never touches a mount; children do (package cluster says why). A
// case acts as another user, or with a folder, a mask or locks of its own, on a thread of its
// own with raw system calls: Linux keeps all of these by thread if asked to.
package posix
