package admin

import (
	"fmt"
	"unicode/utf8"

	"wolfdisk/volume"
)

// OpLine is one op of the log, without its content, for people and scripts.
type OpLine struct {
	Version   uint64 `json:"version"`
	Time      string `json:"time"` // RFC 3339 with nanoseconds, UTC
	Kind      string `json:"kind"`
	Ino       uint64 `json:"ino,omitempty"`
	Parent    uint64 `json:"parent,omitempty"`
	Name      string `json:"name,omitempty"`
	NewParent uint64 `json:"new_parent,omitempty"`
	NewName   string `json:"new_name,omitempty"`
	Target    string `json:"target,omitempty"`
	// RawName, RawNewName and RawTarget are the bytes of those that are no UTF-8
	// and cannot stand in JSON as they are.
	RawName    []byte `json:"raw_name,omitempty"`
	RawNewName []byte `json:"raw_new_name,omitempty"`
	RawTarget  []byte `json:"raw_target,omitempty"`
	Replaced   uint64 `json:"replaced,omitempty"`
	Offset     *int64 `json:"offset,omitempty"`
	Length     *int64 `json:"length,omitempty"`
	Size       *int64 `json:"size,omitempty"`
	Mode       string `json:"mode,omitempty"` // octal
	UID        uint32 `json:"uid"`            // who asked
	GID        uint32 `json:"gid"`
	Front      string `json:"front"`            // through which front end
	Client     string `json:"client,omitempty"` // of a forwarded request
	Detail     string `json:"detail,omitempty"` // what is particular to the kind
}

// OpLineOf describes an op.
func OpLineOf(op *volume.Op) OpLine {
	l := OpLine{
		Version: uint64(op.Version), Time: timeText(op.Time), Kind: op.Kind.String(),
		Ino: uint64(op.Ino), Parent: uint64(op.Parent), NewParent: uint64(op.NewParent), Replaced: uint64(op.Replaced),
		UID: op.Caller.UID, GID: op.Caller.GID, Front: op.Caller.Front.String(), Client: op.Caller.Client,
	}
	l.Name, l.RawName = nameText(op.Name)
	l.NewName, l.RawNewName = nameText(op.NewName)
	l.Target, l.RawTarget = nameText(op.Target)
	if op.Kind == volume.OpCreate || op.Mask&volume.SetMode != 0 {
		l.Mode = fmt.Sprintf("%04o", op.Mode)
	}
	switch op.Kind {
	case volume.OpWrite:
		l.Offset, l.Length = new(op.Offset), new(int64(len(op.Data)))
	case volume.OpFallocate:
		l.Offset, l.Length = new(op.Offset), new(op.Length)
	case volume.OpCopyChunks:
		off, length, _ := op.ContentRange()
		l.Offset, l.Length = &off, &length
	case volume.OpTruncate:
		l.Size = new(op.Size)
	case volume.OpSetXattr:
		l.Length = new(int64(len(op.Data)))
	}
	l.Detail = opDetail(op)
	return l
}

func opDetail(op *volume.Op) string {
	switch op.Kind {
	case volume.OpRename:
		if op.Flags&volume.OpExchange != 0 {
			return "exchange"
		}
	case volume.OpFallocate:
		switch {
		case op.Alloc&volume.FallocPunchHole != 0:
			return "punch hole"
		case op.Alloc&volume.FallocZeroRange != 0:
			return "zero range"
		}
	case volume.OpReign:
		return "epoch " + op.Epoch.String()
	case volume.OpMember:
		text := "member " + op.Member.ID + ", " + op.Member.Role.String()
		if op.Member.Removed {
			text += ", removed"
		}
		return text
	}
	return ""
}

// timeText writes any time; RFC 3339 ends with the year 9999.
func timeText(t volume.Time) string {
	const year9999, year0 = 253402300800, -62167219200
	if t.Sec >= year9999 || t.Sec < year0 {
		return fmt.Sprintf("@%d.%09d", t.Sec, t.Nsec)
	}
	return t.Std().Format("2006-01-02T15:04:05.000000000Z")
}

// nameText splits a name into what JSON can carry, and its bytes if that is not all.
func nameText(s string) (text string, raw []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return fmt.Sprintf("%+q", s), []byte(s)
}
