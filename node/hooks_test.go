package node

import (
	"os"
	"path/filepath"
	"testing"
)

// Hooks are run one at a time and in order, also slow ones; following one leader in one epoch is begun once.
func TestHooksInOrder(t *testing.T) {
	n := bareNode(t, "b")
	dir := t.TempDir()
	out, slow := filepath.Join(dir, "out"), filepath.Join(dir, "slow")
	script := "#!/bin/sh\nif test $WOLFDISK_ROLE = leader; then sleep 0.3; fi\necho \"$WOLFDISK_ROLE $1 $2 $WOLFDISK_LEADER_ID.\" >>'" + out + "'\n"
	if err := os.WriteFile(slow, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	n.cfg.Hooks.OnLeader, n.cfg.Hooks.OnFollower = slow, slow
	n.runHook("follower", "a", epoch(1, "a"))
	n.runHook("follower", "a", epoch(1, "a"))
	n.runHook("leader", "b", epoch(2, "b"))
	n.runHook("follower", "", epoch(2, "b"))
	n.runHook("follower", "c", epoch(3, "c"))
	n.runHook("follower", "c", epoch(3, "c"))
	n.runHook("follower", "c", epoch(4, "c"))
	n.cancel(nil) // a daemon that stops runs them all the same
	n.group.Wait()
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	e := func(number uint64, leader string) string { return epoch(number, leader).String() }
	want := "follower b " + e(1, "a") + " a.\nleader b " + e(2, "b") + " b.\nfollower b " + e(2, "b") + " .\nfollower b " + e(3, "c") + " c.\nfollower b " + e(4, "c") + " c.\n"
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
