package fusefs

import (
	"time"

	"wolfdisk/volume"
)

// earlyPatience is how long ops wait for the kernel to have been told of them.
const earlyPatience = 5 * time.Millisecond

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
	if num := k.notify.pushed(); num != before {
		k.notify.awaitTried(before, num, earlyPatience)
	}
}
