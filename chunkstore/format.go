package chunkstore

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// All numbers are little-endian. A pack is
//
//	header    64 bytes
//	record    64 bytes and its payload, any number of them
//	index     a record of kind index, then one 48-byte item per chunk record
//	trailer   32 bytes, the last of the file
//
// Index and trailer exist once the pack is sealed. Every checksum is seeded with
// volume, pack number and offset (salt.at).
//
//	header    0 magic "WDPACK\r\n"   8 version u32   12 pack number u32   16 volume ID
//	          32 chunk size u32   36 zeros   56 checksum of 0..56
//	record    0 magic "WDck"   4 kind u8   5 zeros   8 raw length u32   12 stored length u32
//	          16 chunk ID   48 checksum of the payload, without seed   56 checksum of 0..56
//	item      0 chunk ID   32 offset u32   36 raw length u32   40 stored length u32   44 kind u8   45 zeros
//	trailer   0 magic "WDPKEND\n"   8 offset of the index record u64   16 items u32   20 zeros
//	          24 checksum of 0..24
//
// The index record has the number of items as raw length and zeros as ID. A skip
// record covers bytes without meaning, and has no checksum of them.
const (
	formatVersion = 1

	headerLen  = 64
	recordLen  = 64
	itemLen    = 48
	trailerLen = 32

	packMagic    = "WDPACK\r\n"
	recordMagic  = "WDck"
	trailerMagic = "WDPKEND\n"

	packSuffix = ".pack"
	tempSuffix = ".tmp"

	// MaxPackSize bounds Options.PackSize, in bytes: offsets are 32 bits wide, and a
	// pack is the unit of compaction.
	MaxPackSize = 1 << 30
	// MinPackSize keeps a pack larger than its own frame, in bytes.
	MinPackSize = 4 << 10
	// maxPackFile bounds the file itself: the last record and the index come on top
	// of PackSize. What lies behind is not read.
	maxPackFile = 1<<32 - 1
)

type kind uint8

const (
	kindRaw   kind = 1 // a chunk as it is
	kindLZ4   kind = 2 // a chunk as one LZ4 block
	kindSkip  kind = 3 // bytes to be passed over
	kindIndex kind = 4 // the pack's index
)

// record is a record header.
type record struct {
	kind   kind
	raw    uint32 // content length; number of items of an index; 0 for a skip
	stored uint32 // payload length, bytes
	id     volume.ChunkID
	sum    uint64 // XXH3 of the payload as stored; 0 for a skip
}

// size is the length of header and payload, in bytes.
func (r *record) size() int64 { return recordLen + int64(r.stored) }

func (r *record) isChunk() bool { return r.kind == kindRaw || r.kind == kindLZ4 }

// salt makes checksums valid in one place only.
type salt struct {
	volume volume.ID
	pack   uint32
}

func (s salt) at(off int64, b []byte) uint64 {
	var place [28]byte
	copy(place[:], s.volume[:])
	binary.LittleEndian.PutUint32(place[16:], s.pack)
	binary.LittleEndian.PutUint64(place[20:], uint64(off))
	return xxh3.HashSeed(b, xxh3.Hash(place[:]))
}

// sealBytes puts the checksum of all but the last 8 bytes of b there.
func (s salt) sealBytes(off int64, b []byte) {
	n := len(b) - 8
	binary.LittleEndian.PutUint64(b[n:], s.at(off, b[:n]))
}

func (s salt) intact(off int64, b []byte) bool {
	n := len(b) - 8
	return binary.LittleEndian.Uint64(b[n:]) == s.at(off, b[:n])
}

func (s salt) encodeHeader(chunkSize int64) []byte {
	b := make([]byte, headerLen)
	copy(b, packMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], s.pack)
	copy(b[16:32], s.volume[:])
	binary.LittleEndian.PutUint32(b[32:], uint32(chunkSize))
	s.sealBytes(0, b)
	return b
}

// checkHeader tells a pack of somebody else (WrongVolume, WrongVersion, Invalid) from
// a damaged one (Corrupt). A foreign header is only believed if its own checksum
// holds, else one flipped bit would keep the node from starting.
func (s salt) checkHeader(b []byte, chunkSize int64) error {
	own := salt{volume: volume.ID(b[16:32]), pack: binary.LittleEndian.Uint32(b[12:])}
	if string(b[:8]) != packMagic || !own.intact(0, b) {
		return volume.Errorf(volume.Corrupt, "damaged header")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return volume.Errorf(volume.WrongVersion, "pack format %d, this program knows %d: use the version of WolfDisk that wrote it", v, formatVersion)
	}
	if own.volume != s.volume {
		return volume.Errorf(volume.WrongVolume, "belongs to volume %s, not to %s: give each volume its own state directory", own.volume, s.volume)
	}
	if own.pack != s.pack {
		return volume.Errorf(volume.Corrupt, "is pack %d under another name", own.pack)
	}
	if n := int64(binary.LittleEndian.Uint32(b[32:])); n != chunkSize {
		return volume.Errorf(volume.Invalid, "written with chunk size %d, not %d: the chunk size of a volume cannot change", n, chunkSize)
	}
	return nil
}

// encodeRecord fills the first recordLen bytes of b.
func (s salt) encodeRecord(b []byte, off int64, r *record) {
	b = b[:recordLen]
	clear(b)
	copy(b, recordMagic)
	b[4] = byte(r.kind)
	binary.LittleEndian.PutUint32(b[8:], r.raw)
	binary.LittleEndian.PutUint32(b[12:], r.stored)
	copy(b[16:48], r.id[:])
	binary.LittleEndian.PutUint64(b[48:], r.sum)
	s.sealBytes(off, b)
}

// decodeRecord reads a record header and bounds all its lengths; ok is false for
// anything that was not written by encodeRecord for this place.
func (s salt) decodeRecord(b []byte, off, chunkSize int64) (r record, ok bool) {
	b = b[:recordLen]
	if string(b[:4]) != recordMagic || !s.intact(off, b) {
		return record{}, false
	}
	r = record{
		kind:   kind(b[4]),
		raw:    binary.LittleEndian.Uint32(b[8:]),
		stored: binary.LittleEndian.Uint32(b[12:]),
		id:     volume.ChunkID(b[16:48]),
		sum:    binary.LittleEndian.Uint64(b[48:]),
	}
	return r, r.check(chunkSize) && off+r.size() <= maxPackFile
}

func (r *record) check(chunkSize int64) bool {
	switch r.kind {
	case kindRaw:
		return r.raw == r.stored && r.raw > 0 && int64(r.raw) <= chunkSize
	case kindLZ4:
		return r.stored > 0 && r.stored < r.raw && int64(r.raw) <= chunkSize
	case kindSkip:
		return r.raw == 0
	case kindIndex:
		return int64(r.stored) == int64(r.raw)*itemLen
	}
	return false
}

func encodeItem(b []byte, off int64, r *record) {
	clear(b[:itemLen])
	copy(b, r.id[:])
	binary.LittleEndian.PutUint32(b[32:], uint32(off))
	binary.LittleEndian.PutUint32(b[36:], r.raw)
	binary.LittleEndian.PutUint32(b[40:], r.stored)
	b[44] = byte(r.kind)
}

func decodeItem(b []byte) (off int64, r record) {
	r = record{
		id:     volume.ChunkID(b[:32]),
		raw:    binary.LittleEndian.Uint32(b[36:]),
		stored: binary.LittleEndian.Uint32(b[40:]),
		kind:   kind(b[44]),
	}
	return int64(binary.LittleEndian.Uint32(b[32:])), r
}

func (s salt) encodeTrailer(off, indexOff int64, items int) []byte {
	b := make([]byte, trailerLen)
	copy(b, trailerMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(indexOff))
	binary.LittleEndian.PutUint32(b[16:], uint32(items))
	s.sealBytes(off, b)
	return b
}

func (s salt) decodeTrailer(b []byte, off int64) (indexOff int64, items uint32, ok bool) {
	if string(b[:8]) != trailerMagic || !s.intact(off, b) {
		return 0, 0, false
	}
	indexOff, items = int64(binary.LittleEndian.Uint64(b[8:])), binary.LittleEndian.Uint32(b[16:])
	return indexOff, items, indexOff >= headerLen && indexOff+recordLen+int64(items)*itemLen == off
}

func packName(num uint32) string { return fmt.Sprintf("%08x%s", num, packSuffix) }

// parsePackName is the inverse of packName; other names are not packs.
func parsePackName(name string) (uint32, bool) {
	hex, ok := strings.CutSuffix(name, packSuffix)
	if !ok || len(hex) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || n == 0 || packName(uint32(n)) != name {
		return 0, false
	}
	return uint32(n), true
}
