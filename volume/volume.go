package volume

import (
	"context"
)

// Reader is the reading half of a volume. All methods may be called concurrently,
// and see every op that was answered before the call. Names and attributes come
// from the index and never ask a lower file system.
type Reader interface {
	// Lookup finds a name in a directory: NotFound, NotDir, NameTooLong.
	Lookup(ctx context.Context, parent Ino, name string) (Attr, error)
	// GetAttr is stat(2); Stale if the inode does not exist (any more).
	GetAttr(ctx context.Context, ino Ino) (Attr, error)
	// ReadLink is the target of a symbolic link; Invalid for another type.
	ReadLink(ctx context.Context, ino Ino) (string, error)
	// ReadDir calls fn with the entries of a directory whose cookies are greater
	// than after, in cookie order, until fn returns false. "." and ".." are not
	// among them. Entries that come or go meanwhile may or may not be seen; all
	// others are seen exactly once.
	ReadDir(ctx context.Context, dir Ino, after uint64, fn func(DirEntry) bool) error
	// ParentOf is the directory that holds a directory; the root is its own.
	ParentOf(ctx context.Context, dir Ino) (Ino, error)
	// GetXattr returns a copy of an attribute's value; NoXattr if there is none.
	GetXattr(ctx context.Context, ino Ino, name string) ([]byte, error)
	// ListXattr returns the names of an inode's attributes, sorted.
	ListXattr(ctx context.Context, ino Ino) ([]string, error)
	// ReadAt reads content into p from off: n < len(p) only at the end of the file,
	// without an error. Holes are zeros; content that is missing or damaged is an
	// error (Missing, Corrupt), never zeros.
	ReadAt(ctx context.Context, ino Ino, p []byte, off int64) (n int, err error)
	// Seek finds the next byte of data or hole at or behind off, as lseek(2) does
	// with SEEK_DATA and SEEK_HOLE; NotSeekable if there is none.
	Seek(ctx context.Context, ino Ino, off int64, hole bool) (int64, error)
	// StatFS describes the disk below and the volume.
	StatFS(ctx context.Context) (StatFS, error)
	// Position is how far the volume is: every op through its version is visible.
	Position() Position
}

// NameReader is a Reader that can list a directory by name, from anywhere in it. All
// kinds that a front end meets are one.
type NameReader interface {
	// ReadNames calls fn with the entries of a directory whose names are not before
	// from, in the byte order of their names, until fn returns false. It costs what the
	// entries shown cost, wherever they begin. What is seen of entries that come or go
	// meanwhile is as in ReadDir. fn calls no method of the volume.
	ReadNames(ctx context.Context, dir Ino, from string, fn func(DirEntry) bool) error
}

// KeptReader is a Reader that can find the inodes that XattrKeep keeps alive.
type KeptReader interface {
	// ReadKept calls fn with the inodes greater than after that have no name and are
	// kept, in the order of their IDs, until fn returns false. fn calls no method of the
	// volume.
	ReadKept(ctx context.Context, after Ino, fn func(Ino) bool) error
}

// Volume is what a front end sees of one replicated tree, whatever role the node
// plays. It is the narrow waist: front ends know nothing else.
type Volume interface {
	Reader
	// Do decides a request, records its op and applies it. On success the op is in
	// the log and visible to every reader here. Data of the request is not kept
	// after Do returns. A volume that takes no changes answers ReadOnly.
	Do(ctx context.Context, req *Request) (Result, error)
	// Open keeps an inode's content alive while it has no name; each Open must be
	// paired with a Close. write asks for the right to change: ReadOnly.
	Open(ctx context.Context, ino Ino, write bool) error
	// Close ends an Open. The last one of an inode without names ends its life.
	Close(ctx context.Context, ino Ino) error
	// Sync returns when every op on the inode that was answered before is durable as the
	// volume's mode demands, and its content with it; data leaves out what is not
	// needed to read it back. Ino 0 syncs everything.
	Sync(ctx context.Context, ino Ino, data bool) error
}

// Replica is a volume that is told what to be. Every kind passes one conformance
// suite (volumetest), and replaying one's ops onto another gives an equal tree.
type Replica interface {
	Reader
	// Apply makes one op part of the volume. Ops come in version order without
	// gaps; Apply is not called concurrently with itself. An op that does not fit
	// the tree is WrongHistory and changes nothing.
	Apply(ctx context.Context, op *Op) error
	// Sync makes everything through Position durable.
	Sync(ctx context.Context) error
}

// Observer is told of ops after they are visible, in version order, holding no
// lock. It must return soon: what takes time it does elsewhere.
type Observer interface {
	Applied(ops []*Op)
}

// LateObserver is an observer whose readers see what it was told of a little later.
type LateObserver interface {
	Observer
	// Unseen is the first op it was told of that a reader may not see yet.
	Unseen() (first Version, any bool)
}

// EarlyObserver is an observer that is told of ops of others right before they are
// applied, too. Applying may take some milliseconds.
type EarlyObserver interface {
	Observer
	Applying(ops []*Op)
}

// EndObserver is an observer that is told of inodes right before they are gone, with the
// attributes that the op which ends them leaves. It is called with locks held, and must
// return at once.
type EndObserver interface {
	Observer
	Ending(a *Attr)
}

// View is the part of the index that a content backing reads: the shape that the
// lower side is to be kept in.
type View interface {
	// Inode is an inode's attributes; NotFound if there is none.
	Inode(ino Ino) (Attr, error)
	// Names are the names of an inode in no particular order; none for the root.
	Names(ino Ino) ([]NameRef, error)
	// Entry finds a name in a directory; NotFound.
	Entry(dir Ino, name string) (DirEntry, error)
	// Entries walks a directory in cookie order, as Reader.ReadDir.
	Entries(dir Ino, after uint64, fn func(DirEntry) bool) error
	// Target is the target of a symbolic link.
	Target(ino Ino) (string, error)
	// Xattrs are all attributes of an inode, sorted by name.
	Xattrs(ino Ino) ([]Xattr, error)
	// Lower is the record that the backing left about an inode, not to be changed; nil if none.
	Lower(ino Ino) ([]byte, error)
	// LowerIno finds the inode whose record was put with the given key; NotFound.
	LowerIno(key []byte) (Ino, error)
}

// Prefetcher is a View that reads many records faster than one after the other.
type Prefetcher interface {
	// Prefetch reads what Entry, Inode and Lower are going to be asked for about some names of a
	// directory. It changes none of their answers.
	Prefetch(dir Ino, names []string) error
}

// NameRef is one name of an inode.
type NameRef struct {
	Parent Ino
	Name   string
}

// LowerRecord is what a backing wants to remember about an inode on this node
// only: it is no part of the volume and goes with the inode. Key, if not empty, finds
// the inode again (a file handle). A nil Value removes the record.
type LowerRecord struct {
	Ino        Ino
	Key, Value []byte
}

// Applied is what applying an op's content brought.
type Applied struct {
	// N is the content taken by an OpWrite, in bytes; fewer than asked shortens
	// the op. It is len(op.Data) if all went in.
	N int
	// Lower records are entered into the index in the same batch as the op.
	Lower []LowerRecord
}

// Backing is where a volume's content lies: a real directory or chunks. Names and
// attributes are the index's; a backing that also shows them (a directory) is kept
// in the shape the index says by Apply.
type Backing interface {
	// Apply brings the content, and the shape, to what the op says. It is called
	// before the op is numbered and entered into the index, so view still shows
	// the tree before the op; the locks of the op's objects are held, and ops on
	// other objects run concurrently. An error means that nothing has changed.
	//
	// An op that has a Version was recorded before, and is replayed: it cannot be refused for
	// want of room that it only asks to be set aside.
	Apply(ctx context.Context, op *Op, view View) (Applied, error)
	// Undo takes back an Apply whose op could not be recorded, as far as possible;
	// the caller stops accepting writes in any case.
	Undo(ctx context.Context, op *Op, view View) error
	// ReadAt and Seek are those of Reader for a regular file of the given size.
	ReadAt(ctx context.Context, attr *Attr, p []byte, off int64, view View) (int, error)
	Seek(ctx context.Context, attr *Attr, off int64, hole bool, view View) (int64, error)
	// Sync makes one file's content durable; fsync(2), or fdatasync(2) with data.
	Sync(ctx context.Context, ino Ino, data bool, view View) error
	// SyncAll makes the content of every op applied before the call durable.
	SyncAll(ctx context.Context) error
	// Retain keeps the content of a regular file readable on this node, also after an op that
	// another node made has ended its inode, until as many calls of Release, which does nothing
	// for an inode that is not retained. Missing if the content is gone already. Where ops are
	// made there is no need: what is open there does not end.
	Retain(ino Ino, view View) error
	Release(ino Ino)
	// StatFS describes the disk; Files and Bytes are left to the index.
	StatFS(ctx context.Context) (StatFS, error)
	Close() error
}

// Resumer is a Backing that notes how far the ops of a frame are applied which was recorded before,
// so that it can go on there if the process dies.
type Resumer interface {
	// Applying is called before Apply for an op of a frame that ends at end, with the
	// view before it.
	Applying(op *Op, end Position, view View) error
	// Applied is called once the index has the op, too.
	Applied(op *Op)
}

// LogRef addresses content inside this node's own log.
type LogRef struct {
	Segment uint64 // the segment's first version
	Frame   int64  // the frame's offset in the segment file, bytes
	Offset  uint32 // within the frame's uncompressed payload, bytes
}

// LogReader reads content that still lies in the log, verified.
type LogReader interface {
	// ReadLog fills p from ref. Corrupt, Missing.
	ReadLog(ctx context.Context, ref LogRef, p []byte) error
}

// Extent maps a range of a file to where its content lies. Ranges without an
// extent are holes.
type Extent struct {
	Off, Len int64 // range of the file, bytes
	// Of the three, one is set: Log for content in this node's log, Chunk for a
	// piece of a chunk; a zero Chunk.ID with InLog false is allocated zeros.
	InLog bool
	Log   LogRef
	Chunk ChunkRef // Chunk.Offset is where the extent begins in the chunk
}

// HoleBlock is what holes are made of, in bytes: the block of most file systems. Where a block has
// an extent all of it is data, on every node, as in a real directory.
const HoleBlock = 4096

// ExtentMap is the index's map of content, read by the chunk backing. What ops do
// to it is the index's own business, in the op's batch.
type ExtentMap interface {
	// Extents calls fn for the extents that meet [off, off+length), cut to it, in
	// order, until fn returns false.
	Extents(ino Ino, off, length int64, fn func(Extent) bool) error
}

// ChunkFetcher gets a chunk that is absent here from another node.
type ChunkFetcher interface {
	// FetchChunk returns a chunk's whole content, whose hash the caller checks.
	// Missing if nobody has it, Unavailable if nobody can be asked.
	FetchChunk(ctx context.Context, id ChunkID) ([]byte, error)
}
