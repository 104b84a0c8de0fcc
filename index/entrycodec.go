package index

import (
	"encoding/binary"
	"strings"

	"wolfdisk/volume"
)

// MaxEntryLen bounds an encoded Entry, bytes: the names of its attributes, of which
// each takes a length and a sum besides, its target, and the rest.
const MaxEntryLen = maxEntryXattrs*(3+len(Sum{})) + volume.MaxXattrsLen + volume.MaxTargetLen + volume.MaxNameLen + 256

// maxEntryXattrs bounds the attributes of an inode: a name has a byte and a NUL.
const maxEntryXattrs = volume.MaxXattrsLen / 2

// Append encodes the entry; docs/formats.md, "Comparison".
func (e *Entry) Append(b []byte) []byte {
	be := binary.BigEndian
	b = appendText(b, e.Name)
	b = be.AppendUint64(b, uint64(e.Ino))
	b = be.AppendUint32(b, e.Type)
	b = be.AppendUint64(b, e.Cookie)
	if !e.Found {
		return append(b, 0)
	}
	b = append(b, 1)
	a := &e.Attr
	for _, v := range [...]uint32{a.Mode, a.Nlink, a.UID, a.GID, a.Rdev} {
		b = be.AppendUint32(b, v)
	}
	b = be.AppendUint64(b, uint64(a.Size))
	for _, t := range [...]volume.Time{a.Atime, a.Mtime, a.Ctime, a.Btime} {
		b = be.AppendUint64(b, uint64(t.Sec))
		b = be.AppendUint32(b, t.Nsec)
	}
	b = be.AppendUint64(b, uint64(a.Version))
	b = be.AppendUint64(b, uint64(e.Parent))
	b = appendText(b, e.Target)
	b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
	for i := range e.Xattrs {
		b = appendText(b, e.Xattrs[i].Name)
		b = append(b, e.Xattrs[i].Sum[:]...)
	}
	b = append(b, e.Order[:]...)
	return append(b, e.Tree[:]...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// DecodeEntry decodes what another node sent. Nothing of b is kept.
func DecodeEntry(b []byte) (Entry, error) {
	r := &entryReader{b: b}
	var e Entry
	e.Name = r.text(volume.MaxNameLen)
	e.Ino = volume.Ino(r.u64())
	e.Type = r.u32()
	e.Cookie = r.u64()
	switch r.u8() {
	case 0:
		return e, r.end(&e)
	case 1:
		e.Found = true
	default:
		r.bad = true
	}
	a := &e.Attr
	a.Ino = e.Ino
	for _, p := range [...]*uint32{&a.Mode, &a.Nlink, &a.UID, &a.GID, &a.Rdev} {
		*p = r.u32()
	}
	a.Size = int64(r.u64())
	for _, p := range [...]*volume.Time{&a.Atime, &a.Mtime, &a.Ctime, &a.Btime} {
		p.Sec, p.Nsec = int64(r.u64()), r.u32()
	}
	a.Version = volume.Version(r.u64())
	e.Parent = volume.Ino(r.u64())
	e.Target = r.text(volume.MaxTargetLen)
	n := r.uvarint(maxEntryXattrs)
	if n > len(r.b)/len(Sum{}) {
		r.bad = true
	}
	for range n {
		if r.bad {
			break
		}
		e.Xattrs = append(e.Xattrs, XattrSum{Name: r.text(volume.MaxXattrNameLen), Sum: r.sum()})
	}
	e.Order, e.Tree = r.sum(), r.sum()
	return e, r.end(&e)
}

// entryReader takes bytes off the front; bad once there were too few.
type entryReader struct {
	b   []byte
	bad bool
}

func (r *entryReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *entryReader) u8() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *entryReader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (r *entryReader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (r *entryReader) sum() (s Sum) {
	copy(s[:], r.take(len(s)))
	return s
}

func (r *entryReader) uvarint(max int) int {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || v > uint64(max) {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *entryReader) text(max int) string { return string(r.take(r.uvarint(max))) }

// end checks that all was read, and the name, which becomes part of a path.
func (r *entryReader) end(e *Entry) error {
	if r.bad || len(r.b) > 0 {
		return volume.Errorf(volume.BadFormat, "a directory entry of the comparison cannot be decoded")
	}
	if strings.ContainsAny(e.Name, "/\x00") {
		return volume.Errorf(volume.BadFormat, "the comparison brought the name %q", e.Name)
	}
	return nil
}
