package chunkstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

const (
	// DefaultPackSize is where a pack is sealed, in bytes: few files for terabytes,
	// and little to copy when one is compacted.
	DefaultPackSize = 256 << 20
	// DefaultCacheBytes is the room for decoded chunks: a few sequential readers of
	// chunks of the default size.
	DefaultCacheBytes = 32 << 20
	// maxPackItems seals a pack of many tiny chunks early: its index is kept in
	// memory until then.
	maxPackItems = 1 << 16
)

// Options say where a store lies and how it works.
type Options struct {
	FS        vfs.FS // vfs.Default if nil
	Dir       string // made if absent; belongs to this store alone
	Volume    volume.ID
	ChunkSize int64 // of the volume, bytes; fixed for its life
	// Compress is 0 for none, 1 for LZ4, 2 to 9 for LZ4 HC.
	Compress   int
	PackSize   int64 // bytes; 0 is DefaultPackSize
	CacheBytes int64 // of decoded chunks; 0 is DefaultCacheBytes
	Log        zerolog.Logger
	// Now is the clock that grace times are measured with; time.Now if nil.
	Now func() time.Time
}

func (o *Options) check() error {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.PackSize == 0 {
		o.PackSize = DefaultPackSize
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	n := o.ChunkSize
	switch {
	case o.Dir == "":
		return volume.Errorf(volume.Invalid, "chunk store: no directory given")
	case o.Volume.IsZero():
		return volume.Errorf(volume.Invalid, "chunk store %s: no volume ID given", o.Dir)
	case n < volume.MinChunkSize || n > volume.MaxChunkSize || n&(n-1) != 0:
		return volume.Errorf(volume.Invalid, "chunk store %s: chunk size %d is no power of two from %d to %d", o.Dir, n, volume.MinChunkSize, volume.MaxChunkSize)
	case o.PackSize < MinPackSize || o.PackSize > MaxPackSize:
		return volume.Errorf(volume.Invalid, "chunk store %s: pack size %d is not from %d to %d", o.Dir, o.PackSize, MinPackSize, MaxPackSize)
	case o.Compress < 0 || o.Compress > 9:
		return volume.Errorf(volume.Invalid, "chunk store %s: compression %d is not from 0 to 9", o.Dir, o.Compress)
	}
	return nil
}

// pack is what is known of one pack file. Guarded by Store.mu.
type pack struct {
	num    uint32
	size   int64 // of the file, as far as it has meaning, bytes
	live   int64 // bytes of records that entries point to
	chunks int   // entries that point here
	sealed bool  // never appended to again
	// damaged packs are rewritten by Compact however much of them is live.
	damaged bool
}

// Store holds the chunks of a volume. All methods may be called concurrently.
type Store struct {
	opts    Options
	log     zerolog.Logger
	start   time.Time // zero of the stamps
	files   files
	cache   *cache
	bufs    sync.Pool // *[]byte of a largest record
	fetcher atomic.Pointer[volume.ChunkFetcher]
	closed  atomic.Bool

	compactMu sync.Mutex // one compaction at a time

	writeMu  sync.Mutex
	active   *active // nil: the next append makes a pack
	next     uint32  // number of the next pack
	failed   error   // set by a failed fsync, for ever; written under mu, too
	appended uint64  // records written, and
	durable  uint64  // how many of them are synced
	behind   behind
	mark     mark
	markFile vfs.File

	grown grown

	mu        sync.RWMutex
	table     *table
	packs     map[uint32]*pack
	pins      map[volume.ChunkID]int
	timed     []timedPin
	raw       int64 // content in chunks, bytes
	dedupHits uint64

	flightMu sync.Mutex
	flights  map[volume.ChunkID]*flight
}

// stampNow is the store's clock in seconds. Stamps are rounded up and ages down, so
// that nothing is older than it was said to be.
func (s *Store) stampNow() uint32 { return s.stampOf(s.opts.Now()) }

func (s *Store) stampOf(t time.Time) uint32 {
	return uint32((max(t.Sub(s.start), 0) + time.Second - 1) / time.Second)
}

func (s *Store) age(stamp uint32) time.Duration {
	return s.opts.Now().Sub(s.start).Truncate(time.Second) - time.Duration(stamp)*time.Second
}

// Put stores content (1 byte to the chunk size) and returns its ID, and whether it
// was there already. It is not durable until Sync. Content is not kept.
func (s *Store) Put(ctx context.Context, content []byte) (volume.ChunkID, bool, error) {
	id := chunkID(content)
	had, err := s.put(ctx, id, content)
	return id, had, err
}

// put stores content whose hash is id.
func (s *Store) put(ctx context.Context, id volume.ChunkID, content []byte) (had bool, err error) {
	if len(content) == 0 || int64(len(content)) > s.opts.ChunkSize {
		return false, volume.Errorf(volume.Invalid, "put chunk: %d bytes, must have 1 to %d", len(content), s.opts.ChunkSize)
	}
	if err := ctx.Err(); err != nil {
		return false, interrupted(err)
	}
	if s.closed.Load() {
		return false, errClosed()
	}
	if s.hit(id) {
		return true, nil
	}
	buf := s.getBuf()
	defer s.bufs.Put(buf)
	r := record{kind: kindRaw, raw: uint32(len(content)), stored: uint32(len(content)), id: id}
	b, apart := (*buf)[:recordLen], []byte(nil)
	switch n := compress((*buf)[recordLen:], content, s.opts.Compress); {
	case n > 0:
		r.kind, r.stored = kindLZ4, uint32(n)
		b = (*buf)[:r.size()]
		r.sum = xxh3.Hash(b[recordLen:])
	case len(content) < writtenApart:
		b = append(b, content...)
		r.sum = xxh3.Hash(content)
	default:
		apart = content
		r.sum = xxh3.Hash(content)
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.hit(id) { // somebody was faster
		return true, nil
	}
	e, err := s.appendLocked(&r, b, apart)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	s.insertLocked(e)
	s.mu.Unlock()
	return false, nil
}

// hit reports whether a chunk is there to be relied on, and if so notes that
// somebody does.
func (s *Store) hit(id volume.ChunkID) bool {
	now := s.stampNow()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.table.get(&id)
	if e == nil || !e.usable() {
		return false
	}
	e.stamp = now
	s.dedupHits++
	return true
}

// Has reports whether a chunk is here to be relied on: not if it is marked for sweep
// or was found damaged, though Get may still return it then.
func (s *Store) Has(id volume.ChunkID) bool {
	_, ok := s.Len(id)
	return ok
}

// Len is the length of a chunk's content in bytes, if Has.
func (s *Store) Len(id volume.ChunkID) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.table.get(&id)
	if e == nil || !e.usable() {
		return 0, false
	}
	return int64(e.raw), true
}

// Ensure makes a chunk one that can be relied on: it is put again if it was marked
// for sweep, and fetched if it is not here or damaged. It returns its length.
func (s *Store) Ensure(ctx context.Context, id volume.ChunkID) (int64, error) {
	if s.hit(id) {
		n, _ := s.Len(id)
		if n > 0 {
			return n, nil
		}
	}
	content, err := s.Get(ctx, id)
	if err != nil {
		return 0, err
	}
	if _, err := s.put(ctx, id, content); err != nil {
		return 0, err
	}
	return int64(len(content)), nil
}

// insertLocked points an entry's chunk to its record. mu and, once the store is open,
// writeMu are held.
func (s *Store) insertLocked(e entry) {
	old, replaced := s.table.put(e)
	if replaced {
		s.dropLocked(&old)
	}
	p := s.packs[e.pack]
	p.live += e.size()
	p.chunks++
	s.raw += int64(e.raw)
}

// dropLocked takes an entry that is no longer in the table out of the sums.
func (s *Store) dropLocked(e *entry) {
	s.raw -= int64(e.raw)
	if p := s.packs[e.pack]; p != nil {
		p.live -= e.size()
		p.chunks--
	}
}

// Stats describes what a store holds.
type Stats struct {
	Packs       int
	Chunks      int
	RawBytes    int64  // content of all chunks
	StoredBytes int64  // what their records take
	DeadBytes   int64  // of records nothing points to, and of skipped ranges
	FileBytes   int64  // of all packs
	DedupHits   uint64 // puts since Open that found their chunk there
	Marked      int    // chunks marked for sweep
	Failed      error  // why nothing can be written any more; nil if all is well
}

// Stats counts.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Stats{Packs: len(s.packs), Chunks: s.table.count, RawBytes: s.raw, DedupHits: s.dedupHits, Failed: s.failed}
	for _, p := range s.packs {
		st.StoredBytes += p.live
		st.FileBytes += p.size
		st.DeadBytes += p.dead()
	}
	for i := 0; s.table.page(i, func(e *entry) {
		if e.stored&flagMarked != 0 {
			st.Marked++
		}
	}); i++ {
	}
	return st
}

// dead is what rewriting the pack would win, in bytes.
func (p *pack) dead() int64 {
	n := p.size - headerLen - p.live
	if p.sealed && !p.damaged {
		n -= recordLen + int64(p.chunks)*itemLen + trailerLen
	}
	return max(n, 0)
}

// SetFetcher says whom to ask for chunks that are absent or damaged here; nil: nobody.
func (s *Store) SetFetcher(f volume.ChunkFetcher) {
	if f == nil {
		s.fetcher.Store(nil)
		return
	}
	s.fetcher.Store(&f)
}

// Close syncs and closes the store. Everything fails with Closed afterwards. It may be
// called twice.
func (s *Store) Close() error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	var err error
	if s.failed == nil {
		err = s.syncLocked()
	}
	if s.active != nil && s.active.f != nil {
		if cerr := s.active.f.Close(); err == nil {
			err = ioError(cerr, "close pack "+packName(s.active.num))
		}
	}
	if cerr := s.markFile.Close(); err == nil {
		err = ioError(cerr, "close chunk store mark")
	}
	s.files.close()
	return err
}

func (s *Store) getBuf() *[]byte {
	if b, ok := s.bufs.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, recordLen+s.opts.ChunkSize)
	return &b
}

func errClosed() error { return volume.Errorf(volume.Closed, "chunk store is closed") }

func interrupted(err error) error { return volume.Errorf(volume.Interrupted, "chunk store: %w", err) }
