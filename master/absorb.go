package master

import (
	"wolfdisk/volume"
)

// AbsorbQuietly calls fn while no change is under way: those that come meanwhile wait.
// fn compares the real directory with the index and records, by the function it is
// given, ops that say what is there already. An inode that is open here does not end
// with the name it lost: its last Close ends it. fn should not take long, and must
// record in no other way.
func (l *Leader) AbsorbQuietly(fn func(record func(*volume.Op, []volume.LowerRecord) error) error) error {
	l.gate.Lock()
	defer l.gate.Unlock()
	if l.stopped != nil {
		return l.stopped
	}
	if err := l.Failed(); err != nil {
		return err
	}
	return fn(func(op *volume.Op, lower []volume.LowerRecord) error {
		if loser := ended(op); loser != 0 && l.opens.has(loser) {
			op.Flags &^= volume.OpEnds
		}
		op.Time = l.now()
		return l.commit(&ticket{ops: []*volume.Op{op}, lower: lower})
	})
}
