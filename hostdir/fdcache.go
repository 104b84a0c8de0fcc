package hostdir

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// fdCache keeps descriptors by inode ID, bounded, evicting by the clock algorithm. A
// descriptor in use is never closed under its user: every get is paired with a put.
type fdCache struct {
	shards [cacheShards]fdShard
	max    int // per shard
}

const cacheShards = 16

type fdShard struct {
	mu   sync.Mutex
	m    map[volume.Ino]*openFD
	ring []*openFD
	hand int
}

// openFD is a cached descriptor. Writable says whether it was opened for writing.
type openFD struct {
	fd       int
	writable bool
	ino      volume.Ino
	hot      atomic.Bool
	refs     int  // guarded by the shard's mutex
	dropped  bool // no longer in the map; closed by the last put
	at       int  // index in the ring
}

func newFDCache(max int) *fdCache {
	c := &fdCache{max: (max + cacheShards - 1) / cacheShards}
	for i := range c.shards {
		c.shards[i].m = map[volume.Ino]*openFD{}
	}
	return c
}

func (c *fdCache) shard(ino volume.Ino) *fdShard { return &c.shards[uint64(ino)%cacheShards] }

// get returns the inode's descriptor, or nil.
func (c *fdCache) get(ino volume.Ino) *openFD {
	s := c.shard(ino)
	s.mu.Lock()
	e := s.m[ino]
	if e != nil {
		e.refs++
	}
	s.mu.Unlock()
	if e != nil && !e.hot.Load() {
		e.hot.Store(true)
	}
	return e
}

// use is get for a descriptor that is in use already.
func (c *fdCache) use(e *openFD) {
	s := c.shard(e.ino)
	s.mu.Lock()
	e.refs++
	s.mu.Unlock()
}

func (c *fdCache) put(e *openFD) {
	s := c.shard(e.ino)
	s.mu.Lock()
	e.refs--
	last := e.dropped && e.refs == 0
	s.mu.Unlock()
	if last {
		unix.Close(e.fd)
	}
}

// add hands a descriptor over to the cache and returns it in use. If the inode has one
// already that is as good, fd is closed and the other returned.
func (c *fdCache) add(ino volume.Ino, fd int, writable bool) *openFD {
	s := c.shard(ino)
	e := &openFD{fd: fd, writable: writable, ino: ino, refs: 1}
	closing := -1
	s.mu.Lock()
	if old := s.m[ino]; old != nil {
		if old.writable || !writable {
			old.refs++
			s.mu.Unlock()
			unix.Close(fd)
			return old
		}
		closing = s.removeLocked(old)
	} else if len(s.ring) >= c.max {
		closing = s.evictLocked()
	}
	e.at = len(s.ring)
	s.ring = append(s.ring, e)
	s.m[ino] = e
	s.mu.Unlock()
	if closing >= 0 {
		unix.Close(closing)
	}
	return e
}

// evictLocked drops a descriptor that was not used lately and returns it for closing;
// -1 if all are in use, and the bound is exceeded for a while.
func (s *fdShard) evictLocked() int {
	for range 2 * len(s.ring) {
		s.hand = (s.hand + 1) % len(s.ring)
		e := s.ring[s.hand]
		if e.refs > 0 || e.hot.Swap(false) {
			continue
		}
		return s.removeLocked(e)
	}
	return -1
}

// removeLocked takes an entry out and returns its descriptor if nobody uses it.
func (s *fdShard) removeLocked(e *openFD) int {
	delete(s.m, e.ino)
	last := s.ring[len(s.ring)-1]
	s.ring[e.at], last.at = last, e.at
	s.ring = s.ring[:len(s.ring)-1]
	e.dropped = true
	if e.refs == 0 {
		return e.fd
	}
	return -1
}

// drop forgets the inode's descriptor; it is closed when nobody uses it.
func (c *fdCache) drop(ino volume.Ino) {
	s := c.shard(ino)
	closing := -1
	s.mu.Lock()
	if e := s.m[ino]; e != nil {
		closing = s.removeLocked(e)
	}
	s.mu.Unlock()
	if closing >= 0 {
		unix.Close(closing)
	}
}

func (c *fdCache) dropAll() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		var closing []int
		for len(s.ring) > 0 {
			if fd := s.removeLocked(s.ring[len(s.ring)-1]); fd >= 0 {
				closing = append(closing, fd)
			}
		}
		s.mu.Unlock()
		for _, fd := range closing {
			unix.Close(fd)
		}
	}
}

// len counts the descriptors held.
func (c *fdCache) len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.ring)
		s.mu.Unlock()
	}
	return n
}
