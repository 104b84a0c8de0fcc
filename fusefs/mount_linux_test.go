package fusefs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// hub is a Model with observers, as a node has them.
type hub struct {
	*volumetest.Model
	late bool // observers are told by another goroutine, at any time after Do

	// before is called before each Do, if set; its error ends the Do.
	before atomic.Pointer[func(context.Context, *volume.Request) error]

	mu        sync.Mutex
	seen      volume.Version
	observers []volume.Observer

	enders atomic.Pointer[[]volume.Observer] // the same, for who has the model's lock
}

func newHub() *hub {
	h := new(hub)
	h.Model = volumetest.NewModel(volumetest.Options{Ending: h.ending})
	return h
}

func (h *hub) ending(a *volume.Attr) {
	if list := h.enders.Load(); list != nil {
		for _, o := range *list {
			if end, ok := o.(volume.EndObserver); ok {
				end.Ending(a)
			}
		}
	}
}

func (h *hub) Do(ctx context.Context, r *volume.Request) (volume.Result, error) {
	if before := h.before.Load(); before != nil {
		if err := (*before)(ctx, r); err != nil {
			return volume.Result{}, err
		}
	}
	res, err := h.Model.Do(ctx, r)
	if h.late {
		go h.tell()
	} else {
		h.tell()
	}
	return res, err
}

func (h *hub) Close(ctx context.Context, ino volume.Ino) error {
	err := h.Model.Close(ctx, ino)
	h.tell()
	return err
}

func (h *hub) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := h.Model.Ops(h.seen)
	if len(ops) == 0 {
		return
	}
	h.seen = ops[len(ops)-1].Version
	for _, o := range h.observers {
		o.Applied(ops)
	}
}

// elsewhere does something that did not come through the mount.
func (h *hub) elsewhere(t testing.TB, r volume.Request) volume.Result {
	t.Helper()
	r.Caller = volume.Caller{Front: volume.FrontS3}
	res, err := h.Model.Do(context.Background(), &r)
	if err != nil {
		t.Fatalf("%s elsewhere: %v", r.Kind, err)
	}
	h.tell()
	return res
}

// ino finds a path.
func (h *hub) ino(t testing.TB, path string) volume.Ino {
	t.Helper()
	ino := volume.RootIno
	for name := range strings.SplitSeq(path, "/") {
		a, err := h.Lookup(context.Background(), ino, name)
		if err != nil {
			t.Fatalf("lookup %s of %s: %v", name, path, err)
		}
		ino = a.Ino
	}
	return ino
}

// rig is a mounted hub.
type rig struct {
	t   testing.TB
	hub *hub
	srv *Server
	dir string
}

var (
	testMountsMu sync.Mutex
	testMounts   = map[*Server]bool{}
)

// abortTestMounts breaks every mount of the tests, so that nothing hangs for ever.
func abortTestMounts() {
	testMountsMu.Lock()
	defer testMountsMu.Unlock()
	for s := range testMounts {
		s.driver.unmount(true)
		s.driver.abort()
	}
}

func mountHub(t testing.TB, h *hub, o Options) *rig {
	t.Helper()
	if err := Available(); err != nil || os.Geteuid() != 0 {
		t.Skipf("cannot mount here: %v (uid %d)", err, os.Geteuid())
	}
	o.Dir = t.TempDir()
	os.Chmod(filepath.Dir(o.Dir), 0o755) // for agents that are not root
	o.AllowOther = true
	if o.Driver == "" {
		o.Driver = testDriver
	}
	o.Log = zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	s, err := Mount(context.Background(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.observers = append(h.observers, s.Observer())
	enders := slices.Clone(h.observers)
	h.enders.Store(&enders)
	h.seen = h.Model.Position().Version
	h.mu.Unlock()
	testMountsMu.Lock()
	testMounts[s] = true
	testMountsMu.Unlock()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Unmount(ctx); err != nil {
			t.Error(err)
		}
		testMountsMu.Lock()
		delete(testMounts, s)
		testMountsMu.Unlock()
	})
	return &rig{t: t, hub: h, srv: s, dir: s.Dir()}
}

func mountModel(t *testing.T) (*rig, *agent) {
	t.Helper()
	r := mountHub(t, newHub(), Options{})
	return r, startAgent(t, r.dir, 0)
}

// settle waits until the kernel knows all.
func (r *rig) settle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.srv.Settle(ctx); err != nil {
		r.t.Fatalf("settle: %v", err)
	}
}

func TestModes(t *testing.T) {
	r, a := mountModel(t)
	a.do(cmd{Op: "mkdir", Path: "tmp", Mode: 0o777})
	if m := a.stat("tmp").Mode; m != unix.S_IFDIR|0o755 {
		t.Errorf("mkdir with umask 022: mode %o", m)
	}
	a.do(cmd{Op: "chmod", Path: "tmp", Mode: 0o1777})
	if m := a.stat("tmp").Mode; m != unix.S_IFDIR|0o1777 {
		t.Errorf("sticky directory: mode %o", m)
	}
	// The sticky rule is the kernel's business, if it is told the bit.
	a.put("tmp/root", "x")
	user := startAgent(t, r.dir, 4242)
	user.fails("EPERM", cmd{Op: "unlink", Path: "tmp/root"})
	user.put("tmp/mine", "y")
	if st := user.stat("tmp/mine"); st.Uid != 4242 || st.Gid != 4242 || st.Mode != unix.S_IFREG|0o644 {
		t.Errorf("owner %d:%d mode %o", st.Uid, st.Gid, st.Mode)
	}
	user.fails("EACCES", cmd{Op: "open", Path: "tmp/root", Flags: unix.O_WRONLY})
	for _, m := range []uint32{0o4755, 0o2755, 0o7777, 0} {
		a.do(cmd{Op: "chmod", Path: "tmp/root", Mode: m})
		if got := a.stat("tmp/root").Mode; got != unix.S_IFREG|m {
			t.Errorf("chmod %o: mode %o", m, got)
		}
	}
	a.do(cmd{Op: "mkdir", Path: "sg", Mode: 0o777})
	a.do(cmd{Op: "chown", Path: "sg", UID: 0, GID: 77})
	a.do(cmd{Op: "chmod", Path: "sg", Mode: 0o2777})
	a.put("sg/f", "")
	if st := a.stat("sg/f"); st.Gid != 77 {
		t.Errorf("group in a setgid directory: %d", st.Gid)
	}
	a.do(cmd{Op: "umask", Mode: 0o077})
	a.do(cmd{Op: "open", Path: "u", Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o666})
	a.do(cmd{Op: "mknod", Path: "fifo", Mode: unix.S_IFIFO | 0o666})
	a.do(cmd{Op: "mknod", Path: "dev", Mode: unix.S_IFCHR | 0o666, Len: int64(unix.Mkdev(300, 70000))})
	for name, want := range map[string]uint32{"u": unix.S_IFREG | 0o600, "fifo": unix.S_IFIFO | 0o600, "dev": unix.S_IFCHR | 0o600} {
		if m := a.stat(name).Mode; m != want {
			t.Errorf("%s with umask 077: mode %o, want %o", name, m, want)
		}
	}
	if d := a.stat("dev").Rdev; d != unix.Mkdev(300, 70000) {
		t.Errorf("device number %x", d)
	}
}

func TestTimes(t *testing.T) {
	_, a := mountModel(t)
	a.put("f", "x")
	for _, tt := range []volume.Time{{Sec: -1, Nsec: 500e6}, {Sec: -62135596800, Nsec: 1}, {Sec: 7258118400, Nsec: 999999999}, {}, {Sec: 1 << 33}} {
		a.do(cmd{Op: "utimes", Path: "f", Atime: tt, Mtime: tt})
		st := a.stat("f")
		if st.Mtim.Sec != tt.Sec || st.Mtim.Nsec != int64(tt.Nsec) || st.Atim != st.Mtim {
			t.Errorf("set %v, got mtime %v atime %v", tt, st.Mtim, st.Atim)
		}
	}
	a.do(cmd{Op: "touch", Path: "f"})
	if d := time.Since(time.Unix(a.stat("f").Mtim.Sec, 0)); d < -time.Second || d > 10*time.Second {
		t.Errorf("touch set mtime %v ago", d)
	}
	if st := a.stat("f"); st.Atim.Sec != 1<<33 {
		t.Errorf("touch of mtime changed atime: %v", st.Atim)
	}
	x := a.do(cmd{Op: "statx", Path: "f"})
	if x.N&unix.STATX_BTIME == 0 || time.Since(time.Unix(x.Btime.Sec, 0)) > time.Minute {
		t.Errorf("time of birth: mask %x, %v", x.N, x.Btime)
	}
}

func TestContent(t *testing.T) {
	_, a := mountModel(t)
	fd := a.open("f", unix.O_CREAT|unix.O_RDWR)
	a.do(cmd{Op: "pwrite", FD: fd, Data: []byte("hello"), Off: 3})
	if got := a.content("f"); got != "\x00\x00\x00hello" {
		t.Errorf("content %q", got)
	}
	if st := a.stat("f"); st.Size != 8 || st.Blocks != 1 || st.Blksize != blockSize {
		t.Errorf("size %d blocks %d blksize %d", st.Size, st.Blocks, st.Blksize)
	}
	app := a.open("f", unix.O_WRONLY|unix.O_APPEND)
	a.do(cmd{Op: "write", FD: app, Data: []byte("+1")})
	a.do(cmd{Op: "pwrite", FD: app, Data: []byte("+2"), Off: 0}) // Linux appends all the same
	if got := a.content("f"); got != "\x00\x00\x00hello+1+2" {
		t.Errorf("appended: %q", got)
	}
	a.do(cmd{Op: "ftruncate", FD: fd, Len: 2})
	a.do(cmd{Op: "truncate", Path: "f", Len: 6})
	if got := a.content("f"); got != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("truncated: %q", got)
	}
	a.do(cmd{Op: "fsync", FD: fd})
	a.do(cmd{Op: "fdatasync", FD: fd})
	a.open("f", unix.O_WRONLY|unix.O_TRUNC)
	if st := a.stat("f"); st.Size != 0 {
		t.Errorf("O_TRUNC left %d bytes", st.Size)
	}
	a.do(cmd{Op: "pwrite", FD: fd, Data: make([]byte, 3<<20)})
	a.do(cmd{Op: "mmapstore", FD: fd, Len: 3 << 20, Off: 2<<20 + 5, Data: []byte("mapped")})
	a.do(cmd{Op: "close", FD: fd})
	if got := a.content("f"); len(got) != 3<<20 || got[2<<20+5:2<<20+11] != "mapped" {
		t.Errorf("after a store through a mapping: %d bytes", len(got))
	}
}

func TestSparse(t *testing.T) {
	_, a := mountModel(t)
	fd := a.open("f", unix.O_CREAT|unix.O_RDWR)
	a.do(cmd{Op: "pwrite", FD: fd, Data: make([]byte, 1<<20)})
	a.do(cmd{Op: "pwrite", FD: fd, Data: []byte(strings.Repeat("d", 1<<20)), Off: 0})
	a.do(cmd{Op: "fallocate", FD: fd, Mode: unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, Off: 256 << 10, Len: 256 << 10})
	if got := a.do(cmd{Op: "seek", FD: fd, Off: 0, Flags: unix.SEEK_HOLE}).N; got != 256<<10 {
		t.Errorf("hole at %d", got)
	}
	if got := a.do(cmd{Op: "seek", FD: fd, Off: 300 << 10, Flags: unix.SEEK_DATA}).N; got != 512<<10 {
		t.Errorf("data at %d", got)
	}
	a.fails("ENXIO", cmd{Op: "seek", FD: fd, Off: 1 << 20, Flags: unix.SEEK_DATA})
	if got := a.do(cmd{Op: "pread", FD: fd, Off: 256<<10 - 1, Len: 3}).Data; string(got) != "d\x00\x00" {
		t.Errorf("around the hole: %q", got)
	}
	a.do(cmd{Op: "fallocate", FD: fd, Off: 0, Len: 2 << 20})
	if st := a.stat("f"); st.Size != 2<<20 {
		t.Errorf("allocated to %d", st.Size)
	}
	a.do(cmd{Op: "fallocate", FD: fd, Mode: unix.FALLOC_FL_ZERO_RANGE, Off: 0, Len: 1})
	if got := a.do(cmd{Op: "pread", FD: fd, Len: 2}).Data; string(got) != "\x00d" {
		t.Errorf("zeroed: %q", got)
	}
	a.fails("ENOTSUP", cmd{Op: "fallocate", FD: fd, Mode: unix.FALLOC_FL_COLLAPSE_RANGE, Off: 0, Len: 4096})
	out := a.open("g", unix.O_CREAT|unix.O_RDWR)
	var copied int64
	for copied < 2<<20 {
		n := a.do(cmd{Op: "copy", FD: fd, FD2: out, Off: copied, Len: copied, Flags: 2<<20 - int(copied)}).N
		if n == 0 {
			t.Fatal("copy_file_range stopped")
		}
		copied += n
	}
	if a.content("f") != a.content("g") {
		t.Error("the copy differs")
	}
}

func TestOpenUnlinked(t *testing.T) {
	r, a := mountModel(t)
	fd := a.open("f", unix.O_CREAT|unix.O_RDWR)
	ino := r.hub.ino(t, "f")
	a.do(cmd{Op: "unlink", Path: "f"})
	a.do(cmd{Op: "pwrite", FD: fd, Data: []byte("still")})
	a.do(cmd{Op: "fchmod", FD: fd, Mode: 0o600})
	a.do(cmd{Op: "ftruncate", FD: fd, Len: 3})
	st := a.do(cmd{Op: "fstat", FD: fd}).Stat
	if st.Nlink != 0 || st.Size != 3 || st.Mode != unix.S_IFREG|0o600 || st.Ino != uint64(ino) {
		t.Errorf("unlinked: %+v", st)
	}
	if got := a.do(cmd{Op: "pread", FD: fd, Len: 9}).Data; string(got) != "sti" {
		t.Errorf("content %q", got)
	}
	a.do(cmd{Op: "close", FD: fd})
	eventually(t, "the inode ends", func() bool {
		_, err := r.hub.GetAttr(context.Background(), ino)
		return volume.KindOf(err) == volume.Stale && err != nil
	})
	// Known by its O_PATH descriptor only.
	a.put("p", "x")
	p := a.open("p", unix.O_PATH)
	a.do(cmd{Op: "unlink", Path: "p"})
	if st := a.do(cmd{Op: "fstat", FD: p}).Stat; st.Nlink != 0 || st.Size != 1 {
		t.Errorf("removed, O_PATH: %+v", st)
	}
	a.do(cmd{Op: "close", FD: p})
	// A working directory.
	a.do(cmd{Op: "mkdir", Path: "d", Mode: 0o755})
	a.do(cmd{Op: "chdir", Path: "d"})
	a.do(cmd{Op: "rmdir", Path: "d"})
	if st := a.stat("./"); st.Nlink != 0 || st.Mode != unix.S_IFDIR|0o755 {
		t.Errorf("removed working directory: %+v", st)
	}
	a.fails("ENOENT", cmd{Op: "put", Path: "./x", Mode: 0o644})
	a.do(cmd{Op: "chdir", Path: "."})
	eventually(t, "the attributes are forgotten", func() bool { return remembers(r.srv.core) == 0 })
}

// remembers counts what is kept of inodes that have ended.
func remembers(k *core) (n int) {
	for i := range k.nodes.shards {
		s := &k.nodes.shards[i]
		s.mu.Lock()
		n += len(s.gone)
		s.mu.Unlock()
	}
	return n
}

// What was removed elsewhere, and is only held by a working directory or an O_PATH descriptor here, is
// as it is on the mount that removes it; and nothing is kept of what nobody holds.
func TestRemovedElsewhere(t *testing.T) {
	r, a := mountModel(t)
	a.do(cmd{Op: "mkdir", Path: "d", Mode: 0o711})
	a.put("f", "content")
	a.put("idle", "x")
	a.stat("idle")
	a.do(cmd{Op: "chdir", Path: "d"})
	p := a.open("f", unix.O_PATH)
	a.do(cmd{Op: "fstat", FD: p})
	a.do(cmd{Op: "mkdir", Path: "e", Mode: 0o755})
	open := a.open("e", unix.O_RDONLY|unix.O_DIRECTORY)
	for range 2 { // the second time from what the kernel keeps
		if n := a.do(cmd{Op: "getdents", FD: open}).N; n == 0 {
			t.Error("a directory without dots")
		}
	}
	before := a.stat("./")
	root := volume.RootIno
	r.hub.elsewhere(t, volume.Request{Kind: volume.OpRmdir, Parent: root, Name: "d"})
	r.hub.elsewhere(t, volume.Request{Kind: volume.OpRmdir, Parent: root, Name: "e"})
	r.hub.elsewhere(t, volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "f"})
	r.hub.elsewhere(t, volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "idle"})
	r.settle()
	st := a.stat("./")
	if st.Nlink != 0 || st.Mode != unix.S_IFDIR|0o711 || st.Ino != before.Ino || st.Ctim.Nano() <= before.Ctim.Nano() {
		t.Errorf("working directory: %+v, before %+v", st, before)
	}
	if st := a.do(cmd{Op: "fstat", FD: p}).Stat; st.Nlink != 0 || st.Size != 7 {
		t.Errorf("O_PATH: %+v", st)
	}
	if got := a.do(cmd{Op: "listxattr", Path: "./", Len: 100}); got.N != 0 {
		t.Errorf("attributes %q", got.Data)
	}
	a.fails("ENODATA", cmd{Op: "getxattr", Path: "./", Name: "user.x", Len: 100})
	dot := a.open("./", unix.O_RDONLY|unix.O_DIRECTORY)
	for _, fd := range []int{open, dot} {
		a.fails("ENOENT", cmd{Op: "getdents", FD: fd})
		a.do(cmd{Op: "close", FD: fd})
	}
	a.fails("ENOENT", cmd{Op: "stat", Path: "./x"})
	a.fails("ENOENT", cmd{Op: "mkdir", Path: "./x", Mode: 0o755})
	a.fails("ENOENT", cmd{Op: "put", Path: "./x", Mode: 0o644})
	eventually(t, "nothing is kept of what nobody holds", func() bool { return remembers(r.srv.core) == 2 })
	a.do(cmd{Op: "close", FD: p})
	a.do(cmd{Op: "chdir", Path: "."})
	eventually(t, "the attributes are forgotten", func() bool { return remembers(r.srv.core) == 0 })
}

func TestNames(t *testing.T) {
	_, a := mountModel(t)
	a.put("a", "A")
	a.put("b", "B")
	a.do(cmd{Op: "mkdir", Path: "d", Mode: 0o755})
	a.do(cmd{Op: "mkdir", Path: "d/sub", Mode: 0o755})
	fd := a.open("a", unix.O_RDONLY)
	a.fails("EEXIST", cmd{Op: "rename", Path: "a", Path2: "b", Flags: unix.RENAME_NOREPLACE})
	a.do(cmd{Op: "rename", Path: "a", Path2: "b", Flags: unix.RENAME_EXCHANGE})
	if got := a.content("a") + a.content("b"); got != "BA" {
		t.Errorf("exchanged: %q", got)
	}
	a.fails("EINVAL", cmd{Op: "rename", Path: "a", Path2: "b", Flags: unix.RENAME_WHITEOUT})
	a.do(cmd{Op: "rename", Path: "b", Path2: "d/c", Flags: unix.RENAME_NOREPLACE})
	if got := a.do(cmd{Op: "pread", FD: fd, Len: 9}).Data; string(got) != "A" {
		t.Errorf("renamed while open: %q", got)
	}
	a.do(cmd{Op: "rename", Path: "a", Path2: "d/c"})
	if st := a.do(cmd{Op: "fstat", FD: fd}).Stat; st.Nlink != 0 {
		t.Errorf("displaced: nlink %d", st.Nlink)
	}
	a.fails("ENOTEMPTY", cmd{Op: "rmdir", Path: "d"})
	a.fails("EISDIR", cmd{Op: "unlink", Path: "d"})
	a.fails("ENOENT", cmd{Op: "stat", Path: "a"})
	a.fails("ENAMETOOLONG", cmd{Op: "put", Path: strings.Repeat("n", 256), Mode: 0o644})
	long := strings.Repeat("n", 255)
	a.put(long, "")
	a.do(cmd{Op: "link", Path: "d/c", Path2: "hard"})
	if x, y := a.stat("d/c"), a.stat("hard"); x.Ino != y.Ino || x.Nlink != 2 || y.Nlink != 2 {
		t.Errorf("hard link: %d/%d, %d/%d", x.Ino, x.Nlink, y.Ino, y.Nlink)
	}
	a.do(cmd{Op: "symlink", Path: "not/here \xff", Path2: "sym"})
	if got := a.do(cmd{Op: "readlink", Path: "sym"}).Data; string(got) != "not/here \xff" {
		t.Errorf("target %q", got)
	}
	if st := a.stat("sym"); st.Size != 10 || st.Mode != unix.S_IFLNK|0o777 {
		t.Errorf("symlink: %+v", st)
	}
	tmp := a.open(".", unix.O_TMPFILE|unix.O_RDWR)
	a.do(cmd{Op: "pwrite", FD: tmp, Data: []byte("nameless")})
	a.do(cmd{Op: "linkfd", FD: tmp, Path2: "named"})
	if got := a.content("named"); got != "nameless" {
		t.Errorf("linked temporary file: %q", got)
	}
	if st := a.stat("named"); st.Nlink != 1 {
		t.Errorf("nlink %d", st.Nlink)
	}
	if n := a.stat("d").Nlink; n != 3 {
		t.Errorf("nlink of a directory with one below: %d", n)
	}
	if s := a.do(cmd{Op: "statfs", Path: "."}); s.N != volume.MaxNameLen {
		t.Errorf("statfs: %+v", s)
	}
}

func TestDirectoryMovedListsNewParent(t *testing.T) {
	r, a := mountModel(t)
	for _, d := range []string{"a", "b", "a/x"} {
		a.do(cmd{Op: "mkdir", Path: d, Mode: 0o755})
	}
	if got := a.do(cmd{Op: "list", Path: "a/x"}).Inos[".."]; got != a.stat("a").Ino {
		t.Fatalf("..: %d", got)
	}
	a.do(cmd{Op: "list", Path: "a/x"}) // now from the kernel's cache
	a.do(cmd{Op: "rename", Path: "a/x", Path2: "b/x"})
	r.settle()
	if got := a.do(cmd{Op: "list", Path: "b/x"}).Inos[".."]; got != a.stat("b").Ino {
		t.Errorf(".. after the move: %d, want %d", got, a.stat("b").Ino)
	}
	r.hub.elsewhere(t, volume.Request{Kind: volume.OpRename, Parent: r.hub.ino(t, "b"), Name: "x", NewParent: r.hub.ino(t, "a"), NewName: "x"})
	r.settle()
	if got := a.do(cmd{Op: "list", Path: "a/x"}).Inos[".."]; got != a.stat("a").Ino {
		t.Errorf(".. after a move elsewhere: %d, want %d", got, a.stat("a").Ino)
	}
}

func TestXattr(t *testing.T) {
	r, a := mountModel(t)
	a.put("f", "x")
	a.fails("ENODATA", cmd{Op: "getxattr", Path: "f", Name: "user.a", Len: 9})
	a.do(cmd{Op: "setxattr", Path: "f", Name: "user.a", Data: []byte("value")})
	if got := a.do(cmd{Op: "getxattr", Path: "f", Name: "user.a", Len: 9}); string(got.Data) != "value" {
		t.Errorf("value %q", got.Data)
	}
	if got := a.do(cmd{Op: "getxattr", Path: "f", Name: "user.a"}).N; got != 5 {
		t.Errorf("size %d", got)
	}
	a.fails("ERANGE", cmd{Op: "getxattr", Path: "f", Name: "user.a", Len: 4})
	a.fails("EEXIST", cmd{Op: "setxattr", Path: "f", Name: "user.a", Flags: unix.XATTR_CREATE})
	a.fails("ENODATA", cmd{Op: "setxattr", Path: "f", Name: "user.b", Flags: unix.XATTR_REPLACE})
	a.do(cmd{Op: "setxattr", Path: "f", Name: "trusted.t", Data: make([]byte, 64<<10)})
	if got := a.do(cmd{Op: "getxattr", Path: "f", Name: "trusted.t", Len: 64 << 10}).N; got != 64<<10 {
		t.Errorf("large value: %d", got)
	}
	if got := a.do(cmd{Op: "listxattr", Path: "f", Len: 100}).Data; string(got) != "trusted.t\x00user.a\x00" {
		t.Errorf("names %q", got)
	}
	a.fails("ERANGE", cmd{Op: "listxattr", Path: "f", Len: 5})
	if got := startAgent(t, r.dir, 4242).do(cmd{Op: "listxattr", Path: "f", Len: 100}).Data; string(got) != "user.a\x00" {
		t.Errorf("names for a user: %q", got)
	}
	a.do(cmd{Op: "removexattr", Path: "f", Name: "user.a"})
	a.fails("ENODATA", cmd{Op: "removexattr", Path: "f", Name: "user.a"})
	a.fails("ENOTSUP", cmd{Op: "getxattr", Path: "f", Name: "other.a", Len: 9})
	a.fails("EINVAL", cmd{Op: "getxattr", Path: "f", Name: "trusted.", Len: 9})
}

// acl encodes an access ACL: u::rw-, u:uid:perm, g::---, m::rwx, o::---.
func acl(uid uint32, perm uint16) []byte {
	b := []byte{2, 0, 0, 0}
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, ^uint32(0)}, {2, perm, uid}, {4, 0, ^uint32(0)}, {0x10, 7, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		b = native.AppendUint32(native.AppendUint16(native.AppendUint16(b, e.tag), e.perm), e.id)
	}
	return b
}

func TestACL(t *testing.T) {
	r, a := mountModel(t)
	user, other := startAgent(t, r.dir, 4242), startAgent(t, r.dir, 4343)
	a.put("f", "secret")
	a.do(cmd{Op: "chmod", Path: "f", Mode: 0o600})
	user.fails("EACCES", cmd{Op: "open", Path: "f", Flags: unix.O_RDONLY})
	a.do(cmd{Op: "setxattr", Path: "f", Name: volume.XattrACLAccess, Data: acl(4242, 4)})
	if m := a.stat("f").Mode; m != unix.S_IFREG|0o670 {
		t.Errorf("mode with an ACL: %o", m)
	}
	if got := user.content("f"); got != "secret" {
		t.Errorf("content %q", got)
	}
	user.fails("EACCES", cmd{Op: "open", Path: "f", Flags: unix.O_WRONLY})
	other.fails("EACCES", cmd{Op: "open", Path: "f", Flags: unix.O_RDONLY})
	// Taken back elsewhere.
	r.hub.elsewhere(t, volume.Request{Kind: volume.OpSetXattr, Ino: r.hub.ino(t, "f"), Name: volume.XattrACLAccess, Data: acl(4343, 4)})
	r.settle()
	user.fails("EACCES", cmd{Op: "open", Path: "f", Flags: unix.O_RDONLY})
	other.do(cmd{Op: "open", Path: "f", Flags: unix.O_RDONLY})
	// A default ACL takes the place of the umask, also for files without a name.
	a.do(cmd{Op: "mkdir", Path: "d", Mode: 0o777})
	a.do(cmd{Op: "setxattr", Path: "d", Name: volume.XattrACLDefault, Data: acl(4242, 6)})
	a.put("d/f", "inherited")
	if m := a.stat("d/f").Mode; m != unix.S_IFREG|0o640 {
		t.Errorf("mode with a default ACL: %o", m)
	}
	a.do(cmd{Op: "open", Path: "d/g", Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o666})
	if m := a.stat("d/g").Mode; m != unix.S_IFREG|0o660 {
		t.Errorf("mode with a default ACL and umask 022: %o", m)
	}
}

func TestKillPriv(t *testing.T) {
	r, a := mountModel(t)
	user := startAgent(t, r.dir, 4242)
	a.put("f", "x")
	fresh := func() {
		t.Helper()
		a.do(cmd{Op: "chown", Path: "f", UID: 0, GID: 0})
		a.do(cmd{Op: "chmod", Path: "f", Mode: 0o6777})
		if m := a.stat("f").Mode; m != unix.S_IFREG|0o6777 {
			t.Fatalf("mode %o", m)
		}
	}
	// At once: the kernel runs files by the mode that it keeps.
	check := func(what string) {
		t.Helper()
		if m := a.do(cmd{Op: "mode", Path: "f"}).N; m != unix.S_IFREG|0o777 {
			t.Errorf("%s: mode %o by what the kernel keeps", what, m)
		}
		r.settle()
		if m := a.stat("f").Mode; m != unix.S_IFREG|0o777 {
			t.Errorf("%s: mode %o", what, m)
		}
	}
	fresh()
	fd := user.open("f", unix.O_RDWR)
	user.do(cmd{Op: "write", FD: fd, Data: []byte("y")})
	check("write")
	fresh()
	user.do(cmd{Op: "ftruncate", FD: fd, Len: 0})
	check("ftruncate")
	fresh()
	user.do(cmd{Op: "fallocate", FD: fd, Len: 100})
	check("fallocate")
	fresh()
	user.open("f", unix.O_WRONLY|unix.O_TRUNC)
	check("open with O_TRUNC")
	fresh()
	a.do(cmd{Op: "chown", Path: "f", UID: 4242, GID: 4242})
	check("chown")
	fresh()
	user.do(cmd{Op: "chown", Path: "f", UID: -1, GID: -1}) // not the owner
	if m := a.stat("f").Mode; m != unix.S_IFREG|0o6777 {
		t.Errorf("chown without owner and group by another: mode %o", m)
	}
	a.do(cmd{Op: "chown", Path: "f", UID: -1, GID: -1})
	check("chown without owner and group")
	for gid, want := range map[int]uint32{7: 0o644, 4242: 0o2644} { // of a group the owner is not in, and of his
		for _, to := range []int{4242, -1} {
			a.do(cmd{Op: "chown", Path: "f", UID: 4242, GID: gid})
			a.do(cmd{Op: "chmod", Path: "f", Mode: 0o2644})
			user.do(cmd{Op: "chown", Path: "f", UID: -1, GID: to})
			if m := a.do(cmd{Op: "mode", Path: "f"}).N; m != int64(unix.S_IFREG|want) {
				t.Errorf("chown to group %d by the owner of a file of group %d: mode %o", to, gid, m)
			}
		}
	}
	fresh()
	rootFD := a.open("f", unix.O_RDWR)
	a.do(cmd{Op: "write", FD: rootFD, Data: []byte("z")})
	if m := a.stat("f").Mode; m != unix.S_IFREG|0o6777 {
		t.Errorf("the superuser's write: mode %o", m)
	}
}

func TestBigDirectory(t *testing.T) {
	const n = 5000
	h := newHub()
	dir := h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: "big", Mode: volume.ModeDir | 0o755}).Attr.Ino
	for i := range n {
		h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: strings.Repeat("n", 1+i%100) + time.Duration(i).String(), Mode: volume.ModeFile | 0o644})
	}
	r := mountHub(t, h, Options{})
	a := startAgent(t, r.dir, 0)
	for _, size := range []int{4096, 64 << 10} {
		got := a.do(cmd{Op: "list", Path: "big", Len: int64(size)})
		seen := map[string]bool{}
		for _, name := range got.Names {
			seen[name] = true
		}
		if len(got.Names) != n+2 || len(seen) != n+2 {
			t.Errorf("buffer %d: %d entries, %d different", size, len(got.Names), len(seen))
		}
		if !seen[".:4"] || !seen["..:4"] || got.Inos["."] != uint64(dir) || got.Inos[".."] != 1 {
			t.Errorf("dots: %d %d", got.Inos["."], got.Inos[".."])
		}
	}
	if got := a.do(cmd{Op: "listtwice", Path: "big"}); len(got.Names) != n+2 {
		t.Errorf("after rewinding: %d", len(got.Names))
	}
	if known := r.srv.Stats().Inodes; known < 2 {
		t.Errorf("%d inodes known", known)
	}
}

func TestFollowerIsReadOnly(t *testing.T) {
	r, a := mountModel(t)
	a.put("f", "old")
	fd := a.open("f", unix.O_RDWR)
	r.hub.SetReadOnly(true)
	a.fails("EROFS", cmd{Op: "open", Path: "f", Flags: unix.O_WRONLY})
	a.fails("EROFS", cmd{Op: "open", Path: "f", Flags: unix.O_RDONLY | unix.O_TRUNC})
	a.fails("EROFS", cmd{Op: "put", Path: "g", Mode: 0o644})
	a.fails("EROFS", cmd{Op: "mkdir", Path: "d", Mode: 0o755})
	a.fails("EROFS", cmd{Op: "pwrite", FD: fd, Data: []byte("x")})
	a.fails("EROFS", cmd{Op: "unlink", Path: "f"})
	a.fails("EROFS", cmd{Op: "chmod", Path: "f", Mode: 0o600})
	a.do(cmd{Op: "chown", Path: "f", UID: -1, GID: -1}) // changes nothing
	if got := a.content("f"); got != "old" {
		t.Errorf("content %q", got)
	}
	r.hub.SetReadOnly(false)
	a.do(cmd{Op: "pwrite", FD: fd, Data: []byte("new")}) // promoted: no remount, no reopen
	if got := a.content("f"); got != "new" {
		t.Errorf("content %q", got)
	}
}
