package master_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

// batches notes what a feed sends, and when.
type batches struct {
	began time.Time

	mu   sync.Mutex
	sent []batch
}

type batch struct {
	at     time.Duration // since began
	frames int
}

func (b *batches) Remote() wire.Hello               { return wire.Hello{} }
func (b *batches) SendDurable(volume.Version) error { return nil }
func (b *batches) SendFrames(_ context.Context, frames [][]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = append(b.sent, batch{time.Since(b.began), len(frames)})
	return nil
}

// take waits until nothing goes on any more, and returns what was sent since the last time.
func (b *batches) take(t *testing.T) []batch {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	sent := b.sent
	b.sent, b.began = nil, time.Now()
	return sent
}

// TestGather: what comes alone is sent at once, what comes soon after that with what comes until
// then, and at once what somebody waits for, and what fills a batch.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.abandon()
		l := r.lead(1)
		ino := mkFile(t, l, "file")
		b := &batches{}
		f := l.NewFeed(b, r.log.Last().Version)
		c, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.Run(c)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		data := make([]byte, 128<<10)
		rand.NewChaCha8([32]byte{}).Read(data) // does not compress
		write := func(n int) {
			mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: data[:n]})
		}
		want := func(what string, want ...batch) {
			t.Helper()
			if got := b.take(t); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		b.take(t)
		write(100)
		want("alone", batch{0, 1})
		write(100)
		write(100)
		want("soon after it")
		time.Sleep(time.Second)
		want("gathered", batch{10 * time.Millisecond, 2})
		write(100)
		want("alone again", batch{0, 1})
		write(100)
		want("soon after that")
		f.Hurry()
		want("hurried", batch{0, 1})
		time.Sleep(time.Second)
		want("nothing")
		write(100)
		want("alone once more", batch{0, 1})
		for range 12 {
			write(len(data))
		}
		time.Sleep(time.Second)
		want("more than a batch", batch{10 * time.Millisecond, 8}, batch{10 * time.Millisecond, 4})
		write(len(data))
		synctest.Wait()
		write(100)
		time.Sleep(time.Second)
		want("after a large one", batch{0, 1}, batch{3 * time.Millisecond, 1})
	})
}
