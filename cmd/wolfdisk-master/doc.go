// Command wolfdisk-master is the leader's daemon: it mirrors a directory to the nodes that follow.
package main
