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

// done counts down and returns how many are left; -1 if the inode was not open.
func (o *opens) done(ino volume.Ino) int {
	s := o.shard(ino)
	s.Lock()
	defer s.Unlock()
	left := s.m[ino] - 1
	if left > 0 {
		s.m[ino] = left
	} else {
		delete(s.m, ino)
	}
	return left
}

func (o *opens) has(ino volume.Ino) bool {
	s := o.shard(ino)
	s.Lock()
	defer s.Unlock()
	return s.m[ino] > 0
}
