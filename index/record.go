package index

import (
	"encoding/binary"

	"wolfdisk/volume"
)

// Flags of an inode record.
const (
	fNamelessBorn uint8 = 1 << iota // created without a name: may still be linked
	fHasXattrs                      // may have extended attributes
	fHasACL                         // has an access ACL
	fHasDefault                     // a directory with a default ACL
	fHasCaps                        // has security.capability
	fEnded                          // has ended, and is only read any more by who has it open here
	fHoles                          // Attr.Holes
	fHasObject                      // a file that may have attributes that tell of its content
)

// inode is one inode record, decoded.
type inode struct {
	volume.Attr
	flags   uint8
	parent  volume.Ino // of a directory
	entries uint32     // of a directory
}

const inodeLen = 4*5 + 8 + 4*12 + 8 + 1 + 8 + 4

func (n *inode) encode() []byte {
	b := make([]byte, 0, inodeLen)
	le := binary.LittleEndian
	for _, v := range [...]uint32{n.Mode, n.Nlink, n.UID, n.GID, n.Rdev} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint64(b, uint64(n.Size))
	for _, t := range [...]volume.Time{n.Atime, n.Mtime, n.Ctime, n.Btime} {
		b = le.AppendUint64(b, uint64(t.Sec))
		b = le.AppendUint32(b, t.Nsec)
	}
	b = le.AppendUint64(b, uint64(n.Version))
	flags := n.flags
	if n.Holes {
		flags |= fHoles
	}
	b = append(b, flags)
	b = le.AppendUint64(b, uint64(n.parent))
	return le.AppendUint32(b, n.entries)
}

func decodeInode(ino volume.Ino, b []byte) (inode, error) {
	if len(b) != inodeLen {
		return inode{}, volume.Errorf(volume.Corrupt, "index: inode %s: record of %d bytes", ino, len(b))
	}
	le := binary.LittleEndian
	var n inode
	n.Ino = ino
	for _, p := range [...]*uint32{&n.Mode, &n.Nlink, &n.UID, &n.GID, &n.Rdev} {
		*p, b = le.Uint32(b), b[4:]
	}
	n.Size, b = int64(le.Uint64(b)), b[8:]
	for _, p := range [...]*volume.Time{&n.Atime, &n.Mtime, &n.Ctime, &n.Btime} {
		p.Sec, p.Nsec, b = int64(le.Uint64(b)), le.Uint32(b[8:]), b[12:]
	}
	n.Version, b = volume.Version(le.Uint64(b)), b[8:]
	n.flags, n.Holes, b = b[0]&^fHoles, b[0]&fHoles != 0, b[1:]
	n.parent, b = volume.Ino(le.Uint64(b)), b[8:]
	n.entries = le.Uint32(b)
	return n, nil
}

// dirent is the value of a d key, and with the name appended that of a c key.
type dirent struct {
	ino    volume.Ino
	typ    uint32
	cookie uint64
}

const direntLen = 8 + 1 + 8

func (d dirent) encode(name string) []byte {
	b := make([]byte, 0, direntLen+len(name))
	b = binary.LittleEndian.AppendUint64(b, uint64(d.ino))
	b = append(b, byte(d.typ>>12))
	b = binary.LittleEndian.AppendUint64(b, d.cookie)
	return append(b, name...)
}

func decodeDirent(b []byte) (dirent, string, error) {
	if len(b) < direntLen {
		return dirent{}, "", volume.Errorf(volume.Corrupt, "index: directory entry of %d bytes", len(b))
	}
	return dirent{
		ino:    volume.Ino(binary.LittleEndian.Uint64(b)),
		typ:    uint32(b[8]) << 12,
		cookie: binary.LittleEndian.Uint64(b[9:]),
	}, string(b[direntLen:]), nil
}

// Kinds of extents in the store.
const (
	extLog byte = iota
	extChunk
)

func encodeExtent(e volume.Extent) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(e.Len))
	if e.InLog {
		b = append(b, extLog)
		b = binary.LittleEndian.AppendUint64(b, e.Log.Segment)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Log.Frame))
		return binary.LittleEndian.AppendUint32(b, e.Log.Offset)
	}
	b = append(b, extChunk)
	b = append(b, e.Chunk.ID[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(e.Chunk.Offset))
}

func decodeExtent(off int64, b []byte) (volume.Extent, error) {
	bad := volume.Errorf
	if len(b) < 9 {
		return volume.Extent{}, bad(volume.Corrupt, "index: extent of %d bytes", len(b))
	}
	e := volume.Extent{Off: off, Len: int64(binary.LittleEndian.Uint64(b))}
	kind, b := b[8], b[9:]
	switch {
	case kind == extLog && len(b) == 20:
		e.InLog = true
		e.Log = volume.LogRef{
			Segment: binary.LittleEndian.Uint64(b),
			Frame:   int64(binary.LittleEndian.Uint64(b[8:])),
			Offset:  binary.LittleEndian.Uint32(b[16:]),
		}
	case kind == extChunk && len(b) == 40:
		copy(e.Chunk.ID[:], b)
		e.Chunk.Offset = int64(binary.LittleEndian.Uint64(b[32:]))
		e.Chunk.Length = e.Len
	default:
		return e, bad(volume.Corrupt, "index: extent of kind %d with %d bytes", kind, len(b))
	}
	if off < 0 || e.Len <= 0 || e.Len > maxExtentLen || off > volume.MaxFileSize-e.Len {
		return e, bad(volume.Corrupt, "index: extent at %d of length %d", off, e.Len)
	}
	return e, nil
}

// cutExtent is the part of e inside [off, end).
func cutExtent(e volume.Extent, off, end int64) volume.Extent {
	if skip := off - e.Off; skip > 0 {
		e.Off, e.Len = e.Off+skip, e.Len-skip
		if e.InLog {
			e.Log.Offset += uint32(skip)
		} else if !e.Chunk.IsHole() {
			e.Chunk.Offset += skip
		}
	}
	if over := e.Off + e.Len - end; over > 0 {
		e.Len -= over
	}
	e.Chunk.Length = 0
	if !e.InLog {
		e.Chunk.Length = e.Len
	}
	return e
}

// meta is the value of the m key.
type meta struct {
	pos      volume.Position
	time     volume.Time // of the last op
	files    uint64      // inodes with a name, the root among them
	bytes    uint64      // sum of sizes of regular files
	inoTag   uint32      // tag of the present epoch
	inoCount uint32      // last counter given out in it
}

const metaFormat = 1

func (m *meta) encode() []byte {
	le := binary.LittleEndian
	b := []byte{metaFormat}
	b = le.AppendUint64(b, uint64(m.pos.Version))
	b = append(b, m.pos.Digest[:]...)
	b = le.AppendUint64(b, uint64(m.time.Sec))
	b = le.AppendUint32(b, m.time.Nsec)
	b = le.AppendUint64(b, m.files)
	b = le.AppendUint64(b, m.bytes)
	b = le.AppendUint32(b, m.inoTag)
	b = le.AppendUint32(b, m.inoCount)
	return appendEpoch(b, m.pos.Epoch)
}

func appendEpoch(b []byte, e volume.Epoch) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.Number)
	b = binary.LittleEndian.AppendUint32(b, e.Tag)
	return append(append(b, byte(len(e.Leader))), e.Leader...)
}

func cutEpoch(b []byte) (e volume.Epoch, rest []byte, ok bool) {
	if len(b) < 13 || len(b) < 13+int(b[12]) {
		return e, b, false
	}
	e.Number = binary.LittleEndian.Uint64(b)
	e.Tag = binary.LittleEndian.Uint32(b[8:])
	n := int(b[12])
	e.Leader = string(b[13 : 13+n])
	return e, b[13+n:], true
}

func decodeMeta(b []byte) (meta, error) {
	const fixed = 1 + 8 + volume.DigestLen + 12 + 16 + 8
	var m meta
	if len(b) < fixed {
		return m, volume.Errorf(volume.Corrupt, "index: state record of %d bytes", len(b))
	}
	if b[0] != metaFormat {
		return m, volume.Errorf(volume.WrongVersion, "index: format %d, this program knows %d", b[0], metaFormat)
	}
	le := binary.LittleEndian
	m.pos.Version, b = volume.Version(le.Uint64(b[1:])), b[9:]
	b = b[copy(m.pos.Digest[:], b):]
	m.time.Sec, m.time.Nsec, b = int64(le.Uint64(b)), le.Uint32(b[8:]), b[12:]
	m.files, m.bytes, b = le.Uint64(b), le.Uint64(b[8:]), b[16:]
	m.inoTag, m.inoCount, b = le.Uint32(b), le.Uint32(b[4:]), b[8:]
	var ok bool
	if m.pos.Epoch, _, ok = cutEpoch(b); !ok {
		return m, volume.Errorf(volume.Corrupt, "index: state record cut short")
	}
	return m, nil
}

func encodeReign(r volume.Reign) []byte {
	b := appendEpoch(nil, r.Epoch)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Participants)))
	for _, p := range r.Participants {
		b = append(append(b, byte(len(p))), p...)
	}
	return b
}

func decodeReign(first volume.Version, b []byte) (volume.Reign, error) {
	r := volume.Reign{First: first}
	bad := volume.Errorf(volume.Corrupt, "index: reign record of version %d cut short", first)
	var ok bool
	if r.Epoch, b, ok = cutEpoch(b); !ok || len(b) < 2 {
		return r, bad
	}
	n := int(binary.LittleEndian.Uint16(b))
	for b = b[2:]; n > 0; n-- {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return r, bad
		}
		r.Participants = append(r.Participants, string(b[1:1+b[0]]))
		b = b[1+b[0]:]
	}
	return r, nil
}

// memberRemoved is a bit of the byte of the role.
const memberRemoved = 0x80

func encodeMember(m volume.Member) []byte {
	role := byte(m.Role)
	if m.Removed {
		role |= memberRemoved
	}
	b := append([]byte(nil), m.Store[:]...)
	return append(append(b, role), m.Address...)
}

func decodeMember(id string, b []byte) (volume.Member, error) {
	m := volume.Member{ID: id}
	if len(b) < len(m.Store)+1 {
		return m, volume.Errorf(volume.Corrupt, "index: member %q: record cut short", id)
	}
	copy(m.Store[:], b)
	role := b[len(m.Store)]
	m.Role, m.Removed = volume.Role(role&^memberRemoved), role&memberRemoved != 0
	m.Address = string(b[len(m.Store)+1:])
	return m, nil
}
