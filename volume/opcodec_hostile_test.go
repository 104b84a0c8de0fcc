package volume

import (
	"bytes"
	"io"
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// decodeBound is what decoding a payload may allocate, in bytes: a part that does not
// depend on it, and the fields of decoded ops, which are at most 16 times their
// encoding (an empty string of 2 bytes in a list is a header of 16 to 40).
func decodeBound(payload []byte) uint64 { return 64<<10 + 64*uint64(len(payload)) }

// exceeds reports how much fn allocates, in bytes, if that is more than a bound. The
// cheap measure is late by what the runtime caches, so only what it finds suspicious
// is measured exactly.
func exceeds(bound uint64, fn func()) (got uint64, ok bool) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	fn()
	metrics.Read(sample)
	if sample[0].Value.Uint64()-before <= bound {
		return 0, false
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	exact := stats.TotalAlloc
	fn()
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc - exact, stats.TotalAlloc-exact > bound
}

// checkDecode decodes bytes that may be hostile and checks all that must hold.
func checkDecode(t *testing.T, payload []byte) {
	t.Helper()
	own := bytes.Clone(payload)
	var ops []*Op
	var raws [][]byte
	var err error
	if got, ok := exceeds(decodeBound(payload), func() { ops, raws, err = decodeAll(payload) }); ok {
		t.Errorf("decoding %d bytes allocated %d, more than %d", len(payload), got, decodeBound(payload))
	}
	if !bytes.Equal(payload, own) {
		t.Error("decoding changed the payload")
	}
	if err != nil && KindOf(err) != BadFormat {
		t.Errorf("kind %v of %v", KindOf(err), err)
	}
	if read := len(bytes.Join(raws, nil)); read > len(payload) || err == nil && read != len(payload) {
		t.Errorf("%d of %d bytes are ops", read, len(payload))
	}
	enc := NewEncoder()
	for i, op := range ops {
		if err := op.Validate(); err != nil {
			t.Errorf("an invalid op was decoded: %v", err)
		}
		if !bytes.Equal(payload[op.DataOff:][:len(op.Data)], op.Data) {
			t.Errorf("%s: DataOff %d is wrong", op.Kind, op.DataOff)
		}
		enc.Reset()
		again, err := enc.Add(op)
		if err != nil {
			t.Errorf("a decoded op cannot be encoded: %v", err)
			continue
		}
		back, _, err := decodeAll(again)
		if err != nil || len(back) != 1 || !sameOp(back[0], op) {
			t.Errorf("op %d, %x: encoded again as %x, which is %+v, %v", i, raws[i], again, back, err)
		}
	}
}

func sameOp(a, b *Op) bool {
	x, y := NewEncoder(), NewEncoder()
	p, err1 := x.Add(a)
	q, err2 := y.Add(b)
	return err1 == nil && err2 == nil && bytes.Equal(p, q)
}

// TestTruncated cuts every encoding at every byte.
func TestTruncated(t *testing.T) {
	for _, k := range allKinds() {
		raw, err := NewEncoder().Add(validOps()[k])
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n < len(raw); n++ {
			if ops, _, err := decodeAll(raw[:n:n]); err == nil || len(ops) > 0 || KindOf(err) != BadFormat {
				t.Errorf("%s cut at %d of %d: %d ops, %v", k, n, len(raw), len(ops), err)
			}
		}
	}
	if ops, _, err := decodeAll(nil); err != nil || len(ops) != 0 {
		t.Errorf("no bytes: %d ops, %v", len(ops), err)
	}
}

// TestChanged sets every byte of every encoding to many values.
func TestChanged(t *testing.T) {
	for _, k := range allKinds() {
		raw, err := NewEncoder().Add(validOps()[k])
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			for _, v := range []byte{0, 1, 0x7f, 0x80, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4, 0xc5, 0xc6, 0xca, 0xcb, 0xcc, 0xcf, 0xd0, 0xd3, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff} {
				changed := bytes.Clone(raw)
				changed[i] = v
				checkDecode(t, changed)
			}
		}
	}
}

// TestHostileLengths claims more than there is, everywhere where a length can stand.
func TestHostileLengths(t *testing.T) {
	huge := [][]byte{
		{0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdd, 0x7f, 0xff, 0xff, 0xff}, {0xdc, 0xff, 0xff}, // arrays
		{0xc6, 0xff, 0xff, 0xff, 0xff}, {0xc6, 0x7f, 0xff, 0xff, 0xff}, {0xc5, 0xff, 0xff}, {0xc4, 0xff}, // byte strings
		{0xdb, 0xff, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff}, // strings, maps
		{0xc9, 0xff, 0xff, 0xff, 0xff, 1}, {0xc0}, {0xc1}, {0xc3}, // extension, nil, never used, true
	}
	for _, k := range allKinds() {
		raw, err := NewEncoder().Add(validOps()[k])
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			for _, h := range huge {
				checkDecode(t, append(append(bytes.Clone(raw[:i]), h...), raw[i:]...))
				checkDecode(t, append(bytes.Clone(raw[:i]), h...))
				checkDecode(t, append(append(bytes.Clone(raw[:i]), h...), raw[i+1:]...))
			}
		}
	}
}

// header begins an op by hand: an array of n, kind and the fields all ops have.
func header(n int, kind uint64) *msgpack.Encoder {
	e := msgpack.NewEncoder(new(bytes.Buffer))
	e.EncodeArrayLen(n)
	e.EncodeUint(kind)
	for range 4 { // time, caller's UID and front
		e.EncodeUint(0)
	}
	e.EncodeBytes([]byte{})
	e.EncodeUint(0)
	return e
}

func payloadOf(e *msgpack.Encoder) []byte { return e.Writer().(*bytes.Buffer).Bytes() }

func TestHandMade(t *testing.T) {
	good := header(OpEnd.fieldCount(), uint64(OpEnd))
	good.EncodeUint(7)
	ops, _, err := decodeAll(payloadOf(good))
	if err != nil || len(ops) != 1 || ops[0].Ino != 7 {
		t.Fatalf("the hand-made op is not read: %v, %v", ops, err)
	}
	for name, e := range map[string]*msgpack.Encoder{
		"a field too few":  header(OpEnd.fieldCount()-1, uint64(OpEnd)),
		"a field too many": header(OpEnd.fieldCount()+1, uint64(OpEnd)),
		"kind 0":           header(1, 0),
		"an unknown kind":  header(OpEnd.fieldCount(), uint64(opKindEnd)),
		"a kind of 16 bit": header(OpEnd.fieldCount(), 256+uint64(OpEnd)),
		"no fields":        header(0, uint64(OpEnd)),
	} {
		e.EncodeUint(7)
		e.EncodeUint(7)
		if ops, _, err := decodeAll(payloadOf(e)); err == nil || len(ops) > 0 || KindOf(err) != BadFormat {
			t.Errorf("%s: %v, %v", name, ops, err)
		}
	}
}

// TestGarbageBehind: what follows the last op is not skipped.
func TestGarbageBehind(t *testing.T) {
	for _, garbage := range [][]byte{{0}, {0xc0}, {0x90}, {0x91, 0}, bytes.Repeat([]byte{0}, 100)} {
		enc := NewEncoder()
		if _, err := enc.Add(validOps()[OpEnd]); err != nil {
			t.Fatal(err)
		}
		ops, _, err := decodeAll(append(bytes.Clone(enc.Bytes()), garbage...))
		if len(ops) != 1 || KindOf(err) != BadFormat || err == nil {
			t.Errorf("% x behind an op: %d ops, %v", garbage, len(ops), err)
		}
	}
}

// TestLargestOps: what is within the limits fits in MaxOpLen.
func TestLargestOps(t *testing.T) {
	create := validOps()[OpCreate]
	create.Xattrs = nil
	for i := range MaxOpXattrs {
		name := append(bytes.Repeat([]byte{'x'}, MaxXattrNameLen-1), byte('a'+i))
		create.Xattrs = append(create.Xattrs, Xattr{string(name), make([]byte, MaxXattrLen)})
	}
	create.Name = string(bytes.Repeat([]byte{'n'}, MaxNameLen))
	write := validOps()[OpWrite]
	write.Data = make([]byte, MaxWrite)
	chunks := validOps()[OpCopyChunks]
	chunks.Chunks = nil
	for range MaxCopyChunks {
		chunks.Chunks = append(chunks.Chunks, ChunkRef{ChunkID{1}, MaxChunkSize / 2, MaxChunkSize / 2})
	}
	for _, op := range []*Op{create, write, chunks} {
		raw, err := NewEncoder().Add(op)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > MaxOpLen {
			t.Errorf("the largest %s op has %d bytes, more than %d", op.Kind, len(raw), MaxOpLen)
		}
		checkDecode(t, raw)
	}
}

func TestDecoderAfterError(t *testing.T) {
	enc := NewEncoder()
	if _, err := enc.Add(validOps()[OpEnd]); err != nil {
		t.Fatal(err)
	}
	d := NewDecoder([]byte{0xc0})
	var op Op
	if _, err := d.Next(&op); KindOf(err) != BadFormat {
		t.Fatal(err)
	}
	d.Reset(enc.Bytes())
	if _, err := d.Next(&op); err != nil {
		t.Errorf("after Reset: %v", err)
	}
	if _, err := d.Next(&op); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// TestEncoderAfterError: an op that is refused leaves no bytes behind.
func TestEncoderAfterError(t *testing.T) {
	enc := NewEncoder()
	if _, err := enc.Add(validOps()[OpEnd]); err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(enc.Bytes())
	bad := validOps()[OpWrite]
	bad.Offset = -1
	if _, err := enc.Add(bad); err == nil {
		t.Fatal("encoded")
	}
	if !bytes.Equal(enc.Bytes(), before) {
		t.Error("the refused op left bytes behind")
	}
}

func FuzzDecodeOps(f *testing.F) {
	all := NewEncoder()
	for _, k := range allKinds() {
		raw, err := NewEncoder().Add(validOps()[k])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		if _, err := all.Add(validOps()[k]); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(all.Bytes())
	f.Fuzz(func(t *testing.T, payload []byte) { checkDecode(t, payload) })
}
