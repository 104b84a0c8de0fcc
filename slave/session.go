package slave

import (
	"context"
	"time"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

// progressEvery is the shortest time between two reports to the leader: reports are
// for lag and retention, and must not cost what the frames cost.
const progressEvery = 5 * time.Millisecond

// durableEvery is how often a report tells what the log's own syncing made durable,
// when nothing else happens.
const durableEvery = 250 * time.Millisecond

// Follow serves a session with the leader until it ends.
func (f *Follower) Follow(ctx context.Context, s *wire.Session) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.report(ctx, s)
	}()
	err := s.Serve(ctx, sink{f: f, ctx: ctx})
	cancel()
	<-done
	return err
}

// report sends progress as it is made.
func (f *Follower) report(ctx context.Context, s *wire.Session) {
	tick := time.NewTicker(durableEvery)
	defer tick.Stop()
	var last [3]volume.Version
	for {
		r, a, d := f.Progress()
		if now := [3]volume.Version{r, a, d}; now != last {
			if s.SendProgress(wire.Progress{Received: r, Applied: a, Durable: d}) != nil {
				return // the session's reader reports why it ended
			}
			last = now
			time.Sleep(progressEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-f.changed:
		case <-tick.C:
		}
	}
}

// sink takes what a session brings a follower.
type sink struct {
	f   *Follower
	ctx context.Context
}

func (k sink) Frame(b []byte) error { return k.f.Receive(k.ctx, b) }

func (k sink) Progress(wire.Progress) {}

// Durable is the version through which the leader's log is durable. Asynchronous
// mode needs nothing done about it.
func (k sink) Durable(volume.Version) {}

func (k sink) Request(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	switch kind {
	case volume.RequestPull:
		return k.f.opt.Log.AnswerPull(ctx, body, w)
	case volume.RequestChunk:
		return wire.AnswerChunk(ctx, body, w, k.f.opt.Chunks)
	}
	return volume.Errorf(volume.Unsupported, "request kind %d is not known here", kind)
}
