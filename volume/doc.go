// Package volume is the vocabulary of WolfDisk: inode IDs, attributes, ops and their
// encoding, epochs, positions and lineage, requests and results, the interfaces
// between the packages, the closed list of error kinds with its tables to errno and
// S3 codes, and every limit. It imports nothing of the project.
//
// # The op
//
// An [Op] is the only way to change a volume. A front end hands a [Request] to a
// [Volume]; the volume decides it from its index, under the locks of the objects
// concerned, into an Op that says what will be: inode ID, final mode, owner, times.
// The same Op, in the same order, makes equal trees on every [Replica]. Flags like
// O_EXCL are decided, never replayed. Content travels by value ([Op.Data]) or by
// chunk ID ([Op.Chunks]), never by reference to a range of a file.
//
// Effects that every replica derives in the same way, and that therefore have no
// field: an op sets ctime of all inodes it names to [Op.Time], and mtime of the
// directories whose entries it changes and of the file whose content it changes;
// it sets their Version; link counts follow the names; a write beyond the end
// grows the file; removing the last name leaves an inode with Nlink 0, whose
// content stays until its OpEnd.
//
//   - OpCreate with Parent 0 makes an inode with Nlink 0 that is alive.
//   - OpLink, OpPublish give a nameless inode its name; OpPublish displaces what
//     had the name as OpRename does, and replaces the xattrs whose names it lists.
//   - OpUnlink of the last name, OpRmdir, and OpRename or OpPublish over the last
//     name leave Nlink 0 (also for a directory, which must be empty), until an
//     OpEnd; with OpEnds the life ends in the same op, because it is open nowhere.
//   - OpWrite, OpTruncate, OpFallocate, OpCopyChunks set Mode if Mask has SetMode
//     (setuid and setgid cleared) and drop security.capability if Flags has OpDropCaps.
//   - OpSetXattr and OpRemoveXattr of an ACL carry the mode that goes with it.
//   - OpWrite, OpTruncate, OpFallocate, OpCopyChunks remove the attributes that tell of
//     the content as it was (IsObjectXattr).
//   - The first name of an inode that was created nameless removes its XattrKeep.
//   - OpReign opens an epoch; OpMember changes the list of members.
//
// # Encoding
//
// See opcodec.go. A payload is a sequence of op encodings; its frame says how many,
// and the version of the first. [Digest.Next] chains over the encodings.
//
// # Invariants
//
//   - Versions count 1, 2, 3 ... without gaps, across epochs.
//   - Inode IDs are never reused; those made in different epochs differ in their tag.
//   - An op from disk or network is used only after [Op.Validate].
//   - Op times never go backwards within a volume's history, so no ctime does.
//   - A directory entry's cookie ([EntryCookie]) comes from the version of the op
//     that made the entry, so all nodes list in the same order, without keeping state. No
//     entry's is behind EntryCookie(v, true), where v is the version of the directory.
package volume
