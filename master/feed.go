package master

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

const (
	// feedBatch bounds what one call to the session carries, in bytes: enough for
	// full TLS records, little enough to report progress while catching up.
	feedBatch = 1 << 20
	// gatherSmall is how long frames are gathered after a small batch was sent, gatherLarge
	// after one of at least smallBatch bytes: ops that follow each other closely share a
	// record and a system call on both sides, while one that comes alone goes out at once,
	// and so does what somebody waits for (Hurry), or what fills a batch. Small ops gather for
	// longer, since waking a follower costs more than they do, and data for less, since they
	// are read from memory only for a while.
	gatherSmall, gatherLarge = 10 * time.Millisecond, 3 * time.Millisecond
	smallBatch               = 32 << 10
	// durableEvery is how often a follower is told what is durable here.
	durableEvery = 250 * time.Millisecond
)

// Receiver is a session with a follower, as far as a feed needs it. The frames it is given to
// send are not touched once SendFrames has returned.
type Receiver interface {
	Remote() wire.Hello
	SendFrames(ctx context.Context, frames [][]byte) error
	SendDurable(v volume.Version) error
}

// Feed serves one follower's session.
type Feed struct {
	l *Leader
	s Receiver

	hurry                      chan struct{} // of one place: somebody waits for what is in the log
	sent                       atomic.Uint64 // version
	received, applied, durable atomic.Uint64

	mu      sync.Mutex
	unacked []sentFrame // behind applied, oldest first; bounded by the session's window
	ackedAt time.Time   // when applied last grew
	queued  int64       // bytes in unacked
}

type sentFrame struct {
	last volume.Version
	size int64
	at   time.Time // when it was read from the log
}

// NewFeed prepares to feed the follower behind version after.
func (l *Leader) NewFeed(s Receiver, after volume.Version) *Feed {
	f := &Feed{l: l, s: s, hurry: make(chan struct{}, 1), ackedAt: time.Now()}
	for _, p := range []*atomic.Uint64{&f.sent, &f.received, &f.applied} {
		p.Store(uint64(after))
	}
	f.durable.Store(uint64(min(after, s.Remote().Durable)))
	return f
}

// Run sends the log as it grows until the session or ctx ends. It is to run beside
// the session's Serve.
func (f *Feed) Run(ctx context.Context) error {
	r, err := f.l.opt.Log.Reader(volume.Version(f.sent.Load()) + 1)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go f.tellDurable(ctx)
	var batch [][]byte
	var due time.Time // of the next batch, if it is not wanted sooner
	for {
		fr, err := r.Next(ctx)
		if err != nil {
			return err
		}
		f.gather(ctx, time.Until(due))
		size := 0
		batch = batch[:0]
		for {
			batch = append(batch, fr.Bytes)
			size += len(fr.Bytes)
			f.note(fr.Last, int64(len(fr.Bytes)))
			if size >= feedBatch {
				break
			}
			next, ok, err := r.TryNext()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			fr = next
		}
		if err := f.s.SendFrames(ctx, batch); err != nil {
			return err
		}
		r.Recycle() // the session keeps nothing of what it sent
		f.sent.Store(uint64(fr.Last))
		switch {
		case size >= feedBatch:
			due = time.Time{}
		case size >= smallBatch:
			due = time.Now().Add(gatherLarge)
		default:
			due = time.Now().Add(gatherSmall)
		}
	}
}

// gather waits for further frames, unless somebody waits for those that are there.
func (f *Feed) gather(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.hurry:
	case <-ctx.Done():
	}
}

// Hurry has what the log holds sent at once: somebody waits until the follower has it.
func (f *Feed) Hurry() {
	select {
	case f.hurry <- struct{}{}:
	default:
	}
}

func (f *Feed) tellDurable(ctx context.Context) {
	t := time.NewTicker(durableEvery)
	defer t.Stop()
	told := volume.Version(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if v := f.l.opt.Log.Durable(); v != told {
			if f.s.SendDurable(v) != nil {
				return // the session's reader reports why it ended
			}
			told = v
		}
	}
}

func (f *Feed) note(last volume.Version, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unacked = append(f.unacked, sentFrame{last, size, time.Now()})
	f.queued += size
}

// Progress takes a report of the follower.
func (f *Feed) Progress(p wire.Progress) {
	f.received.Store(uint64(p.Received))
	f.durable.Store(uint64(p.Durable))
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.Applied > volume.Version(f.applied.Load()) {
		f.applied.Store(uint64(p.Applied))
		f.ackedAt = time.Now()
	}
	n := 0
	for n < len(f.unacked) && f.unacked[n].last <= p.Applied {
		f.queued -= f.unacked[n].size
		n++
	}
	if f.unacked = f.unacked[n:]; len(f.unacked) == 0 {
		f.unacked = nil
	}
}

// Lag is how far a follower is behind.
type Lag struct {
	Received, Applied, Durable volume.Version
	Ops                        uint64
	Bytes                      int64
	Seconds                    float64
}

// Durable is the version that the follower has said to be durable with it.
func (f *Feed) Durable() volume.Version { return volume.Version(f.durable.Load()) }

// Lag measures the follower against the leader's last op.
func (f *Feed) Lag() Lag {
	last := f.l.opt.Log.Last().Version
	g := Lag{
		Received: volume.Version(f.received.Load()),
		Applied:  volume.Version(f.applied.Load()),
		Durable:  volume.Version(f.durable.Load()),
	}
	if g.Applied >= last {
		return g
	}
	g.Ops = uint64(last - g.Applied)
	f.mu.Lock()
	defer f.mu.Unlock()
	g.Bytes = f.queued + f.l.opt.Log.BytesAfter(volume.Version(f.sent.Load()))
	since := f.ackedAt
	if len(f.unacked) > 0 && f.unacked[0].at.After(since) {
		since = f.unacked[0].at
	}
	g.Seconds = time.Since(since).Seconds()
	return g
}
