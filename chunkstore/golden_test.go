package chunkstore

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

var update = flag.Bool("update", false, "rewrite golden files")

// goldenChunks are what the golden files hold.
func goldenChunks() [][]byte {
	return [][]byte{
		[]byte("a chunk"),
		bytes.Repeat([]byte("compresses well. "), 200),
		{0},
		bytes.Repeat([]byte{0xff, 0x00, 0x17}, 1000),
	}
}

// Format version 1: a sealed pack, an unsealed one and the mark. These files are read
// for ever; a change of the format makes new ones beside them.
func TestGolden(t *testing.T) {
	dir := filepath.Join("testdata", "v1")
	chunks := goldenChunks()
	names := []string{packName(1), packName(2), markName}
	if *update {
		fs := vfs.NewMem()
		s := wholeOpen(t, testOptions(fs))
		for _, c := range chunks[:3] {
			mustPut(t, s, c)
		}
		s.writeMu.Lock()
		if err := s.sealLocked(s.active); err != nil {
			t.Fatal(err)
		}
		s.writeMu.Unlock()
		mustPut(t, s, chunks[3])
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), readFile(t, fs, name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files := map[string][]byte{}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	fs := restore(t, files)
	s, rec := mustOpen(t, testOptions(fs))
	if rec.Packs != 2 || rec.Chunks != 4 || rec.Scanned != 1 || rec.CutBytes != 0 || len(rec.Damage) != 0 {
		t.Fatalf("%+v", rec)
	}
	for _, c := range chunks {
		mustGet(t, s, chunkID(c), c)
	}
	// What is written today is the same, byte for byte. LZ4 blocks may differ between
	// versions of the library, so only the frame is compared.
	want := files[packName(1)]
	if got := (salt{testVol, 1}).encodeHeader(volume.MinChunkSize); !bytes.Equal(got, want[:headerLen]) {
		t.Fatalf("header % x, want % x", got, want[:headerLen])
	}
	r, ok := s.salt(1).decodeRecord(want[headerLen:], headerLen, volume.MinChunkSize)
	if !ok || r.kind != kindRaw || r.stored != 7 {
		t.Fatalf("%+v", r)
	}
	b := make([]byte, recordLen)
	s.salt(1).encodeRecord(b, headerLen, &r)
	if !bytes.Equal(b, want[headerLen:headerLen+recordLen]) {
		t.Fatalf("record % x, want % x", b, want[headerLen:headerLen+recordLen])
	}
	if got := s.mark.encode(testVol); !bytes.Equal(got, files[markName][int64(s.mark.seq%2)*markSlot:][:markLen]) {
		t.Fatalf("mark % x", got)
	}
	// And what is appended goes on from there.
	more := random(newRand(1), 1000)
	mustPut(t, s, more)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = wholeOpen(t, testOptions(fs))
	mustGet(t, s, chunkID(more), more)
	mustGet(t, s, chunkID(chunks[3]), chunks[3])
}
