package node

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wolfdisk/volume"
)

// Content is served at once while nobody writes, and with rests, one after the other,
// while somebody does.
func TestPace(t *testing.T) {
	const work = 10 * time.Millisecond
	for _, tt := range []struct {
		name     string
		perTick  volume.Version // ops every 10 ms
		min, max time.Duration  // of eight requests by four at once
	}{
		{"idle", 0, 2 * work, 2 * work},
		{"a trickle", 1, 2 * work, 2 * work},
		{"written", 50, 8 * (1 + paceRest) * work, 9 * (1 + paceRest) * work},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPace()
				var v atomic.Uint64
				ctx, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				all.Go(func() {
					for ctx.Err() == nil {
						v.Add(uint64(tt.perTick))
						time.Sleep(10 * time.Millisecond)
					}
				})
				version := func() volume.Version { return volume.Version(v.Load()) }
				for range 3 { // it takes some looks to know
					p.written(time.Now(), version())
					time.Sleep(paceWindow)
				}
				began := time.Now()
				var copies sync.WaitGroup
				for range 4 {
					copies.Go(func() {
						for range 2 {
							if err := p.serve(ctx, version(), func() error { time.Sleep(work); return nil }); err != nil {
								t.Error(err)
							}
						}
					})
				}
				copies.Wait()
				if took := time.Since(began); took < tt.min || took > tt.max {
					t.Errorf("took %v, want %v to %v", took, tt.min, tt.max)
				}
				cancel()
				all.Wait()
			})
		})
	}
}

// Who waits for a turn does not wait for longer than its request.
func TestPaceEnds(t *testing.T) {
	p := newPace()
	p.at, p.busy = time.Now(), true
	p.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := p.serve(ctx, 0, func() error { t.Error("served"); return nil })
	if volume.KindOf(err) != volume.Interrupted {
		t.Error(err)
	}
}
