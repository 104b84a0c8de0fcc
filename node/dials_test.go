package node

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

// Addresses of the configuration are dialled for ever; one that was told is given up when nobody has
// answered there for long, and dialled again when it is named again.
func TestDialsExpire(t *testing.T) {
	keys, _, err := wire.LoadOrCreate(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	n := bareNode(t, "a")
	var mu sync.Mutex
	tried := map[string]int{}
	n.wire = &wire.Config{Keys: keys, NodeID: "a", Role: volume.RoleAuto, Store: volume.ID{1}, Log: zerolog.Nop(),
		Dialer: func(_ context.Context, addr string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			tried[addr]++
			return nil, errors.New("nobody is there")
		}}
	n.dials.list.Expire = 200 * time.Millisecond
	dialledAgain := func(addr string) bool {
		mu.Lock()
		before := tried[addr]
		mu.Unlock()
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			mu.Lock()
			again := tried[addr] > before
			mu.Unlock()
			if again {
				return true
			}
		}
		return false
	}
	running := func(addr string) bool {
		n.dials.tend()
		n.dials.mu.Lock()
		defer n.dials.mu.Unlock()
		return n.dials.running[addr] != nil
	}
	n.dials.static([]string{"static:1"})
	n.dials.members([]volume.Member{{ID: "a", Address: "self:1"}, {ID: "b", Address: "told:1"}, {ID: "c", Address: "removed:1", Removed: true}, {ID: "d"}})
	for _, addr := range []string{"static:1", "told:1"} {
		if !dialledAgain(addr) {
			t.Fatalf("%s is not dialled", addr)
		}
	}
	if running("self:1") || running("removed:1") || running("") {
		t.Error("this node, a removed one, or one without an address is dialled")
	}
	// A session with it keeps an address from expiring.
	err = n.dials.during("told:1", func() error {
		time.Sleep(300 * time.Millisecond)
		if !running("told:1") {
			t.Error("expired during a session")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if running("told:1") || !running("static:1") {
		t.Errorf("told: %v, want false; static: %v, want true", running("told:1"), running("static:1"))
	}
	n.dials.retry([]volume.Member{{ID: "b", Address: "told:1"}, {ID: "c", Address: "removed:1", Removed: true}})
	if !running("told:1") || !dialledAgain("told:1") || running("removed:1") {
		t.Error("a member's address that has expired is not tried again, or one is that was removed")
	}
	n.dials.told("told:1")
	if !dialledAgain("told:1") || !dialledAgain("static:1") {
		t.Error("not dialled again")
	}
	n.cancel(nil)
	n.group.Wait()
}
