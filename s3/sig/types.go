// Package sig says who made a request, and checks that it arrived as it was signed.
package sig

import "io"

// Key is a pair of keys and what it may do.
type Key struct {
	Access, Secret string
	Buckets        []string // empty: all
	ReadOnly       bool
}

// Keys finds pairs of keys. If it is Empty, there is no authentication.
type Keys interface {
	Find(access string) (Key, bool)
	Empty() bool
}

// Result is a request that may go on.
type Result struct {
	Key       Key
	Anonymous bool
	Body      io.Reader // decoded, verified while read: the error of the last Read is an *Error
	Length    int64     // decoded, -1 unknown
	// Checksums are what the client sent or asked for, verified; after EOF only.
	Checksums func() []Checksum
}

// Checksum is the sum of a whole body.
type Checksum struct {
	Algorithm string // CRC32, CRC32C, CRC64NVME, SHA1, SHA256
	Value     string // base64
}

// Error is why a request is refused.
type Error struct {
	Code    string
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }
