package volumetest

import (
	"fmt"

	"wolfdisk/volume"
)

const noID = ^uint32(0)

// createACLChecks prove what is made in a directory with a default ACL.
func createACLChecks() []check {
	mask := func(perm uint16) ACLEntry { return ACLEntry{ACLMask, perm, noID} }
	user := func(perm uint16) ACLEntry { return ACLEntry{ACLUser, perm, 1000} }
	group := func(perm uint16) ACLEntry { return ACLEntry{ACLGroup, perm, 100} }
	rows := []struct {
		clause   string
		def      ACL
		typ      uint32
		mode     uint32
		umask    uint32
		wantMode uint32
		want     ACL // nil: no access ACL
	}{
		{"minimal ACL gives a mode", MakeACL(0o750), volume.ModeFile, 0o666, 0, 0o640, nil},
		{"umask does not count", MakeACL(0o777), volume.ModeFile, 0o666, 0o077, 0o666, nil},
		{"mode cuts the ACL", MakeACL(0o777, user(7), mask(7)), volume.ModeFile, 0o640, 0, 0o640, MakeACL(0o670, user(7), mask(4))},
		{"ACL cuts the mode", MakeACL(0o500, user(7), mask(5)), volume.ModeFile, 0o777, 0, 0o550, MakeACL(0o500, user(7), mask(5))},
		{"mask stands for the group", MakeACL(0o770, group(6), mask(7)), volume.ModeFile, 0o606, 0, 0o600, MakeACL(0o670, group(6), mask(0))},
		{"setuid and sticky stay", MakeACL(0o777, user(7), mask(7)), volume.ModeFile, 0o7755, 0o777, 0o7755, MakeACL(0o775, user(7), mask(5))},
		{"fifo", MakeACL(0o777, user(6), mask(6)), volume.ModeFIFO, 0o666, 0, 0o666, MakeACL(0o676, user(6), mask(6))},
		{"socket", MakeACL(0o700, user(6), mask(6)), volume.ModeSocket, 0o666, 0, 0o660, MakeACL(0o600, user(6), mask(6))},
		{"device", MakeACL(0o700), volume.ModeChar, 0o666, 0, 0o600, nil},
		{"directory", MakeACL(0o777, user(7), mask(7)), volume.ModeDir, 0o755, 0o077, 0o755, MakeACL(0o775, user(7), mask(5))},
		{"directory, minimal ACL", MakeACL(0o750), volume.ModeDir, 0o777, 0, 0o750, nil},
		{"symlink inherits nothing", MakeACL(0o700, user(7), mask(7)), volume.ModeLink, 0o777, 0, 0o777, nil},
	}
	var checks []check
	for _, row := range rows {
		checks = append(checks, check{row.clause, func(e *env) {
			e.setXattr(e.dir, volume.XattrACLDefault, row.def.Bytes())
			r := createReq(e.dir, "n", row.typ|row.mode)
			r.Umask = row.umask
			ino := e.ok(r).Attr.Ino
			e.mode(ino, row.typ|row.wantMode)
			if row.want == nil {
				e.noXattr(ino, volume.XattrACLAccess)
			} else {
				e.same("access ACL", e.xattr(ino, volume.XattrACLAccess), row.want.Bytes())
			}
			if row.typ == volume.ModeDir {
				e.same("default ACL", e.xattr(ino, volume.XattrACLDefault), row.def.Bytes())
			} else {
				e.noXattr(ino, volume.XattrACLDefault)
			}
		}})
	}
	// Every mode against every mask: the lock-step with the model is the judge.
	checks = append(checks, check{"all modes of the group class", func(e *env) {
		for perm := range uint16(8) {
			dir := e.mkdir(e.dir, fmt.Sprintf("d%d", perm))
			e.setXattr(dir, volume.XattrACLDefault, MakeACL(0o777, user(7), mask(perm)).Bytes())
			for mode := range uint32(8) {
				a := e.ok(createReq(dir, fmt.Sprintf("n%d", mode), volume.ModeFile|0o700|mode<<3)).Attr
				e.same("group class", a.Mode&0o070>>3, mode&uint32(perm))
			}
		}
	}})
	return append(checks,
		check{"a directory passes the default ACL on", func(e *env) {
			def := MakeACL(0o775, user(5), mask(7)).Bytes()
			e.setXattr(e.dir, volume.XattrACLDefault, def)
			a := e.mkdir(e.dir, "a")
			b := e.mkdir(a, "b")
			e.same("default ACL", e.xattr(b, volume.XattrACLDefault), def)
		}},
		check{"nameless with a parent inherits", func(e *env) {
			e.setXattr(e.dir, volume.XattrACLDefault, MakeACL(0o770, user(6), mask(7)).Bytes())
			r := createReq(e.dir, "", volume.ModeFile|0o666)
			r.Umask = 0o777
			ino := e.ok(r).Attr.Ino
			e.mode(ino, volume.ModeFile|0o660)
			e.same("access ACL", e.xattr(ino, volume.XattrACLAccess), MakeACL(0o670, user(6), mask(6)).Bytes())
		}},
		check{"nameless without a parent has none", func(e *env) {
			e.setXattr(e.dir, volume.XattrACLDefault, MakeACL(0o770, user(6), mask(7)).Bytes())
			ino := e.staged()
			e.link(ino, e.dir, "n")
			e.noXattr(ino, volume.XattrACLAccess)
		}},
		check{"setgid and default ACL together", func(e *env) {
			e.ok(volume.Request{Kind: volume.OpSetAttr, Ino: e.dir, Set: volume.SetMode | volume.SetGID, Mode: 0o2775, GID: 9})
			e.setXattr(e.dir, volume.XattrACLDefault, MakeACL(0o770, user(6), mask(7)).Bytes())
			a := e.ok(createReq(e.dir, "d", volume.ModeDir|0o777)).Attr
			e.same("mode and group", []uint32{a.Mode, a.GID}, []uint32{volume.ModeDir | 0o2770, 9})
		}},
	)
}
