package volume

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// decodeAll decodes a whole payload.
func decodeAll(payload []byte) (ops []*Op, raws [][]byte, err error) {
	d := NewDecoder(payload)
	for {
		op := new(Op)
		raw, err := d.Next(op)
		if err == io.EOF {
			return ops, raws, nil
		}
		if err != nil {
			return ops, raws, err
		}
		ops, raws = append(ops, op), append(raws, raw)
	}
}

// plain is an op without what decoding may tell apart but nobody else does.
func plain(op *Op) Op {
	p := *op
	p.DataOff = 0
	p.Data = bytes.Clone(p.Data)
	if len(p.Data) == 0 {
		p.Data = nil
	}
	if len(p.Xattrs) == 0 {
		p.Xattrs = nil
	}
	p.Xattrs = append([]Xattr(nil), p.Xattrs...)
	for i := range p.Xattrs {
		if len(p.Xattrs[i].Value) == 0 {
			p.Xattrs[i].Value = nil
		}
	}
	if len(p.Chunks) == 0 {
		p.Chunks = nil
	}
	if len(p.Participants) == 0 {
		p.Participants = nil
	}
	return p
}

func TestRoundTripAllKinds(t *testing.T) {
	enc := NewEncoder()
	var ops []*Op
	var raws [][]byte
	for _, k := range allKinds() {
		op := validOps()[k]
		raw, err := enc.Add(op)
		if err != nil {
			t.Fatal(err)
		}
		ops, raws = append(ops, op), append(raws, bytes.Clone(raw))
	}
	back, backRaws, err := decodeAll(enc.Bytes())
	if err != nil || len(back) != len(ops) {
		t.Fatalf("%d of %d ops decoded: %v", len(back), len(ops), err)
	}
	for i, op := range ops {
		if got, want := plain(back[i]), plain(op); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", op.Kind, got, want)
		}
		if !bytes.Equal(raws[i], backRaws[i]) {
			t.Errorf("%s: encoding differs", op.Kind)
		}
		for _, o := range []*Op{op, back[i]} {
			if len(o.Data) > 0 && !bytes.Equal(enc.Bytes()[o.DataOff:][:len(o.Data)], o.Data) {
				t.Errorf("%s: DataOff %d is wrong", op.Kind, o.DataOff)
			}
		}
	}
	if !bytes.Equal(bytes.Join(raws, nil), enc.Bytes()) || enc.Len() != len(enc.Bytes()) {
		t.Error("the encodings do not make up the payload")
	}
}

// randomOp is a valid op of a kind, with random fields.
func randomOp(rnd *rand.Rand, kind OpKind) *Op {
	str := func(least, most int) string {
		b := make([]byte, least+rnd.IntN(most-least+1))
		for i := range b {
			b[i] = byte(1 + rnd.IntN(255))
			if b[i] == '/' {
				b[i] = 'x'
			}
		}
		if s := string(b); s != "." && s != ".." {
			return s
		}
		return "dots"
	}
	blob := func(most int) []byte { return []byte(str(0, most)) }
	ino := func() Ino { return MakeIno(rnd.Uint32(), max(1, rnd.Uint32())) }
	tm := func() Time { return Time{int64(rnd.Uint64()), uint32(rnd.IntN(1e9))} }
	xattrs := func() (list []Xattr) {
		for i := range rnd.IntN(MaxOpXattrs + 1) {
			list = append(list, Xattr{fmt.Sprintf("user.%02d%s", i, str(0, 20)), blob(300)})
		}
		return list
	}
	op := &Op{Kind: kind, Time: tm(), Caller: Caller{UID: rnd.Uint32(), Front: Front(rnd.IntN(int(frontEnd))), Client: str(0, MaxNodeIDLen), Seq: rnd.Uint64()}}
	if kind != OpReign && kind != OpMember {
		op.Ino = ino()
	}
	mask := func() {
		op.Mask, op.Mode, op.Flags = SetMask(rnd.Uint32())&setMaskOp, rnd.Uint32()&ModePerm, rnd.Uint32()&opFlagsAll
	}
	name := func() { op.Parent, op.Name = ino(), str(1, MaxNameLen) }
	switch kind {
	case OpCreate:
		name()
		op.UID, op.GID, op.Rdev, op.Xattrs = rnd.Uint32(), rnd.Uint32(), rnd.Uint32(), xattrs()
		op.Mode = []uint32{ModeFile, ModeDir, ModeLink, ModeFIFO, ModeSocket, ModeBlock, ModeChar}[rnd.IntN(7)] | rnd.Uint32()&ModePerm
		if op.Mode&ModeType == ModeLink {
			op.Target = str(1, MaxTargetLen)
		} else if op.Mode&ModeType != ModeDir && rnd.IntN(3) == 0 {
			op.Parent, op.Name = 0, ""
		}
	case OpLink, OpUnlink, OpRmdir:
		name()
		op.Flags = rnd.Uint32() & opFlagsAll
	case OpRename:
		name()
		op.NewParent, op.NewName, op.Replaced, op.Flags = ino(), str(1, MaxNameLen), ino(), rnd.Uint32()&opFlagsAll
	case OpSetAttr:
		mask()
		op.UID, op.GID, op.Atime, op.Mtime = rnd.Uint32(), rnd.Uint32(), tm(), tm()
	case OpWrite:
		mask()
		op.Offset, op.Data = rnd.Int64N(MaxFileSize-1000), blob(1000)
	case OpTruncate:
		mask()
		op.Size = rnd.Int64()
	case OpFallocate:
		mask()
		op.Alloc = []uint32{0, FallocKeepSize, FallocKeepSize | FallocPunchHole, FallocZeroRange, FallocZeroRange | FallocKeepSize}[rnd.IntN(5)]
		op.Offset = rnd.Int64N(MaxFileSize)
		op.Length = 1 + rnd.Int64N(MaxFileSize-op.Offset)
	case OpCopyChunks:
		mask()
		op.Offset = rnd.Int64N(1 << 50)
		for range 1 + rnd.IntN(20) {
			c := ChunkRef{Length: 1 + rnd.Int64N(1<<40)}
			if rnd.IntN(2) == 0 {
				c = ChunkRef{ID: ChunkID(bytes.Repeat([]byte{byte(1 + rnd.IntN(255))}, 32)), Offset: rnd.Int64N(1 << 20), Length: 1 + rnd.Int64N(1<<20)}
			}
			op.Chunks = append(op.Chunks, c)
		}
	case OpSetXattr, OpRemoveXattr:
		op.Name, op.Mask, op.Mode = str(1, MaxXattrNameLen), SetMask(rnd.Uint32())&setMaskOp, rnd.Uint32()&ModePerm
		if kind == OpSetXattr {
			op.Data = blob(2000)
		}
	case OpPublish:
		name()
		mask()
		op.Replaced, op.Xattrs = ino(), xattrs()
	case OpReign:
		op.Epoch = Epoch{1 + rnd.Uint64()>>1, "leader", rnd.Uint32() & (1<<InoTagBits - 1)}
		for i := range rnd.IntN(10) {
			op.Participants = append(op.Participants, fmt.Sprintf("node-%d", i))
		}
	case OpMember:
		op.Member = Member{ID: "node", Store: ID(bytes.Repeat([]byte{byte(rnd.Uint32())}, 16)), Role: Role(rnd.IntN(int(roleEnd))), Address: str(0, MaxAddressLen), Removed: rnd.IntN(2) == 0}
	}
	return op
}

func TestRoundTripRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	enc := NewEncoder()
	dec := NewDecoder(nil)
	for round := range 300 {
		enc.Reset()
		var ops []*Op
		for _, k := range allKinds() {
			op := randomOp(rnd, k)
			if _, err := enc.Add(op); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			ops = append(ops, op)
		}
		dec.Reset(enc.Bytes())
		var back Op // used again: nothing of the op before may shine through
		for _, op := range ops {
			if _, err := dec.Next(&back); err != nil {
				t.Fatalf("round %d, %s: %v", round, op.Kind, err)
			}
			if got, want := plain(&back), plain(op); !reflect.DeepEqual(got, want) {
				t.Fatalf("round %d, %s: got %+v, want %+v", round, op.Kind, got, want)
			}
		}
		if _, err := dec.Next(&back); err != io.EOF {
			t.Fatalf("round %d: behind the last op: %v", round, err)
		}
	}
}

// TestDecodedBytesAlias: what the decoder hands out lies in the payload, cut so that
// appending to it cannot write into what follows.
func TestDecodedBytesAlias(t *testing.T) {
	enc := NewEncoder()
	for _, k := range []OpKind{OpWrite, OpEnd} {
		if _, err := enc.Add(validOps()[k]); err != nil {
			t.Fatal(err)
		}
	}
	ops, _, err := decodeAll(enc.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	data := ops[0].Data
	if &data[0] != &enc.Bytes()[ops[0].DataOff] || cap(data) != len(data) {
		t.Errorf("data have capacity %d of length %d, or were copied", cap(data), len(data))
	}
}

// TestGolden holds the encoding of every op kind, the numbers of kinds, and the
// digest, as they were written first. A change of this file is a change of format.
func TestGolden(t *testing.T) {
	var b strings.Builder
	fmt.Fprintln(&b, "# op kinds: number, name, fields in the array, encoding; then the digest after them all")
	enc := NewEncoder()
	var d Digest
	for _, k := range allKinds() {
		raw, err := enc.Add(validOps()[k])
		if err != nil {
			t.Fatal(err)
		}
		d = d.Next(raw)
		fmt.Fprintf(&b, "%d %s %d %s\n", k, k, k.fieldCount(), hex.EncodeToString(raw))
	}
	fmt.Fprintf(&b, "digest %s\n", d)
	list := func(what string, n int, text func(i int) string) {
		fmt.Fprintf(&b, "# %s\n", what)
		for i := range n {
			fmt.Fprintf(&b, "%d %s\n", i, text(i))
		}
	}
	list("error kinds", int(kindCount), func(i int) string { return Kind(i).Error() })
	list("fronts", int(frontEnd), func(i int) string { return Front(i).String() })
	list("roles", int(roleEnd), func(i int) string { return Role(i).String() })
	golden(t, "testdata/format.golden", b.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		x, y := "", ""
		if i < len(g) {
			x = g[i]
		}
		if i < len(w) {
			y = w[i]
		}
		if x != y {
			t.Errorf("%s:%d:\n got %s\nwant %s", path, i+1, x, y)
		}
	}
}

// TestGoldenDecodes reads the golden encodings back, so that an old log can be read.
func TestGoldenDecodes(t *testing.T) {
	file, err := os.ReadFile("testdata/format.golden")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for line := range strings.Lines(string(file)) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] == "#" {
			continue
		}
		raw, err := hex.DecodeString(f[3])
		if err != nil {
			continue // an error kind of three words
		}
		ops, _, err := decodeAll(raw)
		if err != nil || len(ops) != 1 {
			t.Fatalf("%s: %d ops, %v", f[1], len(ops), err)
		}
		if got, want := plain(ops[0]), plain(validOps()[ops[0].Kind]); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", f[1], got, want)
		}
		read++
	}
	if read != len(allKinds()) {
		t.Errorf("%d golden encodings of %d kinds", read, len(allKinds()))
	}
}
