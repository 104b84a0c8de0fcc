package index

import (
	"hash/maphash"
	"sync"

	"wolfdisk/volume"
)

// cache holds decoded records, which every op and nearly every read needs: inodes, the
// entries of directories, and what the backing keeps about an inode. Enter puts records here
// after their batch is committed, so a record in the cache is never newer than the store; gen
// keeps it from being older: a reader that missed may fill only if nothing was put or dropped
// in the shard since it looked.
type cache[K comparable, V any] struct {
	hash   func(K) uint64
	shards [cacheShards]cacheShard[K, V]
}

const (
	cacheShards   = 32
	cachePerShard = 1024 // records; about 6 MiB in all for inodes, as much for entries, half for the backing's
)

type cacheShard[K comparable, V any] struct {
	sync.Mutex
	m   map[K]V
	gen uint64
}

func (c *cache[K, V]) init(hash func(K) uint64) {
	c.hash = hash
	c.clear()
}

func (c *cache[K, V]) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		s.gen++
		s.m = make(map[K]V)
		s.Unlock()
	}
}

func (c *cache[K, V]) shard(k K) *cacheShard[K, V] { return &c.shards[c.hash(k)>>(64-5)] }

// get returns a record, or on a miss the generation to fill with.
func (c *cache[K, V]) get(k K) (v V, ok bool, gen uint64) {
	s := c.shard(k)
	s.Lock()
	defer s.Unlock()
	v, ok = s.m[k]
	return v, ok, s.gen
}

// put replaces a record with a newer one.
func (c *cache[K, V]) put(k K, v V) {
	s := c.shard(k)
	s.Lock()
	defer s.Unlock()
	s.gen++
	s.set(k, v)
}

// fill keeps a record read from the store.
func (c *cache[K, V]) fill(k K, v V, gen uint64) {
	s := c.shard(k)
	s.Lock()
	defer s.Unlock()
	if s.gen == gen {
		s.set(k, v)
	}
}

// set makes room by dropping any others: map order is random enough, and what is
// dropped is a short read away.
func (s *cacheShard[K, V]) set(k K, v V) {
	if _, there := s.m[k]; !there && len(s.m) >= cachePerShard {
		drop := cachePerShard / 16
		for k := range s.m {
			delete(s.m, k)
			if drop--; drop == 0 {
				break
			}
		}
	}
	s.m[k] = v
}

func (c *cache[K, V]) drop(k K) {
	s := c.shard(k)
	s.Lock()
	defer s.Unlock()
	s.gen++
	delete(s.m, k)
}

func hashIno(ino volume.Ino) uint64 { return uint64(ino) * 0x9e3779b97f4a7c15 }

// nameKey is a name in a directory.
type nameKey struct {
	dir  volume.Ino
	name string
}

var nameSeed = maphash.MakeSeed()

func hashName(k nameKey) uint64 { return maphash.String(nameSeed, k.name) ^ hashIno(k.dir) }

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
