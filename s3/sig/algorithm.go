package sig

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"hash/crc32"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"
)

// Algorithm is a way of computing sums that clients may ask for. Its name is that
// of the protocol, in capitals; x-amz-checksum-NAME, in small letters, carries it.
type Algorithm struct {
	Name string
	Size int // bytes of a sum
	New  func() hash.Hash

	// FullObject and Composite say which sums of an object of several parts exist:
	// that over all bytes, and that over the sums of the parts.
	FullObject, Composite bool

	// poly is the polynomial in reflected form, of Size bytes, of a sum that can be
	// combined; 0: it cannot.
	poly uint64
}

// Header is the name of the header or trailer that carries the sum.
func (a *Algorithm) Header() string { return checksumPrefix + strings.ToLower(a.Name) }

const checksumPrefix = "x-amz-checksum-"

// nvmePoly is the polynomial of CRC-64/NVME, reflected.
const nvmePoly = 0x9a6c9329ac4bc9b5

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// algorithms are sorted by name.
var algorithms = []*Algorithm{
	{Name: "CRC32", Size: 4, New: func() hash.Hash { return crc32.NewIEEE() }, FullObject: true, Composite: true, poly: crc32.IEEE},
	{Name: "CRC32C", Size: 4, New: func() hash.Hash { return crc32.New(castagnoli) }, FullObject: true, Composite: true, poly: crc32.Castagnoli},
	{Name: "CRC64NVME", Size: 8, New: func() hash.Hash { return crc64nvme.New() }, FullObject: true, poly: nvmePoly},
	{Name: "MD5", Size: md5.Size, New: md5.New, Composite: true},
	{Name: "SHA1", Size: sha1.Size, New: sha1.New, Composite: true},
	{Name: "SHA256", Size: sha256.Size, New: sha256.New, Composite: true},
	{Name: "SHA512", Size: sha512.Size, New: sha512.New, Composite: true},
	{Name: "XXHASH128", Size: 16, New: func() hash.Hash { return xxh3.New128() }, Composite: true},
	{Name: "XXHASH3", Size: 8, New: func() hash.Hash { return xxh3.New() }, Composite: true},
	{Name: "XXHASH64", Size: 8, New: func() hash.Hash { return xxhash.New() }, Composite: true},
}

// FindAlgorithm finds one by its name, in letters of any size.
func FindAlgorithm(name string) (*Algorithm, bool) {
	for _, a := range algorithms {
		if strings.EqualFold(a.Name, name) {
			return a, true
		}
	}
	return nil, false
}

func algorithmNames() string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = a.Name
	}
	return strings.Join(names, ", ")
}

// decode is the raw sum of a base64 value; false if it is no sum of the algorithm.
func (a *Algorithm) decode(value string) ([]byte, bool) {
	if len(value) != base64.StdEncoding.EncodedLen(a.Size) {
		return nil, false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(value)
	return raw, err == nil && len(raw) == a.Size
}

// Checksum is a sum as the protocol writes it.
type Checksum struct {
	Algorithm string // CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH64, XXHASH3 or XXHASH128
	Value     string // base64
}

// Header is the name of the header that carries it.
func (c Checksum) Header() string { return checksumPrefix + strings.ToLower(c.Algorithm) }

// NewChecksum writes a raw sum.
func NewChecksum(algorithm string, sum []byte) Checksum {
	return Checksum{strings.ToUpper(algorithm), base64.StdEncoding.EncodeToString(sum)}
}

var errUnknownAlgorithm = errors.New("unknown checksum algorithm")
