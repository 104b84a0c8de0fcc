package master

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"wolfdisk/volume"
)

// What comes when a reign begins waits for the gate, however long nobody has led before; and what
// waits for too long is refused.
func TestGateAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		g := NewGate(func() time.Duration { return time.Since(start) })
		g.Open(time.Second)
		g.Shut()
		time.Sleep(2 * holdFor)
		if err := g.wait(context.Background(), nil); err != volume.ReadOnly {
			t.Fatalf("at a gate that was shut for long: %v, want %v", err, volume.ReadOnly)
		}
		g.Await()
		go func() {
			time.Sleep(time.Second)
			g.Open(time.Hour)
		}()
		if err := g.wait(context.Background(), nil); err != nil {
			t.Fatalf("when a reign begins: %v", err)
		}
		g.Shut()
		g.Await()
		began := time.Now()
		if err := g.wait(context.Background(), nil); err != volume.ReadOnly || time.Since(began) != holdFor {
			t.Fatalf("at a gate that stays shut: %v after %s", err, time.Since(began))
		}
	})
}
