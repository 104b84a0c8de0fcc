package chunkstore

import (
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// readCounter counts reads of packs through descriptors for reading.
type readCounter struct {
	vfs.FS
	reads atomic.Int64
}

func (c *readCounter) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := c.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &countedFile{f, &c.reads}, nil
}

type countedFile struct {
	vfs.File
	reads *atomic.Int64
}

func (f *countedFile) ReadAt(p []byte, off int64) (int, error) {
	f.reads.Add(1)
	return f.File.ReadAt(p, off)
}

// fullDisk takes a number of bytes and then answers ENOSPC, after a part of a write
// went in, as disks do. Files are not given back by removing: tests set room.
type fullDisk struct {
	vfs.FS
	room atomic.Int64
}

func (d *fullDisk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &fullFile{f, d}, nil
}

func (d *fullDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.FS.Create(name, c))
}

func (d *fullDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.wrap(d.FS.OpenReadWrite(name, c, o...))
}

type fullFile struct {
	vfs.File
	disk *fullDisk
}

func (f *fullFile) take(n int) int {
	left := f.disk.room.Add(int64(-n))
	if left >= 0 {
		return n
	}
	part := max(0, n+int(left))
	f.disk.room.Store(0)
	return part
}

func (f *fullFile) Write(p []byte) (int, error) {
	n := f.take(len(p))
	if n < len(p) {
		if m, err := f.File.Write(p[:n]); err != nil {
			return m, err
		}
		return n, syscall.ENOSPC
	}
	return f.File.Write(p)
}

// WriteAt counts only what makes the file longer.
func (f *fullFile) WriteAt(p []byte, off int64) (int, error) {
	info, err := f.File.Stat()
	if err != nil {
		return 0, err
	}
	grow := max(0, off+int64(len(p))-info.Size())
	if n := f.take(int(grow)); int64(n) < grow {
		part := len(p) - int(grow) + n
		if part > 0 {
			if m, err := f.File.WriteAt(p[:part], off); err != nil {
				return m, err
			}
		}
		return max(part, 0), syscall.ENOSPC
	}
	return f.File.WriteAt(p, off)
}
