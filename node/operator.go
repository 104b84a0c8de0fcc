package node

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"

	"wolfdisk/elect"
	"wolfdisk/node/admin"
	"wolfdisk/volume"
)

// codeWouldLose is the code of what is refused because operations could be lost by it.
const codeWouldLose = "WD-1342"

// promoteVerb has this node lead.
func (n *node) promoteVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	lost := func(out *admin.RoleLine) {
		out.GivenUp = uint64(n.dropUnfinished())
		n.elector.tell(n.elector.local()) // the copy may be whole again
	}
	return n.roleVerb(ctx, query, emit, lost, func(id uint64, loss bool) elect.Event {
		return elect.Promote{Request: id, AllowDataLoss: loss, For: askedFor}
	})
}

// dropUnfinished drops a copy that is being made, if the one it is to replace is whole and there
// is no leader to go on with: an operator insists on leading with that. It returns the version
// that the dropped one had come to, 0 if there is none or its names were not complete. A node
// whose only copy is not whole stays as it is and may not lead, as does one that may not lead with
// any copy.
func (n *node) dropUnfinished() volume.Version {
	n.mu.Lock()
	st, sync := n.store, n.sync
	n.mu.Unlock()
	if sync == nil || st == nil || n.between.Load() || st.engine.Position().Version == 0 || n.leaderSession() != nil ||
		n.elector.status.Load().Barred != "" {
		return 0
	}
	var at volume.Version
	if sync.Begun() {
		pos, _ := sync.Position()
		at = pos.Version
	}
	n.log.Warn().Str("code", "WD-1348").Uint64("unfinished", uint64(at)).Uint64("version", uint64(st.engine.Position().Version)).
		Msg("an operator insists on leading: the copy that was being made is given up for the whole one that it was to replace")
	if err := n.dropSync(); err != nil {
		n.log.Warn().Err(err).Msg("removing the copy that was given up")
	}
	return at
}

// demoteVerb has this node follow, and not ask for the lead again.
func (n *node) demoteVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	lost := func(*admin.RoleLine) {}
	return n.roleVerb(ctx, query, emit, lost, func(id uint64, loss bool) elect.Event {
		return elect.Demote{Request: id, AllowDataLoss: loss, For: askedFor}
	})
}

// roleVerb changes this node's role, and says who was absent if data may be lost by it. lost is called
// before, if it may, and says what else is lost.
func (n *node) roleVerb(ctx context.Context, query url.Values, emit func(any) error, lost func(*admin.RoleLine), event func(id uint64, loss bool) elect.Event) error {
	loss, err := boolParam(query, "allow_data_loss")
	if err != nil {
		return err
	}
	out := n.roleLine()
	if loss {
		out.Unseen = n.absent()
		lost(&out)
	}
	return n.operate(ctx, emit, out, func(id uint64) elect.Event { return event(id, loss) })
}

// handoverVerb has another node lead.
func (n *node) handoverVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	to := query.Get("to")
	if to != "" && volume.CheckNodeID(to) != nil {
		return admin.BadParam("to", to, "a node ID")
	}
	err := n.operate(ctx, emit, n.roleLine(), func(id uint64) elect.Event { return elect.Handover{Request: id, To: to, For: askedFor} })
	var refused *admin.Error
	if leader := n.elector.status.Load().Leader; errors.As(err, &refused) && refused.Code == codeWouldLose && leader != n.cfg.Node.ID {
		hint := "wait until a node leads"
		if leader != "" {
			hint = "run it on node " + leader + ", which leads"
		}
		return admin.Refused("WD-1343", "this node does not lead", hint)
	}
	return err
}

// operate asks the election and says what has become of the node.
func (n *node) operate(ctx context.Context, emit func(any) error, before admin.RoleLine, event func(id uint64) elect.Event) error {
	err := n.elector.askAgain(ctx, event)
	if err != nil && volume.KindOf(err) == volume.Precondition {
		return admin.Refused(codeWouldLose, err.Error(), "bring the nodes back that are away, or insist with --allow-data-loss where the command has it")
	}
	if err != nil {
		return err
	}
	after := n.roleLine()
	after.Unseen, after.GivenUp = before.Unseen, before.GivenUp
	return emit(after)
}

// roleLine says who leads.
func (n *node) roleLine() admin.RoleLine {
	s := n.elector.status.Load()
	l := admin.RoleLine{NodeID: n.cfg.Node.ID, Phase: s.Phase.String(), LeaderID: s.Leader}
	if !s.Epoch.IsZero() {
		l.Epoch = s.Epoch.String()
	}
	if s.Leader == n.cfg.Node.ID {
		l.Role = "leader"
	} else {
		l.Role = "follower"
	}
	if st := n.storage(); st != nil {
		l.Version = uint64(st.engine.Position().Version)
	}
	return l
}

// absent are the members that are not reachable now, and may hold operations that nobody else has.
func (n *node) absent() []admin.AbsentMember {
	s := n.elector.status.Load()
	var list []admin.AbsentMember
	for _, m := range n.members() {
		if m.Removed || m.ID == n.cfg.Node.ID || m.Role == volume.RoleClient || m.Role == volume.RoleWitness {
			continue
		}
		i := slices.IndexFunc(s.Peers, func(p elect.PeerStatus) bool { return p.ID == m.ID })
		if i >= 0 && s.Peers[i].Reachable {
			continue
		}
		a := admin.AbsentMember{ID: m.ID}
		if i >= 0 {
			a.Version = uint64(s.Peers[i].Position.Version)
		}
		list = append(list, a)
	}
	return list
}

func boolParam(query url.Values, name string) (bool, error) {
	text := query.Get(name)
	if text == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, admin.BadParam(name, text, "1 or 0")
	}
	return v, nil
}

// membersVerb lists whom the cluster remembers.
func (n *node) membersVerb(_ context.Context, _ url.Values, emit func(any) error) error {
	s := n.elector.status.Load()
	for _, m := range n.members() {
		line := admin.MemberLine{ID: m.ID, Role: m.Role.String(), Address: m.Address, Removed: m.Removed}
		if !m.Store.IsZero() {
			line.StoreID = admin.HexID(m.Store)
		}
		line.Self = m.ID == n.cfg.Node.ID
		line.Counts = line.Self
		for _, p := range s.Peers {
			if p.ID == m.ID {
				line.Connected, line.Counts = p.Connected, p.Counts
			}
		}
		if err := emit(line); err != nil {
			return err
		}
	}
	return nil
}

// memberVerb changes what the cluster remembers of a node.
func (n *node) memberVerb(_ context.Context, query url.Values, emit func(any) error) error {
	id := query.Get("id")
	if volume.CheckNodeID(id) != nil {
		return admin.BadParam("id", id, "a node ID")
	}
	l := n.leading()
	if l == nil {
		return admin.Refused("WD-1343", "this node does not lead: the list of members is changed by the leader", "run it on the node that leads")
	}
	members := n.members()
	i := slices.IndexFunc(members, func(m volume.Member) bool { return m.ID == id })
	m := volume.Member{ID: id}
	if i >= 0 {
		m = members[i]
	}
	switch do := query.Get("do"); do {
	case "add":
		m.Removed = false
		if address := query.Get("address"); address != "" {
			if len(address) > volume.MaxAddressLen {
				return admin.BadParam("address", address, "HOST:PORT")
			}
			m.Address = address
		}
	case "remove":
		if i < 0 {
			return volume.Errorf(volume.NotFound, "node %s is no member", id)
		}
		if id == n.cfg.Node.ID {
			return admin.Refused("WD-1344", "a leader cannot be removed", "hand over first: wolfdiskctl handover")
		}
		m.Removed = true
	case "accept-store":
		store, ok := n.peers.store(id)
		switch {
		case i < 0:
			return volume.Errorf(volume.NotFound, "node %s is no member", id)
		case m.Removed:
			return errRemoved(id)
		case !ok:
			return volume.Errorf(volume.Unavailable, "node %s is not connected: start it, so that its store is known", id)
		}
		m.Store = store
	default:
		return admin.BadParam("do", do, "add, remove or accept-store")
	}
	if i < 0 || m != members[i] {
		if err := n.putMember(l, m); err != nil {
			return err
		}
		n.log.Info().Str("member", id).Str("do", query.Get("do")).Msg("the list of members was changed")
	}
	line := admin.MemberLine{ID: m.ID, Role: m.Role.String(), Address: m.Address, Removed: m.Removed}
	if !m.Store.IsZero() {
		line.StoreID = admin.HexID(m.Store)
	}
	return emit(line)
}
