package chunkstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"

	"wolfdisk/volume"
)

// flight is a chunk being read for everybody who wants it.
type flight struct {
	done      chan struct{}
	content   []byte
	err       error
	cancelled bool // err only says that the reader's own caller gave up
}

// Get returns a chunk's content, checked against its ID. The slice is shared and must
// not be changed. A chunk that is absent or damaged here is asked of the
// fetcher and stored again. Errors: Missing, Corrupt, IO, Unavailable, Interrupted.
func (s *Store) Get(ctx context.Context, id volume.ChunkID) ([]byte, error) {
	for {
		if s.closed.Load() {
			return nil, errClosed()
		}
		if content, ok := s.cache.get(id); ok {
			return content, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, interrupted(err)
		}
		s.flightMu.Lock()
		f := s.flights[id]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			s.flights[id] = f
			s.flightMu.Unlock()
			s.fly(ctx, id, f)
			return f.content, f.err
		}
		s.flightMu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, interrupted(ctx.Err())
		}
		if !f.cancelled {
			return f.content, f.err
		}
	}
}

func (s *Store) fly(ctx context.Context, id volume.ChunkID, f *flight) {
	f.err = volume.Fault // for the others, should load panic
	defer func() {
		s.flightMu.Lock()
		delete(s.flights, id)
		s.flightMu.Unlock()
		close(f.done)
	}()
	if content, ok := s.cache.get(id); ok { // read since Get looked
		f.content, f.err = content, nil
		return
	}
	f.content, f.err = s.load(ctx, id)
	f.cancelled = f.err != nil && ctx.Err() != nil
}

// Local is Get without asking anybody: what a node answers others with, so that two
// nodes that both lack a chunk do not wait for each other.
func (s *Store) Local(_ context.Context, id volume.ChunkID) ([]byte, error) {
	if s.closed.Load() {
		return nil, errClosed()
	}
	if content, ok := s.cache.get(id); ok {
		return content, nil
	}
	return s.readLocal(id)
}

// ReadAt fills p with the chunk's content from off. A range that is not wholly inside
// the chunk is Corrupt: what asked for it is wrong about the chunk.
func (s *Store) ReadAt(ctx context.Context, id volume.ChunkID, p []byte, off int64) error {
	content, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if off < 0 || off > int64(len(content)) || int64(len(p)) > int64(len(content))-off {
		return volume.Errorf(volume.Corrupt, "chunk %s has %d bytes, %d at %d were asked for", id, len(content), len(p), off)
	}
	copy(p, content[off:])
	return nil
}

// load reads a chunk from its pack or, failing that, from elsewhere.
func (s *Store) load(ctx context.Context, id volume.ChunkID) ([]byte, error) {
	content, err := s.readLocal(id)
	if err == nil {
		s.cache.add(id, content)
		return content, nil
	}
	if s.closed.Load() {
		return nil, errClosed()
	}
	return s.heal(ctx, id, err)
}

// heal fetches a chunk because of what is wrong with it here, and stores it again.
func (s *Store) heal(ctx context.Context, id volume.ChunkID, cause error) ([]byte, error) {
	what := volume.KindOf(cause)
	if what != volume.Missing {
		s.log.Error().Err(cause).Stringer("chunk", id).Msg("chunk cannot be read here")
	}
	content, err := s.fetch(ctx, id)
	if err != nil {
		if what == volume.Missing && volume.KindOf(err) == volume.Unavailable {
			what = volume.Unavailable
		}
		if ctx.Err() != nil {
			what = volume.Interrupted
		}
		return nil, volume.Errorf(what, "%w; asking for it elsewhere: %v", cause, err)
	}
	if _, err := s.put(ctx, id, content); err != nil {
		s.log.Warn().Err(err).Stringer("chunk", id).Msg("fetched chunk cannot be stored here")
	} else if what != volume.Missing {
		s.log.Info().Stringer("chunk", id).Msg("damaged chunk fetched and stored again")
	}
	s.cache.add(id, content)
	return content, nil
}

// fetch asks the fetcher and checks what it says.
func (s *Store) fetch(ctx context.Context, id volume.ChunkID) ([]byte, error) {
	f := s.fetcher.Load()
	if f == nil {
		return nil, volume.Errorf(volume.Missing, "there is nobody to ask")
	}
	content, err := (*f).FetchChunk(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(content) == 0 || int64(len(content)) > s.opts.ChunkSize || sha256.Sum256(content) != id {
		return nil, volume.Errorf(volume.Corrupt, "the answer (%d bytes) does not match the chunk's SHA-256", len(content))
	}
	return content, nil
}

// Heal checks the stored copy of a chunk and replaces it if it is bad: by the cached
// content if that is good, else by fetching.
func (s *Store) Heal(ctx context.Context, id volume.ChunkID) error {
	_, cause := s.readLocal(id)
	if cause == nil {
		return nil
	}
	if content, ok := s.cache.get(id); ok && sha256.Sum256(content) == id {
		_, err := s.put(ctx, id, content)
		return err
	}
	if _, err := s.heal(ctx, id, cause); err != nil {
		return err
	}
	if !s.Has(id) {
		return volume.Errorf(volume.IO, "chunk %s was fetched but cannot be stored", id)
	}
	return nil
}

// readLocal reads and checks the stored copy. It notes a bad one, so that the next Put
// writes the chunk again.
func (s *Store) readLocal(id volume.ChunkID) ([]byte, error) {
	for {
		s.mu.RLock()
		p := s.table.get(&id)
		var e entry
		if p != nil {
			e = *p
		}
		s.mu.RUnlock()
		if p == nil {
			return nil, volume.Errorf(volume.Missing, "chunk %s is not here", id)
		}
		content, err := s.readEntry(&e)
		if err == nil || s.closed.Load() {
			return content, err
		}
		if s.noteDamage(&e) {
			return nil, err
		}
		// The chunk moved while it was read, and its old pack is gone.
	}
}

// noteDamage marks the entry as damaged, unless it has been replaced meanwhile.
func (s *Store) noteDamage(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.table.get(&e.id)
	if now != nil && !now.samePlace(e) {
		return false
	}
	if now != nil {
		now.stored |= flagDamaged
	}
	return true
}

// readEntry reads the record that an entry points to and returns its checked content.
func (s *Store) readEntry(e *entry) ([]byte, error) {
	r, b, err := s.readRecord(e)
	if err != nil {
		return nil, e.where(err)
	}
	content, err := decode(&r, b[recordLen:])
	if err != nil {
		return nil, e.where(err)
	}
	return content[:len(content):len(content)], nil
}

// readRecord reads header and payload and checks the header.
func (s *Store) readRecord(e *entry) (r record, b []byte, err error) {
	f, err := s.files.acquire(e.pack)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil, volume.Errorf(volume.Missing, "the pack is gone")
	}
	if err != nil {
		return r, nil, err
	}
	defer s.files.release(f)
	b = make([]byte, e.size())
	if n, err := f.ReadAt(b, int64(e.off)); n < len(b) {
		if errors.Is(err, io.EOF) {
			return r, nil, volume.Errorf(volume.Corrupt, "the pack ends within it")
		}
		return r, nil, ioError(err, "read")
	}
	r, ok := s.salt(e.pack).decodeRecord(b, int64(e.off), s.opts.ChunkSize)
	want := e.record()
	want.sum = r.sum
	if !ok || r != want {
		return r, nil, volume.Errorf(volume.Corrupt, "damaged record header")
	}
	return r, b, nil
}

// where says which record an error is about.
func (e *entry) where(err error) error {
	return volume.Errorf(volume.KindOf(err), "chunk %s in pack %s at %d: %w", e.id, packName(e.pack), e.off, err)
}
