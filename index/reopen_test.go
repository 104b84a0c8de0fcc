package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// history is ops that a random user made on the Model.
func history(t *testing.T, seed uint64, steps int) []*volume.Op {
	t.Helper()
	ctx := context.Background()
	m := volumetest.NewModel(volumetest.Options{})
	gen := volumetest.Random(seed)
	for range steps {
		s := gen.Next()
		var res volume.Result
		var err error
		switch {
		case s.Req != nil:
			res, err = m.Do(ctx, s.Req)
		case s.Open != 0:
			err = m.Open(ctx, s.Open, false)
		default:
			err = m.Close(ctx, s.Close)
		}
		gen.Done(s, res, err)
	}
	return m.Ops(0)
}

// enterAll enters ops from the engine's position through end, in batches of up to max.
func enterAll(t *testing.T, e *Engine, ops []*volume.Op, end, max int, r *rand.Rand) {
	t.Helper()
	for at := int(e.Position().Version); at < end; {
		n := min(1+r.IntN(max), end-at)
		after := volume.Position{Version: ops[at+n-1].Version, Epoch: ops[0].Epoch}
		err := e.Enter(Batch{Ops: ops[at : at+n], After: after, Frame: volume.LogRef{Segment: 1}})
		if err != nil {
			t.Fatal(err)
		}
		at += n
	}
}

// TestReopen abandons an index at random points and goes on from what is left: the
// store ends as that of one which entered everything at once, key by key.
func TestReopen(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ops := history(t, seed, 1500)
			r := rand.New(rand.NewPCG(seed, 3))
			whole := openEngine(t, Options{})
			enterAll(t, whole, ops, len(ops), 1, r)
			want := dump(t, whole)
			if err := whole.Close(); err != nil {
				t.Error(err)
			}
			fs := vfs.NewMem()
			for end := 0; ; {
				e := openEngine(t, Options{FS: fs, MemTable: 64 << 10})
				if v := int(e.Position().Version); v > end {
					t.Fatalf("opened at version %d, but %d was entered", v, end)
				}
				if len(e.Lineage()) > 1 || (e.Position().Version > 0) != (len(e.Lineage()) == 1) {
					t.Errorf("lineage %v at version %d", e.Lineage(), e.Position().Version)
				}
				if end == len(ops) && int(e.Position().Version) == end {
					sameDump(t, "after all", dump(t, e), want)
					if err := e.Close(); err != nil {
						t.Error(err)
					}
					return
				}
				end = min(len(ops), end+1+r.IntN(400))
				enterAll(t, e, ops, end, 20, r)
				if r.IntN(3) == 0 || end == len(ops) {
					if err := e.Flush(); err != nil {
						t.Fatal(err)
					}
				}
				if err := e.Abandon(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A batch that does not fit as a whole changes nothing.
func TestMisfitChangesNothing(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	f.enter(file(2, "a"), dir(3, root, "d"), dir(4, 3, "e"))
	f.enter(write(2, 0, []byte("abc")))
	want := dump(t, e)
	for what, op := range map[string]*volume.Op{
		"name taken":          file(9, "a"),
		"inode exists":        file(2, "b"),
		"inode was given out": {Kind: volume.OpCreate, Ino: 3, Parent: root, Name: "n", Mode: volume.ModeFile},
		"no directory":        {Kind: volume.OpCreate, Ino: 9, Parent: 2, Name: "n", Mode: volume.ModeFile},
		"loop":                {Kind: volume.OpRename, Ino: 3, Parent: root, Name: "d", NewParent: 4, NewName: "x"},
		"onto itself":         {Kind: volume.OpRename, Ino: 2, Parent: root, Name: "a", NewParent: root, NewName: "a"},
		"not empty":           {Kind: volume.OpRmdir, Ino: 3, Parent: root, Name: "d"},
		"another inode":       {Kind: volume.OpUnlink, Ino: 3, Parent: root, Name: "a"},
		"unlink of directory": {Kind: volume.OpUnlink, Ino: 3, Parent: root, Name: "d"},
		"ends too early":      {Kind: volume.OpEnd, Ino: 2},
		"write to directory":  write(3, 0, []byte("x")),
		"no attribute":        {Kind: volume.OpRemoveXattr, Ino: 2, Name: "user.x"},
		"old epoch":           {Kind: volume.OpReign, Epoch: volume.Epoch{Number: 1, Leader: "b"}},
		"link of directory":   {Kind: volume.OpLink, Ino: 3, Parent: root, Name: "n"},
		"publish of named":    {Kind: volume.OpPublish, Ino: 2, Parent: root, Name: "n"},
		"displaces nothing":   {Kind: volume.OpRename, Ino: 2, Parent: root, Name: "a", NewParent: root, NewName: "n", Flags: volume.OpEnds},
		"unknown inode":       {Kind: volume.OpSetAttr, Ino: 99},
	} {
		wantKind(t, what, f.try(op), volume.WrongHistory)
		wantKind(t, what+", behind others", f.try(file(50, "first"), write(50, 0, []byte("1")), op), volume.WrongHistory)
		sameDump(t, what, dump(t, e), want)
	}
	b := f.batch(file(9, "z"))
	b.Ops[0].Version++
	wantKind(t, "gap", e.Enter(b), volume.WrongHistory)
	b = f.batch(file(9, "z"))
	b.Ops[0].Time = volume.Time{}
	wantKind(t, "time goes back", e.Enter(b), volume.WrongHistory)
	b = f.batch(file(9, "z"))
	b.After.Version++
	wantKind(t, "another end", e.Enter(b), volume.WrongHistory)
	sameDump(t, "all refused", dump(t, e), want)
	f.enter(file(9, "z"))
}

// TestReadersAndEntering: readers beside one who enters see states one after the other,
// never an older one again, and what the cache holds at the end is what the store has.
func TestReadersAndEntering(t *testing.T) {
	e := openEngine(t, Options{MemTable: 64 << 10})
	defer e.Close()
	f := newFeeder(t, e)
	const inos = 40 * cacheShards // more than readers hit by chance in the cache
	for i := range volume.Ino(inos) {
		f.enter(file(2+i, strconv.Itoa(int(i))))
	}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			r := rand.New(rand.NewPCG(uint64(w), 1))
			seen := map[volume.Ino]int64{}
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := volume.Ino(r.IntN(inos))
				answered := e.Position().Version
				a, err := e.Lookup(root, strconv.Itoa(int(i)))
				if err != nil || a.Ino != 2+i || a.Size < seen[i] {
					t.Errorf("inode %d: %+v, %v, was of size %d", 2+i, a, err, seen[i])
					return
				}
				if b, err := e.GetAttr(a.Ino); err != nil || b.Version < a.Version || e.Position().Version < answered {
					t.Errorf("inode %d: %+v after %+v, %v", 2+i, b, a, err)
					return
				}
				seen[i] = a.Size
			}
		}()
	}
	r := rand.New(rand.NewPCG(9, 9))
	rounds := 3000
	if testing.Short() {
		rounds = 800
	}
	for size := range int64(rounds) {
		ino := volume.Ino(2 + r.IntN(inos))
		f.enter(&volume.Op{Kind: volume.OpTruncate, Ino: ino, Size: size})
		if a, err := e.GetAttr(ino); err != nil || a.Size != size {
			t.Fatalf("own write: %+v, %v", a, err)
		}
		if r.IntN(8) == 0 {
			e.cache.shard(ino).Lock() // make room, as many other inodes would
			clear(e.cache.shard(ino).m)
			e.cache.shard(ino).Unlock()
		}
	}
	close(stop)
	readers.Wait()
	for i := range volume.Ino(inos) {
		a, err := e.GetAttr(2 + i)
		b, err2 := readInode(e.db, 2+i)
		if err != nil || err2 != nil || a != b.Attr {
			t.Errorf("cache %+v, %v, store %+v, %v", a, err, b.Attr, err2)
		}
	}
}

// A link that ends while it is read is gone, not damaged.
func TestReadLinkRaces(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	for i := range volume.Ino(300) {
		ino := 2 + i
		f.enter(&volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: root, Name: "l", Mode: volume.ModeLink | 0o777, Target: "to"})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				s, err := e.ReadLink(ino)
				if err != nil {
					wantKind(t, "link", err, volume.Stale)
					return
				}
				if s != "to" {
					t.Errorf("target %q", s)
				}
			}
		}()
		f.enter(&volume.Op{Kind: volume.OpUnlink, Ino: ino, Parent: root, Name: "l", Flags: volume.OpEnds})
		<-done
	}
}
