package index

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"wolfdisk/volume"
)

var (
	someInode = inode{
		Attr: volume.Attr{
			Ino: 77, Mode: volume.ModeDir | 0o2755, Nlink: 3, UID: 1, GID: math.MaxUint32, Rdev: 5, Size: 1 << 40,
			Atime: volume.Time{Sec: -1, Nsec: 999_999_999}, Mtime: volume.Time{Sec: 2}, Ctime: volume.Time{Sec: math.MaxInt64},
			Btime: volume.Time{Nsec: 7}, Version: 1<<64 - 1,
		},
		flags: fHasACL | fEnded, parent: 9, entries: 12,
	}
	someEpoch   = volume.Epoch{Number: 1 << 60, Leader: "node-9", Tag: 0xabcde}
	someMeta    = meta{pos: volume.Position{Epoch: someEpoch, Version: 9, Digest: volume.Digest{1, 15: 2}}, time: volume.Time{Sec: 3, Nsec: 4}, files: 5, bytes: 6, inoTag: 7, inoCount: 8}
	someReign   = volume.Reign{Epoch: someEpoch, First: 5, Participants: []string{"a", "node-10"}}
	someMember  = volume.Member{ID: "m", Store: volume.ID{3, 15: 4}, Role: volume.RoleFollower, Address: "h:1"}
	someExtents = []volume.Extent{
		{Off: 5, Len: 10, InLog: true, Log: volume.LogRef{Segment: 1, Frame: 2, Offset: 3}},
		{Off: 5, Len: 11, Chunk: volume.ChunkRef{ID: volume.ChunkID{1, 31: 9}, Offset: 4, Length: 11}},
		{Off: 5, Len: maxExtentLen},
	}
)

func init() { someExtents[2].Chunk.Length = maxExtentLen }

// codecs are all records: an encoding, and how it is read back.
func codecs() map[string]struct {
	raw    []byte
	want   any
	decode func([]byte) (any, error)
	short  bool // any prefix is damage
} {
	type c = struct {
		raw    []byte
		want   any
		decode func([]byte) (any, error)
		short  bool
	}
	d := dirent{ino: 4, typ: volume.ModeFIFO, cookie: 1<<64 - 1}
	m := map[string]c{
		"inode": {someInode.encode(), someInode, func(b []byte) (any, error) { return decodeInode(77, b) }, true},
		"entry": {d.encode("name"), [2]any{d, "name"}, func(b []byte) (any, error) {
			d, name, err := decodeDirent(b)
			return [2]any{d, name}, err
		}, false},
		"meta":   {someMeta.encode(), someMeta, func(b []byte) (any, error) { return decodeMeta(b) }, true},
		"reign":  {encodeReign(someReign), someReign, func(b []byte) (any, error) { return decodeReign(5, b) }, true},
		"member": {encodeMember(someMember), someMember, func(b []byte) (any, error) { return decodeMember("m", b) }, false},
	}
	for i, x := range someExtents {
		m["extent "+string(rune('0'+i))] = c{encodeExtent(x), x, func(b []byte) (any, error) { return decodeExtent(5, b) }, true}
	}
	return m
}

func TestRecords(t *testing.T) {
	for name, c := range codecs() {
		t.Run(name, func(t *testing.T) {
			got, err := c.decode(c.raw)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %+v, %v, want %+v", got, err, c.want)
			}
			fixed := map[string]int{"entry": direntLen, "member": 17}[name]
			for n := range len(c.raw) {
				_, err := c.decode(c.raw[:n:n])
				if c.short || n < fixed {
					wantKind(t, "cut short", err, volume.Corrupt)
				} else if err != nil {
					t.Errorf("%d bytes: %v", n, err)
				}
			}
		})
	}
	b := someMeta.encode()
	b[0]++
	_, err := decodeMeta(b)
	wantKind(t, "unknown format", err, volume.WrongVersion)
}

func TestExtentLimits(t *testing.T) {
	for _, x := range []volume.Extent{
		{Off: 0, Len: 0, InLog: true}, {Off: 0, Len: -1, InLog: true}, {Off: 0, Len: maxExtentLen + 1, InLog: true},
		{Off: math.MaxInt64, Len: 1, InLog: true}, {Off: -1, Len: 1},
	} {
		_, err := decodeExtent(x.Off, encodeExtent(x))
		wantKind(t, "extent out of range", err, volume.Corrupt)
	}
	if _, err := decodeExtent(math.MaxInt64-1, encodeExtent(volume.Extent{Len: 1, InLog: true})); err != nil {
		t.Error("the last byte of the largest file:", err)
	}
}

func TestCutExtent(t *testing.T) {
	log := volume.Extent{Off: 100, Len: 50, InLog: true, Log: volume.LogRef{Segment: 1, Frame: 2, Offset: 7}}
	chunk := volume.Extent{Off: 100, Len: 50, Chunk: volume.ChunkRef{ID: volume.ChunkID{1}, Offset: 7, Length: 50}}
	for _, c := range []struct{ off, end, wantOff, wantLen, wantIn int64 }{
		{0, 1000, 100, 50, 7}, {100, 150, 100, 50, 7}, {110, 150, 110, 40, 17}, {100, 149, 100, 49, 7}, {120, 121, 120, 1, 27},
	} {
		x, y := cutExtent(log, c.off, c.end), cutExtent(chunk, c.off, c.end)
		if x.Off != c.wantOff || x.Len != c.wantLen || int64(x.Log.Offset) != c.wantIn || x.Chunk != (volume.ChunkRef{}) {
			t.Errorf("cut to [%d,%d): %+v", c.off, c.end, x)
		}
		if y.Off != c.wantOff || y.Len != c.wantLen || y.Chunk.Offset != c.wantIn || y.Chunk.Length != c.wantLen {
			t.Errorf("cut to [%d,%d): %+v", c.off, c.end, y)
		}
	}
}

func TestKeyOrder(t *testing.T) {
	keys := [][]byte{
		keyInoNum(kExtent, 1, 0), keyInoNum(kExtent, 1, 255), keyInoNum(kExtent, 1, 256), keyInoNum(kExtent, 2, 0),
		keyInoNum(kExtent, 256, 0), keyInoNum(kExtent, 1<<52, math.MaxInt64), keyIno(kInode, 0),
	}
	for i := 1; i < len(keys); i++ {
		if bytes.Compare(keys[i-1], keys[i]) >= 0 {
			t.Errorf("key %x is not before %x", keys[i-1], keys[i])
		}
	}
	for _, c := range []struct{ in, want string }{{"a", "b"}, {"a\xff", "b"}, {"\xff\xff", ""}, {"ab\x00", "ab\x01"}} {
		if got := after([]byte(c.in)); string(got) != c.want {
			t.Errorf("after %q: %q", c.in, got)
		}
	}
}

func FuzzDecodeInode(f *testing.F) {
	f.Add(someInode.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeInode(77, b)
		if err != nil {
			wantKind(t, "error", err, volume.Corrupt)
		} else if !bytes.Equal(n.encode(), b) {
			t.Errorf("%x becomes %x", b, n.encode())
		}
	})
}

func FuzzDecodeDirent(f *testing.F) {
	f.Add((dirent{ino: 4, typ: volume.ModeFIFO, cookie: 8}).encode("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, name, err := decodeDirent(b)
		if err != nil {
			wantKind(t, "error", err, volume.Corrupt)
		} else if !bytes.Equal(d.encode(name), b) {
			t.Errorf("%x becomes %x", b, d.encode(name))
		}
	})
}

func FuzzDecodeExtent(f *testing.F) {
	for _, x := range someExtents {
		f.Add(x.Off, encodeExtent(x))
	}
	f.Fuzz(func(t *testing.T, off int64, b []byte) {
		x, err := decodeExtent(off, b)
		if err != nil {
			wantKind(t, "error", err, volume.Corrupt)
			return
		}
		if !bytes.Equal(encodeExtent(x), b) || x.Off < 0 || x.Len <= 0 || x.Off+x.Len < 0 {
			t.Errorf("%x becomes %+v, %x", b, x, encodeExtent(x))
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(someMeta.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err == nil && !bytes.HasPrefix(b, m.encode()) {
			t.Errorf("%x becomes %x", b, m.encode())
		}
	})
}

func FuzzDecodeReign(f *testing.F) {
	f.Add(encodeReign(someReign))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReign(3, b)
		if err != nil {
			wantKind(t, "error", err, volume.Corrupt)
		} else if !bytes.HasPrefix(b, encodeReign(r)) {
			t.Errorf("%x becomes %x", b, encodeReign(r))
		}
	})
}
