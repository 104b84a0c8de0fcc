package volumetest

import (
	"bytes"
	"fmt"
	"strings"

	"wolfdisk/volume"
)

func xattrReq(ino volume.Ino, name, value string) volume.Request {
	return volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: name, Data: []byte(value)}
}

func removeXattrReq(ino volume.Ino, name string) volume.Request {
	return volume.Request{Kind: volume.OpRemoveXattr, Ino: ino, Name: name}
}

func exclusive(r volume.Request) volume.Request {
	r.Exclusive = true
	return r
}

func replace(r volume.Request) volume.Request {
	r.Replace = true
	return r
}

func xattrChecks() []check {
	var checks []check
	for _, name := range []string{"user.a", "user." + strings.Repeat("n", volume.MaxXattrNameLen-5), "user.ü\xff", "user.a.b c", "trusted.t",
		"security.s", "security.selinux", volume.XattrCapability} {
		for _, typ := range []uint32{volume.ModeFile, volume.ModeDir} {
			checks = append(checks, check{fmt.Sprintf("set, replace, remove %.20q on type %o", name, typ), func(e *env) {
				ino := e.ok(createReq(e.dir, "n", typ|0o644)).Attr.Ino
				xattrLife(e, ino, name)
			}})
		}
	}
	for _, typ := range allTypes {
		checks = append(checks, check{"trusted and security on a " + typ.name, func(e *env) {
			ino := e.ok(createReq(e.dir, "n", typ.mode|0o644)).Attr.Ino
			xattrLife(e, ino, "trusted.t")
			xattrLife(e, ino, "security.s")
		}})
		if typ.mode == volume.ModeFile || typ.mode == volume.ModeDir {
			continue
		}
		checks = append(checks, check{"refuse user on a " + typ.name, func(e *env) {
			ino := e.ok(createReq(e.dir, "n", typ.mode|0o644)).Attr.Ino
			e.refuse(volume.NotPermitted, xattrReq(ino, "user.a", "v"))
			e.refuse(volume.NotPermitted, removeXattrReq(ino, "user.a"))
			e.noXattr(ino, "user.a")
		}})
	}
	for _, size := range []int{0, 1, 255, 256, 4096, volume.MaxXattrLen} {
		checks = append(checks, check{fmt.Sprintf("a value of %d bytes", size), func(e *env) {
			ino := e.file(e.dir, "n")
			value := bytes.Repeat([]byte{0, 0xff, 'x'}, size/3+1)[:size]
			e.setXattr(ino, "user.a", value)
			if got := e.xattr(ino, "user.a"); !bytes.Equal(got, value) {
				e.t.Errorf("value of %d bytes came back as %d other ones", size, len(got))
			}
		}})
	}
	for _, row := range badXattrNames() {
		checks = append(checks, check{fmt.Sprintf("get %.20q of %d bytes", row.name, len(row.name)), func(e *env) {
			ino := e.file(e.dir, "n")
			_, err := e.sys.Vol.GetXattr(e.ctx, ino, row.name)
			e.fails(row.want, err, "without attributes")
			e.setXattr(ino, "user.a", nil)
			_, err = e.sys.Vol.GetXattr(e.ctx, ino, row.name)
			e.fails(row.want, err, "with others")
		}})
	}
	checks = append(checks,
		check{"names are listed sorted", func(e *env) {
			ino := e.file(e.dir, "n")
			for _, name := range []string{"user.c", "trusted.z", "user.a", "security.m", "user.b"} {
				e.setXattr(ino, name, []byte(name))
			}
			names, err := e.sys.Vol.ListXattr(e.ctx, ino)
			e.same("names", []any{names, err}, []any{[]string{"security.m", "trusted.z", "user.a", "user.b", "user.c"}, nil})
		}},
		check{"a value is a copy", func(e *env) {
			ino := e.file(e.dir, "n")
			e.setXattr(ino, "user.a", []byte("value"))
			copy(e.xattr(ino, "user.a"), "XXXXX")
			e.same("value", string(e.xattr(ino, "user.a")), "value")
		}},
		check{"mtime, mode and size stay", func(e *env) {
			f := e.fixture()
			before := e.attr(f.f)
			res := e.setXattr(f.f, "user.a", nil)
			before.Ctime, before.Version = res.Attr.Ctime, res.Version
			e.same("attributes", res.Attr, before)
		}},
		check{"the same value again is an op", func(e *env) {
			ino := e.file(e.dir, "n")
			v := e.setXattr(ino, "user.a", []byte("v")).Version
			if w := e.setXattr(ino, "user.a", []byte("v")).Version; w <= v {
				e.t.Errorf("version %d after %d", w, v)
			}
		}},
		check{"all names of a link have them, and a rename keeps them", func(e *env) {
			ino := e.file(e.dir, "n")
			e.setXattr(ino, "user.a", []byte("v"))
			e.rename(e.dir, "n", e.dir, "m")
			e.link(ino, e.dir, "l")
			e.unlink(e.dir, "m")
			e.same("value", string(e.xattr(ino, "user.a")), "v")
		}},
		check{"a deleted open file", func(e *env) {
			f := e.fixture()
			xattrLife(e, f.deleted, "user.a")
		}},
		check{"names are limited in sum", func(e *env) {
			ino := e.file(e.dir, "n")
			name := func(i int) string { return fmt.Sprintf("user.%s%04d", strings.Repeat("n", 246), i) }
			for i := range volume.MaxXattrsLen / 256 {
				e.setXattr(ino, name(i), nil)
			}
			e.refuse(volume.NoSpace, xattrReq(ino, "user.a", ""))
			e.setXattr(ino, name(0), []byte("what is there can be changed"))
			e.ok(removeXattrReq(ino, name(1)))
			e.setXattr(ino, "user.a", nil)
		}},
	)
	return append(checks, refusals(xattrRefusals())...)
}

// xattrLife sets, replaces and removes an attribute, with all flags.
func xattrLife(e *env, ino volume.Ino, name string) {
	e.t.Helper()
	e.noXattr(ino, name)
	e.refuse(volume.NoXattr, replace(xattrReq(ino, name, "0")))
	e.refuse(volume.NoXattr, removeXattrReq(ino, name))
	e.ok(exclusive(xattrReq(ino, name, "1")))
	e.same("value", string(e.xattr(ino, name)), "1")
	e.refuse(volume.Exists, exclusive(xattrReq(ino, name, "2")))
	e.ok(replace(xattrReq(ino, name, "3")))
	e.same("value", string(e.xattr(ino, name)), "3")
	e.ok(xattrReq(ino, name, "4"))
	e.same("value", string(e.xattr(ino, name)), "4")
	names, err := e.sys.Vol.ListXattr(e.ctx, ino)
	e.same("list", err, nil)
	if !strings.Contains("\x00"+strings.Join(names, "\x00")+"\x00", "\x00"+name+"\x00") {
		e.t.Errorf("%q is not listed: %q", name, names)
	}
	e.ok(removeXattrReq(ino, name))
	e.noXattr(ino, name)
}

func xattrRefusals() []refusal {
	rows := []refusal{
		{"set on an unknown inode", volume.Stale, func(f *fixture) volume.Request { return xattrReq(f.never, "user.a", "") }},
		{"set on an ended inode", volume.Stale, func(f *fixture) volume.Request { return xattrReq(f.ended, "user.a", "") }},
		{"remove on an unknown inode", volume.Stale, func(f *fixture) volume.Request { return removeXattrReq(f.never, "user.a") }},
		{"a value that is too long", volume.XattrTooBig, func(f *fixture) volume.Request {
			return xattrReq(f.f, "user.a", strings.Repeat("v", volume.MaxXattrLen+1))
		}},
		{"a long name before a long value", volume.OutOfRange, func(f *fixture) volume.Request {
			return xattrReq(f.f, "user."+strings.Repeat("n", 300), strings.Repeat("v", volume.MaxXattrLen+1))
		}},
		{"exclusive and replace, there", volume.Exists, func(f *fixture) volume.Request {
			f.setXattr(f.f, "user.a", nil)
			return replace(exclusive(xattrReq(f.f, "user.a", "")))
		}},
		{"exclusive and replace, not there", volume.NoXattr, func(f *fixture) volume.Request {
			return replace(exclusive(xattrReq(f.f, "user.a", "")))
		}},
	}
	for _, row := range badXattrNames() {
		rows = append(rows,
			refusal{fmt.Sprintf("set %.20q of %d bytes", row.name, len(row.name)), row.want, func(f *fixture) volume.Request { return xattrReq(f.f, row.name, "v") }},
			refusal{fmt.Sprintf("remove %.20q of %d bytes", row.name, len(row.name)), row.want, func(f *fixture) volume.Request { return removeXattrReq(f.f, row.name) }})
	}
	return rows
}

// badXattrNames are names that no attribute can have.
func badXattrNames() []badXattrName {
	return []badXattrName{
		{"", volume.OutOfRange},
		{"user." + strings.Repeat("n", volume.MaxXattrNameLen-4), volume.OutOfRange},
		{"user.a\x00b", volume.OutOfRange},
		{"user.", volume.Invalid},
		{"trusted.", volume.Invalid},
		{"security.", volume.Invalid},
		{"user", volume.Unsupported},
		{"system.other", volume.Unsupported},
		{"system.posix_acl_access2", volume.Unsupported},
		{"system.", volume.Unsupported},
		{"User.a", volume.Unsupported},
		{"nothing", volume.Unsupported},
		{"other.a", volume.Unsupported},
		{".a", volume.Unsupported},
	}
}

type badXattrName struct {
	name string
	want volume.Kind
}
