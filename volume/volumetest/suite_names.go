package volumetest

import (
	"strings"

	"wolfdisk/volume"
)

func linkReq(ino, parent volume.Ino, name string) volume.Request {
	return volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: parent, NewName: name}
}

func linkChecks() []check {
	var checks []check
	for _, typ := range allTypes {
		if typ.mode == volume.ModeDir {
			continue
		}
		checks = append(checks, check{typ.name + " gets a second name", func(e *env) {
			ino := e.ok(createReq(e.dir, "a", typ.mode|0o644)).Attr.Ino
			sub := e.mkdir(e.dir, "sub")
			res := e.link(ino, sub, "b")
			e.same("answer", []any{res.Attr.Ino, res.Attr.Nlink, res.Attr.Version}, []any{ino, uint32(2), res.Version})
			a, err := e.sys.Vol.Lookup(e.ctx, sub, "b")
			e.same("lookup", []any{a, err}, []any{e.attr(ino), nil})
			e.unlink(e.dir, "a")
			e.nlink(ino, 1)
			e.same("names", e.names(sub), []string{"b"})
		}})
	}
	checks = append(checks,
		check{"content and attributes are shared", func(e *env) {
			ino := e.file(e.dir, "a")
			e.link(ino, e.dir, "b")
			e.write(ino, 0, "shared")
			e.chmod(ino, 0o600)
			e.unlink(e.dir, "a")
			b, err := e.sys.Vol.Lookup(e.ctx, e.dir, "b")
			e.same("lookup", []any{b.Ino, b.Mode, b.Size, err}, []any{ino, volume.ModeFile | 0o600, int64(6), nil})
			e.same("content", e.read(ino, 0, 10), "shared")
		}},
		check{"many names", func(e *env) {
			ino := e.file(e.dir, "n0")
			for i := 1; i < 100; i++ {
				e.link(ino, e.dir, "n"+strings.Repeat("x", i))
				e.nlink(ino, uint32(i+1))
			}
			for i := 1; i < 100; i++ {
				e.unlink(e.dir, "n"+strings.Repeat("x", i))
			}
			e.nlink(ino, 1)
		}},
		check{"mtime and mode of the file stay", func(e *env) {
			ino := e.file(e.dir, "a")
			before := e.attr(ino)
			after := e.link(ino, e.dir, "b").Attr
			e.same("mtime, atime, mode", []any{after.Mtime, after.Atime, after.Mode}, []any{before.Mtime, before.Atime, before.Mode})
		}},
		check{"a file created nameless gets its first name", func(e *env) {
			ino := e.staged()
			e.write(ino, 0, "tmp")
			e.same("nlink", e.link(ino, e.dir, "n").Attr.Nlink, uint32(1))
			e.same("content", e.read(ino, 0, 10), "tmp")
		}},
		check{"a nameless file cannot come back once it had a name", func(e *env) {
			ino := e.staged()
			e.open(ino)
			e.link(ino, e.dir, "n")
			e.unlink(e.dir, "n")
			e.refuse(volume.NotFound, linkReq(ino, e.dir, "n"))
		}},
	)
	return append(checks, refusals([]refusal{
		{"an unknown inode", volume.Stale, func(f *fixture) volume.Request { return linkReq(f.never, f.dir, "n") }},
		{"an ended inode", volume.Stale, func(f *fixture) volume.Request { return linkReq(f.ended, f.dir, "n") }},
		{"into an unknown directory", volume.Stale, func(f *fixture) volume.Request { return linkReq(f.f, f.never, "n") }},
		{"into a file", volume.NotDir, func(f *fixture) volume.Request { return linkReq(f.f, f.x, "n") }},
		{"into a removed directory", volume.NotFound, func(f *fixture) volume.Request { return linkReq(f.f, f.removed, "n") }},
		{"onto a name that is taken", volume.Exists, func(f *fixture) volume.Request { return linkReq(f.f, f.dir, "l") }},
		{"onto its own name", volume.Exists, func(f *fixture) volume.Request { return linkReq(f.f, f.dir, "f") }},
		{"a directory", volume.NotPermitted, func(f *fixture) volume.Request { return linkReq(f.empty, f.dir, "n") }},
		{"the root", volume.NotPermitted, func(f *fixture) volume.Request { return linkReq(volume.RootIno, f.dir, "n") }},
		{"a directory onto a name that is taken", volume.Exists, func(f *fixture) volume.Request { return linkReq(f.empty, f.dir, "f") }},
		{"a deleted file", volume.NotFound, func(f *fixture) volume.Request { return linkReq(f.deleted, f.dir, "n") }},
		{"a removed directory", volume.NotPermitted, func(f *fixture) volume.Request { return linkReq(f.removed, f.dir, "n") }},
		{"an empty name", volume.NotFound, func(f *fixture) volume.Request { return linkReq(f.f, f.dir, "") }},
		{"a long name", volume.NameTooLong, func(f *fixture) volume.Request {
			return linkReq(f.f, f.dir, strings.Repeat("n", volume.MaxNameLen+1))
		}},
		{"a name with a slash", volume.Invalid, func(f *fixture) volume.Request { return linkReq(f.f, f.dir, "/") }},
		{"the reserved name", volume.NotPermitted, func(f *fixture) volume.Request { return linkReq(f.f, volume.RootIno, reservedName) }},
	})...)
}

func removeReq(kind volume.OpKind, parent volume.Ino, name string) volume.Request {
	return volume.Request{Kind: kind, Parent: parent, Name: name}
}

func removeChecks() []check {
	checks := []check{
		{"the last name ends the inode", func(e *env) {
			ino := e.file(e.dir, "n")
			e.same("nlink in the answer", e.unlink(e.dir, "n").Attr.Nlink, uint32(0))
			_, err := e.sys.Vol.GetAttr(e.ctx, ino)
			e.fails(volume.Stale, err, "attributes of an ended inode")
			_, err = e.sys.Vol.Lookup(e.ctx, e.dir, "n")
			e.fails(volume.NotFound, err, "look up a removed name")
			e.same("names", e.names(e.dir), []string{})
		}},
		{"a name that is not the last leaves the inode", func(e *env) {
			ino := e.file(e.dir, "a")
			e.link(ino, e.dir, "b")
			res := e.unlink(e.dir, "b")
			e.same("answer", []any{res.Attr.Ino, res.Attr.Nlink, res.Attr.Version}, []any{ino, uint32(1), res.Version})
			e.same("attributes", e.attr(ino), res.Attr)
		}},
		{"rmdir ends the directory", func(e *env) {
			ino := e.mkdir(e.dir, "d")
			e.nlink(e.dir, 3)
			e.same("nlink in the answer", e.rmdir(e.dir, "d").Attr.Nlink, uint32(0))
			e.nlink(e.dir, 2)
			_, err := e.sys.Vol.GetAttr(e.ctx, ino)
			e.fails(volume.Stale, err, "attributes of an ended directory")
		}},
		{"a name can be made again", func(e *env) {
			a := e.file(e.dir, "n")
			e.unlink(e.dir, "n")
			b := e.mkdir(e.dir, "n")
			e.rmdir(e.dir, "n")
			c := e.file(e.dir, "n")
			if a == b || b == c || a == c {
				e.t.Errorf("inode IDs %s, %s, %s were given again", a, b, c)
			}
		}},
		{"a directory can be removed once it is empty", func(e *env) {
			d := e.mkdir(e.dir, "d")
			e.file(d, "f")
			e.refuse(volume.NotEmpty, removeReq(volume.OpRmdir, e.dir, "d"))
			e.unlink(d, "f")
			e.rmdir(e.dir, "d")
		}},
	}
	for _, typ := range allTypes {
		if typ.mode == volume.ModeDir {
			continue
		}
		checks = append(checks, check{"unlink a " + typ.name, func(e *env) {
			e.ok(createReq(e.dir, "n", typ.mode|0o644))
			e.refuse(volume.NotDir, removeReq(volume.OpRmdir, e.dir, "n"))
			e.unlink(e.dir, "n")
			e.same("names", e.names(e.dir), []string{})
		}})
	}
	for _, kind := range []volume.OpKind{volume.OpUnlink, volume.OpRmdir} {
		checks = append(checks, refusals([]refusal{
			{kind.String() + " in an unknown directory", volume.Stale, func(f *fixture) volume.Request { return removeReq(kind, f.never, "n") }},
			{kind.String() + " in a file", volume.NotDir, func(f *fixture) volume.Request { return removeReq(kind, f.f, "n") }},
			{kind.String() + " in a removed directory", volume.NotFound, func(f *fixture) volume.Request { return removeReq(kind, f.removed, "n") }},
			{kind.String() + " a name that is not there", volume.NotFound, func(f *fixture) volume.Request { return removeReq(kind, f.dir, "none") }},
			{kind.String() + " an empty name", volume.NotFound, func(f *fixture) volume.Request { return removeReq(kind, f.dir, "") }},
			{kind.String() + " a long name", volume.NameTooLong, func(f *fixture) volume.Request {
				return removeReq(kind, f.dir, strings.Repeat("n", volume.MaxNameLen+1))
			}},
			{kind.String() + " .", volume.Invalid, func(f *fixture) volume.Request { return removeReq(kind, f.dir, ".") }},
			{kind.String() + " ..", volume.Invalid, func(f *fixture) volume.Request { return removeReq(kind, f.dir, "..") }},
			{kind.String() + " the reserved name", volume.NotFound, func(f *fixture) volume.Request {
				return removeReq(kind, volume.RootIno, reservedName)
			}},
		})...)
	}
	return append(checks, refusals([]refusal{
		{"unlink a directory", volume.IsDir, func(f *fixture) volume.Request { return removeReq(volume.OpUnlink, f.dir, "empty") }},
		{"unlink a full directory", volume.IsDir, func(f *fixture) volume.Request { return removeReq(volume.OpUnlink, f.dir, "sub") }},
		{"rmdir a file", volume.NotDir, func(f *fixture) volume.Request { return removeReq(volume.OpRmdir, f.dir, "f") }},
		{"rmdir a symlink", volume.NotDir, func(f *fixture) volume.Request { return removeReq(volume.OpRmdir, f.dir, "l") }},
		{"rmdir a full directory", volume.NotEmpty, func(f *fixture) volume.Request { return removeReq(volume.OpRmdir, f.dir, "sub") }},
	})...)
}
