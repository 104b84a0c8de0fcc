package node

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// askForCopy bounds one question to one node for what is damaged here.
const askForCopy = 30 * time.Second

// healFromPeers has a volume fetch from other nodes what is damaged here, when it is
// read and when a scrub finds it.
func (n *node) healFromPeers(st *storage) {
	st.log.SetFetcher(n)
	if st.chunks != nil {
		st.chunks.SetFetcher(&chunkHealer{n: n})
	}
}

// FetchFrame implements oplog.FrameFetcher.
func (n *node) FetchFrame(ctx context.Context, v volume.Version, take func(frame []byte) error) error {
	err := volume.Errorf(volume.Unavailable, "version %d: no node is connected that could have it", v)
	for _, p := range n.peers.list() {
		if p.session == nil {
			continue
		}
		b, e := askPeer(ctx, p.session, volume.RequestFrame, binary.BigEndian.AppendUint64(nil, uint64(v)), oplog.MaxFrameLen)
		if e == nil {
			e = take(b)
		}
		if e == nil {
			return nil
		}
		if ctx.Err() != nil {
			return volume.Errorf(volume.Interrupted, "fetch version %d: %w", v, context.Cause(ctx))
		}
		err = volume.Errorf(volume.KindOf(e), "fetch version %d from %s: %w", v, p.hello.NodeID, e)
	}
	return err
}

func askPeer(ctx context.Context, s *wire.Session, kind uint16, body []byte, max int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askForCopy)
	defer cancel()
	return s.CallAll(ctx, kind, body, max)
}

// answerFrame serves a frame of this node's log. It asks nobody, or two nodes with the
// same damage would wait for each other.
func (n *node) answerFrame(body []byte, w *wire.AnswerWriter) error {
	if len(body) != 8 {
		return volume.Errorf(volume.BadFormat, "frame request of %d bytes", len(body))
	}
	st := n.storage()
	if st == nil {
		return volume.Errorf(volume.Unavailable, "node %s holds no volume", n.cfg.Node.ID)
	}
	b, err := st.log.LocalFrame(volume.Version(binary.BigEndian.Uint64(body)))
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// chunkHealer gets a chunk that is damaged or absent here: whole, from a node that keeps
// it, or else put together from files of the leader, which may keep none.
type chunkHealer struct {
	n *node

	mu     sync.Mutex // one search of the index at a time
	failed map[volume.ChunkID]time.Time
}

const (
	// searchAgain is how long a chunk that could not be put together is not searched for
	// again: a search goes through all extents.
	searchAgain = 10 * time.Second
	// maxFailed bounds the chunks that are remembered for that.
	maxFailed = 1024
)

// FetchChunk implements volume.ChunkFetcher.
func (h *chunkHealer) FetchChunk(ctx context.Context, id volume.ChunkID) ([]byte, error) {
	b, err := h.n.FetchChunk(ctx, id)
	if err == nil && sha256.Sum256(b) == id {
		return b, nil
	}
	if err == nil {
		err = volume.Errorf(volume.Corrupt, "chunk %s: what a node sent does not match its SHA-256", id)
	}
	leader := h.n.leaderSession()
	if leader == nil || ctx.Err() != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if at, ok := h.failed[id]; ok && time.Since(at) < searchAgain {
		return nil, err
	}
	b, again := h.assemble(ctx, leader, id)
	if again == nil {
		return b, nil
	}
	if len(h.failed) >= maxFailed || h.failed == nil {
		h.failed = map[volume.ChunkID]time.Time{}
	}
	h.failed[id] = time.Now()
	return nil, volume.Errorf(volume.KindOf(err), "%w; from the leader's files: %v", err, again)
}

// assemble asks the leader for the ranges of files that the chunk holds here. The leader
// may be ahead: only a result that matches the chunk's hash is one.
func (h *chunkHealer) assemble(ctx context.Context, leader *wire.Session, id volume.ChunkID) ([]byte, error) {
	size := h.n.state.Get().ChunkSize
	pieces, err := h.n.piecesOf(id, size)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, p := range pieces {
		if p.x.Chunk.Offset > int64(len(b)) {
			break // nobody uses what lies between any more, so nobody knows it
		}
		end := p.x.Chunk.Offset + p.x.Len
		if end <= int64(len(b)) {
			continue
		}
		skip := int64(len(b)) - p.x.Chunk.Offset
		more := make([]byte, p.x.Len-skip)
		if err := readFrom(ctx, leader, p.ino, more, p.x.Off+skip); err != nil {
			return nil, err
		}
		b = append(b, more...)
	}
	if sha256.Sum256(b) != id {
		return nil, volume.Errorf(volume.Missing, "the files that use it do not make it whole any more")
	}
	return b, nil
}

// piece is a range of a file that lies in a chunk.
type piece struct {
	ino volume.Ino
	x   volume.Extent
}

// maxPieces bounds the pieces of a chunk that are looked at.
const maxPieces = 64 << 10

// piecesOf finds the extents that name a chunk, by their place in it.
func (n *node) piecesOf(id volume.ChunkID, size int64) ([]piece, error) {
	st := n.storage()
	if st == nil {
		return nil, volume.Unavailable
	}
	snap, err := st.engine.Snapshot()
	if err != nil {
		return nil, err
	}
	var list []piece
	err = snap.EachExtent(func(ino volume.Ino, x volume.Extent) bool {
		if !x.InLog && x.Chunk.ID == id && x.Chunk.Offset+x.Len <= size {
			list = append(list, piece{ino, x})
		}
		return len(list) < maxPieces
	})
	sortPieces(list)
	return list, errors.Join(err, snap.Close())
}

// readFrom reads a range of a file from another node.
func readFrom(ctx context.Context, s *wire.Session, ino volume.Ino, p []byte, off int64) error {
	ctx, cancel := context.WithTimeout(ctx, askForCopy)
	defer cancel()
	q := volume.ContentRequest{}
	for at := 0; at < len(p); at += volume.MaxContentItem {
		q.Items = append(q.Items, volume.ContentItem{Ino: ino, Off: off + int64(at), Len: min(volume.MaxContentItem, len(p)-at)})
	}
	a, err := s.Call(ctx, volume.RequestContent, q.Encode())
	if err != nil {
		return err
	}
	defer a.Close()
	r := volume.NewContentReader(a, &q)
	for {
		it, runs, gone, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && gone {
			err = volume.Errorf(volume.Missing, "inode %s is no more on the leader", ino)
		}
		if err != nil {
			return err
		}
		for _, run := range runs {
			at := int(it.Off-off) + run.Off
			if err := r.Content(run, p[at:at+run.Len]); err != nil {
				return err
			}
		}
	}
}
