package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// TestFlushBehindLog looks into the files after every op, as a power loss would: they
// never hold a version that the log was not synced through.
func TestFlushBehindLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	synced := atomic.Uint64{}
	e := openEngine(t, Options{FS: fs, MemTable: 256 << 10, SyncLog: func(v volume.Version) error {
		synced.Store(uint64(v))
		return nil
	}})
	f := newFeeder(t, e)
	r := rand.New(rand.NewPCG(1, 2))
	check := func() {
		t.Helper()
		limit, flushed := synced.Load(), uint64(e.Flushed()) // nobody enters meanwhile
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: r})
		c, err := Open(Options{FS: clone, Dir: "index", Extents: true, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		if v := uint64(c.Position().Version); v > limit {
			t.Fatalf("the files are at version %d, the log at %d", v, limit)
		}
		if v := uint64(c.Position().Version); v < flushed {
			t.Fatalf("the files are at version %d, flushed was %d", v, flushed)
		}
		if err := c.Abandon(); err != nil {
			t.Fatal(err)
		}
	}
	ino := volume.Ino(2)
	rounds := 400
	if testing.Short() {
		rounds = 120
	}
	for i := range rounds {
		var ops []*volume.Op
		for range 1 + r.IntN(20) {
			ops = append(ops, file(ino, fmt.Sprintf("%0*d", 1+r.IntN(250), ino)),
				&volume.Op{Kind: volume.OpSetXattr, Ino: ino, Name: "user.x", Data: make([]byte, r.IntN(1000))})
			ino++
		}
		f.enter(ops...)
		if i%20 == 0 {
			check()
		}
	}
	if synced.Load() == 0 || e.Flushed() == 0 {
		t.Error("nothing was flushed on the way")
	}
	// A batch larger than the store's buffer goes to the files at once.
	var many []*volume.Op
	for i := range 12 {
		many = append(many, &volume.Op{Kind: volume.OpSetXattr, Ino: 2, Name: fmt.Sprint("user.big", i), Data: make([]byte, volume.MaxXattrLen)})
	}
	f.enter(many...)
	check()
	// So do records of the backing, that belong to no op.
	var lower []volume.LowerRecord
	f.enter(file(ino, "last"))
	for i := range volume.Ino(3000) {
		lower = append(lower, volume.LowerRecord{Ino: min(2+i, ino), Key: fmt.Append(nil, "k", i), Value: make([]byte, 100)})
	}
	if err := e.PutLower(lower); err != nil {
		t.Fatal(err)
	}
	check()
	if err := e.Flush(); err != nil || e.Flushed() != e.Position().Version {
		t.Errorf("flushed %d, %v, position %d", e.Flushed(), err, e.Position().Version)
	}
	check()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestSyncLogFails(t *testing.T) {
	bad := volume.Errorf(volume.IO, "the log's disk is gone")
	fail := false
	e := openEngine(t, Options{MemTable: 256 << 10, SyncLog: func(volume.Version) error {
		if fail {
			return bad
		}
		return nil
	}})
	f := newFeeder(t, e)
	f.enter(file(2, "a"))
	fail = true
	wantKind(t, "flush", e.Flush(), volume.IO)
	fail = false
	for what, err := range map[string]error{
		"enter": f.try(file(3, "b")), "flush": e.Flush(), "lower": e.PutLower([]volume.LowerRecord{{Ino: 2, Value: []byte("x")}}),
	} {
		if !errors.Is(err, bad) {
			t.Errorf("%s of a broken index: %v", what, err)
		}
	}
	if _, err := e.Replace(nil); !errors.Is(err, bad) {
		t.Error("replace:", err)
	}
	if _, err := e.Lookup(root, "a"); err != nil {
		t.Error("reading goes on:", err)
	}
	if !errors.Is(e.Close(), bad) {
		t.Error("close says nothing")
	}
	// The same from within Enter, when enough has gathered.
	e = openEngine(t, Options{MemTable: 256 << 10, SyncLog: func(v volume.Version) error {
		if v > 1 {
			return bad
		}
		return nil
	}})
	f = newFeeder(t, e)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = f.try(file(volume.Ino(2+i), fmt.Sprintf("%0200d", i)))
	}
	if !errors.Is(err, bad) {
		t.Error("enter:", err)
	}
	if err := e.Abandon(); err != nil {
		t.Error(err)
	}
}

// isList says whether a failure of the operation makes the store give up: it could not
// write down which files it has.
func isList(op errorfs.Op) bool {
	return strings.Contains(op.Path, "MANIFEST") || strings.Contains(op.Path, "marker.")
}

// TestFailingDisk lets one file system call after the other fail, once or from then
// on: no panic, no wrong answer, no waiting for ever, and what is on disk is an earlier
// state.
func TestFailingDisk(t *testing.T) {
	counted := atomic.Int64{}
	play(t, -1, false, &counted)
	total := counted.Load()
	step := total / 60
	if testing.Short() {
		step = total / 12
	}
	for _, forever := range []bool{false, true} {
		for at := int64(0); at < total; at += max(1, step) {
			play(t, at, forever, &counted)
		}
	}
}

// play works on an index whose disk fails at the given call.
func play(t *testing.T, at int64, forever bool, counted *atomic.Int64) {
	t.Helper()
	mem := vfs.NewMem()
	counted.Store(0)
	on := atomic.Bool{}
	on.Store(true)
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isList(op) || !on.Load() {
			return nil
		}
		n := counted.Add(1) - 1
		if n == at || forever && at >= 0 && n > at {
			return syscall.ENOSPC
		}
		return nil
	})
	what := fmt.Sprintf("call %d fails (for ever: %t)", at, forever)
	done := make(chan struct{})
	watch := time.AfterFunc(8*time.Second, func() {
		select {
		case <-done:
		default:
			debug.SetTraceback("all")
			panic(what + ": hangs")
		}
	})
	defer watch.Stop()
	defer close(done)
	names := map[string]volume.Ino{}
	work(t, errorfs.Wrap(mem, inject), what, names)
	on.Store(false)
	e := openEngine(t, Options{FS: mem})
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(what, err)
		}
	}()
	v := e.Position().Version
	n := 0
	err := e.ReadDir(root, 0, func(d volume.DirEntry) bool {
		n++
		if names[d.Name] != d.Ino {
			t.Errorf("%s: found %+v", what, d)
		}
		return true
	})
	if err != nil || v > 0 && n != int(v)-1 {
		t.Errorf("%s: %d names at version %d, %v", what, n, v, err)
	}
}

func work(t *testing.T, fs vfs.FS, what string, names map[string]volume.Ino) {
	e, err := Open(Options{FS: fs, Dir: "index", Extents: true, MemTable: 64 << 10, BlockCache: 1, Log: zerolog.Nop()})
	if err != nil {
		return
	}
	f := &feeder{t: t, e: e}
	err = f.try(&volume.Op{Kind: volume.OpReign, Epoch: volume.Epoch{Number: 1, Leader: "a"}})
	for i := 0; err == nil && i < 500; i++ {
		name := fmt.Sprintf("%0100d", i)
		names[name] = volume.Ino(2 + i)
		err = f.try(file(volume.Ino(2+i), name))
		if volume.KindOf(err) == volume.WrongHistory {
			t.Errorf("%s: %v", what, err) // a wrong answer: the op fits
		}
		if i%100 == 99 {
			_ = e.Flush() // its failure must only be no lie, which the reopening shows
			e.cache.clear()
			e.entries.clear()
			_, rerr := e.Lookup(root, fmt.Sprintf("%0100d", i/2))
			if volume.KindOf(rerr) == volume.NotFound {
				t.Errorf("%s: a name is gone", what)
			}
		}
	}
	if err := e.Close(); err == nil {
		if v := e.Flushed(); v != e.Position().Version {
			t.Errorf("%s: closed well, but flushed only through %d of %d", what, v, e.Position().Version)
		}
	}
}

// TestFullForAWhile: a disk that is full makes Flush say so; the index goes on when
// there is room again.
func TestFullForAWhile(t *testing.T) {
	full := atomic.Bool{}
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && strings.HasSuffix(op.Path, ".sst") && op.Kind == errorfs.OpFileWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	e := openEngine(t, Options{FS: fs})
	f := newFeeder(t, e)
	full.Store(true)
	f.enter(file(2, "a"))
	if err := e.Flush(); volume.ErrnoOf(err) != syscall.ENOSPC {
		t.Error("flush to a full disk:", err)
	}
	if e.Flushed() >= e.Position().Version {
		t.Error("flushed says", e.Flushed())
	}
	full.Store(false)
	f.enter(file(3, "b"))
	if err := e.Flush(); err != nil || e.Flushed() != e.Position().Version {
		t.Error("flush again:", err, e.Flushed())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

const fatalEnv = "WOLFDISK_INDEX_FATAL"

// TestListFails: where the store cannot say what files it has, the process ends at
// once, with the reason in its log.
func TestListFails(t *testing.T) {
	if os.Getenv(fatalEnv) != "" {
		full := atomic.Bool{}
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if full.Load() && isList(op) {
				return syscall.ENOSPC
			}
			return nil
		}))
		e, err := Open(Options{FS: fs, Dir: "index", Log: zerolog.New(os.Stdout)})
		if err != nil {
			t.Fatal(err)
		}
		newFeeder(t, e)
		full.Store(true)
		t.Fatal("still here: ", e.Flush())
	}
	c := exec.Command(os.Args[0], "-test.run=^TestListFails$")
	c.Env = append(os.Environ(), fatalEnv+"=1")
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "WD-1156") || strings.Contains(string(out), "still here") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDamagedFile: a block that is not what was written is an error, not an answer and
// not the end of the process.
func TestDamagedFile(t *testing.T) {
	mem := vfs.NewMem()
	e := openEngine(t, Options{FS: mem})
	f := newFeeder(t, e)
	for i := range 300 {
		f.enter(file(volume.Ino(2+i), fmt.Sprintf("%0100d", i)))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("index")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		file, err := mem.OpenReadWrite("index/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(20); off < info.Size()/2; off += 40 {
			if _, err := file.WriteAt([]byte{0xa5, 0x5a}, off); err != nil {
				t.Fatal(err)
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	e, err = Open(Options{FS: mem, Dir: "index", Log: zerolog.Nop()})
	if err != nil {
		return
	}
	defer e.Abandon()
	failed := 0
	for i := range 300 {
		_, err := e.Lookup(root, fmt.Sprintf("%0100d", i))
		if volume.KindOf(err) == volume.NotFound {
			t.Fatal("a damaged block hides a name")
		}
		if err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("the damage was not noticed")
	}
}
