package volumetest

import (
	"fmt"
	"strings"

	"wolfdisk/volume"
)

func publishReq(ino, parent volume.Ino, name string) volume.Request {
	return volume.Request{Kind: volume.OpPublish, Ino: ino, Parent: parent, Name: name}
}

func matching(r volume.Request, m volume.Match) volume.Request {
	r.Match = m
	return r
}

func publishChecks() []check {
	var checks []check
	for _, over := range allTypes {
		if over.mode == volume.ModeDir {
			continue
		}
		checks = append(checks, check{"over a " + over.name, func(e *env) {
			old := e.ok(createReq(e.dir, "n", over.mode|0o644)).Attr.Ino
			ino := e.staged()
			res := e.ok(publishReq(ino, e.dir, "n"))
			e.same("answer", res.Attr, e.attr(ino))
			e.same("displaced", []any{res.Replaced.Ino, res.Replaced.Nlink, res.Replaced.Version}, []any{old, uint32(0), res.Version})
			_, err := e.sys.Vol.GetAttr(e.ctx, old)
			e.fails(volume.Stale, err, "the displaced inode")
			e.same("names", e.names(e.dir), []string{"n"})
		}})
	}
	for _, row := range []struct {
		clause      string
		match       func(version volume.Version) volume.Match
		taken, free bool // whether it is met
	}{
		{"no condition", func(volume.Version) volume.Match { return volume.Match{} }, true, true},
		{"absent", func(volume.Version) volume.Match { return volume.Match{Absent: true} }, false, true},
		{"present", func(volume.Version) volume.Match { return volume.Match{Present: true} }, true, false},
		{"absent and present", func(volume.Version) volume.Match { return volume.Match{Absent: true, Present: true} }, false, false},
		{"version", func(v volume.Version) volume.Match { return volume.Match{Version: v} }, true, false},
		{"present version", func(v volume.Version) volume.Match { return volume.Match{Present: true, Version: v} }, true, false},
		{"older version", func(v volume.Version) volume.Match { return volume.Match{Version: v - 1} }, false, false},
		{"newer version", func(v volume.Version) volume.Match { return volume.Match{Version: v + 1} }, false, false},
	} {
		for _, taken := range []bool{true, false} {
			checks = append(checks, check{fmt.Sprintf("match %s, taken %t", row.clause, taken), func(e *env) {
				version := e.attr(e.dir).Version
				if taken {
					old := e.file(e.dir, "n")
					version = e.write(old, 0, "old").Version
				}
				ino := e.staged()
				r := matching(publishReq(ino, e.dir, "n"), row.match(version))
				if taken && row.taken || !taken && row.free {
					e.ok(r)
				} else {
					e.refuse(volume.Precondition, r)
				}
			}})
		}
	}
	checks = append(checks,
		check{"takes a name, with content, attributes and mode", func(e *env) {
			ino := e.staged()
			e.write(ino, 0, "object")
			before := e.attr(ino)
			r := publishReq(ino, e.dir, "n")
			r.Set, r.Mode = volume.SetMode, volume.ModeDir|0o4640
			r.Xattrs = []volume.Xattr{{Name: "user.b", Value: []byte("2")}, {Name: "user.a", Value: []byte("1")}}
			res := e.ok(r)
			before.Mode, before.Nlink, before.Ctime, before.Version = volume.ModeFile|0o4640, 1, res.Attr.Ctime, res.Version
			e.same("attributes", res.Attr, before)
			e.same("content", e.read(ino, 0, 10), "object")
			e.same("a", string(e.xattr(ino, "user.a")), "1")
			e.same("b", string(e.xattr(ino, "user.b")), "2")
		}},
		check{"replaces the attributes it lists, and leaves others", func(e *env) {
			ino := e.staged()
			e.setXattr(ino, "user.a", []byte("old"))
			e.setXattr(ino, "user.b", []byte("kept"))
			r := publishReq(ino, e.dir, "n")
			r.Xattrs = []volume.Xattr{{Name: "user.a", Value: []byte("new")}, {Name: "user.empty"}}
			e.ok(r)
			e.same("a", string(e.xattr(ino, "user.a")), "new")
			e.same("b", string(e.xattr(ino, "user.b")), "kept")
			e.same("empty", len(e.xattr(ino, "user.empty")), 0)
		}},
		check{"as many attributes as an op can have", func(e *env) {
			r := publishReq(e.staged(), e.dir, "n")
			for i := range volume.MaxOpXattrs {
				r.Xattrs = append(r.Xattrs, volume.Xattr{Name: fmt.Sprintf("user.%02d", i), Value: make([]byte, volume.MaxXattrLen)})
			}
			e.ok(r)
		}},
		check{"mode without its bit does not count", func(e *env) {
			r := publishReq(e.staged(), e.dir, "n")
			r.Set, r.Mode, r.UID = volume.SetUID, 0o777, 9
			a := e.ok(r).Attr
			e.same("mode and owner", []uint32{a.Mode, a.UID}, []uint32{volume.ModeFile | 0o644, 0})
		}},
		check{"over an open file keeps that one", func(e *env) {
			old := e.file(e.dir, "n")
			e.write(old, 0, "old")
			closeIt := e.open(old)
			ino := e.staged()
			e.ok(publishReq(ino, e.dir, "n"))
			e.nlink(old, 0)
			e.same("content", e.read(old, 0, 10), "old")
			closeIt()
			_, err := e.sys.Vol.GetAttr(e.ctx, old)
			e.fails(volume.Stale, err, "the displaced inode after close")
		}},
		check{"over one of several names", func(e *env) {
			old := e.file(e.dir, "n")
			e.link(old, e.dir, "m")
			res := e.ok(publishReq(e.staged(), e.dir, "n"))
			e.same("displaced", res.Replaced, e.attr(old))
			e.nlink(old, 1)
		}},
		check{"an open staged file stays open", func(e *env) {
			ino := e.staged()
			closeIt := e.open(ino)
			e.ok(publishReq(ino, e.dir, "n"))
			closeIt()
			e.nlink(ino, 1)
		}},
		check{"only once", func(e *env) {
			ino := e.staged()
			e.ok(publishReq(ino, e.dir, "n"))
			e.refuse(volume.Invalid, publishReq(ino, e.dir, "m"))
			e.open(ino)
			e.unlink(e.dir, "n")
			e.refuse(volume.Invalid, publishReq(ino, e.dir, "m"))
		}},
		check{"not after a link", func(e *env) {
			ino := e.staged()
			e.link(ino, e.dir, "n")
			e.refuse(volume.Invalid, publishReq(ino, e.dir, "m"))
		}},
	)
	return append(checks, refusals(publishRefusals())...)
}

func publishRefusals() []refusal {
	with := func(r volume.Request, xattrs ...volume.Xattr) volume.Request {
		r.Xattrs = xattrs
		return r
	}
	many := make([]volume.Xattr, volume.MaxOpXattrs+1)
	for i := range many {
		many[i].Name = fmt.Sprintf("user.%02d", i)
	}
	rows := []refusal{
		{"an unknown inode", volume.Stale, func(f *fixture) volume.Request { return publishReq(f.never, f.dir, "n") }},
		{"an ended inode", volume.Stale, func(f *fixture) volume.Request { return publishReq(f.ended, f.dir, "n") }},
		{"a file with a name", volume.Invalid, func(f *fixture) volume.Request { return publishReq(f.f, f.dir, "n") }},
		{"a file over itself", volume.Invalid, func(f *fixture) volume.Request { return publishReq(f.f, f.dir, "f") }},
		{"a directory", volume.Invalid, func(f *fixture) volume.Request { return publishReq(f.sub, f.dir, "n") }},
		{"a removed directory", volume.Invalid, func(f *fixture) volume.Request { return publishReq(f.removed, f.dir, "n") }},
		{"a deleted file", volume.Invalid, func(f *fixture) volume.Request { return publishReq(f.deleted, f.dir, "n") }},
		{"a nameless symlink", volume.Invalid, func(f *fixture) volume.Request {
			return publishReq(f.ok(createReq(0, "", volume.ModeLink)).Attr.Ino, f.dir, "n")
		}},
		{"in an unknown directory", volume.Stale, func(f *fixture) volume.Request { return publishReq(f.staged, f.never, "n") }},
		{"in a file", volume.NotDir, func(f *fixture) volume.Request { return publishReq(f.staged, f.f, "n") }},
		{"in a removed directory", volume.NotFound, func(f *fixture) volume.Request { return publishReq(f.staged, f.removed, "n") }},
		{"a long name", volume.NameTooLong, func(f *fixture) volume.Request { return publishReq(f.staged, f.dir, strings.Repeat("n", 256)) }},
		{"a name with a slash", volume.Invalid, func(f *fixture) volume.Request { return publishReq(f.staged, f.dir, "a/b") }},
		{"no name", volume.NotFound, func(f *fixture) volume.Request { return publishReq(f.staged, f.dir, "") }},
		{"the reserved name", volume.NotPermitted, func(f *fixture) volume.Request { return publishReq(f.staged, volume.RootIno, reservedName) }},
		{"over a directory", volume.IsDir, func(f *fixture) volume.Request { return publishReq(f.staged, f.dir, "empty") }},
		{"over a directory that must not be", volume.Precondition, func(f *fixture) volume.Request {
			return matching(publishReq(f.staged, f.dir, "empty"), volume.Match{Absent: true})
		}},
		{"too many attributes", volume.XattrTooBig, func(f *fixture) volume.Request { return with(publishReq(f.staged, f.dir, "n"), many...) }},
		{"an attribute twice", volume.Invalid, func(f *fixture) volume.Request {
			return with(publishReq(f.staged, f.dir, "n"), volume.Xattr{Name: "user.a"}, volume.Xattr{Name: "user.b"}, volume.Xattr{Name: "user.a"})
		}},
	}
	for _, row := range []struct {
		clause string
		xattr  volume.Xattr
		want   volume.Kind
	}{
		{"no attribute name", volume.Xattr{}, volume.OutOfRange},
		{"a long attribute name", volume.Xattr{Name: "user." + strings.Repeat("n", 300)}, volume.OutOfRange},
		{"a long attribute", volume.Xattr{Name: "user.a", Value: make([]byte, volume.MaxXattrLen+1)}, volume.XattrTooBig},
		{"an unknown namespace", volume.Xattr{Name: "other.a"}, volume.Unsupported},
		{"an ACL", volume.Xattr{Name: volume.XattrACLAccess, Value: MakeACL(0o777).Bytes()}, volume.Unsupported},
	} {
		rows = append(rows, refusal{row.clause, row.want, func(f *fixture) volume.Request {
			return with(publishReq(f.staged, f.dir, "n"), row.xattr)
		}})
	}
	return rows
}
