package master

import (
	"sync"

	"wolfdisk/volume"
)

// opens counts who has an inode open through this leader's front ends. An inode
// that loses its last name while open lives until the last Close.
type opens struct {
	shards [lockShards]openShard
}

type openShard struct {
	sync.Mutex
	m map[volume.Ino]int
}

func (o *opens) init() {
	for i := range o.shards {
		o.shards[i].m = make(map[volume.Ino]int)
	}
}

func (o *opens) shard(ino volume.Ino) *openShard {
	return &o.shards[(uint64(ino)*0x9e3779b97f4a7c15)>>(64-6)]
}

func (o *opens) add(ino volume.Ino) {
	s := o.shard(ino)
	s.Lock()
	s.m[ino]++
	s.Unlock()
}

// done counts down and reports whether nobody is left; false for an inode that was
// not open.
func (o *opens) done(ino volume.Ino) bool {
	s := o.shard(ino)
	s.Lock()
	defer s.Unlock()
	n, ok := s.m[ino]
	if !ok {
		return false
	}
	if n > 1 {
		s.m[ino] = n - 1
		return false
	}
	delete(s.m, ino)
	return true
}

func (o *opens) has(ino volume.Ino) bool {
	s := o.shard(ino)
	s.Lock()
	defer s.Unlock()
	return s.m[ino] > 0
}
