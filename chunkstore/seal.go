package chunkstore

import (
	"context"
	"math"
	"sync"

	"wolfdisk/volume"
)

const (
	// ownChunkLen is from where on a piece of a file gets a chunk of its own, so that
	// equal pieces are stored once, bytes. What is smaller shares chunks.
	ownChunkLen = 64 << 10
	// sharedChunkLen is the size of shared chunks, bytes: reading one small file means
	// decoding a whole one, and it stays while anything in it is in use.
	sharedChunkLen = 512 << 10
	// maxPieceExtents bounds the extents of one piece held in memory.
	maxPieceExtents = 16 << 10
	// maxPending and maxUnsynced bound what is put before it is synced and handed over.
	maxPending  = 4096
	maxUnsynced = 64 << 20
)

// SealSource is the index's list of what still lies in old segments of the log.
type SealSource interface {
	// LogExtents calls fn for every extent that points into a segment whose number
	// (volume.LogRef.Segment) is at most throughSegment, by inode and then by
	// offset, until fn returns false. fn reads content and may take long; it is
	// called without locks that reading or writing the volume needs.
	LogExtents(ctx context.Context, throughSegment uint64, fn func(ino volume.Ino, e volume.Extent) bool) error
}

// Replacement says that content was put elsewhere: New takes the place of Old and maps
// the same range to the same bytes. Old is the extent as the index had it, or the part
// of it inside one chunk-size-aligned piece of the file. The index enters New
// only where it still has exactly what Old says; anything else was overwritten
// meanwhile and is left alone.
type Replacement struct {
	Ino      volume.Ino
	Old, New volume.Extent
}

// SealStats says what sealing or compacting did.
type SealStats struct {
	Replaced int   // extents
	Bytes    int64 // of content they map
	Chunks   int   // put
	Deduped  int   // of them were there already
	Lost     int   // extents whose content cannot be read
}

// sealer moves content into chunks and hands over replacements when they are durable.
type sealer struct {
	c     *Content
	ctx   context.Context
	emit  func([]Replacement) error
	old   func(*volume.Extent) bool // what is to be put elsewhere
	fresh bool                      // it comes from the log
	stats SealStats
	lost  error // the first content that could not be read

	ino  volume.Ino // pieces of this file were done,
	done int64      // up to here

	piece  []byte // one chunk's room
	shared []byte // the shared chunk being filled,
	parts  []Replacement

	pending  []Replacement // of chunks that are put
	unsynced int64
	pins     []func()
}

// Seal puts what lies in log segments through the given one, and is still live, into
// chunks. Where most of an aligned piece of a file (or of its unbroken beginning, from
// 64 KiB on) is there, the piece becomes a chunk of its own and is stored once however
// often it occurs; everything else is packed into shared chunks. A piece that was sealed
// before all of it was written becomes one when it is whole. emit gets the replacements in
// batches, after their chunks are durable, and enters them. Content that cannot
// be read is left where it is, the rest goes on, and the error at the end says so:
// the segments must stay then.
func (c *Content) Seal(ctx context.Context, src SealSource, throughSegment uint64, emit func([]Replacement) error) (SealStats, error) {
	s := newSealer(ctx, c, emit)
	defer s.release()
	s.old = func(e *volume.Extent) bool { return e.InLog && e.Log.Segment <= throughSegment }
	s.fresh = true
	var failed error
	err := src.LogExtents(ctx, throughSegment, func(ino volume.Ino, e volume.Extent) bool {
		failed = s.extent(ino, &e)
		return failed == nil
	})
	if failed == nil {
		failed = err
	}
	return s.finish(failed, "seal")
}

// Repack puts the extents that lie in certain chunks, of which little is in use, elsewhere,
// as Seal does with what lies in the log. each calls its argument for all extents, by inode
// and then by offset, until it returns false. It ends after about maxBytes were moved; 0 is no bound.
func (c *Content) Repack(ctx context.Context, each func(fn func(volume.Ino, volume.Extent) bool) error, from func(volume.ChunkID) bool, maxBytes int64, emit func([]Replacement) error) (SealStats, error) {
	s := newSealer(ctx, c, emit)
	defer s.release()
	s.old = func(e *volume.Extent) bool { return isChunk(e) && from(e.Chunk.ID) }
	var failed error
	err := each(func(ino volume.Ino, e volume.Extent) bool {
		if maxBytes > 0 && s.stats.Bytes >= maxBytes {
			return false
		}
		if failed = ctx.Err(); failed == nil && s.old(&e) {
			failed = s.extent(ino, &e)
		}
		return failed == nil
	})
	if failed == nil {
		failed = err
	}
	return s.finish(failed, "repack")
}

// CompactFile puts the pieces of a file that is cold, but scattered over many chunks or
// the log, together: a chunk for each aligned piece, as far as there are no holes.
// Otherwise it is as Seal.
func (c *Content) CompactFile(ctx context.Context, ino volume.Ino, emit func([]Replacement) error) (SealStats, error) {
	s := newSealer(ctx, c, emit)
	defer s.release()
	var failed error
	for pos := int64(0); failed == nil; {
		next := int64(-1)
		failed = c.extents.Extents(ino, pos, math.MaxInt64-pos, func(e volume.Extent) bool {
			next = e.Off
			return false
		})
		if failed != nil || next < pos {
			break
		}
		pos, failed = s.eachRun(ino, next, s.compactRun)
		if pos == math.MaxInt64 {
			break
		}
	}
	return s.finish(failed, "compact file")
}

func newSealer(ctx context.Context, c *Content, emit func([]Replacement) error) *sealer {
	return &sealer{c: c, ctx: ctx, emit: emit}
}

func (s *sealer) finish(err error, verb string) (SealStats, error) {
	if err == nil {
		err = s.flushShared()
	}
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		return s.stats, volume.Wrap(err, verb)
	}
	if s.lost != nil {
		return s.stats, volume.Errorf(volume.KindOf(s.lost), "%s: %d extents cannot be read, the first: %w", verb, s.stats.Lost, s.lost)
	}
	return s.stats, nil
}

// extent seals the pieces that an extent in the log meets, once each.
func (s *sealer) extent(ino volume.Ino, e *volume.Extent) error {
	if e.Off < 0 || e.Len <= 0 || e.Len > math.MaxInt64-e.Off {
		return errExtents(ino, e)
	}
	pos := e.Off
	if ino == s.ino {
		pos = max(pos, s.done)
	}
	for pos < e.Off+e.Len {
		next, err := s.eachRun(ino, pos, s.sealRun)
		if err != nil {
			return err
		}
		s.ino, s.done, pos = ino, next, next
	}
	return nil
}

// eachRun calls fn for the unbroken runs of data in the aligned piece around pos, and
// returns the piece's end.
func (s *sealer) eachRun(ino volume.Ino, pos int64, fn func(ino volume.Ino, aligned bool, run []volume.Extent) error) (int64, error) {
	size := s.c.store.opts.ChunkSize
	begin, end := pos-pos%size, int64(math.MaxInt64)
	if begin <= math.MaxInt64-size {
		end = begin + size
	}
	for pos = begin; pos < end; {
		if err := s.ctx.Err(); err != nil {
			return 0, interrupted(err)
		}
		list, next, err := s.c.list(ino, pos, end-pos, maxPieceExtents)
		if err != nil {
			return 0, err
		}
		for len(list) > 0 {
			run := firstRun(list)
			if isData(&list[0]) {
				if err := fn(ino, list[0].Off == begin, list[:run]); err != nil {
					return 0, err
				}
			}
			list = list[run:]
		}
		pos = next
	}
	return end, nil
}

// firstRun is how many extents at the beginning of list are data without a gap; 1 if
// the first is none.
func firstRun(list []volume.Extent) int {
	n := 1
	for n < len(list) && isData(&list[n-1]) && isData(&list[n]) && list[n].Off == list[n-1].Off+list[n-1].Len {
		n++
	}
	return n
}

func runLen(run []volume.Extent) int64 {
	last := &run[len(run)-1]
	return last.Off + last.Len - run[0].Off
}

func (s *sealer) sealRun(ino volume.Ino, aligned bool, run []volume.Extent) error {
	var old int64
	for i := range run {
		if s.old(&run[i]) {
			old += run[i].Len
		}
	}
	length := runLen(run)
	if aligned && length >= ownChunkLen && (old*2 >= length || old > 0 && s.newlyWhole(run, length) && s.c.store.grown.take(length-old)) {
		// If it cannot be read, that may be due to content that is no longer in the
		// log: what is, is tried one by one.
		if bad, err := s.own(ino, run); bad == nil || err != nil {
			return err
		}
	}
	for i := range run {
		if s.old(&run[i]) {
			if err := s.pack(ino, &run[i]); err != nil {
				return err
			}
		}
	}
	if s.fresh {
		s.c.store.grown.add(old, max(s.c.store.FileBytes()/grownPart, 2*s.c.store.opts.ChunkSize))
	}
	return nil
}

// newlyWhole reports whether a run is all of a piece and was not before: none of it lies in a
// chunk as large as a piece. Where a piece is cut that is sealed while it is being written
// depends on chance, and equal ones would not meet.
func (s *sealer) newlyWhole(run []volume.Extent, length int64) bool {
	size := s.c.store.opts.ChunkSize
	if !s.fresh || length < size {
		return false
	}
	for i := range run {
		e := &run[i]
		if e.InLog || i > 0 && !run[i-1].InLog && run[i-1].Chunk.ID == e.Chunk.ID {
			continue
		}
		if n, ok := s.c.store.Len(e.Chunk.ID); !ok || n >= size {
			return false
		}
	}
	return true
}

// grown bounds what is made whole: bytes that were sealed in parts, and of which a piece may yet
// be made. What is taken from a whole piece because little of it was left is in parts, too, and
// to the next small write looks like a piece that has grown; without a bound, all of a volume that is
// overwritten would be stored twice at once. So making pieces whole at most doubles what is written,
// and is little of the store at any time.
type grown struct {
	mu    sync.Mutex // leaf lock
	bytes int64
}

// grownPart is the part of a store (or two pieces) that may be made whole at once.
const grownPart = 16

// add counts content that was sealed in parts. No more than most is remembered.
func (g *grown) add(bytes, most int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes = min(g.bytes+bytes, most)
}

// take reports whether as much may be stored again.
func (g *grown) take(bytes int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if bytes > g.bytes {
		return false
	}
	g.bytes -= bytes
	return true
}

// compactRun makes one piece of a run that is in several.
func (s *sealer) compactRun(ino volume.Ino, _ bool, run []volume.Extent) error {
	if whole(run) {
		return nil
	}
	length := runLen(run)
	if length >= ownChunkLen {
		bad, err := s.own(ino, run)
		s.unread(bad)
		return err
	}
	if len(s.shared)+int(length) > s.sharedCap() {
		if err := s.flushShared(); err != nil {
			return err
		}
	}
	for i := range run {
		if err := s.pack(ino, &run[i]); err != nil {
			return err
		}
	}
	return nil
}

// whole reports whether a run lies in one chunk, in order.
func whole(run []volume.Extent) bool {
	for i := range run {
		e := &run[i]
		if e.InLog || e.Chunk.ID != run[0].Chunk.ID || e.Chunk.Offset-run[0].Chunk.Offset != e.Off-run[0].Off {
			return false
		}
	}
	return true
}

// own makes a run a chunk. bad says that its content cannot be read; err ends the work.
func (s *sealer) own(ino volume.Ino, run []volume.Extent) (bad, err error) {
	if s.piece == nil {
		s.piece = make([]byte, s.c.store.opts.ChunkSize)
	}
	b := s.piece[:runLen(run)]
	if err := s.c.readExtents(s.ctx, run, b, run[0].Off); err != nil {
		return s.readError(ino, run[0].Off, err)
	}
	id, err := s.put(b)
	if err != nil {
		return nil, err
	}
	for i := range run {
		s.replace(ino, &run[i], id, run[i].Off-run[0].Off)
	}
	return nil, s.flushIfFull()
}

// readError tells content that cannot be read from a caller who gave up.
func (s *sealer) readError(ino volume.Ino, off int64, err error) (bad, stop error) {
	if s.ctx.Err() != nil {
		return nil, interrupted(s.ctx.Err())
	}
	return volume.Errorf(volume.KindOf(err), "inode %s at %d: %w", ino, off, err), nil
}

// unread notes content that stays where it is because it cannot be read.
func (s *sealer) unread(bad error) {
	if bad == nil {
		return
	}
	s.stats.Lost++
	if s.lost == nil {
		s.lost = bad
	}
	s.c.store.log.Error().Err(bad).Msg("content cannot be moved into chunks and stays where it is")
}

// pack puts an extent into the shared chunk, or alone into chunks if it is large.
func (s *sealer) pack(ino volume.Ino, e *volume.Extent) error {
	if e.Len >= ownChunkLen { // never more than a chunk: pieces end there
		bad, err := s.own(ino, []volume.Extent{*e})
		s.unread(bad)
		return err
	}
	if len(s.shared)+int(e.Len) > s.sharedCap() || len(s.parts) >= maxPending {
		if err := s.flushShared(); err != nil {
			return err
		}
	}
	if s.shared == nil {
		s.shared = make([]byte, 0, s.sharedCap())
	}
	n := len(s.shared)
	b := s.shared[n : n+int(e.Len)]
	if err := s.c.readExtent(s.ctx, e, b); err != nil {
		bad, stop := s.readError(ino, e.Off, err)
		s.unread(bad)
		return stop
	}
	s.shared = s.shared[:n+int(e.Len)]
	s.parts = append(s.parts, Replacement{Ino: ino, Old: *e, New: volume.Extent{Off: e.Off, Len: e.Len, Chunk: volume.ChunkRef{Offset: int64(n)}}})
	return nil
}

func (s *sealer) sharedCap() int { return int(min(sharedChunkLen, s.c.store.opts.ChunkSize)) }

func (s *sealer) flushShared() error {
	if len(s.shared) == 0 {
		return nil
	}
	id, err := s.put(s.shared)
	if err != nil {
		return err
	}
	for i := range s.parts {
		p := &s.parts[i]
		s.replace(p.Ino, &p.Old, id, p.New.Chunk.Offset)
	}
	s.shared, s.parts = s.shared[:0], s.parts[:0]
	return s.flushIfFull()
}

// put stores a chunk and pins it until it was handed over.
func (s *sealer) put(content []byte) (volume.ChunkID, error) {
	id := chunkID(content)
	s.pins = append(s.pins, s.c.store.Pin(id))
	had, err := s.c.store.put(s.ctx, id, content)
	if err != nil {
		return id, err
	}
	s.stats.Chunks++
	if had {
		s.stats.Deduped++
	}
	s.unsynced += int64(len(content))
	return id, nil
}

func (s *sealer) replace(ino volume.Ino, old *volume.Extent, id volume.ChunkID, off int64) {
	to := volume.Extent{Off: old.Off, Len: old.Len, Chunk: volume.ChunkRef{ID: id, Offset: off, Length: old.Len}}
	if *old == to {
		return
	}
	s.pending = append(s.pending, Replacement{Ino: ino, Old: *old, New: to})
}

func (s *sealer) flushIfFull() error {
	if len(s.pending) < maxPending && s.unsynced < maxUnsynced {
		return nil
	}
	return s.flush()
}

// flush makes the chunks durable and hands over what points to them.
func (s *sealer) flush() error {
	if len(s.pending) > 0 {
		if err := s.c.store.Sync(s.ctx); err != nil {
			return err
		}
		if err := s.emit(s.pending); err != nil {
			return err
		}
	}
	for i := range s.pending {
		s.stats.Replaced++
		s.stats.Bytes += s.pending[i].New.Len
	}
	s.pending, s.unsynced = nil, 0
	s.release()
	return nil
}

// release ends all pins.
func (s *sealer) release() {
	for _, release := range s.pins {
		release()
	}
	s.pins = s.pins[:0]
}
