// Command wolfdisk prepares a machine for WolfDisk and checks its configuration. What
// asks a running daemon is wolfdiskctl.
package main
