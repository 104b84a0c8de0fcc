package elect_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// box drives one machine by hand. The other nodes are what the test says of them.
type box struct {
	t     *testing.T
	m     *elect.Machine
	now   time.Duration
	copy  elect.Copy
	beats map[string]uint64
	last  []elect.Effect
}

const self = "b"

// newBox makes node b, which knows members a, b, c and holds five ops that a wrote.
func newBox(t *testing.T, change func(*elect.Config)) *box {
	cfg := elect.Config{ID: self, Started: 1, Random: 7, Reclaim: true}
	if change != nil {
		change(&cfg)
	}
	b := &box{t: t, now: time.Hour, beats: map[string]uint64{}, copy: *history(abc, reign(1, "a", 5, abc...))}
	b.m = elect.New(cfg, elect.State{NodeID: self, Store: store(self), Promise: b.copy.Position.Epoch}, b.copy, threeMembers(), b.now)
	return b
}

func store(id string) (s volume.ID) { s[0] = id[0]; return s }

func threeMembers() (l elect.Members) {
	for _, id := range abc {
		l = append(l, volume.Member{ID: id, Store: store(id)})
	}
	return l
}

func (b *box) step(ev elect.Event) []elect.Effect {
	b.last = b.m.Step(b.now, ev)
	return b.last
}

// wait lets time pass in ticks.
func (b *box) wait(d time.Duration) (all []elect.Effect) {
	for end := b.now + d; b.now < end; {
		b.now += 50 * time.Millisecond
		b.step(elect.Local{Copy: b.copy})
		all = append(all, b.last...)
		all = append(all, b.step(elect.Tick{})...)
	}
	return all
}

// beat has a peer send a heartbeat.
func (b *box) beat(id string, change func(*elect.Heartbeat)) []elect.Effect {
	b.beats[id]++
	h := &elect.Heartbeat{Started: 1, Seq: b.beats[id], Sent: b.now, Promise: b.copy.Position.Epoch, Position: b.copy.Position, Store: store(id), Flags: 7}
	if change != nil {
		change(h)
	}
	return b.step(elect.Received{From: id, Message: h})
}

func (b *box) up(ids ...string) {
	for _, id := range ids {
		b.step(elect.PeerUp{ID: id})
		b.beat(id, nil)
	}
}

// want finds the one effect of a type.
func want[E elect.Effect](t *testing.T, effects []elect.Effect) (e E) {
	t.Helper()
	found := 0
	for _, x := range effects {
		if x, ok := x.(E); ok {
			e = x
			found++
		}
	}
	if found != 1 {
		t.Fatalf("%d effects %T in %s", found, e, show(effects))
	}
	return e
}

func has[E elect.Effect](effects []elect.Effect) bool {
	return slices.ContainsFunc(effects, func(x elect.Effect) bool { _, ok := x.(E); return ok })
}

// sent finds the messages of a type that are sent to somebody.
func sent[M elect.Message](effects []elect.Effect, to string) (list []M) {
	for _, x := range effects {
		if s, ok := x.(elect.Send); ok && s.To == to {
			if m, ok := s.Message.(M); ok {
				list = append(list, m)
			}
		}
	}
	return list
}

func show(effects []elect.Effect) string {
	var s []string
	for _, e := range effects {
		if e, ok := e.(elect.Send); ok {
			s = append(s, fmt.Sprintf("%T to %s", e.Message, e.To))
			continue
		}
		s = append(s, fmt.Sprintf("%T%+v", e, e))
	}
	return strings.Join(s, "\n")
}

func (b *box) saved(effects []elect.Effect) []elect.Effect {
	b.t.Helper()
	s := want[elect.Save](b.t, effects)
	return b.step(elect.Saved{Seq: s.Seq, Copy: b.copy})
}

// elected makes b the leader of a cluster in which everybody grants.
func (b *box) elected() volume.Epoch {
	b.t.Helper()
	b.up("c")
	effects := b.wait(50 * time.Millisecond)
	for i := 0; i < 60 && len(sent[*elect.Ask](effects, "c")) == 0; i++ {
		b.beat("c", nil)
		effects = b.wait(50 * time.Millisecond)
	}
	ask := sent[*elect.Ask](effects, "c")[0]
	effects = b.step(elect.Received{From: "c", Message: &elect.Answer{Round: ask.Round, Promise: b.copy.Position.Epoch, Copy: b.copy}})
	claim := sent[*elect.Claim](b.saved(effects), "c")[0]
	effects = b.step(elect.Received{From: "c", Message: &elect.ClaimAnswer{Epoch: claim.Epoch, Granted: true, Promise: claim.Epoch, Copy: b.copy}})
	lead := want[elect.Lead](b.t, effects)
	if got := strings.Join(lead.Participants, " "); got != "b c" {
		b.t.Fatalf("participants %s", got)
	}
	b.step(elect.Ready{Epoch: lead.Epoch})
	return lead.Epoch
}

func obeys(e volume.Epoch) func(*elect.Heartbeat) {
	return func(h *elect.Heartbeat) { h.Promise = e }
}

func TestTakeOver(t *testing.T) {
	b := newBox(t, nil)
	e := b.elected()
	if e.Number < 2 || e.Leader != self || e.Tag == 0 {
		t.Errorf("epoch %s", e)
	}
	if g := want[elect.Gate](t, b.last); !g.Open || g.Until != b.now+time.Second {
		t.Errorf("gate %+v", g)
	}
	if s := b.m.Status(); s.Phase != elect.Leading || s.Leader != self || s.Epoch != e || !s.GateOpen {
		t.Errorf("status %+v", s)
	}
}

// TestPromiseBeforeGrant: nothing is granted or followed before it is on disk, and nothing
// any more once the disk refused.
func TestPromiseBeforeGrant(t *testing.T) {
	claim := elect.Claim{Epoch: volume.Epoch{Number: 2, Leader: "c", Tag: 3}}
	b := newBox(t, nil)
	b.up("c")
	effects := b.step(elect.Received{From: "c", Message: &claim})
	if s := want[elect.Save](t, effects); s.State.Promise != claim.Epoch || len(sent[*elect.ClaimAnswer](effects, "c")) != 0 {
		t.Fatal(show(effects))
	}
	if a := sent[*elect.ClaimAnswer](b.saved(effects), "c"); len(a) != 1 || !a[0].Granted || a[0].Promise != claim.Epoch {
		t.Fatal(show(b.last))
	}
	leads := func(h *elect.Heartbeat) {
		h.Promise, h.Leading = volume.Epoch{Number: 4, Leader: "c", Tag: 3}, volume.Epoch{Number: 4, Leader: "c", Tag: 3}
	}
	effects = b.beat("c", leads)
	if has[elect.Follow](effects) {
		t.Fatal(show(effects))
	}
	effects = b.step(elect.SaveFailed{Err: errors.New("no")})
	want[elect.Alarm](t, effects)
	effects = append(b.wait(3*time.Second), b.step(elect.Received{From: "c", Message: &elect.Claim{Epoch: volume.Epoch{Number: 7, Leader: "c"}}})...)
	if has[elect.Save](effects) || has[elect.Follow](effects) || len(sent[*elect.ClaimAnswer](effects, "c")) != 0 {
		t.Fatal(show(effects))
	}
}

func TestClaimsRefused(t *testing.T) {
	for _, row := range []struct {
		name  string
		epoch volume.Epoch
		leads bool // this node follows a when the claim comes
	}{
		{"below the promise", volume.Epoch{Number: 1, Leader: "c", Tag: 1}, false},
		{"a leader is heard", volume.Epoch{Number: 5, Leader: "c", Tag: 1}, true},
	} {
		b := newBox(t, nil)
		b.up("a", "c")
		if row.leads {
			e := volume.Epoch{Number: 2, Leader: "a", Tag: 9}
			b.saved(b.beat("a", func(h *elect.Heartbeat) { h.Promise, h.Leading = e, e }))
		}
		effects := b.step(elect.Received{From: "c", Message: &elect.Claim{Epoch: row.epoch}})
		a := sent[*elect.ClaimAnswer](effects, "c")
		if len(a) != 1 || a[0].Granted || row.leads != (a[0].Left > 0) {
			t.Errorf("%s: %s", row.name, show(effects))
		}
	}
	b := newBox(t, nil)
	b.up("a", "c")
	effects := b.step(elect.Received{From: "c", Message: &elect.Claim{Epoch: volume.Epoch{Number: 5, Leader: "a", Tag: 1}}})
	if has[elect.Save](effects) {
		t.Error("a claim in the name of another was granted")
	}
}

// TestSetBackClaims: a node whose disk was set back may claim the number of a reign of its own once
// more. Whoever knows that reign refuses, and if nobody told, the reign is found by the catch-up.
func TestSetBackClaims(t *testing.T) {
	b := newBox(t, nil)
	b.up("a")
	own := b.copy.Position.Epoch
	effects := b.step(elect.Received{From: "a", Message: &elect.Claim{Epoch: volume.Epoch{Number: own.Number, Leader: "a", Tag: own.Tag + 1}}})
	if a := sent[*elect.ClaimAnswer](effects, "a"); len(a) != 1 || a[0].Granted || a[0].Promise != own {
		t.Fatal(show(effects))
	}

	b = newBox(t, nil)
	b.up("c")
	effects = b.wait(50 * time.Millisecond)
	for i := 0; i < 60 && len(sent[*elect.Ask](effects, "c")) == 0; i++ {
		b.beat("c", nil)
		effects = b.wait(50 * time.Millisecond)
	}
	ask := sent[*elect.Ask](effects, "c")[0]
	effects = b.step(elect.Received{From: "c", Message: &elect.Answer{Round: ask.Round, Promise: own, Copy: b.copy}})
	claim := sent[*elect.Claim](b.saved(effects), "c")[0].Epoch
	longer := *history(abc, reign(1, "a", 5, abc...), reign(claim.Number, self, 3, abc...))
	effects = b.step(elect.Received{From: "c", Message: &elect.ClaimAnswer{Epoch: claim, Granted: true, Promise: claim, Copy: longer}})
	if c := want[elect.CatchUp](t, effects); c.From != "c" {
		t.Fatal(show(effects))
	}
	b.copy = longer
	if effects = b.step(elect.CaughtUp{Epoch: claim, Copy: longer}); has[elect.Lead](effects) {
		t.Fatal("it leads in an epoch whose number its history has:", show(effects))
	}
	next := volume.Epoch{}
	for i := 0; i < 60 && next.IsZero(); i++ {
		b.beat("c", nil)
		effects := b.wait(50 * time.Millisecond)
		if asks := sent[*elect.Ask](effects, "c"); len(asks) > 0 {
			effects = b.step(elect.Received{From: "c", Message: &elect.Answer{Round: asks[0].Round, Promise: claim, Copy: longer}})
			next = sent[*elect.Claim](b.saved(effects), "c")[0].Epoch
		}
	}
	if next.Number <= claim.Number {
		t.Errorf("then it claims %s", next)
	}
}

// TestEqualClaims: of equal claims the lower ID wins.
func TestEqualClaims(t *testing.T) {
	b := newBox(t, nil)
	b.up("a", "c")
	for i, row := range []struct {
		id      string
		granted bool
	}{{"c", true}, {"a", true}, {"c", false}} {
		effects := b.step(elect.Received{From: row.id, Message: &elect.Claim{Epoch: volume.Epoch{Number: 2, Leader: row.id, Tag: uint32(i + 1)}}})
		if has[elect.Save](effects) != row.granted {
			t.Errorf("claim %d of %s: %s", i, row.id, show(effects))
		}
	}
}

// TestBootAlone: a node that sees nobody waits, and then does what its level says.
func TestBootAlone(t *testing.T) {
	for _, row := range []struct {
		safety elect.Safety
		alone  elect.OnBootAlone
		leads  bool
	}{
		{elect.Available, elect.BootByLevel, true},
		{elect.Available, elect.BootWait, false},
		{elect.Fenced, elect.BootByLevel, false},
		{elect.Durable, elect.BootByLevel, false},
		{elect.Fenced, elect.BootLead, false}, // there is no majority
	} {
		b := newBox(t, func(c *elect.Config) { c.Safety, c.OnBootAlone = row.safety, row.alone })
		if has[elect.Save](b.wait(29 * time.Second)) {
			t.Errorf("%+v: a claim before boot_wait", row)
		}
		if got := strings.Join(b.m.Status().Unseen, " "); got != "a c" {
			t.Errorf("unseen %q", got)
		}
		if got := has[elect.Save](b.wait(3 * time.Second)); got != row.leads {
			t.Errorf("%+v: claims %t", row, got)
		}
	}
}

// TestBootSeen: all that could have led, or a majority, is enough.
func TestBootSeen(t *testing.T) {
	b := newBox(t, nil)
	b.up("a")
	if effects := b.wait(time.Second); len(sent[*elect.Ask](effects, "a")) == 0 {
		t.Error("two of three are a majority")
	}
}

// TestBootSilent: who starts gives members that never lead a moment to say what they hold, and no
// more than that.
func TestBootSilent(t *testing.T) {
	boot := func() *box {
		b := newBox(t, nil)
		b.step(elect.Remembered{Members: elect.Members{{ID: self, Store: store(self), Role: volume.RoleLeader}, {ID: "f", Store: store("f"), Role: volume.RoleFollower}}})
		return b
	}
	b := boot()
	if has[elect.Save](b.wait(900 * time.Millisecond)) {
		t.Error("it claims before it has heard the follower")
	}
	if !has[elect.Save](b.wait(300 * time.Millisecond)) {
		t.Error("it waits for a follower that is away")
	}
	b = boot()
	b.wait(200 * time.Millisecond)
	b.up("f")
	if effects := b.last; len(sent[*elect.Ask](effects, "f")) == 0 {
		t.Errorf("it goes on waiting when it has heard the follower: %s", show(effects))
	}
}

func TestRanks(t *testing.T) {
	b := newBox(t, nil)
	b.up("a", "c")
	ready := func(h *elect.Heartbeat) { h.Flags = 7 }
	if effects := b.wait(50 * time.Millisecond); len(sent[*elect.Ask](effects, "c")) != 0 {
		t.Error("node a comes first")
	}
	b.beat("a", ready)
	if effects := b.wait(100 * time.Millisecond); len(sent[*elect.Ask](effects, "c")) == 0 {
		t.Error("the second candidate waits 100 ms more, and then goes on")
	}
}

func TestNotEligible(t *testing.T) {
	for name, change := range map[string]func(*box){
		"empty":       func(b *box) { b.copy = elect.Copy{} },
		"complete":    func(b *box) { b.copy.Consistent = false },
		"reconciled":  func(b *box) { b.copy.Reconciling = true },
		"store":       func(b *box) { b.step(elect.Remembered{Members: elect.Members{{ID: self, Store: store("x")}}}) },
		"removed":     func(b *box) { b.step(elect.Remembered{Members: elect.Members{{ID: self, Removed: true}}}) },
		"role":        nil,
		"others hold": func(b *box) { b.copy = elect.Copy{Founder: true} },
		"others hold ": func(b *box) {
			b.copy = elect.Copy{Founder: true}
			b.step(elect.Remembered{Members: elect.Members{{ID: self, Store: store(self)}, {ID: "d"}}})
		},
	} {
		b := newBox(t, func(c *elect.Config) {
			if name == "role" {
				c.Role = volume.RoleFollower
			}
		})
		if change != nil {
			change(b)
		}
		b.up("a", "c")
		if effects := b.wait(40 * time.Second); has[elect.Save](effects) || len(sent[*elect.Ask](effects, "c")) != 0 {
			t.Errorf("%s: becomes a candidate", name)
		}
		if got := b.m.Status().Unfit; !strings.Contains(got, strings.TrimSpace(name)) {
			t.Errorf("%s: unfit because %q", name, got)
		}
		if name == "store" {
			continue // an operator may insist: TestInsistReplaced
		}
		effects := b.step(elect.Promote{Request: 3, AllowDataLoss: true})
		if d := want[elect.Done](t, effects); volume.KindOf(d.Err) != volume.Precondition {
			t.Errorf("%s: promoted: %v", name, d.Err)
		}
	}
}

// TestFoundAgain: a founder that was killed before its volume was whole is its only member, and
// founds anew.
func TestFoundAgain(t *testing.T) {
	m := elect.New(elect.Config{ID: "b", Random: 1}, elect.State{NodeID: "b", Store: store("b")}, elect.Copy{Founder: true}, elect.Members{{ID: "b", Store: store("b")}}, 0)
	for now := time.Duration(0); now < 5*time.Second; now += 50 * time.Millisecond {
		if has[elect.Save](m.Step(now, elect.Tick{})) {
			return
		}
	}
	t.Errorf("it does not found: %s", m.Status().Unfit)
}

// TestFound: a founder looks for others, and then makes the first epoch.
func TestFound(t *testing.T) {
	m := elect.New(elect.Config{ID: "b", Random: 1}, elect.State{}, elect.Copy{Founder: true}, nil, 0)
	var effects []elect.Effect
	for now := time.Duration(0); now < 2*time.Second && !has[elect.Save](effects); now += 50 * time.Millisecond {
		if effects = m.Step(now, elect.Tick{}); has[elect.Save](effects) && now < time.Second {
			t.Errorf("founds after %v", now)
		}
	}
	s := want[elect.Save](t, effects)
	lead := want[elect.Lead](t, m.Step(2*time.Second, elect.Saved{Seq: s.Seq, Copy: elect.Copy{Founder: true}}))
	if lead.Epoch != (volume.Epoch{Number: 1, Leader: "b"}) {
		t.Errorf("first epoch %s", lead.Epoch)
	}
}

func TestLastEpoch(t *testing.T) {
	b := newBox(t, nil)
	b.up("c")
	b.beat("c", func(h *elect.Heartbeat) { h.Promise = volume.Epoch{Number: math.MaxUint64, Leader: "c"} })
	effects := b.wait(2 * time.Second)
	if a := want[elect.Alarm](t, effects); a.Reason != elect.AlarmEpochs || has[elect.Save](effects) {
		t.Error(show(effects))
	}
}

// TestWhoCounts: a member with another store, or one that forgot its promise, is not a voter.
func TestWhoCounts(t *testing.T) {
	b := newBox(t, func(c *elect.Config) { c.Safety = elect.Fenced })
	b.up("a", "c")
	if _, have := b.m.Quorum(); have != 3 {
		t.Errorf("%d count", have)
	}
	effects := b.beat("a", func(h *elect.Heartbeat) { h.Store = store("x") })
	if a := want[elect.Alarm](t, effects); a.Reason != elect.AlarmStore || a.Peer != "a" {
		t.Errorf("%+v", a)
	}
	effects = b.beat("c", func(h *elect.Heartbeat) { h.Promise, h.Position.Version = volume.Epoch{}, 2 })
	if a := want[elect.Alarm](t, effects); a.Reason != elect.AlarmSetBack || a.Peer != "c" {
		t.Errorf("%+v", a)
	}
	if _, have := b.m.Quorum(); have != 1 {
		t.Errorf("%d count", have)
	}
	b.beat("c", func(h *elect.Heartbeat) { h.Position.Version = 4 })
	if _, have := b.m.Quorum(); have != 1 {
		t.Error("it has its promise again, and not its ops")
	}
	b.beat("c", nil)
	if _, have := b.m.Quorum(); have != 2 {
		t.Error("it has caught up")
	}
}

// TestStaleHeartbeats: what was overtaken changes nothing, and a new session begins anew.
func TestStaleHeartbeats(t *testing.T) {
	b := newBox(t, nil)
	b.up("c")
	b.beat("c", nil)
	b.step(elect.Received{From: "c", Message: &elect.Heartbeat{Started: 1, Seq: 1, Promise: volume.Epoch{Number: 9, Leader: "c"}, Store: store("z")}})
	if p := b.m.Status().Peers[0]; !p.Counts {
		t.Error("an old heartbeat counts")
	}
	b.step(elect.PeerDown{ID: "c"})
	b.step(elect.Received{From: "c", Message: &elect.Heartbeat{Started: 3, Seq: 1, Store: store("z")}})
	if p := b.m.Status().Peers[0]; !p.Counts || p.Connected {
		t.Error("a message without a session counts")
	}
	b.step(elect.PeerUp{ID: "c"})
	b.step(elect.Received{From: "c", Message: &elect.Heartbeat{Started: 0, Seq: 1, Store: store("z")}})
	if p := b.m.Status().Peers[0]; p.Counts {
		t.Error("the first heartbeat of a session does not count")
	}
}

// FuzzStep: nothing that a peer can say makes a machine panic, or grant before it has saved.
func FuzzStep(f *testing.F) {
	for i := range sampleMessages() {
		f.Add([]byte{byte(i), 1, 20, 2, byte(i), 3, 0, 4}, uint8(i))
	}
	f.Fuzz(func(t *testing.T, script []byte, safety uint8) {
		messages := sampleMessages()
		cfg := elect.Config{ID: "node-10", Safety: elect.Safety(safety % 3), Random: uint64(safety), Reclaim: true}
		c := sampleCopy()
		members := elect.Members{{ID: "node-9", Store: volume.ID{1, 2}}, {ID: "node-10", Store: volume.ID{9}}}
		m := elect.New(cfg, elect.State{NodeID: "node-10", Store: volume.ID{9}}, c, members, 0)
		m.Step(0, elect.PeerUp{ID: "node-9"})
		now, seq := time.Duration(0), uint64(0)
		for i := 0; i+1 < len(script); i += 2 {
			now += time.Duration(script[i+1]) * 10 * time.Millisecond
			var ev elect.Event = elect.Tick{}
			switch k := int(script[i]); {
			case k < 200:
				msg := messages[k%len(messages)]
				if h, ok := msg.(*elect.Heartbeat); ok {
					h.Seq += uint64(i)
				}
				ev = elect.Received{From: "node-9", Message: msg}
			case k < 215:
				ev = elect.Saved{Seq: seq, Copy: c}
			case k < 220:
				ev = elect.PeerDown{ID: "node-9"}
			case k < 225:
				ev = elect.PeerUp{ID: "node-9"}
			case k < 230:
				ev = elect.Promote{Request: 1, AllowDataLoss: true}
			case k < 235:
				ev = elect.Ready{Epoch: m.Status().Epoch}
			case k < 240:
				ev = elect.Handover{Request: 2}
			case k < 245:
				ev = elect.CaughtUp{Epoch: m.State().Promise, Copy: c}
			}
			for _, e := range m.Step(now, ev) {
				switch e := e.(type) {
				case elect.Save:
					seq = e.Seq
				case elect.Send:
					if a, ok := e.Message.(*elect.ClaimAnswer); ok && a.Granted && a.Promise.Compare(m.Status().Promise) > 0 {
						t.Fatal("granted before it was saved")
					}
				}
			}
		}
	})
}

// TestAlarms: a copy that contradicts ours, or is of another volume, changes nothing and
// is told once.
func TestAlarms(t *testing.T) {
	for _, row := range []struct {
		reason elect.AlarmReason
		change func(*elect.Copy)
	}{
		{elect.AlarmDamaged, func(c *elect.Copy) { c.Position.Digest[5] = 1 }},
		{elect.AlarmOtherVolume, func(c *elect.Copy) { c.Cluster[5] = 1 }},
	} {
		b := newBox(t, nil)
		b.up("a")
		e := volume.Epoch{Number: 6, Leader: "a", Tag: 1}
		theirs := b.copy
		row.change(&theirs)
		odd := func(h *elect.Heartbeat) {
			h.Promise, h.Leading, h.Position = e, e, theirs.Position
			h.Position.Digest[5] = 1
		}
		effects := b.beat("a", odd)
		if len(sent[*elect.Ask](effects, "a")) != 1 {
			t.Fatalf("nothing is asked: %s", show(effects))
		}
		effects = b.step(elect.Received{From: "a", Message: &elect.Answer{Copy: theirs}})
		effects = append(effects, b.beat("a", odd)...)
		if a := want[elect.Alarm](t, effects); a.Reason != row.reason || has[elect.Resolve](effects) {
			t.Errorf("%s", show(effects))
		}
	}
}
