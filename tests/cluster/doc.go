// Package cluster runs real WolfDisk daemons for the tests, the demo and the
// benchmark: a leader and followers as child processes on 127.0.0.1, each with its
// own folder, state, ID, port and mount, joined through proxies that count, stall
// and cut.
//
// It knows the product only by its contract: flags, exit codes, the status JSON of
// the admin socket. It imports no package of it.
//
// With WDTEST_DRIVER=bazil or gofuse (DriverEnv) all nodes mount with that FUSE driver.
//
// # Nothing is left behind
//
// Daemons get SIGKILL from the kernel when the process that started them dies, and
// Close kills, unmounts (lazily, so it never waits for a daemon) and removes
// everything. Mounts of a run that was killed itself are removed by CleanStale at
// the start of the next.
//
// # No file of a mount is opened here
//
// What touches a mount runs in a child with a deadline: the program re-executes
// itself with the name of a registered helper. So a daemon that hangs fails a
// test instead of hanging it.
//
// # Goroutines
//
// One thread starts all daemons and lives as long as the process, because the
// parent-death signal is tied to the thread that forked. Each daemon has one
// goroutine that waits for its exit. A Proxy has one that accepts and two for each
// connection; Proxy.Close ends them.
package cluster
