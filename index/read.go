package index

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

func beUint64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

// get reads one key; ok is false if it is not there. The value is a copy.
func (e *Engine) get(key []byte) (val []byte, ok bool, err error) { return get(e.db, key) }

func get(r pebble.Reader, key []byte) (val []byte, ok bool, err error) {
	v, closer, err := r.Get(key)
	if err == pebble.ErrNotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, volume.Wrap(err, "index: read")
	}
	val = append([]byte(nil), v...)
	return val, true, closeAnd(closer, nil)
}

// inode reads a record; NotFound if the inode does not exist.
func (e *Engine) inode(ino volume.Ino) (inode, error) {
	n, ok, gen := e.cache.get(ino)
	if ok {
		return n, nil
	}
	n, err := readInode(e.db, ino)
	if err == nil {
		e.cache.fill(ino, n, gen)
	}
	return n, err
}

// lower reads what is stored of the backing about an inode; nil if there is nothing.
func (e *Engine) lower(ino volume.Ino) ([]byte, error) {
	v, ok, gen := e.lowers.get(ino)
	if ok {
		return v, nil
	}
	v, _, err := get(e.db, keyIno(kLower, ino))
	if err == nil {
		e.lowers.fill(ino, v, gen)
	}
	return v, err
}

func readInode(r pebble.Reader, ino volume.Ino) (inode, error) {
	var key [9]byte
	key[0] = kInode
	binary.BigEndian.PutUint64(key[1:], uint64(ino))
	v, closer, err := r.Get(key[:])
	if err == pebble.ErrNotFound {
		return inode{}, volume.NotFound
	}
	if err != nil {
		return inode{}, volume.Wrap(err, "index: read inode "+ino.String())
	}
	n, err := decodeInode(ino, v)
	return n, closeAnd(closer, err)
}

// live reads a record for a caller that names the inode: Stale if it is gone.
func (e *Engine) live(ino volume.Ino) (inode, error) {
	n, err := e.inode(ino)
	if err == volume.NotFound {
		err = volume.Stale
	}
	return n, err
}

// alive reads the record of an inode that can be changed: not of one that has ended and is kept
// for who on this node has it open, as a follower's readers had it before it was promoted.
func (e *Engine) alive(ino volume.Ino) (inode, error) {
	n, err := e.live(ino)
	if err != nil || n.Nlink > 0 {
		return n, err
	}
	if ended, err := e.Ended(ino); err != nil || ended {
		return n, errors.Join(err, volume.Stale)
	}
	return n, nil
}

// Ended reports whether an inode has ended, and is kept for who on this node has it open.
func (e *Engine) Ended(ino volume.Ino) (bool, error) {
	_, limbo, err := e.get(keyIno(kLimbo, ino))
	return limbo, err
}

// dir reads the record of a directory.
func (e *Engine) dir(ino volume.Ino) (inode, error) {
	n, err := e.live(ino)
	if err == nil && !n.IsDir() {
		err = volume.NotDir
	}
	return n, err
}

func (e *Engine) dirent(dir volume.Ino, name string) (dirent, bool, error) {
	k := nameKey{dir, name}
	d, known, gen := e.entries.get(k)
	if known {
		return d, d.ino != 0, nil
	}
	d, ok, err := readDirent(e.db, dir, name)
	if err == nil {
		k.name = strings.Clone(name) // the caller's may be part of something large
		e.entries.fill(k, d, gen)
	}
	return d, ok, err
}

func readDirent(r pebble.Reader, dir volume.Ino, name string) (dirent, bool, error) {
	var buf [9 + volume.MaxNameLen]byte
	key := append(binary.BigEndian.AppendUint64(append(buf[:0], kDirent), uint64(dir)), name...)
	v, closer, err := r.Get(key)
	if err == pebble.ErrNotFound {
		return dirent{}, false, nil
	}
	if err != nil {
		return dirent{}, false, volume.Wrap(err, "index: read entry")
	}
	d, _, err := decodeDirent(v)
	return d, true, closeAnd(closer, err)
}

// Lookup finds a name in a directory.
func (e *Engine) Lookup(parent volume.Ino, name string) (volume.Attr, error) {
	if _, err := e.dir(parent); err != nil {
		return volume.Attr{}, err
	}
	if err := volume.CheckName(name); err != nil {
		return volume.Attr{}, err
	}
	for last := volume.Ino(0); ; {
		d, ok, err := e.dirent(parent, name)
		if err != nil {
			return volume.Attr{}, err
		}
		if !ok {
			return volume.Attr{}, volume.NotFound
		}
		n, err := e.inode(d.ino)
		if err != volume.NotFound {
			return n.Attr, err
		}
		// It ended after the entry was read, with the entry: another may have taken
		// the name in the same moment. What is cached of it may be a moment behind.
		e.entries.drop(nameKey{parent, name})
		if d.ino == last {
			return volume.Attr{}, volume.Errorf(volume.Corrupt, "index: %q in %s stands for inode %s, which does not exist", name, parent, d.ino)
		}
		last = d.ino
	}
}

// GetAttr is the attributes of an inode; Stale.
func (e *Engine) GetAttr(ino volume.Ino) (volume.Attr, error) {
	n, err := e.live(ino)
	return n.Attr, err
}

// ReadLink is the target of a symbolic link.
func (e *Engine) ReadLink(ino volume.Ino) (string, error) {
	n, err := e.live(ino)
	if err != nil {
		return "", err
	}
	if n.Type() != volume.ModeLink {
		return "", volume.Invalid
	}
	v, ok, err := e.get(keyIno(kTarget, ino))
	if err == nil && !ok {
		if _, err = readInode(e.db, ino); err == volume.NotFound {
			return "", volume.Stale // it has ended meanwhile
		}
		err = errors.Join(err, volume.Errorf(volume.Corrupt, "index: symbolic link %s has no target", ino))
	}
	return string(v), err
}

// ReadDir walks a directory in cookie order, as volume.Reader.ReadDir.
func (e *Engine) ReadDir(dir volume.Ino, afterCookie uint64, fn func(volume.DirEntry) bool) error {
	if _, err := e.dir(dir); err != nil {
		return err
	}
	return readEntries(e.db, dir, afterCookie, fn)
}

// ParentOf is the directory that holds a directory.
func (e *Engine) ParentOf(dir volume.Ino) (volume.Ino, error) {
	n, err := e.dir(dir)
	return n.parent, err
}

// GetXattr is a copy of an attribute's value; NoXattr.
func (e *Engine) GetXattr(ino volume.Ino, name string) ([]byte, error) {
	n, err := e.live(ino)
	if err != nil {
		return nil, err
	}
	if n.flags&fHasXattrs == 0 {
		return nil, absentXattr(&n, name)
	}
	v, ok, err := e.get(keyInoName(kXattr, ino, name))
	if err == nil && !ok {
		err = absentXattr(&n, name)
	}
	return v, err
}

// absentXattr is why an attribute is not there: its name may be none that could be.
func absentXattr(n *inode, name string) error {
	acl := name == volume.XattrACLAccess || name == volume.XattrACLDefault
	if err := checkXattr(n, name, nil); err != nil && err != volume.NotPermitted && !acl {
		return err
	}
	return volume.NoXattr
}

// ListXattr is the sorted names of an inode's attributes.
func (e *Engine) ListXattr(ino volume.Ino) ([]string, error) {
	xs, err := e.Xattrs(ino)
	var names []string
	for _, x := range xs {
		names = append(names, x.Name)
	}
	return names, err
}

// Xattrs is all attributes of an inode, sorted by name.
func (e *Engine) Xattrs(ino volume.Ino) ([]volume.Xattr, error) {
	n, err := e.live(ino)
	if err != nil || n.flags&fHasXattrs == 0 {
		return nil, err
	}
	return readXattrs(e.db, ino)
}

// Inode, Names, Entry, Entries, Target, Lower and LowerIno make the engine a
// volume.View.

// Inode is an inode's attributes; NotFound.
func (e *Engine) Inode(ino volume.Ino) (volume.Attr, error) {
	n, err := e.inode(ino)
	return n.Attr, err
}

// Names are the names of an inode.
func (e *Engine) Names(ino volume.Ino) ([]volume.NameRef, error) {
	return readNames(e.db, ino)
}

// Entry finds a name in a directory; NotFound.
func (e *Engine) Entry(dir volume.Ino, name string) (volume.DirEntry, error) {
	d, ok, err := e.dirent(dir, name)
	if err == nil && !ok {
		err = volume.NotFound
	}
	return volume.DirEntry{Name: name, Ino: d.ino, Type: d.typ, Cookie: d.cookie}, err
}

// Entries walks a directory in cookie order.
func (e *Engine) Entries(dir volume.Ino, afterCookie uint64, fn func(volume.DirEntry) bool) error {
	return e.ReadDir(dir, afterCookie, fn)
}

// Target is the target of a symbolic link.
func (e *Engine) Target(ino volume.Ino) (string, error) { return e.ReadLink(ino) }

// Lower is the record the backing left about an inode, not to be changed; nil if none.
func (e *Engine) Lower(ino volume.Ino) ([]byte, error) {
	v, err := e.lower(ino)
	if v == nil || err != nil {
		return nil, err
	}
	return lowerValue(ino, v)
}

// Lowers calls fn with each record that the backing left, in the order of the inode IDs, until it
// fails. The value is fn's until it returns.
func (e *Engine) Lowers(fn func(ino volume.Ino, value []byte) error) error {
	return scan(e.db, []byte{kLower}, []byte{kLower}, func(key, val []byte) error {
		if len(key) != 9 {
			return volume.Errorf(volume.Corrupt, "index: key of a lower record of %d bytes", len(key))
		}
		ino := volume.Ino(beUint64(key[1:]))
		v, err := lowerValue(ino, val)
		if err != nil {
			return err
		}
		return fn(ino, v)
	})
}

// LowerIno finds the inode whose record was put with the given key; NotFound.
func (e *Engine) LowerIno(key []byte) (volume.Ino, error) {
	return readLowerIno(e.db, key)
}

// Extents implements volume.ExtentMap.
func (e *Engine) Extents(ino volume.Ino, off, length int64, fn func(volume.Extent) bool) error {
	return readExtents(e.db, ino, off, length, fn)
}

// ReadNames walks a directory in the byte order of its names, from one on.
func (e *Engine) ReadNames(dir volume.Ino, from string, fn func(volume.DirEntry) bool) error {
	if _, err := e.dir(dir); err != nil {
		return err
	}
	return scan(e.db, keyInoName(kDirent, dir, from), keyIno(kDirent, dir), func(key, val []byte) error {
		d, _, err := decodeDirent(val)
		if err != nil {
			return err
		}
		if !fn(volume.DirEntry{Name: string(key[9:]), Ino: d.ino, Type: d.typ, Cookie: d.cookie}) {
			return errStop
		}
		return nil
	})
}

// ReadKept walks the inodes without a name that are kept alive, in the order of IDs.
func (e *Engine) ReadKept(after volume.Ino, fn func(volume.Ino) bool) error {
	if after == math.MaxUint64 {
		return nil
	}
	return scan(e.db, keyIno(kOrphan, after+1), []byte{kOrphan}, func(key, _ []byte) error {
		ino := volume.Ino(beUint64(key[1:]))
		if kept, err := e.Kept(ino); err != nil || !kept {
			return err
		}
		if !fn(ino) {
			return errStop
		}
		return nil
	})
}

// Kept reports whether an inode has XattrKeep, and so lives on without a name.
func (e *Engine) Kept(ino volume.Ino) (bool, error) {
	_, err := e.GetXattr(ino, volume.XattrKeep)
	if k := volume.KindOf(err); k == volume.NoXattr || k == volume.Stale {
		return false, nil
	}
	return err == nil, err
}

// Orphans are the inodes that live without a name.
func (e *Engine) Orphans() ([]volume.Ino, error) {
	var inos []volume.Ino
	err := e.scan([]byte{kOrphan}, func(key, _ []byte) error {
		inos = append(inos, volume.Ino(beUint64(key[1:])))
		return nil
	})
	return inos, err
}

func sortedMembers(m map[string]volume.Member) []volume.Member {
	var list []volume.Member
	for _, v := range m {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b volume.Member) int { return volume.CompareNodeIDs(a.ID, b.ID) })
	return list
}
