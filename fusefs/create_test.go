package fusefs

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// closed is a volume that takes changes, and opens nothing for them: as one whose node has ceased to
// lead between the two.
type closed struct{ volume.Volume }

func (closed) Open(context.Context, volume.Ino, bool) error { return volume.ReadOnly }

// A file that is made and cannot be opened is an error for who asked, but it is there: the kernel,
// which knows that the name did not exist, is told to ask again.
func TestCreatedButNotOpened(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	m.Reign(volume.Epoch{Number: 1, Leader: "a"}, "a")
	f := &fakeKernel{}
	k, c := fakeCore(t, closed{m}, f)
	if errno := k.create(c, volume.RootIno, "f", syscall.O_CREAT|syscall.O_EXCL|syscall.O_WRONLY, 0o644, 0, false); errno != syscall.EROFS {
		t.Fatalf("create: %v, want %v", errno, syscall.EROFS)
	}
	if _, err := m.Lookup(context.Background(), volume.RootIno, "f"); err != nil {
		t.Fatal(err)
	}
	if got := told(t, k, f); !strings.Contains(got, "entry 1 f") || !strings.Contains(got, "inode 1 0 0") {
		t.Errorf("the kernel was told %q", got)
	}
}
