package elect

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
)

// Seal gives bytes the size and the checksum of a slot, so that fuzzing gets behind it.
func Seal(b []byte) []byte {
	slot := make([]byte, SlotSize)
	copy(slot, b)
	copy(slot, slotMagic)
	n := int(binary.LittleEndian.Uint32(slot[slotHead-4:])) % (SlotSize - slotHead - 4)
	binary.LittleEndian.PutUint32(slot[slotHead-4:], uint32(n))
	binary.LittleEndian.PutUint32(slot[slotHead+n:], crc32.Checksum(slot[:slotHead+n], castagnoli))
	return slot
}

// SealBeacon appends the code of a beacon to its body.
func SealBeacon(body, key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(bytes.Clone(body))
}
