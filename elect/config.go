package elect

import (
	"time"

	"wolfdisk/volume"
)

// Safety is how much must agree before a node may lead and an op may enter.
type Safety uint8

const (
	// Available lets anybody alone lead: two nodes work, a partition can fork, visibly.
	Available Safety = iota
	// Fenced lets an op enter only if a heartbeat sent within [Timing.Lease] was answered
	// by a majority of members. A witness counts.
	Fenced
	// Durable is Fenced, and fsync waits for [Members.DurableQuorum] stores.
	Durable

	safetyEnd
)

var safetyNames = [safetyEnd]string{"available", "fenced", "durable"}

func (s Safety) String() string {
	if s >= safetyEnd {
		return "unknown"
	}
	return safetyNames[s]
}

// OnBootAlone is what a node does that has seen too few others for [Timing.BootWait].
type OnBootAlone uint8

const (
	// BootByLevel leads on level Available and waits on the others.
	BootByLevel OnBootAlone = iota
	BootLead                // leads, if the level's majority allows it
	BootWait                // stays read-only until a [Promote]
)

// Config is what a machine is made with. It does not change.
type Config struct {
	ID          string
	Role        volume.Role
	Safety      Safety
	OnBootAlone OnBootAlone
	// Reclaim: a node that comes before the leader in the order asks for a hand-over.
	Reclaim bool
	// Started tells this run of the node from the one before, as in the hello of package
	// wire: ns since 1970.
	Started int64
	// Random makes the tags of epochs. The host takes it from the system's source of
	// randomness at each start.
	Random uint64
	Timing Timing // zero fields mean those of DefaultTiming
}

// Timing is every interval of the machine.
type Timing struct {
	Heartbeat time.Duration // between two heartbeats to one peer
	Silence   time.Duration // without a heartbeat: death
	Refused   time.Duration // of redials being refused: death (not on Fenced and Durable)
	Skew      time.Duration // the k-th candidate waits k times this
	Ask       time.Duration // for the answers to an Ask
	Claim     time.Duration // for the answers to a Claim, which cost an fsync each
	Stuck     time.Duration // a catch-up without progress is given up
	Lease     time.Duration // how long an answered heartbeat keeps the gate open
	Pause     time.Duration // a machine that was not stepped for so long was paused
	Stall     time.Duration // of append or apply: the leader steps down
	BootWait  time.Duration // see OnBootAlone
	FoundWait time.Duration // a founder looks for others first, and who starts for members that never lead
	Preempt   time.Duration // a node that could reclaim has been in sync for so long; doubles while it flaps
	HandOver  time.Duration // from holding calls to the claim of the new leader, else rolled back
	Request   time.Duration // a request that has not come to an end by then has failed
	// HandOverLag is how many ops the target of a hand-over may be behind before calls
	// are held.
	HandOverLag uint64
	// HandOverNear is the same for the first half of Request.
	HandOverNear uint64
}

// DefaultTiming is what DESIGN.md says.
func DefaultTiming() Timing {
	return Timing{
		Heartbeat: 100 * time.Millisecond, Silence: 1500 * time.Millisecond, Refused: 500 * time.Millisecond, Skew: 100 * time.Millisecond,
		Ask: 150 * time.Millisecond, Claim: time.Second, Stuck: 5 * time.Second, Lease: 1200 * time.Millisecond, Pause: time.Second,
		Stall: 10 * time.Second, BootWait: 30 * time.Second, FoundWait: time.Second, Preempt: 5 * time.Second, HandOver: 3 * time.Second,
		Request: 10 * time.Second, HandOverLag: 20000, HandOverNear: 64,
	}
}

// fill sets what is zero.
func (t *Timing) fill() {
	d := DefaultTiming()
	for _, p := range []struct{ to, from *time.Duration }{
		{&t.Heartbeat, &d.Heartbeat}, {&t.Silence, &d.Silence}, {&t.Refused, &d.Refused}, {&t.Skew, &d.Skew}, {&t.Ask, &d.Ask},
		{&t.Claim, &d.Claim}, {&t.Stuck, &d.Stuck}, {&t.Lease, &d.Lease}, {&t.Pause, &d.Pause}, {&t.Stall, &d.Stall},
		{&t.BootWait, &d.BootWait}, {&t.FoundWait, &d.FoundWait}, {&t.Preempt, &d.Preempt}, {&t.HandOver, &d.HandOver}, {&t.Request, &d.Request},
	} {
		if *p.to == 0 {
			*p.to = *p.from
		}
	}
	if t.HandOverLag == 0 {
		t.HandOverLag = d.HandOverLag
	}
	if t.HandOverNear == 0 {
		t.HandOverNear = d.HandOverNear
	}
}
