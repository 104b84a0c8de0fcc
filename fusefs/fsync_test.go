package fusefs

import (
	"context"
	"syscall"
	"testing"

	"wolfdisk/volume"
)

// faulty is a volume that has stopped because its disk failed.
type faulty struct{ volume.Volume }

func (faulty) Sync(context.Context, volume.Ino, bool) error { return volume.Fault }

func (faulty) Do(context.Context, *volume.Request) (volume.Result, error) {
	return volume.Result{}, volume.Fault
}

// What cannot be made durable is an I/O error to fsync(2) and close(2), which know no EROFS; changes
// are refused as on a file system that an error has made read-only.
func TestFsyncOfWhatFailed(t *testing.T) {
	k, c := fakeCore(t, faulty{}, &fakeKernel{})
	k.onClose = true
	if errno := k.fsync(c, volume.RootIno, false); errno != syscall.EIO {
		t.Errorf("fsync: %v", errno)
	}
	if errno := k.flush(c, volume.RootIno); errno != syscall.EIO {
		t.Errorf("flush: %v", errno)
	}
	if _, errno := k.write(c, volume.RootIno, []byte("x"), 0, false, false); errno != syscall.EROFS {
		t.Errorf("write: %v", errno)
	}
}
