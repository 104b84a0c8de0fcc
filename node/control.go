package node

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

const (
	// controlSilence is how long a control session may say nothing before it is made anew:
	// heartbeats come ten times a second, and what TCP holds back after a partition comes late.
	controlSilence = 2500 * time.Millisecond
	// controlBackOff bounds the pause between two tries to connect, so that nodes find each
	// other soon after a partition.
	controlBackOff = 500 * time.Millisecond
)

// control are the sessions that carry the election's messages, one to each node that can be
// reached, beside those for data.
type control struct {
	n *node

	mu   sync.Mutex
	byID map[string]*controlSession
}

type controlSession struct {
	s       *wire.Session
	dialled bool
	ended   chan struct{} // closed when the election was told
}

func newControl(n *node) *control { return &control{n: n, byID: map[string]*controlSession{}} }

// controlDialer greets a peer that this node dials for a control session.
type controlDialer struct {
	n  *node
	id string // who answered
}

// Hello implements wire.Handler.
func (h *controlDialer) Hello(remote wire.Hello) (wire.Hello, error) {
	local := h.n.controlHello()
	if !remote.Heard() {
		return local, nil
	}
	h.id = remote.NodeID
	if h.n.control.connected(h.id) {
		return local, volume.Errorf(volume.Busy, "there is a control session with node %s already", h.id)
	}
	return local, h.n.acceptIdentity(&remote)
}

// Session implements wire.Handler; a dialer is given none.
func (h *controlDialer) Session(s *wire.Session) { s.Close(nil) }

// Refused implements wire.RefusalObserver.
func (h *controlDialer) Refused(remote wire.Hello, addr string, err error) {
	h.n.expelled(&remote, err)
	h.n.refused(remote.NodeID, addr, err)
}

// controlHello is what this node says on a control session: who leads say the heartbeats.
func (n *node) controlHello() wire.Hello {
	h := n.hello()
	h.Caps |= wire.CapControl
	h.Leading = volume.Epoch{}
	return h
}

// dial keeps a control session with the node behind an address for as long as this one runs.
func (c *control) dial(ctx context.Context, addr string) {
	id := "" // who answered there last
	wait := controlBackOff / 16
	for ctx.Err() == nil {
		if id == "" || !c.connected(id) {
			h := &controlDialer{n: c.n}
			s, err := wire.Dial(ctx, c.n.wire, addr, h)
			if h.id != "" {
				id = h.id
			}
			switch {
			case err == nil:
				began := time.Now()
				c.session(ctx, s, true)
				if time.Since(began) > time.Second {
					wait = controlBackOff / 16
				}
			case errors.Is(err, wire.ErrSelf):
				wait = wire.SelfWait
			case id != "" && errors.Is(err, syscall.ECONNREFUSED):
				c.n.elector.tell(elect.PeerRefused{ID: id})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, controlBackOff)
	}
}

func (c *control) connected(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id] != nil
}

// session serves a control session to its end. Of two that both sides dialled at once, that of
// the lower ID stays; an older one gives way to one that was dialled by the same side, which
// has noticed its end.
func (c *control) session(ctx context.Context, s *wire.Session, dialled bool) {
	remote := s.Remote()
	id := remote.NodeID
	me := &controlSession{s: s, dialled: dialled, ended: make(chan struct{})}
	for {
		c.mu.Lock()
		old := c.byID[id]
		if old == nil {
			c.byID[id] = me
			c.mu.Unlock()
			break
		}
		c.mu.Unlock()
		lower := volume.CompareNodeIDs(c.n.cfg.Node.ID, id) < 0
		if old.dialled != dialled && dialled != lower && old.s.Remote().Boot.Started == s.Remote().Boot.Started {
			s.Close(volume.Errorf(volume.Busy, "there is a control session between these two nodes already"))
			return
		}
		old.s.Close(volume.Errorf(volume.Busy, "replaced by another control session between the same two nodes"))
		select {
		case <-old.ended:
		case <-ctx.Done():
			s.Close(nil)
			return
		}
	}
	defer close(me.ended)
	// Looked at with the session in the list: it may have been removed since the hello.
	removed := isRemoved(c.n.members(), id)
	newer := removed && c.n.newer(&remote)
	if removed && !newer {
		s.Close(errRemoved(id))
	}
	c.n.elector.tell(elect.PeerUp{ID: id, Newer: newer})
	if c.n.follows(id) {
		c.n.vacancy.back()
	}
	err := c.serve(ctx, s)
	s.Close(err)
	c.n.expelled(&remote, err)
	c.mu.Lock()
	delete(c.byID, id)
	c.mu.Unlock()
	c.n.elector.tell(elect.PeerDown{ID: id})
	if c.n.follows(id) {
		c.n.vacancy.lost()
	}
}

func (c *control) serve(ctx context.Context, s *wire.Session) error {
	sink := &controlSink{n: c.n, from: s.Remote().NodeID, heard: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go sink.watch(ctx, s)
	return s.Serve(ctx, sink)
}

// sessionWith is the present session with a node; nil.
func (c *control) sessionWith(id string) *wire.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cs := c.byID[id]; cs != nil {
		return cs.s
	}
	return nil
}

// send sends a message on the present session with a node; without one it is dropped.
func (c *control) send(to string, m elect.Message) {
	c.mu.Lock()
	cs := c.byID[to]
	c.mu.Unlock()
	if cs == nil {
		return
	}
	b, err := elect.Encode(m)
	if err == nil {
		err = cs.s.SendSignal(b)
	}
	if err != nil && volume.KindOf(err) != volume.Busy {
		c.n.log.Debug().Err(err).Str("peer", to).Msg("a message of the election was not sent")
	}
}

// closeAll ends every control session.
func (c *control) closeAll() {
	c.mu.Lock()
	var all []*wire.Session
	for _, cs := range c.byID {
		all = append(all, cs.s)
	}
	c.mu.Unlock()
	var group sync.WaitGroup
	for _, s := range all {
		group.Go(func() { s.Close(volume.Errorf(volume.Closed, "node %s is stopping", c.n.cfg.Node.ID)) })
	}
	group.Wait()
}

// controlSink takes what a control session brings.
type controlSink struct {
	n     *node
	from  string
	heard chan struct{} // holds a token after a signal
}

var _ wire.SignalSink = (*controlSink)(nil)

// Signal implements wire.SignalSink.
func (k *controlSink) Signal(b []byte) error {
	m, err := elect.Decode(b)
	if err != nil {
		return err
	}
	select {
	case k.heard <- struct{}{}:
	default:
	}
	k.n.elector.tell(elect.Received{From: k.from, Message: m})
	return nil
}

// watch ends a session on which nothing comes any more.
func (k *controlSink) watch(ctx context.Context, s *wire.Session) {
	t := time.NewTimer(controlSilence)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.heard:
			t.Reset(controlSilence)
		case <-t.C:
			s.Close(volume.Errorf(volume.Unavailable, "nothing was heard for %s", controlSilence))
			return
		}
	}
}

func (k *controlSink) Frame([]byte) error {
	return volume.Errorf(volume.BadFormat, "frames on a control session")
}
func (k *controlSink) Progress(wire.Progress) {}
func (k *controlSink) Durable(volume.Version) {}
func (k *controlSink) Request(context.Context, uint16, []byte, *wire.AnswerWriter) error {
	return volume.Errorf(volume.Unsupported, "requests are not answered on a control session")
}
