package index

import (
	"sync"

	"wolfdisk/volume"
)

// cache holds decoded inode records, which every op and nearly every read needs.
// Enter puts records here after their batch is committed, so a record in the cache
// is never newer than the store; gen keeps it from being older: a reader that missed
// may fill only if nothing was put or dropped in the shard since it looked.
type cache struct {
	shards [cacheShards]cacheShard
}

const (
	cacheShards   = 32
	cachePerShard = 1024 // records; about 6 MiB in all
)

type cacheShard struct {
	sync.Mutex
	m   map[volume.Ino]inode
	gen uint64
}

func (c *cache) init() {
	for i := range c.shards {
		c.shards[i].m = make(map[volume.Ino]inode)
	}
}

func (c *cache) shard(ino volume.Ino) *cacheShard {
	return &c.shards[(uint64(ino)*0x9e3779b97f4a7c15)>>(64-5)]
}

// get returns a record, or on a miss the generation to fill with.
func (c *cache) get(ino volume.Ino) (n inode, ok bool, gen uint64) {
	s := c.shard(ino)
	s.Lock()
	defer s.Unlock()
	n, ok = s.m[ino]
	return n, ok, s.gen
}

// put replaces a record with a newer one.
func (c *cache) put(n inode) {
	s := c.shard(n.Ino)
	s.Lock()
	defer s.Unlock()
	s.gen++
	s.set(n)
}

// fill keeps a record read from the store.
func (c *cache) fill(n inode, gen uint64) {
	s := c.shard(n.Ino)
	s.Lock()
	defer s.Unlock()
	if s.gen == gen {
		s.set(n)
	}
}

// set makes room by dropping any others: map order is random enough, and what is
// dropped is a short read away.
func (s *cacheShard) set(n inode) {
	if _, there := s.m[n.Ino]; !there && len(s.m) >= cachePerShard {
		drop := cachePerShard / 16
		for k := range s.m {
			delete(s.m, k)
			if drop--; drop == 0 {
				break
			}
		}
	}
	s.m[n.Ino] = n
}

func (c *cache) drop(ino volume.Ino) {
	s := c.shard(ino)
	s.Lock()
	defer s.Unlock()
	s.gen++
	delete(s.m, ino)
}

// pins count who on this node has an inode open, so that one that ends meanwhile
// stays readable for them.
type pins struct {
	sync.Mutex
	counts map[volume.Ino]int
}

func (p *pins) has(ino volume.Ino) bool {
	p.Lock()
	defer p.Unlock()
	return p.counts[ino] > 0
}
