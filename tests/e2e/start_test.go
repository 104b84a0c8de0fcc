//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// TestEitherSideFirst: the follower may be started before there is a leader. It is
// the leader that dials in the second half.
func TestEitherSideFirst(t *testing.T) {
	for _, who := range []string{"follower dials", "leader dials"} {
		t.Run(who, func(t *testing.T) {
			b := newBed(t, "beta")
			if who == "leader dials" {
				b.follower().Connect = nil
				b.Leader.Connect = []string{b.follower().Front.Addr()}
			}
			b.must(b.follower().Start())
			time.Sleep(300 * time.Millisecond)
			if !b.follower().Running() {
				t.Fatal("the follower did not wait for a leader")
			}
			b.must(b.Leader.StartReady(readyTimeout))
			b.must(b.follower().WaitReady(readyTimeout))
			b.shell("mkdir d; echo x >d/f")
			b.equal()
		})
	}
}

// TestRestart: a clean stop and start of both sides keeps tree and history, and
// inode numbers with them.
func TestRestart(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	b.ok(cluster.RunHelper(time.Minute, "mix", b.in("d"), "3", "800"))
	before := b.equal()
	for range 3 {
		for _, n := range b.Nodes() {
			b.must(n.Stop())
		}
		b.must(b.Start(readyTimeout))
		b.noDiff(tree.Diff(before, b.equal(), tree.Rules{}), "before and after a restart")
	}
	epochs := func() uint64 {
		s, err := b.Leader.Status()
		b.must(err)
		return s.Position.Epoch
	}
	first := epochs()
	b.must(b.Leader.Stop())
	b.must(b.Leader.StartReady(readyTimeout))
	b.shell("echo x >opens-the-epoch")
	if second := epochs(); second <= first {
		t.Errorf("the epoch went from %d to %d with a new start", first, second)
	}
	b.equal()
}

// TestStartWhileStopping: a daemon that is started while the one before is still stopping, as umount
// and mount do, waits for its end; one beside a daemon that goes on does not.
func TestStartWhileStopping(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	b.Leader.Env = append(b.Leader.Env, "WOLFDISK_NODE_STOP_TIMEOUT=2s")
	b.must(b.Start(readyTimeout))
	start := func(log string) *cluster.Proc {
		p, err := cluster.StartProc(filepath.Join(b.Dir, log), append(b.Env, b.Leader.Env...), false, b.Leader.Args()...)
		b.must(err)
		t.Cleanup(func() { _ = p.Kill9() })
		return p
	}
	begun := time.Now()
	code, err := start("beside").Wait(readyTimeout)
	b.must(err)
	if d := time.Since(begun); code != 69 || d > 10*time.Second {
		t.Errorf("beside a daemon that goes on: code %d after %v", code, d)
	}

	b.must(b.follower().Proc().Signal(unix.SIGSTOP)) // so that the leader waits for it
	b.shell("echo text >file")
	b.must(unix.Unmount(b.Leader.Mount, 0))
	second := start("behind")
	if code, err := b.Leader.WaitExit(readyTimeout); code != 0 || err != nil {
		t.Errorf("the first ended with %d, %v", code, err)
	}
	b.must(b.follower().Proc().Signal(unix.SIGCONT))
	b.ok(b.Leader.Ctl(readyTimeout, "status", "--wait"))
	b.shell("grep text file; echo more >file2")
	b.equal()
	b.must(second.Signal(unix.SIGTERM))
	if code, err := second.Wait(readyTimeout); code != 0 || err != nil {
		t.Errorf("the second ended with %d, %v", code, err)
	}
}

// TestOwnMountPoint: the leader's directory can be shown elsewhere, and then holds
// what the mount shows at any time.
func TestOwnMountPoint(t *testing.T) {
	b := newBed(t, "beta")
	b.Leader.Mount = filepath.Join(b.Dir, "shown")
	b.must(os.Mkdir(b.Leader.Mount, 0o755))
	b.must(b.Start(readyTimeout))
	b.ok(cluster.RunHelper(time.Minute, "mix", b.in("d"), "5", "500"))
	seen := b.equal()
	below, err := cluster.Describe(b.Leader.Dir, equalTimeout)
	b.must(err)
	rules := tree.Plain
	rules.Ignore = append([]string{"mtime"}, rules.Ignore...) // written lazily
	b.noDiff(tree.Diff(seen, below, rules), "mount and directory")
	b.stopsPlain()
}

// TestStaleMount: what a crashed daemon leaves mounted is cleaned by its next start,
// even while somebody sits in it.
func TestStaleMount(t *testing.T) {
	b := startBed(t)
	b.shell("mkdir d; echo x >d/f")
	b.equal()
	sitter, err := cluster.StartProc(filepath.Join(b.Dir, "sitter.log"), nil, false, "sh", "-c", `cd "$1/d" && exec sleep 300`, "sh", b.Leader.Mount)
	b.must(err)
	defer sitter.Kill9()
	time.Sleep(200 * time.Millisecond)
	for _, n := range b.Nodes() {
		b.must(n.Kill9())
		if m, ok, err := cluster.MountAt(n.Mount); err != nil || !ok {
			t.Fatalf("%s: no stale mount: %+v, %v", n.ID, m, err)
		}
	}
	b.must(b.Start(readyTimeout))
	b.equal()
	for _, n := range b.Nodes() {
		all, err := cluster.Mounts()
		b.must(err)
		count := 0
		for _, m := range all {
			if m.Dir == n.Mount {
				count++
			}
		}
		if count != 1 {
			t.Errorf("%s: %d mounts at its mount point", n.ID, count)
		}
	}
}

// TestEndsWithItsMount: whoever unmounts the leader ends it, cleanly.
func TestEndsWithItsMount(t *testing.T) {
	b := startBed(t)
	b.shell("echo x >f")
	b.equal()
	b.ok(cluster.Run("fusermount3", "-u", b.Leader.Mount))
	code, err := b.Leader.WaitExit(20 * time.Second)
	b.must(err)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, b.Leader.LogTail())
	}
	b.must(b.Leader.StartReady(readyTimeout))
	b.equal()
}

// TestSignals: SIGINT stops as SIGTERM does, SIGHUP does not stop.
func TestSignals(t *testing.T) {
	b := startBed(t)
	for _, n := range b.Nodes() {
		b.must(n.Proc().Signal(unix.SIGHUP))
	}
	time.Sleep(200 * time.Millisecond)
	b.shell("echo x >f")
	b.equal()
	for _, n := range b.Nodes() {
		b.must(n.Proc().Signal(unix.SIGINT))
		if code, err := n.WaitExit(20 * time.Second); err != nil || code != 0 {
			t.Fatalf("%s: exit code %d, %v\n%s", n.ID, code, err, n.LogTail())
		}
	}
}

// TestStopWithOpenFiles: a stop does not wait for ever for who holds files open, and
// loses nothing of what they wrote.
func TestStopWithOpenFiles(t *testing.T) {
	b := startBed(t)
	holder, err := cluster.StartProc(filepath.Join(b.Dir, "holder.log"), nil, false,
		"sh", "-c", `exec 3>"$1/held"; echo written >&3; exec sleep 300`, "sh", b.Leader.Mount)
	b.must(err)
	defer holder.Kill9()
	deadline := time.Now().Add(10 * time.Second)
	for b.shell("cat held 2>/dev/null || :").Stdout != "written\n" {
		if time.Now().After(deadline) {
			t.Fatal("the file was never written")
		}
	}
	b.must(b.Leader.Stop())
	if text, err := os.ReadFile(filepath.Join(b.Leader.Dir, "held")); err != nil || string(text) != "written\n" {
		t.Fatalf("%q, %v", text, err)
	}
	b.must(b.Leader.StartReady(readyTimeout))
	b.equal()
}

// TestReservedFolder: the marker's folder is neither seen nor reached through a
// mount.
func TestReservedFolder(t *testing.T) {
	b := startBed(t)
	for _, n := range b.Nodes() {
		r := b.ok(cluster.Shell(n.Mount, "ls -A; ls -d .wolfdisk 2>&1 || :", time.Minute))
		if !strings.Contains(r.Stdout, "No such file") || strings.Contains(r.Stdout, ".wolfdisk\n") {
			t.Errorf("%s shows %q", n.ID, r.Stdout)
		}
	}
	r := cluster.Shell(b.Leader.Mount, "mkdir .wolfdisk", time.Minute)
	if r.Code == 0 {
		t.Error("the reserved name could be taken")
	}
	b.shell("mkdir d; mkdir d/.wolfdisk") // only at the root
	b.equal()
}
