package node

import (
	"maps"
	"sync"

	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// sources counts what other nodes have sent of the content of copies, bytes, since the
// start.
type sources struct {
	mu sync.Mutex
	m  map[string]uint64
}

func (s *sources) count(id string, bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string]uint64{}
	}
	s.m[id] += bytes
}

// all is a copy.
func (s *sources) all() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.m)
}

// otherSources are the nodes beside the leader that may have content: those that hold a
// volume of the leader's history. That they have come far enough they say themselves.
func (n *node) otherSources(leader *wire.Session) []slave.Source {
	var list []slave.Source
	for _, p := range n.peers.list() {
		if p.session != nil && p.session != leader && sharesHistory(leader.Remote(), p.hello) {
			list = append(list, slave.Source{ID: p.hello.NodeID, Caller: p.session})
		}
	}
	return list
}

// sharesHistory reports whether a node said at its hello that it holds a part of what the
// leader holds, or has come further in the leader's own epoch since the leader's hello.
func sharesHistory(leader, h wire.Hello) bool {
	if !h.Consistent || h.Role == volume.RoleClient || h.Role == volume.RoleWitness || h.Volume != leader.Volume {
		return false
	}
	mine, theirs := leader.Position.Version, h.Position.Version
	if volume.CommonPrefix(leader.Lineage, mine, h.Lineage, theirs) != min(mine, theirs) {
		return false
	}
	if theirs <= mine {
		return true
	}
	reign, ok := h.Lineage.At(theirs)
	return ok && reign.Epoch == leader.Leading
}

// closeSync closes a copy that is being made, so that the next start takes it up.
func (n *node) closeSync() error {
	n.mu.Lock()
	s := n.sync
	n.mu.Unlock()
	if s == nil {
		return nil
	}
	return volume.Wrap(s.Close(), "close the copy that is being made")
}
