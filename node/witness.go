package node

import (
	"context"
	"time"

	"wolfdisk/node/exit"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// A witness holds no copy: it answers heartbeats and keeps promises like any member, so that two nodes
// with data and a witness have a majority when one of them dies. It takes no frames, and is
// given none. The members, which other nodes read in their copy, it is told by the leader.

const (
	// askMembers is how often a witness asks its leader for the members.
	askMembers = 2 * time.Second
	// maxMembersBytes is how long their list can be.
	maxMembersBytes = 4 << 20
)

// isWitness reports whether this node holds no copy by its configuration.
func (n *node) isWitness() bool { return n.role == volume.RoleWitness }

// openWitness is done instead of opening a volume.
func (n *node) openWitness() error {
	if !n.state.Get().Volume.IsZero() {
		return exit.Errorf(exit.Unsafe, "state directory %s holds a copy of a volume, and a witness stores none: start this node without --witness, or give the witness another --state-dir", n.cfg.Node.DataDir)
	}
	n.setPhase(phaseWaiting)
	return nil
}

// attend serves a session of a witness to its end: with a leader, it asks for the members.
func (n *node) attend(ctx context.Context, s *wire.Session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !s.Remote().Leading.IsZero() {
		go func() {
			if err := n.askMembers(ctx, s); err != nil {
				s.Close(err)
			}
		}()
	}
	return s.Serve(ctx, bystander{})
}

func (n *node) askMembers(ctx context.Context, s *wire.Session) error {
	for {
		b, err := s.CallAll(ctx, volume.RequestMembers, nil, maxMembersBytes)
		if err == nil {
			err = n.roster.learnFrom(b)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askMembers):
		}
	}
}

// attended serves a session with a witness, which becomes a member.
func (n *node) attended(ctx context.Context, s *wire.Session) error {
	if l := n.leading(); l != nil && s.Local().Leading == l.Epoch() {
		remote := s.Remote()
		go n.remember(l, &remote, addressOf(s))
	}
	return s.Serve(ctx, bystander{n.members})
}

// bystander takes what comes on a session with or of a node that has no copy and gets none.
type bystander struct {
	members func() []volume.Member // nil on the witness itself
}

func (bystander) Frame([]byte) error {
	return volume.Errorf(volume.WrongHistory, "a witness takes no frames and sends none")
}
func (bystander) Progress(wire.Progress) {}
func (bystander) Durable(volume.Version) {}

func (b bystander) Request(_ context.Context, kind uint16, _ []byte, w *wire.AnswerWriter) error {
	if kind != volume.RequestMembers || b.members == nil {
		return volume.Errorf(volume.Unsupported, "request kind %d: a witness neither holds nor is given a copy", kind)
	}
	list, err := encodeMembers(b.members())
	if err != nil {
		return err
	}
	return w.Last(list)
}
