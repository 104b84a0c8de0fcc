package fusefs

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// However many changes wait, more than there are readers, what does not change is answered, a killed
// caller ends, and in the end all changes are made.
func TestManyHang(t *testing.T) {
	h := newHub()
	const hanging = maxReaders + 20
	for i := range hanging + 1 { // the kernel locks a directory while something is made in it
		h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: 1, Name: fmt.Sprint("p", i), Mode: volume.ModeDir | 0o755})
	}
	r := mountHub(t, h, Options{})
	a, killed := startAgent(t, r.dir, 0), startAgent(t, r.dir, 0)
	release := make(chan bool)
	hang := func(ctx context.Context, _ *volume.Request) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return volume.Interrupted
		}
	}
	h.before.Store(&hang)
	var wg sync.WaitGroup
	let := sync.OnceFunc(func() { close(release) })
	defer wg.Wait()
	defer let()
	errs := make([]error, hanging)
	for i := range hanging {
		wg.Go(func() { errs[i] = unix.Mkdir(fmt.Sprintf("%s/p%d/d", r.dir, i), 0o755) })
	}
	eventually(t, "readers are at work", func() bool { return r.srv.Stats().Busy >= maxReaders/2 })
	time.Sleep(time.Second) // for the rest
	within := func(what string, done <-chan struct{}) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			let()
			t.Fatalf("%s: not while %d changes wait", what, hanging)
		}
	}
	looked := make(chan struct{})
	go func() { // a.do may end the test's own goroutine only
		a.try(cmd{Op: "statfs", Path: "."})
		a.try(cmd{Op: "stat", Path: "p3"})
		close(looked)
	}()
	within("statfs and stat", looked)
	killed.start(cmd{Op: "mkdir", Path: fmt.Sprintf("p%d/d", hanging), Mode: 0o755})
	time.Sleep(100 * time.Millisecond)
	killed.proc.Process.Kill()
	died := make(chan struct{})
	go func() { killed.proc.Wait(); close(died) }()
	within("the end of a killed caller", died)
	let()
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("mkdir %d: %v", i, err)
		}
	}
	h.before.Store(nil)
	if got := len(a.names(fmt.Sprintf("p%d", hanging))); got != 0 {
		t.Errorf("the killed caller's change was made")
	}
}
