package master

import (
	"sync"

	"wolfdisk/volume"
)

// lockTable holds a mutex for each inode that somebody has locked. A request takes
// all its locks at once, in ascending order of inode IDs, so there is no deadlock.
type lockTable struct {
	shards [lockShards]lockShard
	free   sync.Pool
}

const lockShards = 64

type lockShard struct {
	sync.Mutex
	m map[volume.Ino]*inoLock
}

type inoLock struct {
	sync.Mutex
	users int // holders and waiters; guarded by the shard
}

func (t *lockTable) init() {
	for i := range t.shards {
		t.shards[i].m = make(map[volume.Ino]*inoLock)
	}
	t.free.New = func() any { return new(inoLock) }
}

func (t *lockTable) shard(ino volume.Ino) *lockShard {
	return &t.shards[(uint64(ino)*0x9e3779b97f4a7c15)>>(64-6)]
}

// lock locks the inodes, which are sorted and without repeats.
func (t *lockTable) lock(inos []volume.Ino) {
	for _, ino := range inos {
		s := t.shard(ino)
		s.Lock()
		l := s.m[ino]
		if l == nil {
			l = t.free.Get().(*inoLock)
			s.m[ino] = l
		}
		l.users++
		s.Unlock()
		l.Lock()
	}
}

// tryLock locks an inode unless somebody holds it or waits for it.
func (t *lockTable) tryLock(ino volume.Ino) bool {
	s := t.shard(ino)
	s.Lock()
	defer s.Unlock()
	if s.m[ino] != nil {
		return false
	}
	l := t.free.Get().(*inoLock)
	l.users = 1
	l.Lock() // nobody has it
	s.m[ino] = l
	return true
}

func (t *lockTable) unlock(inos []volume.Ino) {
	for i := len(inos) - 1; i >= 0; i-- {
		s := t.shard(inos[i])
		s.Lock()
		l := s.m[inos[i]]
		l.Unlock()
		if l.users--; l.users == 0 {
			delete(s.m, inos[i])
			t.free.Put(l)
		}
		s.Unlock()
	}
}
