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
