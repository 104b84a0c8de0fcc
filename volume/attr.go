package volume

import (
	"cmp"
	"strings"
	"time"
)

// Time is a point in time as stat(2) has it: seconds since 1970 (negative before)
// and nanoseconds 0 to 999,999,999 that always count forward.
type Time struct {
	Sec  int64
	Nsec uint32
}

// TimeOf converts from the standard library's form, exactly for every time.
func TimeOf(t time.Time) Time { return Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())} }

// Std is the standard library's form, in UTC.
func (t Time) Std() time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

// Compare returns a negative number if t is before o.
func (t Time) Compare(o Time) int {
	if c := cmp.Compare(t.Sec, o.Sec); c != 0 {
		return c
	}
	return cmp.Compare(t.Nsec, o.Nsec)
}

// The bits of a mode, as Linux has them on every node (FreeBSD's are the same).
const (
	ModeType   uint32 = 0o170000
	ModeSocket uint32 = 0o140000
	ModeLink   uint32 = 0o120000
	ModeFile   uint32 = 0o100000
	ModeBlock  uint32 = 0o060000
	ModeDir    uint32 = 0o040000
	ModeChar   uint32 = 0o020000
	ModeFIFO   uint32 = 0o010000
	ModeSetUID uint32 = 0o4000
	ModeSetGID uint32 = 0o2000
	ModeSticky uint32 = 0o1000
	ModePerm   uint32 = 0o7777 // permission bits with setuid, setgid and sticky
)

// Attr is what stat(2) says of an inode, and the version that last changed it.
// Of a directory, Size is 0 and Nlink is 2 + its subdirectories. An inode without
// a name (unlinked and open, or staged) has Nlink 0.
type Attr struct {
	Ino                        Ino
	Mode                       uint32 // type and permission bits
	Nlink                      uint32
	UID, GID                   uint32
	Rdev                       uint32 // the kernel's new_encode_dev: 12 bits major, 20 bits minor
	Size                       int64  // bytes; length of the target for a symbolic link
	Atime, Mtime, Ctime, Btime Time
	Version                    Version
	// Holes says that a file may have holes: it was made longer than what was written, or
	// something was punched out of it. Not compared.
	Holes bool
}

// Type is the file type bits of the mode.
func (a *Attr) Type() uint32 { return a.Mode & ModeType }

// IsDir reports whether the inode is a directory.
func (a *Attr) IsDir() bool { return a.Mode&ModeType == ModeDir }

// IsFile reports whether the inode is a regular file.
func (a *Attr) IsFile() bool { return a.Mode&ModeType == ModeFile }

// SetMask says which attributes an OpSetAttr (or a request for one) sets.
type SetMask uint32

const (
	SetMode SetMask = 1 << iota
	SetUID
	SetGID
	SetAtime
	SetMtime
	SetAtimeNow // requests only: decided into SetAtime with the op's time
	SetMtimeNow // requests only
	SetSize     // requests only: decided into an OpTruncate

	setMaskOp = SetMode | SetUID | SetGID | SetAtime | SetMtime
)

// DirEntry is one name in a directory.
type DirEntry struct {
	Name string
	Ino  Ino
	Type uint32 // type bits of the mode
	// Cookie is the entry's place in the directory's order, the same on every
	// node and for the entry's whole life: listing continues behind it. It is
	// at least 3; 0 to 2 stand for the start, "." and "..".
	Cookie uint64
}

// FirstCookie is the smallest cookie of a real entry.
const FirstCookie = 3

// EntryCookie is the cookie of an entry made by the op of version v; second is
// true for the second entry that one op made (an exchange).
func EntryCookie(v Version, second bool) uint64 {
	c := uint64(v)<<1 + FirstCookie
	if second {
		c++
	}
	return c
}

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Extended attributes with a meaning of their own.
const (
	XattrACLAccess  = "system.posix_acl_access"
	XattrACLDefault = "system.posix_acl_default"
	XattrCapability = "security.capability"
)

// Extended attributes of our own. They are part of the volume as all others are, but
// of no use to anybody else: a front end that is a file system neither shows nor takes
// them, and a backing that is one does not mirror them, so their size is not bounded
// by what a lower file system can hold, and nobody forges them.
const (
	// XattrReserved begins all of them. They are for files and directories.
	XattrReserved = "wolfdisk."
	// XattrObject is what the S3 gateway knows of an object; what does not fit goes to
	// attributes that begin with this name. All of them tell of a content: an op that
	// changes a file's content or size removes them, on every replica.
	XattrObject = "wolfdisk.s3"
	// XattrKeep keeps an inode that was created nameless alive, through the last Close
	// and from one leader to the next: an upload in parts. With its first name the
	// inode loses it. Without it, the inode ends as any other: with a Close, or the
	// next epoch. It can be given only to an inode that never had a name.
	XattrKeep = "wolfdisk.keep"
)

// IsReservedXattr reports whether an attribute is one of ours.
func IsReservedXattr(name string) bool { return strings.HasPrefix(name, XattrReserved) }

// IsObjectXattr reports whether an attribute tells of a file's content.
func IsObjectXattr(name string) bool { return strings.HasPrefix(name, XattrObject) }

// StatFS describes the file system that holds the content, in bytes and inodes,
// and what the volume itself holds.
type StatFS struct {
	BlockSize                 uint32
	Blocks, BlocksFree, Avail uint64 // in units of BlockSize
	Inodes, InodesFree        uint64
	Files                     uint64 // inodes in the volume
	Bytes                     uint64 // sum of the sizes of its regular files
}
