package elect_test

import (
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// doneOf is how a request has ended.
func doneOf(t *testing.T, effects []elect.Effect, id uint64) error {
	t.Helper()
	for _, e := range effects {
		if d, ok := e.(elect.Done); ok && d.Request == id {
			return d.Err
		}
	}
	t.Fatalf("request %d has not ended: %s", id, show(effects))
	return nil
}

// TestRetired: who was demoted without a successor does not lead by itself any more, however long it
// waits, until somebody promotes it.
func TestRetired(t *testing.T) {
	b := newBox(t, nil)
	b.elected()
	b.beat("c", func(h *elect.Heartbeat) { h.Flags = 0 })
	if err := doneOf(t, b.step(elect.Demote{Request: 1, AllowDataLoss: true}), 1); err != nil {
		t.Fatal(err)
	}
	b.step(elect.PeerDown{ID: "c"})
	if effects := b.wait(time.Minute); has[elect.Save](effects) || has[elect.Lead](effects) {
		t.Error("it takes the lead back by itself")
	}
	if s := b.m.Status(); s.Unfit == "" {
		t.Error("status does not say why it does not lead")
	}
	effects := b.step(elect.Promote{Request: 2})
	for i := 0; i < 20 && !has[elect.Save](effects); i++ {
		effects = b.wait(50 * time.Millisecond)
	}
	b.step(elect.Ready{Epoch: want[elect.Lead](t, b.saved(effects)).Epoch})
	if b.m.Status().Phase != elect.Leading {
		t.Error("promoted, and it does not lead")
	}
}

// TestDemoteRollsBack: if the successor does not take over nothing has changed, also not that this node
// goes before others.
func TestDemoteRollsBack(t *testing.T) {
	b := newBox(t, nil)
	e := b.elected()
	b.beat("c", obeys(e))
	want[elect.Drain](t, b.step(elect.Demote{Request: 1}))
	if !b.m.Status().Demoted {
		t.Error("the others have to know while it hands over")
	}
	b.step(elect.Drained{Epoch: e, Copy: b.copy})
	var effects []elect.Effect
	for range 40 {
		b.beat("c", obeys(e))
		effects = append(effects, b.wait(100*time.Millisecond)...)
	}
	if err := doneOf(t, effects, 1); volume.KindOf(err) != volume.Unavailable || b.m.Status().Demoted || !b.m.Status().GateOpen {
		t.Errorf("%v, %+v", err, b.m.Status())
	}
}

// TestHandoverJoins: who asks for what is under way, or done, gets it.
func TestHandoverJoins(t *testing.T) {
	b := newBox(t, nil)
	e := b.elected()
	b.beat("c", obeys(e))
	b.step(elect.Handover{Request: 1}) // to anybody, who need not keep it
	for id, ev := range map[uint64]elect.Event{2: elect.Handover{Request: 2, To: "c"}, 3: elect.Handover{Request: 3}, 4: elect.Demote{Request: 4}} {
		if effects := b.step(ev); has[elect.Done](effects) {
			t.Errorf("request %d: %s", id, show(effects))
		}
	}
	b.step(elect.PeerUp{ID: "a"})
	b.beat("a", obeys(e))
	if err := doneOf(t, b.step(elect.Handover{Request: 5, To: "a"}), 5); volume.KindOf(err) != volume.Busy {
		t.Errorf("to another: %v", err)
	}
	effects := b.step(elect.Drained{Epoch: e, Copy: b.copy})
	if g := sent[*elect.HandoverGo](effects, "c"); len(g) != 1 || !g[0].Keep {
		t.Errorf("one operator chose it: %s", show(effects))
	}
	next := volume.Epoch{Number: e.Number + 1, Leader: "c", Tag: 1}
	effects = b.step(elect.Received{From: "c", Message: &elect.Claim{Epoch: next, Consent: e}})
	want[elect.StepDown](t, effects)
	b.saved(effects)
	// It has the grant, and does not say yet that it leads.
	if effects = b.step(elect.Handover{Request: 6, To: "c"}); has[elect.Done](effects) {
		t.Error(show(effects))
	}
	effects = b.beat("c", func(h *elect.Heartbeat) { h.Promise, h.Leading = next, next })
	for _, id := range []uint64{1, 2, 3, 4, 6} {
		if err := doneOf(t, effects, id); err != nil {
			t.Errorf("request %d: %v", id, err)
		}
	}
	if err := doneOf(t, b.step(elect.Handover{Request: 7, To: "c"}), 7); err != nil {
		t.Errorf("it leads: %v", err)
	}
	if err := doneOf(t, b.step(elect.Handover{Request: 8, To: "a"}), 8); volume.KindOf(err) != volume.Precondition {
		t.Errorf("to another, asked of one that follows: %v", err)
	}
}

// TestRequestsLast: a request is pursued for as long as who asks says, and until that one gives up.
func TestRequestsLast(t *testing.T) {
	minority := func(long time.Duration) *box {
		b := newBox(t, func(c *elect.Config) { c.Safety = elect.Fenced })
		b.up("a", "c")
		b.wait(2 * time.Second)
		b.step(elect.PeerDown{ID: "a"})
		b.step(elect.PeerDown{ID: "c"})
		b.wait(2 * time.Second)
		if effects := b.step(elect.Promote{Request: 1, For: long}); has[elect.Done](effects) {
			t.Fatal(show(effects))
		}
		return b
	}
	b := minority(0)
	if err := doneOf(t, b.wait(10*time.Second), 1); volume.KindOf(err) != volume.Unavailable {
		t.Error(err)
	}
	b = minority(time.Hour)
	if effects := b.wait(10 * time.Minute); has[elect.Done](effects) {
		t.Errorf("given up before its time: %s", show(effects))
	}
	if effects := append(b.step(elect.Cancel{Request: 1}), b.wait(time.Hour)...); has[elect.Done](effects) {
		t.Error("answered although nobody asks any more")
	}

	// The target of a hand-over may take its time to come near, as long as somebody waits for that.
	far := func(e volume.Epoch) func(*elect.Heartbeat) {
		return func(h *elect.Heartbeat) { h.Promise, h.Position = e, volume.Position{} }
	}
	for _, joined := range []bool{false, true} {
		b = newBox(t, nil)
		e := b.elected()
		b.beat("c", far(e))
		b.step(elect.Handover{Request: 1, To: "c", For: time.Hour})
		if joined {
			b.step(elect.Handover{Request: 2, To: "c", For: time.Hour})
		}
		for range 600 {
			b.beat("c", far(e))
			b.wait(100 * time.Millisecond)
		}
		if b.m.Status().Handover != "c" || !b.m.Status().GateOpen {
			t.Fatalf("%+v", b.m.Status())
		}
		b.step(elect.Cancel{Request: 1})
		if under := b.m.Status().Handover == "c"; under != joined {
			t.Errorf("joined %t: under way %t", joined, under)
		}
	}
}
