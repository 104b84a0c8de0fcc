package volumetest

import (
	"fmt"
	"strings"

	"wolfdisk/volume"
)

func readChecks() []check {
	checks := []check{
		{"errors of every method", readErrors},
		{"read short at the end", func(e *env) {
			f := e.fixture()
			for _, row := range []struct {
				off    int64
				length int
				want   string
			}{{0, 5, "hello"}, {0, 100, "hello"}, {3, 100, "lo"}, {0, 2, "he"}, {1, 3, "ell"}, {5, 10, ""}, {6, 10, ""}, {1 << 40, 1, ""}, {volume.MaxFileSize, 1, ""}, {0, 0, ""}} {
				e.same(fmt.Sprintf("%d bytes at %d", row.length, row.off), e.read(f.f, row.off, row.length), row.want)
			}
		}},
		{"an empty file", func(e *env) {
			ino := e.file(e.dir, "n")
			e.same("content", e.read(ino, 0, 10), "")
			for _, hole := range []bool{false, true} {
				_, err := e.sys.Vol.Seek(e.ctx, ino, 0, hole)
				e.fails(volume.NotSeekable, err, "seek")
			}
		}},
		{"no attributes", func(e *env) {
			f := e.fixture()
			for _, ino := range []volume.Ino{f.f, f.l, f.fifo, f.sub} {
				names, err := e.sys.Vol.ListXattr(e.ctx, ino)
				e.same("list", []any{len(names), err}, []any{0, nil})
				e.noXattr(ino, "user.none")
			}
		}},
		{"parents", func(e *env) {
			f := e.fixture()
			for _, row := range [][2]volume.Ino{{f.sub, e.dir}, {f.y, f.sub}, {e.dir, volume.RootIno}, {volume.RootIno, volume.RootIno}} {
				p, err := e.sys.Vol.ParentOf(e.ctx, row[0])
				e.same("parent", []any{p, err}, []any{row[1], nil})
			}
		}},
		{"statfs counts", statFSCounts},
	}
	patterns := []struct {
		name    string
		patches []patch
		size    int64
	}{
		{"data only", []patch{{off: 0, data: strings.Repeat("d", 20000)}}, 20000},
		{"a hole only", nil, 300000},
		{"a hole before data", []patch{{off: 200000, data: "d"}}, 200001},
		{"data before a hole", []patch{{off: 0, data: "d"}}, 200000},
		{"islands", []patch{{off: 70000, data: "a"}, {off: 1 << 20, data: strings.Repeat("b", 70000)}, {off: 3 << 20, data: "c"}}, 4 << 20},
		{"punched", []patch{{off: 0, data: strings.Repeat("d", 1<<19)}, {off: 100000, mode: punch, length: 300000}}, 1 << 19},
		{"zeroed", []patch{{off: 0, data: strings.Repeat("d", 1<<19)}, {off: 65536, mode: volume.FallocZeroRange, length: 131072}}, 1 << 19},
		{"allocated", []patch{{off: 0, mode: volume.FallocKeepSize, length: 1 << 19}, {off: 200000, data: "d"}}, 1 << 19},
		{"far", []patch{{off: 1 << 33, data: "d"}}, 1<<33 + 1},
	}
	for _, row := range patterns {
		checks = append(checks, check{"seek, " + row.name, func(e *env) { seekPattern(e, row.patches, row.size) }})
	}
	return checks
}

func readErrors(e *env) {
	f := e.fixture()
	vol := e.sys.Vol
	type call struct {
		name string
		do   func(ino volume.Ino) error
		want map[volume.Ino]volume.Kind // besides Stale; what is not listed succeeds
	}
	buf := make([]byte, 10)
	noDir := map[volume.Ino]volume.Kind{f.f: volume.NotDir, f.l: volume.NotDir, f.fifo: volume.NotDir, f.staged: volume.NotDir}
	noFile := map[volume.Ino]volume.Kind{f.sub: volume.IsDir, f.l: volume.Invalid, f.fifo: volume.Invalid, volume.RootIno: volume.IsDir}
	noHole := map[volume.Ino]volume.Kind{f.staged: volume.NotSeekable}
	for ino, k := range noFile {
		noHole[ino] = k
	}
	calls := []call{
		{"get attributes", func(ino volume.Ino) error { _, err := vol.GetAttr(e.ctx, ino); return err }, nil},
		{"list attributes", func(ino volume.Ino) error { _, err := vol.ListXattr(e.ctx, ino); return err }, nil},
		{"list", func(ino volume.Ino) error {
			return vol.ReadDir(e.ctx, ino, 0, func(volume.DirEntry) bool { return true })
		}, noDir},
		{"look up", func(ino volume.Ino) error {
			if _, err := vol.Lookup(e.ctx, ino, "none"); volume.KindOf(err) != volume.NotFound {
				return err
			}
			return nil
		}, noDir},
		{"parent", func(ino volume.Ino) error { _, err := vol.ParentOf(e.ctx, ino); return err }, noDir},
		{"read link", func(ino volume.Ino) error { _, err := vol.ReadLink(e.ctx, ino); return err },
			map[volume.Ino]volume.Kind{f.f: volume.Invalid, f.sub: volume.Invalid, f.fifo: volume.Invalid, f.staged: volume.Invalid, volume.RootIno: volume.Invalid}},
		{"read", func(ino volume.Ino) error { _, err := vol.ReadAt(e.ctx, ino, buf, 0); return err }, noFile},
		{"seek", func(ino volume.Ino) error { _, err := vol.Seek(e.ctx, ino, 0, true); return err }, noHole},
	}
	for _, c := range calls {
		for _, ino := range []volume.Ino{f.never, f.ended, 0} {
			e.fails(volume.Stale, c.do(ino), c.name)
		}
		for _, ino := range []volume.Ino{f.f, f.l, f.fifo, f.sub, f.staged, volume.RootIno} {
			if want, ok := c.want[ino]; ok {
				e.fails(want, c.do(ino), fmt.Sprintf("%s of type %o", c.name, e.attr(ino).Mode&volume.ModeType))
			} else if err := c.do(ino); err != nil {
				e.t.Errorf("%s of type %o: %v", c.name, e.attr(ino).Mode&volume.ModeType, err)
			}
		}
	}
	_, err := vol.ReadAt(e.ctx, f.f, buf, -1)
	e.fails(volume.Invalid, err, "read at a negative offset")
	for _, off := range []int64{-1, 5, 6, volume.MaxFileSize} {
		_, err = vol.Seek(e.ctx, f.f, off, off%2 == 0)
		e.fails(volume.NotSeekable, err, fmt.Sprintf("seek from %d", off))
	}
	for name, want := range map[string]volume.Kind{
		"": volume.NotFound, "none": volume.NotFound, "F": volume.NotFound, reservedName: volume.NotFound,
		strings.Repeat("n", volume.MaxNameLen+1): volume.NameTooLong,
	} {
		_, err := vol.Lookup(e.ctx, e.dir, name)
		e.fails(want, err, fmt.Sprintf("look up %.20q", name))
	}
	_, err = vol.Lookup(e.ctx, volume.RootIno, reservedName)
	e.fails(volume.NotFound, err, "look up the reserved name")
}

func statFSCounts(e *env) {
	stat := func() volume.StatFS {
		e.t.Helper()
		s, err := e.sys.Vol.StatFS(e.ctx)
		if err != nil {
			e.t.Fatal(err)
		}
		return s
	}
	first := stat()
	if first.BlockSize == 0 {
		e.t.Error("block size 0")
	}
	var ino volume.Ino
	for _, row := range []struct {
		what         string
		do           func()
		files, bytes uint64 // more than at first
	}{
		{"create", func() { ino = e.file(e.dir, "n") }, 1, 0},
		{"mkdir", func() { e.mkdir(e.dir, "d") }, 2, 0},
		{"symlink", func() { e.symlink(e.dir, "l", "t") }, 3, 0},
		{"link", func() { e.link(ino, e.dir, "m") }, 3, 0},
		{"write", func() { e.write(ino, 10, "abc") }, 3, 13},
		{"write again", func() { e.write(ino, 0, "abc") }, 3, 13},
		{"truncate", func() { e.truncate(ino, 7) }, 3, 7},
		{"fallocate", func() { e.ok(fallocReq(ino, 0, 0, 100)) }, 3, 100},
		{"unlink one name", func() { e.unlink(e.dir, "m") }, 3, 100},
		{"unlink", func() { e.unlink(e.dir, "n") }, 2, 0},
		{"rmdir", func() { e.rmdir(e.dir, "d") }, 1, 0},
		{"rename over", func() { e.file(e.dir, "n"); e.rename(e.dir, "l", e.dir, "n") }, 1, 0},
	} {
		row.do()
		s := stat()
		e.same("files and bytes after "+row.what, []uint64{s.Files - first.Files, s.Bytes - first.Bytes}, []uint64{row.files, row.bytes})
	}
}

// seekPattern checks what must hold of any file, however coarse its holes are: each
// offset is either data or hole, nothing but zeros is called a hole, and seeking
// never goes back.
func seekPattern(e *env, patches []patch, size int64) {
	ino := e.file(e.dir, "n")
	for _, p := range patches {
		if p.mode != 0 {
			e.ok(fallocReq(ino, p.mode, p.off, p.length))
		} else {
			e.write(ino, p.off, p.data)
		}
	}
	e.truncate(ino, size)
	for _, off := range []int64{0, 1, 4095, 4096, 65535, 65536, 70000, 99999, 150000, 1 << 20, 3 << 20, 1<<33 - 1, 1 << 33, size - 1} {
		if off >= size {
			continue
		}
		data, err := e.sys.Vol.Seek(e.ctx, ino, off, false)
		if volume.KindOf(err) == volume.NotSeekable && err != nil {
			data, err = size, nil
		}
		if err != nil || data < off || data > size {
			e.t.Fatalf("seek data from %d of %d: %d, %v", off, size, data, err)
		}
		hole, err := e.sys.Vol.Seek(e.ctx, ino, off, true)
		if err != nil || hole < off || hole > size {
			e.t.Fatalf("seek hole from %d of %d: %d, %v", off, size, hole, err)
		}
		if (data == off) == (hole == off) {
			e.t.Errorf("at %d of %d the next data are at %d and the next hole is at %d", off, size, data, hole)
		}
		e.zeros(ino, off, data)
	}
}

// zeros checks both ends of a range, and a part of its middle.
func (e *env) zeros(ino volume.Ino, off, end int64) {
	e.t.Helper()
	const most = 1 << 20
	for _, at := range []int64{off, max(off, (off+end)/2), max(off, end-most)} {
		got := e.read(ino, at, int(min(most, end-at)))
		if int64(len(got)) != min(most, end-at) || strings.Trim(got, "\x00") != "" {
			e.t.Errorf("what is no data from %d to %d is not all zeros", off, end)
		}
	}
}
