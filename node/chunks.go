package node

import (
	"context"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

// FetchChunk implements volume.ChunkFetcher: it asks the connected nodes one after the
// other for a chunk that is absent or damaged here. The caller checks the hash.
func (n *node) FetchChunk(ctx context.Context, id volume.ChunkID) ([]byte, error) {
	err := volume.Errorf(volume.Unavailable, "chunk %s: no node is connected that could have it", id)
	for _, p := range n.peers.list() {
		if p.session == nil {
			continue
		}
		content, e := p.session.CallAll(ctx, volume.RequestChunk, id[:], volume.MaxChunkSize)
		if e == nil {
			return content, nil
		}
		if ctx.Err() != nil {
			return nil, volume.Errorf(volume.Interrupted, "fetch chunk %s: %w", id, ctx.Err())
		}
		err = volume.Errorf(volume.KindOf(e), "fetch chunk %s from %s: %w", id, p.hello.NodeID, e)
	}
	return nil, err
}

// answerChunk serves a chunk of this node's store.
func (n *node) answerChunk(ctx context.Context, body []byte, w *wire.AnswerWriter) error {
	var get func(context.Context, volume.ChunkID) ([]byte, error)
	if st := n.storage(); st != nil && st.chunks != nil {
		get = st.chunks.Local
	}
	return wire.AnswerChunk(ctx, body, w, get)
}
