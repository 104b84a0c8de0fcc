package master_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

// A backing that refuses an op leaves no trace of it; one that takes less of a write
// shortens the op.
func TestBackingFails(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	ino := mkFile(t, l, "a")
	mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte("hello")})
	before := l.Position()
	r.back.set(func(b *backing) { b.fail = func(*volume.Op) error { return syscall.ENOSPC } })
	for _, req := range []*volume.Request{
		create("b", root, volume.ModeFile), {Kind: volume.OpWrite, Ino: ino, Data: []byte("x")},
		{Kind: volume.OpUnlink, Parent: root, Name: "a"}, {Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize | volume.SetMode, Mode: 0o600},
	} {
		if _, err := l.Do(ctx, req); volume.ErrnoOf(err) != syscall.ENOSPC {
			t.Errorf("%s: %v", req.Kind, err)
		}
	}
	if l.Position() != before || l.Failed() != nil || len(r.back.undid) != 0 {
		t.Errorf("position %v, was %v; failed: %v; %d undone", l.Position(), before, l.Failed(), len(r.back.undid))
	}
	// Of two ops in one request the first has happened.
	r.back.set(func(b *backing) {
		b.fail = func(op *volume.Op) error {
			if op.Kind == volume.OpSetAttr {
				return syscall.EIO
			}
			return nil
		}
	})
	if _, err := l.Do(ctx, &volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize | volume.SetMode, Size: 2, Mode: 0o600}); volume.ErrnoOf(err) != syscall.EIO {
		t.Error("half a request:", err)
	}
	if a, err := l.GetAttr(ctx, ino); err != nil || a.Size != 2 || a.Mode&0o777 != 0o644 {
		t.Errorf("after half a request: %+v, %v", a, err)
	}
	r.back.set(func(b *backing) { b.fail, b.short = nil, func(*volume.Op) int { return 3 } })
	res, err := l.Do(ctx, &volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: 2, Data: []byte("12345")})
	if err != nil || res.N != 3 || res.Attr.Size != 5 {
		t.Errorf("short write: %+v, %v", res, err)
	}
	ops := logOps(t, r.log)
	if last := ops[len(ops)-1]; string(last.Data) != "123" {
		t.Errorf("the op says %q", last.Data)
	}
	got := make([]byte, 9)
	if n, err := l.ReadAt(ctx, ino, got, 0); err != nil || string(got[:n]) != "he123" {
		t.Errorf("content %q, %v", got[:n], err)
	}
}

// A log that fails stops the leader: EROFS from then on, what was applied is taken
// back, reading goes on, and what was answered is there after a restart.
func TestLogFails(t *testing.T) {
	for _, what := range []string{"write", "sync", "full"} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t)
			l := r.lead(1)
			ino := mkFile(t, l, "a")
			mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte("hello")})
			answered := l.Position().Version
			r.failLog(func(op errorfs.Op) error {
				switch {
				case what == "sync" && op.Kind == errorfs.OpFileSync || what == "sync" && op.Kind == errorfs.OpFileSyncData:
					return syscall.EIO
				case what == "write" && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt):
					return syscall.EIO
				case what == "full" && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt || op.Kind == errorfs.OpFilePreallocate):
					return syscall.ENOSPC
				}
				return nil
			})
			if what == "sync" {
				if err := l.Sync(ctx, 0, false); volume.ErrnoOf(err) != syscall.EIO && volume.KindOf(err) != volume.Fault {
					t.Error("sync:", err)
				}
			} else if _, err := l.Do(ctx, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte("lost!")}); err == nil {
				t.Error("write: success")
			} else if len(r.back.undid) != 1 {
				t.Errorf("%d ops undone", len(r.back.undid))
			}
			if l.Failed() == nil {
				t.Fatal("the leader goes on")
			}
			for i := range 3 {
				_, err := l.Do(ctx, create(fmt.Sprint("n", i), root, volume.ModeFile))
				wantKind(t, "afterwards", err, volume.Fault)
			}
			if err := l.Open(ctx, ino, true); volume.KindOf(err) != volume.Fault {
				t.Error("open for writing:", err)
			}
			if err := l.Sync(ctx, 0, false); err == nil {
				t.Error("sync of a stopped leader: success")
			}
			if volume.ErrnoOf(volume.Fault) != syscall.EROFS {
				t.Error("the application sees", volume.ErrnoOf(volume.Fault))
			}
			if err := l.Open(ctx, ino, false); err != nil {
				t.Error("open for reading:", err)
			}
			p := make([]byte, 9)
			if n, err := l.ReadAt(ctx, ino, p, 0); err != nil || string(p[:n]) != "hello" {
				t.Errorf("content %q, %v", p[:n], err)
			}
			if err := l.Close(ctx, ino); err != nil {
				t.Error("close:", err)
			}
			if l.Position().Version != answered {
				t.Errorf("position %d, answered %d", l.Position().Version, answered)
			}
			r.logFails.Store(nil)
			r.abandon()
			if got := r.log.Last().Version; got != answered {
				t.Errorf("the log ends at %d, answered was %d", got, answered)
			}
		})
	}
}

// What the index cannot take is in the log all the same: it must not be undone below,
// because the next start has it.
func TestRecordedIsNotUndone(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	ino := mkFile(t, l, "a")
	at := l.Position().Version
	r.failLog(func(op errorfs.Op) error { // the index asks for a sync when enough has gathered
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			return syscall.EIO
		}
		return nil
	})
	var err error
	for i := 0; err == nil && i < 20000; i++ {
		_, err = l.Do(ctx, &volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: fmt.Sprint("user.", i%50), Data: bytes.Repeat([]byte{1}, 60000)})
		if err == nil {
			at++
		}
	}
	if volume.KindOf(err) != volume.Fault {
		t.Fatal(err)
	}
	if last := r.log.Last().Version; last > at && len(r.back.undid) > 0 {
		t.Errorf("answered through %d, the log ends at %d, but %d ops were undone", at, last, len(r.back.undid))
	}
}

// TestLogFailsUnasked: a log that nobody writes to is synced in the background. If that fails
// the leader has failed, and does not wait for the next change to say so: its followers get
// nothing any more.
func TestLogFailsUnasked(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	mkFile(t, l, "a")
	r.failLog(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			return syscall.EIO
		}
		return nil
	})
	if err := r.log.Sync(ctx, r.log.Last().Version); err == nil {
		t.Fatal("the log could be synced")
	}
	wantKind(t, "failed", l.Failed(), volume.Fault)
}

func TestGivenUpSync(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	mkFile(t, l, "a")
	hold, begun := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.failLog(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			once.Do(func() { close(begun) })
			<-hold
		}
		return nil
	})
	first := make(chan error, 1)
	go func() { first <- l.Sync(ctx, 0, false) }()
	<-begun
	c, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	wantKind(t, "fsync that is given up", l.Sync(c, 0, false), volume.Interrupted)
	close(hold)
	if err := <-first; err != nil {
		t.Error("the other fsync:", err)
	}
	if l.Failed() != nil {
		t.Fatal("the leader has stopped:", l.Failed())
	}
	mkFile(t, l, "b")
}

func TestStop(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	ino := mkFile(t, l, "a")
	begun, hold := make(chan struct{}), make(chan struct{})
	r.back.set(func(b *backing) {
		b.block = func(op *volume.Op) {
			if op.Kind == volume.OpWrite {
				close(begun)
				<-hold
			}
		}
	})
	wrote := make(chan error, 1)
	go func() {
		_, err := l.Do(ctx, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte("x")})
		wrote <- err
	}()
	<-begun
	stopped := make(chan struct{})
	go func() {
		l.Stop(volume.Errorf(volume.ReadOnly, "stopping"))
		l.Stop(volume.Errorf(volume.Fenced, "too late"))
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("Stop does not wait for the handler at work")
	case <-time.After(20 * time.Millisecond):
	}
	close(hold)
	if err := <-wrote; err != nil {
		t.Error("the handler at work:", err)
	}
	<-stopped
	v := l.Position().Version
	_, err := l.Do(ctx, create("b", root, volume.ModeFile))
	wantKind(t, "do", err, volume.ReadOnly)
	wantKind(t, "open for writing", l.Open(ctx, ino, true), volume.ReadOnly)
	wantKind(t, "member", l.PutMember(volume.Member{ID: "m"}), volume.ReadOnly)
	if err := l.Open(ctx, ino, false); err != nil {
		t.Error(err)
	}
	if err := l.Close(ctx, ino); err != nil {
		t.Error(err)
	}
	if l.Position().Version != v {
		t.Error("something was recorded after Stop")
	}
}

// Close of an unlinked file takes part in the writing: it must not wait for Stop with
// a lock that a handler needs for which Stop waits.
func TestCloseAndStop(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 25
	}
	for i := range rounds {
		r := newRig(t)
		l := r.lead(1)
		ino := mkFile(t, l, "a")
		if err := l.Open(ctx, ino, false); err != nil {
			t.Fatal(err)
		}
		mustDo(t, l, &volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "a"})
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 5 {
					if _, err := l.Do(ctx, &volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetMode, Mode: 0o600}); err != nil {
						if k := volume.KindOf(err); k != volume.ReadOnly && k != volume.Stale {
							t.Error(err)
						}
					}
				}
			})
		}
		group.Go(func() { l.Stop(volume.ReadOnly) })
		group.Go(func() {
			if err := l.Close(ctx, ino); err != nil {
				t.Error(err)
			}
		})
		done := make(chan struct{})
		go func() { group.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d hangs", i)
		}
		r.abandon()
	}
}

// A leader that never wrote leaves no trace.
func TestNoTrace(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	if _, err := l.Lookup(ctx, root, "a"); err != volume.NotFound {
		t.Error(err)
	}
	if _, err := l.Do(ctx, &volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "a"}); err != volume.NotFound {
		t.Error(err)
	}
	if err := l.Sync(ctx, 0, false); err != nil {
		t.Error(err)
	}
	if l.Wrote() || r.log.Last().Version != 0 {
		t.Error("it wrote", r.log.Last())
	}
}
