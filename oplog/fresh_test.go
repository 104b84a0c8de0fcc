package oplog

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// TestDiskReader: it reads what ReadLog reads, and sees damage that the log's memory
// hides.
func TestDiskReader(t *testing.T) {
	fs := vfs.NewMem()
	l := openSmall(t, fs)
	e := volume.Epoch{Number: 1, Leader: "a"}
	mustAppend(t, l, e, reign(e))
	r := testRand(3)
	type place struct {
		ref  volume.LogRef
		want []byte
	}
	var places []place
	for i := range 40 {
		data := randomBytes(r, 1+r.IntN(3000))
		if i%2 == 0 {
			data = text(len(data)) // compressed
		}
		op := writeOp(5, 0, data)
		f := mustAppend(t, l, e, op)
		ref := f.Ref
		ref.Offset = uint32(op.DataOff)
		places = append(places, place{ref, data})
	}
	d := l.DiskReader()
	for _, i := range r.Perm(len(places)) {
		p := places[i]
		from, to := r.IntN(len(p.want)), len(p.want)
		ref := p.ref
		ref.Offset += uint32(from)
		for range 2 { // the second time from what it remembers
			got := make([]byte, to-from)
			if err := d.ReadLog(bg, ref, got); err != nil || !bytes.Equal(got, p.want[from:]) {
				t.Fatalf("write %d from %d: %v", i, from, err)
			}
		}
	}
	ref := places[3].ref
	ref.Offset += uint32(len(places[3].want))
	wantKind(t, d.ReadLog(bg, ref, make([]byte, 1<<20)), volume.Corrupt)
	ref.Segment += 1 << 40
	wantKind(t, d.ReadLog(bg, ref, make([]byte, 1)), volume.Missing)

	last := places[len(places)-1]
	got := make([]byte, len(last.want))
	if err := l.ReadLog(bg, last.ref, got); err != nil {
		t.Fatal(err)
	}
	path := l.bySegmentLocked(last.ref.Segment).path
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	at := last.ref.Frame + int64(last.ref.Offset)
	one := make([]byte, 1)
	_, rerr := f.ReadAt(one, at)
	one[0] ^= 1
	_, werr := f.WriteAt(one, at)
	if err := errors.Join(rerr, werr, f.Close()); err != nil {
		t.Fatal(err)
	}
	wantKind(t, l.DiskReader().ReadLog(bg, last.ref, got), volume.Corrupt)
	if err := l.ReadLog(bg, last.ref, got); err != nil {
		t.Errorf("from memory: %v", err)
	}
}
