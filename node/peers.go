package node

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// codeDuplicateID says that two nodes use one ID.
const codeDuplicateID = wire.CodeDuplicate

// peers are the other nodes this one has met since it started.
type peers struct {
	mu   sync.Mutex
	byID map[string]*peer
}

// peer is one other node. Fields are guarded by peers.mu.
type peer struct {
	hello    wire.Hello
	address  string
	session  *wire.Session // nil while not connected
	dialled  bool          // by us
	feed     *master.Feed  // while this node leads and feeds it
	sync     *progress     // of the snapshot it takes from us
	lost     time.Time     // when the last session ended
	gone     *master.Feed  // the last feed of a peer that is not connected: how far it came
	behind   float64       // seconds it was behind then
	attached time.Time
}

func newPeers() *peers { return &peers{byID: make(map[string]*peer)} }

// attach makes a session the one session with its peer. Of two that both sides
// dialled at once, the one dialled by the lower ID stays; a session of an earlier run
// of the peer gives way to that of a later one.
func (p *peers) attach(self string, s *wire.Session, dialled bool) (ok bool) {
	h := s.Remote()
	p.mu.Lock()
	var loser *wire.Session
	e := p.byID[h.NodeID]
	if e == nil {
		e = &peer{}
		p.byID[h.NodeID] = e
	}
	if old := e.session; old != nil {
		sameRun := old.Remote().Boot.Started == h.Boot.Started
		lower := volume.CompareNodeIDs(self, h.NodeID) < 0
		if sameRun && (e.dialled == lower || dialled != lower) {
			p.mu.Unlock()
			return false
		}
		loser = old
	}
	e.session, e.dialled, e.feed, e.sync, e.hello, e.address, e.attached = s, dialled, nil, nil, h, addressOf(s), time.Now()
	p.mu.Unlock()
	if loser != nil {
		loser.Close(volume.Errorf(volume.Busy, "replaced by another session between the same two nodes"))
	}
	return true
}

// probeTimeout is how long a session has to show that it is alive when the peer comes
// with another.
const probeTimeout = time.Second

// lost asks the session that stands in the way of s for a sign of life, and ends it if
// there is none: the peer may have lost it long before TCP tells us.
func (p *peers) lost(ctx context.Context, s *wire.Session) bool {
	p.mu.Lock()
	e := p.byID[s.Remote().NodeID]
	old := (*wire.Session)(nil)
	if e != nil {
		old = e.session
	}
	p.mu.Unlock()
	if old == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := old.Heartbeat(ctx); err == nil {
		return false
	}
	old.Close(volume.Errorf(volume.Unavailable, "gave no sign of life when the peer came with another session"))
	p.detach(old)
	return true
}

// duplicate refuses a second node with the ID of one that is connected.
func (p *peers) duplicate(h *wire.Hello) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byID[h.NodeID]
	if e == nil || e.session == nil || e.hello.Store == h.Store {
		return nil
	}
	return &wire.Refusal{Kind: volume.Busy, Code: codeDuplicateID, Text: fmt.Sprintf(
		"node ID %s is in use by the node at %s: give one of the two another with --id", h.NodeID, e.address)}
}

// addressOf is where a peer can be dialled: what it advertises, or else the port it
// listens on (":PORT" in its hello) at the host it came from.
func addressOf(s *wire.Session) string {
	a := s.Remote().Address
	if a == "" || a[0] != ':' {
		return a
	}
	host, _, err := net.SplitHostPort(s.Addr())
	if err != nil {
		return ""
	}
	return net.JoinHostPort(host, a[1:])
}

// addresses are where the connected peers can be dialled.
func (p *peers) addresses() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.byID {
		if e.session != nil && e.address != "" {
			list = append(list, e.address)
		}
	}
	return list
}

// detach forgets the session if it is still the peer's.
func (p *peers) detach(s *wire.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byID[s.Remote().NodeID]; e != nil && e.session == s {
		switch {
		case e.sync != nil: // it left with a copy that is not whole
			e.gone, e.hello.Consistent = nil, false
		case e.feed != nil:
			e.gone, e.behind = e.feed, e.feed.Lag().Seconds
		}
		e.session, e.feed, e.sync, e.lost = nil, nil, nil, time.Now()
	}
}

func (p *peers) setFeed(s *wire.Session, f *master.Feed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byID[s.Remote().NodeID]; e != nil && e.session == s {
		e.feed = f
	}
}

// setSync notes that a peer takes a snapshot.
func (p *peers) setSync(s *wire.Session, sent *progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byID[s.Remote().NodeID]; e != nil && e.session == s {
		e.sync = sent
	}
}

// connected reports whether there is a session with a node.
func (p *peers) connected(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byID[id]
	return e != nil && e.session != nil
}

// fresh reports whether a session with this run of a node has just begun.
func (p *peers) fresh(id string, started int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byID[id]
	return e != nil && e.session != nil && e.hello.Boot.Started == started && time.Since(e.attached) < freshFor
}

// session is the session with a node; nil.
func (p *peers) session(id string) *wire.Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byID[id]; e != nil {
		return e.session
	}
	return nil
}

// store is the store of a node, as it said last.
func (p *peers) store(id string) (volume.ID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byID[id]
	if e == nil || e.session == nil {
		return volume.ID{}, false
	}
	return e.hello.Store, true
}

// list is a copy of all peers in natural order.
func (p *peers) list() []peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l []peer
	for _, e := range p.byID {
		l = append(l, *e)
	}
	slices.SortFunc(l, func(a, b peer) int { return volume.CompareNodeIDs(a.hello.NodeID, b.hello.NodeID) })
	return l
}

// closeAll ends every session; the other sides are told why.
func (p *peers) closeAll(why error) {
	for _, e := range p.list() {
		if e.session != nil {
			e.session.Close(why)
		}
	}
}

// hurry has the followers sent what the log holds at once: somebody waits until one has it.
func (p *peers) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.byID {
		if e.feed != nil {
			e.feed.Hurry()
		}
	}
}

// caughtUp waits until every connected follower has applied version v, or ctx ends.
func (p *peers) caughtUp(ctx context.Context, v volume.Version) bool {
	p.hurry()
	for {
		behind := false
		for _, e := range p.list() {
			behind = behind || e.feed != nil && e.feed.Lag().Applied < v
		}
		if !behind {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(2 * time.Millisecond):
		}
	}
}
