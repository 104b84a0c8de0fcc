// Package conflict keeps what a fork, or an edit behind a stopped daemon, left on the node
// that lost: the ops, and the last state of all that they changed. Nothing of the losing copy
// is changed before its record is complete and was read back; then the node takes the
// winner's state. Records are listed, shown, compared with the present tree, restored and
// dropped; none goes by itself, whatever its age.
//
// # What is recorded
//
//   - The frames of the losing suffix, byte for byte, as far as the log has them.
//   - An entry for each inode that the suffix touched and that still had a state: its paths at
//     the end and at the common version, all attributes, target, extended attributes, and content.
//     What is gone has an entry with the names it had.
//   - An entry for each directory above such a path, so that it can be made as it was.
//
// Which inodes these are is told by the ops. Where the log does not reach back, the index tells:
// inodes with a version behind the common one, and entries whose cookies are. Then it is not
// known what was removed before the first op there is, and content is kept whole.
//
// # Content
//
// A file that is new, or has up to 64 MiB of data, is kept whole. Of a larger one of which only
// parts were changed these parts are kept, and the hashes of the units of 1 MiB that hold anything
// else: restoring takes those from the present tree if they have this hash, and says what it could
// not take. If the disk has no room for it all, this is done with small files too (Record.Lean). What
// cannot be read when the record is made is noted, and keeps nothing else from being recorded.
//
// # Format
//
// A record is a directory:
//
//	STATE/conflicts/ID/manifest   what the record says of itself, and the entries (manifest.go)
//	                   ops        frames (fork.go)
//	                   contents   content of the files, in the order of the entries (contents.go)
//	                   complete   the mark: head and summary once more, lengths and hashes of the
//	                              files (complete.go)
//
// All are made of blocks with checksums that hold in one place of one record only (block.go).
// docs/formats.md has the whole.
//
// The ID of a fork is version and digest of the end of the losing branch, so a fork that is met
// again after a crash finds its record. That of edits is made of what was found.
//
// # Order
//
// The three files are written under .tmp-ID, each synced; read back, past the page cache where
// that can be asked for, and compared with what was meant to be written; the directory
// is synced, renamed to its ID, the one above synced; then the mark is written under another
// name, synced, renamed, and its directory synced. A crash before that leaves a record without a
// mark, which is removed when the same fork is recorded again. On an error all is removed, and
// the copy is as it was.
//
// # Memory
//
// Millions of ops are sorted through files in the same directory (sorter.go). What grows with
// them in memory are the directories that the suffix removed or renamed.
//
// # Ownership
//
// A Store belongs to one process; its mutex lets one record be made or dropped at a time.
// Readers are independent of it and of each other. The package starts no goroutines. The copy
// is the caller's, who keeps it from changing while Write runs.
//
// # Invariants
//
//   - A record with a mark is whole; damage found later is an error that names it, never other
//     content.
//   - Restoring never writes over anything, and never leaves the place it restores to: paths of
//     a record are checked when they are read.
//   - Drop is the only way for a record to go, but for one that was never completed.
package conflict
