package hostdir

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"

	"wolfdisk/volume"
)

// fakeIndex is a volume.View in maps, which applies ops by the rules of volume/doc.go,
// and also keeps content, to compare with. It stands for index/ in these tests.
type fakeIndex struct {
	mu      sync.RWMutex
	version volume.Version
	inodes  map[volume.Ino]*fakeInode
	lower   map[volume.Ino]volume.LowerRecord
	keys    map[string]volume.Ino
	// lost makes the index forget records, as after a crash.
	noRecords bool
}

type fakeInode struct {
	attr    volume.Attr
	content []byte
	target  string
	xattrs  map[string]string
	entries map[string]volume.DirEntry
	names   map[volume.NameRef]bool
}

func newFakeIndex() *fakeIndex {
	f := &fakeIndex{inodes: map[volume.Ino]*fakeInode{}, lower: map[volume.Ino]volume.LowerRecord{}, keys: map[string]volume.Ino{}}
	f.inodes[volume.RootIno] = newFakeInode(volume.Attr{Ino: volume.RootIno, Mode: volume.ModeDir | 0o755, Nlink: 2})
	return f
}

func newFakeInode(a volume.Attr) *fakeInode {
	return &fakeInode{attr: a, xattrs: map[string]string{}, entries: map[string]volume.DirEntry{}, names: map[volume.NameRef]bool{}}
}

// clone copies the index without its records, which a crash may lose.
func (f *fakeIndex) clone() *fakeIndex {
	f.mu.RLock()
	defer f.mu.RUnlock()
	c := &fakeIndex{version: f.version, inodes: map[volume.Ino]*fakeInode{}, lower: maps.Clone(f.lower), keys: maps.Clone(f.keys)}
	for ino, n := range f.inodes {
		m := *n
		m.content, m.xattrs = bytes.Clone(n.content), maps.Clone(n.xattrs)
		m.entries, m.names = maps.Clone(n.entries), maps.Clone(n.names)
		c.inodes[ino] = &m
	}
	return c
}

func (f *fakeIndex) store(records []volume.LowerRecord) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.storeLocked(records)
}

func (f *fakeIndex) storeLocked(records []volume.LowerRecord) {
	for _, r := range records {
		if f.inodes[r.Ino] == nil || f.noRecords {
			continue
		}
		delete(f.keys, string(f.lower[r.Ino].Key))
		f.lower[r.Ino] = volume.LowerRecord{Ino: r.Ino, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
		f.keys[string(r.Key)] = r.Ino
	}
}

// apply enters an op; it panics on one that does not fit, for the test made it.
func (f *fakeIndex) apply(op *volume.Op, records []volume.LowerRecord) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	v := f.version
	touch := func(ino volume.Ino, mtime bool) *fakeInode {
		n := f.inodes[ino]
		if n == nil {
			panic(fmt.Sprintf("%s op on inode %s, which is not there", op.Kind, ino))
		}
		n.attr.Ctime, n.attr.Version = op.Time, v
		if mtime {
			n.attr.Mtime = op.Time
		}
		return n
	}
	enter := func(dir volume.Ino, name string, ino volume.Ino, second bool) {
		d, n := touch(dir, true), f.inodes[ino]
		if _, ok := d.entries[name]; ok {
			panic("name taken: " + name)
		}
		d.entries[name] = volume.DirEntry{Name: name, Ino: ino, Type: n.attr.Type(), Cookie: volume.EntryCookie(v, second)}
		n.names[volume.NameRef{Parent: dir, Name: name}] = true
		if n.attr.IsDir() {
			d.attr.Nlink++
			n.attr.Nlink = 2 + f.subdirs(n)
		} else {
			n.attr.Nlink++
		}
	}
	leave := func(dir volume.Ino, name string) *fakeInode {
		d := touch(dir, true)
		e, ok := d.entries[name]
		if !ok {
			panic("no name " + name)
		}
		delete(d.entries, name)
		n := f.inodes[e.Ino]
		delete(n.names, volume.NameRef{Parent: dir, Name: name})
		if n.attr.IsDir() {
			d.attr.Nlink--
			n.attr.Nlink = 0
		} else {
			n.attr.Nlink--
		}
		return n
	}
	displace := func(dir volume.Ino, name string, ino volume.Ino) {
		leave(dir, name)
		n := touch(ino, false)
		if n.attr.Nlink == 0 && op.Flags&volume.OpEnds != 0 {
			f.end(ino)
		}
	}
	mode := func(n *fakeInode) {
		if op.Mask&volume.SetMode != 0 {
			n.attr.Mode = n.attr.Type() | op.Mode
		}
		if op.Flags&volume.OpDropCaps != 0 {
			delete(n.xattrs, volume.XattrCapability)
		}
	}
	switch op.Kind {
	case volume.OpCreate:
		n := newFakeInode(volume.Attr{Ino: op.Ino, Mode: op.Mode, UID: op.UID, GID: op.GID, Rdev: op.Rdev, Version: v,
			Size: int64(len(op.Target)), Atime: op.Time, Mtime: op.Time, Ctime: op.Time, Btime: op.Time})
		n.target = op.Target
		for _, x := range op.Xattrs {
			n.xattrs[x.Name] = string(x.Value)
		}
		f.inodes[op.Ino] = n
		if op.Parent != 0 {
			enter(op.Parent, op.Name, op.Ino, false)
		}
	case volume.OpLink:
		touch(op.Ino, false)
		enter(op.Parent, op.Name, op.Ino, false)
	case volume.OpUnlink, volume.OpRmdir:
		displace(op.Parent, op.Name, op.Ino)
	case volume.OpRename:
		touch(op.Ino, false)
		leave(op.Parent, op.Name)
		if op.Flags&volume.OpExchange != 0 {
			leave(op.NewParent, op.NewName)
			touch(op.Replaced, false)
			enter(op.Parent, op.Name, op.Replaced, true)
		} else if op.Replaced != 0 {
			displace(op.NewParent, op.NewName, op.Replaced)
		}
		enter(op.NewParent, op.NewName, op.Ino, false)
	case volume.OpSetAttr:
		n := touch(op.Ino, false)
		mode(n)
		if op.Mask&volume.SetUID != 0 {
			n.attr.UID = op.UID
		}
		if op.Mask&volume.SetGID != 0 {
			n.attr.GID = op.GID
		}
		if op.Mask&volume.SetAtime != 0 {
			n.attr.Atime = op.Atime
		}
		if op.Mask&volume.SetMtime != 0 {
			n.attr.Mtime = op.Mtime
		}
	case volume.OpWrite:
		n := touch(op.Ino, true)
		mode(n)
		n.resize(max(n.attr.Size, op.Offset+int64(len(op.Data))))
		copy(n.content[op.Offset:], op.Data)
	case volume.OpTruncate:
		n := touch(op.Ino, true)
		mode(n)
		n.resize(op.Size)
	case volume.OpFallocate:
		n := touch(op.Ino, true)
		mode(n)
		if op.Alloc&volume.FallocKeepSize == 0 {
			n.resize(max(n.attr.Size, op.Offset+op.Length))
		}
		if op.Alloc&(volume.FallocPunchHole|volume.FallocZeroRange) != 0 && op.Offset < n.attr.Size {
			clear(n.content[op.Offset:min(n.attr.Size, op.Offset+op.Length)])
		}
	case volume.OpSetXattr:
		n := touch(op.Ino, false)
		mode(n)
		n.xattrs[op.Name] = string(op.Data)
	case volume.OpRemoveXattr:
		n := touch(op.Ino, false)
		mode(n)
		delete(n.xattrs, op.Name)
	case volume.OpEnd:
		f.end(op.Ino)
	case volume.OpPublish:
		n := touch(op.Ino, false)
		mode(n)
		for _, x := range op.Xattrs {
			n.xattrs[x.Name] = string(x.Value)
		}
		if op.Replaced != 0 {
			displace(op.Parent, op.Name, op.Replaced)
		}
		enter(op.Parent, op.Name, op.Ino, false)
	default:
		panic("fake index: " + op.Kind.String())
	}
	f.storeLocked(records)
}

func (n *fakeInode) resize(size int64) {
	if size <= int64(len(n.content)) {
		n.content = n.content[:size]
	} else {
		n.content = append(n.content, make([]byte, size-int64(len(n.content)))...)
	}
	n.attr.Size = size
}

func (f *fakeIndex) subdirs(n *fakeInode) (c uint32) {
	for _, e := range n.entries {
		if e.Type == volume.ModeDir {
			c++
		}
	}
	return c
}

func (f *fakeIndex) end(ino volume.Ino) {
	delete(f.inodes, ino)
	delete(f.keys, string(f.lower[ino].Key))
	delete(f.lower, ino)
}

func (f *fakeIndex) Inode(ino volume.Ino) (volume.Attr, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.inodes[ino]; n != nil {
		return n.attr, nil
	}
	return volume.Attr{}, volume.NotFound
}

func (f *fakeIndex) Names(ino volume.Ino) ([]volume.NameRef, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.inodes[ino]; n != nil {
		return slices.Collect(maps.Keys(n.names)), nil
	}
	return nil, nil
}

// Prefetch implements volume.Prefetcher: all is in memory.
func (f *fakeIndex) Prefetch(volume.Ino, []string) error { return nil }

func (f *fakeIndex) Entry(dir volume.Ino, name string) (volume.DirEntry, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.inodes[dir]; n != nil {
		if e, ok := n.entries[name]; ok {
			return e, nil
		}
	}
	return volume.DirEntry{}, volume.NotFound
}

func (f *fakeIndex) Entries(dir volume.Ino, after uint64, fn func(volume.DirEntry) bool) error {
	f.mu.RLock()
	n := f.inodes[dir]
	var all []volume.DirEntry
	if n != nil {
		all = slices.Collect(maps.Values(n.entries))
	}
	f.mu.RUnlock()
	sort.Slice(all, func(i, j int) bool { return all[i].Cookie < all[j].Cookie })
	for _, e := range all {
		if e.Cookie > after && !fn(e) {
			break
		}
	}
	return nil
}

func (f *fakeIndex) Target(ino volume.Ino) (string, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.inodes[ino]; n != nil {
		return n.target, nil
	}
	return "", volume.NotFound
}

func (f *fakeIndex) Xattrs(ino volume.Ino) ([]volume.Xattr, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []volume.Xattr
	if n := f.inodes[ino]; n != nil {
		for _, k := range slices.Sorted(maps.Keys(n.xattrs)) {
			out = append(out, volume.Xattr{Name: k, Value: []byte(n.xattrs[k])})
		}
	}
	return out, nil
}

func (f *fakeIndex) Lower(ino volume.Ino) ([]byte, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.lower[ino].Value, nil
}

func (f *fakeIndex) LowerIno(key []byte) (volume.Ino, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if ino, ok := f.keys[string(key)]; ok {
		return ino, nil
	}
	return 0, volume.NotFound
}
