// Command wolfdisk-master is the leader's daemon: it mirrors a directory to the nodes that follow.
package main

import (
	"wolfdisk/node"
	"wolfdisk/node/daemon"
)

func main() { daemon.Main("wolfdisk-master", node.Run) }
