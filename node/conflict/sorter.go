package conflict

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// sorter puts records, which are byte strings, in their order, in bounded memory: what does
// not fit is written in sorted runs to files that are removed in the end. Equal ones all
// stay. An embedded store would do as much, but takes a full disk for the end of the world.
type sorter struct {
	fs    vfs.FS
	path  string // of the runs, a number follows
	limit int    // bytes kept in memory

	list  [][]byte
	bytes int
	runs  []string
	read  []io.Closer
}

// sortMemory is what a sorter keeps in memory, bytes.
const sortMemory = 16 << 20

func newSorter(fs vfs.FS, path string, limit int) *sorter {
	if limit == 0 {
		limit = sortMemory
	}
	return &sorter{fs: fs, path: path, limit: limit}
}

// add takes a record, which becomes the sorter's own.
func (s *sorter) add(rec []byte) error {
	s.list = append(s.list, rec)
	if s.bytes += len(rec) + 24; s.bytes < s.limit {
		return nil
	}
	return s.spill()
}

func (s *sorter) spill() (err error) {
	slices.SortFunc(s.list, bytes.Compare)
	name := fmt.Sprintf("%s.%d", s.path, len(s.runs))
	f, err := s.fs.Create(name, "wolfdisk-conflict")
	if err != nil {
		return volume.Wrap(err, "make "+name)
	}
	s.runs = append(s.runs, name)
	w := bufio.NewWriterSize(f, 256<<10)
	var head [binary.MaxVarintLen64]byte
	for _, rec := range s.list {
		w.Write(head[:binary.PutUvarint(head[:], uint64(len(rec)))]) // its error stays
		w.Write(rec)
	}
	err = errors.Join(w.Flush(), f.Close())
	s.list, s.bytes = nil, 0
	return volume.Wrap(err, "write "+name)
}

// run is what is left of a sorted run; the first record is taken out.
type run struct {
	first []byte
	r     *bufio.Reader // nil of the one in memory
	rest  [][]byte
}

func (r *run) advance() (more bool, err error) {
	if r.r == nil {
		if len(r.rest) == 0 {
			return false, nil
		}
		r.first, r.rest = r.rest[0], r.rest[1:]
		return true, nil
	}
	n, err := binary.ReadUvarint(r.r)
	if err == io.EOF {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// What is read was written a moment ago, so the length is what add was given.
	r.first = make([]byte, n)
	_, err = io.ReadFull(r.r, r.first)
	return true, err
}

type runs []*run

func (h runs) Len() int           { return len(h) }
func (h runs) Less(i, j int) bool { return bytes.Compare(h[i].first, h[j].first) < 0 }
func (h runs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runs) Push(x any)        { *h = append(*h, x.(*run)) }
func (h *runs) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// each calls fn with all records in order; they are fn's to keep. It is called once.
func (s *sorter) each(fn func(rec []byte) error) error {
	slices.SortFunc(s.list, bytes.Compare)
	all := []*run{{rest: s.list}}
	s.list = nil
	for _, name := range s.runs {
		f, err := s.fs.Open(name)
		if err != nil {
			return volume.Wrap(err, "open "+name)
		}
		s.read = append(s.read, f)
		all = append(all, &run{r: bufio.NewReaderSize(f, 64<<10)})
	}
	h := runs{}
	for _, r := range all {
		more, err := r.advance()
		if err != nil {
			return volume.Wrap(err, "read "+s.path)
		}
		if more {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		r := h[0]
		if err := fn(r.first); err != nil {
			return err
		}
		more, err := r.advance()
		switch {
		case err != nil:
			return volume.Wrap(err, "read "+s.path)
		case more:
			heap.Fix(&h, 0)
		default:
			heap.Pop(&h)
		}
	}
	return nil
}

// close removes the files.
func (s *sorter) close() error {
	var errs []error
	for _, f := range s.read {
		errs = append(errs, f.Close())
	}
	for _, name := range s.runs {
		errs = append(errs, s.fs.Remove(name))
	}
	s.list, s.read, s.runs = nil, nil, nil
	return errors.Join(errs...)
}
