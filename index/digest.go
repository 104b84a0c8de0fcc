package index

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"strings"
	"sync"

	"wolfdisk/volume"
)

// Digests compares copies of a volume. An Entry is what a directory holds under one
// name, with everything that must be equal on all nodes, and, of a directory, sums over
// all below it. So two copies whose sums are equal need not be walked by anybody but
// their own nodes, and where they are not, the walk goes down to the difference and
// nowhere else.

// Sum is the first half of a SHA-256.
type Sum [16]byte

func sumOf(h hash.Hash) (s Sum) {
	copy(s[:], h.Sum(nil))
	return s
}

// XattrSum is an extended attribute with a sum instead of its value.
type XattrSum struct {
	Name string
	Sum  Sum
}

// Entry is one name and the inode behind it.
type Entry struct {
	Name   string
	Ino    volume.Ino
	Type   uint32 // as the directory has it
	Cookie uint64
	// Found is false if the index has the name but no such inode; all below is zero then.
	Found  bool
	Attr   volume.Attr
	Parent volume.Ino // of a directory, as its inode has it
	Target string     // of a symbolic link
	Xattrs []XattrSum // sorted by name
	// Of a directory: Order is the sum of its listing in the order of cookies, Tree that
	// of its entries and all below them.
	Order, Tree Sum
}

// NoDir stands for a directory that holds the inodes without a name, under their IDs.
const NoDir volume.Ino = 0

// cachedFrom is how many names must be below a directory for its sums to be kept: what
// is smaller is quickly made again. It bounds the memory of a comparison by a small
// part of the names.
const cachedFrom = 64

// Digests makes entries and sums of a snapshot. Its methods may be called concurrently.
type Digests struct {
	s *Snapshot
	// seen is told how many names were read, directory by directory.
	seen func(uint64)

	mu    sync.Mutex
	cache map[volume.Ino]dirSums
}

type dirSums struct {
	order, tree Sum
	names       uint64 // below it
}

// Digests prepares to compare a snapshot, which must stay open. seen may be nil.
func (s *Snapshot) Digests(seen func(names uint64)) *Digests {
	if seen == nil {
		seen = func(uint64) {}
	}
	return &Digests{s: s, seen: seen, cache: map[volume.Ino]dirSums{}}
}

// Find is the entry at a path from the root, without a leading slash; the root's own if
// it is empty. NotFound, NotDir.
func (d *Digests) Find(ctx context.Context, path string) (Entry, error) {
	at := volume.DirEntry{Ino: volume.RootIno, Type: volume.ModeDir}
	for path != "" {
		name, rest, _ := strings.Cut(path, "/")
		path = rest
		if name == "" || name == "." {
			continue
		}
		if at.Type != volume.ModeDir {
			return Entry{}, volume.NotDir
		}
		if err := volume.CheckName(name); err != nil {
			return Entry{}, err
		}
		var err error
		if at, err = d.s.Entry(at.Ino, name); err != nil {
			return Entry{}, err
		}
	}
	e, err := d.entry(at)
	if err == nil {
		err = d.sum(ctx, &e)
	}
	return e, err
}

// List calls fn with the entries of a directory in the byte order of their names, each
// valid until it returns.
func (d *Digests) List(ctx context.Context, dir volume.Ino, fn func(*Entry) error) error {
	return d.each(ctx, dir, func(e *Entry) error {
		if err := d.sum(ctx, e); err != nil {
			return err
		}
		return fn(e)
	})
}

// each is List without sums.
func (d *Digests) each(ctx context.Context, dir volume.Ino, fn func(*Entry) error) error {
	one := func(de volume.DirEntry) error {
		if ctx.Err() != nil {
			return volume.Errorf(volume.Interrupted, "compare directory %s: %w", dir, context.Cause(ctx))
		}
		e, err := d.entry(de)
		if err != nil {
			return err
		}
		return fn(&e)
	}
	if dir != NoDir {
		return d.s.ByName(dir, one)
	}
	return scan(d.s.r, []byte{kOrphan}, []byte{kOrphan}, func(key, _ []byte) error {
		if len(key) != 9 {
			return volume.Errorf(volume.Corrupt, "index: key of a nameless inode with %d bytes", len(key))
		}
		ino := volume.Ino(beUint64(key[1:]))
		a, err := d.s.Inode(ino)
		if err != nil && err != volume.NotFound {
			return err
		}
		return one(volume.DirEntry{Name: ino.String(), Ino: ino, Type: a.Type()})
	})
}

// entry reads what is behind a name, but no sums.
func (d *Digests) entry(de volume.DirEntry) (Entry, error) {
	e := Entry{Name: de.Name, Ino: de.Ino, Type: de.Type, Cookie: de.Cookie}
	n, err := readInode(d.s.r, de.Ino)
	if err == volume.NotFound {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	e.Found, e.Attr = true, n.Attr
	if n.IsDir() {
		e.Parent = n.parent
	}
	if n.Type() == volume.ModeLink {
		v, _, err := get(d.s.r, keyIno(kTarget, de.Ino))
		if err != nil {
			return e, err
		}
		e.Target = string(v) // empty, which none is, if it is not there
	}
	// Whatever the record's flags say: the attributes themselves are looked at.
	prefix := keyIno(kXattr, de.Ino)
	return e, scan(d.s.r, prefix, prefix, func(key, val []byte) error {
		whole := sha256.Sum256(val)
		e.Xattrs = append(e.Xattrs, XattrSum{Name: string(key[9:]), Sum: Sum(whole[:16])})
		return nil
	})
}

// sum completes the entry of a directory.
func (d *Digests) sum(ctx context.Context, e *Entry) error {
	if !e.Found || !e.Attr.IsDir() {
		return nil
	}
	s, err := d.dir(ctx, e.Ino, map[volume.Ino]bool{})
	e.Order, e.Tree = s.order, s.tree
	return err
}

// dir sums up a directory and all below it; above are the directories on the way, in
// which it must not be found again.
func (d *Digests) dir(ctx context.Context, ino volume.Ino, above map[volume.Ino]bool) (s dirSums, err error) {
	d.mu.Lock()
	s, ok := d.cache[ino]
	d.mu.Unlock()
	if ok {
		return s, nil
	}
	if above[ino] {
		return s, volume.Errorf(volume.Corrupt, "index: directory %s lies in itself", ino)
	}
	above[ino] = true
	defer delete(above, ino)
	h := sha256.New()
	var subdirs []volume.Ino
	var buf []byte
	err = d.each(ctx, ino, func(e *Entry) error {
		s.names++
		if e.Found && e.Attr.IsDir() {
			subdirs = append(subdirs, e.Ino)
		}
		buf = e.Append(buf[:0])
		writeSized(h, buf)
		return nil
	})
	if err != nil {
		return s, err
	}
	d.seen(s.names)
	if s.order, err = d.order(ino); err != nil {
		return s, err
	}
	for _, sub := range subdirs {
		below, err := d.dir(ctx, sub, above)
		if err != nil {
			return s, err
		}
		s.names += below.names
		h.Write(below.order[:])
		h.Write(below.tree[:])
	}
	s.tree = sumOf(h)
	if s.names >= cachedFrom {
		d.mu.Lock()
		d.cache[ino] = s
		d.mu.Unlock()
	}
	return s, nil
}

// order sums up a directory as readdir shows it.
func (d *Digests) order(ino volume.Ino) (Sum, error) {
	h := sha256.New()
	var buf []byte
	err := d.s.Entries(ino, 0, func(e volume.DirEntry) bool {
		buf = binary.BigEndian.AppendUint64(buf[:0], e.Cookie)
		buf = binary.BigEndian.AppendUint64(buf, uint64(e.Ino))
		buf = binary.BigEndian.AppendUint32(buf, e.Type)
		writeSized(h, append(buf, e.Name...))
		return true
	})
	return sumOf(h), err
}

func writeSized(h hash.Hash, b []byte) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(b)))
	h.Write(n[:])
	h.Write(b)
}
