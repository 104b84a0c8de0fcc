package node

import (
	"errors"
	"fmt"
	"slices"

	"wolfdisk/elect"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// A member that was removed is refused by all who know of it, whatever it wants and whoever leads: the
// election hears nothing of it (package elect). Which node knows better, the one that refuses or the
// one that is refused, their copies say: the removal is an op, and so is the taking up again.

// codeRemoved says that a node was removed from the cluster.
const codeRemoved = "WD-1325"

func errRemoved(id string) error {
	return &wire.Refusal{Kind: volume.AccessDenied, Code: codeRemoved, Text: fmt.Sprintf(
		"node %s was removed from the cluster: wolfdiskctl member add %s takes it up again", id, id)}
}

func isRemoved(members []volume.Member, id string) bool {
	return slices.ContainsFunc(members, func(m volume.Member) bool { return m.ID == id && m.Removed })
}

// removed refuses a node that the cluster was told to forget, unless it knows better.
func (n *node) removed(h *wire.Hello) error {
	if isRemoved(n.members(), h.NodeID) && !n.newer(h) {
		return errRemoved(h.NodeID)
	}
	return nil
}

// newer reports whether a peer's copy holds all that this node's does, and more. A witness has no copy,
// and believes what a leader said last.
func (n *node) newer(h *wire.Hello) bool {
	if n.isWitness() {
		return false
	}
	mine := n.copyNow()
	at := mine.Position.Version
	return h.Position.Version > at && volume.CommonPrefix(mine.Lineage, at, h.Lineage, h.Position.Version) == at
}

// expelled tells the election that a peer does not take this node any more. A witness may be the one
// that does not know better, and has nothing to show for it.
func (n *node) expelled(remote *wire.Hello, err error) {
	var r *wire.Refusal
	if errors.As(err, &r) && r.Peer && r.Code == codeRemoved && remote.NodeID != "" && remote.Role != volume.RoleWitness && n.elects() {
		n.elector.tell(elect.Expelled{By: remote.NodeID})
	}
}

// endRemoved ends the sessions with nodes that have been removed since the list of members was was.
func (n *node) endRemoved(was, now []volume.Member) {
	for _, m := range now {
		if !m.Removed || isRemoved(was, m.ID) {
			continue
		}
		for _, s := range []*wire.Session{n.peers.session(m.ID), n.control.sessionWith(m.ID)} {
			if s != nil {
				go s.Close(errRemoved(m.ID)) // it waits for the peer
			}
		}
	}
}
