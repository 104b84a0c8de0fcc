package volume

import (
	"fmt"
	"strings"
)

// OpKind says what an op changes. Numbers are part of the log format: never
// reorder, never reuse.
type OpKind uint8

const (
	opInvalid OpKind = iota
	// OpCreate makes an inode of any type. With Parent it gets a name; without, it
	// has none (O_TMPFILE, staged uploads) until a link or publish.
	OpCreate
	OpLink        // a further name for an inode
	OpUnlink      // a name of anything but a directory goes
	OpRmdir       // an empty directory goes
	OpRename      // a name moves, displacing another inode or changing places with it
	OpSetAttr     // mode, owner, times
	OpWrite       // content by value
	OpTruncate    // a new size
	OpFallocate   // space, holes and zeros
	OpCopyChunks  // content by chunk ID
	OpSetXattr    // one extended attribute
	OpRemoveXattr // one extended attribute goes
	OpEnd         // the life of an inode without names ends
	OpPublish     // a nameless file takes a name, with metadata, displacing another
	OpReign       // the first op of an epoch
	OpMember      // the cluster remembers, changes or forgets a member

	opKindEnd
)

var opNames = [opKindEnd]string{
	opInvalid: "invalid", OpCreate: "create", OpLink: "link", OpUnlink: "unlink", OpRmdir: "rmdir",
	OpRename: "rename", OpSetAttr: "setattr", OpWrite: "write", OpTruncate: "truncate",
	OpFallocate: "fallocate", OpCopyChunks: "copychunks", OpSetXattr: "setxattr",
	OpRemoveXattr: "removexattr", OpEnd: "end", OpPublish: "publish", OpReign: "reign", OpMember: "member",
}

func (k OpKind) String() string {
	if k >= opKindEnd {
		return fmt.Sprintf("op kind %d", uint8(k))
	}
	return opNames[k]
}

// Front is the kind of front end that asked for an op.
type Front uint8

const (
	FrontNone      Front = iota // the node itself: reigns, members, ends
	FrontFUSE                   // a mount
	FrontS3                     // the S3 gateway
	FrontForward                // another node's front end
	FrontReconcile              // a change found in the real directory
	FrontAdmin                  // the control tool

	frontEnd
)

var frontNames = [frontEnd]string{"node", "fuse", "s3", "forward", "reconcile", "admin"}

func (f Front) String() string {
	if f >= frontEnd {
		return fmt.Sprintf("front %d", uint8(f))
	}
	return frontNames[f]
}

// Caller says who asked. It is recorded in the op.
type Caller struct {
	UID, GID uint32
	PID      uint32 // of the asking process on its own machine; not recorded
	Front    Front
	// Client and Seq name a forwarded request, so that any later leader answers a
	// repeat instead of doing it twice; the leader records it with FrontForward,
	// whoever asked first. Empty and 0 for requests made here. A client is a node; it never
	// uses a number twice, over its restarts and over a loss of its disk too: counting up
	// from a random number at each start will do. Of the ops of one request only the
	// last has the number: with it the request is done.
	Client string
	Seq    uint64
}

// Flags of an op.
const (
	// OpDropCaps removes security.capability, as a write by somebody else must.
	OpDropCaps uint32 = 1 << 0
	// OpExchange makes a rename swap two names.
	OpExchange uint32 = 1 << 1
	// OpEnds says that the inode which loses its last name by this op (by unlink,
	// rmdir, or being displaced) is open nowhere and its life ends at once, without
	// an OpEnd.
	OpEnds uint32 = 1 << 2

	opFlagsAll = OpDropCaps | OpExchange | OpEnds
)

// Modes of OpFallocate: those of fallocate(2) on Linux that a volume supports.
const (
	FallocKeepSize  uint32 = 0x01
	FallocPunchHole uint32 = 0x02 // always with FallocKeepSize
	FallocZeroRange uint32 = 0x10

	fallocAll = FallocKeepSize | FallocPunchHole | FallocZeroRange
)

// ChunkID is the SHA-256 of a chunk's content.
type ChunkID [32]byte

func (c ChunkID) String() string { return fmt.Sprintf("%x", c[:]) }

// ChunkRef is a piece of a chunk; the zero ID stands for a hole.
type ChunkRef struct {
	ID     ChunkID
	Offset int64 // within the chunk, bytes
	Length int64 // bytes
}

// IsHole reports whether the piece is a hole.
func (c ChunkRef) IsHole() bool { return c.ID == ChunkID{} }

// Role is what a node is for.
type Role uint8

const (
	RoleAuto Role = iota // leads or follows, as the election says
	RoleLeader
	RoleFollower // never leads
	RoleClient
	RoleWitness

	roleEnd
)

var roleNames = [roleEnd]string{"auto", "leader", "follower", "client", "witness"}

func (r Role) String() string {
	if r >= roleEnd {
		return fmt.Sprintf("role %d", uint8(r))
	}
	return roleNames[r]
}

// Member is a node the cluster remembers.
type Member struct {
	ID      string
	Store   ID // the store_id last accepted
	Role    Role
	Address string // host:port it was last reached at; may be empty
	Removed bool
}

// Op is one decided change of a volume. It says what will be, not what was asked:
// every node that applies it to equal trees gets equal trees. Which fields an op
// has depends on its kind and is fixed in fields (opcodec.go). Ops are immutable
// once numbered.
type Op struct {
	Kind    OpKind
	Version Version // from the frame; not in the op's own encoding
	Time    Time    // the leader's clock: the ctime of all the op touches
	Caller  Caller

	Ino       Ino    // the inode concerned
	Parent    Ino    // the directory concerned
	Name      string // a name in Parent, or of an extended attribute
	NewParent Ino
	NewName   string
	Replaced  Ino // the inode a rename or publish displaces or exchanges; 0 if none

	Mask         SetMask // which of the next are set
	Mode         uint32  // OpCreate: with type; otherwise permission bits
	UID, GID     uint32
	Atime, Mtime Time
	Rdev         uint32
	Target       string // of a symbolic link
	Flags        uint32
	Alloc        uint32 // mode of OpFallocate

	Offset, Length, Size int64
	Data                 []byte // content, or an attribute's value; may alias the frame
	Chunks               []ChunkRef
	Xattrs               []Xattr // sorted by name

	Epoch        Epoch
	Participants []string
	Member       Member

	// DataOff is where Data begins in the uncompressed payload of the op's frame:
	// set by encoding and decoding, for extents that point into the log.
	DataOff int
}

// CheckName says whether a name can stand in a directory.
func CheckName(name string) error {
	switch {
	case name == "":
		return NotFound
	case len(name) > MaxNameLen:
		return NameTooLong
	case name == ".", name == "..", strings.IndexByte(name, '/') >= 0, strings.IndexByte(name, 0) >= 0:
		return Invalid
	}
	return nil
}

// Validate checks everything about an op that can be checked without a volume:
// names, ranges, masks. An op from disk or network is not used before it passed.
func (op *Op) Validate() error {
	bad := func(what string) error { return Errorf(BadFormat, "%s op: %s", op.Kind, what) }
	if op.Kind == opInvalid || op.Kind >= opKindEnd {
		return Errorf(BadFormat, "unknown op kind %d", uint8(op.Kind))
	}
	if op.Time.Nsec >= 1e9 || op.Atime.Nsec >= 1e9 || op.Mtime.Nsec >= 1e9 {
		return bad("nanoseconds out of range")
	}
	if op.Caller.Front >= frontEnd || len(op.Caller.Client) > MaxNodeIDLen {
		return bad("caller out of range")
	}
	if op.Mask&^setMaskOp != 0 || op.Flags&^opFlagsAll != 0 {
		return bad("unknown mask or flag")
	}
	if op.Kind != OpCreate && op.Mode&^ModePerm != 0 {
		return bad("mode out of range")
	}
	name := func(parent Ino, n string) error {
		if !parent.Valid() {
			return bad("directory's inode ID out of range")
		}
		if CheckName(n) != nil {
			return bad(fmt.Sprintf("name %.300q", n))
		}
		return nil
	}
	if op.Kind != OpReign && op.Kind != OpMember && !op.Ino.Valid() {
		return bad("inode ID out of range")
	}
	if op.Replaced != 0 && !op.Replaced.Valid() {
		return bad("displaced inode ID out of range")
	}
	switch op.Kind {
	case OpCreate:
		if op.Parent != 0 || op.Name != "" {
			if err := name(op.Parent, op.Name); err != nil {
				return err
			}
		}
		return op.validateCreate(bad)
	case OpLink, OpUnlink, OpRmdir:
		return name(op.Parent, op.Name)
	case OpRename:
		if err := name(op.Parent, op.Name); err != nil {
			return err
		}
		if op.Flags&OpExchange != 0 && op.Replaced == 0 {
			return bad("exchange with nothing")
		}
		return name(op.NewParent, op.NewName)
	case OpWrite:
		if op.Offset < 0 || len(op.Data) > MaxWrite || op.Offset > MaxFileSize-int64(len(op.Data)) {
			return bad("range")
		}
	case OpTruncate:
		if op.Size < 0 {
			return bad("size")
		}
	case OpFallocate:
		if op.Alloc&^fallocAll != 0 || op.Offset < 0 || op.Length <= 0 || op.Offset > MaxFileSize-op.Length ||
			op.Alloc&FallocPunchHole != 0 && op.Alloc != FallocPunchHole|FallocKeepSize {
			return bad("range or mode")
		}
	case OpCopyChunks:
		return op.validateChunks(bad)
	case OpSetXattr, OpRemoveXattr:
		if op.Name == "" || len(op.Name) > MaxXattrNameLen || strings.IndexByte(op.Name, 0) >= 0 || len(op.Data) > MaxXattrLen {
			return bad("attribute name or value")
		}
	case OpPublish:
		if err := name(op.Parent, op.Name); err != nil {
			return err
		}
		return op.validateXattrs(bad)
	case OpReign:
		if op.Epoch.Number == 0 || CheckNodeID(op.Epoch.Leader) != nil || op.Epoch.Tag >= 1<<InoTagBits {
			return bad("epoch")
		}
		if len(op.Participants) > MaxParticipants {
			return bad("too many participants")
		}
		for _, id := range op.Participants {
			if CheckNodeID(id) != nil {
				return bad("participant")
			}
		}
	case OpMember:
		if CheckNodeID(op.Member.ID) != nil || op.Member.Role >= roleEnd || len(op.Member.Address) > MaxAddressLen {
			return bad("member")
		}
	}
	return nil
}

func (op *Op) validateCreate(bad func(string) error) error {
	switch op.Mode & ModeType {
	case ModeFile, ModeDir, ModeFIFO, ModeSocket, ModeBlock, ModeChar:
		if op.Target != "" {
			return bad("target of what is no symbolic link")
		}
	case ModeLink:
		if op.Target == "" || len(op.Target) > MaxTargetLen || strings.IndexByte(op.Target, 0) >= 0 {
			return bad("target")
		}
	default:
		return bad("file type")
	}
	if op.Mode&^(ModeType|ModePerm) != 0 || op.Parent == 0 && op.Mode&ModeType == ModeDir {
		return bad("mode")
	}
	return op.validateXattrs(bad)
}

func (op *Op) validateXattrs(bad func(string) error) error {
	if len(op.Xattrs) > MaxOpXattrs {
		return bad("too many attributes")
	}
	for i, x := range op.Xattrs {
		if x.Name == "" || len(x.Name) > MaxXattrNameLen || strings.IndexByte(x.Name, 0) >= 0 || len(x.Value) > MaxXattrLen ||
			i > 0 && op.Xattrs[i-1].Name >= x.Name {
			return bad("attribute")
		}
	}
	return nil
}

func (op *Op) validateChunks(bad func(string) error) error {
	if op.Offset < 0 || len(op.Chunks) > MaxCopyChunks {
		return bad("range")
	}
	end := op.Offset
	for _, c := range op.Chunks {
		if c.Length <= 0 || c.Offset < 0 || c.Offset > MaxChunkSize || c.Length > MaxFileSize-end ||
			!c.IsHole() && c.Length > MaxChunkSize-c.Offset {
			return bad("chunk range")
		}
		end += c.Length
	}
	if end == op.Offset {
		return bad("no chunks")
	}
	return nil
}

// ContentRange is the range of the file whose content the op sets or clears, and
// whether there is one; a truncation's range begins at the new size.
func (op *Op) ContentRange() (off, length int64, ok bool) {
	switch op.Kind {
	case OpWrite:
		return op.Offset, int64(len(op.Data)), len(op.Data) > 0
	case OpTruncate:
		return op.Size, MaxFileSize - op.Size, true
	case OpFallocate:
		return op.Offset, op.Length, true
	case OpCopyChunks:
		for _, c := range op.Chunks {
			length += c.Length
		}
		return op.Offset, length, true
	}
	return 0, 0, false
}
