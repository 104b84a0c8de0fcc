package admin

import (
	"context"

	"wolfdisk/volume"
)

// Source is the daemon as this package sees it. All methods may be called
// concurrently and at any time between Start and the return of Close, also while
// the daemon starts or stops.
type Source interface {
	// Status is the present state. It must not wait for disk or network, since it
	// is asked when these are in trouble.
	Status(ctx context.Context) Status
	// Ready says whether the node is mounted (if it is to be), its role is known,
	// and it is within maxLag ops: a follower of its leader's version, and on a
	// leader every connected follower of it. The text says what is missing.
	Ready(ctx context.Context, maxLag uint64) (bool, string)
	// Ops calls fn for each op from a version on, in order, until the end of the
	// log or, with follow, until ctx ends. An error of fn ends it and is returned.
	// From 0 is the first op there is; an op that the log no longer holds is TooOld.
	Ops(ctx context.Context, from volume.Version, follow bool, fn func(OpLine) error) error
	// Stop asks the daemon to stop and does not wait for it.
	Stop(ctx context.Context) error
}
