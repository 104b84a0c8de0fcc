//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

const editScript = `
	echo new >created; echo more >>d/f; printf XXXX | dd of=d/same bs=1 conv=notrunc status=none
	mv moved d/elsewhere; mv olddir newdir; echo edit >>newdir/in/file
	rm gone; rm -r gonedir; chmod 600 mode; ln d/f linked; touch -d 2001-02-03 time
	mkdir -p made/deep/er; echo x >made/deep/er/x; mkfifo made/fifo; ln -s x made/sym
	rm type; mkdir type; echo saved >save~; mv save~ save
	mv swap1 t; mv swap2 swap1; mv t swap2`

// editable fills the mount with what editScript changes.
func editable(b *bed) {
	b.t.Helper()
	b.shell(`mkdir -p d olddir/in gonedir; for f in d/f d/same moved olddir/in/file gone gonedir/f mode time type save swap1 swap2; do echo $f >$f; done
		for i in $(seq 40); do echo $i >keep$i; done`)
}

// TestEditedWhileStopped: edits of the plain directory reach the followers.
func TestEditedWhileStopped(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"stopped", "killed"} {
		t.Run(how, func(t *testing.T) {
			b := newBed(t, "beta")
			b.must(b.Start(readyTimeout))
			editable(b)
			b.equal()
			if how == "stopped" {
				b.must(b.Leader.Stop())
			} else {
				b.must(b.Leader.Kill9())
				time.Sleep(2 * time.Second) // an edit is told from what the daemon did last by the second
				b.must(cluster.UnmountBelow(b.Leader.Mount))
			}
			b.ok(cluster.Shell(b.Leader.Dir, editScript, time.Minute))
			want, err := cluster.Describe(b.Leader.Dir, equalTimeout)
			b.must(err)
			b.must(b.Leader.StartReady(readyTimeout))
			_, err = b.CatchUp(b.follower(), equalTimeout)
			b.must(err)
			rules := tree.Plain
			if how == "killed" { // times are put in place when files come to rest
				rules.Ignore = append([]string{"mtime"}, rules.Ignore...)
			}
			b.noDiff(tree.Diff(want, b.equal(), rules), "the edited directory and the mounts")
			said := b.Leader.LastLog()
			if !strings.Contains(said, "WD-1403") {
				t.Errorf("nothing is said of the edits:\n%s", said)
			}
			b.must(b.Leader.Stop())
			b.must(b.Leader.StartReady(readyTimeout))
			if said := b.Leader.LastLog(); strings.Contains(said, "WD-1403") {
				t.Errorf("edits are found again:\n%s", said)
			}
			b.equal()
		})
	}
}

// TestReconcileCommand: changes behind a running leader, whose mount lies elsewhere, are recorded
// when asked for, while writes through the mount go on.
func TestReconcileCommand(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	b.Leader.Mount = filepath.Join(filepath.Dir(b.Leader.Dir), "mount")
	b.must(os.Mkdir(b.Leader.Mount, 0o755))
	b.must(b.Start(readyTimeout))
	editable(b)
	b.equal()
	time.Sleep(8 * time.Second) // until all is settled: changes are told by the ctime then
	b.ok(cluster.Shell(b.Leader.Dir, editScript, time.Minute))
	writes := make(chan cluster.Result)
	go func() {
		writes <- cluster.Shell(b.Leader.Mount, `mkdir w; for i in $(seq 300); do echo $i >w/$i; mv w/$i w/m$i; echo more >>w/m$i; done`, time.Minute)
	}()
	if r := b.ok(b.Leader.Ctl(time.Minute, "reconcile", "newdir", "-o", "json")); !strings.Contains(r.Stdout, `"result"`) {
		t.Errorf("no result:\n%s", r.Stdout)
	}
	r := b.ok(b.Leader.Ctl(time.Minute, "reconcile"))
	if !strings.Contains(r.Stdout, "made/deep/er/x") || !strings.Contains(r.Stdout, "differences") {
		t.Errorf("what was found is not listed:\n%s", r.Stdout)
	}
	b.ok(<-writes)
	if r := b.ok(b.Leader.Ctl(time.Minute, "reconcile")); !strings.Contains(r.Stdout, ": 0 differences") {
		t.Errorf("there is still something:\n%s", r.Stdout)
	}
	seen := b.equal()
	b.shell(`test "$(cat w/m300)" = "$(printf '300\nmore')"; test $(ls w | wc -l) = 300; grep -q edit newdir/in/file; test ! -e gone`)
	// Most of it goes: that is not believed at once.
	b.ok(cluster.Shell(b.Leader.Dir, "rm -r w keep* made", time.Minute))
	if r := b.Leader.Ctl(time.Minute, "reconcile"); r.Code != codeUnsafe || !strings.Contains(r.Stderr, "WD-1405") {
		t.Errorf("code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	b.noDiff(tree.Diff(seen, b.equal(), tree.Rules{}), "before and after the refusal")
	b.ok(b.Leader.Ctl(time.Minute, "reconcile", "--confirm-deletes"))
	b.shell("test ! -e w && test ! -e made")
	b.equal()
	if r := b.follower().Ctl(time.Minute, "reconcile"); r.Code == 0 || !strings.Contains(r.Stderr, "WD-1408") {
		t.Errorf("a follower: code %d: %s", r.Code, r.Stderr)
	}
	if r := b.Leader.Ctl(time.Minute, "reconcile", "../x"); r.Code != codeUsage {
		t.Errorf("a path outside: code %d: %s", r.Code, r.Stderr)
	}
}

// TestConfirmDeletes: the brake is released by the flag.
func TestConfirmDeletes(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	onceRun(b)
	b.must(os.RemoveAll(b.Leader.Dir + "/d"))
	b.must(b.Leader.Start())
	if code, err := b.Leader.WaitExit(20 * time.Second); err != nil || code != codeUnsafe {
		t.Fatalf("code %d, %v", code, err)
	}
	b.Leader.Extra = []string{"--confirm-deletes"}
	b.must(b.Start(readyTimeout))
	b.shell("test ! -e d; test -e g")
	b.equal()
}
