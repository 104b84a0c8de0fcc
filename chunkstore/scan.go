package chunkstore

import (
	"bytes"
	"errors"
	"io"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// windowLen is what walking through a pack holds in memory, bytes.
const windowLen = 64 << 10

// window reads a file piece by piece through one buffer.
type window struct {
	r    io.ReaderAt
	size int64
	base int64
	buf  []byte
}

func newWindow(r io.ReaderAt, size int64) *window {
	return &window{r: r, size: size, buf: make([]byte, 0, windowLen)}
}

// at returns n bytes at off, n <= windowLen; fewer only at the end of the file. The
// slice is good until the next call.
func (w *window) at(off int64, n int) ([]byte, error) {
	n = int(max(0, min(int64(n), w.size-off)))
	if n == 0 {
		return nil, nil
	}
	if off < w.base || off+int64(n) > w.base+int64(len(w.buf)) {
		want := min(int64(windowLen), max(0, w.size-off))
		got, err := w.r.ReadAt(w.buf[:want], off)
		if err != nil && !errors.Is(err, io.EOF) {
			w.buf = w.buf[:0]
			return nil, err
		}
		w.base, w.buf = off, w.buf[:got]
	}
	b := w.buf[off-w.base:]
	return b[:min(n, len(b))], nil
}

// rest returns what is in the buffer from off on, if that is enough for a record
// header, and else reads on.
func (w *window) rest(off int64) ([]byte, error) {
	if end := w.base + int64(len(w.buf)); off >= w.base && off+recordLen <= end {
		return w.buf[off-w.base:], nil
	}
	return w.at(off, windowLen)
}

// scanner reads the records of one pack.
type scanner struct {
	*window
	salt      salt
	chunkSize int64
}

// next decodes the record header at off; ok is false if there is none or the pack
// ends within the record.
func (s *scanner) next(off int64) (r record, ok bool, err error) {
	b, err := s.at(off, recordLen)
	if err != nil || len(b) < recordLen {
		return record{}, false, err
	}
	r, ok = s.salt.decodeRecord(b, off, s.chunkSize)
	return r, ok && off+r.size() <= s.size, nil
}

// search finds the next record header at or behind off; s.size if there is none.
func (s *scanner) search(off int64) (int64, error) {
	for off+recordLen <= s.size {
		b, err := s.rest(off)
		if err != nil {
			return 0, err
		}
		if len(b) < recordLen {
			break
		}
		i := bytes.Index(b, []byte(recordMagic))
		if i < 0 {
			off += int64(len(b) - len(recordMagic) + 1)
			continue
		}
		off += int64(i)
		if _, ok, err := s.next(off); err != nil || ok {
			return off, err
		}
		off++
	}
	return s.size, nil
}

// verify reads a chunk record's payload and compares the content with its ID.
func (s *scanner) verify(off int64, r *record) error {
	payload := make([]byte, r.stored)
	if n, err := s.r.ReadAt(payload, off+recordLen); n < len(payload) {
		if err == nil || errors.Is(err, io.EOF) {
			return volume.Errorf(volume.Corrupt, "the pack ends within it")
		}
		return ioError(err, "read")
	}
	_, err := decode(r, payload)
	return err
}

// index reads the index at the end of a sealed pack and calls fn for every item. Nothing is
// passed on before all of the index matched its checksum.
func (s *scanner) index(fn func(off int64, r *record)) error {
	bad := volume.Errorf(volume.Corrupt, "damaged index")
	end := s.size - trailerLen
	if end < headerLen+recordLen {
		return bad
	}
	b, err := s.at(end, trailerLen)
	if err != nil {
		return ioError(err, "read index")
	}
	if len(b) < trailerLen {
		return bad
	}
	indexOff, items, ok := s.salt.decodeTrailer(b, end)
	if !ok {
		return bad
	}
	r, ok, err := s.next(indexOff)
	if err != nil {
		return ioError(err, "read index")
	}
	if !ok || r.kind != kindIndex || r.raw != items {
		return bad
	}
	sum := xxh3.New()
	prev := int64(headerLen)
	err = s.items(indexOff, end, func(b []byte) bool {
		off, it := decodeItem(b)
		good := it.isChunk() && it.check(s.chunkSize) && off >= prev && off+it.size() <= indexOff
		prev = off + it.size()
		_, _ = sum.Write(b)
		return good
	})
	if err != nil {
		return err
	}
	if sum.Sum64() != r.sum {
		return bad
	}
	return s.items(indexOff, end, func(b []byte) bool {
		off, it := decodeItem(b)
		fn(off, &it)
		return true
	})
}

// items walks over the items of an index; fn returns false for one that cannot be.
func (s *scanner) items(indexOff, end int64, fn func(b []byte) bool) error {
	for off := indexOff + recordLen; off < end; off += itemLen {
		b, err := s.at(off, itemLen)
		if err != nil {
			return ioError(err, "read index")
		}
		if len(b) < itemLen || !fn(b) {
			return volume.Errorf(volume.Corrupt, "damaged index")
		}
	}
	return nil
}
