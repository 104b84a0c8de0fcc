package index

import (
	"encoding/binary"

	"wolfdisk/volume"
)

// POSIX ACLs in the form of Linux's extended attributes (linux/posix_acl_xattr.h):
// a 4-byte version, 2, then entries of tag, permission and ID, little-endian, in the
// order user, named users, group, named groups, mask, other. The rules are those of
// POSIX 1003.1e draft 17 as Linux applies them.

const (
	aclVersion  = 2
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// parseACL reads and checks an ACL. An empty one (no entries) is nil without error.
func parseACL(b []byte) ([]aclEntry, error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != aclVersion || (len(b)-4)%8 != 0 {
		return nil, volume.Invalid
	}
	var acl []aclEntry
	for b = b[4:]; len(b) > 0; b = b[8:] {
		e := aclEntry{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])}
		if e.perm&^7 != 0 {
			return nil, volume.Invalid
		}
		acl = append(acl, e)
	}
	if len(acl) == 0 {
		return nil, nil
	}
	return acl, checkACL(acl)
}

// checkACL is the order and completeness rule: posix_acl_valid of Linux.
func checkACL(acl []aclEntry) error {
	next := map[uint16][]uint16{
		0:           {aclUserObj},
		aclUserObj:  {aclUser, aclGroupObj},
		aclUser:     {aclUser, aclGroupObj},
		aclGroupObj: {aclGroup, aclMask, aclOther},
		aclGroup:    {aclGroup, aclMask},
		aclMask:     {aclOther},
	}
	state, needMask := uint16(0), false
	for _, e := range acl {
		ok := false
		for _, t := range next[state] {
			ok = ok || t == e.tag
		}
		if !ok || e.tag == aclOther && needMask && state != aclMask {
			return volume.Invalid
		}
		needMask = needMask || e.tag == aclUser || e.tag == aclGroup
		state = e.tag
	}
	if state != aclOther {
		return volume.Invalid
	}
	return nil
}

func formatACL(acl []aclEntry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range acl {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// aclMode is the permission bits an access ACL stands for, and whether they say all
// it says, so that no ACL need be kept.
func aclMode(acl []aclEntry) (mode uint32, equivalent bool) {
	equivalent = true
	group, mask := uint32(0), uint32(0)
	hasMask := false
	for _, e := range acl {
		switch e.tag {
		case aclUserObj:
			mode |= uint32(e.perm) << 6
		case aclGroupObj:
			group = uint32(e.perm)
		case aclOther:
			mode |= uint32(e.perm)
		case aclMask:
			mask, hasMask, equivalent = uint32(e.perm), true, false
		default:
			equivalent = false
		}
	}
	if hasMask {
		group = mask
	}
	return mode | group<<3, equivalent
}

// aclChmod is the access ACL after chmod: the class entries follow the mode.
func aclChmod(value []byte, mode uint32) ([]byte, error) {
	acl, err := parseACL(value)
	if err != nil {
		return nil, err
	}
	setClasses(acl, func(perm uint16, bits uint32) uint16 { return uint16(bits) }, mode)
	return formatACL(acl), nil
}

// setClasses applies f to the owner, group (the mask if there is one) and other
// entries, with their bits of mode.
func setClasses(acl []aclEntry, f func(perm uint16, bits uint32) uint16, mode uint32) {
	group := -1
	for i := range acl {
		switch e := &acl[i]; e.tag {
		case aclUserObj:
			e.perm = f(e.perm, mode>>6&7)
		case aclGroupObj:
			if group < 0 {
				group = i
			}
		case aclMask:
			group = i
		case aclOther:
			e.perm = f(e.perm, mode&7)
		}
	}
	if group >= 0 {
		acl[group].perm = f(acl[group].perm, mode>>3&7)
	}
}

// aclCreate is what an object created with mode in a directory with the given
// default ACL gets: its access ACL (nil if the mode says it all) and its mode.
func aclCreate(def []byte, mode uint32) (access []byte, newMode uint32, err error) {
	acl, err := parseACL(def)
	if err != nil || acl == nil {
		return nil, mode, err
	}
	setClasses(acl, func(perm uint16, bits uint32) uint16 { return perm & uint16(bits) }, mode)
	perm, equivalent := aclMode(acl)
	newMode = mode&^0o777 | perm
	if equivalent {
		return nil, newMode, nil
	}
	return formatACL(acl), newMode, nil
}
