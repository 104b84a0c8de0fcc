package index

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// perKey is more than what the store's memtable needs for a key beside its bytes.
const perKey = 128

// count notes what a batch wrote and, long before the store would flush by itself,
// makes it flush at a point the log is durable through. Enter waits here for the log;
// the flush itself runs beside.
func (e *Engine) count(bytes, keys int) error {
	e.unsaved += int64(bytes) + int64(keys)*perKey
	if e.unsaved < e.opt.MemTable/2 {
		return nil
	}
	_, err := e.rotateLocked()
	return err
}

// rotateLocked makes the log durable through the present version and starts a flush
// of everything entered so far. The channel is closed when it is done.
func (e *Engine) rotateLocked() (<-chan struct{}, error) {
	v := e.meta.Load().pos.Version
	if e.opt.SyncLog != nil {
		if err := e.opt.SyncLog(v); err != nil {
			e.broken = volume.Wrap(err, "index: log before flush")
			return nil, e.broken
		}
	}
	done, err := e.db.AsyncFlush()
	if err != nil {
		e.broken = volume.Wrap(err, "index: flush")
		return nil, e.broken
	}
	e.unsaved = 0
	finished := make(chan struct{})
	e.flushes.Add(1)
	go func() {
		defer e.flushes.Done()
		defer close(finished)
		<-done
		for {
			old := e.flushed.Load()
			if old >= uint64(v) || e.flushed.CompareAndSwap(old, uint64(v)) {
				return
			}
		}
	}()
	return finished, nil
}

// Flush puts the index on disk through its present version.
func (e *Engine) Flush() error {
	e.enterMu.Lock()
	if e.broken != nil {
		e.enterMu.Unlock()
		return e.broken
	}
	done, err := e.rotateLocked()
	e.enterMu.Unlock()
	if err == nil {
		<-done
	}
	return err
}

// PutLower stores records of the backing outside any op.
func (e *Engine) PutLower(records []volume.LowerRecord) error {
	e.enterMu.Lock()
	defer e.enterMu.Unlock()
	if e.broken != nil {
		return e.broken
	}
	b := e.db.NewIndexedBatch()
	defer b.Close()
	for _, l := range records {
		if _, err := e.inode(l.Ino); err == volume.NotFound {
			continue
		} else if err != nil {
			return err
		}
		if err := putLower(b, b, l); err != nil {
			return volume.Wrap(err, "index: lower record")
		}
	}
	return e.commitOutside(b)
}

// commitOutside commits a batch that belongs to no op. It may be lost in a crash.
func (e *Engine) commitOutside(b *pebble.Batch) error {
	n, keys := b.Len(), int(b.Count())
	if err := b.Commit(pebble.NoSync); err != nil {
		e.broken = volume.Wrap(err, "index: commit")
		return e.broken
	}
	return e.count(n, keys)
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
	for i := range nodes {
		n := &nodes[i]
		err := errors.Join(
			b.Delete(keyIno(kLimbo, n.Ino), nil),
			b.Delete(keyIno(kInode, n.Ino), nil),
			dropContent(e.db, b, n))
		if err != nil {
			return volume.Wrap(err, "index: remove ended inode")
		}
	}
	if err := e.commitOutside(b); err != nil {
		return err
	}
	for i := range nodes {
		e.cache.drop(nodes[i].Ino)
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
		key := keyInoNum(kExtent, r.Ino, uint64(r.Old.Off))
		val, ok, err := get(b, key)
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		now, err := decodeExtent(r.Old.Off, val)
		if err != nil {
			return 0, err
		}
		if now != r.Old || r.New.Off != r.Old.Off || r.New.Len != r.Old.Len {
			continue
		}
		if err := b.Set(key, encodeExtent(r.New), nil); err != nil {
			return 0, volume.Wrap(err, "index: replace extent")
		}
		taken++
	}
	return taken, e.commitOutside(b)
}
