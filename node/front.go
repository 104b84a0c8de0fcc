package node

import (
	"context"

	"wolfdisk/master"
	"wolfdisk/slave"
	"wolfdisk/volume"
)

// front is a follower as front ends see it. It takes no changes; those that come while nobody
// leads wait for a moment.
type front struct {
	*slave.Follower
	n *node
}

var _ volume.Volume = front{}

// Do implements volume.Volume.
func (f front) Do(context.Context, *volume.Request) (volume.Result, error) {
	return volume.Result{}, f.refusal()
}

// Open implements volume.Volume.
func (f front) Open(ctx context.Context, ino volume.Ino, write bool) error {
	if write {
		return f.refusal()
	}
	return f.Follower.Open(ctx, ino, false)
}

func (f front) refusal() error {
	if f.n.vacancy.held() && f.n.role != volume.RoleFollower {
		return master.Moved
	}
	return volume.ReadOnly
}
