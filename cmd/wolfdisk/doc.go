// Command wolfdisk prepares a machine for WolfDisk, checks its configuration, and is the
// helper of mount(8). What asks a running daemon is wolfdiskctl.
//
// # The mount helper
//
// It starts a daemon in a session of its own and waits for READY=1 on a socket of
// sd_notify(3), as a service manager would: no polling, and the end of a daemon that
// fails is known at once. It leaves either a mount or nothing, and ends with the codes of
// mount(8).
package main
