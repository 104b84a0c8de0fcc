// Package hostdir keeps a volume's content in a real directory, in the shape that
// the index says: it is a [volume.Backing] over plain files. Stop the daemon and
// the directory is an ordinary one.
//
// # Confinement
//
// The root is opened once, before a mount is laid over it. From then on every call
// is relative to a descriptor and takes one name at a time; nothing follows a
// symbolic link or crosses a mount. The only absolute paths are /proc/self/fd/N,
// which name descriptors of our own.
//
// # Layout
//
//	.wolfdisk/            reserved at the root, invisible, cannot be made by an op
//	    marker            ties directory, volume, state directory and file system
//	    staging/          inodes without a name, called by their ID; see nameless
//	    kept/             what was found where the index has something else, or
//	                      nothing: moved here, reported, never deleted
//	    old/              what a copy that is being made has no place for, until
//	                      that copy is consistent; see Reshape
//
// An inode that loses its last name but lives on (open, or its end not yet
// decided) is renamed into staging by the same system call that takes its name
// away; an OpEnd removes it. So its content stays reachable without holding a
// descriptor, and a crash leaves nothing that cannot be found.
//
// # Identity
//
// A lower file is known by its file handle (inode and generation, without the
// device number, which changes over reboots), or where there are none by inode
// number and birth time, each with a tag of the file system: see key in record.go.
// Reaching a file by its handle needs privilege; otherwise it is reached by its
// names, whose directories are kept open in a cache.
//
// A [volume.LowerRecord] says which lower file an inode is and, if the flag clean is
// set, its ctime and size after our own last change, together with the version of
// the inode then. The record counts as clean only while the inode still has that
// version: records need not be written before an op, and one that a crash lost or
// left behind cannot lie.
//
// # Times
//
// A lower file's times are set when it is synced, when it is idle, at a checkpoint and
// at the end, not with every op. Which files wait for it is kept in memory (times.go);
// after a crash the times of what ops touched are set again from the index.
//
// # Errors and refusals
//
// An error of Apply means that nothing has changed. What a lower file system
// refuses to take (an owner, when we are not root; an attribute that is too big
// for it) is no error: the index holds the truth, the refusal is counted in
// [Stats] and noted in the inode's record so that Check does not report it.
// Changes made by others below us are never deleted: what stands in the way is
// moved to kept, and [Options.OnForeign] is told.
//
// Attributes of our own (volume.XattrReserved) are the index's alone: they are neither
// mirrored nor compared.
//
// # Readers
//
// Reads take no lock. What they meet of an op that is here and not in the index yet is
// answered as Missing or Corrupt, and the caller looks again; nobody is accused of it. A
// file that is open where its ops are made stays in staging when it loses its last name;
// on other nodes Retain keeps its descriptor (hold.go).
//
// # Crash and power loss
//
// The intent file (intent.go) outlives the process but not the machine: it says
// what was being applied. After a crash of the daemon Inspect brings these objects
// and the index together; after a power loss Redo brings all that ops since the last
// checkpoint touched to what the index says, and Describe says as ops what the
// directory has more. Ops of other nodes are recorded before they are applied; the
// intent file says how far they have come (progress.go), Remember which file was
// which then, and Reapply does the rest. formats.md has the formats.
//
// # Locks
//
// The caller holds the locks of an op's objects around Apply. Inside, the mutexes
// of the descriptor caches, of the dirty set and of the pending records are leaves:
// none is held over a system call or while taking another; that of the holds is taken
// before a cache's. Setting lower times holds a
// lock of the inode's share of the dirty set, over the calls that do so.
//
// A comparison starts one goroutine for each batch of names, and waits for it
// (check.go). The package starts no other.
package hostdir
