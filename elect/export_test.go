package elect

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
)

// SealBeacon appends the code of a beacon to its body.
func SealBeacon(body, key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(bytes.Clone(body))
}
