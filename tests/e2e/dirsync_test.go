//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// A tree with everything in it, and what happens to it while a follower is away: nothing,
// or anything, so that what agrees can stay and the rest must come.
const (
	dirSyncBefore = some + everyKind + `
mkdir -p ../m/a/b/c ../m/gone/deep ../m/same; cd ../m
for i in $(seq 300); do echo "same $i" >same/$i; done
for i in $(seq 40); do echo $i >a/b/c/$i; echo $i >gone/deep/$i; done
head -c 14000000 /dev/urandom >large; head -c 6000000 /dev/urandom >holed; head -c 3000000 /dev/urandom >shrinks
head -c 12000000 /dev/urandom >unchanged; ln large hard1; ln unchanged hard2; echo x >swap1; echo y >swap2; echo same >type
mkdir typed; echo in >typed/in; ln -s one link; echo deep >a/b/deep; mkdir -p nest/x/y; echo n >nest/x/y/n`

	dirSyncAfter = `cd m
mv a/b/c moved; rm -r gone; mv same/1 same/one; rm same/2; echo changed >same/3; chmod 0600 same/4; chown 5:6 same/5
touch -d '2002-02-02 02:02:02.000000002' same/6; setfattr -n user.new -v v same/7; ln same/8 same/eight; mkdir new; echo new >new/file
printf changed | dd of=large bs=1 seek=12345678 conv=notrunc status=none; fallocate -p -o 1000000 -l 4000000 holed; truncate -s 5000 shrinks
rm hard1; mv hard2 a/harder; mv swap1 swap; mv swap2 swap1; mv swap swap2; rm type; mkdir type; rm -r typed; echo file >typed; ln -sf two link
mv nest/x/y y; mv nest y/; mv a/b y/b; rm -r ../k/sub; truncate -s 100M ../d/sparse; echo text >../d/again; rm ../d/large; mkfifo ../d/large
head -c 5000000 /dev/urandom >../k/fresh`
)

// kept are the names of what a node's directory has put aside.
func (b *bed) kept(dir, where string) []string {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".wolfdisk", where))
	if os.IsNotExist(err) {
		return nil
	}
	b.must(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestDirTakesSnapshot: a follower with a plain directory that was away for longer than the
// log reaches back brings its directory to what the leader has: what agrees stays, nothing
// else is fetched, an open file lives over it, and it goes on by the log.
func TestDirTakesSnapshot(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	frugal(b, "1MiB")
	f := b.follower()
	dir := b.keepsDir(f, "elsewhere")
	b.must(b.Start(readyTimeout))
	b.shell(dirSyncBefore)
	b.equal()
	at, err := b.Leader.Status()
	b.must(err)
	b.must(f.Stop())
	b.shell(dirSyncAfter)
	b.shell("head -c 4000000 /dev/urandom >d/fill")
	// Behind its back: an edit, and a file that nobody knows.
	b.ok(cluster.Shell(dir, "echo edited >>m/same/10; echo stranger >m/same/stranger", time.Minute))
	s, err := b.Leader.WaitStatus(readyTimeout, "trims its log", func(s cluster.Status) bool { return s.Oplog.First > at.Position.Version+1 })
	b.must(err)
	before, err := os.Stat(filepath.Join(dir, "m/same/20"))
	b.must(err)
	b.must(f.Start())
	b.must(f.WaitReady(time.Minute))
	b.equal()
	if log := f.LastLog(); !strings.Contains(log, "taking a snapshot") {
		t.Fatalf("no snapshot was taken; the leader's log began at %d", s.Oplog.First)
	}
	after, err := os.Stat(filepath.Join(dir, "m/same/20"))
	b.must(err)
	if !os.SameFile(before, after) {
		t.Error("a file that agreed was made anew")
	}
	st, err := f.Status()
	b.must(err)
	// 4 MiB of large, 6 of holed, 5 of fresh, 4 of fill, and small ones.
	if got := contentFrom(t, f, "alpha"); got == 0 || got > 24*mib {
		t.Errorf("%d bytes of content came for some changes in 40 MB", got)
	}
	if st.State != "following" {
		t.Errorf("state %s", st.State)
	}
	for _, where := range []string{"old", "staging"} {
		if left := b.kept(dir, where); len(left) > 0 {
			t.Errorf("%s holds %q", where, left)
		}
	}
	if kept := b.kept(dir, "kept"); len(kept) != 1 || !strings.HasSuffix(kept[0], ".10") {
		t.Errorf("the edit should be kept, and nothing else: %q", kept)
	} else if text, err := os.ReadFile(filepath.Join(dir, ".wolfdisk/kept", kept[0])); err != nil || string(text) != "same 10\nedited\n" {
		t.Errorf("kept is %q, %v", text, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "m/same/stranger")); err != nil || string(text) != "stranger\n" {
		t.Errorf("the stranger's file is %q, %v", text, err)
	}
	b.ok(cluster.Shell(dir, fmt.Sprintf("rm m/same/stranger .wolfdisk/kept/*; touch -r %q m/same", filepath.Join(b.Leader.Mount, "m/same")), time.Minute))
	b.wantVerified(b.Leader)
	b.shell("echo later >d/later; mv m/moved m/moved2; rm m/unchanged")
	b.equal()
	b.plainEqual(f, dir)
	b.wantVerified(b.Leader)
	// Once more while it runs, with a file open on its mount.
	open, err := os.Open(filepath.Join(f.Mount, "m/large"))
	b.must(err)
	defer open.Close()
	for _, args := range [][]string{nil, {"--full"}} {
		b.resync(f, args...)
		var p [16]byte
		if _, err := open.ReadAt(p[:], 12345678); err != nil || string(p[:7]) != "changed" {
			t.Errorf("a file that stayed open reads %q, %v", p, err)
		}
	}
	b.must(open.Close())
	b.equal()
	b.plainEqual(f, dir)
	b.wantVerified(b.Leader)
	b.must(f.Kill9())
	b.must(f.StartReady(readyTimeout))
	b.shell("echo end >d/end")
	b.equal()
	b.plainEqual(f, dir)
}

// contentFrom is what a node has got from another for copies, bytes.
func contentFrom(t *testing.T, n *cluster.Node, id string) (bytes uint64) {
	t.Helper()
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Peers {
		if p.ID == id {
			bytes = p.ContentBytes
		}
	}
	return bytes
}

// TestDirSnapshotKilled kills a follower that brings its directory to a snapshot, and sometimes the
// leader, at any moment, while files are written: what is shown is always whole, and
// directory and leader are equal in the end.
func TestDirSnapshotKilled(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	f := b.follower()
	dir := b.keepsDir(f, "elsewhere")
	b.must(b.Start(readyTimeout))
	b.shell(dirSyncBefore)
	b.ok(cluster.RunHelper(time.Minute, "many", b.in("many"), fmt.Sprint(rounds(t, 500, 20000))))
	b.equal()
	toks := b.tokens()
	phases := map[string]int{}
	for round := range rounds(t, 2, 15) {
		load := startLoad(toks[round%2], time.Second)
		mixed := make(chan cluster.Result, 1)
		go func() {
			mixed <- cluster.RunHelper(time.Minute, "mix", b.in("mix"), fmt.Sprint(round), "800")
		}()
		if round == 0 {
			b.shell(dirSyncAfter)
		}
		b.shell(fmt.Sprintf("mv m/same m/same.%d; mkdir m/same; cp m/same.%d/* m/same/; rm -r m/same.%d; dd if=/dev/urandom of=m/large bs=64k count=4 seek=%d conv=notrunc status=none",
			round, round, round, round*7))
		for i := range rounds(t, 3, 4) {
			if s, err := f.Status(); err != nil || s.State != "syncing" {
				b.resyncNow(f)
			}
			time.Sleep(time.Duration(rand.IntN(250*(i+1))) * time.Millisecond)
			if s, err := f.Status(); err == nil && s.Progress != nil {
				phases[s.Progress.Phase]++
			}
			b.must(f.Kill9())
			if i == 2 && round%2 == 1 {
				b.must(b.Leader.Kill9())
				b.must(b.Leader.StartReady(readyTimeout))
			}
			b.must(f.Start())
		}
		<-load.done
		b.must(load.err)
		r := <-mixed
		if round%2 == 0 {
			b.ok(r)
		}
		b.must(f.WaitReady(time.Minute))
		b.equalWithin(3 * time.Minute)
		if staged := b.kept(dir, "old"); len(staged) > 0 {
			t.Errorf("round %d: old still holds %q", round, staged)
		}
	}
	t.Logf("killed in %v", phases)
	b.accounted(toks)
	b.plainKept(f, dir)
	b.wantVerified(b.Leader)
}

// resyncNow has a follower that may still be starting take a snapshot.
func (b *bed) resyncNow(f *cluster.Node) {
	b.t.Helper()
	for deadline := time.Now().Add(readyTimeout); ; time.Sleep(20 * time.Millisecond) {
		r := f.Ctl(10*time.Second, "resync")
		if r.Code == 0 {
			return
		}
		if time.Now().After(deadline) {
			b.ok(r)
		}
	}
}

// plainKept is plainEqual where something may have been put aside.
func (b *bed) plainKept(f *cluster.Node, dir string) {
	b.t.Helper()
	seen := b.equal()
	b.must(f.Stop())
	left, err := cluster.Describe(dir, equalTimeout)
	b.must(err)
	b.noDiff(tree.Diff(seen, left, tree.Plain), "the mount and the plain directory of "+f.ID)
	if staged := b.kept(dir, "staging"); len(staged) > 0 {
		b.t.Errorf("staging holds %q", staged)
	}
	b.t.Logf("put aside: %d", len(b.kept(dir, "kept")))
	b.must(f.StartReady(readyTimeout))
}
