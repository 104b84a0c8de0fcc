package node

import (
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// A removed member is refused on every session, by whoever knows of it, unless its copy holds all that
// is here and more. It comes back by member add, and by nothing else.
func TestRemovedRefused(t *testing.T) {
	n, l := leadingNode(t)
	for _, name := range []string{"a", "b"} {
		if err := makeFile(l, name); err != nil {
			t.Fatal(err)
		}
	}
	pos, lineage := n.store.position()
	c := volume.Member{ID: "c", Store: volume.ID{1}}
	for _, m := range []volume.Member{{ID: "b", Store: n.state.Get().Store}, c} {
		if err := n.putMember(l, m); err != nil {
			t.Fatal(err)
		}
	}
	// Where it was when it was removed.
	h := greeting("c", 1, wire.Hello{Position: pos, Lineage: lineage})
	check := func(what string, h *wire.Hello, refused bool) {
		t.Helper()
		for kind, err := range map[string]error{"control": n.acceptIdentity(h), "data": n.accept(h)} {
			if !refused {
				if err != nil && volume.KindOf(err) != volume.Busy { // a leader is asked by one that is ahead
					t.Errorf("%s, %s: %v", what, kind, err)
				}
				continue
			}
			refusal(t, what+", "+kind, err, volume.AccessDenied, codeRemoved)
		}
	}
	check("a member", h, false)
	c.Removed = true
	if err := n.putMember(l, c); err != nil {
		t.Fatal(err)
	}
	check("removed", h, true)
	last, lineage := n.store.position()
	apart := greeting("c", 1, wire.Hello{Position: volume.Position{Epoch: epoch(9, "c"), Version: last.Version + 5},
		Lineage: volume.Lineage{{Epoch: lineage[0].Epoch, First: 1}, {Epoch: epoch(9, "c"), First: pos.Version + 1}}})
	check("removed, and wrote on", apart, true)
	knows := greeting("c", 1, wire.Hello{Position: volume.Position{Epoch: last.Epoch, Version: last.Version + 1}, Lineage: lineage})
	check("removed, and knows more", knows, false)
	n.leader = nil
	check("removed, by a node that does not lead", h, true)
	n.leader = l

	// This node itself: it does not take itself up again by leading.
	self := n.asMember()
	self.Removed = true
	if err := n.putMember(l, self); err != nil {
		t.Fatal(err)
	}
	n.rememberSelf()
	if !isRemoved(n.members(), "b") {
		t.Error("a leader that was removed has made itself a member")
	}

	// A witness has no copy to compare: it refuses on sessions for control, and lets a leader tell it the members.
	n.role, n.leader = volume.RoleWitness, nil
	refusal(t, "a witness", n.acceptIdentity(knows), volume.AccessDenied, codeRemoved)
	if err := n.accept(knows); err != nil {
		t.Errorf("a witness would never learn better: %v", err)
	}
}

// What a peer says of this node's removal comes to the election, once it is said by the peer.
func TestExpelled(t *testing.T) {
	n := bareNode(t, "b")
	r := *errRemoved("b").(*wire.Refusal)
	own := r
	r.Peer = true
	for _, row := range []struct {
		remote wire.Hello
		err    error
		told   bool
	}{
		{wire.Hello{Identity: wire.Identity{NodeID: "a"}}, &r, true},
		{wire.Hello{Identity: wire.Identity{NodeID: "a"}}, &own, false},
		{wire.Hello{Identity: wire.Identity{NodeID: "w", Role: volume.RoleWitness}}, &r, false},
		{wire.Hello{}, &r, false},
		{wire.Hello{Identity: wire.Identity{NodeID: "a"}}, nil, false},
	} {
		n.expelled(&row.remote, row.err)
		select {
		case ev := <-n.elector.events:
			if e, ok := ev.(elect.Expelled); !ok || !row.told || e.By != "a" {
				t.Errorf("%+v: %+v", row, ev)
			}
		case <-time.After(time.Millisecond):
			if row.told {
				t.Errorf("%+v: nothing was told", row)
			}
		}
	}
}
