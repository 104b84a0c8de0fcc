package s3

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"strings"

	"wolfdisk/s3/sig"
)

// algo is an algorithm for checksums. Numbers are part of the format of metadata.
type algo byte

const (
	algoNone algo = iota
	algoCRC32
	algoCRC32C
	algoCRC64NVME
	algoSHA1
	algoSHA256

	algoEnd
)

var algos = [algoEnd]struct {
	name string
	size int // bytes
	poly uint64
}{
	algoCRC32:     {"CRC32", 4, crc32.IEEE},
	algoCRC32C:    {"CRC32C", 4, crc32.Castagnoli},
	algoCRC64NVME: {"CRC64NVME", 8, 0x9a6c9329ac4bc9b5},
	algoSHA1:      {"SHA1", sha1.Size, 0},
	algoSHA256:    {"SHA256", sha256.Size, 0},
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	nvme       = crc64.MakeTable(0x9a6c9329ac4bc9b5)
)

func (a algo) valid() bool    { return algoNone < a && a < algoEnd }
func (a algo) size() int      { return algos[a].size }
func (a algo) String() string { return algos[a].name }
func (a algo) isCRC() bool    { return algos[a].poly != 0 }

// header is the name of the header that carries the sum.
func (a algo) header() string { return "x-amz-checksum-" + strings.ToLower(algos[a].name) }

func algoOf(name string) algo {
	for a := algoNone + 1; a < algoEnd; a++ {
		if strings.EqualFold(algos[a].name, name) {
			return a
		}
	}
	return algoNone
}

func (a algo) newHash() hash.Hash {
	switch a {
	case algoCRC32:
		return crc32.NewIEEE()
	case algoCRC32C:
		return crc32.New(castagnoli)
	case algoCRC64NVME:
		return crc64.New(nvme)
	case algoSHA1:
		return sha1.New()
	}
	return sha256.New()
}

// hasher sums a body up while it is stored.
type hasher struct {
	md5   hash.Hash // nil: the ETag is no MD5
	extra map[algo]hash.Hash
}

func newHasher(withMD5 bool, extra ...algo) *hasher {
	h := &hasher{}
	if withMD5 {
		h.md5 = md5.New()
	}
	for _, a := range extra {
		if a.valid() {
			if h.extra == nil {
				h.extra = map[algo]hash.Hash{}
			}
			h.extra[a] = a.newHash()
		}
	}
	return h
}

func (h *hasher) Write(p []byte) (int, error) {
	if h.md5 != nil {
		h.md5.Write(p)
	}
	for _, x := range h.extra {
		x.Write(p)
	}
	return len(p), nil
}

// sums are what was computed here, and what the client sent and has been verified.
func (h *hasher) sums(verified []sig.Checksum) []sum {
	var list []sum
	for a := algoNone + 1; a < algoEnd; a++ {
		if x := h.extra[a]; x != nil {
			list = append(list, sum{algo: a, value: x.Sum(nil)})
			continue
		}
		for _, c := range verified {
			v, err := base64.StdEncoding.DecodeString(c.Value)
			if algoOf(c.Algorithm) == a && err == nil && len(v) == a.size() {
				list = append(list, sum{algo: a, value: v})
				break
			}
		}
	}
	return list
}

// combineCRC is the CRC of two contents behind one another, given those of each and the
// length of the second, in O(log length): as zlib's crc32_combine, by powers of the
// matrix that appends a zero bit. Both widths are reflected CRCs with inverted ends.
func combineCRC(a algo, crc1, crc2 uint64, len2 int64) uint64 {
	if len2 <= 0 {
		return crc1
	}
	bits := algos[a].size * 8
	var odd, even [64]uint64
	odd[0] = algos[a].poly
	for n := 1; n < bits; n++ {
		odd[n] = 1 << (n - 1)
	}
	square(&even, &odd, bits) // two zero bits
	square(&odd, &even, bits) // four
	for {
		square(&even, &odd, bits)
		if len2&1 != 0 {
			crc1 = times(&even, crc1)
		}
		if len2 >>= 1; len2 == 0 {
			break
		}
		square(&odd, &even, bits)
		if len2&1 != 0 {
			crc1 = times(&odd, crc1)
		}
		if len2 >>= 1; len2 == 0 {
			break
		}
	}
	return crc1 ^ crc2
}

func times(m *[64]uint64, v uint64) (r uint64) {
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			r ^= m[i]
		}
	}
	return r
}

func square(to, m *[64]uint64, bits int) {
	for i := range bits {
		to[i] = times(m, m[i])
	}
}

func beValue(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

func beBytes(v uint64, n int) []byte {
	b := make([]byte, n)
	for i := n - 1; i >= 0; i-- {
		b[i] = byte(v)
		v >>= 8
	}
	return b
}
