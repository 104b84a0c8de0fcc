// Package oplog is the durable, versioned, segmented log of frames. It knows no
// network: to it a follower is somebody who reads frames, and a leader somebody
// who makes them.
//
// # Format
//
// A log is a directory:
//
//	0000000000000001.seg   segments, named by the version of their first op, in hex
//	0000000000004e21.seg
//	spare                  the next segment, its space set aside, without a name yet
//	durable                the durable mark: how far the log was made durable
//	cut-V-O                bytes that a recovery cut off before version V at offset O
//	reset                  exists while a reset is on its way
//
// A segment is a header (segheader.go) and frames without anything between, then
// zeros to the end of the file: space that was set aside. A frame is a header
// (format.go) and a payload: one or more ops as volume.Encoder makes them, as
// they are or as one LZ4 block. Frames never cross segments. Every header has a
// checksum of its own, which also covers the payload's checksum, so a length is
// believed only when the header is intact. Frames are chained by version and by
// volume.Digest, segments by the position that the previous one ends with.
//
// The same bytes lie in the segments of every node: the leader encodes once
// (AppendOps), followers check and write what they got (AppendFrame).
//
// # What orders what
//
// A frame is written with one write before AppendOps returns: it survives the
// death of the process. It survives the death of the machine when Sync has
// returned for it. A sync brings segments to the disk, oldest first, then the
// directory if names have changed, then writes (and does not sync) the durable
// mark. A segment's header and name need not be durable before its first frame is
// written, since they are before anybody is told that the frame is.
//
// When the log rolls, the segment before the active one is made durable if it is
// not yet. So all segments but the last two are durable at any time, and recovery
// reads these two whole, and of the others only what links them.
//
// # Recovery
//
// The log ends behind the last frame that continues it. Zeros behind that are a
// clean end. Anything else was torn by a crash, or is damage. It is a torn tail,
// cut and kept beside, unless there is evidence that a version beyond the cut had
// been durable: in the mark, in a later segment's header, or in a later frame that
// was made here, which all name the version that was durable when they were
// written. Then Open refuses and changes nothing. See recover.go and mark.go.
//
// # Ownership
//
// Frame.Bytes and decoded ops are immutable and may be kept by anybody, but for what
// a reader that recycles returned (Reader.Recycle). AppendOps copies the ops' data.
// AppendFrame copies small frames; the ops of a large one lie in the caller's buffer.
// The newest frames stay in memory up to 64 KiB each; larger ones are read back from
// the page cache, where the end of the log is kept and the rest is not (drop.go). The
// directory belongs to one Log in one process; the caller sees to that (the state
// directory's lock).
//
// # Invariants
//
//   - Last, Durable and First only grow, but for Reset; First <= Durable+1 <= Last+1.
//   - A frame is visible to readers only when it is written whole.
//   - After a failed sync or a write that left an unknown state nothing is appended,
//     synced, trimmed or reset any more (Broken); reading goes on.
//   - Every byte that leaves through a Reader, ReadLog or ReadFrame is verified, or
//     was made by this process.
//   - Segments are removed oldest first, one at a time, each removal made durable.
//   - The file system seam may be asked to write and to sync a file at the same time.
//
// # Locks and goroutines
//
// Lock order: the repair slot (Repair), admin (Trim, Reset, Close, and Repair while it
// writes), w (the appender), the sync slot, spareMu
// and markMu, mu, then leaves (segment.fmu, the cache). Nothing calls the file
// system while holding mu.
//
// One goroutine per log, if Options.SyncEvery is not 0: it syncs what nobody
// asked to sync, and prepares the next segment. Close ends it. It sleeps while
// nothing is appended.
package oplog
