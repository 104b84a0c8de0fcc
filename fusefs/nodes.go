package fusefs

import (
	"sync"

	"wolfdisk/volume"
)

const (
	nodeShards = 64

	// nodeSUID, nodeSGID: the kernel was told a file's mode with setuid, or setgid.
	// If a change takes the bit away, it has to be told again.
	nodeSUID uint8 = 1 << 0
	nodeSGID uint8 = 1 << 1
	// nodeGone: its attributes are remembered in gone.
	nodeGone uint8 = 1 << 2
	// nodePinned: the volume was told that it is open, for as long as the kernel knows it.
	nodePinned uint8 = 1 << 3
	// nodeMapped: it is, or was since it was last closed by all, open for reading and writing,
	// so that stores through a mapping may be in the kernel alone.
	nodeMapped uint8 = 1 << 4
)

// node is what is kept of an inode that the kernel knows: little, since there can
// be millions.
type node struct {
	lookups uint64 // references the kernel holds: +1 per entry answered, minus FORGET
	opens   uint32 // OPEN and OPENDIR without RELEASE
	// ownAttr is the coarse time (nodes.tick) at which a reply that carries
	// attributes, and that the kernel does not compare with invalidations, was last
	// prepared; 0 for never.
	ownAttr uint16
	flags   uint8
}

// nodes is the table of inodes that the kernel knows. Lookups are counted before
// the reply that carries them is written, so that no FORGET comes too early and no
// invalidation is skipped.
type nodes struct {
	shards [nodeShards]nodeShard
}

type nodeShard struct {
	mu sync.Mutex // leaf lock; guards all below
	m  map[volume.Ino]node
	// gone holds the attributes of inodes that have ended while the kernel still
	// refers to them (a working directory, an O_PATH descriptor).
	gone map[volume.Ino]volume.Attr
	_    [40]byte // keeps shards on their own cache lines
}

func newNodes() *nodes {
	t := new(nodes)
	for i := range t.shards {
		t.shards[i].m = map[volume.Ino]node{}
		t.shards[i].gone = map[volume.Ino]volume.Attr{}
	}
	t.add(volume.RootIno, 1)
	return t
}

func (t *nodes) shard(ino volume.Ino) *nodeShard {
	return &t.shards[(uint64(ino)^uint64(ino)>>32)%nodeShards]
}

// add counts n entries for an inode.
func (t *nodes) add(ino volume.Ino, n uint64) {
	s := t.shard(ino)
	s.mu.Lock()
	e := s.m[ino]
	e.lookups += n
	s.m[ino] = e
	s.mu.Unlock()
}

// pin notes that an inode is to be open for as long as the kernel knows it; false if
// that was noted before. unpin takes it back.
func (t *nodes) pin(ino volume.Ino) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[ino]
	if e.lookups == 0 || e.flags&nodePinned != 0 {
		return false
	}
	e.flags |= nodePinned
	s.m[ino] = e
	return true
}

func (t *nodes) unpin(ino volume.Ino) {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.m[ino]; ok {
		e.flags &^= nodePinned
		s.m[ino] = e
	}
}

// forget takes n references back. It reports ok false if there were not so many, and
// pinned if the last of them had the inode pinned.
func (t *nodes) forget(ino volume.Ino, n uint64) (ok, pinned bool) {
	if ino == volume.RootIno {
		return true, false // known from the mount to its end
	}
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[ino]
	ok = e.lookups >= n
	e.lookups -= min(n, e.lookups)
	if e.lookups == 0 {
		if e.flags&nodeGone != 0 {
			delete(s.gone, ino)
		}
		pinned = e.flags&nodePinned != 0
		e.flags &^= nodeGone | nodePinned
	}
	s.put(ino, e)
	return ok, pinned
}

func (s *nodeShard) put(ino volume.Ino, e node) {
	if e.lookups == 0 && e.opens == 0 {
		delete(s.m, ino)
		return
	}
	s.m[ino] = e
}

// known reports whether the kernel can hold anything about an inode.
func (t *nodes) known(ino volume.Ino) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[ino].lookups > 0
}

// open and release count open files and directories. mapped says that stores through a
// mapping are possible from now on.
func (t *nodes) open(ino volume.Ino, mapped bool) {
	s := t.shard(ino)
	s.mu.Lock()
	e := s.m[ino]
	e.opens++
	if mapped {
		e.flags |= nodeMapped
	}
	s.m[ino] = e
	s.mu.Unlock()
}

func (t *nodes) release(ino volume.Ino) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.m[ino]
	if !ok || e.opens == 0 {
		return false
	}
	if e.opens--; e.opens == 0 {
		e.flags &^= nodeMapped
	}
	s.put(ino, e)
	return true
}

// isOpen reports whether a file or directory is open.
func (t *nodes) isOpen(ino volume.Ino) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[ino].opens > 0
}

// opened lists what is open.
func (t *nodes) opened() (list []volume.Ino) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for ino, e := range s.m {
			if e.opens > 0 {
				list = append(list, ino)
			}
		}
		s.mu.Unlock()
	}
	return list
}

// mapped reports whether the kernel may hold stores that it has not written.
func (t *nodes) mapped(ino volume.Ino) bool { return t.flagged(ino, nodeMapped) }

// flagged reports whether an inode has any of the flags.
func (t *nodes) flagged(ino volume.Ino, flags uint8) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[ino].flags&flags != 0
}

// privBits are the node flags that stand for a file's mode.
func privBits(mode uint32) (flags uint8) {
	if mode&volume.ModeType != volume.ModeFile {
		return 0
	}
	if mode&volume.ModeSetUID != 0 {
		flags |= nodeSUID
	}
	if mode&volume.ModeSetGID != 0 {
		flags |= nodeSGID
	}
	return flags
}

// sentMode notes that the kernel is about to be told a mode.
func (t *nodes) sentMode(ino volume.Ino, mode uint32) {
	bits := privBits(mode)
	if bits == 0 {
		return
	}
	s := t.shard(ino)
	s.mu.Lock()
	if e, ok := s.m[ino]; ok {
		e.flags |= bits
		s.m[ino] = e
	}
	s.mu.Unlock()
}

// lostPriv reports, once, that the kernel may believe in setuid or setgid bits that
// are gone, given the mode that an inode has now.
func (t *nodes) lostPriv(ino volume.Ino, mode uint32) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[ino]
	lost := e.flags & (nodeSUID | nodeSGID) &^ privBits(mode)
	if lost == 0 {
		return false
	}
	e.flags &^= lost
	s.m[ino] = e
	return true
}

// markAttr notes when a reply with attributes that are not compared with
// invalidations was prepared; recentAttr asks for it.
func (t *nodes) markAttr(ino volume.Ino, tick uint16) {
	s := t.shard(ino)
	s.mu.Lock()
	if e, ok := s.m[ino]; ok {
		e.ownAttr = tick
		s.m[ino] = e
	}
	s.mu.Unlock()
}

func (t *nodes) recentAttr(ino volume.Ino, now uint16) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[ino]
	return e.ownAttr != 0 && now-e.ownAttr < attrTicks
}

// remember keeps the last attributes of an inode that has ended.
func (t *nodes) remember(a volume.Attr) {
	s := t.shard(a.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[a.Ino]
	if e.lookups == 0 {
		return
	}
	a.Nlink = 0
	e.flags |= nodeGone
	s.m[a.Ino] = e
	s.gone[a.Ino] = a
}

// remembered finds the last attributes of an inode that has ended.
func (t *nodes) remembered(ino volume.Ino) (volume.Attr, bool) {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.gone[ino]
	return a, ok
}

// each calls fn for a copy of every node, holding no lock.
func (t *nodes) each(fn func(volume.Ino, node)) {
	type pair struct {
		ino volume.Ino
		n   node
	}
	var all []pair
	for i := range t.shards {
		s := &t.shards[i]
		all = all[:0]
		s.mu.Lock()
		for ino, n := range s.m {
			all = append(all, pair{ino, n})
		}
		s.mu.Unlock()
		for _, p := range all {
			fn(p.ino, p.n)
		}
	}
}

// drop forgets everything: the mount is gone. It returns what was open.
func (t *nodes) drop() map[volume.Ino]uint32 {
	open := map[volume.Ino]uint32{}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for ino, n := range s.m {
			if n.flags&nodePinned != 0 {
				n.opens++
			}
			if n.opens > 0 {
				open[ino] = n.opens
			}
		}
		clear(s.m)
		clear(s.gone)
		s.mu.Unlock()
	}
	return open
}

// count returns the inodes known and the opens outstanding.
func (t *nodes) count() (known int, opens uint64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		known += len(s.m)
		for _, n := range s.m {
			opens += uint64(n.opens)
		}
		s.mu.Unlock()
	}
	return known, opens
}
