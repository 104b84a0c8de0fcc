// Package export writes a volume, as it is at one version, into a plain directory that
// belongs to no node: names, types, hard links, modes, owners, extended attributes,
// times, content with its holes.
//
// # Resuming
//
// While an export is unfinished its directory holds the folder .wolfdisk-export with
// two things: tmp, in which every file is made before it is renamed to its place, and
// record, which says what the export has made. An interrupted export is taken up by
// the next one, of any node of the volume and at whatever version that is: inode IDs
// and versions are the same everywhere. What is in place at the right version stays,
// the rest is written. Asked to, an export leaves its record, and a later one brings
// the directory up to date in the same way; otherwise the folder goes at the end.
//
// # What is not ours
//
// A name is recorded before it is made, and only what is recorded is ever replaced or
// removed. Anything else that stands in the way stops the export, and anything
// else beside it is left alone and told.
//
// While it is written the directory is open to its owner only, so that nobody sees half a tree,
// or puts a link where a directory was.
//
// # Order
//
// Work is done in batches: first the record of what is to be made is put on disk, then
// files are made, by several workers; then the file system is synced; then the
// record says that they are done. Directories get their attributes last, the deepest
// first. So after a power loss the record never claims what is not there.
//
// Memory is bounded by a batch, the subdirectories of the directories that are being
// walked, the inodes with several names, and, where there is a record to go by, its
// entries (some 60 bytes each).
//
// An Export is run by one goroutine; workers live for one batch. formats.md has the
// record's format.
package export
