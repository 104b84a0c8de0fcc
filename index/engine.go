package index

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// Options of an Engine.
type Options struct {
	FS  vfs.FS
	Dir string
	// Extents says that content is described by extents here; without it a real
	// directory holds the content and ops leave no extents.
	Extents bool
	// SyncLog makes the log durable through a version. It is called before anything
	// of that version can reach the store's files. Nil only in tests.
	SyncLog func(volume.Version) error
	// Ending is told of each inode that ops end, as they leave it, right before readers miss
	// it. It must return at once, and not call back. It may be nil.
	Ending func(*volume.Attr)
	// MemTable is the size of the store's write buffer, bytes; default 16 MiB.
	MemTable int64
	// BlockCache bounds what the store keeps in memory, bytes: its write buffers come
	// off it first, and a cache that they fill leaves every read to the disk. Default
	// twice MemTable and 8 MiB.
	BlockCache int64
	Log        zerolog.Logger
}

// Engine is one open index.
type Engine struct {
	opt Options
	db  *pebble.DB

	cache   cache[volume.Ino, inode]
	entries cache[nameKey, dirent]    // zero where there is none
	lowers  cache[volume.Ino, []byte] // records of the backing as stored; nil where there is none
	pins    pins

	// allocation of inode IDs; the tag is that of the epoch this node writes in
	allocTag   atomic.Uint32
	allocCount atomic.Uint32

	meta atomic.Pointer[meta] // as entered; replaced under enterMu

	enterMu sync.Mutex
	broken  error           // sticky; a batch that could not be committed
	unsaved int64           // bytes written since the last rotation
	tails   map[string]tail // newest answer of each client of forwarded requests
	flushes sync.WaitGroup
	closing chan struct{} // closed when nobody waits for flushes any more
	// flushErr is why the store could not write; nil once it could again. flushFailed
	// holds a token after each failure.
	flushErr    atomic.Pointer[error]
	flushFailed chan struct{}
	flushing    atomic.Int32  // under way
	flushed     atomic.Uint64 // version through which the store's files hold everything

	lineageMu sync.RWMutex
	lineage   volume.Lineage
	members   map[string]volume.Member
}

// Open opens the index in opt.Dir, or makes an empty one whose only inode is the
// root. The root gets its attributes from the first ops.
func Open(opt Options) (*Engine, error) {
	if opt.MemTable == 0 {
		opt.MemTable = 16 << 20
	}
	if opt.BlockCache == 0 {
		opt.BlockCache = 2*opt.MemTable + 8<<20
	}
	e := &Engine{opt: opt, members: map[string]volume.Member{}, tails: map[string]tail{}, closing: make(chan struct{}), flushFailed: make(chan struct{}, 1)}
	db, err := pebble.Open(opt.Dir, e.storeOptions())
	if err != nil {
		return nil, volume.Wrap(err, "open index "+opt.Dir)
	}
	e.db = db
	e.cache.init(hashIno)
	e.entries.init(hashName)
	e.lowers.init(hashIno)
	e.pins.counts = map[volume.Ino]int{}
	if err := e.load(); err != nil {
		return nil, errors.Join(err, e.Abandon())
	}
	return e, nil
}

func (e *Engine) storeOptions() *pebble.Options {
	opt := e.opt
	o := &pebble.Options{
		FS:                          opt.FS,
		CacheSize:                   opt.BlockCache,
		DisableWAL:                  true,
		MemTableSize:                uint64(opt.MemTable),
		MemTableStopWritesThreshold: 4,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      storeLog{opt.Log},
	}
	o.EventListener = &pebble.EventListener{
		BackgroundError: e.failedFlush,
		// Whoever reads the damaged block is told by an error.
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			opt.Log.Error().Str("code", "WD-1155").Str("file", i.Path).Err(i.Details).Msg("a file of the index is damaged; move the state directory away and let this node sync anew")
		},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *block.CompressionProfile { return block.SnappyCompression }
	}
	return o
}

// storeLog passes on what pebble reports. Its messages are of interest only to
// somebody who looks for a fault.
type storeLog struct{ log zerolog.Logger }

func (l storeLog) Infof(format string, args ...any)  { l.log.Trace().Msgf(format, args...) }
func (l storeLog) Errorf(format string, args ...any) { l.log.Error().Msgf(format, args...) }

// Fatalf is called where the store cannot go on and the caller cannot be told: the
// file that lists its files could not be written. Nothing is lost by ending the process
// here, since the log has every op, but anything else might write on half a state.
func (l storeLog) Fatalf(format string, args ...any) {
	l.log.Panic().Str("code", "WD-1156").Msgf("the index cannot go on: "+format, args...)
}

func (e *Engine) load() error {
	v, closer, err := e.db.Get(metaKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return e.format()
	}
	if err != nil {
		return volume.Wrap(err, "index: read state")
	}
	m, err := decodeMeta(v)
	if err := errors.Join(err, closer.Close()); err != nil {
		return err
	}
	e.meta.Store(&m)
	e.flushed.Store(uint64(m.pos.Version))
	e.setAlloc(m.inoTag, m.inoCount)
	if err := e.loadLists(); err != nil {
		return err
	}
	return e.clearLimbo()
}

// format writes the empty volume: version 0, a root nobody has changed yet.
func (e *Engine) format() error {
	m := meta{files: 1, inoCount: uint32(volume.RootIno)}
	root := inode{Attr: volume.Attr{Ino: volume.RootIno, Mode: volume.ModeDir | 0o755, Nlink: 2}, parent: volume.RootIno}
	b := e.db.NewBatch()
	defer b.Close()
	err := errors.Join(
		b.Set(keyIno(kInode, volume.RootIno), root.encode(), nil),
		b.Set(metaKey, m.encode(), nil),
		b.Commit(pebble.NoSync))
	if err == nil {
		e.meta.Store(&m)
		e.setAlloc(m.inoTag, m.inoCount)
		err = e.Flush()
	}
	return volume.Wrap(err, "index: make empty volume")
}

func (e *Engine) loadLists() error {
	err := e.scan([]byte{kReign}, func(key, val []byte) error {
		r, err := decodeReign(volume.Version(beUint64(key[1:])), val)
		e.lineage = append(e.lineage, r)
		return err
	})
	if err != nil {
		return err
	}
	err = e.scan([]byte{kMember}, func(key, val []byte) error {
		m, err := decodeMember(string(key[1:]), val)
		e.members[m.ID] = m
		return err
	})
	if err != nil {
		return err
	}
	return e.loadTails()
}

// scan calls fn for every key with the prefix; key and value are valid only then.
func (e *Engine) scan(prefix []byte, fn func(key, val []byte) error) (err error) {
	return scan(e.db, prefix, prefix, fn)
}

func scan(r pebble.Reader, from, prefix []byte, fn func(key, val []byte) error) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(prefix)})
	if err != nil {
		return volume.Wrap(err, "index: iterate")
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return volume.Wrap(err, "index: read")
		}
		if err := fn(it.Key(), val); err != nil {
			if err == errStop {
				return nil
			}
			return err
		}
	}
	return nil
}

var errStop = errors.New("stop")

// Close flushes and closes the index. No other call may be running.
func (e *Engine) Close() error {
	err := e.Flush()
	return errors.Join(err, e.Abandon())
}

// Abandon closes the store without flushing, as a crash would; for tests and for a
// node that must not go on.
func (e *Engine) Abandon() error {
	close(e.closing)
	e.flushes.Wait()
	return e.db.Close()
}

// Dir is where the index lies.
func (e *Engine) Dir() string { return e.opt.Dir }

// Position is the position of the last op entered.
func (e *Engine) Position() volume.Position { return e.meta.Load().pos }

// LastTime is the time of the last op entered.
func (e *Engine) LastTime() volume.Time { return e.meta.Load().time }

// Flushed is the version through which the index is on disk by itself.
func (e *Engine) Flushed() volume.Version { return volume.Version(e.flushed.Load()) }

// Counts are the inodes with a name and the sum of the sizes of regular files.
func (e *Engine) Counts() (files, bytes uint64) {
	m := e.meta.Load()
	return m.files, m.bytes
}

// Lineage is the list of reigns that wrote.
func (e *Engine) Lineage() volume.Lineage {
	e.lineageMu.RLock()
	defer e.lineageMu.RUnlock()
	return e.lineage[:len(e.lineage):len(e.lineage)]
}

// Members are the nodes the cluster remembers, in natural order of their IDs.
func (e *Engine) Members() []volume.Member {
	e.lineageMu.RLock()
	defer e.lineageMu.RUnlock()
	return sortedMembers(e.members)
}

// BeginEpoch sets where new inode IDs come from: the tag of the epoch in which this
// node is going to write.
func (e *Engine) BeginEpoch(tag uint32) {
	m := e.meta.Load()
	if m.inoTag == tag {
		e.setAlloc(tag, m.inoCount)
		return
	}
	e.setAlloc(tag, 0)
}

func (e *Engine) setAlloc(tag, count uint32) {
	e.allocTag.Store(tag)
	e.allocCount.Store(count)
}

// NewIno gives out the next inode ID, for what is found in a real directory.
func (e *Engine) NewIno() (volume.Ino, error) { return e.allocIno() }

// allocIno gives out the next inode ID. An ID whose op is never recorded is lost
// until the next start.
func (e *Engine) allocIno() (volume.Ino, error) {
	n := e.allocCount.Add(1)
	if n == 0 || n == volume.MaxInoCount {
		e.allocCount.Store(volume.MaxInoCount - 1)
		return 0, volume.Errorf(volume.NoSpace, "inode IDs of this epoch are used up: restart the leader to open another")
	}
	return volume.MakeIno(e.allocTag.Load(), n), nil
}

func closeAnd(c io.Closer, err error) error { return errors.Join(err, c.Close()) }
