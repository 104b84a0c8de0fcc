package conflict

import (
	"slices"
	"time"

	"wolfdisk/volume"
)

// Kinds of records.
const (
	KindFork  = "fork"  // a suffix of ops that the winning history does not have
	KindEdits = "edits" // what was changed in a real directory behind a node that does not lead
)

// Record is what a record says of itself.
type Record struct {
	ID      string
	Kind    string
	Created time.Time
	Volume  volume.ID
	Node    string // whose copy it was
	Winner  string // whose history was taken instead
	Why     string // for people
	// Common is the last version that both histories have.
	Common                     volume.Version
	Mine, Theirs               volume.Position
	MineLineage, TheirsLineage volume.Lineage
	// OpsFrom is the version of the first op that is kept; 0 if none is. Ops are complete if
	// it is not above Common+1, and only then is it known what names there were before.
	OpsFrom volume.Version
	// Lean says that the disk had no room for what the suffix left as it was: of files
	// changed in part only these parts are kept.
	Lean bool
	Summary
}

// Summary counts what a record holds.
type Summary struct {
	Ops        uint64 // recorded
	Entries    uint64 // inodes whose state is recorded, without the directories above them
	Removed    uint64 // of them, inodes that have lost names
	Transient  uint64 // inodes that came and went within the suffix: only its ops know of them
	Bytes      uint64 // of content kept
	BaseBytes  uint64 // of content known by its hash only, the same as before the fork
	Unreadable uint64 // bytes of content that could not be read when the record was made
}

// OpsComplete reports whether all ops of the suffix are kept.
func (r *Record) OpsComplete() bool { return r.OpsFrom != 0 && r.OpsFrom <= r.Common+1 }

// What says what was done to an inode.
type What uint32

// Bits of What. Their values are part of the format.
const (
	Created    What = 1 << iota // it is new
	Content                     // its content was changed
	Attributes                  // mode, owner or times were set
	Xattrs                      // extended attributes or ACLs
	Names                       // it got or lost names
	Entries                     // a directory in which names came or went
	Ended                       // its life ended
	Above                       // nothing: a directory above something that was changed
	Found                       // something, before the first op that is known
	Edited                      // changed behind the daemon

	whatAll = Edited<<1 - 1
)

var whatNames = []string{"created", "content", "attributes", "xattrs", "names", "entries", "ended", "above", "found", "edited"}

// List is the words for the bits.
func (w What) List() []string {
	list := []string{}
	for i, name := range whatNames {
		if w&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// Form says how content is kept.
type Form uint8

const (
	NoContent Form = iota // there is none: no regular file, or its life has ended
	Whole                 // all of it
	Ranges                // what was changed, and hashes of the rest
)

func (f Form) String() string { return [...]string{"none", "whole", "ranges"}[f] }

// Entry is one inode of the losing copy in its last state.
type Entry struct {
	// Paths are the inode's names at the end, sorted; none if it has lost them. The root's is ".".
	Paths []string
	// Before are its names at the common version, sorted, as far as they are known.
	Before []string
	Ino    volume.Ino // 0 of a file that was never part of the volume
	What   What
	// First and Last are the versions of the first and last op on it, and Ops their number;
	// 0 where no ops are known.
	First, Last volume.Version
	Ops         uint64
	// Known says that there is a state: the inode was alive, or still open.
	Known  bool
	Attr   volume.Attr
	Target string
	Xattrs []volume.Xattr

	Form       Form
	Bytes      uint64 // of content kept
	BaseBytes  uint64
	Unreadable uint64
	at, end    int64 // its blocks in the file of contents
}

// Removed are the names that the inode lost.
func (e *Entry) Removed() (list []string) {
	for _, p := range e.Before {
		if _, there := slices.BinarySearch(e.Paths, p); !there {
			list = append(list, p)
		}
	}
	return list
}

// Path is the name to call the entry by: the first it has, or had.
func (e *Entry) Path() string {
	switch {
	case len(e.Paths) > 0:
		return e.Paths[0]
	case len(e.Before) > 0:
		return e.Before[0]
	}
	return namelessDir + "/" + e.Ino.String()
}

// namelessDir stands for the place of inodes without a name. No volume has such a path.
const namelessDir = ".wolfdisk/nameless"

// Kind is a word for the type; "unknown" of what is gone.
func (e *Entry) Kind() string {
	if !e.Known {
		return "unknown"
	}
	switch e.Attr.Type() {
	case volume.ModeFile:
		return "file"
	case volume.ModeDir:
		return "directory"
	case volume.ModeLink:
		return "symlink"
	case volume.ModeFIFO:
		return "fifo"
	case volume.ModeSocket:
		return "socket"
	case volume.ModeBlock:
		return "block device"
	case volume.ModeChar:
		return "char device"
	}
	return "unknown"
}

// counts reports whether the entry is one of what was changed.
func (e *Entry) counts() bool { return e.What&^Above != 0 }
