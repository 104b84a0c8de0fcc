package export_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/hostdir"
	"wolfdisk/node/export"
	"wolfdisk/volume"
)

// TestRandomTrees: whatever a volume holds, its export holds.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(4) {
		r := newRig(t, seed)
		r.work(3000)
		dir := t.TempDir()
		x := r.prepare(dir)
		x.opt.NoSync = seed > 0
		res := x.mustRun(t)
		x.compare(t, dir)
		if res.Written == 0 || res.Folders == 0 {
			t.Errorf("seed %d: %+v", seed, res)
		}
		for _, n := range x.notes {
			if n.Kind != export.Refused {
				t.Errorf("seed %d: %+v", seed, n)
			}
		}
	}
}

// TestInterrupted: exports that are interrupted at any moment, with a volume that goes on
// changing, come to an exact end; nothing that they made is taken for somebody else's.
func TestInterrupted(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	for _, keep := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(5, 5))
		r := newRig(t, 77)
		r.work(2000)
		dir := t.TempDir()
		finished, kept := 0, uint64(0)
		for i := range rounds {
			x := r.prepare(dir)
			x.opt.Keep = keep
			c := &content{Content: x.opt.Content}
			x.opt.Content = c
			runCtx, cancel := context.WithCancel(ctx)
			at := rng.Int64N(300)
			c.fail = func(n int64, _ volume.Ino) error {
				if n == at {
					cancel()
				}
				return nil
			}
			tick := 0
			x.opt.Tick = func() error {
				if tick++; tick == int(at)*3 && at%2 == 0 {
					cancel()
				}
				return nil
			}
			last := i == rounds-1
			if last {
				runCtx, cancel = context.WithCancel(ctx)
				c.fail, x.opt.Tick = nil, func() error { return nil }
			}
			res, err := export.Run(runCtx, x.opt)
			cancel()
			kept += res.Kept
			switch {
			case err == nil:
				finished++
				x.compare(t, dir)
				if !keep && !last {
					dir = t.TempDir()
				}
			case volume.KindOf(err) != volume.Interrupted:
				t.Fatalf("round %d: %v", i, err)
			case last:
				t.Fatal("the last round: ", err)
			}
			if res.Left > 0 {
				t.Fatalf("round %d: its own work is taken for somebody's: %v", i, x.notes)
			}
			r.work(rng.IntN(60))
		}
		if finished == rounds || kept == 0 {
			t.Errorf("keep %v: of %d runs %d came to an end, and %d names were kept: nothing was tried", keep, rounds, finished, kept)
		}
	}
}

// TestLinksAgain: a run is killed when further names of a file are in place and its record does not
// say so yet. The next one finds them there.
func TestLinksAgain(t *testing.T) {
	r := newRig(t, 7)
	ino := r.file(volume.RootIno, "a1", "several names")
	for i := range 4100 { // more than a batch, so that the first name is recorded
		r.file(volume.RootIno, fmt.Sprint("b", i), "")
	}
	for i := range 3 {
		r.do(volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: volume.RootIno, NewName: fmt.Sprint("c", i)})
	}
	dir, killed := t.TempDir(), filepath.Join(t.TempDir(), "killed")
	x := r.prepare(dir)
	x.opt.Progress = func(_, _ uint64, path string) {
		if path != "c2" {
			return
		}
		if out, err := exec.Command("cp", "-a", dir, killed).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	x.mustRun(t)
	x.compare(t, dir)
	for name := range strings.SplitSeq("c0 c1 c2", " ") {
		if _, err := os.Stat(filepath.Join(killed, name)); err != nil {
			t.Fatal("nothing was tried: ", err)
		}
	}
	x = r.prepare(killed)
	x.mustRun(t)
	x.compare(t, killed)
}

// TestUnreadable: what cannot be read is named and does not keep the rest from being
// written; once it can be read the export is completed.
func TestUnreadable(t *testing.T) {
	r := newRig(t, 1)
	d := r.mkdir(volume.RootIno, "d")
	r.file(d, "good", "good")
	bad := r.file(d, "bad", "bad")
	r.do(volume.Request{Kind: volume.OpLink, Ino: bad, NewParent: volume.RootIno, NewName: "bad too"})
	dir := t.TempDir()
	x := r.prepare(dir)
	c := &content{Content: x.opt.Content, fail: func(_ int64, ino volume.Ino) error {
		if ino == bad {
			return volume.Errorf(volume.Corrupt, "planted")
		}
		return nil
	}}
	x.opt.Content = c
	res, err := export.Run(ctx, x.opt)
	if err == nil || res.Failed != 2 || !x.told(export.Failed, "d/bad") || !x.told(export.Failed, "bad too") {
		t.Fatalf("%v, %+v, %v", err, res, x.notes)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "d", "good")); err != nil || string(text) != "good" {
		t.Errorf("the good one: %q, %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "d", "bad")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the bad one is there: %v", err)
	}
	x = r.prepare(dir)
	if res := x.mustRun(t); res.Kept != 1 || res.Written != 2 {
		t.Errorf("%+v", res)
	}
	x.compare(t, dir)
}

// TestForeign: what an export did not make is never replaced, removed or entered.
func TestForeign(t *testing.T) {
	r := newRig(t, 1)
	d := r.mkdir(volume.RootIno, "d")
	r.file(d, "f", "volume")
	outside := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(outside, "f"), "mine")
	begin := func(t *testing.T) string {
		t.Helper()
		dir := t.TempDir()
		x := r.prepare(dir)
		x.opt.Keep = true
		x.mustRun(t)
		return dir
	}
	for _, c := range []struct {
		name  string
		plant func(dir string) error
		file  string // must still be "mine"
	}{
		{"file", func(dir string) error { write(filepath.Join(dir, "new"), "mine"); return nil }, "new"},
		{"folder", func(dir string) error { write(filepath.Join(dir, "newdir", "f"), "mine"); return nil }, "newdir/f"},
		{"folder for a file", func(dir string) error { write(filepath.Join(dir, "new", "f"), "mine"); return nil }, "new/f"},
		{"link for a folder", func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "newdir")) }, "newdir/f"},
		{"in a folder that is to go", func(dir string) error { write(filepath.Join(dir, "d", "mine"), "mine"); return nil }, "d/mine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, dir := newRig(t, 1), ""
			d := r.mkdir(volume.RootIno, "d")
			r.file(d, "f", "volume")
			dir = t.TempDir()
			x := r.prepare(dir)
			x.opt.Keep = true
			x.mustRun(t)
			if err := c.plant(dir); err != nil {
				t.Fatal(err)
			}
			r.do(volume.Request{Kind: volume.OpUnlink, Parent: d, Name: "f"})
			r.do(volume.Request{Kind: volume.OpRmdir, Parent: volume.RootIno, Name: "d"})
			r.file(volume.RootIno, "d", "a file now")
			r.file(volume.RootIno, "new", "volume")
			sub := r.mkdir(volume.RootIno, "newdir")
			r.file(sub, "f", "volume")
			x = r.prepare(dir)
			_, err := export.Run(ctx, x.opt)
			if err == nil || volume.KindOf(err) != volume.Exists {
				t.Errorf("%v", err)
			}
			if text, err := os.ReadFile(filepath.Join(dir, c.file)); err != nil || string(text) != "mine" {
				t.Errorf("it holds %q now, %v", text, err)
			}
		})
	}
	// A link in the place of one of our own directories leads nowhere.
	dir := begin(t)
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "d")), os.Symlink(outside, filepath.Join(dir, "d"))); err != nil {
		t.Fatal(err)
	}
	x := r.prepare(dir)
	x.mustRun(t)
	x.compare(t, dir)
	if text, err := os.ReadFile(filepath.Join(outside, "f")); err != nil || string(text) != "mine" {
		t.Errorf("outside there is %q now, %v", text, err)
	}
}

// TestDirectories that are no place for an export.
func TestDirectories(t *testing.T) {
	r := newRig(t, 1)
	r.file(volume.RootIno, "f", "x")
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(full, "x")
	other := t.TempDir()
	x := r.prepare(other)
	x.opt.Keep, x.opt.Volume = true, volume.ID{9}
	x.mustRun(t)
	for _, c := range []struct {
		dir  string
		kind volume.Kind
	}{{full, volume.NotEmpty}, {file, volume.NotDir}, {filepath.Join(full, "no"), volume.NotFound}, {other, volume.WrongVolume}} {
		x := r.prepare(c.dir)
		if _, err := export.Run(ctx, x.opt); err == nil || volume.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %v", c.dir, err, c.kind)
		}
	}
	// One that the daemon forbids is not touched.
	dir := t.TempDir()
	x = r.prepare(dir)
	x.opt.Check = func(p *hostdir.Plain) error {
		for path, want := range map[string]bool{dir: true, filepath.Dir(dir): true, full: false, filepath.Join(full, "no"): false, "/": true} {
			if in, err := p.Inside(path); err != nil || in != want {
				t.Errorf("inside %s: %v, %v", path, in, err)
			}
		}
		return volume.NotPermitted
	}
	if _, err := export.Run(ctx, x.opt); err == nil || volume.KindOf(err) != volume.NotPermitted {
		t.Errorf("forbidden: %v", err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("forbidden, and there is %v, %v", list, err)
	}
	// A name of the volume that the export needs for itself.
	r.mkdir(volume.RootIno, export.Own)
	x = r.prepare(dir)
	if _, err := export.Run(ctx, x.opt); err == nil || volume.KindOf(err) != volume.Exists {
		t.Errorf("with %s in the volume: %v", export.Own, err)
	}
}

// TestTwoAtOnce: a second export into one directory is refused.
func TestTwoAtOnce(t *testing.T) {
	r := newRig(t, 1)
	for i := range 20 {
		r.file(volume.RootIno, fmt.Sprint(i), "content")
	}
	dir := t.TempDir()
	first := r.prepare(dir)
	inside, goOn := make(chan struct{}), make(chan struct{})
	c := &content{Content: first.opt.Content}
	c.fail = func(n int64, _ volume.Ino) error {
		if n == 1 {
			close(inside)
			<-goOn
		}
		return nil
	}
	first.opt.Content = c
	done := make(chan error, 1)
	go func() {
		_, err := export.Run(ctx, first.opt)
		done <- err
	}()
	<-inside
	second := r.prepare(dir)
	if _, err := export.Run(ctx, second.opt); err == nil || volume.KindOf(err) != volume.Busy {
		t.Errorf("the second: %v", err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error("the first: ", err)
	}
	first.compare(t, dir)
}

// TestTornRecord: a record that was cut anywhere, or damaged behind its beginning, costs
// work, or stops the export, and never what it did not make.
func TestTornRecord(t *testing.T) {
	r := newRig(t, 3)
	r.work(400)
	r.file(volume.RootIno, "one more", "content")
	dir := t.TempDir()
	x := r.prepare(dir)
	x.opt.Keep = true
	x.mustRun(t)
	name := filepath.Join(dir, export.Own, "record")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	try := func(b []byte) (export.Result, error) {
		t.Helper()
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		x := r.prepare(dir)
		x.opt.Keep = true
		return export.Run(ctx, x.opt)
	}
	// Cut in the last entry but one: what is not known any more is in the way.
	for _, cut := range []int{1, 39, 41} {
		if res, err := try(whole[:len(whole)-cut]); err == nil && res.Kept == 0 || err != nil && volume.KindOf(err) != volume.Exists {
			t.Errorf("cut by %d: %+v, %v", cut, res, err)
		}
	}
	// Without the names of files all of them are somebody's.
	if _, err := try(whole[:80]); err == nil || volume.KindOf(err) != volume.Exists {
		t.Errorf("emptied: %v", err)
	}
	for at, kind := range map[int]volume.Kind{3: volume.Corrupt, 20: volume.Corrupt} {
		b := append([]byte{}, whole...)
		b[at] ^= 1
		if _, err := try(b); err == nil || volume.KindOf(err) != kind {
			t.Errorf("byte %d: %v, want %v", at, err, kind)
		}
	}
	if res, err := try(whole); err != nil || res.Written > 0 {
		t.Errorf("whole again: %+v, %v", res, err)
	}
	x = r.prepare(dir)
	x.opt.Keep = true
	x.mustRun(t)
	x.compare(t, dir)
}

// TestClosedWhileWritten: nobody else can enter half an export, and an end by time is told
// as what it is.
func TestClosedWhileWritten(t *testing.T) {
	r := newRig(t, 1)
	r.do(volume.Request{Kind: volume.OpSetAttr, Ino: volume.RootIno, Set: volume.SetMode, Mode: 0o755})
	r.file(volume.RootIno, "f", "x")
	dir := t.TempDir()
	x := r.prepare(dir)
	c := &content{Content: x.opt.Content}
	runCtx, cancel := soon(100 * time.Millisecond)
	defer cancel()
	c.fail = func(int64, volume.Ino) error {
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("open to others while it is written: %v, %v", st.Mode(), err)
		}
		<-runCtx.Done()
		return nil
	}
	x.opt.Content = c
	_, err := export.Run(runCtx, x.opt)
	if err == nil || volume.KindOf(err) != volume.Interrupted || !strings.Contains(err.Error(), "goes on") {
		t.Errorf("%v", err)
	}
	x = r.prepare(dir)
	x.mustRun(t)
	x.compare(t, dir)
}
