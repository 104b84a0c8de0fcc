package fusefs

import (
	"fmt"
	"math"
	"syscall"
	"testing"
	"time"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// known makes the kernel know inodes.
func known(k *core, inos ...volume.Ino) {
	for _, ino := range inos {
		k.nodes.add(ino, 1)
	}
}

// What each op makes stale, and what is left out because nobody knows it.
func TestStale(t *testing.T) {
	name := func(kind volume.OpKind) *volume.Op {
		return &volume.Op{Kind: kind, Version: 9, Ino: 20, Parent: 10, Name: "n"}
	}
	rename := &volume.Op{Kind: volume.OpRename, Version: 9, Ino: 20, Parent: 10, Name: "a", NewParent: 11, NewName: "b", Replaced: 21}
	for _, tt := range []struct {
		what  string
		op    *volume.Op
		known []volume.Ino
		want  string
	}{
		{"create", name(volume.OpCreate), []volume.Ino{10}, "entry 10 n, inode 10 0 0"},
		{"create in an unknown directory", name(volume.OpCreate), nil, ""},
		{"create in the root", &volume.Op{Kind: volume.OpCreate, Ino: 20, Parent: 1, Name: "n"}, nil, "entry 1 n, inode 1 0 0"},
		{"nameless", &volume.Op{Kind: volume.OpCreate, Ino: 20}, []volume.Ino{20}, ""},
		{"unlink", name(volume.OpUnlink), []volume.Ino{10, 20}, "entry 10 n, inode 10 0 0, inode 20 -1 0"},
		{"unlink, directory unknown", name(volume.OpUnlink), []volume.Ino{20}, "inode 20 -1 0"},
		{"rmdir", name(volume.OpRmdir), []volume.Ino{10, 20}, "entry 10 n, inode 10 0 0, inode 20 0 0"},
		{"link", name(volume.OpLink), []volume.Ino{10, 20}, "entry 10 n, inode 10 0 0, inode 20 -1 0"},
		{"rename", rename, []volume.Ino{10, 11, 20, 21},
			"entry 10 a, inode 10 0 0, entry 11 b, inode 11 0 0, inode 20 0 0, inode 21 0 0"}, // 20 and 21 may be directories
		{"rename from an unknown directory", rename, []volume.Ino{11}, "entry 11 b, inode 11 0 0"},
		{"setattr", &volume.Op{Kind: volume.OpSetAttr, Ino: 20}, []volume.Ino{20}, "inode 20 -1 0"},
		{"setxattr", &volume.Op{Kind: volume.OpSetXattr, Ino: 20, Name: "user.x"}, []volume.Ino{20}, "inode 20 -1 0"},
		{"write", &volume.Op{Kind: volume.OpWrite, Ino: 20, Offset: 5, Data: make([]byte, 10)}, []volume.Ino{20}, "inode 20 5 10"},
		{"truncate", &volume.Op{Kind: volume.OpTruncate, Ino: 20, Size: 7}, []volume.Ino{20}, "inode 20 7 0"},
		{"fallocate", &volume.Op{Kind: volume.OpFallocate, Ino: 20, Offset: 1, Length: 2}, []volume.Ino{20}, "inode 20 1 2"},
		{"end", &volume.Op{Kind: volume.OpEnd, Ino: 20}, []volume.Ino{20}, ""},
		{"reign", &volume.Op{Kind: volume.OpReign}, nil, ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			f := new(fakeKernel)
			k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
			known(k, tt.known...)
			k.Applied([]*volume.Op{tt.op})
			if got := told(t, k, f); got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	attr := notice{ino: 5, off: -1}
	for _, tt := range []struct {
		a, b notice
		ok   bool
		want notice
	}{
		{attr, attr, true, attr},
		{attr, notice{ino: 5, off: 3, end: 9}, true, notice{ino: 5, off: 3, end: 9}},
		{notice{ino: 5, off: 3, end: 9}, attr, true, notice{ino: 5, off: 3, end: 9}},
		{notice{ino: 5, off: 3, end: 9}, notice{ino: 5, off: 9, end: 12}, true, notice{ino: 5, off: 3, end: 12}},
		{notice{ino: 5, off: 3, end: 9}, notice{ino: 5, off: 0, end: math.MaxInt64}, true, notice{ino: 5, off: 0, end: math.MaxInt64}},
		{notice{ino: 5, off: 3, end: 9}, notice{ino: 5, off: 10, end: 12}, false, notice{ino: 5, off: 3, end: 9}},
		{notice{ino: 5, name: "x"}, notice{ino: 5, name: "x"}, true, notice{ino: 5, name: "x"}},
		{attr, notice{ino: 5, off: -1, ifDir: true}, true, notice{ino: 5, off: -1, ifDir: true}},
	} {
		got := tt.a
		if ok := merge(&got, tt.b); ok != tt.ok || got != tt.want {
			t.Errorf("%+v + %+v: %v %+v", tt.a, tt.b, ok, got)
		}
	}
}

// Notices keep their order, and those that wait take up others of the same key.
func TestNotifierCoalesces(t *testing.T) {
	first := "inode 5 -1 0"
	f := &fakeKernel{block: map[string]chan bool{first: make(chan bool)}}
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	k.staleAttr(5, -1)
	eventually(t, "the first is being sent", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.told) == 1 })
	for range 1000 {
		k.staleAttr(6, -1)
		k.staleName(7, "n")
		k.staleAttr(6, 4096)
		k.staleAttr(8, -1)
	}
	close(f.block[first])
	if got, want := told(t, k, f), first+", inode 6 4096 0, entry 7 n, inode 8 -1 0"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

// A notice that sleeps in the kernel does not hold up those behind it.
func TestNotifierStuck(t *testing.T) {
	f := &fakeKernel{block: map[string]chan bool{"inode 5 0 0": make(chan bool), "inode 6 0 0": make(chan bool)}}
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	start := time.Now()
	for ino := range volume.Ino(20) {
		k.staleAttr(5+ino, 0)
	}
	eventually(t, "the others are sent", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.told) == 20 })
	if d := time.Since(start); d < stuckAfter {
		t.Errorf("two stuck notices took only %v", d)
	}
	if k.notify.doneThrough(k.notify.pushed()) {
		t.Error("counts as done while two are stuck")
	}
	close(f.block["inode 5 0 0"])
	close(f.block["inode 6 0 0"])
	told(t, k, f)
	k.staleAttr(99, 0) // the last worker still works
	if got := told(t, k, f); got != "inode 99 0 0" {
		t.Errorf("told %q", got)
	}
	eventually(t, "others have ended", func() bool { k.notify.mu.Lock(); defer k.notify.mu.Unlock(); return k.notify.workers == 1 })
}

// The kernel may not have taken in the reply that tells it of an inode.
func TestNotifierRepeatsUnknown(t *testing.T) {
	f := &fakeKernel{errs: map[string]error{"inode 5 -1 0": syscall.ENOENT, "inode 6 -1 0": syscall.ENOENT, "entry 5 n": syscall.ENOENT}}
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	known(k, 5)
	k.staleAttr(5, -1)
	k.staleAttr(6, -1) // forgotten meanwhile: not repeated
	k.staleName(5, "n")
	if got, want := told(t, k, f), "inode 5 -1 0, inode 6 -1 0, entry 5 n, inode 5 -1 0"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	// A reply with attributes of its own may have crossed the invalidation.
	k.nodes.markAttr(5, k.tick())
	k.staleAttr(5, 100)
	if got, want := told(t, k, f), "inode 5 100 0"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	eventually(t, "it is repeated", func() bool { return f.take() == "inode 5 -1 0" })
}

func TestNotifierEverything(t *testing.T) {
	f := &fakeKernel{epochs: true}
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	known(k, 5)
	block := make(chan bool)
	f.mu.Lock()
	f.block = map[string]chan bool{"inode 5 0 0": block}
	f.mu.Unlock()
	k.staleAttr(5, 0)
	eventually(t, "it is being sent", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.told) == 1 })
	k.notify.mu.Lock()
	k.notify.workers = maxWorkers // no other takes over
	k.notify.mu.Unlock()
	for i := range volume.Ino(maxNotices + 10) {
		k.staleAttr(1000+i, -1)
	}
	k.notify.mu.Lock()
	if n := len(k.notify.queue); n > 10 || !k.notify.all {
		t.Errorf("%d notices wait", n)
	}
	k.notify.workers = 1
	k.notify.mu.Unlock()
	f.take()
	close(block)
	eventually(t, "all is told", func() bool { k.notify.mu.Lock(); defer k.notify.mu.Unlock(); return k.notify.stats.everything == 1 })
	got := told(t, k, f)
	if got != "epoch, inode 1 0 0, inode 5 0 0" && got != "epoch, inode 5 0 0, inode 1 0 0" {
		t.Errorf("told %q", got)
	}
	// Older kernels have no epochs: the names in the root that they asked for.
	g := new(fakeKernel)
	k, c := fakeCore(t, volumetest.NewModel(volumetest.Options{}), g)
	if errno := k.lookup(c, 1, "absent"); errno != 0 || c.attr.Ino != 0 {
		t.Fatalf("lookup: %v", errno)
	}
	k.nodes.drop()
	k.notify.pushAll()
	if got := told(t, k, g); got != "entry 1 absent" {
		t.Errorf("told %q", got)
	}
}

// Which ops are own is decided by version and inode, whatever the order in which
// Do returns and the observer is told.
func TestOrigin(t *testing.T) {
	f := new(fakeKernel)
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	known(k, 20)
	a, b := k.calls.get(), k.calls.get()
	op := func(v volume.Version) *volume.Op {
		return &volume.Op{Kind: volume.OpSetAttr, Version: v, Ino: 20, Caller: volume.Caller{Front: volume.FrontFUSE}}
	}
	returns := func(c *call, v volume.Version) {
		k.own.add(v, 20)
		for _, s := range c.flight.end() {
			k.judge(s)
		}
	}
	expect := func(what, want string) {
		t.Helper()
		if got := told(t, k, f); got != want {
			t.Errorf("%s: told %q, want %q", what, got, want)
		}
	}
	k.own.add(5, 20)
	k.Applied([]*volume.Op{op(5)})
	expect("told after Do", "")
	k.Applied([]*volume.Op{op(6)})
	expect("another mount's", "inode 20 -1 0")
	a.flight.begin(inodeKey(20))
	k.Applied([]*volume.Op{op(7)})
	returns(a, 7)
	expect("told before Do returns", "")
	a.flight.begin(inodeKey(20))
	k.Applied([]*volume.Op{op(8), op(9)})
	expect("not decided yet", "")
	returns(a, 9)
	expect("one of two", "inode 20 -1 0")
	a.flight.begin(inodeKey(20))
	b.flight.begin(inodeKey(20))
	k.Applied([]*volume.Op{op(10), op(11)})
	returns(b, 11)
	returns(a, 10)
	expect("two at once", "")
	a.flight.begin(inodeKey(20))
	k.Applied([]*volume.Op{op(12)})
	eventually(t, "it does not wait for ever", func() bool { return f.take() == "inode 20 -1 0" })
	returns(a, 12)
	expect("late", "")
	k.own.add(13, 20)
	k.Applied([]*volume.Op{{Kind: volume.OpSetAttr, Version: 13, Ino: 20, Caller: volume.Caller{Front: volume.FrontS3}}})
	expect("not from a mount at all", "inode 20 -1 0")
	k.own.add(14, 21) // the same version in another history
	k.Applied([]*volume.Op{op(14)})
	expect("same version, other inode", "inode 20 -1 0")
}

// The names kept for older kernels are bounded: when there are too many, the kernel
// has to ask for all of them again.
func TestRootNamesBounded(t *testing.T) {
	f := new(fakeKernel)
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	for i := range maxRootNames + 1 {
		k.sawName(1, fmt.Sprint(i))
		k.sawName(2, fmt.Sprint("below", i))
	}
	told(t, k, f)
	if n := len(k.rootNames.all()); n != 1 {
		t.Errorf("%d names are kept", n)
	}
	if n := k.notify.stats.sent; n != maxRootNames {
		t.Errorf("%d names were invalidated", n)
	}
}
