// Package volumetest holds what proves that a volume is one: an in-memory [Model]
// that is the oracle, a conformance suite ([Run], [RunReplica]) that every kind of
// volume and replica must pass, a generator of random requests ([Random]), and the
// comparison of whole trees ([Tree], [Diff]). Only tests import it.
//
// The Model is written straight from POSIX and from package volume: maps and one
// mutex, nothing clever. The real engine is written independently, and for the same
// request on equal trees both must decide the same error kind, or the same ops field
// by field. Where POSIX leaves room the answer is what Linux gives on ext4. What
// follows is that contract.
//
// # In general
//
//   - A refused request changes nothing: no op, no version, no time.
//   - Fields of a request that its kind does not list count for nothing; fields of
//     an op that its kind does not have, or its Mask does not name, are zero.
//   - OpTruncate, OpEnd, OpReign, OpMember and unknown kinds cannot be requested:
//     Invalid.
//   - Op.Time is the clock, but never less than the time of the op before. The ops of
//     one request have one time, and all are decided on the state before the first.
//   - The first op of an epoch is its OpReign (with a zero Caller), recorded when
//     the epoch first changes something.
//   - An empty volume is the root: ID 1, mode 0755, owner 0:0, Nlink 2, all times 0,
//     Version 0.
//   - Result.Attr (and Replaced) is the inode after the request, with Nlink 0 if the
//     request ended it. When nothing had to change, Version is 0 and Attr as it was.
//   - Checks go in the order in which they are listed here. Stale comes first: an
//     inode ID that is unknown or whose life has ended.
//
// # Names
//
// An existing name is found by: directory Stale, NotDir, CheckName, NotFound. A
// new name is checked by: directory Stale, NotDir, CheckName, NotFound if the
// directory itself was removed (Nlink 0), NotPermitted for ".wolfdisk" in the root.
//
//   - Entries made by an op have the cookie of its version; of an exchange the entry
//     that holds Op.Ino is the first and the one that holds Op.Replaced the second.
//     A name that is taken over gets a new cookie.
//   - Nlink of a directory is 2 + its subdirectories; of a removed one 0.
//
// # Create
//
// Mode must have a known type (else Invalid); of the rest the permission bits count.
// Then the new name; Exists (with or without Exclusive: a front end that would open
// what exists looks it up again). Without a Name it is nameless: Invalid for a
// directory; a Parent, if there is one, need only be a directory (Stale, NotDir) and
// lends its group and default ACL, as for O_TMPFILE. A symbolic link's Target empty is
// NotFound, longer than MaxTargetLen NameTooLong, with a NUL Invalid. A directory in a
// parent that has MaxDirNlink: TooManyLinks.
//
//   - Owner is the caller's UID and GID, but the GID is the parent's if the parent
//     has setgid; then a new directory also gets setgid.
//   - Symbolic links have mode 0777, whatever Mode, Umask and ACLs say.
//   - If the parent has a default ACL (and it is no symbolic link), Umask counts for
//     nothing: owner, other, and mask (or group if there is no mask) of the ACL are
//     cut by the mode's bits and the mode's by them; the result becomes the access
//     ACL if it has more than the three base entries; a directory inherits the
//     default ACL itself. Otherwise the mode is Mode &^ (Umask & 0777).
//   - All four times are Op.Time. Rdev counts for devices only.
//   - Xattrs, checked last: with those inherited more than MaxOpXattrs XattrTooBig; one that
//     is not of ours, or any from a mount, Unsupported; then the checks of an attribute;
//     one twice, or XattrKeep with a Name, Invalid. They are sorted in the op.
//
// # Link, unlink, rmdir
//
// Link: Ino Stale, the new name, Exists, NotPermitted for a directory, NotFound for
// an inode with Nlink 0 unless it was created nameless and never had a name,
// TooManyLinks for one that has MaxNlink. The name in the op is Parent and Name.
//
// Unlink: the existing name, IsDir. Rmdir: the existing name, NotDir, NotEmpty. Then, for
// both, Match.Version: Precondition.
// Losing the last name sets OpEnds if the inode is not open; the rest of its life
// ends with the last Close, which records the OpEnd (with a zero Caller).
//
// # Rename
//
//  1. Exclusive together with Exchange: Invalid.
//  2. The existing name.
//  3. The new name; Exclusive and taken: Exists; Exchange and free: NotFound.
//  4. A directory into itself or below: Invalid. Onto a directory above it: NotEmpty
//     (Invalid with Exchange).
//  5. Both names are one inode: success, nothing changes.
//  6. Without Exchange: a directory over something else NotDir, something else over
//     a directory IsDir, over a directory with entries NotEmpty.
//  7. TooManyLinks if a directory comes to another parent that has MaxDirNlink.
//
// Ctime (and Version) change of both directories, of what moves and of what is
// displaced or exchanged; mtime of both directories. A displaced last name sets
// OpEnds as unlink does.
//
// # Attributes
//
// Set empty: nothing changes, but what KillPriv takes away. With SetSize: a directory IsDir, anything else but a
// file, or a negative Size, Invalid; a Size beyond MaxNewSize TooBig. Then the mode of a symbolic link Unsupported;
// nanoseconds out of range Invalid.
//
//   - The effect is that of chown, chmod, truncate and utimes one after the other. It
//     takes at most two ops: first an OpTruncate if Set has SetSize, then an OpSetAttr
//     if Set has anything else, or is empty and KillPriv takes something away.
//     Result.Version is the last.
//   - Of Mode only the permission bits count. The Now bits become SetAtime and SetMtime
//     with the op's time, and win over explicit times.
//   - KillPriv without SetMode, on anything but a directory: the mode loses setuid, and
//     setgid if it is group-executable. If that changes the mode, the op has it (SetMode).
//     OpDropCaps is set if there is security.capability. An OpTruncate does so whether
//     SetMode is in the request or not.
//   - SetUID or SetGID on anything but a directory sets OpDropCaps in any case, if
//     there is security.capability.
//   - OpTruncate sets mtime even if the size stays.
//   - Whenever an op other than a setxattr or removexattr sets the mode of an inode
//     that has an access ACL, the ACL follows on every replica: its owner and other
//     entries, and its mask (or group if it has none), take the mode's bits.
//
// # Content
//
// Each needs a file: Stale; a directory IsDir, anything else Invalid.
//
// Write: a negative offset (unless Append) or more than MaxWrite bytes Invalid; no
// bytes: success, nothing changes; from MaxNewSize on TooBig. What is beyond MaxNewSize is
// not taken. Append writes at the size.
//
// Fallocate: offset negative or length not positive Invalid; an unknown mode,
// PunchHole without KeepSize or together with ZeroRange Unsupported; end beyond
// MaxNewSize TooBig. It grows the file unless KeepSize is given; PunchHole and
// ZeroRange make the range zeros.
//
// CopyChunks: no chunks, too many, or ranges that no op can have Invalid; Missing if a
// chunk is not to be had.
//
//   - Each sets mtime and ctime, and is an op even if no byte changes.
//   - KillPriv: setuid goes, and setgid if group-executable (SetMode and the new mode,
//     only if it changes), and OpDropCaps is set if there is security.capability.
//   - Result.N is the bytes taken, Result.Offset where they went.
//
// # Extended attributes
//
// Checks of a name: empty, longer than MaxXattrNameLen or with a NUL OutOfRange; (a
// value longer than MaxXattrLen XattrTooBig;) outside user., trusted., security.,
// wolfdisk. and the two ACLs Unsupported; nothing behind the prefix Invalid; user. and
// wolfdisk. on anything but files and directories NotPermitted; an ACL on a symbolic link
// Unsupported. Then, for a request about one: wolfdisk. from a mount Unsupported;
// Match.Version: Precondition; to set XattrKeep on what is no file created nameless that
// never had a name: Invalid.
//
//   - Set: Exclusive and there Exists; Replace and not there NoXattr; a new one that
//     makes the names, each with a NUL, more than MaxXattrsLen NoSpace. Always an op.
//
//   - Remove: NoXattr if it is not there; but for an ACL success, nothing changes.
//
//   - Attributes that begin with XattrObject go with every op on the file's content, and
//     XattrKeep goes with the first name.
//
// ACLs are in Linux's format, version 2, little-endian: 4 bytes version, then per
// entry 2 bytes tag, 2 bytes permissions, 4 bytes ID; the order is owner, users, group,
// groups, mask, other, with a mask if there are users or groups. Anything else is
// Invalid. They are stored as given.
//
//   - An ACL without entries removes what there is; removing leaves the mode alone.
//   - A default ACL on anything but a directory is AccessDenied (removal: success).
//   - An access ACL sets the mode: owner, group and other from its entries, group from
//     the mask if there is one; KillPriv clears setgid. The OpSetXattr has SetMode and
//     the mode, always. If it says no more than the mode (three base entries), it is
//     not kept: an OpRemoveXattr with SetMode and the mode if there was one, otherwise
//     an OpSetAttr.
//
// # Publish
//
// Stale; Invalid unless it is a file created nameless that never had a name. The new
// name. Match not met: Precondition. A directory has the name: IsDir. More than
// MaxOpXattrs attributes XattrTooBig; each by the checks above, ACLs Unsupported; the
// same name twice, or XattrKeep, Invalid. Of Set only SetMode counts. Xattrs are sorted in the op.
// The file's own mtime stays.
//
// # Open files
//
// Open and Close count; Open of an inode that is not there is Stale, as is Close;
// Close without Open is Invalid. A nameless inode that was never opened stays, and so does
// one with XattrKeep, opened or not.
//
// # Reading
//
// GetAttr, ListXattr Stale. GetXattr Stale, then the errors of a removal if it is not
// there, but for NotPermitted and what is said of ACLs: NoXattr. ReadLink Stale, Invalid. ReadDir Stale, NotDir.
// ReadNames is ReadDir in another order. ReadKept shows what has XattrKeep and Nlink 0.
// ParentOf Stale, NotDir (of a removed directory nothing is said). ReadAt Stale, IsDir,
// Invalid (not a file, or a negative offset). Seek Stale, IsDir, Invalid, NotSeekable
// (offset negative or not before the end). What Seek reports as a hole is zeros; it
// may report zeros as data; the end of the file is a hole.
//
// # Forwarded requests
//
// A request whose caller has a Client and a Seq other than 0 is answered again when it is
// repeated, and makes no op: Version, N and Offset are those of the first answer, the
// attributes are the present ones, or of what has ended the last with Nlink 0. That
// holds for requests that made an op. Of several ops only the last has the Seq.
//
// # Replicas
//
// Apply refuses with WrongHistory, changing nothing: a version that is not the next; a
// time before the op before; a first op that is no OpReign; a reign whose number is
// not higher; and every op that names an inode, name or type that is not so, gives an
// ID or name that is taken, displaces another than it says, ends what has names, or
// makes a loop.
package volumetest
