package fusefs

import (
	"time"

	"wolfdisk/volume"
)

// earlyPatience is how long ops wait for the kernel to have been told of them.
const earlyPatience = 5 * time.Millisecond

// stuckPatience is how long they wait after that while a notice that was not done in time still
// sleeps: the kernel may hold what it wants for a call that itself waits for these ops, a change
// that this node has forwarded, and thousands of ops may be on their way.
const stuckPatience = 500 * time.Microsecond

// Applying implements volume.EarlyObserver: what ops are about to change leaves the
// kernel's caches before it does, as far as the kernel lets go of it. Without that, whoever reads
// something new in the time between the ops and their notices could then read
// something older from the cache, and see a state that never was. What the kernel asks
// for again meanwhile is invalidated by Applied, as ever.
func (k *core) Applying(ops []*volume.Op) {
	before := k.notify.pushed()
	for _, op := range ops {
		if op.Caller.Front == volume.FrontForward {
			continue // it may be a request of this mount, which holds what the notice would wait for
		}
		if ch, ok := changeOf(op); ok {
			k.stale(ch)
		}
	}
	num := k.notify.pushed()
	if num == before {
		return
	}
	patience := earlyPatience
	if stuck := k.stuck.Load(); stuck != 0 {
		if k.notify.tried(0, stuck) {
			k.stuck.Store(0)
		} else {
			patience = stuckPatience
		}
	}
	if !k.notify.awaitTried(before, num, patience) && k.stuck.Load() == 0 {
		k.stuck.Store(num)
	}
}
