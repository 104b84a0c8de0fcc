package node

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// keepForSync is how long the log is kept for a follower whose session ended while it
// was making a copy, so that it can go on where it was.
const keepForSync = time.Hour

// host is the leader's end of a follower's session: it says how to follow, and gives
// snapshots.
type host struct {
	n     *node
	l     *master.Leader
	s     *wire.Session
	join  joinKind
	start chan volume.Version // where to feed from; once

	mu      sync.Mutex
	started bool
	release func() // the log behind the snapshot
	copying bool   // the follower makes a copy
}

// answer answers what a follower asks its leader.
func (h *host) answer(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	switch kind {
	case volume.RequestJoin:
		return h.how(body, w)
	case volume.RequestSnapshot:
		return h.snapshot(ctx, w)
	case volume.RequestBarrier:
		v, err := h.l.Barrier()
		if err != nil {
			return err
		}
		h.whole()
		return w.Last(binary.BigEndian.AppendUint64(nil, uint64(v)))
	case volume.RequestContent:
		return h.n.answerContent(ctx, body, w)
	case volume.RequestProgress:
		p, err := decodeProgress(body)
		if err != nil {
			return err
		}
		h.show(p)
		return w.Last(nil)
	case volume.RequestFsync:
		return answerFsync(ctx, h.l, body, w)
	case volume.RequestForward:
		return h.n.answerForward(ctx, h.s.Remote().NodeID, body, w)
	}
	return h.n.answer(ctx, kind, body, w)
}

// how answers how to follow, and begins to feed if the log does.
func (h *host) how(body []byte, w *wire.AnswerWriter) error {
	if len(body) != 1 {
		return volume.Errorf(volume.BadFormat, "a request to join of %d bytes", len(body))
	}
	if h.join == joinTooOld || body[0] == volume.JoinSnapshot {
		return w.Last([]byte{volume.JoinSnapshot})
	}
	if err := w.Last([]byte{volume.JoinStream}); err != nil {
		return err
	}
	if remote := h.s.Remote(); !remote.Consistent && remote.Position.Version > 0 {
		h.begin(h.n.storage().engine.Counts()) // it goes on with a copy
	}
	return h.feed(h.s.Remote().Position.Version)
}

func (h *host) feed(v volume.Version) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started {
		return volume.Errorf(volume.Invalid, "this session is fed already: join again for another way to follow")
	}
	h.started = true
	h.start <- v
	return nil
}

// snapshot sends the index as it is now, and feeds what comes after it.
func (h *host) snapshot(ctx context.Context, w *wire.AnswerWriter) error {
	st := h.n.storage()
	// First the log is kept, then the state is taken that it follows.
	release := h.n.holds.log(st.engine.Position().Version)
	snap, err := st.engine.Snapshot()
	if err != nil {
		release()
		return err
	}
	defer snap.Close()
	if err := h.feed(snap.Position().Version); err != nil {
		release()
		return err
	}
	files, bytes := snap.Counts()
	h.mu.Lock()
	h.release = release
	h.mu.Unlock()
	h.begin(files, bytes)
	h.n.log.Info().Str("peer", h.s.Remote().NodeID).Stringer("position", snap.Position()).Uint64("files", files).Uint64("bytes", bytes).Msg("sending a snapshot")
	return snap.Export(w, func() {})
}

// begin has status show that a copy is made, of which the follower has not told anything yet.
func (h *host) begin(files, bytes uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.copying = true
	h.n.peers.setSync(h.s, &progress{phase: "sending a snapshot", begun: time.Now(), allFiles: files, allBytes: bytes})
}

// show has status show how far the copy is.
func (h *host) show(p *progress) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.copying {
		h.n.peers.setSync(h.s, p)
	}
}

// whole notes that the follower has all content of its copy: it needs no more of the log than any
// other follower.
func (h *host) whole() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.copying = false
	h.n.peers.setSync(h.s, nil)
	if h.release != nil {
		h.release()
		h.release = nil
	}
}

// end ends the session: the log is kept for a while if a copy was under way.
func (h *host) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.release != nil {
		time.AfterFunc(keepForSync, h.release)
	}
}

// contentBuffers are for reading content that others ask for; at most maxServed at once.
var contentBuffers = sync.Pool{New: func() any {
	b := make([]byte, volume.MaxContentItem)
	return &b
}}

// maxServed bounds the requests for content that are served at once: each holds a
// buffer.
const maxServed = 8

// reader is the volume in charge, to read from.
func (n *node) reader() (volume.Reader, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.leader != nil:
		return n.leader, nil
	case n.follower != nil && !n.between.Load():
		return n.follower, nil
	}
	return nil, volume.Errorf(volume.Unavailable, "node %s holds no volume that could be served", n.cfg.Node.ID)
}

// answerRanges says where a file has data.
func (n *node) answerRanges(ctx context.Context, body []byte, w *wire.AnswerWriter) error {
	r, err := n.reader()
	if err != nil {
		return err
	}
	return volume.ServeRanges(ctx, body, r, w)
}

// vouches reports whether this node can tell that its content is what the leader wrote: of the files
// of a follower's directory only their disk knows.
func (n *node) vouches() bool {
	st := n.storage()
	return n.leading() != nil || st == nil || st.dir == nil
}

// answerContent serves content by inode ID from whatever volume is in charge.
func (n *node) answerContent(ctx context.Context, body []byte, w *wire.AnswerWriter) error {
	q, err := volume.DecodeContentRequest(body)
	if err != nil {
		return err
	}
	r, err := n.reader()
	if err != nil {
		return err
	}
	if q.From > 0 && !n.vouches() { // for a copy: who repairs something knows what it is to be
		return volume.Errorf(volume.Unavailable, "node %s follows with a plain directory, whose content has no hashes: ask another", n.cfg.Node.ID)
	}
	select {
	case n.served <- struct{}{}:
		defer func() { <-n.served }()
	case <-ctx.Done():
		return volume.Errorf(volume.Interrupted, "serve content: %w", context.Cause(ctx))
	}
	buf := contentBuffers.Get().(*[]byte)
	defer contentBuffers.Put(buf)
	serve := func() error { return volume.ServeContent(ctx, &q, r, w, *buf) }
	if l := n.leading(); l != nil {
		return n.pace.serve(ctx, l.Position().Version, serve)
	}
	return serve()
}
