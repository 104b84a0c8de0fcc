package fusefs

import (
	"sync"

	"wolfdisk/volume"
)

// maxMarks bounds the marks that are kept apart; beyond that the last one grows.
const maxMarks = 1024

// mark stands for ops that were observed: they are seen by everybody once the notices
// through num are sent and the suspects of these flights are judged.
type mark struct {
	first   volume.Version
	num     uint64
	accused map[*call]uint64
}

// unseen keeps the marks of ops that somebody may not see yet.
type unseen struct {
	mu    sync.Mutex // leaf lock, except for those of flights and of the notifier
	marks []mark
}

// mark marks ops whose notices have just been queued.
func (k *core) mark(first volume.Version) {
	m := mark{first: first, num: k.notify.pushed(), accused: k.accused()}
	k.unseen.mu.Lock()
	defer k.unseen.mu.Unlock()
	k.passLocked()
	if n := len(k.unseen.marks); n >= maxMarks {
		m.first = k.unseen.marks[n-1].first
		k.unseen.marks[n-1] = m
		return
	}
	k.unseen.marks = append(k.unseen.marks, m)
}

// passLocked drops the marks of what everybody sees.
func (k *core) passLocked() {
	n := 0
	for n < len(k.unseen.marks) {
		m := &k.unseen.marks[n]
		if !k.acquitted(m.accused) || !k.notify.doneThrough(m.num) {
			break
		}
		n++
	}
	k.unseen.marks = append(k.unseen.marks[:0], k.unseen.marks[n:]...)
}

// Unseen implements volume.LateObserver: the first observed op that a reader may not
// see yet, because the kernel is still to be told.
func (k *core) Unseen() (first volume.Version, any bool) {
	k.unseen.mu.Lock()
	defer k.unseen.mu.Unlock()
	k.passLocked()
	if len(k.unseen.marks) == 0 {
		return 0, false
	}
	return k.unseen.marks[0].first, true
}
