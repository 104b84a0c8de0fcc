package oplog

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// dropCached takes durable pages of a file out of the page cache: posix_fadvise(2).
// It is advice: a failure costs nothing but memory.
func dropCached(f vfs.File, from, to int64) {
	if fd := f.Fd(); fd != vfs.InvalidFd {
		_ = unix.Fadvise(int(fd), from, to-from, unix.FADV_DONTNEED)
	}
}
