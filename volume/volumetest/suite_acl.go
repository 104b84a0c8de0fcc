package volumetest

import (
	"fmt"

	"wolfdisk/volume"
)

func aclReq(ino volume.Ino, name string, a ACL) volume.Request {
	return volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: name, Data: a.Bytes()}
}

func aclChecks() []check {
	mask := func(perm uint16) ACLEntry { return ACLEntry{ACLMask, perm, noID} }
	user := ACLEntry{ACLUser, 7, 1000}
	group := ACLEntry{ACLGroup, 5, 100}
	var checks []check

	for _, row := range []struct {
		clause string
		acl    ACL
		before uint32
		want   uint32
	}{
		{"mode from owner, mask and other", MakeACL(0o751, user, mask(6)), 0o600, 0o761},
		{"mask alone", MakeACL(0o777, mask(0)), 0o777, 0o707},
		{"users and groups", MakeACL(0o640, user, user, group, group, mask(4)), 0, 0o640},
		{"special bits stay", MakeACL(0o700, user, mask(7)), 0o7755, 0o7770},
	} {
		for _, typ := range allTypes {
			if typ.mode == volume.ModeLink {
				continue
			}
			checks = append(checks, check{row.clause + " on a " + typ.name, func(e *env) {
				ino := e.ok(createReq(e.dir, "n", typ.mode|row.before)).Attr.Ino
				res := e.ok(aclReq(ino, volume.XattrACLAccess, row.acl))
				e.mode(ino, typ.mode|row.want)
				e.same("answer", res.Attr, e.attr(ino))
				e.same("ACL", e.xattr(ino, volume.XattrACLAccess), row.acl.Bytes())
			}})
		}
	}

	for _, row := range []struct{ mode, group, mask, other uint32 }{{0o640, 6, 4, 0}, {0o777, 6, 7, 7}, {0, 6, 0, 0}, {0o4711, 6, 1, 1}} {
		checks = append(checks, check{fmt.Sprintf("chmod %o changes owner, mask and other", row.mode), func(e *env) {
			ino := e.file(e.dir, "n")
			e.ok(aclReq(ino, volume.XattrACLAccess, MakeACL(0o765, user, mask(7))))
			e.chmod(ino, row.mode)
			want := MakeACL(row.mode&0o700|row.group<<3|row.other, user, mask(uint16(row.mask)))
			e.same("ACL", e.xattr(ino, volume.XattrACLAccess), want.Bytes())
			e.mode(ino, volume.ModeFile|row.mode)
		}})
	}

	checks = append(checks,
		check{"a minimal ACL is only a mode", func(e *env) {
			ino := e.file(e.dir, "n")
			res := e.ok(aclReq(ino, volume.XattrACLAccess, MakeACL(0o751)))
			e.same("version", e.attr(ino).Version, res.Version)
			e.mode(ino, volume.ModeFile|0o751)
			e.noXattr(ino, volume.XattrACLAccess)
		}},
		check{"a minimal ACL removes the one there is", func(e *env) {
			ino := e.file(e.dir, "n")
			e.ok(aclReq(ino, volume.XattrACLAccess, MakeACL(0o700, user, mask(7))))
			e.ok(aclReq(ino, volume.XattrACLAccess, MakeACL(0o640)))
			e.mode(ino, volume.ModeFile|0o640)
			e.noXattr(ino, volume.XattrACLAccess)
			e.chmod(ino, 0o777)
			e.noXattr(ino, volume.XattrACLAccess)
		}},
		check{"removing leaves the mode", func(e *env) {
			ino := e.file(e.dir, "n")
			e.ok(aclReq(ino, volume.XattrACLAccess, MakeACL(0o700, user, mask(6))))
			e.ok(removeXattrReq(ino, volume.XattrACLAccess))
			e.mode(ino, volume.ModeFile|0o760)
			e.noXattr(ino, volume.XattrACLAccess)
		}},
		check{"an ACL without entries removes", func(e *env) {
			for i, name := range []string{volume.XattrACLAccess, volume.XattrACLDefault} {
				dir := e.mkdir(e.dir, string(rune('a'+i)))
				e.nothing(aclReq(dir, name, nil))
				e.ok(aclReq(dir, name, MakeACL(0o700, user, mask(5))))
				before := e.attr(dir).Mode
				e.ok(aclReq(dir, name, nil))
				e.noXattr(dir, name)
				e.mode(dir, before)
			}
		}},
		check{"removing what is not there succeeds", func(e *env) {
			f := e.fixture()
			for _, ino := range []volume.Ino{f.f, f.sub, f.fifo} {
				e.nothing(removeXattrReq(ino, volume.XattrACLAccess))
				e.nothing(removeXattrReq(ino, volume.XattrACLDefault))
				e.nothing(aclReq(ino, volume.XattrACLDefault, nil))
			}
		}},
		check{"kill-priv clears setgid, with an access ACL only", func(e *env) {
			dir := e.create(e.dir, "d", volume.ModeDir|0o2755)
			r := aclReq(dir, volume.XattrACLDefault, MakeACL(0o700, user, mask(7)))
			r.KillPriv = true
			e.ok(r)
			e.mode(dir, volume.ModeDir|0o2755)
			r = aclReq(dir, volume.XattrACLAccess, MakeACL(0o700, user, mask(7)))
			e.ok(r)
			e.mode(dir, volume.ModeDir|0o2770)
			r.KillPriv = true
			e.ok(r)
			e.mode(dir, volume.ModeDir|0o770)
		}},
		check{"kill-priv with a minimal ACL", func(e *env) {
			ino := e.create(e.dir, "n", volume.ModeFile|0o6755)
			r := aclReq(ino, volume.XattrACLAccess, MakeACL(0o711))
			r.KillPriv = true
			e.ok(r)
			e.mode(ino, volume.ModeFile|0o4711)
		}},
		check{"a default ACL leaves the mode", func(e *env) {
			e.ok(aclReq(e.dir, volume.XattrACLDefault, MakeACL(0)))
			e.mode(e.dir, volume.ModeDir|0o755)
			e.same("ACL", e.xattr(e.dir, volume.XattrACLDefault), MakeACL(0).Bytes())
			e.chmod(e.dir, 0o700)
			e.same("ACL after chmod", e.xattr(e.dir, volume.XattrACLDefault), MakeACL(0).Bytes())
		}},
		check{"clearing setuid leaves the ACL", func(e *env) {
			ino := e.create(e.dir, "n", volume.ModeFile|0o4755)
			a := MakeACL(0o751, user, mask(5))
			e.ok(aclReq(ino, volume.XattrACLAccess, a))
			r := writeReq(ino, 0, "x")
			r.KillPriv = true
			e.ok(r)
			e.mode(ino, volume.ModeFile|0o751)
			e.same("ACL", e.xattr(ino, volume.XattrACLAccess), a.Bytes())
		}},
		check{"ACLs are listed", func(e *env) {
			e.ok(aclReq(e.dir, volume.XattrACLDefault, MakeACL(0o777)))
			e.ok(aclReq(e.dir, volume.XattrACLAccess, MakeACL(0o777, user, mask(7))))
			names, err := e.sys.Vol.ListXattr(e.ctx, e.dir)
			e.same("names", []any{names, err}, []any{[]string{volume.XattrACLAccess, volume.XattrACLDefault}, nil})
		}},
		check{"exclusive and replace", func(e *env) {
			a := MakeACL(0o700, user, mask(7))
			e.refuse(volume.NoXattr, replace(aclReq(e.dir, volume.XattrACLAccess, a)))
			e.ok(exclusive(aclReq(e.dir, volume.XattrACLAccess, a)))
			e.refuse(volume.Exists, exclusive(aclReq(e.dir, volume.XattrACLAccess, a)))
			e.ok(replace(aclReq(e.dir, volume.XattrACLAccess, a)))
		}},
		check{"chmod through a publish", func(e *env) {
			ino := e.staged()
			e.ok(aclReq(ino, volume.XattrACLAccess, MakeACL(0o700, user, mask(7))))
			e.ok(volume.Request{Kind: volume.OpPublish, Ino: ino, Parent: e.dir, Name: "n", Set: volume.SetMode, Mode: 0o640})
			e.same("ACL", e.xattr(ino, volume.XattrACLAccess), MakeACL(0o600, user, mask(4)).Bytes())
			e.mode(ino, volume.ModeFile|0o640)
		}},
	)
	return append(checks, refusals(aclRefusals())...)
}

func aclRefusals() []refusal {
	user, group := ACLEntry{ACLUser, 7, 1000}, ACLEntry{ACLGroup, 7, 100}
	mask := ACLEntry{ACLMask, 7, noID}
	full := MakeACL(0o777, user, group, mask)
	with := func(i int, e ACLEntry) ACL {
		a := append(ACL(nil), full...)
		a[i] = e
		return a
	}
	version := func(v byte) []byte {
		b := full.Bytes()
		b[0] = v
		return b
	}
	rows := []refusal{
		{"an access ACL on a symlink", volume.Unsupported, func(f *fixture) volume.Request { return aclReq(f.l, volume.XattrACLAccess, full) }},
		{"a default ACL on a symlink", volume.Unsupported, func(f *fixture) volume.Request { return aclReq(f.l, volume.XattrACLDefault, full) }},
		{"removing an ACL of a symlink", volume.Unsupported, func(f *fixture) volume.Request { return removeXattrReq(f.l, volume.XattrACLAccess) }},
		{"a default ACL on a file", volume.AccessDenied, func(f *fixture) volume.Request { return aclReq(f.f, volume.XattrACLDefault, full) }},
		{"a default ACL on a fifo", volume.AccessDenied, func(f *fixture) volume.Request { return aclReq(f.fifo, volume.XattrACLDefault, full) }},
		{"an ACL on an unknown inode", volume.Stale, func(f *fixture) volume.Request { return aclReq(f.never, volume.XattrACLAccess, full) }},
	}
	for _, row := range []struct {
		clause string
		value  []byte
	}{
		{"no bytes", nil},
		{"half a header", []byte{2, 0}},
		{"version 1", version(1)},
		{"version 3", version(3)},
		{"half an entry", full.Bytes()[:full2]},
		{"a byte too many", append(full.Bytes(), 0)},
		{"no owner", full[1:].Bytes()},
		{"no other", full[:len(full)-1].Bytes()},
		{"no group", append(MakeACL(0)[:1:1], MakeACL(0)[2]).Bytes()},
		{"a user without a mask", MakeACL(0o777, user).Bytes()},
		{"a group without a mask", MakeACL(0o777, group).Bytes()},
		{"an unknown tag", with(1, ACLEntry{0x40, 7, 1}).Bytes()},
		{"tag 0", with(0, ACLEntry{0, 7, 1}).Bytes()},
		{"unknown permissions", with(1, ACLEntry{ACLUser, 8, 1}).Bytes()},
		{"unknown permissions of other", with(len(full)-1, ACLEntry{ACLOther, 0x17, noID}).Bytes()},
		{"two owners", append(ACL{full[0]}, full...).Bytes()},
		{"two others", append(full[:len(full):len(full)], full[len(full)-1]).Bytes()},
		{"two masks", MakeACL(0o777, mask, mask).Bytes()},
		{"wrong order", ACL{full[1], full[0], full[2], full[3], full[4], full[5]}.Bytes()},
		{"mask before the group", ACL{full[0], full[4], full[2], full[5]}.Bytes()},
	} {
		rows = append(rows,
			refusal{"access ACL: " + row.clause, volume.Invalid, func(f *fixture) volume.Request {
				return volume.Request{Kind: volume.OpSetXattr, Ino: f.f, Name: volume.XattrACLAccess, Data: row.value}
			}},
			refusal{"default ACL: " + row.clause, volume.Invalid, func(f *fixture) volume.Request {
				return volume.Request{Kind: volume.OpSetXattr, Ino: f.sub, Name: volume.XattrACLDefault, Data: row.value}
			}})
	}
	return rows
}

// full2 cuts an ACL in the middle of its second entry.
const full2 = 4 + 8 + 3
