package hostdir

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// DiffKind says how the directory differs from the index at one name.
type DiffKind uint8

const (
	DiffMissing  DiffKind = iota + 1 // the index has it, the directory does not
	DiffExtra                        // the directory has it, the index does not
	DiffType                         // it has another type
	DiffReplaced                     // it is another file of the same type
	DiffChanged                      // it was changed since our own last change; see Fields
)

func (k DiffKind) String() string {
	switch k {
	case DiffMissing:
		return "missing"
	case DiffExtra:
		return "extra"
	case DiffType:
		return "other type"
	case DiffReplaced:
		return "replaced"
	case DiffChanged:
		return "changed"
	}
	return fmt.Sprintf("difference %d", uint8(k))
}

// DiffFields says what differs from the index. Of a changed regular file the content
// may differ in any case: only its ctime tells.
type DiffFields uint8

const (
	FieldSize DiffFields = 1 << iota
	FieldMode
	FieldOwner
	FieldMtime
	FieldXattrs
	FieldTarget // of a symbolic link
	FieldRdev
)

var fieldNames = []string{"size", "mode", "owner", "mtime", "attributes", "target", "device"}

func (f DiffFields) String() string {
	var names []string
	for i, n := range fieldNames {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// Difference is one place where directory and index do not agree.
type Difference struct {
	Kind   DiffKind
	Fields DiffFields
	Path   string     // from the root, without a leading slash
	Parent volume.Ino // the directory that holds, or should hold, the name
	Name   string
	Ino    volume.Ino // the index's inode; 0 of an extra one
	// Lower is what the directory has, unless missing: type and mode, owner, Rdev, Size,
	// times, Nlink. Its Ino is 0; LowerIno is the number below.
	Lower    volume.Attr
	LowerIno uint64
	// Why is set where the kind does not say it all.
	Why string
}

func (f Difference) String() string {
	s := fmt.Sprintf("%q: %s", f.Path, f.Kind)
	if f.Fields != 0 {
		s += " (" + f.Fields.String() + ")"
	}
	if f.Why != "" {
		s += ", " + f.Why
	}
	return s
}

func (st *lowerStat) attr() volume.Attr {
	return volume.Attr{Mode: st.Mode, Nlink: uint32(min(st.Nlink, 1<<32-1)), UID: st.UID, GID: st.GID, Rdev: st.Rdev, Size: st.Size,
		Atime: st.Atime, Mtime: st.Mtime, Ctime: st.Ctime}
}

// CheckOptions say how Check works.
type CheckOptions struct {
	// Live says that ops go on meanwhile: what is gone while it is looked at is passed
	// over. What they touch may be reported, see CheckName.
	Live bool
	// Seen, if not nil, is told of each directory that was compared, by its path, and
	// of the number of names in it.
	Seen func(path string, names int)
	// Suspects are inodes that are reported as changed, however they look.
	Suspects map[volume.Ino]bool
}

// Check compares the whole directory with the index and calls fn with each difference,
// parents before children, until it fails. It changes nothing below. Memory is
// bounded by the subdirectories of the directories it is in.
func (d *Dir) Check(ctx context.Context, view volume.View, fn func(Difference) error) error {
	return d.CheckAll(ctx, view, CheckOptions{}, fn)
}

// CheckAll is Check with options.
func (d *Dir) CheckAll(ctx context.Context, view volume.View, o CheckOptions, fn func(Difference) error) error {
	if err := d.CheckName(ctx, view, 0, "", "", o, fn); err != nil {
		return err
	}
	return d.CheckBelow(ctx, view, volume.RootIno, "", o, fn)
}

// CheckBelow is Check for what is in one directory of the index, whose path ends in a
// slash.
func (d *Dir) CheckBelow(ctx context.Context, view volume.View, ino volume.Ino, path string, o CheckOptions, fn func(Difference) error) error {
	c := &checker{d: d, ctx: ctx, view: view, fn: fn, opt: o}
	fd, release, err := d.dirFD(ino, view)
	if err != nil {
		return c.passOver(ignoreMissing(err))
	}
	defer release()
	return c.dir(fd, ino, path)
}

// CheckName compares one name of a directory of the index, without what is below; that
// of the root's own attributes if parent is 0.
func (d *Dir) CheckName(ctx context.Context, view volume.View, parent volume.Ino, name, path string, o CheckOptions, fn func(Difference) error) error {
	c := &checker{d: d, ctx: ctx, view: view, fn: fn, opt: o}
	if parent == 0 {
		st, err := fstat(d.root)
		if err != nil {
			return volume.Wrap(err, "check the root directory")
		}
		attr, err := view.Inode(volume.RootIno)
		if err != nil {
			return volume.Wrap(err, "check the root directory")
		}
		return c.inode(Difference{Ino: volume.RootIno}, place{d.root, "."}, &attr, &st)
	}
	fd, release, err := d.dirFD(parent, view)
	if err != nil {
		return c.passOver(ignoreMissing(err))
	}
	defer release()
	if st, err := statAt(fd, name); err != unix.ENOENT {
		if err == nil {
			_, _, err = c.name(fd, parent, path, name, &st)
		}
		return volume.Wrapf(err, "check %q", path+name)
	}
	e, err := view.Entry(parent, name)
	if err != nil {
		if volume.KindOf(err) == volume.NotFound {
			err = nil
		}
		return err
	}
	return fn(Difference{Kind: DiffMissing, Path: path + name, Parent: parent, Name: name, Ino: e.Ino})
}

type checker struct {
	d    *Dir
	ctx  context.Context
	view volume.View
	fn   func(Difference) error
	opt  CheckOptions

	stats []statResult // of the names that are looked at together
}

type statResult struct {
	lowerStat
	err error
}

// checkFew is from how many names on it pays to have their records read ahead.
const checkFew = 16

// passOver drops the error of something that ops took away while it was looked at.
func (c *checker) passOver(err error) error {
	if err == nil || !c.opt.Live {
		return err
	}
	switch volume.KindOf(err) {
	case volume.NotFound, volume.Stale, volume.Missing, volume.NotDir:
		return nil
	}
	return err
}

// dir compares one directory, then those in it.
func (c *checker) dir(fd int, ino volume.Ino, path string) error {
	matched, seen := 0, 0
	var subdirs []volume.DirEntry
	release, err := c.d.lease(fd, 0o700)
	if err != nil {
		return volume.Wrapf(err, "check directory %q", path)
	}
	defer release()
	known := func(e volume.DirEntry) {
		matched++
		if e.Type == volume.ModeDir {
			subdirs = append(subdirs, e)
		}
	}
	var failed error
	err = c.d.listNames(c.ctx, fd, func(name string) bool { return !IsReserved(ino, name) }, func(names []string) error {
		seen += len(names)
		failed = c.listed(fd, ino, path, names, known)
		return failed
	})
	if failed == nil {
		err = c.passOver(err) // it was removed since it was opened
	}
	if err != nil {
		return volume.Wrapf(err, "check directory %q", path)
	}
	if err := c.passOver(c.missing(fd, ino, path, matched)); err != nil {
		return err
	}
	if c.opt.Seen != nil {
		c.opt.Seen(path, seen)
	}
	for _, e := range subdirs {
		sub, err := c.d.openAt(fd, e.Name, oPath|unix.O_DIRECTORY)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
			continue // reported
		}
		if err != nil {
			return volume.Wrapf(err, "check directory %q", path+e.Name)
		}
		err = c.dir(sub, e.Ino, path+e.Name+"/")
		unix.Close(sub)
		if err != nil {
			return err
		}
	}
	return nil
}

// listed compares the names that were found, and calls known for those that the index has. While
// one goroutine asks the directory another reads the index.
func (c *checker) listed(fd int, dir volume.Ino, path string, names []string, known func(volume.DirEntry)) error {
	c.stats = slices.Grow(c.stats[:0], len(names))[:len(names)]
	stat := func() {
		for i, name := range names {
			st := &c.stats[i]
			st.lowerStat, st.err = statAt(fd, name)
		}
	}
	if ahead, ok := c.view.(volume.Prefetcher); ok && len(names) >= checkFew {
		done := make(chan struct{})
		go func() {
			defer close(done)
			stat()
		}()
		err := ahead.Prefetch(dir, names)
		<-done
		if err != nil {
			return err
		}
	} else {
		stat()
	}
	for i, name := range names {
		st := &c.stats[i]
		if st.err == unix.ENOENT {
			continue // gone since it was listed
		}
		if st.err != nil {
			return st.err
		}
		e, have, err := c.name(fd, dir, path, name, &st.lowerStat)
		if have {
			known(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// name compares one name found below; known is false if the index has it not.
func (c *checker) name(fd int, dir volume.Ino, path, name string, st *lowerStat) (e volume.DirEntry, known bool, err error) {
	p := place{fd, name}
	diff := Difference{Path: path + name, Parent: dir, Name: name, Lower: st.attr(), LowerIno: st.Ino}
	e, err = c.view.Entry(dir, name)
	if err != nil && volume.KindOf(err) == volume.NotFound {
		if dir == volume.RootIno && name == "lost+found" {
			return e, false, nil
		}
		diff.Kind = DiffExtra
		return e, false, c.fn(diff)
	}
	if err != nil {
		return e, false, err
	}
	attr, err := c.view.Inode(e.Ino)
	if err == nil {
		diff.Ino = e.Ino
		err = c.inode(diff, p, &attr, st)
	}
	return e, true, c.passOver(err)
}

// inode compares a lower file with its inode.
func (c *checker) inode(diff Difference, p place, attr *volume.Attr, st *lowerStat) error {
	diff.Lower, diff.LowerIno = st.attr(), st.Ino
	rec, err := c.d.recordOf(attr.Ino, c.view)
	if err != nil {
		return err
	}
	var flags uint8
	if rec != nil {
		flags = rec.flags
	}
	if st.typ() != attr.Type() && !(flags&flagStandIn != 0 && st.typ() == volume.ModeFile) {
		diff.Kind = DiffType
		return c.fn(diff)
	}
	if rec != nil && rec.ino != st.Ino && attr.Ino != volume.RootIno {
		diff.Kind = DiffReplaced
		return c.fn(diff)
	}
	_, dirty := c.d.dirty.get(attr.Ino)
	clean := rec != nil && flags&flagClean != 0 && rec.version == attr.Version && !dirty
	suspect := flags&flagSuspect != 0 || c.opt.Suspects[attr.Ino]
	if clean && !suspect && rec.ctime == st.Ctime && rec.size == st.Size && (!attr.IsFile() || st.Size == attr.Size) {
		return nil
	}
	// Without a record the file came here by other hands, as with a copied disk.
	if diff.Fields, err = c.fields(p, attr, st, flags, clean || rec == nil && !dirty); err != nil {
		return err
	}
	switch {
	case flags&flagSuspect != 0:
		diff.Why = "it was changed behind the running daemon"
	case suspect:
		diff.Why = "it was changed since the daemon was last alive"
	case diff.Fields != 0:
	case !clean || attr.IsDir():
		return nil
	case st.Nlink != uint64(attr.Nlink):
		return nil // what it got or lost is a name, which is reported for itself
	}
	diff.Kind = DiffChanged
	return c.fn(diff)
}

// fields says what differs. Of a file with a record that is not clean, times may be
// behind, and attributes are not read.
func (c *checker) fields(p place, attr *volume.Attr, st *lowerStat, flags uint8, clean bool) (f DiffFields, err error) {
	f = st.differs(attr, flags)
	if typ := st.typ(); (typ == volume.ModeBlock || typ == volume.ModeChar) && st.Rdev != attr.Rdev {
		f |= FieldRdev
	}
	if attr.Type() == volume.ModeLink {
		target, err := readlinkAt(p.dir, p.name)
		if err != nil {
			return f, err
		}
		want, err := c.view.Target(attr.Ino)
		if err != nil {
			return f, err
		}
		if target != want {
			f |= FieldTarget
		}
	}
	if !clean {
		return f, nil
	}
	if st.Mtime != attr.Mtime {
		f |= FieldMtime
	}
	if flags&flagXattr == 0 {
		fd, err := c.d.openAt(p.dir, p.name, oPath)
		if err != nil {
			return f, err
		}
		defer unix.Close(fd)
		same, err := c.d.sameXattrs(object{fd, true}, attr.Ino, c.view, ignoredXattr)
		if err != nil {
			return f, err
		}
		if !same {
			f |= FieldXattrs
		}
	}
	return f, nil
}

// differs says in which of size, owner and mode a lower file differs from its inode,
// but for what the lower file system refused.
func (st *lowerStat) differs(attr *volume.Attr, flags uint8) (f DiffFields) {
	if attr.IsFile() && st.Size != attr.Size {
		f |= FieldSize
	}
	if flags&flagOwner == 0 && (st.UID != attr.UID || st.GID != attr.GID) {
		f |= FieldOwner
	}
	if flags&(flagMode|flagStandIn) == 0 && attr.Type() != volume.ModeLink && st.Mode != attr.Mode {
		f |= FieldMode
	}
	return f
}

// sameXattrs reports whether an open object has the attributes of its inode, but for those that
// are to be ignored.
func (d *Dir) sameXattrs(o object, ino volume.Ino, view volume.View, ignored func(name string) bool) (bool, error) {
	want, err := view.Xattrs(ino)
	if err != nil {
		return false, err
	}
	have, err := d.lowerXattrs(o)
	if err != nil {
		return false, err
	}
	skip := func(x volume.Xattr) bool { return ignored(x.Name) }
	return slices.EqualFunc(slices.DeleteFunc(slices.Clone(want), skip), slices.DeleteFunc(have, skip), func(a, b volume.Xattr) bool {
		return a.Name == b.Name && bytes.Equal(a.Value, b.Value)
	}), nil
}

// missing reports what the index has in a directory beyond the names found below.
func (c *checker) missing(fd int, dir volume.Ino, path string, matched int) error {
	n := 0
	if err := c.view.Entries(dir, 0, func(volume.DirEntry) bool { n++; return true }); err != nil {
		return volume.Wrapf(err, "check directory %q", path)
	}
	if n == matched {
		return nil
	}
	var failed error
	err := c.view.Entries(dir, 0, func(e volume.DirEntry) bool {
		if failed = c.ctx.Err(); failed != nil {
			return false
		}
		_, err := statAt(fd, e.Name)
		if err == unix.ENOENT {
			err = c.fn(Difference{Kind: DiffMissing, Path: path + e.Name, Parent: dir, Name: e.Name, Ino: e.Ino})
		}
		failed = err
		return err == nil
	})
	if failed != nil {
		err = failed
	}
	return volume.Wrapf(err, "check directory %q", path)
}
