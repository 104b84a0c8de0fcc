package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/node/admin"
)

// What is said about a stranger's address goes when he does, and is bounded.
func TestStrangers(t *testing.T) {
	n := bareNode(t, "a")
	now := time.Now()
	refused := admin.Warning{Code: "WD-1302", Text: "no"}
	w := &n.warnings
	if !w.stranger("10.0.0.1", refused, now) || w.stranger("10.0.0.1", refused, now) {
		t.Error("news is told once")
	}
	for i := range 1000 {
		w.stranger(fmt.Sprintf("10.0.1.%d", i), refused, now)
	}
	if got := len(w.list(now)); got != maxStrangers {
		t.Errorf("%d warnings, at most %d are allowed", got, maxStrangers)
	}
	w.stranger("10.0.0.1", refused, now.Add(strangerFor))
	if got := w.list(now.Add(strangerFor + time.Second)); len(got) != 1 || got[0] != refused {
		t.Errorf("what is left after a while is %v", got)
	}
	// A node of the cluster at that host takes it back at once, and what was said of itself.
	n.warnPeer("b", "WD-1304", "another")
	n.warnStranger("host:9500", "WD-1302", "no")
	n.unwarnPeer("b", "10.0.0.1:41000")
	n.unwarnPeer("c", "host:9500")
	if got := n.warnings.list(time.Now()); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

// What the election says of two nodes stands for each until it is taken back of that one.
func TestAlarms(t *testing.T) {
	n := bareNode(t, "a")
	codes := func() (list []string) {
		for _, w := range n.warnings.list(time.Now()) {
			list = append(list, w.Code+w.Text)
		}
		return list
	}
	n.alarm(elect.Alarm{Reason: elect.AlarmStore, Peer: "b", Text: " of b"})
	n.alarm(elect.Alarm{Reason: elect.AlarmStore, Peer: "c", Text: " of c"})
	n.alarm(elect.Alarm{Reason: elect.AlarmSetBack, Peer: "c", Text: " of c"})
	if got := codes(); !slices.Equal(got, []string{"WD-1321 of b", "WD-1321 of c", "WD-1322 of c"}) {
		t.Errorf("%q", got)
	}
	n.elector.do(elect.AlarmOver{Reason: elect.AlarmStore, Peer: "c"})
	if got := codes(); !slices.Equal(got, []string{"WD-1321 of b", "WD-1322 of c"}) {
		t.Errorf("%q", got)
	}
	n.elector.do(elect.AlarmOver{Reason: elect.AlarmSetBack, Peer: "c"})
	n.elector.do(elect.AlarmOver{Reason: elect.AlarmStore, Peer: "b"})
	if got := codes(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// One that was removed is warned of as long as it tries: it may never connect again.
func TestRemovedPeerWarning(t *testing.T) {
	n := bareNode(t, "a")
	n.warnPeer("x", "WD-1302", "another reason")
	n.warnPeer("x", codeRemoved, "it was removed")
	now := time.Now()
	if list := n.warnings.list(now); len(list) != 1 || list[0].Code != codeRemoved {
		t.Errorf("warns of %v", list)
	}
	if list := n.warnings.list(now.Add(2 * strangerFor)); len(list) > 0 {
		t.Errorf("still warns of %v", list)
	}
	n.warnPeer("x", codeRemoved, "it was removed")
	n.unwarnPeer("x", "127.0.0.1:1")
	if list := n.warnings.list(time.Now()); len(list) > 0 {
		t.Errorf("taken up again, and warns of %v", list)
	}
}
