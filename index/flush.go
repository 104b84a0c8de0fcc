package index

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// perKey is more than what the store's memtable needs for a key beside its bytes.
const perKey = 128

// room is asked before each commit. It makes sure that the store does not flush by
// itself what the log is not durable through: long before that would happen, it has the
// log synced and starts a flush, which runs beside. v is the version the batch leads
// to: a batch so large that the store flushes it at once must find it in the log.
func (e *Engine) room(b *pebble.Batch, v volume.Version) error {
	size := int64(b.Len()) + int64(b.Count())*perKey
	if e.unsaved+size < e.opt.MemTable/2 {
		e.unsaved += size
		return nil
	}
	if _, err := e.rotateLocked(); err != nil {
		return err
	}
	e.unsaved = size
	if size < e.opt.MemTable/2 {
		return nil
	}
	return e.syncLog(v)
}

// maxFlushing is how many flushes may be under way. With more, the store would make
// the next commit wait, for ever if the disk does not get well.
const maxFlushing = 2

// awaitFlushes waits until another flush may begin. If the disk fails meanwhile, that
// is the answer.
func (e *Engine) awaitFlushes() error {
	for e.flushing.Load() >= maxFlushing {
		if p := e.flushErr.Load(); p != nil {
			return volume.Wrap(*p, "index: flush")
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (e *Engine) syncLog(v volume.Version) error {
	if e.opt.SyncLog == nil {
		return nil
	}
	return volume.Wrap(e.opt.SyncLog(v), "index: log before flush")
}

// rotateLocked makes the log durable through the present version and starts a flush
// of everything entered so far. The channel is closed when it is done.
func (e *Engine) rotateLocked() (<-chan struct{}, error) {
	v := e.meta.Load().pos.Version
	if err := e.awaitFlushes(); err != nil {
		return nil, err
	}
	if err := e.syncLog(v); err != nil {
		e.broken = err
		return nil, err
	}
	done, err := e.db.AsyncFlush()
	if err != nil {
		e.broken = volume.Wrap(err, "index: flush")
		return nil, e.broken
	}
	e.unsaved = 0
	finished := make(chan struct{})
	e.flushes.Add(1)
	e.flushing.Add(1)
	go func() {
		defer e.flushes.Done()
		select {
		case <-done:
		case <-e.closing:
			return
		}
		e.flushing.Add(-1)
		e.flushErr.Store(nil)
		defer close(finished)
		for {
			old := e.flushed.Load()
			if old >= uint64(v) || e.flushed.CompareAndSwap(old, uint64(v)) {
				return
			}
		}
	}()
	return finished, nil
}

// failedFlush is told by the store of work beside that failed. It tries again by
// itself, so a disk that is full for a while does no harm; who waits is told.
func (e *Engine) failedFlush(err error) {
	if e.flushErr.Swap(&err) == nil {
		e.opt.Log.Error().Err(err).Str("code", "WD-1154").Msg("the index could not be written; trying again. Free space or look at the disk")
	}
	select {
	case e.flushFailed <- struct{}{}:
	default:
	}
	time.Sleep(flushPause) // the store would try again at once
}

// flushPause is between two tries to write the index.
const flushPause = 20 * time.Millisecond

// Flush puts the index on disk through its present version.
func (e *Engine) Flush() error {
	e.enterMu.Lock()
	if e.broken != nil {
		e.enterMu.Unlock()
		return e.broken
	}
	select {
	case <-e.flushFailed: // of an earlier try
	default:
	}
	done, err := e.rotateLocked()
	e.enterMu.Unlock()
	if err != nil {
		return err
	}
	for {
		select {
		case <-done:
			return nil
		case <-e.flushFailed:
			if p := e.flushErr.Load(); p != nil {
				return volume.Wrap(*p, "index: flush")
			}
		}
	}
}

// PutLower stores records of the backing outside any op.
func (e *Engine) PutLower(records []volume.LowerRecord) error {
	e.enterMu.Lock()
	defer e.enterMu.Unlock()
	if e.broken != nil {
		return e.broken
	}
	if len(records) >= prefetchFew {
		inos := make([]volume.Ino, len(records))
		for i := range records {
			inos[i] = records[i].Ino
		}
		if err := e.prefetchInodes(inos); err != nil {
			return err
		}
	}
	b := e.db.NewBatch()
	defer b.Close()
	changed := make(map[volume.Ino][]byte, len(records))
	for _, l := range records {
		if _, err := e.inode(l.Ino); err == volume.NotFound {
			continue
		} else if err != nil {
			return err
		}
		if err := e.putLower(b, l, changed); err != nil {
			return volume.Wrap(err, "index: lower record")
		}
	}
	if err := e.commitOutside(b); err != nil {
		return err
	}
	e.keepLowers(changed)
	return nil
}

// commitOutside commits a batch that belongs to no op. It may be lost in a crash.
func (e *Engine) commitOutside(b *pebble.Batch) error {
	if err := e.room(b, e.meta.Load().pos.Version); err != nil {
		e.broken = err
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		e.broken = volume.Wrap(err, "index: commit")
		return e.broken
	}
	return nil
}

// Pin keeps an inode readable on this node even if an op ends it; Unpin lets go, and
// removes it if it has ended. They are paired.
func (e *Engine) Pin(ino volume.Ino) error {
	// The order matters: an end that does not see the pin has removed the inode, so
	// the check behind it fails.
	e.pins.Lock()
	e.pins.counts[ino]++
	e.pins.Unlock()
	e.enterMu.Lock()
	_, err := e.live(ino)
	e.enterMu.Unlock()
	if err != nil {
		return errors.Join(err, e.Unpin(ino))
	}
	return nil
}

// Unpin ends a Pin.
func (e *Engine) Unpin(ino volume.Ino) error {
	e.pins.Lock()
	left := e.pins.counts[ino] - 1
	if left > 0 {
		e.pins.counts[ino] = left
	} else {
		delete(e.pins.counts, ino)
	}
	e.pins.Unlock()
	if left > 0 {
		return nil
	}
	e.enterMu.Lock()
	defer e.enterMu.Unlock()
	if e.broken != nil || e.pins.has(ino) {
		return e.broken
	}
	n, err := e.inode(ino)
	if err == volume.NotFound || err == nil && n.Nlink > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	_, limbo, err := e.get(keyIno(kLimbo, ino))
	if err != nil || !limbo {
		return err
	}
	return e.dropLimbo([]inode{n})
}

// dropLimbo removes inodes that have ended and that nobody waits for any more.
func (e *Engine) dropLimbo(nodes []inode) error {
	b := e.db.NewBatch()
	defer b.Close()
	lowers := make(map[volume.Ino][]byte, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		err := errors.Join(
			b.Delete(keyIno(kLimbo, n.Ino), nil),
			b.Delete(keyIno(kInode, n.Ino), nil),
			dropContent(e.db, b, n),
			e.dropLower(b, n.Ino, lowers))
		if err != nil {
			return volume.Wrap(err, "index: remove ended inode")
		}
	}
	if err := e.commitOutside(b); err != nil {
		return err
	}
	for i := range nodes {
		e.cache.drop(nodes[i].Ino)
		e.lowers.drop(nodes[i].Ino)
	}
	return nil
}

// clearLimbo removes at start what was kept for readers that are gone.
func (e *Engine) clearLimbo() error {
	var nodes []inode
	err := e.scan([]byte{kLimbo}, func(key, _ []byte) error {
		n, err := e.inode(volume.Ino(binary.BigEndian.Uint64(key[1:])))
		if err == nil {
			nodes = append(nodes, n)
		} else if err == volume.NotFound {
			err = nil
		}
		return err
	})
	if err != nil || len(nodes) == 0 {
		return err
	}
	return e.dropLimbo(nodes)
}

// Replacement is where an extent's content has been put: Seal makes chunks of what
// lies in the log, compaction makes whole chunks of pieces.
type Replacement struct {
	Ino      volume.Ino
	Old, New volume.Extent // the same range of the file
}

// Replace enters replacements; an extent that has changed meanwhile is left alone.
// The new content must be durable.
func (e *Engine) Replace(list []Replacement) (taken int, err error) {
	e.enterMu.Lock()
	defer e.enterMu.Unlock()
	if e.broken != nil {
		return 0, e.broken
	}
	b := e.db.NewIndexedBatch()
	defer b.Close()
	for _, r := range list {
		ok, err := replaceExtent(b, &r)
		if err != nil {
			return 0, err
		}
		if ok {
			taken++
		}
	}
	return taken, e.commitOutside(b)
}

// replaceExtent puts New in the place of Old, which may be a part of an extent: what
// is left of that on either side stays.
func replaceExtent(b *pebble.Batch, r *Replacement) (bool, error) {
	off, end := r.Old.Off, r.Old.Off+r.Old.Len
	if off < 0 || end <= off || r.New.Off != off || r.New.Len != r.Old.Len {
		return false, nil
	}
	now, ok, err := extentAt(b, r.Ino, off)
	if err != nil || !ok || now.Off+now.Len < end || cutExtent(now, off, end) != r.Old {
		return false, err
	}
	put := func(x volume.Extent) error {
		return b.Set(keyInoNum(kExtent, r.Ino, uint64(x.Off)), encodeExtent(x), nil)
	}
	if now.Off < off {
		err = put(cutExtent(now, now.Off, off))
	}
	if right := now.Off + now.Len; right > end {
		err = errors.Join(err, put(cutExtent(now, end, right)))
	}
	return true, volume.Wrap(errors.Join(err, joinExtent(b, r.Ino, r.New)), "index: replace extent")
}

// joinExtent puts an extent, as one with the extent before it if that ends where it begins, in
// the file and in the chunk: else a file that was written in small pieces would have
// a record for each of them for ever.
func joinExtent(b *pebble.Batch, ino volume.Ino, x volume.Extent) error {
	if x.Off > 0 && !x.InLog && !x.Chunk.IsHole() {
		l, ok, err := extentAt(b, ino, x.Off-1)
		if err != nil {
			return err
		}
		if ok && !l.InLog && l.Chunk.ID == x.Chunk.ID && l.Off+l.Len == x.Off && l.Chunk.Offset+l.Len == x.Chunk.Offset && l.Len+x.Len <= maxExtentLen {
			if err := b.Delete(keyInoNum(kExtent, ino, uint64(x.Off)), nil); err != nil {
				return err
			}
			l.Len += x.Len
			l.Chunk.Length = l.Len
			x = l
		}
	}
	return b.Set(keyInoNum(kExtent, ino, uint64(x.Off)), encodeExtent(x), nil)
}

// extentAt finds the extent that covers an offset.
func extentAt(r pebble.Reader, ino volume.Ino, off int64) (x volume.Extent, ok bool, err error) {
	it, err := r.NewIter(&pebble.IterOptions{
		LowerBound: keyInoNum(kExtent, ino, uint64(max(0, off-maxExtentLen))),
		UpperBound: keyInoNum(kExtent, ino, uint64(off)+1),
	})
	if err != nil {
		return x, false, volume.Wrap(err, "index: read extents")
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return x, false, nil
	}
	val, err := it.ValueAndErr()
	if err != nil {
		return x, false, volume.Wrap(err, "index: read extents")
	}
	x, err = decodeExtent(int64(beUint64(it.Key()[9:])), val)
	return x, err == nil && x.Off+x.Len > off, err
}
