package s3

import (
	"encoding/base64"
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
	algoSHA512
	algoMD5
	algoXXHASH64
	algoXXHASH3
	algoXXHASH128

	algoEnd
)

// algoNames are the names in the protocol, by which package sig knows the algorithms.
var algoNames = [algoEnd]string{
	algoCRC32: "CRC32", algoCRC32C: "CRC32C", algoCRC64NVME: "CRC64NVME", algoSHA1: "SHA1", algoSHA256: "SHA256",
	algoSHA512: "SHA512", algoMD5: "MD5", algoXXHASH64: "XXHASH64", algoXXHASH3: "XXHASH3", algoXXHASH128: "XXHASH128",
}

// maxSumLen is the length of the longest checksum, bytes.
const maxSumLen = 64

func (a algo) valid() bool    { return algoNone < a && a < algoEnd }
func (a algo) String() string { return algoNames[a] }

func (a algo) sig() *sig.Algorithm {
	x, _ := sig.FindAlgorithm(algoNames[a])
	return x
}

func (a algo) size() int { return a.sig().Size }

// ofWhole reports whether an object that comes in parts can have the sum of all its
// bytes: then it is made of those of the parts.
func (a algo) ofWhole() bool { return a.sig().FullObject }

// ofParts reports whether it can have the sum of its parts' sums.
func (a algo) ofParts() bool { return a.sig().Composite }

// header is the name of the header that carries the sum.
func (a algo) header() string { return a.sig().Header() }

func algoOf(name string) algo {
	for a := algoNone + 1; a < algoEnd; a++ {
		if strings.EqualFold(algoNames[a], name) {
			return a
		}
	}
	return algoNone
}

// knownAlgos is how errors list them.
func knownAlgos() string {
	return "CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH128, XXHASH3, XXHASH64"
}

// defaultAlgo is what an object gets whose client sent no checksum, and asked for none.
const defaultAlgo = algoCRC64NVME

// summed is what has computed sums; nil for an algorithm that it has not.
type summed interface{ Sum(algorithm string) []byte }

// sums are the checksums that an object or part keeps: those that the client sent and
// that were verified, and the one that was asked for; the default if there are none.
func sums(from summed, verified []sig.Checksum, asked algo) (list []sum) {
	for _, c := range verified {
		a := algoOf(c.Algorithm)
		v, err := base64.StdEncoding.DecodeString(c.Value)
		if a.valid() && err == nil && len(v) == a.size() {
			list = append(list, sum{algo: a, value: v})
			if a == asked {
				asked = algoNone
			}
		}
	}
	if len(list) == 0 && !asked.valid() {
		asked = defaultAlgo
	}
	if asked.valid() {
		if v := from.Sum(asked.String()); v != nil {
			list = append(list, sum{algo: asked, value: v})
		}
	}
	return list
}

// algorithms are those that a body is summed up with, for sums and an ETag.
func (s *Server) algorithms(asked algo) []string {
	list := []string{defaultAlgo.String()}
	if !s.cfg.OpaqueETags {
		list = append(list, "MD5")
	}
	if asked.valid() {
		list = append(list, asked.String())
	}
	return list
}

// sumElements are the elements of documents that carry a checksum.
type sumElements struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
	ChecksumSHA512    string `xml:",omitempty"`
	ChecksumMD5       string `xml:",omitempty"`
	ChecksumXXHASH64  string `xml:",omitempty"`
	ChecksumXXHASH3   string `xml:",omitempty"`
	ChecksumXXHASH128 string `xml:",omitempty"`
}

func (e *sumElements) of(a algo) *string {
	return [algoEnd]*string{
		algoCRC32: &e.ChecksumCRC32, algoCRC32C: &e.ChecksumCRC32C, algoCRC64NVME: &e.ChecksumCRC64NVME,
		algoSHA1: &e.ChecksumSHA1, algoSHA256: &e.ChecksumSHA256, algoSHA512: &e.ChecksumSHA512, algoMD5: &e.ChecksumMD5,
		algoXXHASH64: &e.ChecksumXXHASH64, algoXXHASH3: &e.ChecksumXXHASH3, algoXXHASH128: &e.ChecksumXXHASH128,
	}[a]
}

// set writes a sum, if there is one.
func (e *sumElements) set(a algo, value []byte) {
	if a.valid() {
		*e.of(a) = base64.StdEncoding.EncodeToString(value)
	}
}

// given are the algorithms of which there is a sum.
func (e *sumElements) given() (list []algo) {
	for a := algoNone + 1; a < algoEnd; a++ {
		if *e.of(a) != "" {
			list = append(list, a)
		}
	}
	return list
}

// decodeSum is the raw sum of a text; false if it is no sum of the algorithm.
func decodeSum(a algo, text string) ([]byte, bool) {
	v, err := base64.StdEncoding.DecodeString(text)
	return v, err == nil && len(v) == a.size()
}
