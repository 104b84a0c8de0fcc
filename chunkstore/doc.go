// Package chunkstore keeps content in content-addressed chunks: [Store] holds chunks
// in append-only pack files, [Content] is the volume.Backing over it, for nodes that
// keep no plain directory.
//
// # Purpose
//
// A chunk is 1 byte to the volume's chunk size of content, named by its SHA-256. It
// is written once, read many times, and never changed. What a chunk is good for is
// the index's knowledge (extents); the store knows only names and bytes.
//
// # Files
//
// One directory belongs to one Store of one volume; the state directory's lock keeps
// a second daemon out. It holds
//
//	00000001.pack ...   packs, numbered upwards, numbers are never used twice
//	mark                how far the packs are known to be durable
//	*.tmp               unfinished; removed by Open
//
// Layouts are drawn in format.go and mark.go. Checksums are XXH3 and salted with
// volume, pack number and offset, so a record that was written to the wrong place, or
// a pack stored as content inside a pack, is not taken for a record.
//
// Only the highest pack is unsealed. It is appended to until it has Options.PackSize
// bytes, then sealed: an index of its records goes to its end, so that Open need not
// walk through it. All others are never written again, only removed as a whole.
//
// # Durability
//
// Put writes without fsync. Sync first syncs the pack, then notes its length in the
// mark and syncs that. After a crash the records of the unsealed pack are walked:
//
//   - up to the mark everything must be there; what is not, is damage. It is reported
//     (Recovery.Damage, and an error in the log), what lies behind it is found
//     again by searching, and the pack is never appended to again.
//   - behind the mark records are kept while they match their hash. They are written
//     again before the next fsync, since after a failed fsync the page cache may show
//     bytes that the disk never took. The rest is a torn tail: it is covered by a
//     skip record (the file system seam cannot truncate) and reported as cut.
//
// A pack gets its name only after its header is synced (temp, fsync, rename, fsync of
// the directory). After one failed fsync the store accepts nothing more until it is
// opened again; reading goes on.
//
// # Damage
//
// Get compares what it read with the chunk's ID. A chunk that is damaged or absent is
// asked of the fetcher, checked, stored again (as a new record: the later copy wins,
// also when packs are read at Open) and returned. Without help the answer is Corrupt,
// Missing, IO or Unavailable, never other bytes. Damage to a pack's header or index is
// reported by Open and Verify and is repaired by Compact, which copies what is
// live into a new pack.
//
// # Collection
//
// Sweep asks for every chunk whether it is still in use. One that is not, is marked;
// if it is still unused in a sweep at least the grace time later, it is forgotten. A
// Put of a marked chunk counts as a miss and writes it again, so a chunk never vanishes
// under somebody who has just been told that it is there; Has says no for marked
// chunks for the same reason. A chunk put or hit less than the grace time ago is not
// marked, and a pinned one never. Marks live in memory: a restart only delays
// collection. Somebody in a hurry sweeps without a grace time and says since when it is
// known what is in use (SweepOptions.Since): what was put or hit later stays. An op that
// names chunks pins them for some minutes, until the index is sure to point to them.
// The space of forgotten chunks is won back by Compact, which copies the
// live records of a mostly dead pack, syncs, and then removes the pack; Repack before
// that moves what is still in use out of chunks that are mostly not.
//
// # Content
//
// Content writes nothing when an op is applied: an op's data lie in the log, and the
// index maps the file's range to it. Only the chunks of an OpCopyChunks must be here and
// durable, and are fetched if they are not. Seal moves what is still live in old segments
// into chunks and says which extents take the place of which; the caller enters them.
// CompactFile does the same for files in many pieces.
//
// # Invariants
//
//   - An entry of the table points to a record whose header was valid when it was
//     written or read at Open, and whose lengths are within the limits.
//   - Records of one pack do not overlap; the sum of live record bytes per pack is
//     kept in pack.live.
//   - A pack is removed only when no entry points into it and what took its place
//     is durable.
//   - Slices returned by Get are shared with the cache and never change.
//
// # Locks
//
// In this order: compactMu, writeMu (active pack, mark, failure), mu (table, packs,
// pins, counters), then one of flightMu, cache.mu, files.mu, which are leaves. No
// lock but compactMu is held while the fetcher or a callback runs; mu is never held
// over I/O.
//
// # Goroutines
//
// None. Everything runs in the caller's.
package chunkstore
