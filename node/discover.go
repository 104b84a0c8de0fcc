package node

import (
	"context"
	"path/filepath"

	"wolfdisk/node/discovery"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

// beaconName is the file in the state directory that keeps the beacons' counter growing.
const beaconName = "beacon"

// discover sends beacons and dials whom it hears, as long as the node runs. A beacon is believed
// nothing but that: who is there says TLS.
func (n *node) discover(ctx context.Context) {
	where, err := discovery.Parse(n.cfg.Cluster.Discovery)
	if err == nil {
		err = discovery.Run(ctx, discovery.Options{
			Where: where, Keys: n.wire.Keys, NodeID: n.cfg.Node.ID, Address: n.address(), CounterFile: filepath.Join(n.cfg.Node.DataDir, beaconName),
			Found: func(id, address string) {
				if !n.control.connected(id) {
					n.dials.told(address)
				}
			},
			Twin: func(address string) {
				n.warnStranger(address, codeDuplicateID, "the daemon at "+address+" has this node's ID, "+n.cfg.Node.ID+": give one of the two another with --id")
			},
			Log: n.log,
		})
	}
	if err != nil && ctx.Err() == nil {
		n.stopWith(exit.With(exit.Unavailable, volume.Wrap(err, "discovery; [cluster] discovery = \"none\" does without")))
	}
}
