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
		for i, c := range s.data[o] {
			if at := o + int64(i) - off; at >= 0 && at < int64(len(p)) {
				p[at] = c
			}
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
		want := [][]string{{"begin", string(s.data[100])}, nil, {"far"}, nil}
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
	if want := []Range{{0, 1100}, {9 << 20, 3}}; err != nil || more || !reflect.DeepEqual(list, want) {
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
