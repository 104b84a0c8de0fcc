package slave

import (
	"context"
	"sync/atomic"
	"time"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

// progressEvery is the shortest time between two reports to the leader: reports are
// for lag and retention, and must not cost what the frames cost.
const progressEvery = 5 * time.Millisecond

// seenEvery is how often a follower asks whether what it has applied is seen by now.
const seenEvery = time.Millisecond

// durableEvery is how often a report tells what the log's own syncing made durable,
// when nothing else happens.
const durableEvery = 250 * time.Millisecond

// Receiver takes a leader's frames: a Follower, or a Sync that makes a copy.
type Receiver interface {
	// Receive takes one frame, which is not kept. It is not called concurrently.
	Receive(ctx context.Context, frame []byte) error
	// Progress is how far the receiver has come, for the leader to know.
	Progress() (received, applied, durable volume.Version)
}

// Answers answers what the leader asks a follower.
type Answers func(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error

// Session is a session with a leader, whose frames go to one receiver at a time.
type Session struct {
	*wire.Session
	answers Answers
	to      atomic.Pointer[Receiver]
}

// NewSession prepares to serve a session. Frames go to r.
func NewSession(s *wire.Session, r Receiver, answers Answers) *Session {
	f := &Session{Session: s, answers: answers}
	f.Deliver(r)
	return f
}

// Deliver has frames go to another receiver from the next one on.
func (f *Session) Deliver(r Receiver) { f.to.Store(&r) }

func (f *Session) receiver() Receiver { return *f.to.Load() }

// Serve serves the session until it ends, while body runs beside it: it can call the
// leader. When body returns, the session ends with its error; a body that has nothing
// to do any more waits for its context.
func (f *Session) Serve(ctx context.Context, body func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reported, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(reported)
		Report(ctx, f.receiver, f.SendProgress)
	}()
	var failed error
	go func() {
		defer close(done)
		if failed = body(ctx); ctx.Err() == nil {
			f.Session.Close(failed)
		}
	}()
	err := f.Session.Serve(ctx, sink{f: f, ctx: ctx})
	cancel()
	<-reported
	<-done
	if failed != nil {
		return failed
	}
	return err
}

// Join asks the leader how to follow; see volume.RequestJoin.
func (f *Session) Join(ctx context.Context, snapshot bool) (byte, error) {
	body := []byte{volume.JoinStream}
	if snapshot {
		body[0] = volume.JoinSnapshot
	}
	b, err := f.CallAll(ctx, volume.RequestJoin, body, 1)
	if err != nil {
		return 0, err
	}
	if len(b) != 1 || b[0] != volume.JoinStream && b[0] != volume.JoinSnapshot {
		return 0, volume.Errorf(volume.BadFormat, "the leader answers %x when asked how to follow", b)
	}
	return b[0], nil
}

// Report sends the progress of the present receiver as it is made, until ctx or the session
// ends.
func Report(ctx context.Context, receiver func() Receiver, send func(wire.Progress) error) {
	tick := time.NewTicker(durableEvery)
	defer tick.Stop()
	var last [3]volume.Version
	for {
		to := receiver()
		r, a, d := to.Progress()
		if now := [3]volume.Version{r, a, d}; now != last {
			if send(wire.Progress{Received: r, Applied: a, Durable: d}) != nil {
				return // the session's reader reports why it ended
			}
			last = now
			time.Sleep(progressEvery)
		}
		var changed <-chan struct{}
		var soon <-chan time.Time
		if c, ok := to.(*Follower); ok {
			changed = c.changed
			if uint64(a) < c.applied.Load() {
				soon = time.After(seenEvery)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-soon:
		case <-tick.C:
		}
	}
}

// sink takes what a session brings a follower.
type sink struct {
	f   *Session
	ctx context.Context
}

func (k sink) Frame(b []byte) error { return k.f.receiver().Receive(k.ctx, b) }

func (k sink) Progress(wire.Progress) {}

// Durable is the version through which the leader's log is durable. Asynchronous
// mode needs nothing done about it.
func (k sink) Durable(volume.Version) {}

func (k sink) Request(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	return k.f.answers(ctx, kind, body, w)
}
