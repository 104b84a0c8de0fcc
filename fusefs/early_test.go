package fusefs

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// The kernel has been told of what it knows when Applying returns, unless it holds the
// file for long; and once more when the op is there.
func TestApplying(t *testing.T) {
	f := &fakeKernel{block: map[string]chan bool{}}
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	known(k, 20, 22)
	write := func(ino volume.Ino) []*volume.Op {
		return []*volume.Op{{Kind: volume.OpWrite, Version: 9, Ino: ino, Data: []byte("12345")}}
	}
	told := func() []string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Clone(f.told)
	}
	k.Applying(write(20))
	if got := told(); !slices.Equal(got, []string{"inode 20 0 5"}) {
		t.Fatalf("told %q before the op", got)
	}
	k.Applied(write(20))
	k.notify.await(k.notify.pushed(), time.Minute)
	if got := told(); !slices.Equal(got, []string{"inode 20 0 5", "inode 20 0 5"}) {
		t.Fatalf("told %q after the op", got)
	}
	k.Applying(write(21))
	if got := told(); len(got) != 2 {
		t.Fatalf("told %q of what it does not know", got)
	}
	forwarded := write(22)
	forwarded[0].Caller.Front = volume.FrontForward
	k.Applying(forwarded)
	if got := told(); len(got) != 2 {
		t.Fatalf("told %q of what this mount may have asked for", got)
	}

	held := make(chan bool)
	f.mu.Lock()
	f.block["inode 22 0 5"] = held
	f.mu.Unlock()
	returned := make(chan bool)
	go func() { k.Applying(write(22)); close(returned) }()
	select {
	case <-returned:
	case <-time.After(time.Minute):
		t.Error("ops wait for a kernel that holds the file")
	}
	if k.stuck.Load() == 0 {
		t.Error("the next ops wait as long")
	}
	close(held)
	k.notify.await(k.notify.pushed(), time.Minute)
	k.Applying(write(20))
	if k.stuck.Load() != 0 {
		t.Error("ops do not wait any more when the kernel has let go")
	}
}

// Ops that come while a notice sleeps that was waited for in vain wait for a tenth of that.
func TestApplyingStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan bool)
		f := &fakeKernel{block: map[string]chan bool{"inode 22 0 5": held}}
		k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
		known(k, 22)
		took := func() time.Duration {
			began := time.Now()
			k.Applying([]*volume.Op{{Kind: volume.OpWrite, Version: 9, Ino: 22, Data: []byte("12345")}})
			return time.Since(began)
		}
		for i, want := range []time.Duration{earlyPatience, stuckPatience, stuckPatience} {
			if d := took(); d != want {
				t.Errorf("op %d waits for %v, want %v", i, d, want)
			}
		}
		close(held)
		k.notify.await(k.notify.pushed(), time.Minute)
	})
}
