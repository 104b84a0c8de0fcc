package chunkstore

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// beginWriting and dropCached are advice: a failure costs time or memory, and an error
// of the disk is told by the fsync that follows.

// beginWriting starts bringing a range to the disk: sync_file_range(2).
func beginWriting(f vfs.File, off, n int64) {
	if fd, ok := descriptor(f); ok {
		_ = unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
	}
}

// dropCached takes durable pages out of the page cache: posix_fadvise(2).
func dropCached(f vfs.File, from, to int64) {
	if fd, ok := descriptor(f); ok {
		_ = unix.Fadvise(fd, from, to-from, unix.FADV_DONTNEED)
	}
}

// descriptor is a file's, if it has one.
func descriptor(f vfs.File) (fd int, ok bool) {
	d := f.Fd()
	return int(d), d != vfs.InvalidFd
}
