package index

import (
	"bytes"
	"fmt"
	"testing"

	"wolfdisk/volume"
)

const noID = ^uint32(0)

func acl(entries ...aclEntry) []byte { return formatACL(entries) }

func uo(p uint16) aclEntry            { return aclEntry{aclUserObj, p, noID} }
func us(id uint32, p uint16) aclEntry { return aclEntry{aclUser, p, id} }
func gr(id uint32, p uint16) aclEntry { return aclEntry{aclGroup, p, id} }
func gOb(p uint16) aclEntry           { return aclEntry{aclGroupObj, p, noID} }
func ma(p uint16) aclEntry            { return aclEntry{aclMask, p, noID} }
func ot(p uint16) aclEntry            { return aclEntry{aclOther, p, noID} }

func TestParseACL(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  []byte
		ok   bool
		n    int
	}{
		{"nothing", nil, false, 0},
		{"short version", []byte{2, 0, 0}, false, 0},
		{"version 1", []byte{1, 0, 0, 0}, false, 0},
		{"version 3", []byte{3, 0, 0, 0}, false, 0},
		{"no entries", []byte{2, 0, 0, 0}, true, 0},
		{"base", acl(uo(7), gOb(5), ot(0)), true, 3},
		{"base with a mask", acl(uo(7), gOb(5), ma(7), ot(0)), true, 4},
		{"all", acl(uo(7), us(1, 1), us(2, 2), gOb(5), gr(1, 1), gr(9, 7), ma(7), ot(0)), true, 8},
		{"half an entry", acl(uo(7), gOb(5), ot(0))[:24], false, 0},
		{"named user without a mask", acl(uo(7), us(1, 1), gOb(5), ot(0)), false, 0},
		{"named group without a mask", acl(uo(7), gOb(5), gr(1, 1), ot(0)), false, 0},
		{"no owner", acl(gOb(5), ot(0)), false, 0},
		{"no group", acl(uo(5), ot(0)), false, 0},
		{"no other", acl(uo(5), gOb(0)), false, 0},
		{"ends with the mask", acl(uo(5), gOb(0), ma(1)), false, 0},
		{"two owners", acl(uo(5), uo(5), gOb(0), ot(0)), false, 0},
		{"two others", acl(uo(5), gOb(0), ot(0), ot(0)), false, 0},
		{"two masks", acl(uo(5), gOb(0), ma(1), ma(1), ot(0)), false, 0},
		{"group before user", acl(uo(5), gOb(0), us(1, 1), ma(1), ot(0)), false, 0},
		{"permission out of range", acl(uo(8), gOb(0), ot(0)), false, 0},
		{"unknown tag", acl(uo(7), gOb(0), aclEntry{0x40, 1, 1}, ma(1), ot(0)), false, 0},
	} {
		got, err := parseACL(c.raw)
		if c.ok != (err == nil) || len(got) != c.n && c.ok {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		if err != nil {
			wantKind(t, c.name, err, volume.Invalid)
		} else if len(got) > 0 && !bytes.Equal(formatACL(got), c.raw) {
			t.Errorf("%s: becomes %x", c.name, formatACL(got))
		}
	}
}

func TestACLMode(t *testing.T) {
	for _, c := range []struct {
		acl  []aclEntry
		mode uint32
		all  bool
	}{
		{[]aclEntry{uo(7), gOb(5), ot(1)}, 0o751, true},
		{[]aclEntry{uo(6), gOb(5), ma(2), ot(1)}, 0o621, false},
		{[]aclEntry{uo(6), us(1, 7), gOb(5), ma(4), ot(0)}, 0o640, false},
	} {
		if mode, all := aclMode(c.acl); mode != c.mode || all != c.all {
			t.Errorf("%v: %o, %t, want %o, %t", c.acl, mode, all, c.mode, c.all)
		}
	}
}

func TestACLChmod(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		mode uint32
		want []byte
	}{
		{acl(uo(7), gOb(7), ot(7)), 0o641, acl(uo(6), gOb(4), ot(1))},
		{acl(uo(7), us(1, 7), gOb(7), ma(7), ot(7)), 0o641, acl(uo(6), us(1, 7), gOb(7), ma(4), ot(1))},
		{acl(uo(0), gOb(0), gr(3, 6), ma(0), ot(0)), 0o4777, acl(uo(7), gOb(0), gr(3, 6), ma(7), ot(7))},
	} {
		got, err := aclChmod(c.in, c.mode)
		if err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("chmod %o of %x: %x, %v, want %x", c.mode, c.in, got, err, c.want)
		}
	}
	_, err := aclChmod([]byte("?"), 0)
	wantKind(t, "damaged ACL", err, volume.Invalid)
}

// The table follows posix_acl_create of Linux: the bits of the mode that are asked for
// are cut by the default ACL, and its classes by the mode.
func TestACLCreate(t *testing.T) {
	for _, c := range []struct {
		def    []byte
		mode   uint32
		access []byte
		want   uint32
	}{
		{acl(), volume.ModeFile | 0o666, nil, volume.ModeFile | 0o666},
		{acl(uo(7), gOb(5), ot(0)), volume.ModeFile | 0o666, nil, volume.ModeFile | 0o640},
		{acl(uo(7), gOb(7), ot(7)), volume.ModeDir | 0o2700, nil, volume.ModeDir | 0o2700},
		{acl(uo(7), us(9, 7), gOb(5), ma(7), ot(5)), 0o644, acl(uo(6), us(9, 7), gOb(5), ma(4), ot(4)), 0o644},
		{acl(uo(6), us(9, 7), gOb(5), ma(3), ot(1)), 0o777, acl(uo(6), us(9, 7), gOb(5), ma(3), ot(1)), 0o631},
	} {
		access, mode, err := aclCreate(c.def, c.mode)
		if err != nil || mode != c.want || !bytes.Equal(access, c.access) {
			t.Errorf("create %o under %x: %x, %o, %v, want %x, %o", c.mode, c.def, access, mode, err, c.access, c.want)
		}
	}
	_, _, err := aclCreate([]byte{2}, 0)
	wantKind(t, "damaged ACL", err, volume.Invalid)
}

func FuzzACL(f *testing.F) {
	f.Add(acl(uo(7), us(1, 1), gOb(5), gr(1, 1), ma(7), ot(0)), uint32(0o640))
	f.Fuzz(func(t *testing.T, b []byte, mode uint32) {
		list, err := parseACL(b)
		if err != nil || list == nil {
			return
		}
		out, err := aclChmod(b, mode)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseACL(out)
		if err != nil {
			t.Fatalf("%x is no ACL: %v", out, err)
		}
		if got, _ := aclMode(again); got != mode&0o777 {
			t.Errorf("chmod %o gives %o", mode&0o777, got)
		}
		access, m, err := aclCreate(b, mode)
		if err != nil || m&^mode != 0 {
			t.Errorf("create with %o gives %o, %v", mode, m, err)
		}
		if access != nil {
			if _, err := parseACL(access); err != nil {
				t.Errorf("%x is no ACL: %v", access, err)
			}
		}
	})
}

// An ACL follows the mode through whatever op sets it, also in one batch.
func TestModeMovesACL(t *testing.T) {
	for _, together := range []bool{false, true} {
		e := openEngine(t, Options{})
		f := newFeeder(t, e)
		a := acl(uo(7), us(1, 7), gOb(7), ma(7), ot(7))
		ops := []*volume.Op{
			file(2, "a"),
			{Kind: volume.OpSetXattr, Ino: 2, Name: volume.XattrACLAccess, Data: a, Mask: volume.SetMode, Mode: 0o777},
			{Kind: volume.OpSetAttr, Ino: 2, Mask: volume.SetMode, Mode: 0o4640},
		}
		if together {
			f.enter(ops...)
		} else {
			for _, op := range ops {
				f.enter(op)
			}
		}
		got, err := e.GetXattr(2, volume.XattrACLAccess)
		want := acl(uo(6), us(1, 7), gOb(7), ma(4), ot(0))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("together %t: %x, %v, want %x", together, got, err, want)
		}
		f.enter(&volume.Op{Kind: volume.OpRemoveXattr, Ino: 2, Name: volume.XattrACLAccess})
		f.enter(&volume.Op{Kind: volume.OpSetAttr, Ino: 2, Mask: volume.SetMode, Mode: 0o600})
		if at, err := e.GetAttr(2); err != nil || at.Mode != volume.ModeFile|0o600 {
			t.Error(fmt.Sprintf("%o", at.Mode), err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
