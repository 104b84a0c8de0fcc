package elect_test

import (
	"slices"
	"testing"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// standing are the alarms about a peer that were given and not taken back.
type standing []elect.AlarmReason

func (s *standing) note(effects []elect.Effect, peer string) {
	for _, e := range effects {
		switch e := e.(type) {
		case elect.Alarm:
			if e.Peer == peer {
				*s = append(*s, e.Reason)
			}
		case elect.AlarmOver:
			*s = slices.DeleteFunc(*s, func(r elect.AlarmReason) bool { return e.Peer == peer && r == e.Reason })
		}
	}
}

func (s standing) are(t *testing.T, what string, want ...elect.AlarmReason) {
	t.Helper()
	if !slices.Equal(s, want) {
		t.Errorf("%s: alarms %v stand, not %v", what, s, want)
	}
}

// TestAlarmsEnd: what is said of a peer is taken back when it is so no more.
func TestAlarmsEnd(t *testing.T) {
	b := newBox(t, nil)
	b.up("a", "c")
	var about standing
	beat := func(change func(*elect.Heartbeat)) { about.note(b.beat("c", change), "c") }

	// Another store, until it is accepted or comes with its own.
	other := func(h *elect.Heartbeat) { h.Store = store("x") }
	beat(other)
	beat(other)
	about.are(t, "another store", elect.AlarmStore)
	accepted := threeMembers()
	accepted[2].Store = store("x")
	about.note(b.step(elect.Remembered{Members: accepted}), "c")
	about.are(t, "accepted")
	about.note(b.step(elect.Remembered{Members: threeMembers()}), "c")
	beat(other)
	about.are(t, "another store again", elect.AlarmStore)
	beat(nil)
	about.are(t, "its own store")

	// A promise forgotten, until it has what it had.
	beat(func(h *elect.Heartbeat) { h.Promise, h.Position.Version = volume.Epoch{}, 2 })
	about.are(t, "set back", elect.AlarmSetBack)
	beat(func(h *elect.Heartbeat) { h.Position.Version = 3 })
	about.are(t, "still behind", elect.AlarmSetBack)
	beat(nil)
	about.are(t, "caught up")
	beat(func(h *elect.Heartbeat) { h.Promise, h.Position.Version = volume.Epoch{}, 2 })
	about.note(b.step(elect.Remembered{Members: without("c")}), "c")
	about.are(t, "removed")
	b.step(elect.Remembered{Members: threeMembers()})
}

// TestCopyAlarmsEnd: the same of copies that contradict ours.
func TestCopyAlarmsEnd(t *testing.T) {
	for reason, change := range map[elect.AlarmReason]func(*elect.Copy){
		elect.AlarmDamaged:     func(c *elect.Copy) { c.Position.Digest[0] ^= 1 },
		elect.AlarmOtherVolume: func(c *elect.Copy) { c.Cluster[0], c.Position.Digest[0] = 9, 9 },
	} {
		b := newBox(t, nil)
		e := b.elected()
		var about standing
		theirs := b.copy
		change(&theirs)
		at := func(h *elect.Heartbeat) { h.Promise, h.Position = e, theirs.Position }
		about.note(b.beat("c", at), "c")
		about.note(b.step(elect.Received{From: "c", Message: &elect.Answer{Promise: e, Copy: theirs}}), "c")
		about.are(t, "contradiction", reason)
		about.note(b.beat("c", at), "c")
		about.are(t, "contradiction", reason)
		about.note(b.beat("c", obeys(e)), "c")
		about.are(t, "made anew")
	}
}
