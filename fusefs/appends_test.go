package fusefs

import (
	"bytes"
	"sync"
	"syscall"
	"testing"
	"time"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// The pieces of a direct append are written in the order of their offsets, whoever comes first, also
// if the kernel takes the end to be elsewhere than it is.
func TestAppendPieces(t *testing.T) {
	const size, pieces = 4096, 8
	for _, tt := range []struct {
		name         string
		there        int   // what the file holds before
		believed     int   // where the kernel takes the end to be
		again        int   // where it takes it to be in a second write
		order        []int // in which the pieces come, a millisecond apart
		otherAppends bool  // somebody else appends a piece between the two
	}{
		{name: "in order", order: []int{0, 1, 2, 3, 4, 5, 6, 7}, again: pieces},
		{name: "backwards, close together", order: []int{1, 0, 3, 2, 5, 4, 7, 6}, again: pieces},
		{name: "the last first", order: []int{7, 0, 1, 2, 3, 4, 5, 6}, again: pieces},
		{name: "the kernel knows too little", there: 3, believed: 0, order: []int{1, 0, 3, 2, 5, 4, 7, 6}, again: pieces + 3},
		{name: "the kernel knows too much", there: 1, believed: 3, order: []int{1, 0, 3, 2, 5, 4, 7, 6}, again: pieces + 1},
		{name: "somebody appends meanwhile", order: []int{1, 0, 3, 2, 5, 4, 7, 6}, again: pieces, otherAppends: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vol := volumetest.NewModel(volumetest.Options{})
			k, c := fakeCore(t, vol, &fakeKernel{})
			if errno := k.create(c, volume.RootIno, "f", syscall.O_RDWR, 0o644, 0, false); errno != 0 {
				t.Fatal(errno)
			}
			ino := c.attr.Ino
			var want []byte
			appendTo := func(c *call, value byte, off int, flags uint32) {
				data := bytes.Repeat([]byte{value}, size)
				if n, errno := k.writeFile(c, ino, data, uint64(off*size), syscall.O_APPEND, flags); n != size || errno != 0 {
					t.Errorf("piece %d: %d, %v", value, n, errno)
				}
			}
			for i := range tt.there {
				appendTo(c, byte(100+i), i, 0)
				want = append(want, bytes.Repeat([]byte{byte(100 + i)}, size)...)
			}
			write := func(begin int) {
				var wg sync.WaitGroup
				for _, i := range tt.order {
					wg.Go(func() {
						c := k.calls.get()
						defer k.calls.put(c)
						c.begin(uint64(10+i), 0, 0, 1)
						defer c.end()
						appendTo(c, byte(i), begin+i, writeLockOwner)
					})
					time.Sleep(time.Millisecond)
				}
				wg.Wait()
				for i := range pieces {
					want = append(want, bytes.Repeat([]byte{byte(i)}, size)...)
				}
			}
			write(tt.believed)
			if tt.otherAppends {
				appendTo(c, 99, 0, 0)
				k.observed.Add(1)
				want = append(want, bytes.Repeat([]byte{99}, size)...)
			}
			write(tt.again)
			got := make([]byte, len(want)+1)
			n, errno := k.read(c, ino, got, 0)
			if errno != 0 || !bytes.Equal(got[:n], want) {
				order := []byte{}
				for i := 0; i < n; i += size {
					order = append(order, got[i])
				}
				t.Errorf("read %v, in the order %v", errno, order)
			}
			if errno := k.release(c, ino); errno != 0 || k.appends.some.Load() {
				t.Errorf("after the last close: %v, kept: %v", errno, k.appends.some.Load())
			}
		})
	}
}
