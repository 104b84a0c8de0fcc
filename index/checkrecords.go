package index

import (
	"bytes"
	"errors"
	"math"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// The parts of a check: one record against the others, then what all of an inode's
// records say together.

func (c *checker) inodeRecord(rest, val []byte) error {
	c.stats.Inodes++
	n, err := decodeInode(c.g.ino, val)
	if err == nil && (len(rest) != 0 || !c.g.ino.Valid()) {
		err = volume.Errorf(volume.Corrupt, "index: key of an inode that cannot be")
	}
	if err != nil {
		c.g.broken = true
		return c.found("its record", err)
	}
	c.g.n, c.g.here = n, true
	return nil
}

// pointed reads what another record points to; damage in the store ends the check.
func (c *checker) pointed(key []byte) (val []byte, ok bool, err error) {
	val, ok, err = get(c.r, key)
	if err == nil {
		return val, ok, nil
	}
	if err := c.found("a record that it points to cannot be read; what comes behind was not checked", err); err != nil {
		return nil, false, err
	}
	return nil, false, errUnreadable
}

// name holds a name of the present inode against the directory's entry.
func (c *checker) name(rest []byte) error {
	if len(rest) < 8 {
		return c.foundf("a name record of it is cut short")
	}
	dir, name := volume.Ino(beUint64(rest)), string(rest[8:])
	c.g.names++
	c.g.parent, c.g.lastName = dir, name
	if err := volume.CheckName(name); err != nil {
		return c.foundf("name %q in directory %s cannot be one", name, dir)
	}
	val, ok, err := c.pointed(keyInoName(kDirent, dir, name))
	if err != nil {
		return err
	}
	if !ok {
		return c.foundf("its name %q is not in directory %s", name, dir)
	}
	if d, _, err := decodeDirent(val); err == nil && d.ino != c.g.ino {
		return c.foundf("its name %q in directory %s is that of inode %s", name, dir, d.ino)
	}
	return nil // an entry that cannot be decoded is reported with its directory
}

// entry holds an entry of the present directory against its inode, the inode's name and
// the listing.
func (c *checker) entry(rest, val []byte) error {
	c.stats.Entries++
	c.g.entries++
	name := string(rest)
	d, extra, err := decodeDirent(val)
	if err != nil || extra != "" {
		return c.found("entry "+strconv.Quote(name), cmpErr(err, "too long"))
	}
	if d.typ == volume.ModeDir {
		c.g.subdirs++
	}
	val, ok, err := c.pointed(keyIno(kInode, d.ino))
	if err != nil {
		return err
	}
	if !ok {
		return c.foundf("entry %q leads to inode %s, which does not exist", name, d.ino)
	}
	if n, err := decodeInode(d.ino, val); err == nil && n.Type() != d.typ {
		err := c.foundf("entry %q says type %#o, inode %s has %#o", name, d.typ, d.ino, n.Type())
		if err != nil {
			return err
		}
	}
	if _, ok, err = c.pointed(keyBackName(d.ino, c.g.ino, name)); err != nil {
		return err
	} else if !ok {
		if err := c.foundf("entry %q leads to inode %s, which does not know that name", name, d.ino); err != nil {
			return err
		}
	}
	val, ok, err = c.pointed(keyInoNum(kCookie, c.g.ino, d.cookie))
	if err != nil {
		return err
	}
	if !ok {
		return c.foundf("entry %q is not in the listing", name)
	}
	if l, listed, err := decodeDirent(val); err == nil && (l.ino != d.ino || l.typ != d.typ || listed != name) {
		return c.foundf("entry %q is listed as %q, inode %s", name, listed, l.ino)
	}
	return nil
}

// cookie holds a line of the present directory's listing against the entry.
func (c *checker) cookie(rest, val []byte) error {
	c.g.cookies++
	d, name, err := decodeDirent(val)
	if err != nil || len(rest) != 8 || d.cookie != beUint64(rest) {
		return c.found("a line of its listing", cmpErr(err, "its key is that of another"))
	}
	c.g.lastCome = max(c.g.lastCome, d.cookie)
	val, ok, err := c.pointed(keyInoName(kDirent, c.g.ino, name))
	if err != nil {
		return err
	}
	if !ok {
		return c.foundf("%q is listed and no entry", name)
	}
	if e, _, err := decodeDirent(val); err == nil && e.cookie != d.cookie {
		return c.foundf("%q is listed twice", name)
	}
	return nil
}

// extent checks that extents are those of a file, one behind the other, within its size.
func (c *checker) extent(rest, val []byte) error {
	c.stats.Extents++
	if len(rest) != 8 || beUint64(rest) > math.MaxInt64 {
		return c.foundf("the key of an extent of it is damaged")
	}
	x, err := decodeExtent(int64(beUint64(rest)), val)
	if err != nil {
		return c.found("an extent", err)
	}
	n := &c.g.n
	switch {
	case !n.IsFile():
		return c.foundf("it has an extent at %d and is no file", x.Off)
	case x.Off < c.g.end:
		err = c.foundf("the extent at %d lies over the one before, which ends at %d", x.Off, c.g.end)
	case x.Off+x.Len > n.Size:
		err = c.foundf("the extent at %d ends at %d, beyond the file's size of %d", x.Off, x.Off+x.Len, n.Size)
	}
	c.g.end = max(c.g.end, x.Off+x.Len)
	return err
}

// lower checks that the backing finds the inode again by what it remembers.
func (c *checker) lower(val []byte) error {
	if len(val) < 2 || len(val) < 2+int(val[0])+int(val[1])<<8 {
		return c.foundf("what the backing remembers of it is cut short")
	}
	key := val[2 : 2+int(val[0])+int(val[1])<<8]
	if len(key) == 0 {
		return nil
	}
	back, ok, err := c.pointed(append([]byte{kLowerIx}, key...))
	if err != nil {
		return err
	}
	if !ok || len(back) != 8 || volume.Ino(beUint64(back)) != c.g.ino {
		return c.foundf("what the backing remembers of it does not lead back to it")
	}
	return nil
}

// inode checks what all records of the present inode say together.
func (c *checker) inode() error {
	g, n := &c.g, &c.g.n
	root := g.ino == volume.RootIno
	named := g.names > 0 || root
	if named {
		c.files++
		c.bytes += fileBytes(n)
	}
	var errs []error // of Found: the first ends the check
	bad := func(wrong bool, format string, args ...any) {
		if wrong && len(errs) == 0 {
			if err := c.foundf(format, args...); err != nil {
				errs = append(errs, err)
			}
		}
	}
	bad(n.Version > c.s.meta.pos.Version, "changed by op %d, which is not entered yet", n.Version)
	bad(root && g.names > 0, "the root has a name, %q in directory %s", g.lastName, g.parent)
	ended := n.flags&fEnded != 0
	bad(named && (ended || g.orphan || g.limbo), "it has names, and is noted as one without")
	bad(!named && !ended && !g.orphan, "it has no name, and is not noted as living without one")
	bad(ended != g.limbo, "it has ended: %t; it is kept for who has it open: %t", ended, g.limbo)
	if n.IsDir() {
		want := uint32(0)
		if named {
			want = 2 + g.subdirs
		}
		bad(n.Nlink != want, "link count %d, must be %d by its subdirectories", n.Nlink, want)
		bad(g.names > 1, "a directory with %d names", g.names)
		bad(g.names == 1 && n.parent != g.parent, "its parent is directory %s, its name is in %s", n.parent, g.parent)
		bad(root && n.parent != volume.RootIno, "the root's parent is directory %s", n.parent)
		bad(n.entries != g.entries, "it counts %d entries and has %d", n.entries, g.entries)
		bad(g.lastCome > volume.EntryCookie(n.Version, true), "last changed by op %d, and has an entry with the later cookie %d", n.Version, g.lastCome)
		bad(g.cookies != g.entries, "it has %d entries and lists %d", g.entries, g.cookies)
	} else {
		bad(n.Nlink != g.names, "link count %d, and %d names", n.Nlink, g.names)
		bad(g.entries+g.cookies > 0, "it has entries and is no directory")
		bad(root, "the root is no directory")
	}
	link := n.Type() == volume.ModeLink
	bad(link && g.target < 0, "a symbolic link without a target")
	bad(link && g.target >= 0 && int64(g.target) != n.Size, "a symbolic link of size %d with a target of %d bytes", n.Size, g.target)
	bad(!link && g.target >= 0, "it has a target and is no symbolic link")
	bad(g.xattrs && n.flags&fHasXattrs == 0, "it has extended attributes, which its record does not know")
	bad(g.object && n.flags&fHasObject == 0, "it has attributes that tell of its content, which its record does not know")
	return errors.Join(errs...)
}

// whole checks what belongs to no inode: counters, lineage, members, answers, the way back
// of the backing's records, and that there is nothing else.
func (c *checker) whole() error {
	c.g = group{}
	m := &c.s.meta
	if c.files != m.files {
		if err := c.foundf("the counter of files says %d, there are %d", m.files, c.files); err != nil {
			return err
		}
	}
	if c.bytes != m.bytes {
		if err := c.foundf("the counter of bytes says %d, there are %d", m.bytes, c.bytes); err != nil {
			return err
		}
	}
	var last volume.Reign
	err := c.others(kReign, func(key, val []byte) error {
		if len(key) != 9 {
			return c.foundf("the key of a reign is damaged")
		}
		r, err := decodeReign(volume.Version(beUint64(key[1:])), val)
		if err != nil {
			return c.found("a reign", err)
		}
		if r.Epoch.Number <= last.Epoch.Number || r.First > m.pos.Version {
			return c.foundf("reign %s from version %d on does not follow %s", r.Epoch, r.First, last.Epoch)
		}
		last = r
		return nil
	})
	if err == nil && last.Epoch != m.pos.Epoch {
		err = c.foundf("the last reign is %s, the position says %s", last.Epoch, m.pos.Epoch)
	}
	if err != nil {
		return err
	}
	err = c.others(kMember, func(key, val []byte) error {
		if _, err := decodeMember(string(key[1:]), val); err != nil {
			return c.found("a member", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.others(kLowerIx, func(key, val []byte) error {
		if len(val) != 8 {
			return c.foundf("a lower file is noted with %d bytes", len(val))
		}
		v, ok, err := c.pointed(keyIno(kLower, volume.Ino(beUint64(val))))
		if err != nil {
			return err
		}
		if !ok || len(v) < 2+len(key)-1 || !bytes.Equal(v[2:2+len(key)-1], key[1:]) {
			return c.foundf("a lower file is noted that no inode knows")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.answers(); err != nil {
		return err
	}
	return c.unknown()
}

// unknown looks for records of kinds that there are not.
func (c *checker) unknown() error {
	known := map[byte]bool{kMeta: true, kReign: true, kMember: true, kLowerIx: true, kCursor: true, kAnswer: true, kAsked: true}
	for _, k := range checkKinds {
		known[k] = true
	}
	for kind := range 256 {
		if known[byte(kind)] {
			continue
		}
		stop := errors.New("one is enough")
		err := c.others(byte(kind), func(key, _ []byte) error {
			if err := c.foundf("key %x is of no known kind", key); err != nil {
				return err
			}
			return stop
		})
		if err != nil && err != stop {
			return err
		}
	}
	return nil
}

// others goes through records that belong to no inode.
func (c *checker) others(kind byte, fn func(key, val []byte) error) error {
	it, err := c.r.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: after([]byte{kind})})
	if err != nil {
		return volume.Wrap(err, "index: check")
	}
	k := &cursor{c: c, kind: kind, it: it}
	err = func() error {
		for ok := it.First(); ok; ok = it.Next() {
			val, err := it.ValueAndErr()
			if err != nil {
				return c.unreadable(k, err)
			}
			if err := c.count(len(it.Key()) + len(val)); err != nil {
				return err
			}
			if err := fn(it.Key(), val); err != nil {
				return err
			}
		}
		if err := it.Error(); err != nil {
			return c.unreadable(k, err)
		}
		return nil
	}()
	if e := it.Close(); e != nil && err == nil {
		err = volume.Wrap(e, "index: check")
	}
	return err
}

func cmpErr(err error, text string) error {
	if err != nil {
		return err
	}
	return volume.Errorf(volume.Corrupt, "%s", text)
}
