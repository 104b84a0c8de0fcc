package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Hooks are run one at a time and in order, also slow ones; of those that wait the newest is run, also when
// the daemon stops; following one leader in one epoch is begun once.
func TestHooksInOrder(t *testing.T) {
	n := bareNode(t, "b")
	dir := t.TempDir()
	out, slow, goes := filepath.Join(dir, "out"), filepath.Join(dir, "slow"), filepath.Join(dir, "goes")
	script := "#!/bin/sh\nif test $WOLFDISK_ROLE = leader; then until test -e '" + goes + "'; do sleep 0.02; done; fi\necho \"$WOLFDISK_ROLE $1 $2 $WOLFDISK_LEADER_ID.\" >>'" + out + "'\n"
	if err := os.WriteFile(slow, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	n.cfg.Hooks.OnLeader, n.cfg.Hooks.OnFollower, n.cfg.Node.StopTimeout = slow, slow, time.Minute
	n.runHook("follower", "a", epoch(1, "a"))
	n.group.Wait()
	n.runHook("follower", "a", epoch(1, "a"))
	n.runHook("leader", "b", epoch(2, "b"))
	for waits := true; waits; time.Sleep(time.Millisecond) { // until it runs
		n.hooks.mu.Lock()
		waits = n.hooks.waiting != nil
		n.hooks.mu.Unlock()
	}
	n.runHook("follower", "", epoch(2, "b"))
	n.runHook("follower", "c", epoch(3, "c"))
	n.runHook("follower", "c", epoch(3, "c"))
	n.runHook("follower", "c", epoch(4, "c"))
	n.cancel(nil)
	if err := os.WriteFile(goes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.group.Wait()
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	e := func(number uint64, leader string) string { return epoch(number, leader).String() }
	want := "follower b " + e(1, "a") + " a.\nleader b " + e(2, "b") + " b.\nfollower b " + e(4, "c") + " c.\n"
	if string(got) != want {
		t.Errorf("hooks ran as\n%s, want\n%s", got, want)
	}

	// One that ends is not in the way of those that come later.
	n = bareNode(t, "b")
	n.cfg.Hooks.OnFollower = slow
	n.runHook("follower", "a", epoch(5, "a"))
	n.group.Wait()
	n.runHook("follower", "c", epoch(6, "c"))
	n.group.Wait()
	if now, _ := os.ReadFile(out); string(now) != want+"follower b "+e(5, "a")+" a.\nfollower b "+e(6, "c")+" c.\n" {
		t.Errorf("then hooks ran as\n%s", now)
	}
}

// One that hangs does not keep a daemon from stopping.
func TestHungHook(t *testing.T) {
	n := bareNode(t, "b")
	path := filepath.Join(t.TempDir(), "hung")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.cfg.Hooks.OnLeader, n.cfg.Hooks.OnFollower, n.cfg.Node.StopTimeout = path, path, 10*time.Millisecond
	n.runHook("leader", "b", epoch(2, "b"))
	n.runHook("follower", "", epoch(2, "b"))
	n.cancel(nil)
	ended := make(chan bool)
	go func() {
		n.group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for its hook")
	}
}
