package elect_test

import (
	"strings"
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// without are three members of which one was removed.
func without(id string) elect.Members {
	l := threeMembers()
	for i := range l {
		l[i].Removed = l[i].ID == id
	}
	return l
}

// TestRemovedPeer: nothing of a removed member counts, is granted or obeyed, on any level; one that
// knows more of this history than this node does knows better.
func TestRemovedPeer(t *testing.T) {
	for level := elect.Available; level <= elect.Durable; level++ {
		b := newBox(t, func(c *elect.Config) { c.Safety = level })
		b.up("a", "c")
		b.wait(1600 * time.Millisecond) // its own start binds it
		b.beat("a", nil)
		b.step(elect.Remembered{Members: without("a")})
		high := volume.Epoch{Number: 9, Leader: "a", Tag: 5}
		leads := func(h *elect.Heartbeat) { h.Promise, h.Leading = high, high }
		effects := b.step(elect.Received{From: "a", Message: &elect.Claim{Epoch: high}})
		effects = append(effects, b.step(elect.Received{From: "a", Message: &elect.Ask{Round: 3}})...)
		effects = append(effects, b.beat("a", leads)...)
		if has[elect.Save](effects) || len(sent[*elect.ClaimAnswer](effects, "a")) > 0 || len(sent[*elect.Answer](effects, "a")) > 0 {
			t.Errorf("level %d: %s", level, show(effects))
		}
		for _, p := range b.m.Status().Peers {
			if p.ID == "a" && (p.Counts || p.Reachable) {
				t.Errorf("level %d: %+v", level, p)
			}
		}
		b.step(elect.PeerDown{ID: "a"})
		b.step(elect.PeerUp{ID: "a", Newer: true})
		b.saved(b.beat("a", leads))
		if s := b.m.Status(); s.Leader != "a" {
			t.Errorf("level %d: one that knows more is not obeyed: %+v", level, s)
		}
		// It was removed, taken up again, and removed once more.
		b.step(elect.Remembered{Members: threeMembers()})
		if effects = b.step(elect.Remembered{Members: without("a")}); want[elect.Follow](t, effects).Leader != "" {
			t.Error("it is followed all the same")
		}
	}
}

// TestRemovedAsks: a removed node does not get the lead by asking for it, and a hand-over to one that is
// being removed is rolled back.
func TestRemovedAsks(t *testing.T) {
	b := newBox(t, nil)
	e := b.elected()
	b.up("a")
	for range 60 { // a is there for long enough
		b.beat("a", obeys(e))
		b.beat("c", obeys(e))
		b.wait(100 * time.Millisecond)
	}
	b.step(elect.Remembered{Members: without("a")})
	for _, insist := range []bool{false, true} {
		if effects := b.step(elect.Received{From: "a", Message: &elect.HandoverAsk{Reign: e, Insist: insist}}); has[elect.Drain](effects) || !b.m.Status().GateOpen {
			t.Error(show(effects))
		}
	}
	b.beat("c", obeys(e))
	if effects := b.step(elect.Handover{Request: 1, To: "c"}); !has[elect.Drain](effects) {
		t.Fatal(show(effects))
	}
	if d := want[elect.Done](t, b.step(elect.Remembered{Members: without("c")})); d.Err == nil || !b.m.Status().GateOpen {
		t.Errorf("%+v, %+v", d, b.m.Status())
	}
}

// TestRemovedSelf: a node leads no more once its own record says that it was removed, whoever insists; nor
// once another says so who knows more, until that one takes it again, or a leader has it as a
// follower, or an operator insists.
func TestRemovedSelf(t *testing.T) {
	b := newBox(t, nil)
	b.elected()
	if d := want[elect.StepDown](t, b.step(elect.Remembered{Members: without(self)})); !strings.Contains(d.Why, "removed") {
		t.Error(d.Why)
	}
	for _, insist := range []bool{false, true} {
		d := want[elect.Done](t, b.step(elect.Promote{Request: 1, AllowDataLoss: insist}))
		if volume.KindOf(d.Err) != volume.Precondition || !strings.Contains(d.Err.Error(), "member add") {
			t.Errorf("insist %t: %v", insist, d.Err)
		}
	}
	b.step(elect.Remembered{Members: threeMembers()})
	if s := b.m.Status(); s.Unfit != "" {
		t.Errorf("taken up again, and unfit: %s", s.Unfit)
	}

	removed := func() bool { return strings.Contains(b.m.Status().Unfit, "removed") }
	b = newBox(t, nil)
	b.elected()
	want[elect.StepDown](t, b.step(elect.Expelled{By: "a"}))
	b.step(elect.PeerUp{ID: "c"})
	if !removed() {
		t.Error("it may lead because another takes it")
	}
	if b.step(elect.PeerUp{ID: "a"}); removed() {
		t.Error("it may not lead although it is taken again")
	}
	b.step(elect.Expelled{By: "a"})
	e := volume.Epoch{Number: 9, Leader: "c", Tag: 5}
	if b.saved(b.beat("c", func(h *elect.Heartbeat) { h.Promise, h.Leading = e, e })); removed() || b.m.Status().Leader != "c" {
		t.Errorf("a leader takes it: %+v", b.m.Status())
	}
	if b.step(elect.Expelled{By: "a"}); removed() {
		t.Error("somebody who does not lead knows better than the leader")
	}
	b = newBox(t, nil)
	b.wait(2 * time.Second)
	b.step(elect.Expelled{By: "a"})
	if d := want[elect.Done](t, b.step(elect.Promote{Request: 1})); volume.KindOf(d.Err) != volume.Precondition {
		t.Errorf("promoted: %v", d.Err)
	}
	effects := b.step(elect.Promote{Request: 2, AllowDataLoss: true})
	for i := 0; i < 10 && !has[elect.Save](effects); i++ {
		effects = b.wait(50 * time.Millisecond)
	}
	e = want[elect.Lead](t, b.saved(effects)).Epoch
	b.step(elect.Ready{Epoch: e})
	if effects = b.step(elect.Expelled{By: "a"}); has[elect.StepDown](effects) {
		t.Error("an operator insisted")
	}
}
