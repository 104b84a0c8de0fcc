// Package daemon is what the mains of the daemons have in common: load the
// configuration, make the logger, turn signals into the end of a context or a reload,
// run, and turn the error into an exit code. It does not know what it runs.
//
// # Signals
//
// SIGTERM and SIGINT end the context; a second one ends the process at once with exit
// code 1, as a crash would. SIGHUP loads the configuration again from the same command
// line and environment. SIGPIPE is ignored: a storage daemon does not die because
// whoever reads its log went away.
//
// # Goroutines
//
// One for signals; it ends with Run.
package daemon
