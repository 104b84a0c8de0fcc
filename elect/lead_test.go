package elect_test

import (
	"strings"
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// TestGateShutsFirst: whatever tells of a higher epoch, the first effect shuts the gate.
func TestGateShutsFirst(t *testing.T) {
	high := volume.Epoch{Number: 9, Leader: "c", Tag: 5}
	for name, msg := range map[string]elect.Message{
		"a promise":   &elect.Heartbeat{Started: 1, Seq: 1 << 30, Promise: high, Store: store("c")},
		"a leader":    &elect.Heartbeat{Started: 1, Seq: 1 << 30, Promise: high, Leading: high, Store: store("c")},
		"in a answer": &elect.Answer{Promise: high},
	} {
		b := newBox(t, nil)
		e := b.elected()
		effects := b.step(elect.Received{From: "c", Message: msg})
		if g, ok := effects[0].(elect.Gate); !ok || g.Open {
			t.Errorf("%s: %s", name, show(effects))
		}
		if s := want[elect.StepDown](t, effects); s.Epoch != e {
			t.Errorf("%s: steps down from %s", name, s.Epoch)
		}
	}
}

func TestPausedLeaderAsks(t *testing.T) {
	for _, higher := range []bool{false, true} {
		b := newBox(t, nil)
		e := b.elected()
		b.beat("c", obeys(e))
		b.now += 1200 * time.Millisecond
		effects := b.step(elect.Tick{})
		if g := want[elect.Gate](t, effects); g.Open {
			t.Fatal(show(effects))
		}
		promise := e
		if higher {
			promise = volume.Epoch{Number: 8, Leader: "c", Tag: 1}
		}
		ask := sent[*elect.Ask](effects, "c")[0]
		effects = b.step(elect.Received{From: "c", Message: &elect.Answer{Round: ask.Round, Promise: promise, Copy: b.copy}})
		if has[elect.StepDown](effects) != higher || has[elect.Gate](effects) == higher {
			t.Errorf("higher promise %t: %s", higher, show(effects))
		}
	}
}

func TestDiskTroubles(t *testing.T) {
	for name, change := range map[string]func(*elect.Local, time.Duration){
		"fails": func(l *elect.Local, _ time.Duration) { l.Failed = true },
		"hangs": func(l *elect.Local, now time.Duration) { l.Since = now - 10*time.Second },
	} {
		b := newBox(t, nil)
		b.elected()
		l := elect.Local{Copy: b.copy}
		change(&l, b.now)
		effects := b.step(l)
		if d := want[elect.StepDown](t, effects); !strings.Contains(d.Why, name) {
			t.Errorf("%s: %s", name, d.Why)
		}
		if s := b.m.Status(); !strings.Contains(s.Unfit, name) {
			t.Errorf("%s: unfit %q", name, s.Unfit)
		}
	}
	b := newBox(t, nil)
	b.elected()
	if effects := b.step(elect.Local{Copy: b.copy, Since: b.now - 9*time.Second}); has[elect.StepDown](effects) {
		t.Error("9 s are no hang")
	}
}

// TestLease: on level Fenced the gate is open for Lease after the sending of what a
// majority answered.
func TestLease(t *testing.T) {
	b := newBox(t, func(c *elect.Config) { c.Safety = elect.Fenced })
	e := b.elected()
	if b.m.Status().GateOpen {
		t.Error("open before anybody answered")
	}
	echo := b.now - 900*time.Millisecond
	effects := b.beat("c", func(h *elect.Heartbeat) { h.Promise, h.Echo = e, echo })
	if g := want[elect.Gate](t, effects); !g.Open || g.Until != echo+1200*time.Millisecond {
		t.Errorf("%+v", g)
	}
	if effects = b.wait(350 * time.Millisecond); want[elect.Gate](t, effects).Open {
		t.Error("open for longer than the lease")
	}
	b.beat("c", func(h *elect.Heartbeat) { h.Promise, h.Echo = volume.Epoch{}, b.now })
	if b.m.Status().GateOpen {
		t.Error("an answer that does not obey counts")
	}
}

// TestInsist: an operator may lead without a majority, until there is one.
func TestInsist(t *testing.T) {
	b := newBox(t, func(c *elect.Config) { c.Safety = elect.Durable })
	b.wait(2 * time.Second)
	effects := b.step(elect.Promote{Request: 1})
	if d := want[elect.Done](t, effects); volume.KindOf(d.Err) != volume.Precondition || !strings.Contains(d.Err.Error(), "a, c") {
		t.Errorf("%v", d.Err)
	}
	effects = b.step(elect.Promote{Request: 2, AllowDataLoss: true})
	for i := 0; i < 10 && !has[elect.Save](effects); i++ {
		effects = b.wait(50 * time.Millisecond)
	}
	e := want[elect.Lead](t, b.saved(effects)).Epoch
	effects = b.step(elect.Ready{Epoch: e})
	if d := want[elect.Done](t, effects); d.Request != 2 || d.Err != nil || !want[elect.Gate](t, effects).Open {
		t.Error(show(effects))
	}
	b.up("c")
	b.beat("c", func(h *elect.Heartbeat) { h.Promise, h.Echo = e, b.now })
	if effects = b.wait(2 * time.Second); b.m.Status().GateOpen {
		t.Error("there was a majority again, and it is gone")
	}
}

// TestInsistReplaced: a node whose store was replaced does not lead until somebody accepts it, which takes a
// leader. An operator who insists needs none.
func TestInsistReplaced(t *testing.T) {
	b := newBox(t, nil)
	b.step(elect.Remembered{Members: elect.Members{{ID: self, Store: store("x")}}})
	effects := b.step(elect.Promote{Request: 1})
	if d := want[elect.Done](t, effects); volume.KindOf(d.Err) != volume.Precondition || !strings.Contains(d.Err.Error(), "another store") {
		t.Errorf("%v", d.Err)
	}
	effects = b.step(elect.Promote{Request: 2, AllowDataLoss: true})
	for i := 0; i < 10 && !has[elect.Save](effects); i++ {
		effects = b.wait(50 * time.Millisecond)
	}
	e := want[elect.Lead](t, b.saved(effects)).Epoch
	if d := want[elect.Done](t, b.step(elect.Ready{Epoch: e})); d.Request != 2 || d.Err != nil {
		t.Errorf("%+v", d)
	}
	if s := b.m.Status(); s.Phase != elect.Leading {
		t.Errorf("it is %s", s.Phase)
	}
}

// TestHandoverRollsBack: a target that does not claim leaves everything as it was.
func TestHandoverRollsBack(t *testing.T) {
	b := newBox(t, nil)
	e := b.elected()
	b.beat("c", obeys(e))
	effects := b.step(elect.Handover{Request: 5, To: "c"})
	if g := want[elect.Gate](t, effects); g.Open {
		t.Fatal("calls go on")
	}
	want[elect.Drain](t, effects)
	effects = b.step(elect.Drained{Epoch: e, Copy: b.copy})
	if g := sent[*elect.HandoverGo](effects, "c"); len(g) != 1 || g[0].Position != b.copy.Position {
		t.Fatal(show(effects))
	}
	effects = nil
	for range 40 {
		b.beat("c", obeys(e))
		effects = append(effects, b.wait(100*time.Millisecond)...)
	}
	if d := want[elect.Done](t, effects); volume.KindOf(d.Err) != volume.Unavailable || !b.m.Status().GateOpen {
		t.Errorf("%v, %+v", d.Err, b.m.Status())
	}
	// The consent is void: the late claim is refused.
	effects = b.step(elect.Received{From: "c", Message: &elect.Claim{Epoch: volume.Epoch{Number: 7, Leader: "c", Tag: 1}, Consent: e}})
	if a := sent[*elect.ClaimAnswer](effects, "c"); len(a) != 1 || a[0].Granted || !b.m.Status().GateOpen {
		t.Error(show(effects))
	}
}

func TestRequestsRefused(t *testing.T) {
	b := newBox(t, nil)
	kind := func(effects []elect.Effect) volume.Kind { return volume.KindOf(want[elect.Done](t, effects).Err) }
	if k := kind(b.step(elect.Handover{Request: 1, To: "c"})); k != volume.Precondition {
		t.Errorf("a hand-over of one that does not lead: %v", k)
	}
	b.elected()
	b.beat("c", func(h *elect.Heartbeat) { h.Flags = 0 })
	for name, row := range map[string]struct {
		ev   elect.Event
		want volume.Kind
	}{
		"to nobody known":            {elect.Handover{Request: 2, To: "z"}, volume.Unavailable},
		"to one that cannot lead":    {elect.Handover{Request: 3, To: "c"}, volume.Busy},
		"to anybody":                 {elect.Handover{Request: 4}, volume.Precondition},
		"demoted with nobody behind": {elect.Demote{Request: 5}, volume.Precondition},
	} {
		if k := kind(b.step(row.ev)); k != row.want {
			t.Errorf("%s: %v", name, k)
		}
	}
	effects := b.step(elect.Demote{Request: 6, AllowDataLoss: true})
	if d := want[elect.Done](t, effects); d.Err != nil || !has[elect.StepDown](effects) {
		t.Error(show(effects))
	}
}

// TestKeep: a leader that an operator chose is not asked away by the lowest ID, one that
// took over by itself is.
func TestKeep(t *testing.T) {
	for _, keep := range []bool{false, true} {
		b := newBox(t, nil)
		b.up("a", "c")
		old := volume.Epoch{Number: 6, Leader: "c", Tag: 1}
		b.saved(b.beat("c", func(h *elect.Heartbeat) { h.Promise, h.Leading = old, old }))
		effects := b.step(elect.Received{From: "c", Message: &elect.HandoverGo{Reign: old, Position: b.copy.Position, Keep: keep}})
		claim := sent[*elect.Claim](b.saved(effects), "c")[0]
		if claim.Consent != old {
			t.Fatalf("consent %s", claim.Consent)
		}
		for _, id := range []string{"a", "c"} {
			effects = b.step(elect.Received{From: id, Message: &elect.ClaimAnswer{Epoch: claim.Epoch, Granted: true, Promise: claim.Epoch, Copy: b.copy}})
		}
		e := want[elect.Lead](t, effects).Epoch
		b.step(elect.Ready{Epoch: e})
		for range 80 { // a is there for long enough
			b.beat("a", obeys(e))
			b.beat("c", obeys(e))
			b.wait(100 * time.Millisecond)
		}
		effects = b.step(elect.Received{From: "a", Message: &elect.HandoverAsk{Reign: e}})
		if has[elect.Drain](effects) == keep {
			t.Errorf("keep %t: %s", keep, show(effects))
		}
		b.now += 20 * time.Second
		b.step(elect.Tick{})
	}
}

// TestEchoIsObedience: a node whose promise has gone beyond a leader answers its heartbeats
// no more, even before the promise is on disk.
func TestEchoIsObedience(t *testing.T) {
	b := newBox(t, nil)
	b.up("a", "c")
	e := volume.Epoch{Number: 6, Leader: "a", Tag: 1}
	leads := func(h *elect.Heartbeat) { h.Promise, h.Leading = e, e }
	b.saved(b.beat("a", leads))
	echo := func() time.Duration {
		t.Helper()
		b.beat("a", leads)
		effects := b.wait(100 * time.Millisecond)
		list := sent[*elect.Heartbeat](effects, "a")
		return list[len(list)-1].Echo
	}
	if echo() == 0 {
		t.Error("no answer to a leader that is obeyed")
	}
	b.step(elect.Received{From: "a", Message: &elect.HandoverGo{Reign: e, Position: b.copy.Position}})
	if got := b.m.Status().Phase; got != elect.Claiming {
		t.Fatal(got)
	}
	if echo() != 0 {
		t.Error("an answer to a leader that is left")
	}
}

// TestBound: above level Available a node that answered a leader grants nothing to others
// for as long as that leader may accept ops by the answer, whatever became of it here.
func TestBound(t *testing.T) {
	b := newBox(t, func(c *elect.Config) { c.Safety = elect.Fenced })
	b.up("a", "c")
	for range 40 { // its own start binds it too
		b.beat("a", nil)
		b.wait(40 * time.Millisecond)
	}
	e := volume.Epoch{Number: 6, Leader: "a", Tag: 1}
	b.saved(b.beat("a", func(h *elect.Heartbeat) { h.Promise, h.Leading = e, e }))
	b.step(elect.Received{From: "a", Message: &elect.HandoverGo{Reign: e, Position: b.copy.Position}})
	b.beat("c", nil)
	grants := func(number uint64) bool {
		return has[elect.Save](b.step(elect.Received{From: "c", Message: &elect.Claim{Epoch: volume.Epoch{Number: number, Leader: "c"}}}))
	}
	if grants(20) {
		t.Error("granted while the leader may still accept ops")
	}
	for range 16 {
		b.beat("c", nil)
		b.wait(100 * time.Millisecond)
	}
	if !grants(30) {
		t.Error("refused for ever")
	}
	b = newBox(t, func(c *elect.Config) { c.Safety = elect.Fenced })
	b.up("c")
	if grants(20) {
		t.Error("granted by a run that does not know what the one before answered")
	}
}

// TestFlapping: a node that comes back is handed the lead after the preempt delay, which
// doubles when it is lost again soon, and when it does not take what it is handed: here both
// happen from the second time on.
func TestFlapping(t *testing.T) {
	b := newBox(t, nil)
	e := b.elected()
	for i, delay := range []time.Duration{5 * time.Second, 10 * time.Second, 40 * time.Second} {
		b.up("a")
		back := b.now
		for {
			b.beat("a", obeys(e))
			b.beat("c", obeys(e))
			if has[elect.Drain](b.step(elect.Received{From: "a", Message: &elect.HandoverAsk{Reign: e}})) {
				break
			}
			if b.now-back > time.Minute {
				t.Fatalf("return %d: nothing is handed over", i)
			}
			b.wait(100 * time.Millisecond)
		}
		if got := b.now - back; got < delay || got > delay+200*time.Millisecond {
			t.Errorf("return %d: handed over after %v, not %v", i, got, delay)
		}
		b.step(elect.PeerDown{ID: "a"})
		for range 5 { // until what was begun is rolled back
			b.beat("c", obeys(e))
			b.wait(100 * time.Millisecond)
		}
	}
}

// TestReclaim: the lowest ID asks for the lead once it was in sync for the preempt delay,
// unless it is told not to.
func TestReclaim(t *testing.T) {
	for _, row := range []struct {
		reclaim bool
		leader  string
		asks    bool
	}{{true, "c", true}, {false, "c", false}, {true, "a", false}} {
		b := newBox(t, func(c *elect.Config) { c.Reclaim = row.reclaim })
		b.up("a", "c")
		e := volume.Epoch{Number: 6, Leader: row.leader, Tag: 1}
		leads := func(h *elect.Heartbeat) { h.Promise, h.Leading = e, e }
		b.saved(b.beat(row.leader, leads))
		began, asked := b.now, time.Duration(0)
		for b.now-began < 8*time.Second && asked == 0 {
			b.beat(row.leader, leads)
			if len(sent[*elect.HandoverAsk](b.wait(100*time.Millisecond), row.leader)) > 0 {
				asked = b.now - began
			}
		}
		if (asked != 0) != row.asks || row.asks && (asked < 5*time.Second || asked > 5200*time.Millisecond) {
			t.Errorf("%+v: asks after %v", row, asked)
		}
	}
}
