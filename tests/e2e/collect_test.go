//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestCollectKilled kills a follower while it seals its log into chunks, puts scattered files
// together, forgets what nobody uses and compacts packs, all of which it is made to do all
// the time: it loses nothing, and what it holds is sound and equal.
func TestCollectKilled(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	frugal(b, "2MiB")
	b.must(b.Start(readyTimeout))
	f := b.follower()
	b.shell(some + "for i in 0 1 2 3; do head -c 8388608 /dev/urandom >hot$i; done")
	collected := 0
	for round := range rounds(t, 1, 30) {
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			for {
				if r := f.Ctl(20*time.Second, "gc", "--now"); r.Code == 0 {
					n++
				}
				select {
				case <-stop:
					done <- n
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		for range 3 {
			var s strings.Builder
			for range 12 {
				count := 1 + rand.IntN(64)
				fmt.Fprintf(&s, "dd if=/dev/urandom of=hot%d bs=4k count=%d seek=%d conv=notrunc status=none\n", rand.IntN(4), count, rand.IntN(2048-count))
			}
			fmt.Fprintf(&s, "rm -rf old; mkdir old; for i in $(seq 60); do head -c 70000 /dev/urandom >old/$i; done; cp hot0 same; rm same\n")
			b.shell(s.String())
			time.Sleep(moment() / 4)
			b.must(f.Kill9())
			b.must(f.StartReady(readyTimeout))
		}
		close(stop)
		collected += <-done
		b.equal()
		if round%5 == 0 {
			b.wantVerified(b.Leader)
		}
	}
	if collected == 0 {
		t.Error("nothing was ever collected")
	}
	b.ok(f.Ctl(time.Minute, "gc", "--now"))
	b.ok(f.Ctl(3*time.Minute, "scrub"))
	b.wantVerified(b.Leader)
	b.must(f.Stop())
	b.must(f.StartReady(readyTimeout))
	b.equal()
	t.Logf("collected %d times", collected)
}
