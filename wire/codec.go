package wire

import (
	"bytes"
	"io"

	"github.com/vmihailenco/msgpack/v5"

	"wolfdisk/volume"
)

// coder visits the fields of a structure, to write or to read them, so that their
// order stands in one place. Only the low-level calls of msgpack are used: its
// reflective decoder allocates by lengths that the input states.
type coder interface {
	array(n int) // begins an array of exactly n elements
	u64(p *uint64, max uint64)
	i64(p *int64)
	boolean(p *bool)
	str(p *string, max int)
	fixed(p []byte)
	list(n *int, max, least int) // begins a list; an element takes at least so many bytes
}

// visitUint visits an unsigned integer of any size. Writing changes nothing: what is
// written may be shared.
func visitUint[T ~uint8 | ~uint16 | ~uint32 | ~uint64](c coder, p *T) {
	v := uint64(*p)
	c.u64(&v, uint64(^T(0)))
	if v != uint64(*p) {
		*p = T(v)
	}
}

func visitEpoch(c coder, e *volume.Epoch) {
	c.array(3)
	visitUint(c, &e.Number)
	c.str(&e.Leader, volume.MaxNodeIDLen)
	visitUint(c, &e.Tag)
}

// encode returns what visit writes.
func encode(visit func(coder)) ([]byte, error) {
	w := &encoder{}
	w.enc = msgpack.NewEncoder(&w.buf)
	visit(w)
	return w.buf.Bytes(), w.err
}

type encoder struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
	err error
}

func (w *encoder) keep(err error) {
	if w.err == nil {
		w.err = err
	}
}
func (w *encoder) array(n int)             { w.keep(w.enc.EncodeArrayLen(n)) }
func (w *encoder) u64(p *uint64, _ uint64) { w.keep(w.enc.EncodeUint(*p)) }
func (w *encoder) i64(p *int64)            { w.keep(w.enc.EncodeInt(*p)) }
func (w *encoder) boolean(p *bool)         { w.keep(w.enc.EncodeBool(*p)) }
func (w *encoder) list(n *int, max, _ int) { w.limit(*n, max); w.keep(w.enc.EncodeArrayLen(*n)) }
func (w *encoder) fixed(p []byte)          { w.keep(w.enc.EncodeBytes(p)) }
func (w *encoder) str(p *string, max int) {
	w.limit(len(*p), max)
	w.keep(w.enc.EncodeBytesLen(len(*p)))
	w.buf.WriteString(*p)
}
func (w *encoder) limit(n, max int) {
	if n > max {
		w.keep(volume.Errorf(volume.Invalid, "length %d, at most %d can be sent", n, max))
	}
}

// decode lets visit read all of b; every error is of kind BadFormat.
func decode(b []byte, visit func(coder)) error {
	r := newDecoder(b)
	visit(r)
	if r.err == nil && r.src.Len() != 0 {
		r.err = volume.Errorf(volume.BadFormat, "%d bytes too many", r.src.Len())
	}
	return r.err
}

// decoder reads fields out of a byte slice. After an error it reads zeros.
type decoder struct {
	raw []byte
	src *bytes.Reader
	dec *msgpack.Decoder
	err error
}

func newDecoder(b []byte) *decoder {
	r := &decoder{raw: b, src: bytes.NewReader(b)}
	r.dec = msgpack.NewDecoder(r.src)
	return r
}

func (r *decoder) fail(format string, args ...any) {
	if r.err == nil {
		r.err = volume.Errorf(volume.BadFormat, format, args...)
	}
}

func (r *decoder) check(err error) bool {
	if r.err == nil && err != nil {
		r.fail("at byte %d: %w", len(r.raw)-r.src.Len(), err)
	}
	return r.err == nil
}

func (r *decoder) arrayLen() int {
	if r.err != nil {
		return 0
	}
	n, err := r.dec.DecodeArrayLen()
	if !r.check(err) {
		return 0
	}
	return n // -1 for nil, which no caller accepts
}

func (r *decoder) array(n int) {
	if got := r.arrayLen(); r.err == nil && got != n {
		r.fail("array of %d instead of %d", got, n)
	}
}

func (r *decoder) u64(p *uint64, max uint64) {
	*p = 0
	if r.err != nil {
		return
	}
	v, err := r.dec.DecodeUint64()
	if !r.check(err) {
		return
	}
	if v > max {
		r.fail("integer %d, at most %d is allowed", v, max)
		return
	}
	*p = v
}

func (r *decoder) i64(p *int64) {
	*p = 0
	if r.err == nil {
		v, err := r.dec.DecodeInt64()
		if r.check(err) {
			*p = v
		}
	}
}

func (r *decoder) boolean(p *bool) {
	*p = false
	if r.err == nil {
		v, err := r.dec.DecodeBool()
		if r.check(err) {
			*p = v
		}
	}
}

func (r *decoder) list(n *int, max, least int) {
	*n = 0
	got := r.arrayLen()
	if r.err != nil {
		return
	}
	if got < 0 || got > max || got > r.src.Len()/least {
		r.fail("list of %d in %d bytes, at most %d are allowed", got, r.src.Len(), max)
		return
	}
	*n = got
}

// bytes returns a part of the input, whose length is at most max.
func (r *decoder) bytes(max int) []byte {
	if r.err != nil {
		return nil
	}
	n, err := r.dec.DecodeBytesLen()
	if !r.check(err) {
		return nil
	}
	if n < 0 || n > max || n > r.src.Len() {
		r.fail("byte string of %d, %d are left and at most %d are allowed", n, r.src.Len(), max)
		return nil
	}
	at := len(r.raw) - r.src.Len()
	if _, err := r.src.Seek(int64(n), io.SeekCurrent); !r.check(err) {
		return nil
	}
	return r.raw[at : at+n]
}

func (r *decoder) str(p *string, max int) { *p = string(r.bytes(max)) }

func (r *decoder) fixed(p []byte) {
	b := r.bytes(len(p))
	if r.err == nil && len(b) != len(p) {
		r.fail("byte string of %d instead of %d", len(b), len(p))
		return
	}
	copy(p, b)
}
