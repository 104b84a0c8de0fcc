package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume/volumetest"
)

const ms = time.Millisecond

// sim is a cluster in virtual time. Everything in it follows from the seed. It is run by one
// goroutine, in a bubble of testing/synctest: of the events that wait, it does one, then waits until
// all that this has set off has come to rest, and only then looks at the next.
type sim struct {
	seed  uint64
	rnd   *rand.Rand // of that one goroutine alone
	began time.Time
	now   time.Duration

	mu    sync.Mutex // guards the queue, and those of the data sessions
	queue eventQueue
	order uint64
	wake  chan struct{} // holds a token when something was queued

	bug    bug
	class  class
	safety elect.Safety
	nodes  []*node
	net    *network
	check  *checker
	gen    *volumetest.Gen
	load   bool   // clients write
	lanes  uint64 // that were given out

	slowDisks bool

	trace   uint64 // hash of everything noted
	steps   uint64 // hash of all events and their order
	roles   int    // role changes
	saves   int
	repeats int // of forwarded requests
	amid    int // crashes between two calls to a file system
	events  int
	log     []string // the last notes, for a failure
}

// event is something that will happen. Those of one moment are ordered by who queued them: lane 0 is
// the simulation itself, each goroutine of a node that queues any has a lane of its own. So
// the order does not depend on which of them ran first.
type event struct {
	at        time.Duration
	lane, seq uint64
	node      *node // whose pause delays it; nil for the world
	gen       int   // the run of the node it is for
	do        func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	a, b := &q[i], &q[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if a.lane != b.lane {
		return a.lane < b.lane
	}
	return a.seq < b.seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return x
}

// lane is one goroutine's way into the queue, with luck of its own.
type lane struct {
	s   *sim
	id  uint64
	seq uint64
	rnd *rand.Rand
}

func (s *sim) newLane() *lane {
	s.lanes++
	return &lane{s: s, id: s.lanes, rnd: rand.New(rand.NewPCG(s.seed, s.lanes<<8))}
}

// clock is the time since the simulation began.
func (s *sim) clock() time.Duration { return time.Since(s.began) }

// push queues an event from the lane's goroutine.
func (l *lane) push(at time.Duration, n *node, gen int, do func()) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.pushLocked(at, n, gen, do)
}

func (l *lane) pushLocked(at time.Duration, n *node, gen int, do func()) {
	l.seq++
	heap.Push(&l.s.queue, event{at: at, lane: l.id, seq: l.seq, node: n, gen: gen, do: do})
	select {
	case l.s.wake <- struct{}{}:
	default:
	}
}

// after has something happen later. What is meant for a run of a node does not happen
// once that has ended.
func (s *sim) after(d time.Duration, n *node, do func()) {
	s.order++
	ev := event{at: s.now + max(d, 0), seq: s.order, node: n, do: do}
	if n != nil {
		ev.gen = n.gen
	}
	s.mu.Lock()
	heap.Push(&s.queue, ev)
	s.mu.Unlock()
}

// take removes the next event if it is due by now. Otherwise it says when to look again, at the latest
// at end.
func (s *sim) take(end time.Duration) (ev event, due bool, next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || s.queue[0].at > end {
		return ev, false, end
	}
	if s.queue[0].at > s.now {
		return ev, false, s.queue[0].at
	}
	return heap.Pop(&s.queue).(event), true, 0
}

// runUntil lets time pass. It stops early at a violation.
func (s *sim) runUntil(end time.Duration) {
	for s.check.broken == "" {
		synctest.Wait()
		s.fallen()
		ev, due, next := s.take(end)
		if !due {
			if next <= s.now {
				return
			}
			s.sleepUntil(next)
			continue
		}
		if n := ev.node; n != nil {
			if ev.gen != n.gen || !n.running {
				continue
			}
			if s.now < n.paused {
				ev.at = n.paused
				s.mu.Lock()
				heap.Push(&s.queue, ev)
				s.mu.Unlock()
				continue
			}
		}
		s.events++
		for _, x := range [...]uint64{uint64(ev.at), ev.lane, ev.seq} {
			s.steps = (s.steps ^ x) * 0x100000001b3 // FNV
		}
		ev.do()
	}
}

// fallen ends the runs that have crashed amid what has just happened.
func (s *sim) fallen() {
	for _, n := range s.nodes {
		if n.running && n.crashed != nil {
			s.note("%s is killed amid a change, power %t", n.id, n.fusePower)
			s.amid++
			n.fall(n.fusePower, n.crashed)
			n.startAfter(s.between(500*ms, 4*time.Second))
		}
	}
}

// sleepUntil lets time pass until a moment, or until something is queued that may be due before.
func (s *sim) sleepUntil(at time.Duration) {
	t := time.NewTimer(at - s.now)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.wake:
	}
	s.now = s.clock()
}

func (s *sim) chance(percent int) bool { return s.rnd.IntN(100) < percent }

func (s *sim) between(a, b time.Duration) time.Duration { return between(s.rnd, a, b) }

func between(rnd *rand.Rand, a, b time.Duration) time.Duration {
	return a + time.Duration(rnd.Int64N(int64(b-a)+1))
}

func (s *sim) note(format string, args ...any) {
	line := fmt.Sprintf("%9.3f ", s.now.Seconds()) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", s.trace, line)
	s.trace = h.Sum64()
	if s.log = append(s.log, line); len(s.log) > 4000 {
		s.log = s.log[2000:]
	}
}
