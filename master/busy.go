package master

import (
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/volume"
)

// busy knows since when something is at work that may hang on a disk. Each of up to 64 at
// once has a place; what finds none is not seen, which does not matter: those that
// hang keep theirs.
type busy struct {
	next   atomic.Uint32
	places [64]atomic.Int64 // ns since some point in the past; 0: free
}

var busyEpoch = time.Now()

// work is something at work. The zero value is not seen.
type work struct{ place *atomic.Int64 }

func (b *busy) begin() work {
	at := max(int64(time.Since(busyEpoch)), 1)
	for range 4 {
		if p := &b.places[b.next.Add(1)%uint32(len(b.places))]; p.CompareAndSwap(0, at) {
			return work{p}
		}
	}
	return work{}
}

func (w work) end() {
	if w.place != nil {
		w.place.Store(0)
	}
}

// Hanging is for how long the oldest append or apply that is under way has been at it; 0 if
// none is.
func (l *Leader) Hanging() time.Duration {
	oldest := int64(0)
	for i := range l.busy.places {
		if at := l.busy.places[i].Load(); at != 0 && (oldest == 0 || at < oldest) {
			oldest = at
		}
	}
	if oldest == 0 {
		return 0
	}
	return time.Since(busyEpoch) - time.Duration(oldest)
}

// spoilt are inodes whose file in the real directory holds what no op says.
type spoilt struct {
	mu   sync.Mutex
	inos []volume.Ino
}

func (s *spoilt) add(ino volume.Ino) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inos = append(s.inos, ino)
}

// Spoilt are the inodes whose file in the real directory holds what no op says, because an op
// that was applied could be neither recorded nor undone. Their intents stay.
func (l *Leader) Spoilt() []volume.Ino {
	l.spoilt.mu.Lock()
	defer l.spoilt.mu.Unlock()
	return append([]volume.Ino(nil), l.spoilt.inos...)
}
