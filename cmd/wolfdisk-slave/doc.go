// Command wolfdisk-slave is the follower's daemon: it keeps a live, read-only copy of a leader's directory.
package main
