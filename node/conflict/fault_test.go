package conflict

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

// forked is a rig with a fork of some work.
func forked(t testing.TB, seed uint64, steps int) *rig {
	t.Helper()
	r := newRig(t, seed)
	r.work(steps)
	r.fork()
	play(r.winner, r.gen.Fork(seed), steps)
	r.work(steps)
	return r
}

// nthFails makes the n-th op of a file system fail that changes anything or reads a file back.
func nthFails(mem vfs.FS, n int64, cause error) (vfs.FS, *atomic.Int64) {
	var count atomic.Int64
	return errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileClose, errorfs.OpRemove, errorfs.OpRemoveAll, errorfs.OpStat, errorfs.OpList, errorfs.OpGetDiskUsage:
			return nil
		}
		if cause == syscall.ENOSPC && (op.Kind == errorfs.OpFileRead || op.Kind == errorfs.OpFileReadAt || op.Kind == errorfs.OpOpen || op.Kind == errorfs.OpOpenDir) {
			return nil
		}
		if count.Add(1) == n {
			return cause
		}
		return nil
	})), &count
}

// TestFaults: whatever fails, at whatever moment, there is an error and no trace of the
// record; and then it can be made.
func TestFaults(t *testing.T) {
	r := forked(t, 5, 60)
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := int64(1); ; n++ {
			mem := vfs.NewMem()
			fs, count := nthFails(mem, n, cause)
			s, err := OpenStore(fs, "conflicts")
			if err != nil {
				t.Fatal(err)
			}
			o := r.options(s)
			o.sortMemory = 2 << 10
			rec, err := Write(ctx, o)
			if count.Load() < n {
				if err != nil || s.Count() != 1 {
					t.Fatal("nothing failed: ", err)
				}
				if n < 20 {
					t.Errorf("only %d moments", n)
				}
				break
			}
			if err == nil {
				t.Fatalf("fault %d: %v is not told", n, cause)
			}
			if errors.Is(cause, syscall.ENOSPC) && volume.KindOf(err) != volume.NoSpace {
				t.Fatalf("fault %d: %v", n, err)
			}
			if names, err := s.list(); err != nil || len(names) > 0 || s.Count() != 0 {
				t.Fatalf("fault %d: left %q, %v, %d counted", n, names, err, s.Count())
			}
			if n%10 != 0 {
				continue
			}
			o.Store = openStore(t, mem)
			if rec = r.mustWrite(o); o.Store.Check(ctx, rec.ID) != nil {
				t.Fatalf("fault %d: the next record is not well", n)
			}
		}
	}
}

// TestCrashes: after a power loss at any moment there is the whole record, or none that
// looks like one; and it can be made, or found again.
func TestCrashes(t *testing.T) {
	r := forked(t, 6, 60)
	whole, none := 0, 0
	for n := int64(1); ; n++ {
		mem := vfs.NewCrashableMem()
		var clone *vfs.MemFS
		var count atomic.Int64
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind != errorfs.OpFileClose && count.Add(1) == n {
				clone = mem.CrashClone(vfs.CrashCloneCfg{})
			}
			return nil
		}))
		s, err := OpenStore(fs, "conflicts")
		if err != nil {
			t.Fatal(err)
		}
		o := r.options(s)
		o.sortMemory = 2 << 10
		first := r.mustWrite(o)
		if clone == nil {
			clone = mem.CrashClone(vfs.CrashCloneCfg{})
		}
		after := openStore(t, clone)
		rec, err := after.checked(ctx, first.ID)
		switch {
		case err == nil:
			whole++
		case volume.KindOf(err) == volume.NotFound, volume.KindOf(err) == volume.Missing:
			none++
		default:
			t.Fatalf("crash %d: %+v, %v", n, rec, err)
		}
		o.Store = after
		again := r.mustWrite(o)
		if again.ID != first.ID || after.Count() != 1 || (err == nil) != again.Created.Equal(first.Created) && err == nil {
			t.Fatalf("crash %d: %+v", n, again)
		}
		if err := after.Check(ctx, again.ID); err != nil {
			t.Fatalf("crash %d: %v", n, err)
		}
		if count.Load() < n {
			if err != nil {
				t.Fatalf("after all was done: %v", err)
			}
			break
		}
	}
	if whole < 2 || none < 20 {
		t.Errorf("%d whole, %d none: nothing was tried", whole, none)
	}
}

// TestDamage: every flipped bit and every cut is found.
func TestDamage(t *testing.T) {
	r := newRig(t, 3)
	big := r.file(r.leader, volume.RootIno, "big", strings.Repeat("x", 200))
	r.file(r.leader, volume.RootIno, "small", "s")
	r.fork()
	r.write(r.leader, big, 3, "changed")
	r.do(r.leader, volume.Request{Kind: volume.OpSetXattr, Ino: big, Name: "user.a", Data: []byte("value")})
	r.do(r.leader, volume.Request{Kind: volume.OpUnlink, Parent: volume.RootIno, Name: "small"})
	mem := vfs.NewMem()
	o := r.options(openStore(t, mem))
	o.WholeBytes = 1
	rec := r.mustWrite(o)
	tried := 0
	for _, name := range []string{nameManifest, nameOps, nameContents, nameComplete} {
		path := mem.PathJoin("conflicts", rec.ID, name)
		good := readFile(t, mem, path)
		tryThis := func(what string, bad []byte) {
			t.Helper()
			tried++
			writeFile(t, mem, path, bad)
			err := o.Store.Check(ctx, rec.ID)
			if err == nil || !strings.Contains(err.Error(), rec.ID) {
				t.Fatalf("%s, %s: %v", name, what, err)
			}
			if k := volume.KindOf(err); k != volume.Corrupt && k != volume.WrongVersion {
				t.Fatalf("%s, %s: kind %v: %v", name, what, k, err)
			}
		}
		for i := range good {
			for bit := range 8 {
				bad := append([]byte(nil), good...)
				bad[i] ^= 1 << bit
				tryThis("flipped", bad)
			}
			tryThis("cut", good[:i])
		}
		tryThis("longer", append(append([]byte(nil), good...), 0))
		writeFile(t, mem, path, good)
	}
	if err := o.Store.Check(ctx, rec.ID); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d ways of damage, all found", tried)
	// One that is met damaged when the fork comes again is kept aside, and made anew.
	path := mem.PathJoin("conflicts", rec.ID, nameContents)
	writeFile(t, mem, path, readFile(t, mem, path)[:40])
	again := r.mustWrite(o)
	list, err := o.Store.List()
	if err != nil || len(list) != 2 || again.ID != rec.ID || o.Store.Count() != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := o.Store.Drop(rec.ID + badSuffix + "1"); err != nil || o.Store.Count() != 1 {
		t.Errorf("%v, %d left", err, o.Store.Count())
	}
}

func readFile(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, st.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(append([]byte(nil), b...))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// smallDisk says how much is free.
type smallDisk struct {
	vfs.FS
	avail uint64
}

func (d smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.avail, TotalBytes: d.avail}, nil
}

// TestRoom: what does not fit is refused before anything is written of it, and what was not
// changed of files is left out before that.
func TestRoom(t *testing.T) {
	r := newRig(t, 3)
	block := strings.Repeat("0123456789abcdef", 1<<16)
	big := r.file(r.leader, volume.RootIno, "big", block)
	for i := range int64(7) {
		r.write(r.leader, big, (i+1)<<20, block)
	}
	r.fork()
	r.write(r.leader, big, 100, "changed")
	for _, c := range []struct {
		avail uint64
		kind  volume.Kind
		lean  bool
	}{{1 << 30, 0, false}, {DefaultReserve + 5<<20, 0, true}, {DefaultReserve + 1000, volume.NoSpace, false}} {
		o := r.options(openStore(t, smallDisk{vfs.NewMem(), c.avail}))
		rec, err := Write(ctx, o)
		if c.kind != 0 {
			if volume.KindOf(err) != c.kind || o.Store.Count() != 0 || !strings.Contains(err.Error(), "make room") {
				t.Errorf("%d free: %+v, %v", c.avail, rec, err)
			}
			continue
		}
		if err != nil || rec.Lean != c.lean || c.lean != (rec.Bytes < 1<<20) {
			t.Fatalf("%d free: %+v, %v", c.avail, rec, err)
		}
		rd := openRecord(t, o.Store, rec.ID)
		dir, notes := restored(t, rd, r.winner)
		if len(notes) > 0 {
			t.Errorf("%v", notes)
		}
		a, err := r.leader.GetAttr(ctx, big)
		if err != nil {
			t.Fatal(err)
		}
		r.compareContent(t, dir+"/big", "big", &a)
	}
}

// TestInterrupted: a record that is given up leaves nothing.
func TestInterrupted(t *testing.T) {
	r := forked(t, 8, 100)
	s := openStore(t, vfs.NewMem())
	o := r.options(s)
	c, cancel := context.WithCancel(ctx)
	o.Progress = func(uint64, uint64, string) { cancel() }
	_, err := Write(c, o)
	names, lerr := s.list()
	if err == nil || volume.KindOf(err) != volume.Interrupted || lerr != nil || len(names) > 0 {
		t.Errorf("%v, left %q %v", err, names, lerr)
	}
}
