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
	"slices"
	"strings"

	"github.com/minio/crc64nvme"
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
}

// Register adds an algorithm, or replaces the one of the same name. It may only be
// called before the first request, from an init function. So that this package
// needs no library for the XXHASH family, which AWS added and few clients use.
func Register(a Algorithm) {
	a.Name = strings.ToUpper(a.Name)
	algorithms = slices.DeleteFunc(algorithms, func(b *Algorithm) bool { return b.Name == a.Name })
	algorithms = append(algorithms, &a)
	slices.SortFunc(algorithms, func(a, b *Algorithm) int { return strings.Compare(a.Name, b.Name) })
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
	Algorithm string // CRC32, CRC32C, CRC64NVME, SHA1, SHA256; also MD5, SHA512 and what is registered
	Value     string // base64
}

// Header is the name of the header that carries it.
func (c Checksum) Header() string { return checksumPrefix + strings.ToLower(c.Algorithm) }

// NewChecksum writes a raw sum.
func NewChecksum(algorithm string, sum []byte) Checksum {
	return Checksum{strings.ToUpper(algorithm), base64.StdEncoding.EncodeToString(sum)}
}

var errUnknownAlgorithm = errors.New("unknown checksum algorithm")
