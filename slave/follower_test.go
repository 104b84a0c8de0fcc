package slave_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/oplog"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

var ctx = context.Background()

const root = volume.RootIno

var testVolume = volume.ID{4, 5}

// node is a chunk volume in memory.
type node struct {
	log    *oplog.Log
	engine *index.Engine
	store  *chunkstore.Store
	tree   *index.Tree
	closed bool
}

func open(t *testing.T, fs vfs.FS) *node {
	t.Helper()
	n := &node{}
	opt := oplog.DefaultOptions("oplog", testVolume)
	opt.FS, opt.SyncEvery, opt.SegmentSize = fs, 0, 1<<20
	log, _, err := oplog.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	n.log = log
	n.engine, err = index.Open(index.Options{FS: fs, Dir: "index", Extents: true, MemTable: 1 << 20, Log: zerolog.Nop(),
		SyncLog: func(v volume.Version) error { return log.Sync(ctx, v) }})
	if err != nil {
		t.Fatal(err)
	}
	n.store, _, err = chunkstore.Open(chunkstore.Options{FS: fs, Dir: "chunks", Volume: testVolume, ChunkSize: volume.MinChunkSize, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	n.tree = index.NewTree(n.engine, chunkstore.NewContent(n.engine, log, n.store))
	t.Cleanup(func() {
		if !n.closed {
			n.close(t)
		}
	})
	return n
}

func (n *node) close(t *testing.T) {
	t.Helper()
	n.closed = true
	if err := errors.Join(n.engine.Close(), n.store.Close(), n.log.Close()); err != nil {
		t.Error(err)
	}
}

func (n *node) follower(o volume.Observer) *slave.Follower {
	return slave.New(slave.Options{Tree: n.tree, Log: n.log, Observer: o, Log0: zerolog.Nop()})
}

// writer is a leader's log: it makes frames.
type writer struct {
	t     *testing.T
	log   *oplog.Log
	epoch volume.Epoch
	time  volume.Time
}

func newWriter(t *testing.T, leader string) *writer {
	t.Helper()
	opt := oplog.DefaultOptions("oplog", testVolume)
	opt.FS, opt.SyncEvery = vfs.NewMem(), 0
	log, _, err := oplog.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return &writer{t: t, log: log, epoch: volume.Epoch{Number: 1, Leader: leader}}
}

// frame records ops and returns the bytes of their frame.
func (w *writer) frame(ops ...*volume.Op) []byte {
	w.t.Helper()
	for _, op := range ops {
		w.time.Sec++
		op.Time = w.time
	}
	frames, err := w.log.AppendOps(w.epoch, ops)
	if err != nil || len(frames) != 1 {
		w.t.Fatal(len(frames), err)
	}
	return append([]byte(nil), frames[0].Bytes...)
}

func (w *writer) reign() []byte {
	return w.frame(&volume.Op{Kind: volume.OpReign, Epoch: w.epoch})
}

func file(ino volume.Ino, name string) *volume.Op {
	return &volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: root, Name: name, Mode: volume.ModeFile | 0o644}
}

func write(ino volume.Ino, data string) *volume.Op {
	return &volume.Op{Kind: volume.OpWrite, Ino: ino, Data: []byte(data)}
}

func unlink(ino volume.Ino, name string) *volume.Op {
	return &volume.Op{Kind: volume.OpUnlink, Ino: ino, Parent: root, Name: name}
}

func wantKind(t *testing.T, what string, err error, k volume.Kind) {
	t.Helper()
	if err == nil || volume.KindOf(err) != k {
		t.Errorf("%s: %v, want %v", what, err, k)
	}
}

func receive(t *testing.T, f *slave.Follower, frames ...[]byte) {
	t.Helper()
	for _, b := range frames {
		if err := f.Receive(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
}

func snapshot(t *testing.T, r volume.Reader) volumetest.Snapshot {
	t.Helper()
	s, err := volumetest.Tree(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// same is a log with the beginning that the tests of refusals have.
func same(t *testing.T, leader, content string) (w *writer, frames [][]byte) {
	w = newWriter(t, leader)
	return w, [][]byte{w.reign(), w.frame(file(2, "a"), write(2, content))}
}

// TestRefusals: a frame that does not fit changes nothing, and the right one is taken
// after it. If its ops do not fit the tree, although they continue the log, two nodes
// do not agree on what ops mean: the follower stops for good.
func TestRefusals(t *testing.T) {
	damaged := []volume.Kind{volume.BadFormat, volume.Corrupt}
	misfit := []volume.Kind{volume.WrongHistory}
	for _, c := range []struct {
		name  string
		kinds []volume.Kind
		final bool
		// frame makes the bad one; good is what should come, and is in w already.
		frame func(t *testing.T, w *writer, good []byte) []byte
	}{
		{"gap", misfit, false, func(t *testing.T, w *writer, _ []byte) []byte { return w.frame(file(4, "c")) }},
		{"another history", misfit, false, func(t *testing.T, w *writer, _ []byte) []byte {
			o, _ := same(t, "a", "other")
			return o.frame(file(3, "b"))
		}},
		{"another leader's history", misfit, false, func(t *testing.T, w *writer, _ []byte) []byte {
			o, _ := same(t, "other", "hello")
			return o.frame(file(3, "b"))
		}},
		{"another history, in the past", misfit, false, func(t *testing.T, w *writer, _ []byte) []byte {
			_, frames := same(t, "a", "other")
			return frames[1]
		}},
		{"damaged header", damaged, false, func(t *testing.T, w *writer, good []byte) []byte { good[20] ^= 1; return good }},
		{"damaged payload", damaged, false, func(t *testing.T, w *writer, good []byte) []byte { good[len(good)-1] ^= 1; return good }},
		{"cut short", damaged, false, func(t *testing.T, w *writer, good []byte) []byte { return good[:len(good)-1] }},
		{"a header alone", damaged, false, func(t *testing.T, w *writer, good []byte) []byte { return good[:20] }},
		{"something behind it", damaged, false, func(t *testing.T, w *writer, good []byte) []byte { return append(good, 0) }},
		{"empty", damaged, false, func(*testing.T, *writer, []byte) []byte { return nil }},
		{"name that is taken", misfit, true, func(t *testing.T, w *writer, _ []byte) []byte {
			o, _ := same(t, "a", "hello")
			return o.frame(file(3, "b"), file(4, "a"))
		}},
		{"op on what is not there", misfit, true, func(t *testing.T, w *writer, _ []byte) []byte {
			o, _ := same(t, "a", "hello")
			return o.frame(write(77, "x"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := open(t, vfs.NewMem())
			var seen ends
			f := n.follower(&seen)
			w, frames := same(t, "a", "hello")
			receive(t, f, frames...)
			receive(t, f, frames[1], frames[0]) // what is here already does no harm
			before, pos := snapshot(t, f), f.Position()
			good := w.frame(file(3, "b"))
			err := f.Receive(ctx, c.frame(t, w, append([]byte(nil), good...)))
			if err == nil || !slices.Contains(c.kinds, volume.KindOf(err)) {
				t.Fatalf("%v, want %v", err, c.kinds)
			}
			for _, d := range volumetest.Diff(before, snapshot(t, f)) {
				t.Error(d)
			}
			if f.Position() != pos || seen.last() != pos.Version {
				t.Errorf("position %v, was %v; told of %d", f.Position(), pos, seen.last())
			}
			p := make([]byte, 9)
			if got, err := f.ReadAt(ctx, 2, p, 0); err != nil || string(p[:got]) != "hello" {
				t.Errorf("content %q, %v", p[:got], err)
			}
			if c.final != (f.Failed() != nil) {
				t.Errorf("stopped: %v", f.Failed())
			}
			if err := f.Receive(ctx, good); c.final != (err != nil) {
				t.Errorf("the right frame: %v", err)
			}
		})
	}
}

// ends remembers the last op that it was told of.
type ends struct {
	mu sync.Mutex
	v  volume.Version
}

func (e *ends) Applied(ops []*volume.Op) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.v = ops[len(ops)-1].Version
}

func (e *ends) last() volume.Version {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.v
}

// TestLogFailsUnasked: see the leader's.
func TestLogFailsUnasked(t *testing.T) {
	var broken atomic.Bool
	n := open(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && strings.HasPrefix(op.Path, "oplog") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			return syscall.EIO
		}
		return nil
	})))
	defer func() {
		n.closed = true
		n.engine.Abandon()
		n.store.Close()
		n.log.Close()
	}()
	f := n.follower(nil)
	receive(t, f, newWriter(t, "a").reign())
	if f.Failed() != nil {
		t.Fatal(f.Failed())
	}
	broken.Store(true)
	if err := n.log.Sync(ctx, n.log.Last().Version); err == nil {
		t.Fatal("the log could be synced")
	}
	wantKind(t, "failed", f.Failed(), volume.Fault)
}

func TestTakesNoChanges(t *testing.T) {
	w, n := newWriter(t, "a"), open(t, vfs.NewMem())
	f := n.follower(nil)
	receive(t, f, w.reign(), w.frame(file(2, "a"), write(2, "hello")))
	for k := volume.OpCreate; k <= volume.OpMember; k++ {
		_, err := f.Do(ctx, &volume.Request{Kind: k, Ino: 2, Parent: root, Name: "n"})
		wantKind(t, k.String(), err, volume.ReadOnly)
	}
	wantKind(t, "open for writing", f.Open(ctx, 2, true), volume.ReadOnly)
	wantKind(t, "open of nothing", f.Open(ctx, 99, false), volume.Stale)
	if err := f.Open(ctx, 2, false); err != nil {
		t.Error(err)
	}
	if err := f.Close(ctx, 2); err != nil {
		t.Error(err)
	}
	if err := f.Sync(ctx, 0, false); err != nil {
		t.Error(err)
	}
	if r, a, d := f.Progress(); r != 3 || a != 3 || d != 3 {
		t.Errorf("progress %d, %d, %d", r, a, d)
	}
	f.Stop(volume.Errorf(volume.Closed, "enough"))
	wantKind(t, "frame after Stop", f.Receive(ctx, w.frame(file(3, "b"))), volume.Closed)
	if err := f.Failed(); err != nil {
		t.Error("told to stop, it says:", err)
	}
}

// What is open stays readable when the leader ends it, and is gone after the last
// close.
func TestPinnedSurvivesEnd(t *testing.T) {
	for _, at := range []string{"unlink that ends", "end of its own", "rename over it"} {
		t.Run(at, func(t *testing.T) {
			w, n := newWriter(t, "a"), open(t, vfs.NewMem())
			f := n.follower(nil)
			receive(t, f, w.reign(), w.frame(file(2, "a"), write(2, "hello"), file(3, "b")))
			for range 2 {
				if err := f.Open(ctx, 2, false); err != nil {
					t.Fatal(err)
				}
			}
			switch at {
			case "unlink that ends":
				op := unlink(2, "a")
				op.Flags = volume.OpEnds
				receive(t, f, w.frame(op))
			case "end of its own":
				receive(t, f, w.frame(unlink(2, "a")), w.frame(&volume.Op{Kind: volume.OpEnd, Ino: 2}))
			default:
				receive(t, f, w.frame(&volume.Op{Kind: volume.OpRename, Ino: 3, Parent: root, Name: "b", NewParent: root, NewName: "a", Replaced: 2, Flags: volume.OpEnds}))
			}
			for range 2 {
				p := make([]byte, 9)
				if got, err := f.ReadAt(ctx, 2, p, 0); err != nil || string(p[:got]) != "hello" {
					t.Errorf("content %q, %v", p[:got], err)
				}
				if a, err := f.GetAttr(ctx, 2); err != nil || a.Nlink != 0 || a.Size != 5 {
					t.Errorf("attributes %+v, %v", a, err)
				}
				if err := f.Close(ctx, 2); err != nil {
					t.Error(err)
				}
			}
			if _, err := f.GetAttr(ctx, 2); volume.KindOf(err) != volume.Stale {
				t.Error("after the last close:", err)
			}
		})
	}
}

// Readers beside the replay see whole ops: two files that are always written together
// in one op each, in order.
func TestReadersSeePrefixes(t *testing.T) {
	w, n := newWriter(t, "a"), open(t, vfs.NewMem())
	f := n.follower(nil)
	receive(t, f, w.reign(), w.frame(file(2, "a"), file(3, "b")))
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				b, err := f.GetAttr(ctx, 3) // written after the other
				a, err2 := f.GetAttr(ctx, 2)
				if err != nil || err2 != nil || a.Size < b.Size {
					t.Errorf("a is %d, b is %d, %v, %v", a.Size, b.Size, err, err2)
					return
				}
				before := f.Position().Version
				if f.Position().Version < before {
					t.Error("the position goes back")
				}
			}
		})
	}
	for i := range 400 {
		a, b := write(2, "x"), write(3, "x")
		a.Offset, b.Offset = int64(i), int64(i)
		receive(t, f, w.frame(a), w.frame(b))
	}
	close(stop)
	group.Wait()
	if f.Position() != w.log.Last() {
		t.Errorf("position %v, leader's %v", f.Position(), w.log.Last())
	}
}

// A follower that is opened again goes on where it was.
func TestReopened(t *testing.T) {
	w := newWriter(t, "a")
	fs := vfs.NewMem()
	var frames [][]byte
	frames = append(frames, w.reign())
	for i := range volume.Ino(20) {
		frames = append(frames, w.frame(file(2+i, fmt.Sprint(i)), write(2+i, fmt.Sprint("content ", i))))
	}
	n := open(t, fs)
	receive(t, n.follower(nil), frames[:11]...)
	n.close(t)
	n2 := open(t, fs)
	f := n2.follower(nil)
	if r, a, _ := f.Progress(); r != 21 || a != 21 {
		t.Errorf("progress %d, %d", r, a)
	}
	receive(t, f, frames[11:]...)
	if f.Position() != w.log.Last() {
		t.Errorf("position %v, leader's %v", f.Position(), w.log.Last())
	}
	if len(snapshot(t, f)) != 21 {
		t.Error("names:", len(snapshot(t, f)))
	}
}
