package master_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// forwarded makes a request one of another node.
func forwarded(seq uint64, req *volume.Request) *volume.Request {
	r := *req
	r.Caller = volume.Caller{UID: 3, Front: volume.FrontFUSE, Client: "n", Seq: seq}
	return &r
}

// askAll does a forwarded request of every kind, and returns them with their results.
func askAll(t *testing.T, l volume.Volume) (reqs []*volume.Request, results []volume.Result) {
	t.Helper()
	f, staged := mkFile(t, l, "f"), mustDo(t, l, create("", 0, volume.ModeFile|0o644)).Attr.Ino
	mkFile(t, l, "other")
	mkDir(t, l, root, "d")
	excl := create("x", root, volume.ModeFile|0o600)
	excl.Exclusive = true
	for _, r := range []*volume.Request{
		excl,
		create("l", root, volume.ModeLink), // with a target, below
		{Kind: volume.OpLink, Ino: f, NewParent: root, NewName: "g"},
		{Kind: volume.OpWrite, Ino: f, Append: true, Data: []byte("hello")},
		{Kind: volume.OpWrite, Ino: f, Append: true, Data: []byte(" world")},
		{Kind: volume.OpSetAttr, Ino: f, Set: volume.SetSize | volume.SetMode, Size: 7, Mode: 0o600},
		{Kind: volume.OpFallocate, Ino: f, Offset: 3, Length: 9},
		{Kind: volume.OpCopyChunks, Ino: f, Offset: 100, Chunks: []volume.ChunkRef{{Length: 10}}},
		{Kind: volume.OpSetXattr, Ino: f, Name: "user.a", Data: []byte("v"), Exclusive: true},
		{Kind: volume.OpRemoveXattr, Ino: f, Name: "user.a"},
		{Kind: volume.OpRename, Parent: root, Name: "g", NewParent: root, NewName: "other"},
		{Kind: volume.OpUnlink, Parent: root, Name: "other"},
		{Kind: volume.OpRmdir, Parent: root, Name: "d"},
		{Kind: volume.OpPublish, Ino: staged, Parent: root, Name: "p", Match: volume.Match{Absent: true}},
	} {
		if r.Mode&volume.ModeType == volume.ModeLink {
			r.Target = "t"
		}
		r = forwarded(1<<60+uint64(len(reqs)), r)
		reqs, results = append(reqs, r), append(results, mustDo(t, l, r))
	}
	return reqs, results
}

// wantRepeats does the requests again, in another order.
func wantRepeats(t *testing.T, what string, l volume.Volume, reqs []*volume.Request, results []volume.Result) {
	t.Helper()
	before := l.Position()
	for i := len(reqs) - 1; i >= 0; i-- {
		res, err := l.Do(ctx, reqs[i])
		w := results[i]
		if err != nil || res.Version != w.Version || res.N != w.N || res.Offset != w.Offset || res.Attr.Ino != w.Attr.Ino ||
			res.Replaced.Ino != w.Replaced.Ino || res.Attr.Type() != w.Attr.Type() {
			t.Errorf("%s: repeat of %s: %+v, %v, want %+v", what, reqs[i].Kind, res, err, w)
		}
	}
	if l.Position() != before {
		t.Errorf("%s: the repeats went from %s to %s", what, before, l.Position())
	}
}

// Repeats are answered by the leader itself, by the next one over the same log, with an
// index that a crash has set back, and by one that has only replayed the ops or was given a snapshot.
func TestRepeatsAreAnswered(t *testing.T) {
	r := openRig(t, vfs.NewCrashableMem())
	l := r.lead(1)
	reqs, results := askAll(t, l)
	wantRepeats(t, "same leader", l, reqs, results)

	// A follower: the same ops, in one batch, then it leads.
	ops := logOps(t, r.log)
	replay := func(e *index.Engine) {
		t.Helper()
		if err := e.Enter(index.Batch{Ops: ops[e.Position().Version:], After: r.engine.Position()}); err != nil {
			t.Fatal(err)
		}
	}
	f := newRig(t)
	defer f.abandon()
	replay(f.engine)
	if err := f.log.Reset(r.engine.Position()); err != nil {
		t.Fatal(err)
	}
	promoted := f.lead(2)
	wantRepeats(t, "promoted follower", promoted, reqs, results)
	mustDo(t, promoted, forwarded(9, create("later", root, volume.ModeFile|0o644)))
	wantRepeats(t, "promoted follower that has written", promoted, reqs, results)

	s, err := r.engine.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.Export(&b, func() {}); err != nil {
		t.Fatal(err)
	}
	opt := index.Options{FS: vfs.NewMem(), Dir: "index", Extents: true, MemTable: 1 << 20, Log: zerolog.Nop()}
	e, err := index.Import(opt, &b, func(index.Head) error { return nil }, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Abandon()
	for _, req := range reqs {
		if _, ok, err := e.Answered(req); !ok || err != nil {
			t.Errorf("snapshot: answer to %s: %t, %v", req.Kind, ok, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// A restart after a crash: the index is what it had flushed, and replays the log.
	if err := r.log.Sync(ctx, r.log.Last().Version); err != nil {
		t.Fatal(err)
	}
	opt.FS = diskFS{r.mem.CrashClone(vfs.CrashCloneCfg{})}
	back, err := index.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Abandon()
	replay(back)
	again, err := master.New(master.Options{
		Tree: index.NewTree(back, r.back), Log: r.log, Log0: zerolog.Nop(), Epoch: volume.Epoch{Number: 2, Leader: "a", Tag: 1}, Participants: []string{"a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRepeats(t, "after a restart", again, reqs, results)
	r.abandon()
}

// A repeat that comes while the first is at work waits for its answer; so it does for one
// that fails, and then tries itself.
func TestRepeatWaits(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	ino := mkFile(t, l, "f")
	began, goOn := make(chan struct{}, 9), make(chan error)
	r.back.set(func(b *backing) {
		b.fail = func(op *volume.Op) error {
			if op.Kind != volume.OpWrite {
				return nil
			}
			began <- struct{}{}
			return <-goOn
		}
	})
	type answer struct {
		res volume.Result
		err error
	}
	ask := func(ctx context.Context) chan answer {
		c := make(chan answer, 1)
		go func() {
			res, err := l.Do(ctx, forwarded(5, &volume.Request{Kind: volume.OpWrite, Ino: ino, Append: true, Data: []byte("x")}))
			c <- answer{res, err}
		}()
		return c
	}
	first := ask(ctx)
	<-began
	second, third := ask(ctx), ask(ctx)
	gone, cancel := context.WithCancel(ctx)
	fourth := ask(gone)
	// Others go on, also the same client's.
	mustDo(t, l, forwarded(6, create("other", root, volume.ModeFile|0o644)))
	select {
	case <-began:
		t.Fatal("a repeat is at work beside the first")
	case a := <-second:
		t.Fatalf("a repeat was answered before the first: %+v", a)
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if a := <-fourth; volume.KindOf(a.err) != volume.Interrupted {
		t.Errorf("who gave up: %v", a.err)
	}
	goOn <- volume.NoSpace
	if a := <-first; volume.KindOf(a.err) != volume.NoSpace {
		t.Errorf("the first: %v", a.err)
	}
	<-began // one of the two tries again
	goOn <- nil
	a, b := <-second, <-third
	if a.err != nil || b.err != nil || a.res != b.res || a.res.N != 1 {
		t.Errorf("the repeats: %+v, %+v", a, b)
	}
	if got, err := l.GetAttr(ctx, ino); err != nil || got.Size != 1 {
		t.Errorf("size %d, %v", got.Size, err)
	}
	// What a lost session left behind is not done any more, even if nobody is at work.
	if a := <-ask(gone); volume.KindOf(a.err) != volume.Interrupted {
		t.Errorf("a request of somebody who has gone: %v", a.err)
	}
}

// A leader that has stopped answers nobody: what it has may not be what the others have.
func TestStoppedLeaderAnswersNoRepeats(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	req := forwarded(5, create("f", root, volume.ModeFile|0o644))
	mustDo(t, l, req)
	l.Stop(volume.Fenced)
	_, err := l.Do(ctx, req)
	wantKind(t, "repeat", err, volume.Fenced)
	if !volume.Repeatable(err) {
		t.Error("is not to be repeated elsewhere")
	}
}

// A truncation and what comes with it are one request: where only the first was recorded,
// a repeat does both.
func TestRepeatOfHalfARequest(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	ino := mkFile(t, l, "f")
	failed := errors.New("disk")
	r.back.set(func(b *backing) {
		b.fail = func(op *volume.Op) error {
			if op.Kind == volume.OpSetAttr {
				return failed
			}
			return nil
		}
	})
	req := forwarded(5, &volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize | volume.SetMode, Size: 9, Mode: 0o600})
	if _, err := l.Do(ctx, req); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if a, err := l.GetAttr(ctx, ino); err != nil || a.Size != 9 {
		t.Fatalf("the first op: %+v, %v", a, err)
	}
	r.back.set(func(b *backing) { b.fail = nil })
	res := mustDo(t, l, req)
	if res.Attr.Mode&volume.ModePerm != 0o600 {
		t.Errorf("the repeat: %+v", res)
	}
	if again := mustDo(t, l, req); again != res {
		t.Errorf("the third: %+v, want %+v", again, res)
	}
}

// overTheWire is a volume whose requests and results go through their encodings.
type overTheWire struct{ volume.Volume }

func (o overTheWire) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	b, err := volume.EncodeRequest(req)
	if err != nil {
		// Of two things that are wrong with a request, a volume may name another first.
		return o.Volume.Do(ctx, req)
	}
	if req, err = volume.DecodeRequest(b); err != nil {
		return volume.Result{}, err
	}
	res, err := o.Volume.Do(ctx, req)
	if err != nil {
		return res, err
	}
	if b, err = volume.EncodeResult(res); err != nil {
		return volume.Result{}, err
	}
	return volume.DecodeResult(b)
}

// Nothing that counts is lost on the way.
func TestOverTheWireConforms(t *testing.T) {
	volumetest.Run(t, func(t *testing.T) volumetest.System {
		v := newChunkVolume(t)
		s := leadOn(t, master.Options{Tree: v.tree, Log: v.log})
		s.Vol = overTheWire{s.Vol}
		return s
	})
}
