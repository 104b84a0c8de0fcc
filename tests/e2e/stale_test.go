//go:build linux

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// diskBed is a cluster whose leader lives on a disk image of its own, so that the
// disk can be set back to an older state as a restored backup does, with inode
// numbers and file handles as they were.
func diskBed(t *testing.T) (b *bed, save, restore func()) {
	t.Helper()
	needRoot(t)
	b = newBed(t, "beta")
	image, dir := filepath.Join(b.Dir, "disk"), filepath.Dir(b.Leader.Mount)
	r := cluster.Shell(b.Dir, `truncate -s 256M disk; mkfs.ext4 -q disk; mount -o loop disk alpha; mkdir alpha/data`, time.Minute)
	if r.OK() != nil {
		t.Skip("no loop mounts here: ", r.OK())
	}
	script := `umount "$1"; cp --sparse=always "$2" "$3"; mount -o loop "$4" "$1"`
	save = func() {
		t.Helper()
		b.ok(cluster.Run("sh", "-euc", script, "sh", dir, image, image+".saved", image))
	}
	restore = func() {
		t.Helper()
		b.ok(cluster.Run("sh", "-euc", script, "sh", dir, image+".saved", image, image))
	}
	return b, save, restore
}

// TestLeaderBehind: a leader whose disk was set back finds its follower ahead on
// its own lineage and pulls the rest before it accepts writes.
func TestLeaderBehind(t *testing.T) {
	t.Parallel()
	b, save, restore := diskBed(t)
	b.Leader.Connect = []string{b.follower().Front.Addr()}
	b.must(b.Start(readyTimeout))
	b.ok(cluster.RunHelper(time.Minute, "mix", b.in("d"), "1", "300"))
	b.equal()
	b.must(b.Leader.Stop())
	save()
	b.must(b.Leader.StartReady(readyTimeout))
	b.ok(cluster.RunHelper(time.Minute, "mix", b.in("d"), "2", "300"))
	b.shell("echo only the follower has this >late")
	want := b.equal()
	b.must(b.Leader.Stop())
	restore()
	b.must(b.Leader.StartReady(readyTimeout))
	b.noDiff(tree.Diff(want, b.equal(), tree.Rules{}), "before and after the disk was set back")
	b.shell("echo and it goes on >more")
	b.stopsPlain()
}

// TestOtherHistory: the same, but the follower cannot be reached and the leader
// writes on. The follower then holds another history: it stops with a code, and
// nothing of it is cut.
func TestOtherHistory(t *testing.T) {
	t.Parallel()
	b, save, restore := diskBed(t)
	b.must(b.Start(readyTimeout))
	b.shell("echo common >common")
	b.equal()
	b.must(b.Leader.Stop())
	save()
	b.must(b.Leader.StartReady(readyTimeout))
	b.shell("echo theirs >theirs")
	b.equal()
	before, err := b.follower().Status()
	b.must(err)
	b.must(b.follower().Stop())
	b.must(b.Leader.Stop())
	restore()
	b.must(b.Leader.StartReady(readyTimeout))
	b.shell("echo mine >mine; echo more >more; echo yet more >yet-more")
	b.must(b.follower().Start())
	defer b.follower().Kill9()
	deadline := time.Now().Add(20 * time.Second)
	for b.follower().Running() && !strings.Contains(b.follower().LastLog(), "WD-") {
		if time.Now().After(deadline) {
			t.Fatalf("the follower neither stopped nor named a code\n%s", b.follower().LogTail())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !strings.Contains(b.follower().LastLog(), "WD-") {
		t.Errorf("no code in what it said\n%s", b.follower().LogTail())
	}
	// Alone, it still has what it had.
	b.follower().Kill9()
	b.follower().Gate(true)
	b.must(b.follower().Start())
	s, err := b.follower().WaitStatus(readyTimeout, "answering", func(s cluster.Status) bool { return s.Position.Version > 0 })
	b.must(err)
	if s.Position.Version != before.Position.Version || s.Position.Digest != before.Position.Digest {
		t.Errorf("the follower was at %+v, is at %+v", before.Position, s.Position)
	}
}
