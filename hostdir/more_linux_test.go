package hostdir

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// TestUnprivileged runs the random ops and the kill test as an ordinary user.
func TestUnprivileged(t *testing.T) {
	asUser(t, "TestRandomOps|TestOwn|TestRedoKeeps|TestRedoLost|TestKilled|TestForeign|TestSwapped")
}

func asUser(t *testing.T, run string) {
	needRoot(t)
	dir, err := os.MkdirTemp("/tmp", "hostdir-user")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o777)
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/test", self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", dir+"/test",
		"-test.timeout", "60s", "-test.run", run)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Fatalf("%v\n%.3000s", err, out)
	}
}

// TestUnprivilegedRedo is the same for the redo, in one way.
func TestUnprivilegedRedo(t *testing.T) { asUser(t, "TestRedo$/by_name/80") }

// TestOwnFilesWithoutPermission: an ordinary user's daemon gets at its own files whatever
// their mode, and a foreign owner or a device is refused without an error.
func TestOwnFilesWithoutPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("run by TestUnprivileged")
	}
	r := newRig(t)
	d := r.create(1, "d", volume.ModeDir|0o500)
	r.do(&volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: d, Name: "f", Mode: volume.ModeFile | 0o000, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())})
	f := r.index.inodes[d].entries["f"].Ino
	e := r.create(d, "e", volume.ModeDir|0o000)
	g := r.file(e, "g", "deep")
	r.close()
	r.open(false)
	r.write(f, 0, "written")
	if got, err := r.read(g); err != nil || got != "deep" {
		t.Fatalf("%q %v", got, err)
	}
	r.unlink(e, "g", g, volume.OpEnds)
	if st, _ := os.Lstat(r.path + "/d"); st.Mode().Perm() != 0o500 {
		t.Fatalf("mode %o was not put back", st.Mode())
	}
	r.do(&volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: 1, Name: "roots", Mode: volume.ModeFile | 0o644})
	r.do(&volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: 1, Name: "null", Mode: volume.ModeChar | 0o644, Rdev: 0x103,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid())})
	if s := r.dir.Stats(); s.RefusedOwner != 1 || s.RefusedNode != 1 {
		t.Fatalf("%+v", s)
	}
	r.close()
	r.open(false)
	if err := r.dir.Check(ctx, r.index, func(diff Difference) error { return fmt.Errorf("%s", diff) }); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Lstat(r.path + "/d"); st.Mode().Perm() != 0o500 {
		t.Fatalf("mode %o was not put back", st.Mode())
	}
	os.Chmod(r.path+"/d", 0o700) // or the clean-up of the test cannot remove it
	os.Chmod(r.path+"/d/e", 0o700)
}

func TestSpecialFiles(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	for i, dev := range []uint32{0x103, 0x801, 300<<8 | 5, 1<<20 | 2<<8 | 7} {
		typ := volume.ModeChar
		if i%2 == 1 {
			typ = volume.ModeBlock
		}
		r.do(&volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: 1, Name: fmt.Sprint(i), Mode: typ | 0o640, Rdev: dev, GID: 6})
	}
	r.create(1, "fifo", volume.ModeFIFO|0o622)
	r.create(1, "sock", volume.ModeSocket|0o755)
	r.create(1, "suid", volume.ModeFile|0o6755)
	l := r.create(1, "link", volume.ModeLink|0o777)
	r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: l, Name: "trusted.x", Data: []byte("on a link")})
	r.do(&volume.Op{Kind: volume.OpSetAttr, Ino: l, Mask: volume.SetUID | volume.SetGID, UID: 7, GID: 8})
	d := r.create(1, "sgid", volume.ModeDir|0o2775)
	r.create(d, "in", volume.ModeFile|0o644)
	r.do(&volume.Op{Kind: volume.OpSetAttr, Ino: d, Mask: volume.SetUID, UID: 9})
	old := r.file(1, "old", "x")
	r.do(&volume.Op{Kind: volume.OpSetAttr, Ino: old, Mask: volume.SetAtime | volume.SetMtime,
		Atime: volume.Time{Sec: -7, Nsec: 5}, Mtime: volume.Time{Sec: -100, Nsec: 999_999_999}})
	r.compare()
}

// acl encodes a POSIX ACL as the kernel's attribute has it.
func acl(entries ...[3]uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

func TestACLAndCapabilities(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	none := uint32(0xffffffff)
	access := acl([3]uint32{1, 6, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 4, none}, [3]uint32{0x10, 7, none}, [3]uint32{0x20, 0, none})
	d := r.mkdir(1, "d")
	r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: d, Name: volume.XattrACLDefault, Data: access})
	// A child whose ACL was decided, and one that was decided to have none.
	r.do(&volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: d, Name: "inherits", Mode: volume.ModeFile | 0o670,
		Xattrs: []volume.Xattr{{Name: volume.XattrACLAccess, Value: access}}})
	f := r.file(1, "f", "x")
	r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: f, Name: volume.XattrACLAccess, Data: access, Mask: volume.SetMode, Mode: 0o670})
	caps := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	caps = append(caps, make([]byte, 16)...)
	caps[5] = 0x04
	g := r.file(1, "g", "x")
	r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: g, Name: volume.XattrCapability, Data: caps})
	r.do(&volume.Op{Kind: volume.OpSetAttr, Ino: g, Mask: volume.SetUID, UID: 5}) // the op does not drop them
	r.compare()
	r.do(&volume.Op{Kind: volume.OpWrite, Ino: g, Data: []byte("y"), Flags: volume.OpDropCaps})
	r.compare()
}

func TestCopyChunks(t *testing.T) {
	chunk := bytes.Repeat([]byte("0123456789"), 1000)
	fail := false
	r := newRig(t, func(o *Options) {
		o.Chunks = func(_ context.Context, id volume.ChunkID) ([]byte, error) {
			if fail || id[0] != 1 {
				return nil, volume.Missing
			}
			return chunk, nil
		}
	})
	f := r.file(1, "f", "start")
	id := volume.ChunkID{1}
	op := &volume.Op{Kind: volume.OpCopyChunks, Ino: f, Offset: 3, Chunks: []volume.ChunkRef{{ID: id, Offset: 5, Length: 4000}, {Length: 5000},
		{ID: id, Length: 10}, {Length: 77}}}
	if _, err := r.dir.Apply(ctx, op, r.index); err != nil {
		t.Fatal(err)
	}
	want := slices.Concat([]byte("sta"), chunk[5:4005], make([]byte, 5000), chunk[:10], make([]byte, 77))
	if got, _ := os.ReadFile(r.path + "/f"); !bytes.Equal(got, want) {
		t.Fatalf("%d bytes instead of %d", len(got), len(want))
	}
	if err := r.dir.Undo(ctx, op, r.index); err != nil {
		t.Fatal(err)
	}
	fail = true
	if _, err := r.dir.Apply(ctx, op, r.index); volume.KindOf(err) != volume.Missing {
		t.Fatal(err)
	}
	if st, _ := os.Stat(r.path + "/f"); st.Size() != 5 {
		t.Fatalf("size %d after a failure", st.Size())
	}
}

func TestSeekAndSync(t *testing.T) {
	r := newRig(t)
	f := r.file(1, "f", "data")
	r.do(&volume.Op{Kind: volume.OpTruncate, Ino: f, Size: 1 << 20})
	attr, _ := r.index.Inode(f)
	for _, c := range []struct {
		off  int64
		hole bool
		want int64
		err  error
	}{{0, false, 0, nil}, {0, true, 4096, nil}, {5000, true, 5000, nil}, {5000, false, 0, volume.NotSeekable}, {1 << 20, true, 0, volume.NotSeekable}} {
		at, err := r.dir.Seek(ctx, &attr, c.off, c.hole, r.index)
		if c.err == nil && at != c.want || volume.KindOf(err) != volume.KindOf(c.err) {
			t.Errorf("seek %d hole %v: %d %v", c.off, c.hole, at, err)
		}
	}
	for _, data := range []bool{true, false} {
		if err := errors.Join(r.dir.Sync(ctx, f, data, r.index), r.dir.Sync(ctx, 1, data, r.index)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := r.dir.StatFS(ctx)
	if err != nil || st.Blocks == 0 || st.BlockSize == 0 {
		t.Fatalf("%+v %v", st, err)
	}
	r.dir.syncFailed.Store(true)
	if err := errors.Join(r.dir.Sync(ctx, f, true, r.index)); volume.KindOf(err) != volume.IO {
		t.Fatalf("a sync after a failed one: %v", err)
	}
	if err := r.dir.SyncAll(ctx); volume.KindOf(err) != volume.IO {
		t.Fatalf("a sync after a failed one: %v", err)
	}
}

// TestSettle: a record is clean only for the version it was made at.
func TestSettle(t *testing.T) {
	r := newRig(t)
	f := r.file(1, "f", "1")
	if err := r.dir.Settle(f, r.index); err != nil {
		t.Fatal(err)
	}
	r.index.store(r.dir.PendingLower())
	if got := r.dir.PendingLower(); len(got) != 0 {
		t.Fatalf("records handed out twice: %v", got)
	}
	rec, err := decodeRecord(r.index.lower[f].Value)
	if err != nil || rec.flags != flagClean || rec.version != r.index.inodes[f].attr.Version || rec.size != 1 {
		t.Fatalf("%+v %v", rec, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(r.path+"/f", &st); err != nil || st.Mtim.Nsec != int64(r.index.inodes[f].attr.Mtime.Nsec) {
		t.Fatalf("mtime was not set: %v %v", st.Mtim, err)
	}
	// Applied, not yet entered: it stays to be settled, and its record says nothing.
	op := &volume.Op{Kind: volume.OpWrite, Ino: f, Data: []byte("22"), Time: volume.Time{Sec: r.now.Sec + 5}}
	if _, err := r.dir.Apply(ctx, op, r.index); err != nil {
		t.Fatal(err)
	}
	if err := r.dir.Settle(f, r.index); err != nil {
		t.Fatal(err)
	}
	if _, dirty := r.dir.dirty.get(f); !dirty || r.dir.pending.find(f).flags&flagClean != 0 {
		t.Fatal("settled before its op was in the index")
	}
	r.index.apply(op, nil)
	r.compare()
	// A crash without records: the stored one is of an older version, so no edit is seen.
	r.write(f, 0, "333")
	r.dir.Close()
	r.open(false)
	if err := r.dir.Check(ctx, r.index, func(d Difference) error { return fmt.Errorf("%s", d) }); err != nil {
		t.Fatalf("our own write taken for an edit: %v", err)
	}
	if n, err := r.dir.SettleIdle(r.index, 10); err != nil || n != 0 {
		t.Fatal(n, err)
	}
}

// TestSettleEdited: what somebody did to a file between our op on it and its settling is
// not taken for ours.
func TestSettleEdited(t *testing.T) {
	edits := map[string]struct {
		fields DiffFields
		do     func(p string) error
	}{
		"mode":    {FieldMode, func(p string) error { return os.Chmod(p, 0o600) }},
		"longer":  {FieldSize, func(p string) error { return os.Truncate(p, 100) }},
		"shorter": {FieldSize, func(p string) error { return os.Truncate(p, 1) }},
		"xattr":   {FieldXattrs, func(p string) error { return unix.Lsetxattr(p, "user.new", []byte("1"), 0) }},
		"value":   {FieldXattrs, func(p string) error { return unix.Lsetxattr(p, "user.old", []byte("1"), 0) }},
	}
	if os.Getuid() == 0 {
		edits["owner"] = struct {
			fields DiffFields
			do     func(p string) error
		}{FieldOwner, func(p string) error { return os.Chown(p, 12, 34) }}
	}
	for name, e := range edits {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/", again), func(t *testing.T) {
				r := newRig(t)
				f := r.file(1, "f", "content")
				r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: f, Name: "user.old", Data: []byte("0")})
				if again { // it was settled before
					if _, err := r.dir.SettleAll(r.index); err != nil {
						t.Fatal(err)
					}
					r.write(f, 0, "CONTENT")
				}
				if err := e.do(filepath.Join(r.path, "f")); err != nil {
					t.Fatal(err)
				}
				if err := r.dir.Settle(f, r.index); err != nil {
					t.Fatal(err)
				}
				var found []Difference
				check := func(when string) {
					t.Helper()
					found = nil
					err := r.dir.Check(ctx, r.index, func(d Difference) error { found = append(found, d); return nil })
					if err != nil || len(found) != 1 || found[0].Ino != f || found[0].Fields != e.fields {
						t.Fatalf("%s: found %v, %v; want a change of %v", when, found, err, e.fields)
					}
				}
				check("settled")
				r.close()
				r.open(false)
				check("started again")
				// What reconciling records of it is all that there is to say.
				r.describe(found[0])
				if _, err := r.dir.SettleAll(r.index); err != nil {
					t.Fatal(err)
				}
				if err := r.dir.Check(ctx, r.index, func(d Difference) error { return fmt.Errorf("%s", d) }); err != nil {
					t.Fatalf("after reconciling: %v", err)
				}
			})
		}
	}
}

// TestSettleRefused: what the lower file system did not take is nobody's edit.
func TestSettleRefused(t *testing.T) {
	r := newRig(t)
	f := r.create(1, "fifo", volume.ModeFIFO|0o644) // no FIFO has user attributes below
	r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: f, Name: "user.a", Data: []byte("0")})
	if r.dir.Stats().RefusedXattr != 1 {
		t.Fatalf("%+v", r.dir.Stats())
	}
	if _, err := r.dir.SettleAll(r.index); err != nil {
		t.Fatal(err)
	}
	if err := r.dir.Check(ctx, r.index, func(d Difference) error { return fmt.Errorf("%s", d) }); err != nil {
		t.Fatal(err)
	}
}

// TestSettleWhileMade: a file that is made while everything is settled is settled later,
// when its op is in the index; one whose op never gets there is not kept for ever.
func TestSettleWhileMade(t *testing.T) {
	r := newRig(t)
	op := &volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: 1, Name: "f", Mode: volume.ModeFile | 0o644,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Time: volume.Time{Sec: r.now.Sec, Nsec: 12345}}
	a, err := r.dir.Apply(ctx, op, r.index)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.dir.SettleAll(r.index); err != nil {
		t.Fatal(err)
	}
	r.index.apply(op, a.Lower)
	if _, err := r.dir.SettleAll(r.index); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(r.path+"/f", &st); err != nil || st.Mtim.Nsec != 12345 {
		t.Fatalf("mtime was not set: %v %v", st.Mtim, err)
	}
	never := r.ino()
	r.dir.dirty.mark(never, op.Time)
	if err := r.dir.Settle(never, r.index); err != nil {
		t.Fatal(err)
	}
	if _, kept := r.dir.dirty.get(never); !kept {
		t.Fatal("forgotten at once")
	}
	sh := &r.dir.dirty.shards[uint64(never)%cacheShards]
	mark := sh.m[never]
	mark.at -= madeWithin + 1
	sh.m[never] = mark
	if err := r.dir.Settle(never, r.index); err != nil {
		t.Fatal(err)
	}
	if _, kept := r.dir.dirty.get(never); kept {
		t.Fatal("kept for ever")
	}
}

// TestFDCache holds the bound and never closes what is in use.
func TestFDCache(t *testing.T) {
	c := newFDCache(32)
	open := func() int {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	held := c.add(16, open(), false)
	for i := range 500 {
		c.put(c.add(volume.Ino(i), open(), false))
	}
	if n := c.len(); n > 32 {
		t.Fatalf("%d descriptors", n)
	}
	if e := c.get(16); e != held {
		t.Fatal("evicted while in use")
	} else {
		c.put(e)
	}
	c.drop(16)
	if _, err := fstat(held.fd); err != nil {
		t.Fatal("closed while in use")
	}
	better := c.add(17, open(), false)
	c.put(better)
	if e := c.add(17, open(), true); !e.writable || e == better {
		t.Fatal("a writable descriptor does not replace a read-only one")
	} else {
		c.put(e)
	}
	c.put(held)
	c.dropAll()
	if c.len() != 0 {
		t.Fatal("not empty")
	}
}

// TestConcurrent writes, reads, settles and renames from many goroutines with a cache
// far too small.
func TestConcurrent(t *testing.T) {
	r := newRig(t)
	var files []volume.Ino
	for i := range 100 {
		files = append(files, r.file(r.mkdir(1, fmt.Sprintf("d%d", i)), "f", "0000"))
	}
	var wg sync.WaitGroup
	stop := time.Now().Add(300 * time.Millisecond)
	fail := make(chan error, 100)
	worker := func(n int, f func(i int) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := n; time.Now().Before(stop); i += 7 {
				if err := f(i); err != nil {
					fail <- err
					return
				}
			}
		}()
	}
	var locks [100]sync.RWMutex
	for n := range 3 {
		worker(n, func(i int) error {
			k := i % 100
			locks[k].Lock()
			defer locks[k].Unlock()
			op := &volume.Op{Kind: volume.OpWrite, Ino: files[k], Data: fmt.Appendf(nil, "%04d", i%1000), Time: volume.Time{Sec: 2_000_000_000}}
			slot := r.dir.Begin(op, r.index)
			defer slot.Done()
			_, err := r.dir.Apply(ctx, op, r.index)
			r.index.apply(op, nil)
			return err
		})
		worker(n, func(i int) error {
			k := i % 100
			locks[k].RLock()
			defer locks[k].RUnlock()
			attr, _ := r.index.Inode(files[k])
			buf := make([]byte, 10)
			m, err := r.dir.ReadAt(ctx, &attr, buf, 0, r.index)
			if err == nil && string(buf[:m]) != string(r.index.inodes[files[k]].content) {
				err = fmt.Errorf("read %q", buf[:m])
			}
			return err
		})
		worker(n, func(i int) error { return r.dir.Settle(files[i%100], r.index) })
	}
	worker(0, func(int) error { r.dir.Stats(); r.index.store(r.dir.PendingLower()); return nil })
	wg.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
	r.now.Sec = 2_000_000_001
	r.compare()
}

// TestNewFileSystem: a copy on another file system is refused, and accepted on demand.
func TestNewFileSystem(t *testing.T) {
	needRoot(t)
	r := newRig(t)
	f := r.file(1, "f", "content")
	r.close()
	other := t.TempDir()
	if err := unix.Mount("none", other, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(other, unix.MNT_DETACH) })
	if out, err := exec.Command("cp", "-a", r.path+"/.", other).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	os.Chmod(other, 0o755)
	r.path = other
	if d, err := Open(r.options(false)); err == nil {
		weak := d.fsTag
		d.Close()
		if _, strong, _ := fsID(unix.AT_FDCWD); strong {
			t.Fatalf("taken for the original, tag %x", weak)
		}
	} else if volume.KindOf(err) != volume.WrongVolume {
		t.Fatal(err)
	}
	r.opt = func(o *Options) { o.AcceptNewFS = true }
	r.open(false)
	if got, err := r.read(f); err != nil || got != "content" {
		t.Fatalf("%q %v", got, err)
	}
	r.write(f, 0, "CONTENT")
	r.compare()
	r.close()
	r.opt = func(*Options) {}
	r.open(false) // the marker names the new one now
}

func BenchmarkWrite4K(b *testing.B) {
	r := newRig(b)
	f := r.file(1, "f", "x")
	op := &volume.Op{Kind: volume.OpWrite, Ino: f, Data: make([]byte, 4096)}
	before := r.dir.Stats().Opened
	b.SetBytes(4096)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		op.Offset = int64(i%1024) * 4096
		op.Time.Sec = int64(i / 1000)
		slot := r.dir.Begin(op, r.index)
		if _, err := r.dir.Apply(ctx, op, r.index); err != nil {
			b.Fatal(err)
		}
		slot.Done()
	}
	if r.dir.Stats().Opened > before {
		b.Fatal("the file was opened again")
	}
}

func BenchmarkWrite4KBare(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 4096)
	b.SetBytes(4096)
	for i := 0; b.Loop(); i++ {
		if _, err := unix.Pwrite(int(f.Fd()), p, int64(i%1024)*4096); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	r := newRig(b)
	dir := r.mkdir(1, "d")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		op := &volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: dir, Name: fmt.Sprintf("f%d", i), Mode: volume.ModeFile | 0o644, Time: r.now}
		slot := r.dir.Begin(op, r.index)
		a, err := r.dir.Apply(ctx, op, r.index)
		if err != nil {
			b.Fatal(err)
		}
		slot.Done()
		r.index.apply(op, a.Lower)
	}
}

func BenchmarkCreateBare(b *testing.B) {
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		fd, err := unix.Open(fmt.Sprintf("%s/f%d", dir, i), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
}

func BenchmarkCheck(b *testing.B) {
	r := newRig(b)
	for i := range 20 {
		d := r.mkdir(1, fmt.Sprint(i))
		for j := range 500 {
			r.create(d, fmt.Sprint(j), volume.ModeFile|0o644)
		}
	}
	r.close()
	r.open(false)
	for b.Loop() {
		if err := r.dir.Check(ctx, r.index, func(d Difference) error { return fmt.Errorf("%s", d) }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/file")
}

// TestKilledInExchange: two files are told from each other after a kill in the middle of their
// exchange, though they look alike and their records are lost.
func TestKilledInExchange(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprint("applied ", applied), func(t *testing.T) {
			r := newRig(t)
			d := r.mkdir(1, "d")
			a, b := r.file(1, "a", "A"), r.file(d, "b", "B")
			op := &volume.Op{Kind: volume.OpRename, Ino: a, Parent: 1, Name: "a", NewParent: d, NewName: "b", Replaced: b, Flags: volume.OpExchange, Time: r.now}
			r.dir.Begin(op, r.index)
			if applied {
				if _, err := r.dir.Apply(ctx, op, r.index); err != nil {
					t.Fatal(err)
				}
			}
			r.crash()
			n := 0
			for _, in := range r.dir.Intents() {
				err := r.dir.Inspect(ctx, in, r.index, func(op *volume.Op, lower []volume.LowerRecord) error {
					n++
					r.index.apply(op, lower)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if want := map[bool]int{true: 1}[applied]; n != want {
				t.Errorf("%d ops were found to be missing in the log, want %d", n, want)
			}
			for ino, want := range map[volume.Ino]string{a: "A", b: "B"} {
				if got, err := r.read(ino); got != want || err != nil {
					t.Errorf("%s has %q, %v, want %q", ino, got, err, want)
				}
			}
		})
	}
}

// meanwhile is a view whose first look at an inode is followed by something.
type meanwhile struct {
	volume.View
	then func()
}

func (v *meanwhile) Inode(ino volume.Ino) (volume.Attr, error) {
	a, err := v.View.Inode(ino)
	if then := v.then; then != nil {
		v.then = nil
		then()
	}
	return a, err
}

// TestSettleMeanwhile: what ops take away, or move, while it is settled is nobody's edit.
func TestSettleMeanwhile(t *testing.T) {
	r := newRig(t)
	defer r.close()
	for name, then := range map[string]func(volume.Ino){
		"ends":  func(f volume.Ino) { r.unlink(1, "ends", f, volume.OpEnds) },
		"moves": func(f volume.Ino) { r.rename(1, "moves", 1, "moved", f, 0, 0) },
	} {
		f := r.file(1, name, "text")
		if err := r.dir.Settle(f, &meanwhile{r.index, func() { then(f) }}); err != nil {
			t.Fatal(err)
		}
		if len(r.foreign) > 0 {
			t.Errorf("%s: reported %v", name, r.foreign)
		}
		r.foreign = nil
	}
}
