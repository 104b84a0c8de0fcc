package chunkstore

import (
	"context"

	"wolfdisk/volume"
)

// PutAs is Put for content whose hash the caller has just compared with id: hashing is
// what storing a large chunk costs most.
func (s *Store) PutAs(ctx context.Context, id volume.ChunkID, content []byte) (had bool, err error) {
	return s.put(ctx, id, content)
}

// PutNew is PutAs for who does not rely on what the disk holds: a chunk that is here is read
// first, past the cache, and written again if it is bad.
func (s *Store) PutNew(ctx context.Context, id volume.ChunkID, content []byte) (had bool, err error) {
	if s.Has(id) {
		if _, err := s.readLocal(id); err != nil {
			s.log.Error().Err(err).Stringer("chunk", id).Msg("a chunk is damaged here: it is written again")
		}
	}
	return s.put(ctx, id, content)
}
