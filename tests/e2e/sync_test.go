//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// some is a tree with one of everything that a copy has to carry.
const some = `set -e
mkdir -p d/e; echo content >d/f; ln d/f d/e/link; ln -s ../f d/e/sym; mkfifo d/fifo; mknod d/null c 1 3
setfattr -n user.k -v v d/f; chmod 4711 d/f; chown 12:34 d/e; touch -d '1969-12-31 23:59:58.123456789' d/f
truncate -s 10M d/sparse; printf x | dd of=d/sparse bs=1 seek=5000000 conv=notrunc status=none
head -c 9000000 /dev/urandom >d/large; : >d/empty
for i in $(seq 200); do echo $i >d/e/small$i; done
`

// resync asks a follower for a new copy and waits until it is there.
func (b *bed) resync(f *cluster.Node, args ...string) {
	b.t.Helper()
	before := strings.Count(f.Log(), "the copy is consistent")
	b.ok(f.Ctl(10*time.Second, append([]string{"resync"}, args...)...))
	deadline := time.Now().Add(2 * time.Minute)
	for strings.Count(f.Log(), "the copy is consistent") == before {
		if time.Now().After(deadline) || !f.Running() {
			b.t.Fatalf("no copy was made:\n%s", f.LogTail())
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.must(f.WaitReady(readyTimeout))
}

// TestResync: a follower copies the volume anew while the leader is written, a file on
// the mount stays open over it, and the copy survives restarts of all kinds.
func TestResync(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	f := b.follower()
	b.shell(some)
	b.equal()
	dry := b.ok(f.Ctl(10*time.Second, "resync", "--dry-run"))
	leads, err := b.Leader.Status()
	b.must(err)
	if want := fmt.Sprintf("would copy %d files", leads.Files); !strings.Contains(dry.Stdout, want) || !strings.Contains(dry.Stdout, "at most") {
		t.Fatalf("--dry-run says %q, want %q", dry.Stdout, want)
	}
	if full := b.ok(f.Ctl(10*time.Second, "resync", "--dry-run", "--full")); strings.Contains(full.Stdout, "at most") {
		t.Fatalf("--dry-run --full says %q", full.Stdout)
	}
	load := make(chan cluster.Result, 1)
	go func() {
		load <- cluster.RunHelper(time.Minute, "appender", filepath.Join(b.Leader.Mount, "d", "log"), "3s")
	}()
	for i, args := range [][]string{nil, {"--full"}, nil} {
		b.resync(f, args...)
		b.shell(fmt.Sprintf("echo %d >d/after%d; rm -f d/e/small%d; mv d/e/small%d d/moved%d", i, i, i+1, i+10, i))
	}
	b.ok(<-load)
	b.equal()
	b.must(f.Stop())
	b.must(f.StartReady(readyTimeout))
	b.shell("echo more >d/more")
	b.equal()
	b.resync(f)
	b.must(f.Kill9())
	b.shell("echo still more >d/more")
	b.must(f.StartReady(readyTimeout))
	b.equal()
	if left, err := filepath.Glob(filepath.Join(f.State, "sync-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind after a restart: %v, %v", left, err)
	}
}

// TestResyncKilled: kill -9 of either side at any moment of a copy; what was copied is
// taken up again, and the end is equal.
func TestResyncKilled(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	f := b.follower()
	b.shell(some)
	size := "60"
	rounds := 4
	if !testing.Short() {
		size, rounds = "1000", 40
	}
	b.ok(cluster.Shell(b.Leader.Mount, "head -c "+size+"000000 /dev/urandom >big; for i in $(seq "+size+"0); do echo $i >n$i; done", 5*time.Minute))
	b.equal()
	for i := range rounds {
		for deadline := time.Now().Add(readyTimeout); ; time.Sleep(20 * time.Millisecond) {
			r := f.Ctl(10*time.Second, "resync", "--full")
			if r.Code == 0 {
				break
			}
			if time.Now().After(deadline) { // it may still start, or look for its leader
				b.ok(r)
			}
		}
		time.Sleep(time.Duration(i*i*37%900) * time.Millisecond)
		b.shell(fmt.Sprintf("echo %d >d/round; dd if=/dev/urandom of=big bs=4k count=20 seek=%d conv=notrunc status=none; rm -f n%d", i, i*100, i))
		if i%2 == 0 {
			b.must(f.Kill9())
			b.must(f.Start())
		} else {
			b.must(b.Leader.Kill9())
			b.must(b.Leader.StartReady(readyTimeout))
		}
	}
	b.must(f.WaitReady(time.Minute))
	b.equal()
}

// TestResyncInterrupted kills the leader when the names of a copy are coming, which then has to begin
// anew: it is made all the same, and the follower ready.
func TestResyncInterrupted(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	f := b.follower()
	b.ok(cluster.RunHelper(5*time.Minute, "many", b.in("many"), "4000"))
	b.equal()
	for range 20 {
		seen := len(f.Log())
		b.ok(f.Ctl(10*time.Second, "resync"))
		for deadline := time.Now().Add(readyTimeout); !strings.Contains(f.Log()[seen:], "taking a snapshot"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no copy was begun")
			}
		}
		b.must(b.Leader.Kill9())
		b.must(b.Leader.StartReady(readyTimeout))
		_, err := f.WaitStatus(readyTimeout, "following", func(s cluster.Status) bool { return s.State == "following" })
		b.must(err)
		b.equal()
		if log := f.Log()[seen:]; !strings.Contains(log, "the copy is consistent") {
			t.Fatalf("no copy was made:\n%s", log)
		} else if strings.Contains(log, "import the index:") {
			return
		}
	}
	t.Fatal("no copy was interrupted at its names")
}

// TestPromoteUnfinished: a follower whose leader is lost while it makes a copy anew leads only if an
// operator insists, with the whole copy that it had before; one that had none does not at all.
func TestPromoteUnfinished(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta", "gamma", "delta")
	frugal(b, "16MiB") // so that a new node needs a snapshot
	gamma, delta := b.Followers[1], b.Followers[2]
	for _, n := range b.Followers {
		n.Role = "auto"
	}
	delta.Role = "follower"
	b.must(b.Leader.StartReady(readyTimeout))
	b.must(b.follower().StartReady(readyTimeout))
	b.must(delta.StartReady(readyTimeout))
	b.shell("mkdir d; echo whole >d/f; head -c 60000000 /dev/urandom >big")
	f := b.follower()
	for _, n := range []*cluster.Node{f, delta} {
		_, err := b.CatchUp(n, equalTimeout)
		b.must(err)
	}
	_, err := b.Leader.WaitStatus(readyTimeout, "trimmed", func(s cluster.Status) bool { return s.Oplog.First > 1 })
	b.must(err)
	seen, err := cluster.Describe(f.Mount, equalTimeout)
	b.must(err)
	b.ok(f.Ctl(10*time.Second, "resync", "--full"))
	b.copying(f)
	b.ok(delta.Ctl(10*time.Second, "resync", "--full"))
	b.copying(delta)
	b.must(gamma.Start())
	b.copying(gamma)
	b.must(b.Leader.Kill9())
	for _, n := range []*cluster.Node{f, gamma} {
		r := n.Ctl(20*time.Second, "promote")
		if r.Code != 6 || !strings.Contains(r.Stderr, "not complete") && !strings.Contains(r.Stderr, "empty") {
			t.Fatalf("promote of %s, which is syncing: code %d, %s", n.ID, r.Code, r.Stderr)
		}
	}
	if r := gamma.Ctl(20*time.Second, "promote", "--allow-data-loss"); r.Code != 6 {
		t.Fatalf("promote of a node that never had a whole copy: code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := delta.Ctl(20*time.Second, "promote", "--allow-data-loss"); r.Code != 6 || !strings.Contains(r.Stderr, "its role is follower") {
		t.Fatalf("promote of a node that never leads: code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if strings.Contains(delta.Log(), "WD-1348") {
		t.Fatal("a node that was not promoted gave its copy up for nothing")
	}
	out := b.ok(f.Ctl(20*time.Second, "promote", "--allow-data-loss")).Stdout
	if !strings.Contains(out, "beta is leader") || !strings.Contains(out, "given up: an unfinished copy of version") || !strings.Contains(out, "left behind: what only alpha holds") {
		t.Errorf("the answer of promote:\n%s", out)
	}
	b.must(f.WaitReady(readyTimeout))
	now, err := cluster.Describe(f.Mount, equalTimeout)
	b.must(err)
	b.noDiff(tree.Diff(seen, now, tree.Rules{}), "the copy before, and the tree of the new leader")
	b.ok(cluster.Shell(f.Mount, "echo after >d/f", time.Minute))
	b.ok(f.Ctl(20*time.Second, "promote", "--allow-data-loss")) // idempotent
	b.must(b.Leader.StartReady(readyTimeout))
	b.must(gamma.WaitReady(time.Minute))
	for _, n := range b.Nodes() {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			r := cluster.Shell(n.Mount, "cat d/f", 10*time.Second)
			if r.Stdout == "after\n" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has not what was written since: %s%s", n.ID, r.Stdout, r.Stderr)
			}
		}
	}
	b.equal()
}

// copying waits until a node copies content.
func (b *bed) copying(n *cluster.Node) {
	b.t.Helper()
	for deadline := time.Now().Add(readyTimeout); ; time.Sleep(2 * time.Millisecond) {
		raw, err := n.Get("/v1/status")
		if err == nil {
			var s struct {
				Progress *struct{ Phase string }
			}
			b.must(json.Unmarshal(raw, &s))
			if s.Progress != nil && s.Progress.Phase == "copying content" {
				return
			}
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s does not copy content: %s, %v", n.ID, raw, err)
		}
	}
}

type progress struct {
	Phase, Path    string
	Percent        float64
	ETASeconds     float64 `json:"eta_seconds"`
	BytesPerSecond float64 `json:"bytes_per_second"`
}

// copies reports whether the content of a file is being copied now, and it is said how long that will take.
func (p *progress) copies(path string) bool {
	return p != nil && p.Phase == "copying content" && p.Path == path && p.Percent > 0 && p.Percent < 100 && p.ETASeconds > 0 && p.BytesPerSecond > 0
}

// TestSyncShowsProgress: status says what is going on, on both sides.
func TestSyncShowsProgress(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	f := b.follower()
	b.ok(cluster.Shell(b.Leader.Mount, fmt.Sprintf("mkdir a; head -c %d /dev/urandom >a/big", rounds(t, 100e6, 400e6)), time.Minute))
	b.equal()
	b.ok(f.Ctl(10*time.Second, "resync", "--full"))
	here, there := false, false
	for deadline := time.Now().Add(time.Minute); !(here && there) && time.Now().Before(deadline) && !strings.Contains(f.Log(), "the copy is consistent"); {
		var s struct {
			State    string
			Progress *progress
			Peers    []struct {
				State    string
				Progress *progress
			}
		}
		raw, err := f.Get("/v1/status")
		b.must(err)
		b.must(json.Unmarshal(raw, &s))
		here = here || s.State == "syncing" && s.Progress.copies("a/big")
		raw, err = b.Leader.Get("/v1/status")
		b.must(err)
		b.must(json.Unmarshal(raw, &s))
		there = there || len(s.Peers) == 1 && s.Peers[0].State == "syncing" && s.Peers[0].Progress.copies("a/big")
	}
	if !here || !there {
		t.Errorf("progress was shown by the follower: %v, by the leader: %v", here, there)
	}
	b.must(f.WaitReady(time.Minute))
	b.equal()
	var s struct{ Progress any }
	raw, err := f.Get("/v1/status")
	b.must(err)
	b.must(json.Unmarshal(raw, &s))
	if s.Progress != nil {
		t.Errorf("progress is shown when all is done: %v", s.Progress)
	}
}

// TestFollowAdopted: followers of a directory that was full before there was a daemon
// get it by a snapshot: one that keeps chunks and one that keeps a plain directory, which
// both go on by the log, and survive restarts and kill -9 in the middle of it.
func TestFollowAdopted(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta", "gamma")
	chunks, plain := b.Followers[0], b.Followers[1]
	dir := b.keepsDir(plain, "elsewhere")
	b.ok(cluster.Shell(b.Leader.Mount, some, time.Minute))
	many := "2000"
	if testing.Short() {
		many = "300"
	}
	b.ok(cluster.RunHelper(5*time.Minute, "many", b.in("many"), many))
	b.must(b.Leader.StartReady(readyTimeout))
	for _, f := range b.Followers {
		b.must(f.Start())
	}
	for i := range 4 {
		f := b.Followers[i%2]
		time.Sleep(time.Duration(i*60) * time.Millisecond)
		b.must(f.Kill9())
		b.must(f.Start())
	}
	b.shell("echo while >d/while; mv d/large d/moved; echo more >>d/f; rm -rf d/e")
	for _, f := range b.Followers {
		b.must(f.WaitReady(time.Minute))
	}
	b.equal()
	b.plainEqual(plain, dir)
	for _, f := range []*cluster.Node{chunks, plain} {
		b.must(f.Stop())
		b.must(f.StartReady(readyTimeout))
	}
	b.shell("echo later >d/later; truncate -s 100 d/moved")
	b.equal()
	b.plainEqual(plain, dir)
}

// TestUnfinishedCopyIsNotReady: who waits for a leader to be ready waits for copies that are being
// made; a follower that dies over its copy is disconnected, and behind.
func TestUnfinishedCopyIsNotReady(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	f := b.follower()
	b.ok(cluster.Shell(b.Leader.Mount, "head -c 80000000 /dev/urandom >big", 5*time.Minute))
	b.equal()
	b.ok(f.Ctl(10*time.Second, "resync", "--full"))
	b.copying(f)
	b.must(f.Proc().Signal(syscall.SIGSTOP))
	defer f.Proc().Signal(syscall.SIGCONT)
	r := b.Leader.Ctl(10*time.Second, "--timeout", "100ms", "status", "--wait", "--max-lag", "1000000")
	if r.Code != 7 {
		t.Errorf("a leader whose follower makes its copy: %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	s, err := b.Leader.Status()
	b.must(err)
	if p := s.Peers[0]; p.State != "syncing" || p.Applied != 0 || p.LagOps != s.Oplog.Last {
		t.Errorf("a follower that makes its copy, of a leader at %d: %+v", s.Oplog.Last, p)
	}
	b.must(f.Kill9())
	_, err = b.Leader.WaitStatus(20*time.Second, "disconnected", func(s cluster.Status) bool {
		p := s.Peers[0]
		return p.State == "disconnected" && p.LagOps == s.Oplog.Last
	})
	b.must(err)
	b.must(f.Start())
	b.must(f.WaitReady(time.Minute))
	b.ok(b.Leader.Ctl(time.Minute, "status", "--wait", "--max-lag", "0"))
	b.equal()
}

// TestResyncFullMends: with --full a chunk that is damaged on the disk is taken anew, though nobody has
// noticed the damage.
func TestResyncFullMends(t *testing.T) {
	t.Parallel()
	b, files := scrubBed(t)
	f := b.follower()
	b.shell("for i in $(seq 40); do head -c 2000 /dev/urandom >d/small$i; done; sync d")
	b.resync(f)
	b.must(f.Stop())
	b.harmPacks(f)
	b.must(f.StartReady(readyTimeout))
	b.resync(f, "--full")
	b.scrub(f, 0, "clean")
	if n := b.readAll(f, files); n > 0 {
		t.Errorf("%d files cannot be read", n)
	}
	b.equal()
}
