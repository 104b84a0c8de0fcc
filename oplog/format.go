package oplog

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// FormatVersion is the version of frames and segments written here.
const FormatVersion = 1

// Compression kinds of a frame's payload.
const (
	compressNone byte = 0
	compressLZ4  byte = 1 // one LZ4 block, whatever level made it

	compressEnd = compressLZ4 + 1
)

// The frame header; all integers are little-endian.
//
//	 0  4  magic "WDfr"
//	 4  1  format version
//	 5  1  compression kind
//	 6  2  flags, all 0 in version 1
//	 8  2  header length, bytes
//	10  1  length of the leader ID, bytes
//	11  1  0
//	12  4  op count
//	16  4  raw length: of the payload before compression, bytes
//	20  4  stored length: of the payload as it follows the header, bytes
//	24  8  version of the first op
//	32  8  version that was durable at the leader when the frame was written
//	40  8  epoch number
//	48  4  epoch tag
//	52  4  0
//	56 16  digest before the first op
//	72 16  digest after the last op
//	88  8  XXH3-64 of the stored payload
//	96  n  leader ID, padded with zeros to a multiple of 8
//	    8  XXH3-64 of the header up to here
const (
	frameMagic     = "WDfr"
	frameFixedLen  = 96
	checksumLen    = 8
	minFrameHeader = frameFixedLen + 8 + checksumLen
	maxFrameHeader = frameFixedLen + (volume.MaxNodeIDLen+7)/8*8 + checksumLen

	// minOpLen is less than any op's encoding: an array of at least seven fields
	// and its head.
	minOpLen = 8
	// lz4MaxRatio bounds what LZ4 can make of one stored byte, so that a declared
	// raw length is known to be a lie before a buffer of that length is made.
	lz4MaxRatio = 255
)

// MaxFrameLen bounds a frame on disk and on the wire, header included, in bytes.
const MaxFrameLen = maxFrameHeader + volume.MaxOpLen

// FrameOverhead is the most that a frame adds to its ops' encodings, in bytes.
const FrameOverhead = maxFrameHeader

// Header is a frame's header, checked in itself.
type Header struct {
	First, Last  volume.Version
	Epoch        volume.Epoch
	Prev, Digest volume.Digest  // before the first op, and after the last
	Durable      volume.Version // durable at the leader when the frame was written
	Count        int            // ops
	HeaderLen    int            // bytes
	RawLen       int            // payload before compression, bytes
	StoredLen    int            // payload as it follows the header, bytes
	compression  byte
	checksum     uint64
}

// Len is the length of the whole frame in bytes.
func (h *Header) Len() int { return h.HeaderLen + h.StoredLen }

// Compressed reports whether the payload is stored compressed.
func (h *Header) Compressed() bool { return h.compression != compressNone }

func headerLen(leader string) int { return frameFixedLen + (len(leader)+7)/8*8 + checksumLen }

// putHeader writes h to the first h.HeaderLen bytes of b.
func putHeader(b []byte, h *Header) {
	le := binary.LittleEndian
	b = b[:h.HeaderLen]
	clear(b)
	copy(b, frameMagic)
	b[4] = FormatVersion
	b[5] = h.compression
	le.PutUint16(b[8:], uint16(h.HeaderLen))
	b[10] = byte(len(h.Epoch.Leader))
	le.PutUint32(b[12:], uint32(h.Count))
	le.PutUint32(b[16:], uint32(h.RawLen))
	le.PutUint32(b[20:], uint32(h.StoredLen))
	le.PutUint64(b[24:], uint64(h.First))
	le.PutUint64(b[32:], uint64(h.Durable))
	le.PutUint64(b[40:], h.Epoch.Number)
	le.PutUint32(b[48:], h.Epoch.Tag)
	copy(b[56:], h.Prev[:])
	copy(b[72:], h.Digest[:])
	le.PutUint64(b[88:], h.checksum)
	copy(b[frameFixedLen:], h.Epoch.Leader)
	end := h.HeaderLen - checksumLen
	le.PutUint64(b[end:], xxh3.Hash(b[:end]))
}

// ParseHeader reads and checks the header at the beginning of b, which may hold
// less or more than the frame. BadFormat, WrongVersion.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	err := parseHeader(b, &h, "")
	return h, err
}

// parseHeader is ParseHeader; leader is a string to use if the leader ID equals
// it, instead of allocating another one.
func parseHeader(b []byte, h *Header, leader string) error {
	bad := func(format string, args ...any) error {
		return volume.Errorf(volume.BadFormat, "frame header: %s", fmt.Sprintf(format, args...))
	}
	le := binary.LittleEndian
	if len(b) < minFrameHeader {
		return bad("only %d bytes", len(b))
	}
	if string(b[:4]) != frameMagic {
		return bad("magic is %x", b[:4])
	}
	if b[4] != FormatVersion {
		return volume.Errorf(volume.WrongVersion, "frame header: format version %d, known is %d", b[4], FormatVersion)
	}
	leaderLen := int(b[10])
	hl := int(le.Uint16(b[8:]))
	if leaderLen == 0 || leaderLen > volume.MaxNodeIDLen || hl != frameFixedLen+(leaderLen+7)/8*8+checksumLen {
		return bad("length %d with a leader ID of %d", hl, leaderLen)
	}
	if len(b) < hl {
		return bad("only %d of %d bytes", len(b), hl)
	}
	end := hl - checksumLen
	if le.Uint64(b[end:]) != xxh3.Hash(b[:end]) {
		return bad("checksum does not match")
	}
	*h = Header{
		First:       volume.Version(le.Uint64(b[24:])),
		Durable:     volume.Version(le.Uint64(b[32:])),
		Epoch:       volume.Epoch{Number: le.Uint64(b[40:]), Tag: le.Uint32(b[48:])},
		Prev:        volume.Digest(b[56:72]),
		Digest:      volume.Digest(b[72:88]),
		HeaderLen:   hl,
		compression: b[5],
		checksum:    le.Uint64(b[88:]),
	}
	if id := b[frameFixedLen : frameFixedLen+leaderLen]; string(id) == leader {
		h.Epoch.Leader = leader
	} else {
		h.Epoch.Leader = string(id)
	}
	count, raw, stored := le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint32(b[20:])
	if count == 0 || count > volume.MaxFrameOps {
		return bad("%d ops", count)
	}
	if raw > volume.MaxOpLen || count > 1 && raw > volume.MaxFrameRaw || raw < count*minOpLen || stored > raw {
		return bad("raw length %d, stored %d, of %d ops", raw, stored, count)
	}
	h.Count, h.RawLen, h.StoredLen = int(count), int(raw), int(stored)
	h.Last = h.First + volume.Version(count) - 1
	return h.checkRanges(b, bad)
}

func (h *Header) checkRanges(b []byte, bad func(string, ...any) error) error {
	switch {
	case h.compression >= compressEnd:
		return bad("unknown compression %d", h.compression)
	case h.compression == compressNone && h.StoredLen != h.RawLen:
		return bad("%d bytes stored of %d, not compressed", h.StoredLen, h.RawLen)
	case h.compression == compressLZ4 && (h.StoredLen == 0 || h.RawLen > lz4MaxRatio*h.StoredLen):
		return bad("%d bytes stored cannot hold %d", h.StoredLen, h.RawLen)
	case b[6] != 0 || b[7] != 0 || b[11] != 0 || string(b[52:56]) != "\x00\x00\x00\x00":
		return bad("unknown flags")
	case h.First == 0 || h.Last < h.First:
		return bad("first version %d with %d ops", h.First, h.Count)
	case h.Durable >= h.First:
		return bad("version %d durable before %d was written", h.Durable, h.First)
	}
	if err := checkEpoch(h.Epoch); err != nil {
		return bad("%v", err)
	}
	for _, c := range b[frameFixedLen+len(h.Epoch.Leader) : h.HeaderLen-checksumLen] {
		if c != 0 {
			return bad("padding is not zero")
		}
	}
	return nil
}

func checkEpoch(e volume.Epoch) error {
	if e.Number == 0 {
		return volume.Errorf(volume.Invalid, "epoch number 0")
	}
	if e.Tag >= 1<<volume.InoTagBits {
		return volume.Errorf(volume.Invalid, "epoch tag %#x has more than %d bits", e.Tag, volume.InoTagBits)
	}
	return volume.CheckNodeID(e.Leader)
}
