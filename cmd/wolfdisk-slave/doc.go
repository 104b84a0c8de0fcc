// Command wolfdisk-slave is the daemon that follows: it keeps a live copy of a leader's directory, and
// takes the lead when no node that goes before it can. With --witness it has a vote and no copy.
package main
