package volumetest

import (
	"fmt"
	"strings"

	"wolfdisk/volume"
)

func renameReq(parent volume.Ino, name string, newParent volume.Ino, newName string) volume.Request {
	return volume.Request{Kind: volume.OpRename, Parent: parent, Name: name, NewParent: newParent, NewName: newName}
}

func exchangeReq(parent volume.Ino, name string, newParent volume.Ino, newName string) volume.Request {
	r := renameReq(parent, name, newParent, newName)
	r.Exchange = true
	return r
}

func noReplaceReq(parent volume.Ino, name string, newParent volume.Ino, newName string) volume.Request {
	r := renameReq(parent, name, newParent, newName)
	r.Exclusive = true
	return r
}

func renameChecks() []check {
	var checks []check
	for _, typ := range allTypes {
		for _, other := range []bool{false, true} {
			checks = append(checks, check{fmt.Sprintf("move a %s, to another directory %t", typ.name, other), func(e *env) {
				renameMove(e, typ.mode, other)
			}})
		}
		for _, over := range allTypes {
			checks = append(checks,
				check{fmt.Sprintf("%s over %s", typ.name, over.name), func(e *env) { renameOver(e, typ.mode, over.mode) }},
				check{fmt.Sprintf("exchange %s and %s", typ.name, over.name), func(e *env) { renameExchange(e, typ.mode, over.mode) }})
		}
	}
	checks = append(checks, renameSpecials()...)
	return append(checks, refusals(renameRefusals())...)
}

func renameMove(e *env, typ uint32, other bool) {
	ino := e.ok(createReq(e.dir, "a", typ|0o644)).Attr.Ino
	to := e.dir
	if other {
		to = e.mkdir(e.dir, "to")
	}
	dirs := e.attr(e.dir).Nlink
	res := e.rename(e.dir, "a", to, "b")
	e.same("answer", []any{res.Attr, res.Replaced}, []any{e.attr(ino), volume.Attr{}})
	got, err := e.sys.Vol.Lookup(e.ctx, to, "b")
	e.same("new name", []any{got.Ino, err}, []any{ino, nil})
	_, err = e.sys.Vol.Lookup(e.ctx, e.dir, "a")
	e.fails(volume.NotFound, err, "old name")
	if typ != volume.ModeDir {
		return
	}
	p, err := e.sys.Vol.ParentOf(e.ctx, ino)
	e.same("parent", []any{p, err}, []any{to, nil})
	if other {
		e.nlink(e.dir, dirs-1)
		e.nlink(to, 3)
	} else {
		e.nlink(e.dir, dirs)
	}
}

func renameOver(e *env, typ, over uint32) {
	a := e.ok(createReq(e.dir, "a", typ|0o644)).Attr.Ino
	to := e.mkdir(e.dir, "to")
	b := e.ok(createReq(to, "b", over|0o644)).Attr.Ino
	isDir, overDir := typ == volume.ModeDir, over == volume.ModeDir
	switch {
	case isDir && !overDir:
		e.refuse(volume.NotDir, renameReq(e.dir, "a", to, "b"))
		return
	case !isDir && overDir:
		e.refuse(volume.IsDir, renameReq(e.dir, "a", to, "b"))
		return
	}
	res := e.rename(e.dir, "a", to, "b")
	e.same("moved", res.Attr, e.attr(a))
	e.same("displaced", []any{res.Replaced.Ino, res.Replaced.Nlink, res.Replaced.Version}, []any{b, uint32(0), res.Version})
	_, err := e.sys.Vol.GetAttr(e.ctx, b)
	e.fails(volume.Stale, err, "the displaced inode")
	e.same("names", e.names(to), []string{"b"})
	want := uint32(2)
	if isDir {
		want = 3
	}
	e.nlink(to, want)
	e.nlink(e.dir, 3)
}

func renameExchange(e *env, typ, with uint32) {
	a := e.ok(createReq(e.dir, "a", typ|0o644)).Attr.Ino
	to := e.mkdir(e.dir, "to")
	b := e.ok(createReq(to, "b", with|0o644)).Attr.Ino
	res := e.ok(exchangeReq(e.dir, "a", to, "b"))
	e.same("moved", res.Attr, e.attr(a))
	e.same("exchanged", res.Replaced, e.attr(b))
	x, err := e.sys.Vol.Lookup(e.ctx, to, "b")
	e.same("new name", []any{x.Ino, err}, []any{a, nil})
	y, err := e.sys.Vol.Lookup(e.ctx, e.dir, "a")
	e.same("old name", []any{y.Ino, err}, []any{b, nil})
	dirs := func(base uint32, typ uint32) uint32 {
		if typ == volume.ModeDir {
			return base + 1
		}
		return base
	}
	e.nlink(e.dir, dirs(3, with))
	e.nlink(to, dirs(2, typ))
	for ino, parent := range map[volume.Ino]volume.Ino{a: to, b: e.dir} {
		if e.attr(ino).Mode&volume.ModeType == volume.ModeDir {
			p, err := e.sys.Vol.ParentOf(e.ctx, ino)
			e.same("parent", []any{p, err}, []any{parent, nil})
		}
	}
}

func renameSpecials() []check {
	return []check{
		{"a full directory moves with all it holds", func(e *env) {
			f := e.fixture()
			e.rename(e.dir, "sub", f.empty, "moved")
			e.same("names", e.names(f.sub), []string{"x", "y"})
			e.nlink(f.sub, 3)
			e.nlink(f.empty, 3)
		}},
		{"a full directory over an empty one", func(e *env) {
			f := e.fixture()
			res := e.rename(e.dir, "sub", e.dir, "empty")
			e.same("displaced", res.Replaced.Ino, f.empty)
			e.same("names", e.names(f.sub), []string{"x", "y"})
			e.nlink(e.dir, 3)
		}},
		{"onto the same name", func(e *env) {
			f := e.fixture()
			e.nothing(renameReq(e.dir, "f", e.dir, "f"))
			e.nothing(renameReq(e.dir, "sub", e.dir, "sub"))
			e.nothing(exchangeReq(e.dir, "f", e.dir, "f"))
			e.same("answer", e.nothing(renameReq(e.dir, "f", e.dir, "f")).Attr, e.attr(f.f))
		}},
		{"onto another name of the same inode", func(e *env) {
			ino := e.file(e.dir, "a")
			e.link(ino, e.dir, "b")
			e.nothing(renameReq(e.dir, "a", e.dir, "b"))
			e.nothing(exchangeReq(e.dir, "a", e.dir, "b"))
			e.nlink(ino, 2)
			e.refuse(volume.Exists, noReplaceReq(e.dir, "a", e.dir, "b"))
		}},
		{"over one of several names", func(e *env) {
			e.file(e.dir, "a")
			b := e.file(e.dir, "b")
			e.link(b, e.dir, "c")
			res := e.rename(e.dir, "a", e.dir, "b")
			e.same("displaced", res.Replaced, e.attr(b))
			e.nlink(b, 1)
		}},
		{"over an open file keeps its content", func(e *env) {
			e.file(e.dir, "a")
			b := e.file(e.dir, "b")
			e.write(b, 0, "kept")
			closeIt := e.open(b)
			e.rename(e.dir, "a", e.dir, "b")
			e.nlink(b, 0)
			e.same("content", e.read(b, 0, 10), "kept")
			closeIt()
			_, err := e.sys.Vol.GetAttr(e.ctx, b)
			e.fails(volume.Stale, err, "after close")
		}},
		{"no-replace onto a free name", func(e *env) {
			ino := e.file(e.dir, "a")
			e.same("answer", e.ok(noReplaceReq(e.dir, "a", e.dir, "b")).Attr.Ino, ino)
		}},
		{"exchange in one directory swaps, and listing order follows", func(e *env) {
			a, b := e.file(e.dir, "a"), e.file(e.dir, "b")
			e.file(e.dir, "c")
			e.ok(exchangeReq(e.dir, "a", e.dir, "b"))
			e.same("names", e.names(e.dir), []string{"c", "b", "a"})
			x, err := e.sys.Vol.Lookup(e.ctx, e.dir, "a")
			e.same("a", []any{x.Ino, err}, []any{b, nil})
			y, err := e.sys.Vol.Lookup(e.ctx, e.dir, "b")
			e.same("b", []any{y.Ino, err}, []any{a, nil})
		}},
		{"exchange with an open file ends nothing", func(e *env) {
			e.file(e.dir, "a")
			b := e.file(e.dir, "b")
			closeIt := e.open(b)
			e.ok(exchangeReq(e.dir, "a", e.dir, "b"))
			closeIt()
			e.nlink(b, 1)
		}},
		{"deep chain, then the top below its sibling", func(e *env) {
			top := e.mkdir(e.dir, "top")
			d := top
			for range 30 {
				d = e.mkdir(d, "d")
			}
			side := e.mkdir(e.dir, "side")
			e.refuse(volume.Invalid, renameReq(e.dir, "top", d, "n"))
			e.rename(e.dir, "top", side, "n")
			e.refuse(volume.Invalid, renameReq(e.dir, "side", d, "n"))
			e.rename(top, "d", e.dir, "out")
			e.rename(e.dir, "side", d, "n")
		}},
		{"mode, owner, mtime and content of what moves stay", func(e *env) {
			f := e.fixture()
			before := e.attr(f.f)
			after := e.rename(e.dir, "f", f.sub, "g").Attr
			before.Ctime, before.Version = after.Ctime, after.Version
			e.same("attributes", after, before)
			e.same("content", e.read(f.f, 0, 10), "hello")
		}},
	}
}

func renameRefusals() []refusal {
	long := strings.Repeat("n", volume.MaxNameLen+1)
	rows := []refusal{
		{"no-replace with exchange", volume.Invalid, func(f *fixture) volume.Request {
			r := exchangeReq(f.dir, "f", f.dir, "l")
			r.Exclusive = true
			return r
		}},
		{"no-replace with exchange onto a free name", volume.Invalid, func(f *fixture) volume.Request {
			r := exchangeReq(f.dir, "f", f.dir, "free")
			r.Exclusive = true
			return r
		}},
		{"no-replace onto a taken name", volume.Exists, func(f *fixture) volume.Request { return noReplaceReq(f.dir, "f", f.dir, "l") }},
		{"no-replace of a directory onto a taken name", volume.Exists, func(f *fixture) volume.Request {
			return noReplaceReq(f.dir, "sub", f.dir, "f")
		}},
		{"exchange with a free name", volume.NotFound, func(f *fixture) volume.Request { return exchangeReq(f.dir, "f", f.dir, "free") }},
		{"exchange a directory with one below", volume.Invalid, func(f *fixture) volume.Request { return exchangeReq(f.dir, "sub", f.sub, "y") }},
		{"exchange with a directory above", volume.Invalid, func(f *fixture) volume.Request { return exchangeReq(f.sub, "y", f.dir, "sub") }},
		{"exchange a file with a directory above", volume.Invalid, func(f *fixture) volume.Request { return exchangeReq(f.sub, "x", f.dir, "sub") }},
		{"exchange with the reserved name", volume.NotPermitted, func(f *fixture) volume.Request {
			return exchangeReq(f.dir, "f", volume.RootIno, reservedName)
		}},
	}
	for _, mk := range []struct {
		name string
		req  func(volume.Ino, string, volume.Ino, string) volume.Request
	}{{"rename", renameReq}, {"no-replace", noReplaceReq}} {
		rows = append(rows, []refusal{
			{mk.name + " from an unknown directory", volume.Stale, func(f *fixture) volume.Request { return mk.req(f.never, "f", f.dir, "n") }},
			{mk.name + " from a file", volume.NotDir, func(f *fixture) volume.Request { return mk.req(f.f, "f", f.dir, "n") }},
			{mk.name + " from a removed directory", volume.NotFound, func(f *fixture) volume.Request { return mk.req(f.removed, "f", f.dir, "n") }},
			{mk.name + " a name that is not there", volume.NotFound, func(f *fixture) volume.Request { return mk.req(f.dir, "none", f.dir, "n") }},
			{mk.name + " a long name", volume.NameTooLong, func(f *fixture) volume.Request { return mk.req(f.dir, long, f.dir, "n") }},
			{mk.name + " .", volume.Invalid, func(f *fixture) volume.Request { return mk.req(f.dir, ".", f.dir, "n") }},
			{mk.name + " into an unknown directory", volume.Stale, func(f *fixture) volume.Request { return mk.req(f.dir, "f", f.never, "n") }},
			{mk.name + " into a file", volume.NotDir, func(f *fixture) volume.Request { return mk.req(f.dir, "f", f.x, "n") }},
			{mk.name + " into a removed directory", volume.NotFound, func(f *fixture) volume.Request { return mk.req(f.dir, "f", f.removed, "n") }},
			{mk.name + " to a long name", volume.NameTooLong, func(f *fixture) volume.Request { return mk.req(f.dir, "f", f.dir, long) }},
			{mk.name + " to an empty name", volume.NotFound, func(f *fixture) volume.Request { return mk.req(f.dir, "f", f.dir, "") }},
			{mk.name + " to ..", volume.Invalid, func(f *fixture) volume.Request { return mk.req(f.dir, "f", f.dir, "..") }},
			{mk.name + " to the reserved name", volume.NotPermitted, func(f *fixture) volume.Request {
				return mk.req(f.dir, "f", volume.RootIno, reservedName)
			}},
			{mk.name + " a directory into itself", volume.Invalid, func(f *fixture) volume.Request { return mk.req(f.dir, "sub", f.sub, "n") }},
			{mk.name + " a directory below itself", volume.Invalid, func(f *fixture) volume.Request { return mk.req(f.dir, "sub", f.y, "n") }},
		}...)
	}
	return append(rows, []refusal{
		{"over a directory above", volume.NotEmpty, func(f *fixture) volume.Request { return renameReq(f.sub, "y", f.dir, "sub") }},
		{"a file over a directory above", volume.NotEmpty, func(f *fixture) volume.Request { return renameReq(f.sub, "x", f.dir, "sub") }},
		{"over a full directory", volume.NotEmpty, func(f *fixture) volume.Request { return renameReq(f.dir, "empty", f.dir, "sub") }},
		{"a file over a full directory", volume.IsDir, func(f *fixture) volume.Request { return renameReq(f.dir, "f", f.dir, "sub") }},
		{"a directory onto a name in itself", volume.Invalid, func(f *fixture) volume.Request { return renameReq(f.dir, "sub", f.sub, "x") }},
	}...)
}
