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
// # Service manager
//
// A manager that sets NOTIFY_SOCKET, as systemd does for Type=notify, is told by
// datagrams of sd_notify(3): READY=1 when the daemon does its work, STATUS= with a line
// for people, RELOADING=1 and READY=1 around a reload, STOPPING=1 when it stops, and
// WATCHDOG=1 if WATCHDOG_USEC is set. What is run gets a [Manager] for that. Nobody
// waits for a manager: one that does not listen costs a message in the log.
//
// # Goroutines
//
// One for signals; it ends with Run.
package daemon
