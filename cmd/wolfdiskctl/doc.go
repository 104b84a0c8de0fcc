// Command wolfdiskctl asks and tells the daemon of this machine, over the socket in
// its state directory.
//
// Each command is a file: its flags, what it asks, and how it shows the answer as a
// table for people or as JSON for scripts. What the daemon says came from other
// machines in part, so it is made harmless before it reaches a terminal.
package main
