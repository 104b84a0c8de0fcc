package index

import (
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// Snapshot is the index as it was at one version: names, attributes, and where the
// content of that version lies. It holds nothing but disk space of the store; whoever
// reads content by it keeps segments and chunks from being removed meanwhile. Close
// it. All methods may be called concurrently.
type Snapshot struct {
	r       *pebble.Snapshot
	meta    meta
	lineage volume.Lineage
	members []volume.Member
}

var (
	_ volume.View      = (*Snapshot)(nil)
	_ volume.ExtentMap = (*Snapshot)(nil)
)

// Snapshot keeps the present state readable.
func (e *Engine) Snapshot() (*Snapshot, error) {
	e.enterMu.Lock()
	defer e.enterMu.Unlock()
	if e.broken != nil {
		return nil, e.broken
	}
	return &Snapshot{r: e.db.NewSnapshot(), meta: *e.meta.Load(), lineage: e.Lineage(), members: e.Members()}, nil
}

// Close lets go of the state. No other method may be running.
func (s *Snapshot) Close() error { return volume.Wrap(s.r.Close(), "index: end snapshot") }

// Position is the position of the last op in it.
func (s *Snapshot) Position() volume.Position { return s.meta.pos }

// Lineage is the list of reigns that wrote, through Position.
func (s *Snapshot) Lineage() volume.Lineage { return s.lineage }

// Members are the nodes that the cluster remembered.
func (s *Snapshot) Members() []volume.Member { return s.members }

// Counts are the inodes with a name and the sum of the sizes of regular files.
func (s *Snapshot) Counts() (files, bytes uint64) { return s.meta.files, s.meta.bytes }

// Inodes calls fn for all inodes from one on, in the order of their IDs, until it
// returns false. Such as live without a name are among them, ended ones are not.
func (s *Snapshot) Inodes(from volume.Ino, fn func(volume.Attr) bool) error {
	return scan(s.r, keyIno(kInode, from), []byte{kInode}, func(key, val []byte) error {
		if len(key) != 9 {
			return volume.Errorf(volume.Corrupt, "index: inode key of %d bytes", len(key))
		}
		n, err := decodeInode(volume.Ino(beUint64(key[1:])), val)
		if err != nil {
			return err
		}
		if n.flags&fEnded == 0 && !fn(n.Attr) {
			return errStop
		}
		return nil
	})
}

// ParentOf is the directory that holds a directory; the root is its own.
func (s *Snapshot) ParentOf(dir volume.Ino) (volume.Ino, error) {
	n, err := readInode(s.r, dir)
	return n.parent, err
}

// Inode implements volume.View.
func (s *Snapshot) Inode(ino volume.Ino) (volume.Attr, error) {
	n, err := readInode(s.r, ino)
	return n.Attr, err
}

// Names implements volume.View.
func (s *Snapshot) Names(ino volume.Ino) ([]volume.NameRef, error) { return readNames(s.r, ino) }

// Entry implements volume.View.
func (s *Snapshot) Entry(dir volume.Ino, name string) (volume.DirEntry, error) {
	d, ok, err := readDirent(s.r, dir, name)
	if err == nil && !ok {
		err = volume.NotFound
	}
	return volume.DirEntry{Name: name, Ino: d.ino, Type: d.typ, Cookie: d.cookie}, err
}

// Entries implements volume.View.
func (s *Snapshot) Entries(dir volume.Ino, after uint64, fn func(volume.DirEntry) bool) error {
	return readEntries(s.r, dir, after, fn)
}

// ByName walks a directory in the byte order of its names.
func (s *Snapshot) ByName(dir volume.Ino, fn func(volume.DirEntry) error) error {
	return scan(s.r, keyIno(kDirent, dir), keyIno(kDirent, dir), func(key, val []byte) error {
		d, _, err := decodeDirent(val)
		if err != nil {
			return err
		}
		return fn(volume.DirEntry{Name: string(key[9:]), Ino: d.ino, Type: d.typ, Cookie: d.cookie})
	})
}

// Target implements volume.View.
func (s *Snapshot) Target(ino volume.Ino) (string, error) {
	v, ok, err := get(s.r, keyIno(kTarget, ino))
	if err == nil && !ok {
		err = volume.Errorf(volume.Corrupt, "index: symbolic link %s has no target", ino)
	}
	return string(v), err
}

// Xattrs implements volume.View.
func (s *Snapshot) Xattrs(ino volume.Ino) ([]volume.Xattr, error) {
	n, err := readInode(s.r, ino)
	if err != nil || n.flags&fHasXattrs == 0 {
		return nil, err
	}
	return readXattrs(s.r, ino)
}

// Lower implements volume.View: what the backing remembered then.
func (s *Snapshot) Lower(ino volume.Ino) ([]byte, error) { return readLower(s.r, ino) }

// LowerIno implements volume.View.
func (s *Snapshot) LowerIno(key []byte) (volume.Ino, error) { return readLowerIno(s.r, key) }

// Extents implements volume.ExtentMap.
func (s *Snapshot) Extents(ino volume.Ino, off, length int64, fn func(volume.Extent) bool) error {
	return readExtents(s.r, ino, off, length, fn)
}

// Chunks calls fn for every chunk that an extent names, as often as one does, until it
// returns false.
func (s *Snapshot) Chunks(fn func(volume.ChunkID) bool) error {
	return s.eachExtent(func(x volume.Extent) bool { return x.InLog || x.Chunk.IsHole() || fn(x.Chunk.ID) })
}

// OldestSegment is the lowest segment of the log that an extent points into;
// math.MaxUint64 if none does.
func (s *Snapshot) OldestSegment() (uint64, error) {
	oldest := uint64(math.MaxUint64)
	err := s.eachExtent(func(x volume.Extent) bool {
		if x.InLog {
			oldest = min(oldest, x.Log.Segment)
		}
		return true
	})
	return oldest, err
}

func (s *Snapshot) eachExtent(fn func(volume.Extent) bool) error {
	return s.EachExtent(func(_ volume.Ino, x volume.Extent) bool { return fn(x) })
}

// The readers below serve the engine and its snapshots.

func readNames(r pebble.Reader, ino volume.Ino) ([]volume.NameRef, error) {
	var refs []volume.NameRef
	prefix := keyIno(kName, ino)
	err := scan(r, prefix, prefix, func(key, _ []byte) error {
		if len(key) < 17 {
			return volume.Errorf(volume.Corrupt, "index: name record of inode %s cut short", ino)
		}
		refs = append(refs, volume.NameRef{Parent: volume.Ino(beUint64(key[9:])), Name: string(key[17:])})
		return nil
	})
	return refs, err
}

func readEntries(r pebble.Reader, dir volume.Ino, afterCookie uint64, fn func(volume.DirEntry) bool) error {
	if afterCookie == math.MaxUint64 {
		return nil
	}
	from := keyInoNum(kCookie, dir, max(afterCookie+1, volume.FirstCookie))
	return scan(r, from, keyIno(kCookie, dir), func(_, val []byte) error {
		d, name, err := decodeDirent(val)
		if err != nil {
			return err
		}
		if !fn(volume.DirEntry{Name: name, Ino: d.ino, Type: d.typ, Cookie: d.cookie}) {
			return errStop
		}
		return nil
	})
}

func readXattrs(r pebble.Reader, ino volume.Ino) ([]volume.Xattr, error) {
	var xs []volume.Xattr
	prefix := keyIno(kXattr, ino)
	err := scan(r, prefix, prefix, func(key, val []byte) error {
		xs = append(xs, volume.Xattr{Name: string(key[9:]), Value: append([]byte{}, val...)})
		return nil
	})
	return xs, err
}

func readLower(r pebble.Reader, ino volume.Ino) ([]byte, error) {
	v, _, err := get(r, keyIno(kLower, ino))
	if v == nil || err != nil {
		return nil, err
	}
	return lowerValue(ino, v)
}

// lowerValue is what the backing gave, without the key in front of it.
func lowerValue(ino volume.Ino, v []byte) ([]byte, error) {
	if len(v) < 2 || len(v) < 2+int(v[0])+int(v[1])<<8 {
		return nil, volume.Errorf(volume.Corrupt, "index: lower record of inode %s cut short", ino)
	}
	return v[2+int(v[0])+int(v[1])<<8:], nil
}

func readLowerIno(r pebble.Reader, key []byte) (volume.Ino, error) {
	v, ok, err := get(r, append([]byte{kLowerIx}, key...))
	if err != nil {
		return 0, err
	}
	if !ok || len(v) != 8 {
		return 0, volume.NotFound
	}
	return volume.Ino(beUint64(v)), nil
}

func readExtents(r pebble.Reader, ino volume.Ino, off, length int64, fn func(volume.Extent) bool) (err error) {
	end := off + min(length, math.MaxInt64-off)
	it, err := r.NewIter(&pebble.IterOptions{
		LowerBound: keyInoNum(kExtent, ino, uint64(max(0, off-maxExtentLen))),
		UpperBound: keyInoNum(kExtent, ino, uint64(end)),
	})
	if err != nil {
		return volume.Wrap(err, "index: read extents")
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	ok := it.SeekLT(keyInoNum(kExtent, ino, uint64(off)+1))
	if !ok {
		ok = it.First()
	}
	for ; ok; ok = it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return volume.Wrap(err, "index: read extents")
		}
		x, err := decodeExtent(int64(beUint64(it.Key()[9:])), val)
		if err != nil {
			return err
		}
		if x.Off+x.Len <= off {
			continue
		}
		if !fn(cutExtent(x, off, end)) {
			return nil
		}
	}
	return volume.Wrap(it.Error(), "index: read extents")
}
