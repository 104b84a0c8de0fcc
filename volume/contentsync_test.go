package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"testing"
)

// sparse is a Reader with files of which only some ranges have data.
type sparse struct {
	Reader
	size int64
	data map[int64][]byte // by offset, in order of keys below
	offs []int64
}

func (s *sparse) Position() Position { return Position{Version: 7} }

func (s *sparse) GetAttr(_ context.Context, ino Ino) (Attr, error) {
	if ino != 5 {
		return Attr{}, Stale
	}
	return Attr{Ino: ino, Mode: ModeFile | 0o644, Size: s.size}, nil
}

func (s *sparse) Seek(_ context.Context, _ Ino, off int64, hole bool) (int64, error) {
	for _, o := range s.offs {
		end := o + int64(len(s.data[o]))
		switch {
		case off < o && hole, off >= end:
			if off < o {
				return off, nil
			}
		case hole:
			return end, nil
		default:
			return max(o, off), nil
		}
	}
	if hole {
		return min(off, s.size), nil
	}
	return 0, NotSeekable
}

func (s *sparse) ReadAt(_ context.Context, _ Ino, p []byte, off int64) (int, error) {
	p = p[:min(int64(len(p)), s.size-off)]
	clear(p)
	for _, o := range s.offs {
		if d := s.data[o][min(max(0, off-o), int64(len(s.data[o]))):]; max(o, off) < off+int64(len(p)) {
			copy(p[max(0, o-off):], d)
		}
	}
	return len(p), nil
}

func newSparse() *sparse {
	s := &sparse{size: 20 << 20, offs: []int64{0, 100, 9 << 20}, data: map[int64][]byte{
		0: []byte("begin"), 100: bytes.Repeat([]byte("x"), 1000), 9 << 20: []byte("far")}}
	return s
}

func TestContentOfRequest(t *testing.T) {
	s := newSparse()
	for _, hashes := range []bool{false, true} {
		q := ContentRequest{Hashes: hashes, From: 7, Items: []ContentItem{{5, 0, 4096}, {6, 0, 10}, {5, 9 << 20, MaxContentItem}, {5, 19 << 20, MaxContentItem}}}
		back, err := DecodeContentRequest(q.Encode())
		if err != nil || !reflect.DeepEqual(back, q) {
			t.Fatalf("decoded %+v, %v", back, err)
		}
		var out bytes.Buffer
		if err := ServeContent(context.Background(), &q, s, &out, make([]byte, MaxContentItem)); err != nil {
			t.Fatal(err)
		}
		whole := out.Bytes()
		r := NewContentReader(bytes.NewReader(whole), &q)
		first, far := make([]byte, HoleBlock), make([]byte, HoleBlock) // runs are whole blocks
		copy(first, "begin")
		copy(first[100:], s.data[100])
		copy(far, "far")
		want := [][]string{{string(first)}, nil, {string(far)}, nil}
		for i := range q.Items {
			_, runs, gone, err := r.Next()
			if err != nil || gone != (i == 1) || len(runs) != len(want[i]) {
				t.Fatalf("item %d: %d runs, gone %v, %v", i, len(runs), gone, err)
			}
			for k, run := range runs {
				if run.Hash != ChunkID(sha256.Sum256([]byte(want[i][k]))) {
					t.Errorf("item %d: run %d has another hash", i, k)
				}
				if hashes {
					continue
				}
				p := make([]byte, run.Len)
				if err := r.Content(run, p); err != nil || string(p) != want[i][k] {
					t.Errorf("item %d: run %d is %q, %v", i, k, p, err)
				}
			}
		}
		if _, _, _, err := r.Next(); err != io.EOF {
			t.Errorf("behind the last item: %v", err)
		}
		for cut := range len(whole) { // cut off anywhere it is an error
			r := NewContentReader(bytes.NewReader(whole[:cut]), &q)
			var err error
			for err == nil {
				var runs []ContentRun
				_, runs, _, err = r.Next()
				for _, run := range runs {
					if !hashes && err == nil {
						err = r.Content(run, make([]byte, run.Len))
					}
				}
			}
			if !errors.Is(err, BadFormat) {
				t.Fatalf("cut off after %d of %d bytes: %v", cut, len(whole), err)
			}
		}
	}
	q := ContentRequest{From: 8, Items: []ContentItem{{5, 0, 1}}}
	if err := ServeContent(context.Background(), &q, s, io.Discard, nil); !errors.Is(err, Unavailable) {
		t.Errorf("asked of a node that is behind: %v", err)
	}
}

// Of holes a copy gets every block: in small files, in such as have a hole in every other block, and
// where blocks are smaller.
func TestContentHoles(t *testing.T) {
	every := func(step int64, at ...int64) (offs []int64) {
		for off := int64(0); off < MaxContentItem; off += step {
			for _, n := range at {
				offs = append(offs, off+n)
			}
		}
		return offs
	}
	for _, c := range []struct {
		name string
		size int64
		len  int // of each piece of data
		offs []int64
	}{
		{"a small file", 16384, 10, []int64{8192}},
		{"a small file, data at the end", 16000, 10, []int64{15990}},
		{"a small file of zeros", 12288, 0, nil},
		{"a small file of data", 4096, 4096, []int64{0}},
		{"a small file of zeros that are data", 8192, 4096, []int64{-4096}},
		{"every other block", MaxContentItem, HoleBlock, every(2*HoleBlock, 0)},
		{"every other block, from the second on", MaxContentItem, HoleBlock, every(2*HoleBlock, HoleBlock)},
		{"blocks of 512 bytes", MaxContentItem, 512, every(2*HoleBlock, 0, 1024, 2048)},
		{"blocks of 512 bytes, all in use", MaxContentItem, 512, every(1024, 512)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sparse{size: c.size, data: map[int64][]byte{}}
			want := make([]bool, (c.size+HoleBlock-1)/HoleBlock)
			for _, off := range c.offs {
				fill := byte('x')
				if off < 0 {
					off, fill = -off, 0
				}
				s.offs, s.data[off] = append(s.offs, off), bytes.Repeat([]byte{fill}, c.len)
				want[off/HoleBlock] = true
			}
			q := ContentRequest{From: 7, Items: []ContentItem{{5, 0, int(c.size)}}}
			var out bytes.Buffer
			if err := ServeContent(context.Background(), &q, s, &out, make([]byte, MaxContentItem)); err != nil {
				t.Fatal(err)
			}
			r := NewContentReader(&out, &q)
			_, runs, _, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			got, content := make([]bool, len(want)), make([]byte, c.size)
			for _, run := range runs {
				if err := r.Content(run, content[run.Off:run.Off+run.Len]); err != nil {
					t.Fatal(err)
				}
				for k := run.Off / HoleBlock; k*HoleBlock < run.Off+run.Len; k++ {
					got[k] = true
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("in %d runs, data in blocks\n%v, want\n%v", len(runs), got, want)
			}
			all := make([]byte, c.size)
			if _, err := s.ReadAt(context.Background(), 5, all, 0); err != nil || !bytes.Equal(all, content) {
				t.Errorf("other content, %v", err)
			}
		})
	}
}

func TestChangedContentIsCorrupt(t *testing.T) {
	q := ContentRequest{Items: []ContentItem{{5, 0, 10}}}
	var out bytes.Buffer
	if err := ServeContent(context.Background(), &q, newSparse(), &out, make([]byte, MaxContentItem)); err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()
	b[len(b)-1] ^= 1
	r := NewContentReader(bytes.NewReader(b), &q)
	_, runs, _, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Content(runs[0], make([]byte, runs[0].Len)); !errors.Is(err, Corrupt) {
		t.Errorf("changed content: %v", err)
	}
}

func TestRanges(t *testing.T) {
	var out bytes.Buffer
	if err := ServeRanges(context.Background(), RangesRequest(7, 5, 0), newSparse(), &out); err != nil {
		t.Fatal(err)
	}
	list, more, err := DecodeRanges(out.Bytes(), 0)
	if want := []Range{{0, HoleBlock}, {9 << 20, HoleBlock}}; err != nil || more || !reflect.DeepEqual(list, want) {
		t.Errorf("ranges %+v, more %v, %v; want %+v", list, more, err, want)
	}
	out.Reset()
	if err := ServeRanges(context.Background(), RangesRequest(7, 6, 0), newSparse(), &out); err != nil {
		t.Fatal(err)
	}
	if list, more, err := DecodeRanges(out.Bytes(), 0); err != nil || more || len(list) != 0 {
		t.Errorf("of an inode that is gone: %+v, %v, %v", list, more, err)
	}
	if err := ServeRanges(context.Background(), []byte("short"), newSparse(), &out); !errors.Is(err, BadFormat) {
		t.Errorf("a short request: %v", err)
	}
}

// What peers send is read within bounds and never panics; what is accepted is what the
// encoder makes.
func FuzzContent(f *testing.F) {
	q := ContentRequest{From: 7, Items: []ContentItem{{5, 0, 4096}}}
	f.Add(q.Encode())
	f.Add(RangesRequest(1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := DecodeContentRequest(b); err == nil && !bytes.Equal(got.Encode(), b) {
			t.Fatal("encodes differently")
		}
		list, _, err := DecodeRanges(b, 0)
		if err == nil && len(list) > maxRanges {
			t.Fatal("more ranges than there may be")
		}
		r := NewContentReader(bytes.NewReader(b), &q)
		if _, runs, _, err := r.Next(); err == nil {
			for _, run := range runs {
				if run.Off < 0 || run.Len <= 0 || run.Off+run.Len > 4096 {
					t.Fatalf("run %+v", run)
				}
			}
		}
		if len(b) >= rangesBodyLen {
			binary.BigEndian.PutUint64(b[8:], 5)
			_ = ServeRanges(context.Background(), b[:rangesBodyLen], newSparse(), io.Discard)
		}
	})
}
