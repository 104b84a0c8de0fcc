package oplog

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

const (
	defaultSegmentSize = 64 << 20
	minSegmentSize     = 4 << 10
	maxSegmentSize     = 1 << 40
	defaultSyncEvery   = time.Second
	defaultCacheBytes  = 16 << 20
	defaultTailBytes   = 8 << 20
)

// Options say where and how a log is kept.
type Options struct {
	FS     vfs.FS // default vfs.Default
	Dir    string // of the log alone; made if absent
	Volume volume.ID
	// Compress is 0 none, 1 LZ4, 2 to 9 LZ4 HC: of frames that are made here,
	// those of a leader elsewhere stay as they are.
	Compress int
	// SegmentSize is where a segment ends, in bytes; a frame that is larger has
	// a segment of its own. Default 64 MiB.
	SegmentSize int64
	// SyncEvery bounds how long an appended frame may stay not durable without
	// anybody asking. 0 turns it off, and all background work with it: for tests.
	SyncEvery time.Duration
	// CacheBytes bounds the cache of decompressed payloads; default 16 MiB.
	CacheBytes int64
	// TailBytes bounds the newest frames that are kept in memory for readers;
	// default 8 MiB.
	TailBytes int64
	// AllowCut lets Open cut even what had been acknowledged as durable: the
	// operator has decided that there is no better copy.
	AllowCut bool
	Log      zerolog.Logger
}

// DefaultOptions are the options of a daemon.
func DefaultOptions(dir string, id volume.ID) Options {
	return Options{
		FS: vfs.Default, Dir: dir, Volume: id, Compress: 1, SegmentSize: defaultSegmentSize,
		SyncEvery: defaultSyncEvery, CacheBytes: defaultCacheBytes, TailBytes: defaultTailBytes,
		Log: zerolog.Nop(),
	}
}

func (o *Options) fill() error {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.TailBytes == 0 {
		o.TailBytes = defaultTailBytes
	}
	switch {
	case o.Dir == "":
		return volume.Errorf(volume.Invalid, "oplog: no directory given")
	case o.Volume.IsZero():
		return volume.Errorf(volume.Invalid, "oplog %s: no volume ID given", o.Dir)
	case o.SegmentSize < minSegmentSize || o.SegmentSize > maxSegmentSize:
		return volume.Errorf(volume.Invalid, "oplog %s: segment size %d: must be %d to %d", o.Dir, o.SegmentSize, minSegmentSize, int64(maxSegmentSize))
	case o.SyncEvery < 0:
		return volume.Errorf(volume.Invalid, "oplog %s: sync interval %s is negative", o.Dir, o.SyncEvery)
	}
	return nil
}

// Log is an open log. All methods may be called concurrently.
//
// Lock order: the repair slot, admin, w, the sync slot, spareMu and markMu, mu, segment.fmu and the
// cache's.
type Log struct {
	opts  Options
	fs    vfs.FS
	log   zerolog.Logger
	dir   vfs.File // for syncing names
	cache *payloadCache

	mending mending // see repair.go

	encoded atomic.Uint64 // see Encoded

	// admin serialises Trim, Reset and Close.
	admin sync.Mutex

	// w is held by the one who appends. It guards:
	w       sync.Mutex
	enc     *volume.Encoder
	ends    []int // of the ops in enc, bytes
	comp    *compressor
	slab    slab
	scratch []byte       // of the frame being put together, if it is not kept
	own     volume.Epoch // that of the mark

	// spareMu guards the segment that is prepared for the next roll.
	spareMu sync.Mutex
	spare   *spare

	// markMu guards the durable mark and its file.
	markMu   sync.Mutex
	marked   durableMark
	markFile vfs.File

	// mu guards what readers see. It is held for memory accesses only, never
	// over a call of the file system, so readers do not slow the appender.
	mu     sync.Mutex
	segs   []*segment // ascending, never empty
	active *segment   // the last of segs; changes only with w held too
	last   volume.Position
	bytes  int64
	ring   ring
	// cachedTail is how much of the end stays in the page cache, bytes.
	cachedTail int64
	wait       chan struct{} // closed when something changes; nil if nobody waits
	resets     uint64
	broken     error
	closed     bool
	syncing    bool          // the sync slot is taken
	syncDone   chan struct{} // closed when it is free again
	dirDirty   bool          // names were changed since the directory was synced
	clock      uint64
	openFiles  int

	inexact atomic.Bool   // the file system cannot set space aside
	durable atomic.Uint64 // version; grows, but for Reset

	// The background goroutine, if SyncEvery is not 0.
	armed     atomic.Bool // a sync is due within SyncEvery
	wantSync  atomic.Bool // a sync is due at once
	wantSpare atomic.Bool
	wake      chan struct{} // capacity 1
	stop      chan struct{}
	stopOnce  sync.Once
	stopped   chan struct{}

	// syncedFor is set when somebody waited for a sync; see zeroAhead.
	syncedFor atomic.Bool
}

// Last is the position of the newest op, or what the log begins behind.
func (l *Log) Last() volume.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// First is the version of the oldest op held; Last's + 1 if there is none.
func (l *Log) First() volume.Version {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segs[0].head.first
}

// Durable is the version through which the log survives a power loss.
func (l *Log) Durable() volume.Version { return volume.Version(l.durable.Load()) }

// SegmentSize is where a segment ends, in bytes.
func (l *Log) SegmentSize() int64 { return l.opts.SegmentSize }

// Bytes is the sum of what the segments hold, in bytes, headers included.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// Broken is why the log takes nothing any more; nil while it does.
func (l *Log) Broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// usable is nil while the log may be changed.
func (l *Log) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usableLocked()
}

func (l *Log) usableLocked() error {
	if l.broken != nil {
		return l.broken
	}
	if l.closed {
		return volume.Errorf(volume.Closed, "oplog %s: closed", l.opts.Dir)
	}
	return nil
}

// fail stops the log for good: what is on disk is not known any more, and a
// retry that succeeds would prove nothing. It returns the error to be reported.
func (l *Log) fail(what string, err error) error {
	l.mu.Lock()
	first := l.broken == nil
	if first {
		l.broken = volume.Errorf(volume.Fault, "oplog %s: stopped: %s: %w (check the disk, then restart)", l.opts.Dir, what, err)
	}
	err = l.broken
	wait := l.wait
	l.wait = nil
	l.mu.Unlock()
	if wait != nil {
		close(wait)
	}
	if first {
		l.log.Error().Err(err).Msg("oplog: stopped")
	}
	return err
}

// run is the background goroutine: it syncs what nobody asked to sync, and
// prepares segments. Close ends it.
func (l *Log) run() {
	defer close(l.stopped)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	ticking := false
	for {
		select {
		case <-l.stop:
			return
		case <-l.wake:
			if l.wantSpare.Swap(false) {
				if err := l.prepareSpare(0); err != nil {
					l.log.Warn().Err(err).Msg("oplog: preparing the next segment; tried again when it is needed")
				}
			}
			if l.armed.Load() && !ticking {
				ticking = true
				timer.Reset(l.opts.SyncEvery)
			}
			if l.wantSync.Swap(false) {
				l.syncQuietly()
			}
		case <-timer.C:
			ticking = false
			l.armed.Store(false)
			l.syncQuietly()
		}
	}
}

// poke wakes the background goroutine, if there is one.
func (l *Log) poke() {
	if l.wake == nil {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default: // a wake-up that was not taken yet serves this one too
	}
}

// Close makes the log durable and closes it. Waiting readers get Closed.
func (l *Log) Close() error {
	l.admin.Lock()
	defer l.admin.Unlock()
	if l.stop != nil {
		l.stopOnce.Do(func() { close(l.stop) })
		<-l.stopped
	}
	l.w.Lock()
	defer l.w.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	err := l.syncAll()

	l.lockSync()
	defer l.unlockSync()
	l.mu.Lock()
	l.closed = true
	wait := l.wait
	l.wait = nil
	var files []vfs.File
	for _, s := range l.segs {
		s.gone = true // the last of those who read closes it
		if f := l.detachGoneLocked(s); f != nil {
			files = append(files, f)
		}
	}
	l.mu.Unlock()
	if wait != nil {
		close(wait)
	}
	keep := func(what string, e error) {
		if e != nil && err == nil {
			err = volume.Errorf(ioKind(e), "close oplog %s: %s: %w", l.opts.Dir, what, e)
		}
	}
	for _, f := range files {
		keep("segment", f.Close())
	}
	keep("durable mark", l.syncMark())
	keep("durable mark", l.markFile.Close())
	keep("spare segment", l.dropSpare())
	keep("directory", l.dir.Close())
	return err
}
