//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/node/conflict"
	"wolfdisk/tests/cluster"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

const conflictTimeout = time.Minute

// modelInodes walks a model as an index's snapshot would be.
type modelInodes struct{ *volumetest.Model }

func (m modelInodes) Inodes(_ volume.Ino, fn func(volume.Attr) bool) error {
	for _, ino := range m.Inos() {
		a, err := m.Inode(ino)
		if err != nil {
			return err
		}
		if !fn(a) {
			break
		}
	}
	return nil
}

// plantConflict puts a record into a node's state directory, as a lost fork leaves one.
func (b *bed) plantConflict(n *cluster.Node) conflict.Record {
	b.t.Helper()
	ctx := context.Background()
	m := volumetest.NewModel(volumetest.Options{})
	// A tag of its own, as every epoch but a volume's first has: so no inode ID is one of alpha's.
	m.Reign(volume.Epoch{Number: 1, Leader: "beta", Tag: 0x4d2}, "beta")
	do := func(req volume.Request) volume.Ino {
		b.t.Helper()
		req.Caller = volume.Caller{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Front: volume.FrontFUSE}
		res, err := m.Do(ctx, &req)
		b.must(err)
		return res.Attr.Ino
	}
	file := func(dir volume.Ino, name, text string) {
		b.t.Helper()
		ino := do(volume.Request{Kind: volume.OpCreate, Parent: dir, Name: name, Mode: volume.ModeFile | 0o640})
		do(volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte(text)})
	}
	dir := do(volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: "lost", Mode: volume.ModeDir | 0o755})
	file(dir, "report", "what beta wrote")
	file(dir, "odd\xff name", "odd")
	do(volume.Request{Kind: volume.OpCreate, Parent: dir, Name: "link", Mode: volume.ModeLink, Target: "report"})
	s, err := conflict.OpenStore(vfs.Default, filepath.Join(n.State, "conflicts"))
	b.must(err)
	rec, err := conflict.Write(ctx, conflict.Options{
		Store: s, Node: "beta", Winner: "alpha", Why: "planted by a test", Common: 0, Mine: m.Position(), MineLineage: m.Lineage(),
		Copy: m, Inodes: modelInodes{m}, Log0: zerolog.Nop(),
	})
	b.must(err)
	return rec
}

// ctlCode runs a command that must end with a code.
func (b *bed) ctlCode(n *cluster.Node, code int, args ...string) cluster.Result {
	b.t.Helper()
	r := n.Ctl(conflictTimeout, args...)
	if r.Code != code {
		b.t.Fatalf("%q ended with %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// TestConflicts: a record is counted, listed, shown, compared, restored and dropped, on a
// leader and on a follower.
func TestConflicts(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	b.must(os.MkdirAll(b.Leader.State, 0o700))
	b.must(os.MkdirAll(b.follower().State, 0o700))
	recs := map[*cluster.Node]conflict.Record{b.Leader: b.plantConflict(b.Leader), b.follower(): b.plantConflict(b.follower())}
	b.must(b.Start(readyTimeout))
	b.shell("mkdir lost && echo alpha > lost/report")
	b.equal()
	for _, n := range []*cluster.Node{b.Leader, b.follower()} {
		rec := recs[n]
		st, err := n.Status()
		if err != nil || st.ConflictsOpen != 1 {
			t.Errorf("%s: %d open, %v", n.ID, st.ConflictsOpen, err)
		}
		metrics, err := n.Get("/metrics")
		if err != nil || !strings.Contains(string(metrics), "\nwolfdisk_conflicts_open 1\n") {
			t.Errorf("%s: the metrics do not count it (%v)", n.ID, err)
		}
		b.ctlCode(n, 4, "status")
		if r := b.ctlCode(n, 4, "conflicts", "list"); !strings.Contains(r.Stdout, rec.ID) || !strings.Contains(r.Stdout, "alpha") {
			t.Errorf("list: %s", r.Stdout)
		}
		if r := b.ctlCode(n, 0, "conflicts", "show", rec.ID); !strings.Contains(r.Stdout, "lost/report: file") || !strings.Contains(r.Stdout, "planted by a test") {
			t.Errorf("show: %s", r.Stdout)
		}
		r := b.ctlCode(n, 5, "conflicts", "diff", rec.ID)
		for _, want := range []string{"lost/report: displaced", "lost/link: missing"} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("diff lacks %q: %s", want, r.Stdout)
			}
		}
		to := filepath.Join(b.Dir, "restored-"+n.ID)
		b.ctlCode(n, 0, "conflicts", "restore", rec.ID, "--to", to)
		for name, want := range map[string]string{"report": "what beta wrote", "odd\xff name": "odd", "link": "what beta wrote"} {
			if text, err := os.ReadFile(filepath.Join(to, "lost", name)); err != nil || string(text) != want {
				t.Errorf("%s: restored %q: %q, %v", n.ID, name, text, err)
			}
		}
		b.ctlCode(n, 6, "conflicts", "restore", rec.ID, "--to", to)
		b.ctlCode(n, 6, "conflicts", "restore", rec.ID, "--to", filepath.Join(n.State, "inside"))
		b.ctlCode(n, 1, "conflicts", "show", "0-none")
		b.ctlCode(n, 6, "conflicts", "drop", rec.ID)
	}
	b.ctlCode(b.follower(), 6, "conflicts", "restore", recs[b.follower()].ID) // it does not lead
	b.intoVolume(recs[b.Leader])
	for _, n := range []*cluster.Node{b.Leader, b.follower()} {
		b.ctlCode(n, 0, "conflicts", "drop", recs[n].ID, "--yes")
		if r := b.ctlCode(n, 0, "-o", "json", "conflicts", "list"); r.Stdout != "" {
			t.Errorf("after the drop: %s", r.Stdout)
		}
	}
	b.equal()
}

// intoVolume restores into the volume on the leader, which every mount then shows.
func (b *bed) intoVolume(rec conflict.Record) {
	b.t.Helper()
	r := b.ctlCode(b.Leader, 0, "-o", "json", "conflicts", "restore", rec.ID)
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	var last struct {
		Result struct{ Written, Beside uint64 }
	}
	b.must(json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	if last.Result.Written != 3 || last.Result.Beside != 1 {
		b.t.Errorf("%s", r.Stdout)
	}
	b.equal()
	for name, want := range map[string]string{"report": "alpha\n", "report.conflict-" + rec.ID: "what beta wrote", "odd\xff name": "odd", "link": "alpha\n"} {
		r := b.ok(cluster.Run("cat", filepath.Join(b.follower().Mount, "lost", name)))
		if r.Stdout != want {
			b.t.Errorf("%q: %q, want %q", name, r.Stdout, want)
		}
	}
}
