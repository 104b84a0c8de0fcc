package volumetest

import (
	"encoding/binary"

	"wolfdisk/volume"
)

// Tags of an ACL's entries, as in Linux's extended attributes.
const (
	ACLUserObj  = 0x01 // the owner
	ACLUser     = 0x02 // a named user
	ACLGroupObj = 0x04 // the owning group
	ACLGroup    = 0x08 // a named group
	ACLMask     = 0x10 // the most that all but owner and other can have
	ACLOther    = 0x20
)

// ACLEntry is one entry of an ACL.
type ACLEntry struct {
	Tag, Perm uint16
	ID        uint32 // of a named user or group; otherwise ^uint32(0)
}

// ACL is a POSIX access control list.
type ACL []ACLEntry

// MakeACL is an ACL with the permission bits of mode and further entries in
// between; a mask among them takes its place before the last.
func MakeACL(mode uint32, named ...ACLEntry) ACL {
	a := ACL{{ACLUserObj, uint16(mode >> 6 & 7), ^uint32(0)}}
	add := func(tag uint16) {
		for _, e := range named {
			if e.Tag == tag {
				a = append(a, e)
			}
		}
	}
	add(ACLUser)
	a = append(a, ACLEntry{ACLGroupObj, uint16(mode >> 3 & 7), ^uint32(0)})
	add(ACLGroup)
	add(ACLMask)
	return append(a, ACLEntry{ACLOther, uint16(mode & 7), ^uint32(0)})
}

// Bytes is the attribute's value.
func (a ACL) Bytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range a {
		b = binary.LittleEndian.AppendUint16(b, e.Tag)
		b = binary.LittleEndian.AppendUint16(b, e.Perm)
		b = binary.LittleEndian.AppendUint32(b, e.ID)
	}
	return b
}

// parseACL reads an attribute's value; ok is false if it is no ACL. One without
// entries is one.
func parseACL(b []byte) (a ACL, ok bool) {
	if len(b) < 4 || len(b)%8 != 4 || binary.LittleEndian.Uint32(b) != 2 {
		return nil, false
	}
	for b = b[4:]; len(b) > 0; b = b[8:] {
		a = append(a, ACLEntry{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])})
	}
	return a, len(a) == 0 || a.valid()
}

// valid checks that there is one owner, any users, one group, any groups, a mask if
// there are users or groups, one other, in this order.
func (a ACL) valid() bool {
	at := 0
	run := func(tag uint16) (n int) {
		for at < len(a) && a[at].Tag == tag && a[at].Perm <= 7 {
			at, n = at+1, n+1
		}
		return n
	}
	owner, users, group, groups, mask, other := run(ACLUserObj), run(ACLUser), run(ACLGroupObj), run(ACLGroup), run(ACLMask), run(ACLOther)
	return at == len(a) && owner == 1 && group == 1 && other == 1 && mask <= 1 && (mask == 1 || users+groups == 0)
}

// minimal reports whether it says no more than a mode.
func (a ACL) minimal() bool { return len(a) == 3 }

// classes are the entries that stand for the owner, group and other bits of a mode.
func (a ACL) classes() (owner, group, other *ACLEntry) {
	for i := range a {
		switch a[i].Tag {
		case ACLUserObj:
			owner = &a[i]
		case ACLGroupObj:
			group = &a[i]
		case ACLOther:
			other = &a[i]
		}
	}
	for i := range a {
		if a[i].Tag == ACLMask {
			group = &a[i]
		}
	}
	return owner, group, other
}

// mode is the permission bits that go with a valid ACL.
func (a ACL) mode() uint32 {
	owner, group, other := a.classes()
	return uint32(owner.Perm)<<6 | uint32(group.Perm)<<3 | uint32(other.Perm)
}

// chmod is a valid ACL's value after a change of mode.
func (a ACL) chmod(mode uint32) []byte {
	b := append(ACL(nil), a...)
	owner, group, other := b.classes()
	owner.Perm, group.Perm, other.Perm = uint16(mode>>6&7), uint16(mode>>3&7), uint16(mode&7)
	return b.Bytes()
}

// inherit is what an object made in a directory with the given default ACL gets.
func inherit(def []byte, perm uint32, isDir bool) (newPerm uint32, xattrs []volume.Xattr) {
	a, ok := parseACL(def)
	if !ok || len(a) == 0 {
		return perm, nil
	}
	owner, group, other := a.classes()
	owner.Perm &= uint16(perm >> 6 & 7)
	group.Perm &= uint16(perm >> 3 & 7)
	other.Perm &= uint16(perm & 7)
	if !a.minimal() {
		xattrs = append(xattrs, volume.Xattr{Name: volume.XattrACLAccess, Value: a.Bytes()})
	}
	if isDir {
		xattrs = append(xattrs, volume.Xattr{Name: volume.XattrACLDefault, Value: def})
	}
	return perm&^0o777 | a.mode(), xattrs
}
