package s3

import (
	"encoding/binary"
	"strings"

	"wolfdisk/volume"
)

// What the gateway knows of an object lies in its attribute volume.XattrObject: one
// byte, the format (1), and then fields, each
//
//	tag     1 byte
//	length  uvarint
//	value
//
// in the order of their tags. A field that a reader does not know is skipped. Pairs
// are a uvarint length and a name, and the same for the value.
//
// Of a part's checksum see partsums.go.
const metaFormat = 1

const (
	tagKind     = 1 // 1 byte
	tagETag     = 2
	tagModified = 3 // seconds (8), nanoseconds (4), big-endian
	tagHeader   = 4 // pair, once per header
	tagUser     = 5 // pair, once per x-amz-meta-
	tagTag      = 6 // pair, once per tag
	tagSum      = 7 // algorithm (1), composite (1), value
	tagParts    = 8 // runs of equal parts: uvarint count, uvarint size
	tagMade     = 9 // the gateway made this directory
)

// Kinds of what has the attribute.
const (
	kindObject   byte = 1 // a file, as it was put
	kindExplicit byte = 2 // a directory that was put as "name/"
	kindImplicit byte = 3 // a directory that was made for an object below it
	kindBucket   byte = 5 // a bucket that was given tags
	kindTagged   byte = 4 // a file that came otherwise, and was given tags here
)

// Limits of what clients give, bytes; S3's own where it has one. What is read is not held
// to them: of headers up to 8 KiB were taken once.
const (
	maxUserMeta  = 2 << 10
	maxHeaders   = 2 << 10
	maxTags      = 10
	maxTagKey    = 128 // characters
	maxTagValue  = 256 // characters
	maxMetaPairs = 512
)

type pair struct{ name, value string }

// sum is a checksum of an object.
type sum struct {
	algo      algo
	composite bool // of the parts' sums; otherwise of the content
	value     []byte
}

// run is a number of parts of equal size, bytes.
type run struct {
	count int
	size  int64
}

// meta is what the gateway knows of an object beyond its attributes.
type meta struct {
	kind     byte
	etag     string // without quotes
	modified volume.Time
	headers  []pair // system metadata, canonical names
	user     []pair // without x-amz-meta-, lower case
	tags     []pair // in the client's order
	sums     []sum
	parts    []run // of an object that came in parts
	made     bool
}

func appendField(b []byte, tag byte, value ...[]byte) []byte {
	n := 0
	for _, v := range value {
		n += len(v)
	}
	b = binary.AppendUvarint(append(b, tag), uint64(n))
	for _, v := range value {
		b = append(b, v...)
	}
	return b
}

func appendPair(b []byte, tag byte, p pair) []byte {
	v := binary.AppendUvarint(nil, uint64(len(p.name)))
	v = append(v, p.name...)
	v = binary.AppendUvarint(v, uint64(len(p.value)))
	return appendField(b, tag, append(v, p.value...))
}

func (m *meta) encode() []byte {
	b := appendField([]byte{metaFormat}, tagKind, []byte{m.kind})
	if m.etag != "" {
		b = appendField(b, tagETag, []byte(m.etag))
	}
	if m.modified != (volume.Time{}) {
		t := binary.BigEndian.AppendUint64(nil, uint64(m.modified.Sec))
		b = appendField(b, tagModified, binary.BigEndian.AppendUint32(t, m.modified.Nsec))
	}
	for _, p := range m.headers {
		b = appendPair(b, tagHeader, p)
	}
	for _, p := range m.user {
		b = appendPair(b, tagUser, p)
	}
	for _, p := range m.tags {
		b = appendPair(b, tagTag, p)
	}
	for _, s := range m.sums {
		c := byte(0)
		if s.composite {
			c = 1
		}
		b = appendField(b, tagSum, []byte{byte(s.algo), c}, s.value)
	}
	if len(m.parts) > 0 {
		var v []byte
		for _, r := range m.parts {
			v = binary.AppendUvarint(v, uint64(r.count))
			v = binary.AppendUvarint(v, uint64(r.size))
		}
		b = appendField(b, tagParts, v)
	}
	if m.made {
		b = appendField(b, tagMade)
	}
	return b
}

// fields reads what appendField wrote, and calls fn for each; BadFormat.
func fields(b []byte, fn func(tag byte, value []byte) bool) error {
	for len(b) > 0 {
		n, k := binary.Uvarint(b[1:])
		if k <= 0 || n > uint64(len(b)-1-k) {
			return volume.Errorf(volume.BadFormat, "metadata of an object: a field of %d bytes in %d", n, len(b))
		}
		end := 1 + k + int(n)
		if !fn(b[0], b[1+k:end]) {
			return volume.Errorf(volume.BadFormat, "metadata of an object: field %d", b[0])
		}
		b = b[end:]
	}
	return nil
}

func cutText(b []byte) (s string, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return "", nil, false
	}
	return string(b[k : k+int(n)]), b[k+int(n):], true
}

func decodePair(b []byte) (p pair, ok bool) {
	if p.name, b, ok = cutText(b); !ok {
		return p, false
	}
	p.value, b, ok = cutText(b)
	return p, ok && len(b) == 0
}

// decodeMeta reads an attribute's value; BadFormat.
func decodeMeta(b []byte) (*meta, error) {
	if len(b) == 0 || b[0] != metaFormat {
		return nil, volume.Errorf(volume.WrongVersion, "metadata of an object in a format that is not known here")
	}
	m := &meta{}
	pairs := 0
	addPair := func(list *[]pair, v []byte) bool {
		p, ok := decodePair(v)
		*list = append(*list, p)
		pairs++
		return ok && pairs <= maxMetaPairs
	}
	err := fields(b[1:], func(tag byte, v []byte) bool {
		switch tag {
		case tagKind:
			if len(v) != 1 {
				return false
			}
			m.kind = v[0]
		case tagETag:
			m.etag = string(v)
		case tagModified:
			if len(v) != 12 {
				return false
			}
			m.modified = volume.Time{Sec: int64(binary.BigEndian.Uint64(v)), Nsec: binary.BigEndian.Uint32(v[8:])}
			return m.modified.Nsec < 1e9
		case tagHeader:
			return addPair(&m.headers, v)
		case tagUser:
			return addPair(&m.user, v)
		case tagTag:
			return addPair(&m.tags, v)
		case tagSum:
			if len(v) < 2 || !algo(v[0]).valid() || len(v)-2 != algo(v[0]).size() {
				return false
			}
			m.sums = append(m.sums, sum{algo(v[0]), v[1] != 0, append([]byte(nil), v[2:]...)})
			return len(m.sums) <= 8
		case tagParts:
			var ok bool
			m.parts, ok = decodeRuns(v)
			return ok
		case tagMade:
			m.made = true
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

func decodeRuns(b []byte) (runs []run, ok bool) {
	total := 0
	for len(b) > 0 {
		count, k := binary.Uvarint(b)
		if k <= 0 || count == 0 || count > maxParts {
			return nil, false
		}
		size, k2 := binary.Uvarint(b[k:])
		if k2 <= 0 || size > volume.MaxFileSize {
			return nil, false
		}
		b = b[k+k2:]
		if total += int(count); total > maxParts {
			return nil, false
		}
		runs = append(runs, run{int(count), int64(size)})
	}
	return runs, true
}

// addPart notes one more part.
func (m *meta) addPart(size int64) {
	if n := len(m.parts); n > 0 && m.parts[n-1].size == size {
		m.parts[n-1].count++
		return
	}
	m.parts = append(m.parts, run{1, size})
}

// partCount is the number of parts; 0 of an object that came whole.
func (m *meta) partCount() (n int) {
	for _, r := range m.parts {
		n += r.count
	}
	return n
}

// partRange is where the n-th part lies, from 1.
func (m *meta) partRange(n int) (off, length int64, ok bool) {
	for _, r := range m.parts {
		if n <= r.count {
			return off + int64(n-1)*r.size, r.size, true
		}
		off += int64(r.count) * r.size
		n -= r.count
	}
	return 0, 0, false
}

// header is a header of the system metadata; "" if it was not given.
func (m *meta) header(name string) string {
	for _, p := range m.headers {
		if strings.EqualFold(p.name, name) {
			return p.value
		}
	}
	return ""
}
