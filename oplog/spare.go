package oplog

import (
	"errors"
	"io/fs"
	"runtime"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

const spareName = "spare"

// spare is a file that becomes the next segment: its space is set aside, its
// bytes are zeros, and it has neither header nor name yet.
type spare struct {
	file vfs.File
	path string
	size int64
}

// growZeroed is the largest file that is given its length in advance on a file
// system in memory, which would hold every zero of it.
const growZeroed = 1 << 20

// setAside makes sure that a file has size bytes that read as zeros behind what
// is written, so that appending changes no metadata and cannot find the disk
// full. exact is false if the file system cannot do that.
func setAside(f vfs.File, size int64) (exact bool, err error) {
	// Elsewhere the file system seam sets nothing aside and says so by nothing.
	exact = runtime.GOOS == "linux"
	if err := f.Preallocate(0, size); err != nil {
		if volume.KindOf(err) != volume.Unsupported && volume.KindOf(err) != volume.Invalid {
			return false, err
		}
		exact = false // appending works all the same; Reserve asks how much is free
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() < size && (f.Fd() != vfs.InvalidFd || size <= growZeroed) {
		if _, err := f.WriteAt([]byte{0}, size-1); err != nil {
			return false, err
		}
	}
	return exact, nil
}

// prepareSpare makes sure that there is a spare of at least size bytes; 0 stands
// for the usual size.
func (l *Log) prepareSpare(size int64) error {
	l.spareMu.Lock()
	defer l.spareMu.Unlock()
	return l.prepareSpareLocked(max(size, l.opts.SegmentSize))
}

func (l *Log) prepareSpareLocked(size int64) error {
	if l.spare != nil && l.spare.size >= size {
		return nil
	}
	if l.spare == nil {
		path := l.fs.PathJoin(l.opts.Dir, spareName)
		f, err := l.fs.Create(path, writeCategory)
		if err != nil {
			return volume.Errorf(ioKind(err), "oplog %s: create segment: %w", l.opts.Dir, err)
		}
		l.spare = &spare{file: f, path: path}
	}
	exact, err := setAside(l.spare.file, size)
	if err == nil {
		// The space, not the content, which is durable only with the frames.
		err = l.spare.file.Sync()
	}
	if err != nil {
		err = volume.Errorf(ioKind(err), "oplog %s: set aside %d bytes for a segment: %w", l.opts.Dir, size, err)
		return errors.Join(err, l.dropSpareLocked())
	}
	l.spare.size = size
	if !exact {
		l.inexact.Store(true)
	}
	return nil
}

// dropSpare removes the spare, if there is one.
func (l *Log) dropSpare() error {
	l.spareMu.Lock()
	defer l.spareMu.Unlock()
	return l.dropSpareLocked()
}

func (l *Log) dropSpareLocked() error {
	if l.spare == nil {
		return nil
	}
	sp := l.spare
	l.spare = nil
	closeErr := sp.file.Close()
	err := l.fs.Remove(sp.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(closeErr, err); err != nil {
		return volume.Errorf(ioKind(err), "remove %s: %w", sp.path, err)
	}
	return nil
}

// roll begins a new segment behind the active one, with room for a frame of n
// bytes. Its header and name become durable with its first frame. w is held.
//
// Recovery relies on this: all segments but the last two are durable.
func (l *Log) roll(n int) error {
	l.mu.Lock()
	old := l.active
	head := segmentHeader{
		volume: l.opts.Volume, first: l.last.Version + 1, prev: l.last,
		prevFirst: old.head.first, prevLast: old.lastOff, prevEnd: old.end,
	}
	behind := len(l.segs) > 1 && l.segs[len(l.segs)-2].synced < l.segs[len(l.segs)-2].end
	l.mu.Unlock()
	if behind {
		if err := l.syncAll(); err != nil {
			return err
		}
	}
	head.durable = min(l.Durable(), head.prev.Version)
	s, err := l.newSegment(head, segmentHeaderLen+int64(n), false)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.segs = append(l.segs, s)
	l.active = s
	l.bytes += s.end
	l.openFiles++
	l.dirDirty = true
	cold := l.detachColdestLocked()
	l.mu.Unlock()
	l.closeRead(cold)
	l.wantSync.Store(true)
	l.poke()
	return nil
}

// newSegment turns the spare into a segment with at least size bytes. With
// durable, whoever sees the name after a crash finds a good header.
func (l *Log) newSegment(head segmentHeader, size int64, durable bool) (*segment, error) {
	l.spareMu.Lock()
	defer l.spareMu.Unlock()
	if err := l.prepareSpareLocked(max(size, l.opts.SegmentSize)); err != nil {
		return nil, err
	}
	sp := l.spare
	path := l.fs.PathJoin(l.opts.Dir, segmentName(head.first))
	_, err := sp.file.WriteAt(head.encode(), 0)
	if err == nil && durable {
		err = sp.file.Sync()
	}
	if err == nil {
		err = l.fs.Rename(sp.path, path)
	}
	if err != nil {
		err = volume.Errorf(ioKind(err), "oplog: begin segment %s: %w", path, err)
		return nil, errors.Join(err, l.dropSpareLocked())
	}
	l.spare = nil
	return &segment{
		head: head, path: path, file: sp.file, end: segmentHeaderLen, size: sp.size, tail: head.prev, indexed: true,
	}, nil
}

// Reserve makes sure that n bytes more can be appended, for callers that must not
// fail once they have applied an op: NoSpace now instead of then. n counts op
// encodings, and FrameOverhead per frame. It is a level, not a claim: callers that
// run at once ask for the sum of what they may append.
func (l *Log) Reserve(n int64) error {
	if n < 0 || n > maxSegmentSize {
		return volume.Errorf(volume.Invalid, "oplog %s: reserve %d bytes", l.opts.Dir, n)
	}
	l.mu.Lock()
	err := l.usableLocked()
	left := l.active.size - l.active.end
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if left < n {
		if err := l.prepareSpare(segmentHeaderLen + n); err != nil {
			return err
		}
	}
	if !l.inexact.Load() {
		return nil
	}
	usage, err := l.fs.GetDiskUsage(l.opts.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil // a file system in memory
	}
	if err != nil {
		return volume.Errorf(ioKind(err), "oplog %s: how much is free: %w", l.opts.Dir, err)
	}
	if usage.AvailBytes < uint64(n) {
		return volume.Errorf(volume.NoSpace, "oplog %s: %d bytes needed, %d are free", l.opts.Dir, n, usage.AvailBytes)
	}
	return nil
}
