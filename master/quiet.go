package master

import (
	"slices"

	"wolfdisk/volume"
)

// Quiet calls fn while no op is under way on the given inodes, with their locks held.
// Content is applied before the index shows it, so only then what the two say belongs
// together. fn must not take long, nor change anything.
func (l *Leader) Quiet(inos []volume.Ino, fn func() error) error {
	inos = slices.Clone(inos)
	slices.Sort(inos)
	inos = slices.Compact(inos)
	l.locks.lock(inos)
	defer l.locks.unlock(inos)
	return fn()
}
