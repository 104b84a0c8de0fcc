//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// TestSyncFromFollowers: a new follower gets its content from the other followers with chunks, too; one
// that is killed in the middle of that, or stops answering, is done without.
func TestSyncFromFollowers(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta", "gamma", "delta")
	beta, gamma, fresh := b.Followers[0], b.Followers[1], b.Followers[2]
	b.keepsDir(gamma, "elsewhere")
	// The directory was full before: nobody can get it by the log.
	size := 60
	if !testing.Short() {
		size = 400
	}
	b.ok(cluster.Shell(b.Leader.Mount, some+fmt.Sprintf("mkdir -p m; for i in $(seq %d); do head -c 1000000 /dev/urandom >m/$i; done", size), time.Minute))
	b.must(b.Leader.StartReady(readyTimeout))
	for _, f := range []*cluster.Node{beta, gamma} {
		b.must(f.StartReady(time.Minute))
	}
	b.shell("echo later >m/later; printf changed | dd of=m/3 bs=1 seek=1000 conv=notrunc status=none")
	b.must(fresh.StartReady(time.Minute))
	b.equal()
	sent := map[string]uint64{}
	for _, n := range []*cluster.Node{b.Leader, beta, gamma} {
		sent[n.ID] = contentFrom(t, fresh, n.ID)
	}
	t.Logf("content came from %v", sent)
	for _, id := range []string{"alpha", "beta"} {
		if sent[id] < mib {
			t.Errorf("%s sent %d bytes", id, sent[id])
		}
	}
	if sent["gamma"] > 0 {
		t.Errorf("a follower with a plain directory, which nothing vouches for, sent %d bytes", sent["gamma"])
	}
	if sum := sent["alpha"] + sent["beta"] + sent["gamma"]; sum < uint64(size)*1_000_000 || sum > uint64(size+20)*1_100_000 {
		t.Errorf("%d bytes came in all", sum)
	}
	b.wantVerified(b.Leader)
	// Again, with one killed and one standing still in the middle.
	before := strings.Count(fresh.Log(), "the copy is consistent")
	b.ok(fresh.Ctl(10*time.Second, "resync", "--full"))
	waitFor(b, "content from beta", func() bool { return contentFrom(t, fresh, "beta") > sent["beta"] })
	b.must(beta.Kill9())
	if !testing.Short() { // it costs what patience there is with it
		b.must(gamma.Proc().Signal(unix.SIGSTOP))
	}
	waitFor(b, "the copy", func() bool { return strings.Count(fresh.Log(), "the copy is consistent") > before })
	b.must(gamma.Proc().Signal(unix.SIGCONT))
	b.must(beta.StartReady(readyTimeout))
	b.must(fresh.WaitReady(time.Minute))
	b.equal()
	b.wantVerified(b.Leader)
}

// waitFor waits for something that a node does by itself.
func waitFor(b *bed, what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("waited in vain for ", what)
		}
	}
}
