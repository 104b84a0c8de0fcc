package elect

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"wolfdisk/volume"
)

// coder visits the fields of a structure, to write or to read them, so that their order
// stands in one place. Integers are little-endian and of fixed width; strings have a
// length of one byte, byte strings and lists one of two.
type coder interface {
	u8(p *uint8, max uint8)
	u32(p *uint32)
	u64(p *uint64)
	str(p *string, max int)
	bytes(p *[]byte, max int)
	fixed(p []byte)
	list(n *int, max, least int) // begins a list; an element takes at least so many bytes
}

var errShort = errors.New("cut short")

// writer appends; what it is given has been checked.
type writer struct{ b []byte }

func (w *writer) u8(p *uint8, _ uint8) { w.b = append(w.b, *p) }
func (w *writer) u32(p *uint32)        { w.b = binary.LittleEndian.AppendUint32(w.b, *p) }
func (w *writer) u64(p *uint64)        { w.b = binary.LittleEndian.AppendUint64(w.b, *p) }
func (w *writer) fixed(p []byte)       { w.b = append(w.b, p...) }
func (w *writer) str(p *string, _ int) { w.b = append(append(w.b, byte(len(*p))), *p...) }
func (w *writer) bytes(p *[]byte, _ int) {
	w.b = append(binary.LittleEndian.AppendUint16(w.b, uint16(len(*p))), *p...)
}
func (w *writer) list(n *int, _, _ int) {
	w.b = binary.LittleEndian.AppendUint16(w.b, uint16(*n))
}

// reader cuts fields off; after the first error it gives zeros.
type reader struct {
	b   []byte
	err error
}

var zeros [64]byte

func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.b) {
		r.err = errShort
	}
	if r.err != nil {
		if n <= len(zeros) {
			return zeros[:n:n]
		}
		return nil
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) fail(why string) {
	if r.err == nil {
		r.err = errors.New(why)
	}
}

func (r *reader) u8(p *uint8, max uint8) {
	if *p = r.take(1)[0]; *p > max {
		r.fail("number out of range")
		*p = 0
	}
}
func (r *reader) u32(p *uint32)  { *p = binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64(p *uint64)  { *p = binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) fixed(p []byte) { copy(p, r.take(len(p))) }
func (r *reader) str(p *string, max int) {
	n := int(r.take(1)[0])
	if n > max {
		r.fail("string too long")
		n = 0
	}
	*p = string(r.take(n))
}
func (r *reader) bytes(p *[]byte, max int) {
	n := int(binary.LittleEndian.Uint16(r.take(2)))
	if n > max {
		r.fail("bytes too long")
		n = 0
	}
	*p = nil
	if n > 0 {
		*p = slices.Clone(r.take(n))
	}
}

// list refuses what cannot be in the bytes that are left, before anybody allocates.
func (r *reader) list(n *int, max, least int) {
	*n = int(binary.LittleEndian.Uint16(r.take(2)))
	if *n > max || *n*least > len(r.b) {
		r.fail("list too long")
		*n = 0
	}
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		return errors.New("bytes left over")
	}
	return r.err
}

func visitBool(c coder, p *bool) {
	v := uint8(0)
	if *p {
		v = 1
	}
	c.u8(&v, 1)
	*p = v == 1
}

func visitVersion(c coder, p *volume.Version) { c.u64((*uint64)(p)) }
func visitDuration(c coder, p *time.Duration) {
	v := uint64(*p)
	c.u64(&v)
	*p = time.Duration(v)
}

func visitEpoch(c coder, e *volume.Epoch) {
	c.u64(&e.Number)
	c.str(&e.Leader, volume.MaxNodeIDLen)
	c.u32(&e.Tag)
}

func visitPosition(c coder, p *volume.Position) {
	visitEpoch(c, &p.Epoch)
	visitVersion(c, &p.Version)
	c.fixed(p.Digest[:])
}

func visitIDs(c coder, ids *[]string) {
	n := len(*ids)
	c.list(&n, volume.MaxParticipants, 2)
	if n != len(*ids) {
		*ids = make([]string, n)
	}
	for i := range *ids {
		c.str(&(*ids)[i], volume.MaxNodeIDLen)
	}
}

// checkEpoch says whether an epoch can be one that somebody made.
func checkEpoch(kind volume.Kind, e volume.Epoch) error {
	if e.Number == 0 {
		if e != (volume.Epoch{}) {
			return volume.Errorf(kind, "epoch 0 with a leader or a tag")
		}
		return nil
	}
	if err := volume.CheckNodeID(e.Leader); err != nil {
		return volume.Errorf(kind, "epoch: %v", err)
	}
	if e.Tag >= 1<<volume.InoTagBits {
		return volume.Errorf(kind, "epoch with a tag of more than %d bits", volume.InoTagBits)
	}
	return nil
}
