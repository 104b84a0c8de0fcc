package volume

// Request is a change that a front end asks for, not yet decided. Kinds are those
// of ops; which fields count is told per kind below. The caller's right to make
// the change has been checked by the front end (for a mount by the kernel); all
// else is decided by the volume.
//
//	OpCreate      Parent, Name (both zero: nameless), Mode with type, Umask, Rdev, Target;
//	              UID and GID of Caller become the owner; Exclusive; Xattrs, of ours only
//	OpLink        Ino, NewParent, NewName
//	OpUnlink      Parent, Name, Match.Version
//	OpRmdir       Parent, Name, Match.Version
//	OpRename      Parent, Name, NewParent, NewName, Exclusive (RENAME_NOREPLACE), Exchange
//	OpSetAttr     Ino, Set, Mode, UID, GID, Atime, Mtime, Size (a truncation), KillPriv
//	              (which counts also where Set is empty)
//	OpWrite       Ino, Offset or Append, Data, KillPriv
//	OpFallocate   Ino, Alloc, Offset, Length, KillPriv
//	OpSetXattr    Ino, Name, Data, Exclusive (XATTR_CREATE), Replace (XATTR_REPLACE), KillPriv,
//	              Match.Version
//	OpRemoveXattr Ino, Name, Match.Version
//	OpPublish     Ino, Parent, Name, Set, Mode, Xattrs, Match
//	OpCopyChunks  Ino, Offset, Chunks, KillPriv
type Request struct {
	Kind   OpKind
	Caller Caller

	Ino, Parent, NewParent Ino
	Name, NewName          string

	// Umask is taken from a created object's mode unless Parent has a default ACL.
	Mode, Umask, Rdev uint32
	Target            string
	Set               SetMask
	UID, GID          uint32
	Atime, Mtime      Time

	Alloc                uint32
	Offset, Length, Size int64
	Append               bool // OpWrite: at the end of the file, whatever Offset says
	Data                 []byte
	Chunks               []ChunkRef
	Xattrs               []Xattr

	Exclusive bool // the new name, or attribute, must not exist yet
	Replace   bool // the attribute must exist
	Exchange  bool
	// KillPriv: the caller may not keep setuid, setgid and capabilities of the
	// file it changes (the kernel's FUSE_*_KILL_SUIDGID).
	KillPriv bool
	Match    Match
}

// Match is the condition of a request, checked under the locks that decide it.
type Match struct {
	Absent  bool // OpPublish: the name must be free
	Present bool // OpPublish: the name must be taken
	// Version, if not 0, is the version at which the inode must have been changed last:
	// of OpPublish the one that has the name, of others the one concerned.
	Version Version
}

// Result is the answer to a request.
type Result struct {
	// Version of the op, or 0 if nothing had to change.
	Version Version
	// Attr of the inode concerned after the op: the one created, linked, moved or
	// changed; of an unlinked one with its remaining links.
	Attr Attr
	// Replaced is what a rename or publish displaced or exchanged; Ino 0 if nothing.
	Replaced Attr
	// N is the content taken, in bytes: less than asked if the disk filled up, or at MaxNewSize.
	N int
	// Offset is where the content went; of an append, the end of the file.
	Offset int64
}
