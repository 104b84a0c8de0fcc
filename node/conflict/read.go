package conflict

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// Reader reads one record. It is used by one goroutine. What it reads is verified; damage is
// Corrupt, and names the record.
type Reader struct {
	Record
	store    *Store
	nonce    nonce
	dir      string
	contents *blockReader
}

// Open opens a record that is complete. Close it.
func (s *Store) Open(id string) (*Reader, error) {
	r, n, _, err := s.mark(id)
	if err != nil {
		return nil, err
	}
	x := &Reader{Record: *r, store: s, nonce: n, dir: s.fs.PathJoin(s.dir, id)}
	x.contents, err = x.open(nameContents, fileContents)
	if err != nil {
		return nil, x.wrap(err)
	}
	return x, nil
}

// Close closes it.
func (r *Reader) Close() error { return r.contents.close() }

func (r *Reader) fs() vfs.FS { return r.store.fs }

func (r *Reader) open(name string, kind byte) (*blockReader, error) {
	return openBlocks(r.fs(), r.fs().PathJoin(r.dir, name), kind, &r.nonce)
}

func (r *Reader) wrap(err error) error { return volume.Wrap(err, "conflict record "+r.ID) }

// Each calls fn with each entry, directories before what is in them, until it fails. The
// whole manifest is verified, so fn may have been called before damage is found.
func (r *Reader) Each(ctx context.Context, fn func(*Entry) error) error {
	m, err := r.open(nameManifest, fileManifest)
	if err != nil {
		return r.wrap(err)
	}
	defer m.close()
	if err := checkHead(m, &r.Record); err != nil {
		return r.wrap(err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return volume.Errorf(volume.Interrupted, "conflict record %s: %w", r.ID, context.Cause(ctx))
		}
		e, err := readEntry(m)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return r.wrap(err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

// Frames calls fn with each frame of the recorded ops, in order.
func (r *Reader) Frames(ctx context.Context, fn func(oplog.Frame, []*volume.Op) error) error {
	b, err := r.open(nameOps, fileOps)
	if err != nil {
		return r.wrap(err)
	}
	defer b.close()
	for {
		if err := ctx.Err(); err != nil {
			return volume.Errorf(volume.Interrupted, "conflict record %s: %w", r.ID, context.Cause(ctx))
		}
		kind, p, err := b.next()
		if err == io.EOF {
			return nil
		}
		if err != nil || kind != blockFrame {
			return r.wrap(errors.Join(err, damageIf(kind != blockFrame && err == nil, b.name)))
		}
		f, ops, err := oplog.DecodeFrame(append([]byte(nil), p...))
		if err != nil {
			return r.wrap(err)
		}
		if err := fn(f, ops); err != nil {
			return err
		}
	}
}

func damageIf(is bool, name string) error {
	if is {
		return damage(name, "a block of another kind")
	}
	return nil
}

// parts calls fn with the blocks of a file's content, in order.
func (r *Reader) parts(ctx context.Context, e *Entry, fn func(part) error) error {
	if e.Form == NoContent {
		return nil
	}
	b := r.contents
	b.seek(e.at)
	b.ended = false
	for b.off < e.end {
		if err := ctx.Err(); err != nil {
			return volume.Errorf(volume.Interrupted, "conflict record %s: %w", r.ID, context.Cause(ctx))
		}
		kind, p, err := b.next()
		if err != nil {
			if err == io.EOF {
				err = damage(b.name, "the content of %q is cut off", e.Path())
			}
			return r.wrap(err)
		}
		x, err := decodePart(kind, p, e.Attr.Size)
		if err != nil {
			return r.wrap(damage(b.name, "the content of %q makes no sense", e.Path()))
		}
		if err := fn(x); err != nil {
			return err
		}
	}
	return nil
}

// Base is another copy of a file, for what a record has only the hashes of. Nothing of it is
// believed.
type Base interface {
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
}

// assembler puts the content of a file together, in the order of its offsets.
type assembler struct {
	ctx  context.Context
	base Base // nil if there is none
	// write gets what is not zeros; lost is told of what is not to be had.
	write func(p []byte, off int64) error
	lost  []volume.Range

	unit  []byte // of the base, with what is laid over it
	at    int64
	hash  [32]byte
	have  bool // the base could be read
	parts []volume.Range
}

// assemble restores the content of a file. lost are the ranges that are not to be had.
func (r *Reader) assemble(ctx context.Context, e *Entry, base Base, write func(p []byte, off int64) error) (lost []volume.Range, err error) {
	a := &assembler{ctx: ctx, base: base, write: write}
	err = r.parts(ctx, e, a.part)
	if err == nil {
		err = a.flush()
	}
	return a.lost, err
}

func (a *assembler) part(p part) error {
	if n := int64(len(a.unit)); n > 0 && p.off >= a.at && p.off+int64(p.len) <= a.at+n && p.kind != blockBase {
		q := a.unit[p.off-a.at:][:p.len]
		a.parts = append(a.parts, volume.Range{Off: p.off, Len: int64(p.len)})
		if p.kind == blockData {
			copy(q, p.data)
		} else {
			clear(q)
		}
		return nil
	}
	if err := a.flush(); err != nil {
		return err
	}
	switch p.kind {
	case blockData:
		return a.write(p.data, p.off)
	case blockUnreadable:
		a.lose(p.off, int64(p.len))
	case blockBase:
		return a.begin(p)
	}
	return nil
}

func (a *assembler) lose(off, length int64) {
	if n := len(a.lost); n > 0 && a.lost[n-1].Off+a.lost[n-1].Len == off {
		a.lost[n-1].Len += length
		return
	}
	a.lost = append(a.lost, volume.Range{Off: off, Len: length})
}

// begin reads a unit of the base.
func (a *assembler) begin(p part) error {
	a.unit, a.at, a.hash, a.parts = make([]byte, p.len), p.off, p.hash, nil
	a.have = a.base != nil
	if !a.have {
		return nil
	}
	n, err := a.base.ReadAt(a.ctx, a.unit, p.off)
	if err != nil {
		if a.ctx.Err() != nil {
			return err
		}
		a.have, n = false, 0 // gone, or damaged there
	}
	clear(a.unit[n:]) // it may be shorter
	return nil
}

// flush writes a unit if it is what it was, and otherwise of it what the record has.
func (a *assembler) flush() error {
	u := a.unit
	if len(u) == 0 {
		return nil
	}
	a.unit = nil
	if a.have && sha256.Sum256(u) == a.hash {
		return a.write(u, a.at)
	}
	at := a.at
	for _, r := range append(a.parts, volume.Range{Off: a.at + int64(len(u))}) {
		if r.Off > at {
			a.lose(at, r.Off-at)
		}
		if r.Len > 0 {
			if err := a.write(u[r.Off-a.at:][:r.Len], r.Off); err != nil {
				return err
			}
		}
		at = r.Off + r.Len
	}
	return nil
}
