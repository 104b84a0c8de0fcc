package oplog

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// TestConcurrent appends, syncs, reads in every way, trims and verifies at once.
func TestConcurrent(t *testing.T) {
	o := small(vfs.NewCrashableMem())
	o.SyncEvery = time.Millisecond
	l, _ := mustOpen(t, o)
	const writers, perWriter = 4, 150
	var mu sync.Mutex // orders the history as the log is
	m := newHistory()
	mustAppend(t, l, epoch1, reign(epoch1))
	m.add(t, reign(epoch1))
	total := volume.Version(1 + writers*perWriter)

	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	var wg, readers sync.WaitGroup
	var refs sync.Map // version -> Frame
	for w := range writers {
		wg.Go(func() {
			rng := testRand(uint64(100 + w))
			for i := range perWriter {
				op := randomOp(rng, w*perWriter+i)
				mu.Lock()
				frames, err := l.AppendOps(epoch1, []*volume.Op{op})
				if err != nil {
					t.Errorf("append: %v", err)
					mu.Unlock()
					return
				}
				m.add(t, op)
				mu.Unlock()
				refs.Store(frames[0].Last, frames[0])
				if i%5 == 0 {
					if err := l.Sync(ctx, frames[0].Last); err != nil {
						t.Errorf("sync: %v", err)
					}
					if l.Durable() < frames[0].Last {
						t.Errorf("durable is %d after a sync through %d", l.Durable(), frames[0].Last)
					}
				}
			}
		})
	}
	var low atomic.Uint64 // readers below it may find the log trimmed
	for n := range 4 {
		readers.Go(func() {
			r, err := l.Reader(1)
			if err != nil {
				if volume.KindOf(err) != volume.TooOld {
					t.Errorf("Reader: %v", err)
				}
				return
			}
			defer r.Close()
			for at := volume.Version(1); at <= total; {
				f, err := r.Next(ctx)
				if err != nil {
					if volume.KindOf(err) == volume.TooOld && n > 0 && at <= volume.Version(low.Load()) {
						return
					}
					t.Errorf("reader %d at %d: %v", n, at, err)
					return
				}
				mu.Lock()
				good := f.First == at && f.Prev == m.digests[f.First-1] && f.Digest == m.digests[f.Last]
				mu.Unlock()
				if !good {
					t.Errorf("reader %d: frame %d..%d at %d is not what was written", n, f.First, f.Last, at)
					return
				}
				at = f.Last + 1
				if n == 0 { // the slowest reader that the trimming respects
					low.Store(uint64(f.First) / 2)
				}
			}
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if _, err := l.Trim(volume.Version(low.Load())); err != nil {
				t.Errorf("trim: %v", err)
			}
			if err := l.Verify(ctx, func(c Checked) error { return c.Err }); err != nil {
				t.Errorf("verify: %v", err)
			}
			if err := l.Reserve(4 << 10); err != nil {
				t.Errorf("reserve: %v", err)
			}
		}
	})
	others.Go(func() {
		rng := testRand(55)
		for {
			select {
			case <-stop:
				return
			default:
			}
			v := volume.Version(1 + rng.IntN(int(total)))
			if p, err := l.PositionAt(v); err == nil {
				mu.Lock()
				if p.Digest != m.digests[v] {
					t.Errorf("PositionAt(%d) is %s", v, p)
				}
				mu.Unlock()
			} else if k := volume.KindOf(err); k != volume.TooOld && k != volume.NotFound {
				t.Errorf("PositionAt(%d): %v", v, err)
			}
			x, ok := refs.Load(v)
			if !ok {
				continue
			}
			want := x.(Frame)
			f, ops, err := l.ReadFrame(want.Ref)
			if err != nil {
				if volume.KindOf(err) != volume.Missing {
					t.Errorf("ReadFrame: %v", err)
				}
				continue
			}
			if !bytes.Equal(f.Bytes, want.Bytes) {
				t.Errorf("frame %d differs", v)
			}
			got := make([]byte, len(ops[0].Data))
			ref := want.Ref
			ref.Offset = uint32(ops[0].DataOff)
			if err := l.ReadLog(ctx, ref, got); err != nil && volume.KindOf(err) != volume.Missing {
				t.Errorf("ReadLog: %v", err)
			} else if err == nil && !bytes.Equal(got, ops[0].Data) {
				t.Errorf("content of op %d differs", v)
			}
		}
	})
	wg.Wait()
	readers.Wait()
	close(stop)
	others.Wait()
	if l.Last().Version != total {
		t.Fatalf("last is %s, want %d", l.Last(), total)
	}
	// How far the trimming came depends on the scheduler.
	if _, err := l.Trim(total); err != nil || l.First() != l.active.head.first {
		t.Errorf("trimmed through the end, the log begins with %d: %v", l.First(), err)
	}
	m.check(t, l)
	mustClose(t, l)
	l, rec := mustOpen(t, o)
	if rec.Last.Version != total || rec.Cut != nil {
		t.Fatalf("recovery is %+v", rec)
	}
	m.check(t, l)
	mustClose(t, l)
}

// Resets under readers and writers end nobody but with the right kind.
func TestConcurrentReset(t *testing.T) {
	o := small(vfs.NewMem())
	o.SyncEvery = time.Millisecond
	l, _ := mustOpen(t, o)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	allowed := func(what string, err error, kinds ...volume.Kind) {
		for _, k := range kinds {
			if err == nil || volume.KindOf(err) == k {
				return
			}
		}
		t.Errorf("%s: %v", what, err)
	}
	running := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	wg.Go(func() {
		rng := testRand(60)
		for i := 0; running(); i++ {
			frames, err := l.AppendOps(epoch1, []*volume.Op{randomOp(rng, i)})
			if err != nil {
				t.Errorf("append: %v", err)
				return
			}
			allowed("sync", l.Sync(bg, frames[0].Last), volume.Invalid)
			_, _, err = l.ReadFrame(frames[0].Ref)
			allowed("ReadFrame", err, volume.Missing, volume.Corrupt)
		}
	})
	wg.Go(func() {
		for running() {
			r, err := l.Reader(l.First())
			allowed("Reader", err, volume.TooOld, volume.NotFound)
			if err != nil {
				continue
			}
			for range 20 {
				_, _, err := r.TryNext()
				allowed("TryNext", err, volume.WrongHistory, volume.TooOld)
				if err != nil {
					break
				}
			}
		}
	})
	for i := range 30 {
		if err := l.Reset(volume.Position{Epoch: epoch1, Version: volume.Version(1 + i%3*100), Digest: volume.Digest{byte(i)}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	mustClose(t, l)
}

// countingFS counts how often segments are synced, and makes it slow.
type countingFS struct {
	vfs.FS
	syncs atomic.Int64
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (c *countingFS) Create(name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.Create(name, cat)
	return countingFile{f, c}, err
}

func (f countingFile) SyncData() error {
	f.fs.syncs.Add(1)
	time.Sleep(2 * time.Millisecond)
	return f.File.SyncData()
}

// Callers at the same time share a sync, and a cancelled one does not wait.
func TestSyncIsShared(t *testing.T) {
	c := &countingFS{FS: vfs.NewMem()}
	o := small(c)
	o.SegmentSize = 1 << 20
	l, _ := mustOpen(t, o)
	defer mustClose(t, l)
	before := c.syncs.Load()
	var wg sync.WaitGroup
	const callers = 64
	for i := range callers {
		wg.Go(func() {
			frames, err := l.AppendOps(epoch1, []*volume.Op{nameOp(i)})
			if err == nil {
				err = l.Sync(bg, frames[0].Last)
			}
			if err != nil || l.Durable() < frames[0].Last {
				t.Errorf("sync: %v", err)
			}
		})
	}
	wg.Wait()
	if n := c.syncs.Load() - before; n > callers/4 {
		t.Fatalf("%d syncs for %d callers at once", n, callers)
	}
	f := mustAppend(t, l, epoch1, nameOp(1000))
	l.lockSync() // somebody's sync hangs
	ctx, cancel := context.WithTimeout(bg, time.Millisecond)
	defer cancel()
	wantKind(t, l.Sync(ctx, f.Last), volume.Interrupted)
	l.unlockSync()
	if err := l.Sync(bg, f.Last); err != nil {
		t.Fatal(err)
	}
	wantKind(t, l.Sync(bg, f.Last+1), volume.Invalid)
}
