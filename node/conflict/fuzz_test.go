package conflict

import (
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// FuzzPayloads: payloads are decoded without panic, and what was decoded and is encoded again
// is the same.
func FuzzPayloads(f *testing.F) {
	f.Add(byte('H'), (&Record{ID: "1-00", Kind: KindFork, Node: "a", MineLineage: volume.Lineage{{First: 1, Epoch: volume.Epoch{Number: 1, Leader: "a"}, Participants: []string{"a"}}}}).encode())
	f.Add(byte('D'), append(le64(5), "data"...))
	f.Add(byte('B'), append(append(le64(0), le32(9)...), make([]byte, 32)...))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		if r, ok := decodeHead(b); ok && string(r.encode()) != string(b) {
			t.Errorf("%+v", r)
		}
		if e, _, ok := decodeEntry(b); ok {
			e.Kind()
			e.Path()
		}
		for _, k := range []byte{blockPath, blockBefore, blockXattr} {
			e := &Entry{Known: true}
			if e.add(k, b) {
				for _, p := range append(e.Paths, e.Before...) {
					if !checkPath(p) {
						t.Errorf("%q", p)
					}
				}
			}
		}
		if p, err := decodePart(kind, b, 1<<40); err == nil && (p.len < 1 || p.len > unit || p.off < 0) {
			t.Errorf("%+v", p)
		}
		decodeDraft(b)
		decodeTouch(b)
	})
}

// FuzzFiles: a file of any bytes is read to its end or to an error.
func FuzzFiles(f *testing.F) {
	r := newRig(f, 1)
	r.file(r.leader, volume.RootIno, "a", "text")
	r.fork()
	r.file(r.leader, volume.RootIno, "b", "text")
	mem := vfs.NewMem()
	o := r.options(openStore(f, mem))
	rec := r.mustWrite(o)
	for _, p := range recordFiles {
		f.Add(p.kind, readFile(f, mem, mem.PathJoin("conflicts", rec.ID, p.name)))
	}
	f.Add(byte(fileComplete), readFile(f, mem, mem.PathJoin("conflicts", rec.ID, nameComplete)))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		fs := vfs.NewMem()
		if err := fs.MkdirAll("1-00", 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, fs, "1-00/complete", b)
		readComplete(fs, "1-00")
		x, err := openBlocks(fs, "1-00/complete", kind, nil)
		if err != nil {
			return
		}
		defer x.close()
		for err == nil {
			if kind == fileManifest && x.blocks > 0 {
				_, err = readEntry(x)
			} else {
				_, _, err = x.next()
			}
		}
		if err != io.EOF && volume.KindOf(err) == volume.Unknown {
			t.Errorf("%v", err)
		}
	})
}
