package sig

import (
	"fmt"
	"hash"
	"sync"
)

// Hasher computes several sums of one stream in one pass. MD5, the slowest by far
// and wanted for every ETag, runs beside the writer once there is more than a
// little of it. A Hasher may be dropped at any time; nothing has to be closed.
// It is for one writer.
type Hasher struct {
	names []string
	sums  []hash.Hash
}

// NewHasher makes one for the algorithms named; naming one twice is as naming it once.
func NewHasher(names ...string) (*Hasher, error) {
	h := &Hasher{}
	if err := h.add(names...); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Hasher) add(names ...string) error {
	for _, name := range names {
		a, found := FindAlgorithm(name)
		if !found {
			return fmt.Errorf("%w %q", errUnknownAlgorithm, name)
		}
		if h.find(a.Name) != nil {
			continue
		}
		sum := a.New()
		if a.Name == "MD5" {
			sum = &asideHash{Hash: sum}
		}
		h.names, h.sums = append(h.names, a.Name), append(h.sums, sum)
	}
	return nil
}

func (h *Hasher) find(name string) hash.Hash {
	for i, n := range h.names {
		if n == name {
			return h.sums[i]
		}
	}
	return nil
}

// Write adds to all sums. It never fails and does not keep p.
func (h *Hasher) Write(p []byte) (int, error) {
	for _, s := range h.sums {
		s.Write(p)
	}
	return len(p), nil
}

// Sum is the raw sum of what was written; nil for an algorithm that is not computed.
func (h *Hasher) Sum(name string) []byte {
	if a, found := FindAlgorithm(name); found {
		if s := h.find(a.Name); s != nil {
			return s.Sum(nil)
		}
	}
	return nil
}

// Checksum is Sum as the protocol writes it.
func (h *Hasher) Checksum(name string) (Checksum, bool) {
	sum := h.Sum(name)
	if sum == nil {
		return Checksum{}, false
	}
	return NewChecksum(name, sum), true
}

const (
	// asidePiece is the size of the copies that are handed over; a write smaller
	// than that is hashed on the spot when nothing is queued: a goroutine and a
	// copy would cost more.
	asidePiece = 64 << 10 // bytes
	// asideDepth bounds the copies of one stream that wait: 256 KiB.
	asideDepth = 4
)

var asidePool = sync.Pool{New: func() any { return new([asidePiece]byte) }}

type asideItem struct {
	data *[asidePiece]byte
	n    int
}

// asideHash computes a hash in a goroutine that lives only while something is
// queued, so that a stream given up half-way leaves nothing behind.
type asideHash struct {
	hash.Hash // of the goroutine while busy, else of the writer

	mu    sync.Mutex
	cond  sync.Cond // L is set at the first use; signalled when the queue shrinks or the goroutine ends
	queue []asideItem
	busy  bool
}

func (a *asideHash) Write(p []byte) (int, error) {
	n := len(p)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cond.L = &a.mu
	if n < asidePiece && !a.busy {
		return a.Hash.Write(p)
	}
	for len(p) > 0 {
		for len(a.queue) >= asideDepth {
			a.cond.Wait()
		}
		item := asideItem{data: asidePool.Get().(*[asidePiece]byte)}
		item.n = copy(item.data[:], p)
		p = p[item.n:]
		a.queue = append(a.queue, item)
		if !a.busy {
			a.busy = true
			go a.run()
		}
	}
	return n, nil
}

// run hashes until nothing is queued. Ended by that alone.
func (a *asideHash) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 {
		item := a.queue[0]
		a.mu.Unlock()
		a.Hash.Write(item.data[:item.n])
		asidePool.Put(item.data)
		a.mu.Lock()
		a.queue = a.queue[1:]
		a.cond.Broadcast()
	}
	a.queue = nil
	a.busy = false
	a.cond.Broadcast()
}

func (a *asideHash) Sum(b []byte) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cond.L = &a.mu
	for a.busy {
		a.cond.Wait()
	}
	return a.Hash.Sum(b)
}
