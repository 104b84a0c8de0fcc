package conflict

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"wolfdisk/volume"
)

// The blocks of a file, in the order of their offsets (8 bytes at the beginning of each
// payload):
//
//	D  data: the bytes
//	Y  zeros (only behind a B): length 4
//	B  a unit of 1 MiB, or to the end of the file, of which only a part is kept: length 4,
//	   SHA-256 of all of it. D and Y blocks with offsets in it follow: they are laid over what
//	   another copy has, and then it must have this hash
//	U  could not be read when the record was made: length 4
//
// What no block covers is zeros. The entry says where the blocks begin and end.
const (
	blockData       = 'D'
	blockZeros      = 'Y'
	blockBase       = 'B'
	blockUnreadable = 'U'
	// unit is what is hashed, and read, at a time; bytes.
	unit = volume.MaxWrite
)

// contentsWriter writes the content of one file.
type contentsWriter struct {
	ctx context.Context
	w   *blockWriter
	c   content
	e   *Entry
	buf []byte // of unit bytes
}

func le64(v int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }

func le32(v int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }

// whole writes all there is.
func (c *contentsWriter) whole() error { return c.data(0, c.e.Attr.Size) }

// data writes what is data in [at, end).
func (c *contentsWriter) data(at, end int64) error {
	for at < end {
		from, to, err := nextData(c.ctx, c.c, at, end)
		if err != nil {
			if err := c.unreadable(at, end, err); err != nil {
				return err
			}
			at = end
			continue
		}
		for from < to {
			n := min(to-from, unit-from%unit)
			if err := c.piece(from, int(n)); err != nil {
				return err
			}
			from += n
		}
		at = to
	}
	return nil
}

// piece writes one piece of data that lies in one unit.
func (c *contentsWriter) piece(off int64, n int) error {
	p := c.buf[:n]
	if err := c.read(p, off); err != nil {
		return c.unreadable(off, off+int64(n), err)
	}
	if zero(p) {
		return nil
	}
	c.e.Bytes += uint64(n)
	return c.w.block(blockData, le64(off), p)
}

func (c *contentsWriter) read(p []byte, off int64) error {
	n, err := c.c.ReadAt(c.ctx, p, off)
	if err == nil && n < len(p) {
		err = volume.Errorf(volume.Corrupt, "the content ends at %d of %d bytes", off+int64(n), c.e.Attr.Size)
	}
	return err
}

// unreadable notes content that is damaged or missing: it must not keep the rest from being
// recorded, since nobody else has it. Other errors end the record.
func (c *contentsWriter) unreadable(from, to int64, err error) error {
	if c.ctx.Err() != nil {
		return err
	}
	switch volume.KindOf(err) {
	case volume.Corrupt, volume.Missing, volume.IO, volume.Unavailable:
	default:
		return err
	}
	for from < to {
		n := min(to-from, unit-from%unit)
		c.e.Unreadable += uint64(n)
		if err := c.w.block(blockUnreadable, le64(from), le32(int(n))); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// parts writes the changed ranges, and hashes of the units that hold anything else.
func (c *contentsWriter) parts(ranges []volume.Range) error {
	size := c.e.Attr.Size
	ranges = cut(ranges, size)
	for at := int64(0); at < size; {
		for len(ranges) > 0 && ranges[0].Off+ranges[0].Len <= at {
			ranges = ranges[1:]
		}
		next, _, err := nextData(c.ctx, c.c, at, size)
		if err != nil {
			next = at // the unit says what is wrong
		}
		if len(ranges) > 0 {
			next = min(next, max(at, ranges[0].Off))
		}
		if next >= size {
			return nil
		}
		start := next - next%unit
		end := min(start+unit, size)
		if err := c.unit(start, end, ranges); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// unit writes one unit; ranges are those that do not end before it.
func (c *contentsWriter) unit(start, end int64, ranges []volume.Range) error {
	var in []volume.Range
	for _, r := range ranges {
		if r.Off >= end {
			break
		}
		from := max(r.Off, start)
		in = append(in, volume.Range{Off: from, Len: min(r.Off+r.Len, end) - from})
	}
	if total(in) == end-start {
		return c.data(start, end)
	}
	p := c.buf[:end-start]
	if err := c.read(p, start); err != nil {
		return c.unproven(start, end, in, err)
	}
	if zero(p) {
		return nil
	}
	sum := sha256.Sum256(p)
	c.e.BaseBytes += uint64(end - start - total(in))
	if err := c.w.block(blockBase, le64(start), le32(len(p)), sum[:]); err != nil {
		return err
	}
	for _, r := range in {
		q := p[r.Off-start:][:r.Len]
		if zero(q) {
			if err := c.w.block(blockZeros, le64(r.Off), le32(len(q))); err != nil {
				return err
			}
			continue
		}
		c.e.Bytes += uint64(len(q))
		if err := c.w.block(blockData, le64(r.Off), q); err != nil {
			return err
		}
	}
	return nil
}

// unproven writes a unit that cannot be read whole: what was changed in it, as far as it can
// be read; the rest counts as unreadable.
func (c *contentsWriter) unproven(start, end int64, in []volume.Range, cause error) error {
	at := start
	for _, r := range append(in, volume.Range{Off: end}) {
		if r.Off > at {
			if err := c.unreadable(at, r.Off, cause); err != nil {
				return err
			}
		}
		if r.Len > 0 {
			if err := c.data(r.Off, r.Off+r.Len); err != nil {
				return err
			}
		}
		at = r.Off + r.Len
	}
	return nil
}

var zeros [64 << 10]byte

func zero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if string(p[:n]) != string(zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

// part is a decoded block of content.
type part struct {
	kind byte
	off  int64
	len  int
	data []byte   // of blockData
	hash [32]byte // of blockBase
}

// decodePart checks a block against the size of the file.
func decodePart(kind byte, b []byte, size int64) (p part, err error) {
	bad := errors.New("content that makes no sense")
	if len(b) < 9 {
		return p, bad
	}
	off := binary.LittleEndian.Uint64(b)
	b = b[8:]
	p = part{kind: kind, off: int64(off)}
	switch kind {
	case blockData:
		p.len, p.data = len(b), b
	case blockZeros, blockUnreadable, blockBase:
		if len(b) < 4 {
			return p, bad
		}
		p.len = int(binary.LittleEndian.Uint32(b))
		if b = b[4:]; kind == blockBase && len(b) == len(p.hash) {
			copy(p.hash[:], b)
		} else if kind == blockBase || len(b) > 0 {
			return p, bad
		}
	default:
		return p, bad
	}
	if off > uint64(size) || p.len < 1 || p.len > unit || int64(p.len) > size-p.off {
		return p, bad
	}
	return p, nil
}
