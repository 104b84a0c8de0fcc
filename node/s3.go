package node

import (
	"context"
	"errors"
	"net"
	"slices"

	"wolfdisk/node/gateway"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// codeStream says that a node may not forward requests.
const codeStream = "WD-1606"

// startGateway takes the S3 port. What comes is answered once there is a volume (attach), which
// then outlives every change of role.
func (n *node) startGateway() error {
	g, err := gateway.New(gateway.Options{Config: n.cfg, Node: s3Node{n}, Log: n.log})
	n.gateway = g
	return err
}

// stopGateway ends it. Requests at work get half of the time that a stop may take; a hand-over
// needs the rest.
func (n *node) stopGateway(ctx context.Context) error {
	if n.gateway == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Node.StopTimeout/2)
	defer cancel()
	if err := n.gateway.Shutdown(ctx); err != nil {
		n.log.Warn().Err(err).Msg("requests over S3 were broken off by the stop")
	}
	return nil
}

// s3Node is the node as its S3 gateway sees it.
type s3Node struct{ n *node }

var _ gateway.Node = s3Node{}

// Leader implements gateway.Node.
func (s s3Node) Leader() gateway.Leader {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.n.leader != nil {
		return gateway.Leader{ID: s.n.cfg.Node.ID, Epoch: s.n.leader.Epoch(), Self: true}
	}
	return gateway.Leader{ID: s.n.reign.leader, Epoch: s.n.reign.epoch}
}

// Changed implements gateway.Node.
func (s s3Node) Changed() <-chan struct{} { return s.n.vacancy.turn().done }

// Visible implements gateway.Node.
func (s s3Node) Visible() volume.Version { return s.n.visible() }

// Hurry implements gateway.Node.
func (s s3Node) Hurry() { s.n.peers.hurry() }

// Dial implements gateway.Node.
func (s s3Node) Dial(ctx context.Context, to gateway.Leader) (net.Conn, error) {
	addrs := s.n.addressesOf(to.ID)
	if len(addrs) == 0 {
		return nil, volume.Errorf(volume.Unavailable, "no address of node %s is known", to.ID)
	}
	var errs []error
	for _, a := range addrs {
		conn, err := wire.DialStream(ctx, s.n.wire, a, &streamDialer{s.n, to.ID})
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// addressesOf are where a node may be reached: where it was, where it says, where it is said to be.
func (n *node) addressesOf(id string) (list []string) {
	add := func(a string) {
		if a != "" && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	n.peers.mu.Lock()
	if e := n.peers.byID[id]; e != nil {
		if e.session != nil && e.dialled {
			add(e.session.Addr())
		}
		add(e.address)
	}
	n.peers.mu.Unlock()
	for _, m := range n.members() {
		if m.ID == id {
			add(m.Address)
		}
	}
	return list
}

// streamHello is what this node says on a stream: who it is.
func (n *node) streamHello() wire.Hello {
	h := n.hello()
	h.Position, h.Lineage, h.Leading = volume.Position{}, nil, volume.Epoch{}
	return h
}

// acceptStream decides about a stream that another node wants. Whether this one leads is looked at with
// each request.
func (n *node) acceptStream(h *wire.Hello) error {
	if h.Role == volume.RoleClient || h.Role == volume.RoleWitness {
		return &wire.Refusal{Kind: volume.Unauthorized, Code: codeStream, Text: "a " + h.Role.String() + " may not forward requests over S3"}
	}
	if n.gateway == nil || n.gateway.Stopping() || !n.elects() {
		return &wire.Refusal{Kind: volume.Busy, Code: "WD-1315", Text: "node " + n.cfg.Node.ID + " is starting or stopping: try again"}
	}
	return n.acceptIdentity(h)
}

// Stream implements wire.StreamHandler: another node forwards requests over S3.
func (n *node) Stream(conn net.Conn, _ wire.Hello) { n.gateway.Stream(conn) }

// streamDialer greets the leader for a stream.
type streamDialer struct {
	n  *node
	id string
}

// Hello implements wire.Handler.
func (d *streamDialer) Hello(remote wire.Hello) (wire.Hello, error) {
	local := d.n.streamHello()
	if remote.Heard() && remote.NodeID != d.id {
		return local, volume.Errorf(volume.Busy, "node %s is there, not node %s", remote.NodeID, d.id)
	}
	return local, nil
}

// Session implements wire.Handler; a dialer is given none.
func (d *streamDialer) Session(s *wire.Session) { s.Close(nil) }
