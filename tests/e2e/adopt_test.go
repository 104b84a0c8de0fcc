//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// fillLeader copies real trees into the directory of a leader that has never run.
func fillLeader(b *bed) {
	b.t.Helper()
	b.ok(cluster.Shell(b.Leader.Dir, fmt.Sprintf(`cp -a %q src
		mkdir -p a/b/c; echo one >a/one; ln a/one a/b/two; ln -s ../one a/b/sym; mkfifo a/fifo
		truncate -s 100M sparse; printf end | dd of=sparse bs=1 seek=50M conv=notrunc status=none
		touch -d '1999-12-31 23:59:59.123456789' a/one a/b; chmod 2751 a/b; : >"$(printf 'n%%.0s' $(seq 255))"`,
		sourceTree(b.t)), 3*time.Minute))
}

// TestAdopt: a directory with files becomes a volume in place.
func TestAdopt(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	fillLeader(b)
	before, err := cluster.Describe(b.Leader.Dir, equalTimeout)
	b.must(err)
	b.must(b.Leader.StartReady(readyTimeout))
	seen, err := cluster.Describe(b.Leader.Mount, equalTimeout)
	b.must(err)
	b.noDiff(tree.Diff(before, seen, tree.Plain), "the directory before and its mount")
	if n := logBytes(b, b.Leader); n > 256<<10 {
		t.Errorf("the log has %d bytes: content was copied", n)
	}
	// cp and tar look for holes only in what seems to have some.
	out := t.TempDir()
	b.ok(cluster.Shell(b.Leader.Mount, fmt.Sprintf(`cp sparse %q/copied; tar -cSf %q/tar sparse; cmp sparse %q/copied`, out, out, out), time.Minute))
	for _, name := range []string{"copied", "tar"} {
		if got := allocated(t, filepath.Join(out, name)); got > 1<<20 {
			t.Errorf("%s of a sparse file takes %d bytes", name, got)
		}
	}
	b.shell(`echo more >>a/one; mv src source; rm -r "source/$(ls source | tail -1)"; sync .`)
	seen, err = cluster.Describe(b.Leader.Mount, equalTimeout)
	b.must(err)
	b.must(b.Leader.Stop())
	left, err := cluster.Describe(b.Leader.Dir, equalTimeout)
	b.must(err)
	b.noDiff(tree.Diff(seen, left, tree.Plain), "mount and directory after the stop")
}

// logBytes is what the node's log holds besides what is set aside for it.
func logBytes(b *bed, n *cluster.Node) (used int64) {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(n.State, "oplog", "*"))
	b.must(err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		b.must(err)
		used += int64(len(strings.TrimRight(string(text), "\x00")))
	}
	return used
}

// TestAdoptKilled: kill -9 at any moment of an adoption.
func TestAdoptKilled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	fillLeader(b)
	before, err := cluster.Describe(b.Leader.Dir, equalTimeout)
	b.must(err)
	for i := range 6 {
		b.must(b.Leader.Start())
		time.Sleep(time.Duration(20+60*i) * time.Millisecond)
		b.must(b.Leader.Kill9())
	}
	b.must(b.Leader.StartReady(readyTimeout))
	seen, err := cluster.Describe(b.Leader.Mount, equalTimeout)
	b.must(err)
	rules := tree.Plain
	rules.IgnoreRoot = append([]string{"mtime"}, rules.IgnoreRoot...) // a kill may come just when our own folder is made
	b.noDiff(tree.Diff(before, seen, rules), "the directory before and its mount")
}

// TestAdoptStatus: the daemon says how far it is.
func TestAdoptStatus(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	many := filepath.Join(b.Leader.Dir, "many")
	b.must(os.Mkdir(many, 0o755))
	for i := range 30_000 {
		b.must(unix.Mknod(fmt.Sprintf("%s/%d", many, i), unix.S_IFREG|0o600, 0))
	}
	b.must(b.Leader.Start())
	for deadline := time.Now().Add(readyTimeout); ; time.Sleep(5 * time.Millisecond) {
		r := b.Leader.Ctl(10*time.Second, "status", "-o", "json")
		if r.Code == 0 && strings.Contains(r.Stdout, `"scanning"`) && strings.Contains(r.Stdout, `"all_files": 30001`) {
			break
		}
		if strings.Contains(r.Stdout, `"leading"`) || time.Now().After(deadline) {
			t.Fatalf("the scan was never seen:\n%s\n%s", r.Stdout, b.Leader.LogTail())
		}
	}
	b.must(b.Leader.WaitReady(readyTimeout))
	if said := b.Leader.LastLog(); !strings.Contains(said, "adopted the directory in place") {
		t.Errorf("the log does not say so:\n%s", said)
	}
}

// TestMountPointInside: a volume is one file system, and the start says what is not.
func TestMountPointInside(t *testing.T) {
	needRoot(t)
	b := newBed(t)
	inner := filepath.Join(b.Leader.Dir, "a", "inner")
	b.must(os.MkdirAll(inner, 0o755))
	b.must(unix.Mount("none", inner, "tmpfs", 0, ""))
	defer unix.Unmount(inner, unix.MNT_DETACH)
	b.must(b.Leader.Start())
	code, err := b.Leader.WaitExit(20 * time.Second)
	b.must(err)
	if said := b.Leader.LastLog(); code != codeUnsafe || !strings.Contains(said, inner) {
		t.Errorf("code %d: %s", code, said)
	}
	b.must(unix.Unmount(inner, 0))
	b.must(b.Leader.StartReady(readyTimeout))
}
