package volume

import (
	"bytes"
	"io"

	"github.com/vmihailenco/msgpack/v5"
)

// An op's encoding is a msgpack array: its kind, the fields every op has, then
// those of its kind, in the order of Op.fields. Integers are msgpack integers,
// strings and byte strings are bin (names need not be UTF-8). The array's length
// is checked, so a field can only be added together with a new format version of
// the frame.

// fielder visits the fields of an op, to write or to read them.
type fielder interface {
	u8(*uint8)
	boolean(*bool)
	u32(*uint32)
	u64(*uint64)
	i64(*int64)
	str(*string, int)
	blob(*[]byte, int)
	fixed([]byte)
	list(n *int, max, per int) // a list of n elements of per fields each, flat
	data(op *Op, max int)
}

// fieldCounts is the length of the array that holds an op of each kind.
var fieldCounts = func() (counts [opKindEnd]int) {
	for k := opInvalid + 1; k < opKindEnd; k++ {
		var c fieldCounter
		(&Op{Kind: k}).fields(&c)
		counts[k] = 1 + int(c)
	}
	return counts
}()

func (k OpKind) fieldCount() int {
	if k >= opKindEnd {
		return 0
	}
	return fieldCounts[k]
}

type fieldCounter int

func (c *fieldCounter) u8(*uint8)           { *c++ }
func (c *fieldCounter) boolean(*bool)       { *c++ }
func (c *fieldCounter) u32(*uint32)         { *c++ }
func (c *fieldCounter) u64(*uint64)         { *c++ }
func (c *fieldCounter) i64(*int64)          { *c++ }
func (c *fieldCounter) str(*string, int)    { *c++ }
func (c *fieldCounter) blob(*[]byte, int)   { *c++ }
func (c *fieldCounter) fixed([]byte)        { *c++ }
func (c *fieldCounter) list(*int, int, int) { *c++ }
func (c *fieldCounter) data(*Op, int)       { *c++ }

// fields visits what follows the kind. It is the only place that knows the order.
func (op *Op) fields(f fielder) {
	f.i64(&op.Time.Sec)
	f.u32(&op.Time.Nsec)
	f.u32(&op.Caller.UID)
	f.u8((*uint8)(&op.Caller.Front))
	f.str(&op.Caller.Client, MaxNodeIDLen)
	f.u64(&op.Caller.Seq)

	ino := func(i *Ino) { f.u64((*uint64)(i)) }
	mask := func() { f.u32((*uint32)(&op.Mask)); f.u32(&op.Mode); f.u32(&op.Flags) }
	xattrs := func() {
		n := len(op.Xattrs)
		f.list(&n, MaxOpXattrs, 2)
		resize(&op.Xattrs, n)
		for i := range op.Xattrs {
			f.str(&op.Xattrs[i].Name, MaxXattrNameLen)
			f.blob(&op.Xattrs[i].Value, MaxXattrLen)
		}
	}
	switch op.Kind {
	case OpCreate:
		ino(&op.Ino)
		ino(&op.Parent)
		f.str(&op.Name, MaxNameLen)
		f.u32(&op.Mode)
		f.u32(&op.UID)
		f.u32(&op.GID)
		f.u32(&op.Rdev)
		f.str(&op.Target, MaxTargetLen)
		xattrs()
	case OpLink, OpUnlink, OpRmdir:
		ino(&op.Ino)
		ino(&op.Parent)
		f.str(&op.Name, MaxNameLen)
		f.u32(&op.Flags)
	case OpRename:
		ino(&op.Ino)
		ino(&op.Parent)
		f.str(&op.Name, MaxNameLen)
		ino(&op.NewParent)
		f.str(&op.NewName, MaxNameLen)
		ino(&op.Replaced)
		f.u32(&op.Flags)
	case OpSetAttr:
		ino(&op.Ino)
		mask()
		f.u32(&op.UID)
		f.u32(&op.GID)
		f.i64(&op.Atime.Sec)
		f.u32(&op.Atime.Nsec)
		f.i64(&op.Mtime.Sec)
		f.u32(&op.Mtime.Nsec)
	case OpWrite:
		ino(&op.Ino)
		mask()
		f.i64(&op.Offset)
		f.data(op, MaxWrite)
	case OpTruncate:
		ino(&op.Ino)
		mask()
		f.i64(&op.Size)
	case OpFallocate:
		ino(&op.Ino)
		mask()
		f.u32(&op.Alloc)
		f.i64(&op.Offset)
		f.i64(&op.Length)
	case OpCopyChunks:
		ino(&op.Ino)
		mask()
		f.i64(&op.Offset)
		n := len(op.Chunks)
		f.list(&n, MaxCopyChunks, 3)
		resize(&op.Chunks, n)
		for i := range op.Chunks {
			c := &op.Chunks[i]
			f.fixed(c.ID[:])
			f.i64(&c.Offset)
			f.i64(&c.Length)
		}
	case OpSetXattr:
		ino(&op.Ino)
		f.str(&op.Name, MaxXattrNameLen)
		f.data(op, MaxXattrLen)
		f.u32((*uint32)(&op.Mask))
		f.u32(&op.Mode)
	case OpRemoveXattr:
		ino(&op.Ino)
		f.str(&op.Name, MaxXattrNameLen)
		f.u32((*uint32)(&op.Mask))
		f.u32(&op.Mode)
	case OpEnd:
		ino(&op.Ino)
	case OpPublish:
		ino(&op.Ino)
		ino(&op.Parent)
		f.str(&op.Name, MaxNameLen)
		ino(&op.Replaced)
		mask()
		xattrs()
	case OpReign:
		f.u64(&op.Epoch.Number)
		f.str(&op.Epoch.Leader, MaxNodeIDLen)
		f.u32(&op.Epoch.Tag)
		n := len(op.Participants)
		f.list(&n, MaxParticipants, 1)
		resize(&op.Participants, n)
		for i := range op.Participants {
			f.str(&op.Participants[i], MaxNodeIDLen)
		}
	case OpMember:
		f.str(&op.Member.ID, MaxNodeIDLen)
		f.fixed(op.Member.Store[:])
		f.u8((*uint8)(&op.Member.Role))
		f.str(&op.Member.Address, MaxAddressLen)
		f.boolean(&op.Member.Removed)
	}
}

func resize[T any](s *[]T, n int) {
	if n != len(*s) {
		*s = make([]T, n)
	}
}

// Encoder appends ops to a frame's payload. It is not safe for concurrent use.
type Encoder struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
	err error
}

// NewEncoder returns an empty encoder.
func NewEncoder() *Encoder {
	e := &Encoder{}
	e.enc = msgpack.NewEncoder(&e.buf)
	return e
}

// Reset empties the payload and keeps its memory.
func (e *Encoder) Reset() { e.buf.Reset(); e.err = nil }

// Bytes is the payload so far, valid until the next Reset.
func (e *Encoder) Bytes() []byte { return e.buf.Bytes() }

// Len is the length of the payload so far, in bytes.
func (e *Encoder) Len() int { return e.buf.Len() }

// Add validates and appends an op, sets its DataOff, and returns its encoding,
// which is valid until the next Add or Reset.
func (e *Encoder) Add(op *Op) ([]byte, error) {
	if err := op.Validate(); err != nil {
		return nil, err
	}
	start := e.buf.Len()
	w := (*opWriter)(e)
	n := op.Kind.fieldCount()
	w.keep(e.enc.EncodeArrayLen(n))
	w.u8((*uint8)(&op.Kind))
	op.fields(w)
	if e.err != nil {
		return nil, Errorf(BadFormat, "encode %s op: %w", op.Kind, e.err)
	}
	return e.buf.Bytes()[start:], nil
}

type opWriter Encoder

func (w *opWriter) keep(err error) {
	if err != nil && w.err == nil {
		w.err = err
	}
}
func (w *opWriter) u8(p *uint8)             { w.keep(w.enc.EncodeUint(uint64(*p))) }
func (w *opWriter) u32(p *uint32)           { w.keep(w.enc.EncodeUint(uint64(*p))) }
func (w *opWriter) u64(p *uint64)           { w.keep(w.enc.EncodeUint(*p)) }
func (w *opWriter) i64(p *int64)            { w.keep(w.enc.EncodeInt(*p)) }
func (w *opWriter) boolean(p *bool)         { w.keep(w.enc.EncodeBool(*p)) }
func (w *opWriter) list(n *int, _, per int) { w.keep(w.enc.EncodeArrayLen(*n * per)) }
func (w *opWriter) fixed(p []byte)          { w.blob(&p, len(p)) }
func (w *opWriter) str(p *string, _ int) {
	w.keep(w.enc.EncodeBytesLen(len(*p)))
	w.buf.WriteString(*p)
}
func (w *opWriter) blob(p *[]byte, _ int) {
	w.keep(w.enc.EncodeBytesLen(len(*p)))
	w.buf.Write(*p)
}
func (w *opWriter) data(op *Op, _ int) {
	w.keep(w.enc.EncodeBytesLen(len(op.Data)))
	op.DataOff = w.buf.Len()
	w.buf.Write(op.Data)
}

// Decoder reads the ops of a payload one after the other. Byte strings of the ops
// alias the payload. It is not safe for concurrent use.
type Decoder struct {
	raw []byte
	src *bytes.Reader
	dec *msgpack.Decoder
	err error
}

// NewDecoder returns a decoder of payload.
func NewDecoder(payload []byte) *Decoder {
	d := &Decoder{src: new(bytes.Reader)}
	d.dec = msgpack.NewDecoder(d.src)
	d.Reset(payload)
	return d
}

// Reset starts over with another payload.
func (d *Decoder) Reset(payload []byte) {
	d.raw, d.err = payload, nil
	d.src.Reset(payload)
	d.dec.Reset(d.src)
}

// Next decodes the next op into op, which is overwritten, and returns its
// encoding. It returns io.EOF behind the last one; every other error is of kind
// BadFormat.
func (d *Decoder) Next(op *Op) ([]byte, error) {
	start := len(d.raw) - d.src.Len()
	if d.src.Len() == 0 {
		return nil, io.EOF
	}
	*op = Op{}
	n, err := d.dec.DecodeArrayLen()
	if err != nil {
		return nil, Errorf(BadFormat, "decode op at %d: %w", start, err)
	}
	r := (*opReader)(d)
	r.u8((*uint8)(&op.Kind))
	if d.err == nil && (n <= 0 || op.Kind.fieldCount() != n) {
		return nil, Errorf(BadFormat, "decode op at %d: %s with %d fields", start, op.Kind, n)
	}
	if d.err == nil {
		op.fields(r)
	}
	if d.err != nil {
		return nil, Errorf(BadFormat, "decode %s op at %d: %w", op.Kind, start, d.err)
	}
	if err := op.Validate(); err != nil {
		return nil, err
	}
	return d.raw[start : len(d.raw)-d.src.Len()], nil
}

type opReader Decoder

func (r *opReader) uint(max uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, err := r.dec.DecodeUint64()
	if err == nil && v > max {
		err = Errorf(BadFormat, "integer %d out of range", v)
	}
	r.err = err
	return v
}
func (r *opReader) u8(p *uint8)   { *p = uint8(r.uint(1<<8 - 1)) }
func (r *opReader) u32(p *uint32) { *p = uint32(r.uint(1<<32 - 1)) }
func (r *opReader) u64(p *uint64) { *p = r.uint(1<<64 - 1) }
func (r *opReader) i64(p *int64) {
	if r.err == nil {
		*p, r.err = r.dec.DecodeInt64()
	}
}
func (r *opReader) boolean(p *bool) {
	if r.err == nil {
		*p, r.err = r.dec.DecodeBool()
	}
}
func (r *opReader) list(n *int, max, per int) {
	*n = 0
	if r.err != nil {
		return
	}
	v, err := r.dec.DecodeArrayLen()
	if err == nil && (v < 0 || v > max*per || v%per != 0 || v > r.src.Len()) {
		err = Errorf(BadFormat, "list of %d", v)
	}
	if r.err = err; err == nil {
		*n = v / per
	}
}
func (r *opReader) fixed(p []byte) {
	if b := r.bytes(len(p)); r.err == nil && len(b) != len(p) {
		r.err = Errorf(BadFormat, "byte string of %d instead of %d", len(b), len(p))
	} else {
		copy(p, b)
	}
}

func (r *opReader) bytes(max int) []byte {
	if r.err != nil {
		return nil
	}
	n, err := r.dec.DecodeBytesLen()
	if err == nil && (n < 0 || n > max || n > r.src.Len()) {
		err = Errorf(BadFormat, "byte string of %d", n)
	}
	if r.err = err; err != nil {
		return nil
	}
	at := len(r.raw) - r.src.Len()
	r.src.Seek(int64(n), io.SeekCurrent)
	return r.raw[at : at+n : at+n]
}
func (r *opReader) str(p *string, max int)  { *p = string(r.bytes(max)) }
func (r *opReader) blob(p *[]byte, max int) { *p = r.bytes(max) }
func (r *opReader) data(op *Op, max int) {
	op.Data = r.bytes(max)
	op.DataOff = len(r.raw) - r.src.Len() - len(op.Data)
}
