//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// keepsDir makes a follower keep a plain directory: below its own mount, elsewhere, or
// without a mount. It returns the directory.
func (b *bed) keepsDir(f *cluster.Node, where string) string {
	b.t.Helper()
	dir := filepath.Join(b.Dir, f.ID, "plain")
	switch where {
	case "covered":
		dir = f.Mount
	case "elsewhere":
	case "none":
		f.Extra = append(f.Extra, "--mount", "none")
	default:
		b.t.Fatalf("mounted %q?", where)
	}
	b.must(os.MkdirAll(dir, 0o755))
	f.Env = append(f.Env, "WOLFDISK_VOLUME_STORAGE=dir", "WOLFDISK_VOLUME_DIR="+dir)
	return dir
}

// dirBed is a leader with one follower that keeps a plain directory, both running.
func dirBed(t *testing.T, where string) (*bed, string) {
	t.Helper()
	b := newBed(t, "beta")
	dir := b.keepsDir(b.follower(), where)
	b.must(b.Start(readyTimeout))
	return b, dir
}

// plainEqual stops a follower, compares what it leaves with the leader's mount, at the
// same version, and starts it again.
func (b *bed) plainEqual(f *cluster.Node, dir string) {
	b.t.Helper()
	_, err := b.CatchUp(f, equalTimeout)
	b.must(err)
	seen, err := cluster.Describe(b.Leader.Mount, equalTimeout)
	b.must(err)
	_, err = b.CatchUp(f, equalTimeout)
	b.must(err)
	b.must(f.Stop())
	left, err := cluster.Describe(dir, equalTimeout)
	b.must(err)
	b.noDiff(tree.Diff(seen, left, tree.Plain), "the leader's mount and the plain directory of "+f.ID)
	b.emptyStaging(dir)
	b.must(f.StartReady(readyTimeout))
}

// emptyStaging looks for what ended and stayed, and for what was moved aside.
func (b *bed) emptyStaging(dir string) {
	b.t.Helper()
	for _, name := range []string{"staging", "kept"} {
		entries, err := os.ReadDir(filepath.Join(dir, ".wolfdisk", name))
		b.must(err)
		if len(entries) > 0 {
			b.t.Errorf("%s holds %d files, %q among them", name, len(entries), entries[0].Name())
		}
	}
}

// everyKind makes one of everything that a tree can hold, and changes it.
const everyKind = `umask 022; mkdir -p k/sub/deep k/gone; cd k
	echo one >file; ln file hard; ln file sub/hard2; ln -s ../nowhere sub/soft; mkfifo -m 0640 fifo
	python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
	truncate -s 3M sparse; printf middle | dd of=sparse bs=1 seek=1500000 conv=notrunc status=none
	setfattr -n user.text -v value file; setfattr -n user.binary -v 0x00ff0a sub
	setfacl -m u:1234:rw,g:77:r file; setfacl -d -m u:4321:rwx sub; echo inherits >sub/acl
	echo s >suid; chmod 6755 suid; chmod 1777 sub/deep
	touch -d '1969-12-31 23:59:58.123456789 UTC' suid; touch -h -d '2001-02-03 04:05:06.000000007 UTC' sub/soft
	echo gone >gone/f; rm -r gone; mv sub/deep moved; mv file renamed; : >empty; echo x >'new
line'; echo y >"$(printf '\377\376')"
	dd if=/dev/urandom of=big bs=1M count=5 status=none; truncate -s 4000001 big; truncate -s 0 empty
	if test "$(id -u)" = 0; then mknod null c 1 3; mknod -m 0600 loop b 7 4095; chown 12:34 renamed moved fifo; chown -h 56:78 sub/soft; fi`

// TestDirFollower: a follower with a plain directory is a follower like any other, and
// its directory is plain and equal when it is stopped.
func TestDirFollower(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"covered", "elsewhere"} {
		t.Run(where, func(t *testing.T) {
			b, dir := dirBed(t, where)
			steps := []struct {
				name string
				run  func(*bed)
			}{
				{"every-kind", func(b *bed) { b.shell(everyKind) }},
				{"tar", untarTree},
				{"cp", copyTree},
				{"open-unlinked", func(b *bed) {
					b.shell(`mkdir open; cd open; exec 3<>a; echo text >&3; rm a; echo more >&3; mv ../k/empty b; exec 4<b; mv ../k/big b; exec 3>&- 4<&-`)
				}},
				{"mix", func(b *bed) { b.ok(cluster.RunHelper(3*time.Minute, "mix", b.in("mix"), "7", "2000")) }},
				{"remove", func(b *bed) { b.shell("rm -rf tar; if test -d cp; then mv cp/copy/* cp; rmdir cp/copy; fi") }},
			}
			for _, s := range steps {
				if (where == "elsewhere" || testing.Short()) && (s.name == "tar" || s.name == "cp") {
					continue // a whole source tree once is enough, and in the long form
				}
				t.Run(s.name, func(t *testing.T) {
					b := b.on(t)
					s.run(b)
					b.equal()
					b.plainEqual(b.follower(), dir)
				})
			}
			if log := b.follower().Log(); strings.Contains(log, "WD-14") {
				t.Errorf("edits were reported that nobody made:\n%s", b.follower().LogTail())
			}
		})
	}
}

// TestReadersOfWhatChanges: who reads a file while it is cut, or replaced by the next version of it,
// gets one version or the other, on a leader and on a follower with a plain directory; what is open
// stays readable; and nobody is said to change files behind a daemon.
func TestReadersOfWhatChanges(t *testing.T) {
	t.Parallel()
	b, dir := dirBed(t, "elsewhere")
	b.shell("head -c 100000 /dev/urandom >cut; echo a first version, never read before >saved; cp saved open")
	b.equal()
	open, err := os.Open(filepath.Join(b.follower().Mount, "open"))
	b.must(err)
	defer open.Close()
	b.shell("echo the next version >next; mv next open; rm saved; echo >saved")
	b.equal()
	if text, err := io.ReadAll(open); err != nil || string(text) != "a first version, never read before\n" {
		t.Errorf("what was open on the follower reads as %q, %v", text, err)
	}

	done := make(chan struct{})
	time.AfterFunc(4*time.Second, func() { close(done) })
	running := func() bool {
		select {
		case <-done:
			return false
		default:
			return true
		}
	}
	reads := make(chan int)
	for _, n := range []*cluster.Node{b.Leader, b.Leader, b.follower(), b.follower()} {
		go func() {
			count := 0
			for i := 0; running(); i++ {
				if err := readUncached(filepath.Join(n.Mount, []string{"cut", "saved"}[i%2])); err != nil {
					t.Errorf("on %s, read %d: %v", n.ID, i, err)
					break
				}
				count++
			}
			reads <- count
		}()
	}
	text := bytes.Repeat([]byte("text"), 75000)
	at := func(name string) string { return filepath.Join(b.Leader.Mount, name) }
	rounds := 0
	for ; running(); rounds++ {
		f, err := os.OpenFile(at("cut"), os.O_WRONLY, 0)
		b.must(err)
		_, werr := f.Write(text)
		b.must(errors.Join(werr, f.Truncate(int64(rounds%5000)), f.Close()))
		b.must(os.WriteFile(at("tmp"), text[:rounds%9000+1], 0o644))
		b.must(os.Rename(at("tmp"), at("saved")))
	}
	for range 4 {
		if n := <-reads; n < 50 {
			t.Errorf("only %d reads", n)
		}
	}
	t.Logf("%d rounds", rounds)
	b.equal()
	b.plainEqual(b.follower(), dir)
	for _, n := range b.Nodes() {
		if log := n.Log(); strings.Contains(log, "WD-5101") || strings.Contains(log, "WD-14") {
			t.Errorf("edits were reported that nobody made:\n%s", n.LogTail())
		}
	}
}

// readUncached reads a file that the kernel does not have in its cache.
func readUncached(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return err
}

// TestDirFollowerWithoutMount: it needs no mount, and catches up with what it missed.
func TestDirFollowerWithoutMount(t *testing.T) {
	t.Parallel()
	b, dir := dirBed(t, "none")
	b.shell(everyKind)
	b.plainEqual(b.follower(), dir)
	b.must(b.follower().Stop())
	b.shell("rm -r k/sub; echo later >k/later; mv k/hard k/sparse")
	b.must(b.follower().StartReady(readyTimeout))
	b.plainEqual(b.follower(), dir)
}

// TestDirFollowerKilled kills the follower at any moment under load: its directory is
// what the log says after each start, and plain and equal in the end.
func TestDirFollowerKilled(t *testing.T) {
	t.Parallel()
	b, dir := dirBed(t, "elsewhere")
	toks := b.tokens()
	mix := b.in("mix")
	for round := range rounds(t, 3, 12) {
		loads := []*load{startLoad(toks[0], 1500*time.Millisecond), startLoad(toks[1], 1500*time.Millisecond)}
		mixed := make(chan cluster.Result, 1)
		go func() { mixed <- cluster.RunHelper(time.Minute, "mix", mix, fmt.Sprint(round), "1500") }()
		for range 2 {
			time.Sleep(moment())
			b.must(b.follower().Kill9())
			b.must(b.follower().StartReady(readyTimeout))
		}
		for _, l := range loads {
			<-l.done
			b.must(l.err)
			if l.failed != "" {
				t.Fatalf("a writer failed on the leader: %s", l.failed)
			}
		}
		b.ok(<-mixed)
		b.equalWithin(3 * time.Minute)
		b.accounted(toks)
		if log := b.follower().Log(); strings.Contains(log, "WD-1406") {
			t.Fatalf("round %d: the directory differed after a kill\n%s", round, b.follower().LogTail())
		}
	}
	b.plainEqual(b.follower(), dir)
}

// TestDirFollowerPowerLoss takes the power of a follower with a plain directory away under
// load: it comes back by itself, gets again what its log has lost, and is equal.
func TestDirFollowerPowerLoss(t *testing.T) {
	t.Parallel()
	p := newPowerOf(t, "beta")
	dir := p.keepsDir(p.follower(), "elsewhere")
	p.must(p.Start(readyTimeout))
	toks := p.tokens()
	mix := p.in("mix")
	for round := range rounds(t, 2, 8) {
		loads := []*load{startLoad(toks[0], 3*time.Second), startLoad(toks[1], 3*time.Second)}
		mixed := make(chan cluster.Result, 1)
		go func() { mixed <- cluster.RunHelper(2*time.Minute, "mix", mix, fmt.Sprint(round), "2500") }()
		time.Sleep(moment() + moment())
		if round%3 != 2 {
			p.commit()
		}
		p.cut()
		p.remount()
		p.must(p.follower().StartReady(3 * time.Minute)) // it may need a snapshot
		for _, l := range loads {
			<-l.done
			p.must(l.err)
			if l.failed != "" {
				t.Fatalf("a writer failed on the leader: %s", l.failed)
			}
		}
		p.ok(<-mixed)
		p.equalWithin(3 * time.Minute) // every round adds some thousand files
		p.accounted(toks)
		p.wantVerified(p.Leader) // the directory, too: what is read by a handle need not be in it
	}
	seen, err := p.Equal(3 * time.Minute)
	p.must(err)
	p.must(p.follower().Stop())
	left, err := cluster.Describe(dir, equalTimeout)
	p.must(err)
	p.noDiff(tree.Diff(seen, left, tree.Plain), "the mount and the plain directory after power losses")
}

// TestDirFollowerChangedBehind: an edit of its directory is found, said, and not
// passed on to anybody.
func TestDirFollowerChangedBehind(t *testing.T) {
	t.Parallel()
	b, dir := dirBed(t, "elsewhere")
	b.shell("mkdir d; echo text >d/f; echo other >d/g")
	b.equal()
	f := b.follower()
	b.must(f.Stop())
	b.ok(cluster.Shell(dir, "echo edited >d/f; echo extra >extra; rm d/g", time.Minute))
	b.must(f.StartReady(readyTimeout))
	s, err := f.Status()
	b.must(err)
	found := false
	for _, w := range s.Warnings {
		if w.Code == "WD-1406" {
			found = true
			for _, name := range []string{"d/f", "extra", "d/g"} {
				if !strings.Contains(w.Text, name) {
					t.Errorf("the warning does not name %s: %s", name, w.Text)
				}
			}
		}
	}
	if !found {
		t.Errorf("no warning WD-1406 in %+v", s.Warnings)
	}
	if got := b.shell("cat d/f d/g; ls").Stdout; got != "text\nother\nd\n" {
		t.Errorf("the leader shows %q", got)
	}
	// Undone by hand, it is well again: content with the old time, as a restored backup has.
	b.must(f.Stop())
	b.ok(cluster.Shell(dir, fmt.Sprintf("rm extra; cp -a %q/d/f d/f; cp -a %q/d/g d/g", b.Leader.Mount, b.Leader.Mount), time.Minute))
	b.shell("echo after >d/f")
	b.must(f.StartReady(readyTimeout))
	b.equal()
}

// TestOutage takes the power of the leader and of a follower with a plain directory at once, when
// the follower's disk has got what an op overwrote, and neither of the logs that op: the file
// becomes again what it is at the leader.
func TestOutage(t *testing.T) {
	t.Parallel()
	p := newPowerOf(t, "alpha", "beta")
	plain := p.keepsDir(p.follower(), "elsewhere")
	p.must(p.Start(readyTimeout))
	p.shell("printf 'old text' >f")
	for range 10 {
		_, err := p.CatchUp(p.follower(), equalTimeout)
		p.must(err)
		for _, n := range p.Nodes() { // the ops so far are not done once more
			p.must(n.Stop())
			p.must(n.StartReady(readyTimeout))
		}
		time.Sleep(2 * time.Second) // what changed just before its log ends, the leader records once more
		p.shell("touch later")
		p.ok(cluster.Run("sync"))
		p.shell(fmt.Sprintf("printf new | dd of=f conv=notrunc status=none; until grep -q new '%s'; do sleep 0.01; done; sync '%[1]s'", filepath.Join(plain, "f")))
		p.cut()
		p.remount()
		p.must(p.follower().Start())
		p.must(p.Leader.StartReady(readyTimeout))
		p.must(p.follower().WaitReady(readyTimeout))
		p.equal()
		p.plainEqual(p.follower(), plain)
		if p.shell("cat f").Stdout == "old text" {
			return
		}
		p.shell("printf old | dd of=f conv=notrunc status=none") // a log was synced in between
	}
	t.Fatal("the op was never lost")
}
