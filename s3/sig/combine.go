package sig

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Part is the checksum of one part of an object, and its size in bytes.
type Part struct {
	Value string // base64
	Size  int64
}

// FullObject is the checksum over all bytes of an object, from those of its parts
// in order. Only CRCs can be combined.
func FullObject(algorithm string, parts []Part) (Checksum, error) {
	a, found := FindAlgorithm(algorithm)
	if !found {
		return Checksum{}, fmt.Errorf("%w %q", errUnknownAlgorithm, algorithm)
	}
	if a.poly == 0 {
		return Checksum{}, fmt.Errorf("%s checksums of parts cannot be combined", a.Name)
	}
	bits := uint(8 * a.Size)
	var crc uint64
	for i, p := range parts {
		raw, ok := a.decode(p.Value)
		if !ok || p.Size < 0 {
			return Checksum{}, fmt.Errorf("part %d: %q is no %s checksum of %d bytes", i+1, p.Value, a.Name, p.Size)
		}
		crc = crcMultiply(crcShift(uint64(p.Size), a.poly, bits), crc, a.poly, bits) ^ bigEndian(raw)
	}
	raw := binary.BigEndian.AppendUint64(nil, crc)
	return NewChecksum(a.Name, raw[8-a.Size:]), nil
}

func bigEndian(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// crcMultiply multiplies two polynomials modulo poly. In the reflected form the
// highest bit is the coefficient of x to the power of 0.
func crcMultiply(a, b, poly uint64, bits uint) (product uint64) {
	for m := uint64(1) << (bits - 1); m != 0; m >>= 1 {
		if a&m != 0 {
			product ^= b
		}
		low := b & 1
		b >>= 1
		if low != 0 {
			b ^= poly
		}
	}
	return product
}

// crcShift is x to the power of 8 n, modulo poly: what n more bytes do to a CRC.
// Appending B to A makes crc(A) * x^(8 len(B)) + crc(B); the ones at the begin and
// the end of the computation cancel out.
func crcShift(n, poly uint64, bits uint) uint64 {
	result := uint64(1) << (bits - 1) // 1
	square := uint64(1) << (bits - 9) // x^8
	for ; n != 0; n >>= 1 {
		if n&1 != 0 {
			result = crcMultiply(square, result, poly, bits)
		}
		square = crcMultiply(square, square, poly, bits)
	}
	return result
}

// Composite is the checksum over the checksums of the parts, raw and in order,
// followed by a hyphen and their number.
func Composite(algorithm string, parts []Part) (Checksum, error) {
	a, found := FindAlgorithm(algorithm)
	if !found {
		return Checksum{}, fmt.Errorf("%w %q", errUnknownAlgorithm, algorithm)
	}
	h := a.New()
	for i, p := range parts {
		raw, ok := a.decode(p.Value)
		if !ok {
			return Checksum{}, fmt.Errorf("part %d: %q is no %s checksum", i+1, p.Value, a.Name)
		}
		h.Write(raw)
	}
	c := NewChecksum(a.Name, h.Sum(nil))
	c.Value += "-" + strconv.Itoa(len(parts))
	return c, nil
}

// ValidChecksum reports whether a value is one of the algorithm: base64 of the right
// length, with or without the number of parts of a composite one.
func ValidChecksum(c Checksum) bool {
	a, found := FindAlgorithm(c.Algorithm)
	if !found {
		return false
	}
	value, count, composite := strings.Cut(c.Value, "-")
	if composite {
		if n, err := strconv.Atoi(count); err != nil || n < 1 || n > 10000 {
			return false
		}
	}
	_, ok := a.decode(value)
	return ok
}
