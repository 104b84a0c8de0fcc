package chunkstore

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// maxOpenPacks bounds the descriptors held for reading: 10 TiB in packs of 256 MiB
// are 40,000 files, more than a process may open.
const maxOpenPacks = 128

// files opens packs for reading when they are needed and closes those not used for
// longest. A pack in use stays open, also after it was removed.
type files struct {
	fs  vfs.FS
	dir string

	mu   sync.Mutex
	open map[uint32]*packFile // nil once closed
	tick uint64
}

type packFile struct {
	vfs.File
	refs   int
	used   uint64
	doomed bool // close with the last release
}

func (f *files) path(name string) string { return f.fs.PathJoin(f.dir, name) }

// acquire opens a pack for reading; release must follow.
func (f *files) acquire(num uint32) (*packFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		return nil, errClosed()
	}
	p := f.open[num]
	if p == nil {
		file, err := f.fs.Open(f.path(packName(num)))
		if err != nil {
			return nil, ioError(err, "open pack "+packName(num))
		}
		p = &packFile{File: file}
		f.open[num] = p
		f.shrinkLocked(num)
	}
	f.tick++
	p.used = f.tick
	p.refs++
	return p, nil
}

// release ends an acquire. An error of close does not concern the reader, who has
// read and checked what it wanted.
func (f *files) release(p *packFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.refs--
	if p.doomed && p.refs == 0 {
		_ = p.Close()
	}
}

func (f *files) shrinkLocked(keep uint32) {
	for len(f.open) > maxOpenPacks {
		var oldest uint32
		var idle *packFile
		for num, p := range f.open {
			if p.refs == 0 && num != keep && (idle == nil || p.used < idle.used) {
				oldest, idle = num, p
			}
		}
		if idle == nil {
			return // all in use: over the limit for a while
		}
		delete(f.open, oldest)
		_ = idle.Close() // nothing was written through it
	}
}

// forget closes a pack that is gone as soon as nobody reads it.
func (f *files) forget(num uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetLocked(num)
}

func (f *files) forgetLocked(num uint32) {
	p := f.open[num]
	if p == nil {
		return
	}
	delete(f.open, num)
	p.doomed = true
	if p.refs == 0 {
		_ = p.Close()
	}
}

func (f *files) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for num := range f.open {
		f.forgetLocked(num)
	}
	f.open = nil
}

// syncDir makes names in the store's directory durable.
func (f *files) syncDir() error { return syncDir(f.fs, f.dir) }

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return ioError(err, "open directory "+dir)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return ioError(err, "sync directory "+dir)
}

// ioError gives an error of the file system its kind; what is not known there is IO.
func ioError(err error, text string) error {
	if err == nil {
		return nil
	}
	if volume.KindOf(err) == volume.Unknown {
		return volume.Errorf(volume.IO, "%s: %w", text, err)
	}
	return volume.Wrap(err, text)
}
