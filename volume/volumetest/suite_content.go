package volumetest

import (
	"bytes"
	"fmt"
	"strings"

	"wolfdisk/volume"
)

func writeReq(ino volume.Ino, off int64, data string) volume.Request {
	return volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: []byte(data)}
}

func fallocReq(ino volume.Ino, mode uint32, off, length int64) volume.Request {
	return volume.Request{Kind: volume.OpFallocate, Ino: ino, Alloc: mode, Offset: off, Length: length}
}

const punch = volume.FallocPunchHole | volume.FallocKeepSize

// patch is one change of a file's content in a table.
type patch struct {
	off    int64
	data   string // a write, if mode is 0
	mode   uint32 // of a fallocate, +1
	length int64
}

func contentChecks() []check {
	checks := append(writeChecks(), fallocChecks()...)
	checks = append(checks, killChecks()...)
	return append(checks, refusals(contentRefusals())...)
}

func writeChecks() []check {
	page := strings.Repeat("p", pageSize)
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	rows := []struct {
		clause  string
		patches []patch
		want    string
	}{
		{"at the start", []patch{{off: 0, data: "abc"}}, "abc"},
		{"behind the end leaves zeros", []patch{{off: 3, data: "abc"}}, "\x00\x00\x00abc"},
		{"over what is there", []patch{{off: 0, data: "abcdef"}, {off: 2, data: "XY"}}, "abXYef"},
		{"over the end", []patch{{off: 0, data: "abc"}, {off: 2, data: "XYZ"}}, "abXYZ"},
		{"the same bytes twice", []patch{{off: 0, data: "abc"}, {off: 0, data: "abc"}}, "abc"},
		{"over several pages", []patch{{off: 10, data: page + page + "end"}}, zeros(10) + page + page + "end"},
		{"at a page's edge", []patch{{off: pageSize, data: "x"}, {off: pageSize - 1, data: "yz"}}, zeros(pageSize-1) + "yz"},
		{"backwards", []patch{{off: 4, data: "c"}, {off: 2, data: "b"}, {off: 0, data: "a"}}, "a\x00b\x00c"},
		{"zeros are bytes", []patch{{off: 0, data: "abc"}, {off: 1, data: "\x00"}}, "a\x00c"},
	}
	var checks []check
	for _, row := range rows {
		checks = append(checks, check{"write " + row.clause, func(e *env) {
			ino := e.file(e.dir, "n")
			for _, p := range row.patches {
				res := e.write(ino, p.off, p.data)
				e.same("answer", []any{res.N, res.Offset, res.Attr.Mtime, res.Attr.Version}, []any{len(p.data), p.off, res.Attr.Ctime, res.Version})
			}
			e.same("size", e.attr(ino).Size, int64(len(row.want)))
			if got := e.read(ino, 0, len(row.want)+100); got != row.want {
				e.t.Errorf("content: got %.80q, want %.80q", got, row.want)
			}
		}})
	}
	return append(checks,
		check{"append goes to the end, whatever the offset", func(e *env) {
			ino := e.file(e.dir, "n")
			for i, s := range []string{"one", "two", "three"} {
				r := writeReq(ino, int64(100-i), s)
				r.Append = true
				before := e.attr(ino).Size
				e.same("offset", e.ok(r).Offset, before)
			}
			r := writeReq(ino, -1, "four")
			r.Append = true
			e.ok(r)
			e.same("content", e.read(ino, 0, 100), "onetwothreefour")
		}},
		check{"no bytes change nothing", func(e *env) {
			f := e.fixture()
			e.same("answer", e.nothing(writeReq(f.f, 100, "")).Attr, e.attr(f.f))
			r := writeReq(f.f, 0, "")
			r.KillPriv, r.Append = true, true
			e.nothing(r)
			e.nothing(writeReq(f.f, volume.MaxFileSize, ""))
		}},
		check{"the largest write is one op", func(e *env) {
			ino := e.file(e.dir, "n")
			data := bytes.Repeat([]byte("0123456789abcdef"), volume.MaxWrite/16)
			before := e.sys.Vol.Position().Version
			res := e.write(ino, 5, string(data))
			e.same("version and N", []any{res.Version, res.N}, []any{before + 1, volume.MaxWrite})
			if got := e.read(ino, 5, volume.MaxWrite); got != string(data) {
				e.t.Error("content differs")
			}
		}},
		check{"the request's data are not kept", func(e *env) {
			ino := e.file(e.dir, "n")
			data := []byte("mine")
			e.ok(volume.Request{Kind: volume.OpWrite, Ino: ino, Data: data})
			copy(data, "XXXX")
			e.same("content", e.read(ino, 0, 10), "mine")
			value := []byte("mine")
			e.ok(volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: "user.a", Data: value})
			copy(value, "XXXX")
			e.same("attribute", string(e.xattr(ino, "user.a")), "mine")
		}},
		check{"sparse far beyond 4 GiB", func(e *env) {
			ino := e.file(e.dir, "n")
			e.write(ino, 1<<33+5, "far")
			e.same("size", e.attr(ino).Size, int64(1<<33+8))
			e.same("end", e.read(ino, 1<<33, 100), "\x00\x00\x00\x00\x00far")
			e.same("middle", e.read(ino, 1<<32, 3), "\x00\x00\x00")
			e.truncate(ino, 10)
			e.truncate(ino, 1<<33+8)
			e.same("end", e.read(ino, 1<<33+5, 100), "\x00\x00\x00")
		}},
		check{"over the largest size is cut", func(e *env) {
			ino := e.file(e.dir, "n")
			more := writeReq(ino, 0, "abcde")
			more.Append = true
			res := e.write(ino, volume.MaxNewSize-3, "12345")
			e.same("N, offset, size", []any{res.N, res.Offset, res.Attr.Size}, []any{3, int64(volume.MaxNewSize - 3), int64(volume.MaxNewSize)})
			e.same("content", e.read(ino, volume.MaxNewSize-4, 100), "\x00123")
			e.refuse(volume.TooBig, writeReq(ino, volume.MaxNewSize, "4"))
			e.refuse(volume.TooBig, more)
			e.write(ino, volume.MaxNewSize-1, "Z")
			e.truncate(ino, volume.MaxNewSize-2)
			res = e.ok(more)
			e.same("N, offset, size", []any{res.N, res.Offset, res.Attr.Size}, []any{2, int64(volume.MaxNewSize - 2), int64(volume.MaxNewSize)})
			e.same("content", e.read(ino, volume.MaxNewSize-4, 100), "\x001ab")
		}},
		check{"a deleted open file can be written and read", func(e *env) {
			f := e.fixture()
			e.write(f.deleted, 3, "x")
			e.same("content", e.read(f.deleted, 0, 10), "\x00\x00\x00x")
		}},
		check{"many small overlapping writes", func(e *env) {
			ino := e.file(e.dir, "n")
			want := make([]byte, 3000)
			for i := range 300 {
				off := i * 7919 % 2900
				data := strings.Repeat(string(rune('A'+i%26)), 1+i%90)
				e.write(ino, int64(off), data)
				copy(want[off:], data)
			}
			size := e.attr(ino).Size
			if got := e.read(ino, 0, 4000); got != string(want[:size]) {
				e.t.Error("content differs")
			}
		}},
	)
}

func fallocChecks() []check {
	rows := []struct {
		clause      string
		mode        uint32
		off, length int64
		want        string // of a file that held "0123456789"
	}{
		{"grows", 0, 8, 4, "0123456789\x00\x00"},
		{"within", 0, 2, 4, "0123456789"},
		{"keep-size within", volume.FallocKeepSize, 2, 4, "0123456789"},
		{"keep-size beyond", volume.FallocKeepSize, 8, 100, "0123456789"},
		{"punch", punch, 2, 4, "01\x00\x00\x00\x006789"},
		{"punch over the end", punch, 8, 100, "01234567\x00\x00"},
		{"punch behind the end", punch, 20, 10, "0123456789"},
		{"punch all", punch, 0, 10, strings.Repeat("\x00", 10)},
		{"zero range", volume.FallocZeroRange, 2, 4, "01\x00\x00\x00\x006789"},
		{"zero range grows", volume.FallocZeroRange, 8, 4, "01234567\x00\x00\x00\x00"},
		{"zero range behind the end", volume.FallocZeroRange, 12, 2, "0123456789\x00\x00\x00\x00"},
		{"zero range keep-size", volume.FallocZeroRange | volume.FallocKeepSize, 8, 4, "01234567\x00\x00"},
	}
	var checks []check
	for _, row := range rows {
		checks = append(checks, check{"fallocate " + row.clause, func(e *env) {
			ino := e.file(e.dir, "n")
			e.write(ino, 0, "0123456789")
			res := e.ok(fallocReq(ino, row.mode, row.off, row.length))
			e.same("answer", []any{res.Attr.Size, res.Attr.Mtime, res.Attr.Version}, []any{int64(len(row.want)), res.Attr.Ctime, res.Version})
			e.same("content", e.read(ino, 0, 200), row.want)
		}})
	}
	return append(checks,
		check{"punch over pages, then write into the hole", func(e *env) {
			ino := e.file(e.dir, "n")
			e.write(ino, 0, strings.Repeat("x", 5*pageSize))
			e.ok(fallocReq(ino, punch, 100, 4*pageSize))
			e.write(ino, 2*pageSize, "in the hole")
			want := []byte(strings.Repeat("x", 100) + strings.Repeat("\x00", 4*pageSize) + strings.Repeat("x", pageSize-100))
			copy(want[2*pageSize:], "in the hole")
			if got := e.read(ino, 0, 6*pageSize); got != string(want) {
				e.t.Error("content differs")
			}
		}},
		check{"space behind the end reads as zeros once the file grows", func(e *env) {
			ino := e.file(e.dir, "n")
			e.write(ino, 0, "abc")
			e.ok(fallocReq(ino, volume.FallocKeepSize, 0, 1000))
			e.truncate(ino, 6)
			e.same("content", e.read(ino, 0, 10), "abc\x00\x00\x00")
		}},
	)
}

func killChecks() []check {
	requests := map[string]func(ino volume.Ino) volume.Request{
		"write":     func(ino volume.Ino) volume.Request { return writeReq(ino, 0, "x") },
		"truncate":  func(ino volume.Ino) volume.Request { return setReq(ino, volume.SetSize, nil) },
		"fallocate": func(ino volume.Ino) volume.Request { return fallocReq(ino, 0, 0, 10) },
		"punch":     func(ino volume.Ino) volume.Request { return fallocReq(ino, punch, 0, 10) },
	}
	var checks []check
	for _, name := range []string{"write", "truncate", "fallocate", "punch"} {
		for _, row := range []struct{ mode, want uint32 }{{0o4755, 0o755}, {0o6711, 0o711}, {0o2755, 0o755}, {0o2745, 0o2745}, {0o1777, 0o1777}} {
			for _, kill := range []bool{false, true} {
				checks = append(checks, check{fmt.Sprintf("%s to mode %o, kill-priv %t", name, row.mode, kill), func(e *env) {
					ino := e.create(e.dir, "n", volume.ModeFile|row.mode)
					e.setXattr(ino, volume.XattrCapability, []byte("caps"))
					r := requests[name](ino)
					r.KillPriv = kill
					e.ok(r)
					if kill {
						e.mode(ino, volume.ModeFile|row.want)
						e.noXattr(ino, volume.XattrCapability)
					} else {
						e.mode(ino, volume.ModeFile|row.mode)
						e.same("capability", string(e.xattr(ino, volume.XattrCapability)), "caps")
					}
				}})
			}
		}
	}
	return checks
}

func contentRefusals() []refusal {
	var rows []refusal
	requests := []struct {
		name string
		req  func(ino volume.Ino) volume.Request
	}{
		{"write", func(ino volume.Ino) volume.Request { return writeReq(ino, 0, "x") }},
		{"write nothing", func(ino volume.Ino) volume.Request { return writeReq(ino, 0, "") }},
		{"append", func(ino volume.Ino) volume.Request {
			r := writeReq(ino, 0, "x")
			r.Append = true
			return r
		}},
		{"fallocate", func(ino volume.Ino) volume.Request { return fallocReq(ino, 0, 0, 1) }},
		{"punch", func(ino volume.Ino) volume.Request { return fallocReq(ino, punch, 0, 1) }},
	}
	for _, r := range requests {
		rows = append(rows,
			refusal{r.name + " to an unknown inode", volume.Stale, func(f *fixture) volume.Request { return r.req(f.never) }},
			refusal{r.name + " to an ended inode", volume.Stale, func(f *fixture) volume.Request { return r.req(f.ended) }},
			refusal{r.name + " to a directory", volume.IsDir, func(f *fixture) volume.Request { return r.req(f.sub) }},
			refusal{r.name + " to a symlink", volume.Invalid, func(f *fixture) volume.Request { return r.req(f.l) }},
			refusal{r.name + " to a fifo", volume.Invalid, func(f *fixture) volume.Request { return r.req(f.fifo) }},
		)
	}
	for _, mode := range []uint32{volume.FallocPunchHole, 0x08, 0x20, 0x40, 1 << 31, punch | volume.FallocZeroRange, volume.FallocPunchHole | volume.FallocZeroRange} {
		rows = append(rows, refusal{fmt.Sprintf("fallocate mode %#x", mode), volume.Unsupported, func(f *fixture) volume.Request {
			return fallocReq(f.f, mode, 0, 1)
		}})
	}
	return append(rows, []refusal{
		{"write at a negative offset", volume.Invalid, func(f *fixture) volume.Request { return writeReq(f.f, -1, "x") }},
		{"write nothing at a negative offset", volume.Invalid, func(f *fixture) volume.Request { return writeReq(f.f, -1, "") }},
		{"write too much", volume.Invalid, func(f *fixture) volume.Request {
			return volume.Request{Kind: volume.OpWrite, Ino: f.f, Data: make([]byte, volume.MaxWrite+1)}
		}},
		{"write beyond the largest size", volume.TooBig, func(f *fixture) volume.Request { return writeReq(f.f, volume.MaxNewSize, "x") }},
		{"write far beyond the largest size", volume.TooBig, func(f *fixture) volume.Request { return writeReq(f.f, volume.MaxFileSize, "xx") }},
		{"fallocate at a negative offset", volume.Invalid, func(f *fixture) volume.Request { return fallocReq(f.f, 0, -1, 5) }},
		{"fallocate nothing", volume.Invalid, func(f *fixture) volume.Request { return fallocReq(f.f, 0, 0, 0) }},
		{"fallocate a negative length", volume.Invalid, func(f *fixture) volume.Request { return fallocReq(f.f, 0, 0, -1) }},
		{"fallocate over the largest size", volume.TooBig, func(f *fixture) volume.Request { return fallocReq(f.f, 0, volume.MaxNewSize, 1) }},
		{"punch over the largest size", volume.TooBig, func(f *fixture) volume.Request { return fallocReq(f.f, punch, 1, volume.MaxNewSize) }},
	}...)
}
