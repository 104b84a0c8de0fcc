package node

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"wolfdisk/node/exit"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// A witness holds no copy: it answers heartbeats and keeps promises like any member, so that two nodes
// with data and a witness have a majority when one of them dies. It takes no frames, and is
// given none. The members, which other nodes read in their copy, it is told by the leader, and
// keeps in a file of its state directory: XXH3-64 of the rest, 8 bytes big-endian, then the
// members as ops.
const membersName = "members"

const (
	// askMembers is how often a witness asks its leader for the members.
	askMembers = 2 * time.Second
	// maxMembersBytes is how long their list can be.
	maxMembersBytes = 4 << 20
)

// witness is what a witness knows of its cluster.
type witness struct {
	path    string
	members atomic.Pointer[[]volume.Member]
}

// isWitness reports whether this node holds no copy by its configuration.
func (n *node) isWitness() bool { return n.role == volume.RoleWitness }

// openWitness reads what this witness knew, instead of opening a volume.
func (n *node) openWitness() error {
	if !n.state.Get().Volume.IsZero() {
		return exit.Errorf(exit.Unsafe, "state directory %s holds a copy of a volume, and a witness stores none: start this node without --witness, or give the witness another --state-dir", n.cfg.Node.DataDir)
	}
	w := &witness{path: filepath.Join(n.cfg.Node.DataDir, membersName)}
	w.members.Store(new([]volume.Member))
	n.witness = w
	n.setPhase(phaseWaiting)
	b, err := os.ReadFile(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return volume.Wrap(err, "read the members of the cluster")
	}
	if len(b) < 8 || binary.BigEndian.Uint64(b) != xxh3.Hash(b[8:]) {
		return volume.Errorf(volume.Corrupt, "%s is damaged: remove it, and this witness asks the leader for the members", w.path)
	}
	list, err := decodeMembers(b[8:])
	if err != nil {
		return volume.Wrap(err, "read "+w.path)
	}
	w.members.Store(&list)
	return nil
}

// learn makes the members known, first on disk: of whom a witness knew is what it knows after a restart.
func (w *witness) learn(b []byte) error {
	list, err := decodeMembers(b)
	if err != nil || slices.Equal(list, *w.members.Load()) {
		return err
	}
	if err := replaceFile(w.path, append(binary.BigEndian.AppendUint64(nil, xxh3.Hash(b)), b...)); err != nil {
		return volume.Wrap(err, "keep the members of the cluster")
	}
	w.members.Store(&list)
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
			err = n.witness.learn(b)
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

func encodeMembers(list []volume.Member) ([]byte, error) {
	e := volume.NewEncoder()
	for _, m := range list {
		if _, err := e.Add(&volume.Op{Kind: volume.OpMember, Member: m}); err != nil {
			return nil, err
		}
	}
	return e.Bytes(), nil
}

func decodeMembers(b []byte) (list []volume.Member, err error) {
	d := volume.NewDecoder(b)
	for {
		var op volume.Op
		if _, err := d.Next(&op); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		if op.Kind != volume.OpMember {
			return nil, volume.Errorf(volume.BadFormat, "a list of members has an op of kind %s", op.Kind)
		}
		list = append(list, op.Member)
	}
}
