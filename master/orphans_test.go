package master_test

import (
	"fmt"
	"testing"

	"wolfdisk/volume"
)

// leaveOrphans makes nameless inodes that are open, and leaves them behind: "x", "y" and
// "z" unlinked, one made without a name.
func leaveOrphans(t *testing.T, l volume.Volume) (x, y, z, tmp volume.Ino) {
	t.Helper()
	var inos []volume.Ino
	for _, name := range []string{"x", "y", "z"} {
		ino := mkFile(t, l, name)
		mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte(name)})
		if err := l.Open(ctx, ino, false); err != nil {
			t.Fatal(err)
		}
		mustDo(t, l, &volume.Request{Kind: volume.OpUnlink, Parent: root, Name: name})
		inos = append(inos, ino)
	}
	tmp = mustDo(t, l, &volume.Request{Kind: volume.OpCreate, Mode: volume.ModeFile | 0o600}).Attr.Ino
	return inos[0], inos[1], inos[2], tmp
}

// The first ops of an epoch end what nobody can reach any more, but not what is open
// here, and not what the first request is about.
func TestOrphans(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(t *testing.T, l volume.Volume, x, y, z, tmp volume.Ino)
		alive func(x, y, z, tmp volume.Ino) []volume.Ino
	}{
		{"something else", func(t *testing.T, l volume.Volume, x, y, z, tmp volume.Ino) { mkFile(t, l, "n") },
			func(x, y, z, tmp volume.Ino) []volume.Ino { return []volume.Ino{y} }},
		{"the last close of one", func(t *testing.T, l volume.Volume, x, y, z, tmp volume.Ino) {
			if err := l.Close(ctx, y); err != nil {
				t.Error(err)
			}
		}, func(x, y, z, tmp volume.Ino) []volume.Ino { return nil }},
		{"a write to one that is not open", func(t *testing.T, l volume.Volume, x, y, z, tmp volume.Ino) {
			mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: x, Data: []byte("!")})
		}, func(x, y, z, tmp volume.Ino) []volume.Ino { return []volume.Ino{x, y} }},
		{"a name for one", func(t *testing.T, l volume.Volume, x, y, z, tmp volume.Ino) {
			mustDo(t, l, &volume.Request{Kind: volume.OpLink, Ino: tmp, NewParent: root, NewName: "named"})
		}, func(x, y, z, tmp volume.Ino) []volume.Ino { return []volume.Ino{y, tmp} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			defer r.abandon()
			old := r.lead(1)
			x, y, z, tmp := leaveOrphans(t, old)
			old.Stop(volume.Fenced)
			l := r.lead(2)
			if err := l.Open(ctx, y, false); err != nil {
				t.Fatal(err)
			}
			c.first(t, l, x, y, z, tmp)
			if err := l.Failed(); err != nil {
				t.Fatal(err)
			}
			alive := map[volume.Ino]bool{}
			for _, ino := range c.alive(x, y, z, tmp) {
				alive[ino] = true
			}
			for _, ino := range []volume.Ino{x, y, z, tmp} {
				if _, err := l.GetAttr(ctx, ino); alive[ino] != (err == nil) {
					t.Errorf("inode %s: %v, want alive %t; ops %v", ino, err, alive[ino], kinds(logOps(t, r.log)))
				}
			}
			if alive[y] {
				p := make([]byte, 9)
				if n, err := l.ReadAt(ctx, y, p, 0); err != nil || string(p[:n]) != "y" {
					t.Errorf("what is open reads %q, %v", p[:n], err)
				}
				if err := l.Close(ctx, y); err != nil {
					t.Error(err)
				}
				if _, err := l.GetAttr(ctx, y); volume.KindOf(err) != volume.Stale {
					t.Error("after the last close:", err)
				}
			}
			mkFile(t, l, "later")
			if got := r.engine.Position().Version; got != r.log.Last().Version {
				t.Errorf("index at %d, log at %d", got, r.log.Last().Version)
			}
			// The reign is the first of the epoch's ops.
			for i, op := range logOps(t, r.log) {
				if (op.Kind == volume.OpReign) != (i == 0 || op.Epoch.Number == 2) {
					t.Errorf("op %d is %s", i+1, op.Kind)
				}
			}
		})
	}
}

// Opens and closes of many race with the unlink: it ends once, after the last close, and
// the backing retains nothing of it.
func TestOpenUnlinkRaces(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	for i := range rounds {
		name := fmt.Sprint("f", i)
		ino := mkFile(t, l, name)
		results := make(chan error, 8)
		for w := range 8 {
			go func() {
				for range 10 {
					err := l.Open(ctx, ino, w%2 == 0)
					if volume.KindOf(err) == volume.Stale {
						break
					}
					if err == nil {
						_, err = l.GetAttr(ctx, ino) // what is open is there
					}
					if err == nil {
						err = l.Close(ctx, ino)
					}
					if err != nil {
						results <- err
						return
					}
				}
				results <- nil
			}()
		}
		mustDo(t, l, &volume.Request{Kind: volume.OpUnlink, Parent: root, Name: name})
		for range 8 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.GetAttr(ctx, ino); volume.KindOf(err) != volume.Stale {
			t.Fatalf("inode %s is left: %v", ino, err)
		}
		if n := r.back.retained(ino); n != 0 {
			t.Fatalf("the backing keeps inode %s %d times", ino, n)
		}
	}
	wantKind(t, "close of what is not open", l.Close(ctx, mkFile(t, l, "n")), volume.Invalid)
	if err := l.Failed(); err != nil {
		t.Error(err)
	}
	logOps(t, r.log)
}

// TestAbsorbOrphans: what a killed leader had begun to do to a nameless inode is found in the real
// directory when the next epoch begins, which ends such inodes: neither spoils the other.
func TestAbsorbOrphans(t *testing.T) {
	for _, c := range []struct {
		name  string
		op    func(tmp, kept volume.Ino) *volume.Op
		alive bool // the inode that is not kept
	}{
		{"its content", func(tmp, _ volume.Ino) *volume.Op { return &volume.Op{Kind: volume.OpTruncate, Ino: tmp, Size: 3} }, false},
		{"the content of one that is kept", func(_, kept volume.Ino) *volume.Op {
			return &volume.Op{Kind: volume.OpTruncate, Ino: kept, Size: 3}
		}, false},
		{"its name", func(tmp, _ volume.Ino) *volume.Op {
			return &volume.Op{Kind: volume.OpPublish, Ino: tmp, Parent: root, Name: "published"}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			defer r.abandon()
			old := r.lead(1)
			tmp := mustDo(t, old, &volume.Request{Kind: volume.OpCreate, Mode: volume.ModeFile | 0o600}).Attr.Ino
			kept := mustDo(t, old, &volume.Request{Kind: volume.OpCreate, Mode: volume.ModeFile | 0o600,
				Xattrs: []volume.Xattr{{Name: volume.XattrKeep, Value: []byte("k")}}}).Attr.Ino
			old.Stop(volume.Fenced)
			l := r.lead(2)
			if err := l.Absorb(c.op(tmp, kept), nil); err != nil {
				t.Fatal(err)
			}
			mkFile(t, l, "later")
			if err := l.Failed(); err != nil {
				t.Fatal(err)
			}
			if _, err := l.GetAttr(ctx, tmp); c.alive != (err == nil) {
				t.Errorf("the inode: %v, want alive %t", err, c.alive)
			}
			if a, err := l.GetAttr(ctx, kept); err != nil || (a.Size == 3) != (c.name == "the content of one that is kept") {
				t.Errorf("the one that is kept: %v, size %d", err, a.Size)
			}
		})
	}
}
