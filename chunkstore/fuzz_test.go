package chunkstore

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// allocated runs fn and returns how much memory it took in all, freed or not.
func allocated(fn func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// hostileLimit bounds what reading a pack of n bytes may allocate: the window, the
// table's first page, and for every 64 bytes at most one payload and one content.
func hostileLimit(n int) int64 {
	return 4<<20 + int64(n/recordLen+1)*(2*volume.MinChunkSize+1<<10)
}

// fix makes the checksums of whatever looks like a pack true, so that mutations
// reach what lies behind them.
func fix(b []byte) {
	s := salt{testVol, 1}
	if len(b) < headerLen {
		return
	}
	copy(b, s.encodeHeader(volume.MinChunkSize))
	for i := headerLen; i+recordLen <= len(b); i++ {
		if string(b[i:i+4]) != recordMagic {
			continue
		}
		stored := int(binary.LittleEndian.Uint32(b[i+12:]))
		if end := i + recordLen + stored; stored >= 0 && end <= len(b) {
			binary.LittleEndian.PutUint64(b[i+48:], xxh3.Hash(b[i+recordLen:end]))
			if kind(b[i+4]) == kindRaw {
				id := chunkID(b[i+recordLen : end])
				copy(b[i+16:], id[:])
			}
		}
		s.sealBytes(int64(i), b[i:i+recordLen])
	}
	if n := len(b) - trailerLen; n >= headerLen {
		if string(b[n:n+8]) == trailerMagic {
			s.sealBytes(int64(n), b[n:])
		}
	}
}

// FuzzPack opens a store over any bytes as pack and mark. Nothing may panic, take
// much memory, or come out of it under a name that is not its hash.
func FuzzPack(f *testing.F) {
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.PackSize = MinPackSize
	s := wholeOpen(f, o)
	rng := newRand(1)
	for range 4 {
		mustPut(f, s, text(rng, 3000))
		mustPut(f, s, random(rng, 900))
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	m := readFile(f, fs, markName)
	sealed := readFile(f, fs, packName(1))
	f.Add(sealed, m, true, true)
	f.Add(sealed[:len(sealed)-5], m[:markLen], false, true)
	f.Add(sealed[:len(sealed)/2], []byte{}, true, false)
	f.Add([]byte{}, m, false, false)
	f.Fuzz(func(t *testing.T, p, m []byte, sums, more bool) {
		if len(p) > 64<<10 || len(m) > 16<<10 {
			return
		}
		p = bytes.Clone(p)
		if sums {
			fix(p)
		}
		fs := vfs.NewMem()
		if err := fs.MkdirAll(testDir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, fs, packName(1), p)
		writeFile(t, fs, markName, m)
		if more { // so that the first is not the newest
			writeFile(t, fs, packName(2), salt{testVol, 2}.encodeHeader(volume.MinChunkSize))
		}
		o := testOptions(fs)
		o.CacheBytes = 1
		limit := hostileLimit(len(p))
		if got := allocated(func() { useHostile(t, o) }); got > 4*limit {
			t.Fatalf("%d bytes allocated for a pack of %d", got, len(p))
		}
	})
}

// useHostile opens a store, reads all it claims to have, and writes to it.
func useHostile(t *testing.T, o Options) {
	s, _, err := Open(o)
	if err != nil {
		return
	}
	var ids []volume.ChunkID
	for p := 0; s.table.page(p, func(e *entry) { ids = append(ids, e.id) }); p++ {
	}
	for _, id := range ids {
		if content, err := s.Get(ctx, id); err == nil && chunkID(content) != id {
			t.Fatal("content under a wrong name")
		}
	}
	scrub(t, s)
	audit(t, s)
	content := []byte("still usable")
	id, _, err := s.Put(ctx, content)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _, err = Open(o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(ctx, id)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatal("what was put is not there: ", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A pack whose records claim much and hold nothing.
func TestHostileLengths(t *testing.T) {
	s := salt{testVol, 1}
	for name, r := range map[string]record{
		"raw too long":    {kind: kindRaw, raw: 1 << 31, stored: 1 << 31},
		"lz4 bomb":        {kind: kindLZ4, raw: volume.MinChunkSize, stored: 10},
		"lz4 beyond":      {kind: kindLZ4, raw: 1 << 30, stored: 10},
		"index beyond":    {kind: kindIndex, raw: 1 << 26, stored: 1 << 26 * itemLen % (1 << 32)},
		"skip to the end": {kind: kindSkip, stored: 1<<32 - 1},
		"empty":           {kind: kindRaw},
		"unknown kind":    {kind: 9, raw: 10, stored: 10},
	} {
		t.Run(name, func(t *testing.T) {
			b := append(s.encodeHeader(volume.MinChunkSize), make([]byte, recordLen+100)...)
			r.sum = xxh3.Hash(b[headerLen+recordLen:][:min(100, int(r.stored))])
			s.encodeRecord(b[headerLen:], headerLen, &r)
			fs := vfs.NewMem()
			if err := fs.MkdirAll(testDir, 0o700); err != nil {
				t.Fatal(err)
			}
			writeFile(t, fs, packName(1), b)
			writeFile(t, fs, markName, append(make([]byte, markSlot), mark{pack: 1, length: 64, seq: 1}.encode(testVol)...))
			if got := allocated(func() { useHostile(t, testOptions(fs)) }); got > 4<<20 {
				t.Fatalf("%d bytes allocated", got)
			}
		})
	}
}

// FuzzIndex gives the index reader any items behind true checksums.
func FuzzIndex(f *testing.F) {
	item := make([]byte, itemLen)
	encodeItem(item, headerLen, &record{kind: kindRaw, raw: 8, stored: 8, id: volume.ChunkID{1}})
	f.Add(item, 100)
	f.Add(bytes.Repeat(item, 3), 1000)
	f.Fuzz(func(t *testing.T, items []byte, room int) {
		items = items[:len(items)/itemLen*itemLen]
		if room < 0 || room > 1<<20 || len(items) > 1<<20 {
			return
		}
		s := salt{testVol, 1}
		b := make([]byte, headerLen+room+recordLen)
		r := record{kind: kindIndex, raw: uint32(len(items) / itemLen), stored: uint32(len(items)), sum: xxh3.Hash(items)}
		at := int64(headerLen + room)
		s.encodeRecord(b[at:], at, &r)
		b = append(b, items...)
		b = append(b, s.encodeTrailer(int64(len(b)), at, len(items)/itemLen)...)
		sc := scanner{window: newWindow(bytes.NewReader(b), int64(len(b))), salt: s, chunkSize: volume.MinChunkSize}
		end := int64(headerLen)
		err := sc.index(func(off int64, r *record) {
			if off < end || off+r.size() > at || !r.isChunk() || r.raw == 0 || r.raw > volume.MinChunkSize {
				t.Fatalf("item %+v at %d passed", *r, off)
			}
			end = off + r.size()
		})
		if err != nil && volume.KindOf(err) != volume.Corrupt {
			t.Fatal(err)
		}
	})
}
