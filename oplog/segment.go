package oplog

import (
	"errors"
	"io"
	"io/fs"
	"sort"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

const (
	// indexEvery is the distance of the entries of a segment's sparse index, in
	// bytes: what has to be walked, header by header, to find a version.
	indexEvery = 64 << 10
	// maxOpenFiles bounds the segment files kept open for reading.
	maxOpenFiles = 128
	// writeCategory tells wrapping file systems what is written here.
	writeCategory vfs.DiskWriteCategory = "wolfdisk-oplog"
)

// mark says that a frame beginning with version v begins at off.
type mark struct {
	v   volume.Version
	off int64
}

// segment is one file of the log. Its head is immutable; end and what follows
// are guarded by Log.mu and only the active segment's change.
type segment struct {
	head segmentHeader
	path string

	end     int64           // of its last whole frame, bytes
	lastOff int64           // where that frame begins; 0 if there is none
	tail    volume.Position // after that frame
	size    int64           // bytes set aside; frames go in up to here
	synced  int64           // bytes known to be durable; the header counts
	dropped int64           // bytes known to be out of the page cache, or not put there by us
	index   []mark          // ascending; complete if indexed
	indexed bool
	asked   bool   // for a spare to follow it
	zeroed  int64  // zeros were written ahead up to here; only appending looks at it
	refs    int    // readers and syncs that use the file
	used    uint64 // when it was last acquired, by Log.clock
	gone    bool   // trimmed or reset: close when refs is 0

	fmu  sync.Mutex // below Log.mu: never lock Log.mu while holding it
	file vfs.File   // nil while closed
}

// seg is the segment's number in a LogRef.
func (s *segment) seg() uint64 { return uint64(s.head.first) }

// note adds a frame to the sparse index. Log.mu is held, or s is not shared yet.
func (s *segment) note(v volume.Version, off int64) {
	if n := len(s.index); n == 0 || off-s.index[n-1].off >= indexEvery {
		s.index = append(s.index, mark{v, off})
	}
}

// near is the nearest known frame at or before version v. Log.mu is held.
func (s *segment) near(v volume.Version) int64 {
	i := sort.Search(len(s.index), func(i int) bool { return s.index[i].v > v })
	if i == 0 {
		return segmentHeaderLen
	}
	return s.index[i-1].off
}

// open returns the file, and whether it had to be opened for that.
func (s *segment) open(in vfs.FS) (f vfs.File, opened bool, err error) {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	if s.file == nil {
		if s.file, err = in.Open(s.path); err != nil {
			s.file = nil
			return nil, false, volume.Errorf(ioKind(err), "open segment %s: %w", s.path, err)
		}
		return s.file, true, nil
	}
	return s.file, false, nil
}

// detach takes the file away, to be closed. Only with refs 0, Log.mu held.
func (s *segment) detach() vfs.File {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	f := s.file
	s.file = nil
	return f
}

// acquire pins a segment's file and returns it; Missing if it is gone. Pair it
// with release.
func (l *Log) acquire(s *segment) (vfs.File, error) {
	l.mu.Lock()
	if s.gone {
		l.mu.Unlock()
		return nil, volume.Errorf(volume.Missing, "segment %s: %w", s.path, fs.ErrNotExist)
	}
	l.acquireLocked(s)
	l.mu.Unlock()
	return l.openAcquired(s)
}

func (l *Log) acquireLocked(s *segment) {
	s.refs++
	l.clock++
	s.used = l.clock
}

// openAcquired returns the file of an acquired segment, and releases that on
// failure.
func (l *Log) openAcquired(s *segment) (vfs.File, error) {
	f, opened, err := s.open(l.fs)
	if err != nil {
		l.release(s)
		return nil, err
	}
	if opened {
		l.mu.Lock()
		l.openFiles++
		cold := l.detachColdestLocked()
		l.mu.Unlock()
		l.closeRead(cold)
	}
	return f, nil
}

// release ends an acquire.
func (l *Log) release(s *segment) {
	l.mu.Lock()
	s.refs--
	f := l.detachGoneLocked(s)
	l.mu.Unlock()
	l.closeRead(f)
}

// detachGoneLocked takes the file from a segment that is gone and used no more.
func (l *Log) detachGoneLocked(s *segment) vfs.File {
	if !s.gone || s.refs > 0 {
		return nil
	}
	return l.detachLocked(s)
}

func (l *Log) detachLocked(s *segment) vfs.File {
	f := s.detach()
	if f != nil {
		l.openFiles--
	}
	return f
}

// detachColdestLocked takes the file that was not used for longest, if too many
// are open. Segments that are not durable keep theirs: an error of writing back is
// reported to the handle that wrote.
func (l *Log) detachColdestLocked() vfs.File {
	if l.openFiles <= maxOpenFiles {
		return nil
	}
	var coldest *segment
	for _, s := range l.segs {
		if s.refs == 0 && s != l.active && s.synced >= s.end && (coldest == nil || s.used < coldest.used) && s.isOpen() {
			coldest = s
		}
	}
	if coldest == nil {
		return nil
	}
	return l.detachLocked(coldest)
}

func (s *segment) isOpen() bool {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	return s.file != nil
}

// closeRead closes a file that holds nothing unwritten, so that a failure costs
// nobody anything but should be seen.
func (l *Log) closeRead(f vfs.File) {
	if f == nil {
		return
	}
	if err := f.Close(); err != nil {
		l.log.Warn().Err(err).Msg("oplog: closing a segment")
	}
}

// readFull reads exactly len(p) bytes; too few is damage, any other failure is
// the disk's.
func readFull(f vfs.File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return volume.Errorf(volume.Corrupt, "file ends at %d instead of %d or behind", off+int64(n), off+int64(len(p)))
	}
	return volume.Errorf(ioKind(err), "read %d bytes at %d: %w", len(p), off, err)
}

// ioKind is the kind of an error of the file system: its own if it has one.
func ioKind(err error) volume.Kind {
	if k := volume.KindOf(err); k != volume.Unknown {
		return k
	}
	return volume.IO
}
