package hostdir

import (
	"bytes"
	"context"
	"fmt"
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

// Check compares the whole directory with the index and calls fn with each difference,
// parents before children, until it fails. It changes nothing below. Memory is
// bounded by the subdirectories of the directories it is in. Ops may go on, but
// what they touch meanwhile may be reported.
func (d *Dir) Check(ctx context.Context, view volume.View, fn func(Difference) error) error {
	c := &checker{d: d, ctx: ctx, view: view, fn: fn}
	st, err := fstat(d.root)
	if err != nil {
		return volume.Wrap(err, "check the root directory")
	}
	attr, err := view.Inode(volume.RootIno)
	if err != nil {
		return volume.Wrap(err, "check the root directory")
	}
	if err := c.inode(Difference{Ino: volume.RootIno}, place{d.root, "."}, &attr, &st); err != nil {
		return err
	}
	return c.dir(d.root, volume.RootIno, "")
}

type checker struct {
	d    *Dir
	ctx  context.Context
	view volume.View
	fn   func(Difference) error
}

// dir compares one directory, then those in it.
func (c *checker) dir(fd int, ino volume.Ino, path string) error {
	matched := 0
	var subdirs []volume.DirEntry
	release, err := c.d.lease(fd, 0o700)
	if err != nil {
		return volume.Wrap(err, fmt.Sprintf("check directory %q", path))
	}
	defer release()
	err = c.d.listDir(fd, func(name string, _ uint64, _ uint32) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if IsReserved(ino, name) {
			return nil
		}
		e, known, err := c.name(fd, ino, path, name)
		if known {
			matched++
		}
		if known && e.Type == volume.ModeDir {
			subdirs = append(subdirs, e)
		}
		return err
	})
	if err != nil {
		return volume.Wrap(err, fmt.Sprintf("check directory %q", path))
	}
	if err := c.missing(fd, ino, path, matched); err != nil {
		return err
	}
	for _, e := range subdirs {
		sub, err := c.d.openAt(fd, e.Name, oPath|unix.O_DIRECTORY)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
			continue // reported
		}
		if err != nil {
			return volume.Wrap(err, fmt.Sprintf("check directory %q", path+e.Name))
		}
		err = c.dir(sub, e.Ino, path+e.Name+"/")
		unix.Close(sub)
		if err != nil {
			return err
		}
	}
	return nil
}

// name compares one name found below; known is false if the index has it not.
func (c *checker) name(fd int, dir volume.Ino, path, name string) (e volume.DirEntry, known bool, err error) {
	p := place{fd, name}
	st, err := statAt(fd, name)
	if err == unix.ENOENT {
		return e, false, nil // gone since it was listed
	}
	if err != nil {
		return e, false, err
	}
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
	if err != nil {
		return e, true, err
	}
	diff.Ino = e.Ino
	return e, true, c.inode(diff, p, &attr, &st)
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
	if clean && rec.ctime == st.Ctime && rec.size == st.Size {
		return nil
	}
	if diff.Fields, err = c.fields(p, attr, st, flags, clean); err != nil {
		return err
	}
	if diff.Fields == 0 && (!clean || attr.IsDir()) {
		return nil
	}
	diff.Kind = DiffChanged
	return c.fn(diff)
}

// fields says what differs. Of a file with a record that is not clean, times may be
// behind, and attributes are not read.
func (c *checker) fields(p place, attr *volume.Attr, st *lowerStat, flags uint8, clean bool) (f DiffFields, err error) {
	if attr.IsFile() && st.Size != attr.Size {
		f |= FieldSize
	}
	if flags&flagOwner == 0 && (st.UID != attr.UID || st.GID != attr.GID) {
		f |= FieldOwner
	}
	if flags&(flagMode|flagStandIn) == 0 && attr.Type() != volume.ModeLink && st.Mode != attr.Mode {
		f |= FieldMode
	}
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
		same, err := c.sameXattrs(p, attr.Ino)
		if err != nil {
			return f, err
		}
		if !same {
			f |= FieldXattrs
		}
	}
	return f, nil
}

func (c *checker) sameXattrs(p place, ino volume.Ino) (bool, error) {
	fd, err := c.d.openAt(p.dir, p.name, oPath)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	o := object{fd, true}
	want, err := c.view.Xattrs(ino)
	if err != nil {
		return false, err
	}
	names, err := c.d.sys.listXattr(o)
	if err != nil {
		return false, err
	}
	have := 0
	for _, n := range names {
		if !ignoredXattr(n) {
			have++
		}
	}
	for _, x := range want {
		if ignoredXattr(x.Name) {
			continue
		}
		v, err := c.d.sys.getXattr(o, x.Name)
		if err != nil || !bytes.Equal(v, x.Value) {
			return false, nil
		}
		have--
	}
	return have == 0, nil
}

// missing reports what the index has in a directory beyond the names found below.
func (c *checker) missing(fd int, dir volume.Ino, path string, matched int) error {
	n := 0
	if err := c.view.Entries(dir, 0, func(volume.DirEntry) bool { n++; return true }); err != nil {
		return volume.Wrap(err, fmt.Sprintf("check directory %q", path))
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
	return volume.Wrap(err, fmt.Sprintf("check directory %q", path))
}
