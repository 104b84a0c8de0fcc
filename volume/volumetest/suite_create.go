package volumetest

import (
	"fmt"
	"strings"

	"wolfdisk/volume"
)

var allTypes = []struct {
	name string
	mode uint32
}{
	{"file", volume.ModeFile}, {"directory", volume.ModeDir}, {"symlink", volume.ModeLink}, {"fifo", volume.ModeFIFO},
	{"socket", volume.ModeSocket}, {"block", volume.ModeBlock}, {"char", volume.ModeChar},
}

// createReq is a create of any type, with what the type needs.
func createReq(parent volume.Ino, name string, mode uint32) volume.Request {
	r := volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: mode}
	if mode&volume.ModeType == volume.ModeLink {
		r.Target = "target"
	}
	return r
}

func createChecks() []check {
	var checks []check
	for _, typ := range allTypes {
		checks = append(checks,
			check{typ.name + " has type, owner, times, size and nlink", func(e *env) { createPlain(e, typ.mode) }},
			check{typ.name + " is found, listed, and read back", func(e *env) { createFound(e, typ.mode) }},
			check{typ.name + " in a setgid directory", func(e *env) { createSetGID(e, typ.mode) }},
			check{typ.name + " exists", func(e *env) {
				e.file(e.dir, "n")
				e.refuse(volume.Exists, createReq(e.dir, "n", typ.mode|0o644))
				r := createReq(e.dir, "n", typ.mode|0o644)
				r.Exclusive = true
				e.refuse(volume.Exists, r)
			}},
		)
		if typ.mode != volume.ModeDir {
			checks = append(checks, check{typ.name + " nameless", func(e *env) { createNameless(e, typ.mode) }})
		}
	}
	for _, row := range []struct{ mode, umask, want uint32 }{
		{0o777, 0o022, 0o755}, {0o666, 0o077, 0o600}, {0o7777, 0o777, 0o7000}, {0o4755, 0, 0o4755}, {0o1777, 0, 0o1777},
		{0o6711, 0o011, 0o6700}, {0, 0, 0}, {0o7644, 0o7022, 0o7644}, {0o777 | 1<<20, 0, 0o777},
	} {
		checks = append(checks, check{fmt.Sprintf("mode %o umask %o", row.mode, row.umask), func(e *env) {
			r := createReq(e.dir, "n", volume.ModeFile|row.mode)
			r.Umask = row.umask
			e.mode(e.ok(r).Attr.Ino, volume.ModeFile|row.want)
		}})
	}
	for _, name := range []string{strings.Repeat("n", volume.MaxNameLen), "\xff\xfe\x01", "...", " ", "-", "a\nb", "é", ".wolfdisk", "\\"} {
		checks = append(checks, check{fmt.Sprintf("name %.10q", name), func(e *env) {
			ino := e.file(e.dir, name)
			e.same("names", e.names(e.dir), []string{name})
			a, err := e.sys.Vol.Lookup(e.ctx, e.dir, name)
			e.same("lookup", []any{a.Ino, err}, []any{ino, nil})
		}})
	}
	checks = append(checks,
		check{"symlink ignores mode and umask", func(e *env) {
			r := createReq(e.dir, "n", volume.ModeLink|0o7000)
			r.Umask = 0o777
			e.mode(e.ok(r).Attr.Ino, volume.ModeLink|0o777)
		}},
		check{"symlink target of greatest length", func(e *env) {
			target := strings.Repeat("t", volume.MaxTargetLen)
			ino := e.symlink(e.dir, "n", target)
			got, err := e.sys.Vol.ReadLink(e.ctx, ino)
			e.same("target", []any{got, err}, []any{target, nil})
			e.same("size", e.attr(ino).Size, int64(volume.MaxTargetLen))
		}},
		check{"rdev counts for devices only", func(e *env) {
			for i, typ := range allTypes {
				r := createReq(e.dir, string(rune('a'+i)), typ.mode)
				r.Rdev = 0x12345
				want := uint32(0)
				if typ.mode == volume.ModeBlock || typ.mode == volume.ModeChar {
					want = r.Rdev
				}
				e.same("rdev of "+typ.name, e.ok(r).Attr.Rdev, want)
			}
		}},
		check{"directories count in the parent's nlink", func(e *env) {
			for i := range 5 {
				e.nlink(e.dir, uint32(2+i))
				e.mkdir(e.dir, string(rune('a'+i)))
			}
			e.file(e.dir, "f")
			e.nlink(e.dir, 7)
		}},
		check{"inode IDs are never given twice", func(e *env) {
			seen := map[volume.Ino]bool{}
			for range 50 {
				ino := e.file(e.dir, "n")
				if seen[ino] || !ino.Valid() {
					e.t.Fatalf("inode ID %s is invalid, or came twice", ino)
				}
				seen[ino] = true
				e.unlink(e.dir, "n")
			}
		}},
		check{"nameless with a parent takes its group", func(e *env) {
			e.ok(volume.Request{Kind: volume.OpSetAttr, Ino: e.dir, Set: volume.SetMode | volume.SetGID, Mode: 0o2755, GID: 77})
			before := e.attr(e.dir)
			a := e.ok(volume.Request{Kind: volume.OpCreate, Parent: e.dir, Mode: volume.ModeFile | 0o644}).Attr
			e.same("gid", a.GID, uint32(77))
			e.same("nlink", a.Nlink, uint32(0))
			e.same("parent", e.attr(e.dir), before)
		}},
	)
	return append(checks, refusals(createRefusals())...)
}

func createPlain(e *env, typ uint32) {
	r := createReq(e.dir, "n", typ|0o751)
	r.Caller = volume.Caller{UID: 501, GID: 502, PID: 7, Front: volume.FrontS3}
	res := e.ok(r)
	a := res.Attr
	want := volume.Attr{
		Ino: a.Ino, Mode: typ | 0o751, Nlink: 1, UID: 501, GID: 502,
		Atime: a.Ctime, Mtime: a.Ctime, Ctime: a.Ctime, Btime: a.Ctime, Version: res.Version,
	}
	switch typ {
	case volume.ModeDir:
		want.Nlink = 2
	case volume.ModeLink:
		want.Mode, want.Size = typ|0o777, int64(len(r.Target))
	}
	e.same("attributes", a, want)
	e.same("attributes read", e.attr(a.Ino), want)
	dir := e.attr(e.dir)
	e.same("parent's times and version", []any{dir.Mtime, dir.Ctime, dir.Version}, []any{a.Ctime, a.Ctime, res.Version})
}

func createFound(e *env, typ uint32) {
	r := createReq(e.dir, "n", typ|0o640)
	ino := e.ok(r).Attr.Ino
	a, err := e.sys.Vol.Lookup(e.ctx, e.dir, "n")
	e.same("lookup", []any{a.Ino, a.Type(), err}, []any{ino, typ, nil})
	list, err := listing(e.ctx, e.sys.Vol, e.dir)
	e.same("listing", err, nil)
	if len(list) != 1 || list[0].Name != "n" || list[0].Ino != ino || list[0].Type != typ || list[0].Cookie < volume.FirstCookie {
		e.t.Errorf("listing: %+v", list)
	}
	target, err := e.sys.Vol.ReadLink(e.ctx, ino)
	if typ == volume.ModeLink {
		e.same("target", []any{target, err}, []any{"target", nil})
	} else {
		e.fails(volume.Invalid, err, "read link")
	}
}

func createSetGID(e *env, typ uint32) {
	e.ok(volume.Request{Kind: volume.OpSetAttr, Ino: e.dir, Set: volume.SetMode | volume.SetGID, Mode: 0o2755, GID: 77})
	r := createReq(e.dir, "n", typ|0o750)
	r.Caller = volume.Caller{UID: 5, GID: 6}
	a := e.ok(r).Attr
	e.same("owner", []uint32{a.UID, a.GID}, []uint32{5, 77})
	e.same("setgid", a.Mode&volume.ModeSetGID != 0, typ == volume.ModeDir)
}

func createNameless(e *env, typ uint32) {
	before := e.attr(e.dir)
	a := e.ok(createReq(0, "", typ|0o644)).Attr
	e.same("nlink", a.Nlink, uint32(0))
	e.same("read back", e.attr(a.Ino), a)
	e.same("directory", e.attr(e.dir), before)
	e.link(a.Ino, e.dir, "n")
	e.nlink(a.Ino, 1)
}

func createRefusals() []refusal {
	file := volume.ModeFile | 0o644
	rows := []refusal{
		{"in an unknown directory", volume.Stale, func(f *fixture) volume.Request { return createReq(f.never, "n", file) }},
		{"in an ended inode", volume.Stale, func(f *fixture) volume.Request { return createReq(f.ended, "n", file) }},
		{"in a file", volume.NotDir, func(f *fixture) volume.Request { return createReq(f.f, "n", file) }},
		{"in a symlink", volume.NotDir, func(f *fixture) volume.Request { return createReq(f.l, "n", file) }},
		{"in a fifo", volume.NotDir, func(f *fixture) volume.Request { return createReq(f.fifo, "n", file) }},
		{"in a removed directory", volume.NotFound, func(f *fixture) volume.Request { return createReq(f.removed, "n", file) }},
		{"a directory in a removed directory", volume.NotFound, func(f *fixture) volume.Request { return createReq(f.removed, "n", volume.ModeDir) }},
		{"a long name", volume.NameTooLong, func(f *fixture) volume.Request {
			return createReq(f.dir, strings.Repeat("n", volume.MaxNameLen+1), file)
		}},
		{"a name with a slash", volume.Invalid, func(f *fixture) volume.Request { return createReq(f.dir, "a/b", file) }},
		{"a name with a NUL", volume.Invalid, func(f *fixture) volume.Request { return createReq(f.dir, "a\x00", file) }},
		{"the name .", volume.Invalid, func(f *fixture) volume.Request { return createReq(f.dir, ".", file) }},
		{"the name ..", volume.Invalid, func(f *fixture) volume.Request { return createReq(f.dir, "..", file) }},
		{"the reserved name", volume.NotPermitted, func(f *fixture) volume.Request { return createReq(volume.RootIno, reservedName, file) }},
		{"the reserved directory", volume.NotPermitted, func(f *fixture) volume.Request {
			return createReq(volume.RootIno, reservedName, volume.ModeDir|0o755)
		}},
		{"no type", volume.Invalid, func(f *fixture) volume.Request { return createReq(f.dir, "n", 0o644) }},
		{"an unknown type", volume.Invalid, func(f *fixture) volume.Request { return createReq(f.dir, "n", 0o170000) }},
		{"a nameless directory", volume.Invalid, func(f *fixture) volume.Request { return createReq(0, "", volume.ModeDir|0o755) }},
		{"a nameless directory in a parent", volume.Invalid, func(f *fixture) volume.Request {
			return createReq(f.dir, "", volume.ModeDir|0o755)
		}},
		{"nameless in a file", volume.NotDir, func(f *fixture) volume.Request { return createReq(f.f, "", file) }},
		{"nameless in an unknown directory", volume.Stale, func(f *fixture) volume.Request { return createReq(f.never, "", file) }},
	}
	for _, row := range []struct {
		clause, target string
		want           volume.Kind
	}{
		{"an empty target", "", volume.NotFound},
		{"a long target", strings.Repeat("t", volume.MaxTargetLen+1), volume.NameTooLong},
		{"a target with a NUL", "a\x00b", volume.Invalid},
	} {
		rows = append(rows, refusal{row.clause, row.want, func(f *fixture) volume.Request {
			return volume.Request{Kind: volume.OpCreate, Parent: f.dir, Name: "n", Mode: volume.ModeLink, Target: row.target}
		}})
	}
	return rows
}
