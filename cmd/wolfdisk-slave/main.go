package main

import (
	"wolfdisk/node"
	"wolfdisk/node/daemon"
)

func main() { daemon.Main("wolfdisk-slave", node.Run) }
