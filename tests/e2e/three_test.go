//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

// threeBed is a leader with three followers, of which one keeps a plain directory.
func threeBed(t *testing.T) (b *bed, plain *cluster.Node, dir string) {
	t.Helper()
	b = newBed(t, "beta", "gamma", "delta")
	plain = b.Followers[2]
	dir = b.keepsDir(plain, "elsewhere")
	b.must(b.Start(2 * readyTimeout))
	return b, plain, dir
}

// verified asks all nodes to be compared, by the leader and by a follower that is asked to.
func (b *bed) verified() {
	b.t.Helper()
	for _, f := range b.Followers {
		_, err := b.CatchUp(f, 5*time.Minute)
		b.must(err)
	}
	began := time.Now()
	b.wantVerified(b.Leader)
	b.t.Logf("verified in %v", time.Since(began).Round(time.Millisecond))
}

// TestThreeFollowers: what people do, and very many small files, on three followers of two
// kinds; after each of it `wolfdiskctl verify` finds all of them equal.
func TestThreeFollowers(t *testing.T) {
	t.Parallel()
	b, plain, dir := threeBed(t)
	steps := []struct {
		name string
		run  func(*bed)
		long bool // not in the short form, where TestRealInput has it
	}{
		{"every-kind", func(b *bed) { b.shell(everyKind) }, false},
		{"tar", untarTree, true},
		{"cp", copyTree, true},
		{"rsync", rsyncTree, true},
		{"git", gitWork, true},
		{"sqlite-rollback", func(b *bed) { sqliteWork(b, "delete") }, true},
		{"sqlite-wal", func(b *bed) { sqliteWork(b, "wal") }, true},
		{"big", bigFile, true},
		{"many", manyMore, false},
		{"writers", severalWriters, true},
	}
	for _, s := range steps {
		if s.long && testing.Short() {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			b := b.on(t)
			s.run(b)
			b.verified()
		})
	}
	b.sameView()
	if !t.Failed() && !testing.Short() {
		b.equalWithin(10 * time.Minute)
		b.plainEqual(plain, dir)
		b.stopsPlain()
	}
}

// sameView checks that all nodes say the same of all nodes: who leads, since when, and what each has.
func (b *bed) sameView() {
	b.t.Helper()
	leads, err := b.Leader.Status()
	b.must(err)
	for _, n := range b.Nodes() {
		waitFor(b, "the view of "+n.ID, func() bool {
			s, err := n.Status()
			b.must(err)
			same := s.LeaderID == b.Leader.ID && s.Position == leads.Position && len(s.Peers) == len(leads.Peers)
			for _, p := range s.Peers {
				same = same && p.Received == leads.Position.Version && p.Applied == p.Received && p.LagOps == 0 && (p.Role == "leader") == (p.ID == b.Leader.ID)
			}
			return same
		})
	}
}

// manyMore makes 200,000 small files, 2,000 in the short form.
func manyMore(b *bed) {
	count := 200_000
	if testing.Short() {
		count = 2000
	}
	b.ok(cluster.RunHelper(20*time.Minute, "many", b.in("manymore"), strconv.Itoa(count)))
}

// TestSyncUnderFio: fio writes files and reads back what it wrote, checking each block, while
// followers of both kinds make copies, are killed, and make copies again. What they hold at the
// end is verified, and by fio on their own mounts.
func TestSyncUnderFio(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("fio"); err != nil {
		if os.Getenv("WOLFDISK_REQUIRE_FUSE") != "" {
			t.Fatal("fio is missing: apt-get install fio")
		}
		t.Skip("fio is missing: apt-get install fio")
	}
	b := newBed(t, "beta", "gamma")
	b.keepsDir(b.Followers[1], "elsewhere")
	b.must(b.Start(readyTimeout))
	b.shell(some)
	work := b.in("fio")
	size, least, loops := "16m", 3, "3"
	if !testing.Short() {
		size, least, loops = "128m", 12, "12"
	}
	args := func(dir string, more ...string) []string {
		return append([]string{"fio", "--directory=" + dir, "--name=verify", "--numjobs=2", "--size=" + size, "--bs=4k", "--bsrange=4k-64k",
			"--ioengine=psync", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--randseed=7", "--allrandrepeat=1"}, more...)
	}
	done := make(chan cluster.Result, 1)
	go func() {
		done <- cluster.Cmd{Args: args(work, "--rw=randwrite", "--do_verify=1", "--loops="+loops), Timeout: 10 * time.Minute}.Run()
	}()
	copies, busy := 0, true
	var r cluster.Result
	for round := 0; busy || copies < least; round++ {
		f := b.Followers[round%2]
		before := strings.Count(f.Log(), "the copy is consistent")
		b.resyncNow(f)
		if round%4 >= 2 {
			time.Sleep(moment() / 4)
			b.must(f.Kill9())
			b.must(f.StartReady(time.Minute))
		}
		waitFor(b, "a copy of "+f.ID, func() bool {
			return strings.Count(f.Log(), "the copy is consistent") > before || round%4 >= 2
		})
		copies++
		select {
		case r = <-done:
			busy = false
		default:
		}
		if busy && round > 400 {
			t.Fatal("fio does not end")
		}
	}
	b.ok(r)
	for _, f := range b.Followers {
		b.must(f.WaitReady(time.Minute))
	}
	b.equalWithin(3 * time.Minute)
	for _, n := range b.Nodes() {
		// The last of the loops is what the files hold; its blocks say so themselves.
		b.ok(cluster.Cmd{Args: args(filepath.Join(n.Mount, "fio"), "--rw=randread", "--verify_only=1", "--readonly", "--loops="+loops), Timeout: 5 * time.Minute}.Run())
	}
	b.wantVerified(b.Leader)
	t.Log(fmt.Sprint(copies, " copies while fio wrote"))
}
