package oplog

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

var update = flag.Bool("update", false, "write the golden files of the current format version")

// frameFor makes a frame of a payload with consistent header and checksums, so that
// tests can lie in one field and sign the lie.
func frameFor(h Header, stored []byte, change func(b []byte)) []byte {
	h.HeaderLen = headerLen(h.Epoch.Leader)
	h.StoredLen = len(stored)
	h.checksum = xxh3.Hash(stored)
	b := make([]byte, h.HeaderLen+len(stored))
	putHeader(b, &h)
	copy(b[h.HeaderLen:], stored)
	if change != nil {
		change(b)
		end := h.HeaderLen - checksumLen
		binary.LittleEndian.PutUint64(b[end:], xxh3.Hash(b[:end]))
	}
	return b
}

// honest is the header of a frame of ops behind prev, and its payload.
func honest(t testing.TB, e volume.Epoch, prev volume.Position, ops ...*volume.Op) (Header, []byte) {
	t.Helper()
	enc := volume.NewEncoder()
	digest := prev.Digest
	for _, op := range ops {
		b, err := enc.Add(op)
		if err != nil {
			t.Fatal(err)
		}
		digest = digest.Next(b)
	}
	return Header{
		First: prev.Version + 1, Last: prev.Version + volume.Version(len(ops)), Epoch: e, Prev: prev.Digest, Digest: digest,
		Durable: prev.Version, Count: len(ops), RawLen: enc.Len(),
	}, bytes.Clone(enc.Bytes())
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, leader := range []string{"a", "12345678", "123456789", strings.Repeat("x", volume.MaxNodeIDLen)} {
		e := volume.Epoch{Number: 1<<64 - 1, Leader: leader, Tag: 1<<20 - 1}
		h, payload := honest(t, e, volume.Position{Version: 1 << 40, Digest: volume.Digest{1, 2, 3}}, nameOp(1), nameOp(2))
		b := frameFor(h, payload, nil)
		got, err := ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.First != h.First || got.Last != h.Last || got.Epoch != e || got.Prev != h.Prev || got.Digest != h.Digest ||
			got.Durable != h.Durable || got.Count != 2 || got.RawLen != len(payload) || got.StoredLen != len(payload) || got.Len() != len(b) {
			t.Fatalf("wrote %+v, read %+v", h, got)
		}
		if got.HeaderLen > maxFrameHeader || got.HeaderLen < minFrameHeader {
			t.Fatalf("header of %d bytes", got.HeaderLen)
		}
		f, ops, err := DecodeFrame(b)
		if err != nil || len(ops) != 2 || f.Position().Version != h.Last || ops[1].Version != h.Last {
			t.Fatalf("decoded %+v, %d ops, %v", f, len(ops), err)
		}
	}
}

// Lies that are signed with a good checksum are refused one by one, before any
// buffer of a declared length is made.
func TestDecodeFrameRefusals(t *testing.T) {
	le := binary.LittleEndian
	put32 := func(at int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	put64 := func(at int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[at:], v) } }
	set := func(at int, v byte) func([]byte) { return func(b []byte) { b[at] = v } }
	for _, c := range []struct {
		name   string
		change func([]byte)
		kind   volume.Kind
	}{
		{"magic", set(0, 'X'), volume.BadFormat},
		{"format version", set(4, 2), volume.WrongVersion},
		{"format version 0", set(4, 0), volume.WrongVersion},
		{"compression", set(5, 7), volume.BadFormat},
		{"flags", set(6, 1), volume.BadFormat},
		{"header length", set(8, 200), volume.BadFormat},
		{"leader ID's length", set(10, 65), volume.BadFormat},
		{"no leader ID", set(10, 0), volume.BadFormat},
		{"byte 11", set(11, 1), volume.BadFormat},
		{"no ops", put32(12, 0), volume.BadFormat},
		{"too many ops", put32(12, 1<<31), volume.BadFormat},
		{"more ops than bytes", put32(12, 30000), volume.BadFormat},
		{"one op too few", put32(12, 1), volume.BadFormat},
		{"one op too many", put32(12, 3), volume.BadFormat},
		{"raw length", put32(16, 1<<32-1), volume.BadFormat},
		{"raw length beyond a frame", put32(16, volume.MaxFrameRaw+1), volume.BadFormat},
		{"stored length", put32(20, 1<<32-1), volume.BadFormat},
		{"stored length too short", put32(20, 10), volume.BadFormat},
		{"version 0", put64(24, 0), volume.BadFormat},
		{"versions overflow", put64(24, 1<<64-1), volume.BadFormat},
		{"durable beyond itself", put64(32, 1<<50), volume.BadFormat},
		{"epoch 0", put64(40, 0), volume.BadFormat},
		{"epoch tag", put32(48, 1<<20), volume.BadFormat},
		{"bytes 52", put32(52, 1), volume.BadFormat},
		{"previous digest", set(60, 0xff), volume.BadFormat},
		{"digest", set(75, 0xff), volume.BadFormat},
		{"payload's checksum", put64(88, 1), volume.Corrupt},
		{"leader ID", set(frameFixedLen, '/'), volume.BadFormat},
		{"padding", set(frameFixedLen+7, 'x'), volume.BadFormat},
		{"compressed though it is not", func(b []byte) { b[5] = compressLZ4; le.PutUint32(b[16:], 2000) }, volume.BadFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, payload := honest(t, epoch1, volume.Position{Epoch: epoch1, Version: 9}, nameOp(1), nameOp(2))
			_, _, err := DecodeFrame(frameFor(h, payload, c.change))
			wantKind(t, err, c.kind)
		})
	}
	h, payload := honest(t, epoch1, volume.Position{}, nameOp(1), reign(epoch1))
	_, _, err := DecodeFrame(frameFor(h, payload, nil))
	wantKind(t, err, volume.BadFormat) // an epoch is opened by the first op only
	h, payload = honest(t, epoch2, volume.Position{}, reign(epoch1))
	_, _, err = DecodeFrame(frameFor(h, payload, nil))
	wantKind(t, err, volume.BadFormat)
}

func TestSegmentHeaderRoundTrip(t *testing.T) {
	h := segmentHeader{
		volume: testVolume, first: 1235, durable: 1000, prevFirst: 77, prevLast: 5000, prevEnd: 6000,
		prev: volume.Position{Epoch: volume.Epoch{Number: 4, Leader: strings.Repeat("n", volume.MaxNodeIDLen), Tag: 3}, Version: 1234, Digest: volume.Digest{9}},
	}
	b := h.encode()
	got, err := parseSegmentHeader(b)
	if err != nil || got != h {
		t.Fatalf("wrote %+v, read %+v, %v", h, got, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 4
		if _, err := parseSegmentHeader(bad); err == nil {
			t.Fatalf("a flipped bit in byte %d goes unnoticed", i)
		}
		if _, err := parseSegmentHeader(b[:i]); err == nil {
			t.Fatalf("a header cut off at %d goes unnoticed", i)
		}
	}
	for name, change := range map[string]func(*segmentHeader){
		"first":    func(h *segmentHeader) { h.first++ },
		"durable":  func(h *segmentHeader) { h.durable = h.first },
		"previous": func(h *segmentHeader) { h.prevFirst = h.first },
		"offsets":  func(h *segmentHeader) { h.prevEnd = h.prevLast },
		"epoch":    func(h *segmentHeader) { h.prev.Epoch.Number = 0 },
		"version":  func(h *segmentHeader) { h.prev.Version, h.first, h.durable, h.prevFirst = 0, 1, 0, 0 },
	} {
		bad := h
		change(&bad)
		if _, err := parseSegmentHeader(bad.encode()); volume.KindOf(err) != volume.BadFormat {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMarkRoundTrip(t *testing.T) {
	m := durableMark{version: 1 << 50, digest: volume.Digest{1, 2}, own: volume.Epoch{Number: 3, Leader: strings.Repeat("n", volume.MaxNodeIDLen), Tag: 77}}
	b := m.encode(testVolume)
	id, got, ok := parseMark(b)
	if !ok || id != testVolume || got != m {
		t.Fatalf("wrote %+v, read %+v of %s, %v", m, got, id, ok)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, _, ok := parseMark(bad); ok {
			t.Fatalf("a flipped bit in byte %d goes unnoticed", i)
		}
		if _, _, ok := parseMark(b[:i]); ok {
			t.Fatalf("a mark cut off at %d goes unnoticed", i)
		}
	}
}

func TestSegmentNames(t *testing.T) {
	for _, v := range []volume.Version{1, 0x4e21, 1<<64 - 1} {
		if got, ok := parseSegmentName(segmentName(v)); !ok || got != v {
			t.Errorf("%s: %d, %v", segmentName(v), got, ok)
		}
	}
	for _, name := range []string{"", ".seg", "1.seg", "000000000000000G.seg", "000000000000000A.seg", "0000000000000000.seg", "+000000000000001.seg", "00000000000000001.seg", "0000000000000001.seg2"} {
		if _, ok := parseSegmentName(name); ok {
			t.Errorf("%q is no segment's name", name)
		}
	}
}

// goldenOps are of every kind that a frame's format can depend on.
func goldenOps() [][]*volume.Op {
	pattern := make([]byte, 1500)
	for i := range pattern {
		pattern[i] = byte(i * i >> 3)
	}
	return [][]*volume.Op{
		{reign(epoch1)},
		{nameOp(1), writeOp(volume.MakeIno(0, 3), 0, []byte("golden"))},
		{writeOp(volume.MakeIno(0, 3), 4096, text(2000))},
		{writeOp(volume.MakeIno(0, 3), 1<<40, pattern)},
		{{Kind: volume.OpMember, Member: volume.Member{ID: "node-2", Store: volume.ID{7}, Address: "10.0.0.2:9500"}}},
		{reign(epoch2)},
		{nameOp(2), nameOp(3), nameOp(4)},
	}
}

func goldenEpoch(i int) volume.Epoch {
	if i < 5 {
		return epoch1
	}
	return epoch2
}

// TestGolden holds format version 1: what was written by it is read for ever, and
// what is not compressed is written the same. (LZ4 may find another encoding of the
// same payload one day; the format does not say which.)
func TestGolden(t *testing.T) {
	for level, name := range []string{"plain", "lz4"} {
		dir := filepath.Join("testdata", "v1-"+name)
		mem := vfs.NewMem()
		o := small(mem)
		o.Compress, o.SegmentSize = level, minSegmentSize
		l, _ := mustOpen(t, o)
		m := newHistory()
		for i, ops := range goldenOps() {
			m.add(t, ops...)
			mustAppend(t, l, goldenEpoch(i), ops...)
			if err := l.Sync(bg, l.Last().Version); err != nil {
				t.Fatal(err)
			}
		}
		mustClose(t, l)
		names, err := mem.List("oplog")
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			writeGolden(t, mem, names, dir)
		}
		golden := readGolden(t, dir)
		if level == 0 {
			if len(golden) != len(names) {
				t.Errorf("%d files are written, %d are golden", len(names), len(golden))
			}
			for _, file := range names {
				b, err := mem.UnsafeGetFileDataBuffer("oplog/" + file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(bytes.TrimRight(b, "\x00"), bytes.TrimRight(golden[file], "\x00")) {
					t.Errorf("%s/%s is not what is written now", dir, file)
				}
			}
		}
		old := vfs.NewMem()
		if err := old.MkdirAll("oplog", 0o700); err != nil {
			t.Fatal(err)
		}
		for file, b := range golden {
			patch(t, old, "oplog/"+file, 0, b)
		}
		o.FS = old
		l, rec := mustOpen(t, o)
		if rec.Cut != nil || rec.Last.Version != m.last() || rec.Last.Epoch != epoch2 {
			t.Fatalf("%s: recovery is %+v", dir, rec)
		}
		m.check(t, l)
		mustClose(t, l)
	}
}

func writeGolden(t *testing.T, mem *vfs.MemFS, names []string, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range names {
		b, err := mem.UnsafeGetFileDataBuffer("oplog/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), bytes.TrimRight(b, "\x00"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readGolden(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	golden := make(map[string][]byte)
	for _, e := range entries {
		if golden[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return golden
}

// allocated runs fn and returns the bytes it allocated, also what is free again.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzDecodeFrame: any bytes are a frame that can be written again as it is, or an
// error; and what is allocated is bounded by what came in, not by what it says.
func FuzzDecodeFrame(f *testing.F) {
	for _, level := range []int{0, 1} {
		o := small(vfs.NewMem())
		o.Compress = level
		l, _ := mustOpen(f, o)
		for i, ops := range goldenOps() {
			fr := mustAppend(f, l, goldenEpoch(i), ops...)
			f.Add(fr.Bytes, true)
			f.Add(fr.Bytes, false)
		}
		mustClose(f, l)
	}
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign {
			resign(b)
		}
		var fr Frame
		var ops []*volume.Op
		var err error
		// An op is some 600 bytes in memory and at least 8 as it travels.
		bound := uint64(256<<10 + 100*len(b))
		if h, e := ParseHeader(b); e == nil {
			bound += uint64(100 * h.RawLen)
		}
		if got := allocated(func() { fr, ops, err = DecodeFrame(b) }); got > bound {
			t.Fatalf("%d bytes made it allocate %d", len(b), got)
		}
		if err != nil {
			if k := volume.KindOf(err); k != volume.BadFormat && k != volume.WrongVersion && k != volume.Corrupt {
				t.Fatalf("kind %v: %v", k, err)
			}
			return
		}
		if len(ops) != fr.Count || fr.Last-fr.First+1 != volume.Version(fr.Count) || fr.RawLen > volume.MaxOpLen {
			t.Fatalf("frame %+v with %d ops", fr, len(ops))
		}
		l := openSmall(t, vfs.NewMem())
		if fr.First > 1 {
			p := volume.Position{Epoch: fr.Epoch, Version: fr.First - 1, Digest: fr.Prev}
			if err := l.Reset(p); err != nil {
				t.Fatalf("reset to %s: %v", p, err)
			}
		} else if fr.Prev != (volume.Digest{}) {
			return
		}
		if got, _, err := l.AppendFrame(b); err != nil || !bytes.Equal(got.Bytes, b) {
			t.Fatalf("a good frame is not appended: %v", err)
		}
	})
}

// resign makes the checksums of a frame right, so that fuzzing reaches what lies
// behind them.
func resign(b []byte) {
	if len(b) < minFrameHeader {
		return
	}
	le := binary.LittleEndian
	hl := int(le.Uint16(b[8:]))
	if hl < minFrameHeader || hl > len(b) {
		return
	}
	le.PutUint64(b[88:], xxh3.Hash(b[hl:]))
	le.PutUint64(b[hl-checksumLen:], xxh3.Hash(b[:hl-checksumLen]))
}

// FuzzOpenSegment: a log whose newest segment holds any bytes opens, or refuses;
// what opens is consistent, and nothing is allocated by what the bytes say.
func FuzzOpenSegment(f *testing.F) {
	for _, n := range []int{1, 2} {
		c := crashedLog(f, n, 0)
		for _, path := range c.paths {
			b, err := c.mem.UnsafeGetFileDataBuffer(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(bytes.Clone(b), false, false)
			f.Add(bytes.Clone(b[:len(b)/2]), true, true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, sign, allow bool) {
		if len(b) > 1<<20 {
			return
		}
		mem := vfs.NewMem()
		if err := mem.MkdirAll("oplog", 0o700); err != nil {
			t.Fatal(err)
		}
		if sign && len(b) >= segmentHeaderLen {
			binary.LittleEndian.PutUint64(b[248:], xxh3.Hash(b[:248]))
			resign(b[segmentHeaderLen:])
		}
		first := volume.Version(1)
		if h, err := parseSegmentHeader(b); err == nil {
			first = h.first
		}
		patch(t, mem, "oplog/"+segmentName(first), 0, b)
		o := small(mem)
		o.AllowCut = allow
		var l *Log
		var rec *Recovery
		var err error
		if got := allocated(func() { l, rec, err = Open(o) }); got > 16<<20+100*uint64(len(b)) {
			t.Fatalf("%d bytes made it allocate %d", len(b), got)
		}
		if err != nil {
			switch k := volume.KindOf(err); k {
			case volume.Corrupt, volume.WrongVersion, volume.WrongVolume:
			default:
				t.Fatalf("kind %v: %v", k, err)
			}
			return
		}
		defer mustClose(t, l)
		at := l.First()
		r, err := l.Reader(at)
		if err != nil {
			t.Fatal(err)
		}
		for {
			fr, ok, err := r.TryNext()
			if err != nil {
				t.Fatalf("opened (%+v), and cannot be read: %v", rec, err)
			}
			if !ok {
				break
			}
			at = fr.Last + 1
		}
		if at != l.Last().Version+1 || rec.Last != l.Last() {
			t.Fatalf("read through %d of %s, recovery %+v", at-1, l.Last(), rec)
		}
	})
}

func Example_segmentName() {
	fmt.Println(segmentName(20001))
	// Output: 0000000000004e21.seg
}
