//go:build linux || freebsd

package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"wolfdisk/volume"
)

// goAttr fills in the attributes, raw: modes with all bits, times before 1970 as negative
// seconds.
func goAttr(out *fuse.Attr, a *volume.Attr) {
	*out = fuse.Attr{
		Ino: uint64(a.Ino), Size: uint64(a.Size), Blocks: blocks(a),
		Atime: uint64(a.Atime.Sec), Mtime: uint64(a.Mtime.Sec), Ctime: uint64(a.Ctime.Sec),
		Atimensec: a.Atime.Nsec, Mtimensec: a.Mtime.Nsec, Ctimensec: a.Ctime.Nsec,
		Mode: a.Mode, Nlink: a.Nlink, Owner: fuse.Owner{Uid: a.UID, Gid: a.GID},
		Rdev: rdevToKernel(a.Rdev), Blksize: blockSize,
	}
}

// goEntry answers with the inode in c.attr, or that a name does not exist.
func goEntry(out *fuse.EntryOut, c *call, errno syscall.Errno) syscall.Errno {
	if errno == 0 {
		out.EntryValid = validForEver
		if c.attr.Ino != 0 {
			goKnown(out, &c.attr, c.fresh)
		}
	}
	return errno
}

func goKnown(out *fuse.EntryOut, a *volume.Attr, fresh bool) {
	out.NodeId, out.EntryValid, out.AttrValid = uint64(a.Ino), validForEver, attrValidity(fresh)
	goAttr(&out.Attr, a)
}

// goAttrOut answers with the attributes in c.attr.
func goAttrOut(out *fuse.AttrOut, c *call, errno syscall.Errno) syscall.Errno {
	if errno == 0 {
		out.AttrValid = attrValidity(c.fresh)
		goAttr(&out.Attr, &c.attr)
	}
	return errno
}

// goStatx answers with the attributes and the time of birth.
func goStatx(out *fuse.StatxOut, a *volume.Attr) {
	at := func(t volume.Time) fuse.SxTime { return fuse.SxTime{Sec: uint64(t.Sec), Nsec: t.Nsec} }
	*out = fuse.StatxOut{AttrValid: validForEver, Statx: fuse.Statx{
		Mask: statxBasic | statxBtime, Blksize: blockSize, Nlink: a.Nlink, Uid: a.UID, Gid: a.GID, Mode: uint16(a.Mode),
		Ino: uint64(a.Ino), Size: uint64(a.Size), Blocks: blocks(a),
		Atime: at(a.Atime), Btime: at(a.Btime), Ctime: at(a.Ctime), Mtime: at(a.Mtime),
		RdevMajor: a.Rdev >> 8 & 0xfff, RdevMinor: a.Rdev&0xff | a.Rdev>>12&0xfff00,
	}}
}

// goDirents is a dirSink that fills the library's list.
type goDirents struct {
	list *fuse.DirEntryList
	left int // room that is not counted in yet, bytes
	plus bool
}

func (d *goDirents) room(name int) bool {
	n := (direntLen + name + 7) &^ 7
	if d.plus {
		n += entryLen
	}
	if n > d.left {
		return false
	}
	d.left -= n
	return true
}

func (d *goDirents) entry(e *volume.DirEntry, attr *volume.Attr) {
	x := fuse.DirEntry{Name: e.Name, Ino: uint64(e.Ino), Mode: e.Type, Off: e.Cookie}
	if !d.plus {
		d.list.AddDirEntry(x)
		return
	}
	// Inode 0, which the list leaves, is nothing but the entry.
	if out := d.list.AddDirLookupEntry(x); out != nil && attr != nil {
		goKnown(out, attr, true)
	}
}
