package oplog

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// The segment header; all integers are little-endian. The link to the previous
// segment lets recovery check the chain without reading whole segments.
//
//	  0  8  magic "WDoplog" and a zero
//	  8  4  format version
//	 12  4  header length, bytes
//	 16 16  volume ID
//	 32  8  first version
//	 40  8  previous position: epoch number
//	 48  4  its tag
//	 52  1  length of its leader ID, bytes
//	 56  8  its version
//	 64 16  its digest
//	 80 64  its leader ID, padded with zeros
//	144  8  first version of the previous segment; 0 if there was none
//	152  8  where the previous segment's last frame begins, bytes
//	160  8  where it ends, bytes
//	168  8  version that was durable when the segment was begun
//	176 72  0
//	248  8  XXH3-64 of the header up to here
const (
	segmentMagic     = "WDoplog\x00"
	segmentHeaderLen = 256
	segmentSuffix    = ".seg"
)

// segmentHeader is what the head of a segment file says.
type segmentHeader struct {
	volume    volume.ID
	first     volume.Version
	prev      volume.Position // what the first frame follows; version first-1
	prevFirst volume.Version  // the previous segment, 0 if none
	prevLast  int64           // offset of its last frame
	prevEnd   int64           // offset of its end
	durable   volume.Version
}

func (h *segmentHeader) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, segmentHeaderLen)
	copy(b, segmentMagic)
	le.PutUint32(b[8:], FormatVersion)
	le.PutUint32(b[12:], segmentHeaderLen)
	copy(b[16:], h.volume[:])
	le.PutUint64(b[32:], uint64(h.first))
	le.PutUint64(b[40:], h.prev.Epoch.Number)
	le.PutUint32(b[48:], h.prev.Epoch.Tag)
	b[52] = byte(len(h.prev.Epoch.Leader))
	le.PutUint64(b[56:], uint64(h.prev.Version))
	copy(b[64:], h.prev.Digest[:])
	copy(b[80:144], h.prev.Epoch.Leader)
	le.PutUint64(b[144:], uint64(h.prevFirst))
	le.PutUint64(b[152:], uint64(h.prevLast))
	le.PutUint64(b[160:], uint64(h.prevEnd))
	le.PutUint64(b[168:], uint64(h.durable))
	le.PutUint64(b[248:], xxh3.Hash(b[:248]))
	return b
}

// parseSegmentHeader reads the head of a segment. BadFormat for damage,
// WrongVersion for a format that is not known here.
func parseSegmentHeader(b []byte) (segmentHeader, error) {
	var h segmentHeader
	bad := func(format string, args ...any) error {
		return volume.Errorf(volume.BadFormat, "segment header: %s", fmt.Sprintf(format, args...))
	}
	le := binary.LittleEndian
	if len(b) < segmentHeaderLen {
		return h, bad("only %d bytes", len(b))
	}
	b = b[:segmentHeaderLen]
	if string(b[:8]) != segmentMagic {
		return h, bad("magic is %x", b[:8])
	}
	if v := le.Uint32(b[8:]); v != FormatVersion {
		return h, volume.Errorf(volume.WrongVersion, "segment header: format version %d, known is %d", v, FormatVersion)
	}
	if le.Uint64(b[248:]) != xxh3.Hash(b[:248]) {
		return h, bad("checksum does not match")
	}
	leaderLen := int(b[52])
	if le.Uint32(b[12:]) != segmentHeaderLen || leaderLen > volume.MaxNodeIDLen {
		return h, bad("lengths out of range")
	}
	h = segmentHeader{
		volume: volume.ID(b[16:32]),
		first:  volume.Version(le.Uint64(b[32:])),
		prev: volume.Position{
			Epoch:   volume.Epoch{Number: le.Uint64(b[40:]), Tag: le.Uint32(b[48:]), Leader: string(b[80 : 80+leaderLen])},
			Version: volume.Version(le.Uint64(b[56:])),
			Digest:  volume.Digest(b[64:80]),
		},
		prevFirst: volume.Version(le.Uint64(b[144:])),
		prevLast:  int64(le.Uint64(b[152:])),
		prevEnd:   int64(le.Uint64(b[160:])),
		durable:   volume.Version(le.Uint64(b[168:])),
	}
	if err := checkPosition(h.prev); err != nil {
		return h, bad("%v", err)
	}
	if h.first == 0 || h.first != h.prev.Version+1 || h.durable > h.prev.Version || h.prevFirst >= h.first ||
		h.prevFirst != 0 && (h.prevLast < segmentHeaderLen || h.prevEnd <= h.prevLast) {
		return h, bad("versions or offsets out of range")
	}
	return h, nil
}

// checkPosition says whether a log can begin behind a position.
func checkPosition(p volume.Position) error {
	if p.Version == 0 {
		if p != (volume.Position{}) {
			return volume.Errorf(volume.Invalid, "position %s: version 0 belongs to no epoch", p)
		}
		return nil
	}
	if p.Version == ^volume.Version(0) {
		return volume.Errorf(volume.Invalid, "position %s: version out of range", p)
	}
	return checkEpoch(p.Epoch)
}

// segmentName is the file name of the segment that begins with a version.
func segmentName(first volume.Version) string {
	return fmt.Sprintf("%016x%s", uint64(first), segmentSuffix)
}

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (volume.Version, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	v, err := strconv.ParseUint(digits, 16, 64)
	return volume.Version(v), err == nil && v != 0 && segmentName(volume.Version(v)) == name
}
