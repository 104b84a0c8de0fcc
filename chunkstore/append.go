package chunkstore

import (
	"context"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// active is the pack that is appended to. Guarded by Store.writeMu.
type active struct {
	num uint32
	f   vfs.File // opened by the first use
	end int64    // where the next record goes
	// phys is how far the file may reach: a failed write leaves bytes behind end, and
	// so does a crash. They are covered by a skip record before anything is
	// appended behind them.
	phys int64
	// rewrite is where records begin that Open found behind the durable mark; -1 if
	// there are none or they have been written again.
	rewrite int64
	torn    bool   // Open found a tail behind end that is to be covered
	items   []byte // the index so far

	started int64 // up to where the disk has been told to begin, see behind.go
	cached  int64 // from where pages may be in the page cache only because they were written
}

// appendLocked writes a record; b is room for the header, and its payload follows it
// there or is given apart. The caller enters the entry into the table before it lets go
// of writeMu.
func (s *Store) appendLocked(r *record, b, payload []byte) (entry, error) {
	a, err := s.writableLocked(r.size())
	if err != nil {
		return entry{}, err
	}
	off := a.end
	s.salt(a.num).encodeRecord(b, off, r)
	if err := a.write(b, payload); err != nil {
		return entry{}, err
	}
	a.begin()
	a.addItem(off, r)
	s.appended++
	s.setPackSize(a.num, a.end)
	return makeEntry(a.num, off, r, s.stampNow()), nil
}

// write puts bytes at the end, one part behind the other. If it fails, the end stays
// where it was.
func (a *active) write(parts ...[]byte) error {
	end := a.end
	for _, b := range parts {
		if len(b) == 0 {
			continue
		}
		a.phys = max(a.phys, end+int64(len(b)))
		n, err := a.f.WriteAt(b, end)
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return ioError(err, "write pack "+packName(a.num))
		}
		end += int64(len(b))
	}
	a.end = end
	return nil
}

func (a *active) addItem(off int64, r *record) {
	var item [itemLen]byte
	encodeItem(item[:], off, r)
	a.items = append(a.items, item[:]...)
}

// writableLocked returns a pack with room for size bytes.
func (s *Store) writableLocked(size int64) (*active, error) {
	if s.closed.Load() {
		return nil, errClosed()
	}
	if s.failed != nil {
		return nil, s.failed
	}
	if a := s.active; a != nil {
		if err := s.prepareLocked(a); err != nil {
			return nil, err
		}
		full := a.end+size > s.opts.PackSize && a.end > headerLen
		if !full && len(a.items) < maxPackItems*itemLen {
			return a, nil
		}
		if err := s.sealLocked(a); err != nil {
			return nil, err
		}
	}
	if err := s.createLocked(); err != nil {
		return nil, err
	}
	return s.active, s.prepareLocked(s.active)
}

// createLocked publishes an empty pack and makes it the active one.
func (s *Store) createLocked() error {
	num := s.next
	if num == 0 {
		return volume.Errorf(volume.NoSpace, "chunk store: pack numbers are used up")
	}
	if err := s.publish(packName(num), s.salt(num).encodeHeader(s.opts.ChunkSize)); err != nil {
		return err
	}
	s.next++
	s.active = &active{num: num, end: headerLen, phys: headerLen, rewrite: -1}
	s.mu.Lock()
	s.packs[num] = &pack{num: num, size: headerLen}
	s.mu.Unlock()
	if err := s.files.syncDir(); err != nil {
		return s.failLocked(err)
	}
	return nil
}

// prepareLocked makes a pack ready for appending or syncing: opens it, and after a
// crash writes what lay behind the durable mark again and covers the torn tail.
func (s *Store) prepareLocked(a *active) error {
	if a.f == nil {
		f, err := s.opts.FS.OpenReadWrite(s.files.path(packName(a.num)), vfs.WriteCategoryUnspecified)
		if err != nil {
			return ioError(err, "open pack "+packName(a.num))
		}
		a.f = f
	}
	if a.rewrite >= 0 {
		if err := s.rewriteLocked(a); err != nil {
			return err
		}
		a.rewrite = -1
	}
	if a.torn {
		if err := s.coverLocked(a); err != nil {
			return err
		}
		a.torn = false
	}
	return nil
}

// rewriteLocked writes bytes over themselves, so that the next fsync has to bring
// them to the disk or fail.
func (s *Store) rewriteLocked(a *active) error {
	buf := s.getBuf()
	defer s.bufs.Put(buf)
	for off := a.rewrite; off < a.end; {
		b := (*buf)[:min(int64(len(*buf)), a.end-off)]
		if _, err := a.f.ReadAt(b, off); err != nil {
			return ioError(err, "read pack "+packName(a.num))
		}
		if _, err := a.f.WriteAt(b, off); err != nil {
			return ioError(err, "write pack "+packName(a.num))
		}
		off += int64(len(b))
	}
	return nil
}

// coverLocked writes a skip record over what lies behind the end.
func (s *Store) coverLocked(a *active) error {
	if a.phys <= a.end {
		return nil
	}
	r := record{kind: kindSkip, stored: uint32(max(a.phys-a.end-recordLen, 0))}
	b := make([]byte, recordLen)
	s.salt(a.num).encodeRecord(b, a.end, &r)
	if err := a.write(b); err != nil {
		return err
	}
	a.end += int64(r.stored)
	a.phys = max(a.phys, a.end)
	s.appended++
	s.setPackSize(a.num, a.end)
	return nil
}

// sealLocked ends a pack with its index and makes it durable. A pack whose index
// could not be written stays the active one. Until the mark says otherwise Open takes
// an index at the end of the newest pack for a part of its tail.
func (s *Store) sealLocked(a *active) error {
	if err := s.coverLocked(a); err != nil {
		return err
	}
	items := len(a.items) / itemLen
	r := record{kind: kindIndex, raw: uint32(items), stored: uint32(len(a.items)), sum: xxh3.Hash(a.items)}
	sl := s.salt(a.num)
	b := make([]byte, recordLen, recordLen+len(a.items)+trailerLen)
	sl.encodeRecord(b, a.end, &r)
	b = append(b, a.items...)
	b = append(b, sl.encodeTrailer(a.end+int64(len(b)), a.end, items)...)
	if err := a.write(b); err != nil {
		return err
	}
	if err := a.f.SyncData(); err != nil {
		return s.failLocked(ioError(err, "sync pack "+packName(a.num)))
	}
	s.active, s.durable = nil, s.appended
	s.mu.Lock()
	s.packs[a.num].size = a.end
	s.packs[a.num].sealed = true
	s.mu.Unlock()
	s.behind.add(&s.files, a)
	err := s.writeMark(a.num, a.end)
	if cerr := a.f.Close(); err == nil {
		err = ioError(cerr, "close pack "+packName(a.num))
	}
	return err
}

// Sync makes every Put that returned before durable. Callers that wait for the same
// fsync share it. After a failed fsync it fails until the store is opened again.
func (s *Store) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return interrupted(err)
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.closed.Load() {
		return errClosed()
	}
	return s.syncLocked()
}

func (s *Store) syncLocked() error {
	if s.failed != nil {
		return s.failed
	}
	a := s.active
	if s.durable == s.appended {
		return nil
	}
	pack, length := s.mark.pack, s.mark.length // without an active pack only the mark is to be repaired
	if a != nil {
		if err := s.prepareLocked(a); err != nil {
			return err
		}
		if err := a.f.SyncData(); err != nil {
			return s.failLocked(ioError(err, "sync pack "+packName(a.num)))
		}
		pack, length = a.num, a.end
		s.behind.add(&s.files, a)
	}
	if err := s.writeMark(pack, length); err != nil {
		return err
	}
	s.durable = s.appended
	return nil
}

// failLocked stops all writing: after a failed fsync the kernel has forgotten what it
// could not write, so that trying again proves nothing.
func (s *Store) failLocked(err error) error {
	if s.failed == nil {
		s.mu.Lock()
		s.failed = volume.Errorf(volume.Fault, "chunk store %s has stopped writing; check the disk and restart the node: %w", s.opts.Dir, err)
		s.mu.Unlock()
		s.log.Error().Err(err).Str("dir", s.opts.Dir).Msg("chunk store has stopped writing: an fsync failed")
	}
	return s.failed
}

func (s *Store) salt(pack uint32) salt { return salt{volume: s.opts.Volume, pack: pack} }

func (s *Store) setPackSize(num uint32, size int64) {
	s.mu.Lock()
	s.packs[num].size = size
	s.mu.Unlock()
}
