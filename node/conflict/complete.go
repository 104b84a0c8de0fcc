package conflict

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The mark of completeness is a file of two blocks: H, as in the manifest, and S: the
// summary, and length (uvarint) and XXH3-128 of manifest, ops and contents. It comes last, and
// with it the record is one.
const blockSummary = 'S'

const (
	nameManifest = "manifest"
	nameOps      = "ops"
	nameContents = "contents"
	nameComplete = "complete"
)

// recordFiles are the files of a record and what they are, in the order in which the mark has them.
var recordFiles = [...]struct {
	name string
	kind byte
}{{nameManifest, fileManifest}, {nameOps, fileOps}, {nameContents, fileContents}}

type sums [3]fileSum

func (s *Summary) fields() []*uint64 {
	return []*uint64{&s.Ops, &s.Entries, &s.Removed, &s.Transient, &s.Bytes, &s.BaseBytes, &s.Unreadable}
}

// writeComplete writes the mark under a name of its own and gives it its name, each durable.
func writeComplete(fs vfs.FS, dir string, n nonce, r *Record, files sums) error {
	const fresh = nameComplete + ".new"
	w, err := newBlockWriter(fs, fs.PathJoin(dir, fresh), fileComplete, n)
	if err != nil {
		return errors.Join(err, w.close())
	}
	w.block(blockHead, r.encode())
	var e encoder
	for _, v := range r.Summary.fields() {
		e.uint(*v)
	}
	for _, f := range files {
		e.uint(uint64(f.Len))
		e.fixed(f.Sum[:])
	}
	w.block(blockSummary, e.b)
	if _, err := w.finish(); err != nil { // errors of the blocks, too
		return err
	}
	if err := fs.Rename(fs.PathJoin(dir, fresh), fs.PathJoin(dir, nameComplete)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// readComplete reads the mark of a record; fs.ErrNotExist if there is none.
func readComplete(fs vfs.FS, dir string) (r *Record, n nonce, files sums, err error) {
	b, err := openBlocks(fs, fs.PathJoin(dir, nameComplete), fileComplete, nil)
	if err != nil {
		return nil, n, files, err
	}
	defer b.close()
	bad := func(err error) (*Record, nonce, sums, error) {
		if err == nil || err == io.EOF {
			err = damage(b.name, "it makes no sense")
		}
		return nil, n, files, err
	}
	kind, p, err := b.next()
	if err != nil || kind != blockHead {
		return bad(err)
	}
	r, ok := decodeHead(p)
	if !ok || r.ID != fs.PathBase(dir) {
		return bad(nil)
	}
	if kind, p, err = b.next(); err != nil || kind != blockSummary {
		return bad(err)
	}
	d := decoder{b: p}
	for _, v := range r.Summary.fields() {
		*v = d.uint()
	}
	for i := range files {
		files[i].Len = d.size()
		copy(files[i].Sum[:], d.fixed(16))
	}
	if !d.end() {
		return bad(nil)
	}
	if _, _, err := b.next(); err != io.EOF {
		return bad(err)
	}
	return r, b.n, files, nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
