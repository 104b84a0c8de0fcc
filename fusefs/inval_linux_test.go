package fusefs

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Every case puts something into the kernel's caches, changes it elsewhere, and looks
// again.
func TestNothingStale(t *testing.T) {
	r, a := mountModel(t)
	h, root := r.hub, volume.RootIno
	create := func(dir volume.Ino, name string, mode uint32) volume.Ino {
		t.Helper()
		return h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: name, Mode: mode}).Attr.Ino
	}
	write := func(ino volume.Ino, off int64, data string) {
		t.Helper()
		h.elsewhere(t, volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: []byte(data)})
	}
	t.Run("name appears", func(t *testing.T) {
		a.fails("ENOENT", cmd{Op: "stat", Path: "new"})
		create(root, "new", volume.ModeFile|0o644)
		r.settle()
		a.stat("new")
	})
	t.Run("name goes", func(t *testing.T) {
		a.put("gone", "x")
		a.stat("gone")
		h.elsewhere(t, volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "gone"})
		r.settle()
		a.fails("ENOENT", cmd{Op: "stat", Path: "gone"})
	})
	t.Run("listing", func(t *testing.T) {
		a.do(cmd{Op: "mkdir", Path: "dir", Mode: 0o755})
		dir := h.ino(t, "dir")
		for i := range 5 {
			if got := a.names("dir"); len(got) != i {
				t.Fatalf("round %d: %v", i, got)
			}
			a.names("dir") // from the cache
			create(dir, fmt.Sprint("f", i), volume.ModeFile|0o644)
			r.settle()
		}
		before := a.stat("dir").Nlink
		create(dir, "sub", volume.ModeDir|0o755)
		r.settle()
		if after := a.stat("dir").Nlink; after != before+1 {
			t.Errorf("nlink %d, then %d", before, after)
		}
	})
	t.Run("content", func(t *testing.T) {
		a.put("data", strings.Repeat("a", 10000))
		ino := h.ino(t, "data")
		fd := a.open("data", unix.O_RDONLY)
		a.do(cmd{Op: "pread", FD: fd, Len: 10000})
		write(ino, 5000, "B")
		r.settle()
		if got := a.do(cmd{Op: "pread", FD: fd, Len: 3, Off: 4999}).Data; string(got) != "aBa" {
			t.Errorf("overwritten: %q", got)
		}
		write(ino, 10000, "tail")
		r.settle()
		if got := a.do(cmd{Op: "pread", FD: fd, Len: 99, Off: 9999}).Data; string(got) != "atail" {
			t.Errorf("grown: %q", got)
		}
		if st := a.stat("data"); st.Size != 10004 {
			t.Errorf("size %d", st.Size)
		}
		h.elsewhere(t, volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize, Size: 3})
		r.settle()
		if got := a.do(cmd{Op: "pread", FD: fd, Len: 99}).Data; string(got) != "aaa" {
			t.Errorf("truncated: %d bytes", len(got))
		}
		h.elsewhere(t, volume.Request{Kind: volume.OpFallocate, Ino: ino, Alloc: volume.FallocZeroRange, Length: 2})
		r.settle()
		if got := a.content("data"); got != "\x00\x00a" {
			t.Errorf("zeroed: %q", got)
		}
	})
	t.Run("append behind a foreign one", func(t *testing.T) {
		fd := a.open("log", unix.O_CREAT|unix.O_RDWR|unix.O_APPEND)
		a.do(cmd{Op: "write", FD: fd, Data: []byte("one ")})
		// The kernel is not told before it appends: nobody observes.
		h.Model.Do(context.Background(), &volume.Request{Kind: volume.OpWrite, Ino: h.ino(t, "log"), Append: true, Data: []byte("two ")})
		a.do(cmd{Op: "write", FD: fd, Data: []byte("three")})
		h.tell()
		r.settle()
		if got := a.content("log"); got != "one two three" {
			t.Errorf("appended: %q", got)
		}
	})
	t.Run("attributes", func(t *testing.T) {
		a.put("attr", "x")
		a.do(cmd{Op: "link", Path: "attr", Path2: "attr2"})
		ino := h.ino(t, "attr")
		a.stat("attr")
		h.elsewhere(t, volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetMode | volume.SetUID, Mode: 0o600, UID: 7})
		r.settle()
		if st := a.stat("attr"); st.Mode != unix.S_IFREG|0o600 || st.Uid != 7 {
			t.Errorf("mode %o owner %d", st.Mode, st.Uid)
		}
		h.elsewhere(t, volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "attr2"})
		r.settle()
		if st := a.stat("attr"); st.Nlink != 1 {
			t.Errorf("nlink %d", st.Nlink)
		}
	})
	t.Run("rename", func(t *testing.T) {
		a.do(cmd{Op: "mkdir", Path: "from", Mode: 0o755})
		a.do(cmd{Op: "mkdir", Path: "to", Mode: 0o755})
		a.put("from/x", "moved")
		a.put("to/y", "displaced")
		fd := a.open("to/y", unix.O_RDONLY)
		a.names("from")
		a.names("to")
		a.fails("ENOENT", cmd{Op: "stat", Path: "to/z"})
		h.elsewhere(t, volume.Request{Kind: volume.OpRename, Parent: h.ino(t, "from"), Name: "x", NewParent: h.ino(t, "to"), NewName: "y"})
		r.settle()
		a.fails("ENOENT", cmd{Op: "stat", Path: "from/x"})
		if got := a.content("to/y"); got != "moved" {
			t.Errorf("content %q", got)
		}
		if got := a.do(cmd{Op: "pread", FD: fd, Len: 99}).Data; string(got) != "displaced" {
			t.Errorf("open displaced file: %q", got)
		}
		if st := a.do(cmd{Op: "fstat", FD: fd}).Stat; st.Nlink != 0 {
			t.Errorf("open displaced file: nlink %d", st.Nlink)
		}
		if got := a.names("from"); len(got) != 0 {
			t.Errorf("from lists %v", got)
		}
	})
	t.Run("directory becomes file", func(t *testing.T) {
		a.do(cmd{Op: "mkdir", Path: "what", Mode: 0o755})
		a.fails("ENOENT", cmd{Op: "stat", Path: "what/ever"})
		h.elsewhere(t, volume.Request{Kind: volume.OpRmdir, Parent: root, Name: "what"})
		create(root, "what", volume.ModeFile|0o644)
		r.settle()
		if st := a.stat("what"); st.Mode&unix.S_IFMT != unix.S_IFREG {
			t.Errorf("mode %o", st.Mode)
		}
	})
	t.Run("symlink replaced", func(t *testing.T) {
		a.do(cmd{Op: "symlink", Path: "old", Path2: "ln"})
		a.do(cmd{Op: "readlink", Path: "ln"})
		h.elsewhere(t, volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "ln"})
		h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: root, Name: "ln", Mode: volume.ModeLink, Target: "new"})
		r.settle()
		if got := a.do(cmd{Op: "readlink", Path: "ln"}).Data; string(got) != "new" {
			t.Errorf("target %q", got)
		}
	})
	t.Run("published", func(t *testing.T) {
		a.put("object", "v1")
		a.content("object")
		ino := h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Mode: volume.ModeFile | 0o644}).Attr.Ino
		write(ino, 0, "version 2")
		h.elsewhere(t, volume.Request{Kind: volume.OpPublish, Ino: ino, Parent: root, Name: "object"})
		r.settle()
		if got := a.content("object"); got != "version 2" {
			t.Errorf("content %q", got)
		}
	})
	t.Run("everything", func(t *testing.T) {
		a.put("all", "before")
		a.fails("ENOENT", cmd{Op: "stat", Path: "nothing"})
		a.names(".")
		h.mu.Lock()
		observers := h.observers
		h.observers = nil // nobody tells
		h.mu.Unlock()
		write(h.ino(t, "all"), 0, "AFTER!")
		create(root, "nothing", volume.ModeFile|0o644)
		r.srv.InvalidateAll()
		r.settle()
		h.mu.Lock()
		h.observers = observers
		h.mu.Unlock()
		if got := a.content("all"); got != "AFTER!" {
			t.Errorf("content %q", got)
		}
		a.stat("nothing")
		if got := a.names("."); !strings.Contains(strings.Join(got, " "), "nothing") {
			t.Errorf("listing %v", got)
		}
	})
}

// What came through the mount is not invalidated, whenever the observer is told.
func TestOwnOpsAreNotInvalidated(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%v", late), func(t *testing.T) {
			h := newHub()
			h.late = late
			r := mountHub(t, h, Options{})
			a := startAgent(t, r.dir, 0)
			for i := range 20 {
				d := fmt.Sprint("d", i)
				a.do(cmd{Op: "mkdir", Path: d, Mode: 0o755})
				a.put(d+"/f", strings.Repeat("x", 100000))
				a.do(cmd{Op: "setxattr", Path: d + "/f", Name: "user.x", Data: []byte("y")})
				a.do(cmd{Op: "truncate", Path: d + "/f", Len: 10})
				a.do(cmd{Op: "chmod", Path: d + "/f", Mode: 0o600})
				a.do(cmd{Op: "link", Path: d + "/f", Path2: d + "/l"})
				a.do(cmd{Op: "rename", Path: d + "/f", Path2: d + "/g"})
				a.do(cmd{Op: "unlink", Path: d + "/l"})
			}
			time.Sleep(50 * time.Millisecond) // for late observers
			r.settle()
			s := r.srv.Stats()
			if n := s.Notified + s.NotKnown + uint64(s.Waiting); n != 0 {
				t.Errorf("%d invalidations for own ops: %+v", n, s)
			}
			// And the kernel does keep what it did itself.
			before := r.srv.Stats().Requests["getattr"] + r.srv.Stats().Requests["lookup"]
			for range 10 {
				a.stat("d3/g")
			}
			if n := r.srv.Stats().Requests["getattr"] + r.srv.Stats().Requests["lookup"] - before; n > 2 {
				t.Errorf("%d requests for 10 stats of what it knows", n)
			}
		})
	}
}

// A write elsewhere, while the same file is written here, is told although it looks
// like the one that is in flight.
func TestForeignOpDuringOwn(t *testing.T) {
	h := newHub()
	r := mountHub(t, h, Options{})
	a, b := startAgent(t, r.dir, 0), startAgent(t, r.dir, 0)
	a.put("f", strings.Repeat("a", 20000))
	ino := h.ino(t, "f")
	fd := a.open("f", unix.O_WRONLY)
	b.content("f")
	entered, release := make(chan bool, 1), make(chan bool)
	var once atomic.Bool
	before := func(_ context.Context, q *volume.Request) error {
		if q.Kind == volume.OpWrite && once.CompareAndSwap(false, true) {
			entered <- true
			<-release
		}
		return nil
	}
	h.before.Store(&before)
	done := a.start(cmd{Op: "pwrite", FD: fd, Data: []byte("own"), Off: 0})
	<-entered
	h.elsewhereAs(t, volume.FrontFUSE, volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: 15000, Data: []byte("FOREIGN")})
	// The Do takes long: the invalidation does not wait for it for ever.
	eventually(t, "the foreign write is seen", func() bool { return strings.Contains(b.content("f"), "FOREIGN") })
	h.elsewhereAs(t, volume.FrontFUSE, volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: 10000, Data: []byte("SECOND")})
	close(release)
	if r := done(); r.Errno != "" {
		t.Fatal(r.Errno)
	}
	r.settle()
	if got := b.content("f"); !strings.Contains(got, "SECOND") || !strings.Contains(got, "own") {
		t.Error("the second foreign write is not seen")
	}
}

func (h *hub) elsewhereAs(t testing.TB, front volume.Front, r volume.Request) {
	t.Helper()
	r.Caller.Front = front
	if _, err := h.Model.Do(context.Background(), &r); err != nil {
		t.Fatal(err)
	}
	h.tell()
}

// Changes elsewhere under load from here: nothing hangs, nothing is stale at the end.
func TestInvalidationUnderLoad(t *testing.T) {
	d := 3 * time.Second
	if testing.Short() {
		d = time.Second
	}
	h := newHub()
	h.late = true
	r := mountHub(t, h, Options{})
	var waits []func() result
	for i := range 4 {
		a := startAgent(t, r.dir, 0)
		waits = append(waits, a.start(cmd{Op: "stress", Path: ".", Name: fmt.Sprint("w", i), Len: d.Milliseconds()}))
	}
	a := startAgent(t, r.dir, 0)
	a.do(cmd{Op: "mkdir", Path: "foreign", Mode: 0o755})
	a.put("counter", "0")
	dir, counter := h.ino(t, "foreign"), h.ino(t, "counter")
	end := time.Now().Add(d)
	i := 0
	for ; time.Now().Before(end); i++ {
		name := fmt.Sprint("f", i%10)
		text := fmt.Sprintf("%08d", i)
		h.elsewhere(t, volume.Request{Kind: volume.OpWrite, Ino: counter, Data: []byte(text)})
		if i%20 < 10 {
			h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: name, Mode: volume.ModeFile | 0o644})
		} else {
			h.elsewhere(t, volume.Request{Kind: volume.OpUnlink, Parent: dir, Name: name})
		}
		if i%50 == 0 {
			r.settle()
			if got := a.content("counter"); got != text {
				t.Fatalf("round %d: stale %q, want %q", i, got, text)
			}
			a.stat("foreign")
			want := 0
			if i%20 < 10 {
				want = i%20 + 1
			} else {
				want = 19 - i%20
			}
			if got := a.names("foreign"); len(got) != want {
				t.Fatalf("round %d: listing %v, want %d", i, got, want)
			}
		}
		time.Sleep(200 * time.Microsecond)
	}
	for _, w := range waits {
		if r := w(); r.Errno != "" {
			t.Error(r.Errno)
		}
	}
	t.Logf("%d changes elsewhere; %+v", 2*i, r.srv.Stats())
}

// A lookup that read attributes before a change, and is answered after it, does not
// leave them with the kernel.
func TestLookupAcrossChange(t *testing.T) {
	h := newHub()
	r := mountHub(t, h, Options{})
	a := startAgent(t, r.dir, 0)
	for i := range 50 {
		name := fmt.Sprint("f", i)
		ino := h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: name, Mode: volume.ModeFile | 0o644}).Attr.Ino
		r.settle()
		wait := a.start(cmd{Op: "stat", Path: name})
		h.elsewhere(t, volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetMode, Mode: 0o600})
		wait()
		r.settle()
		if m := a.stat(name).Mode; m != unix.S_IFREG|0o600 {
			t.Fatalf("round %d: stale mode %o", i, m)
		}
	}
}

// What was open when the copy it was opened on was given up is stale, whatever the inode ID shows now;
// who opens it anew sees that.
func TestDisown(t *testing.T) {
	r, a := mountModel(t)
	a.put("changed", "mine")
	a.put("same", "both")
	lost, kept := a.open("changed", os.O_RDWR), a.open("same", os.O_RDWR)
	again := a.open("changed", os.O_RDONLY)
	a.do(cmd{Op: "mkdir", Path: "dir", Mode: 0o755})
	a.do(cmd{Op: "mkdir", Path: "other", Mode: 0o755})
	dir, other := a.open("dir", os.O_RDONLY), a.open("other", os.O_RDONLY)
	r.srv.Disown([]volume.Ino{volume.Ino(a.stat("dir").Ino), volume.Ino(a.stat("changed").Ino), 999}, false)
	r.srv.InvalidateAll()
	r.settle()
	for _, c := range []cmd{
		{Op: "pread", FD: lost, Len: 4}, {Op: "pread", FD: again, Len: 4}, {Op: "pwrite", FD: lost, Data: []byte("x")},
		{Op: "fsync", FD: lost}, {Op: "ftruncate", FD: lost, Len: 1}, {Op: "fsync", FD: dir},
	} {
		a.fails("ESTALE", c)
	}
	a.do(cmd{Op: "fsync", FD: other})
	now := a.open("dir", os.O_RDONLY)
	a.do(cmd{Op: "fsync", FD: now})
	a.do(cmd{Op: "pwrite", FD: kept, Data: []byte("both")})
	fresh := a.open("changed", os.O_RDWR)
	a.do(cmd{Op: "pwrite", FD: fresh, Data: []byte("ours")})
	if got := a.content("changed"); got != "ours" {
		t.Errorf("content %q", got)
	}
	r.srv.Disown(nil, true)
	for _, fd := range []int{lost, kept, fresh} {
		a.fails("ESTALE", cmd{Op: "fsync", FD: fd})
	}
	a.fails("ESTALE", cmd{Op: "fsync", FD: other})
	for _, fd := range []int{lost, kept, fresh, again, dir, other, now} {
		a.try(cmd{Op: "close", FD: fd})
	}
	if got := a.content("same"); got != "both" {
		t.Errorf("content %q", got)
	}
	eventually(t, "nothing is kept of it", func() bool { return !r.srv.core.handles.some.Load() })
}
