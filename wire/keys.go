package wire

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"wolfdisk/volume"
)

// keyLen is the length of a cluster key, in bytes.
const keyLen = 32

// maxKeys is one key, or two while it is being rotated.
const maxKeys = 2

// The labels keep what is derived from a key apart: none tells anything about another.
const (
	labelCA     = "wolfdisk/1 certificate authority"
	labelBeacon = "wolfdisk/1 discovery beacon"
	labelAdmin  = "wolfdisk/1 admin token"
)

// Keys is the content of a cluster key file: the cluster's ID and one or two
// keys. The first key is the one this node shows, all are accepted. Its fields are
// unexported and it formats itself, so that no log line or error can leak a key.
// It is immutable and safe for concurrent use.
type Keys struct {
	cluster volume.ID
	keys    [][keyLen]byte
	path    string // of the file; empty if it was never saved
}

// NewKey makes a new cluster: a random ID and one random key.
func NewKey() (*Keys, error) {
	k := &Keys{keys: make([][keyLen]byte, 1)}
	if _, err := rand.Read(k.cluster[:]); err != nil {
		return nil, volume.Errorf(volume.IO, "make a cluster ID: %w", err)
	}
	if _, err := rand.Read(k.keys[0][:]); err != nil {
		return nil, volume.Errorf(volume.IO, "make a cluster key: %w", err)
	}
	return k, nil
}

// ClusterID names the cluster that the keys belong to. It is no secret.
func (k *Keys) ClusterID() volume.ID { return k.cluster }

// Path is the key file, for messages; empty if the keys were never in one.
func (k *Keys) Path() string { return k.path }

// Count is the number of keys: two while a rotation is under way.
func (k *Keys) Count() int { return len(k.keys) }

// file names the key file in messages.
func (k *Keys) file() string {
	if k.path == "" {
		return "the cluster key file"
	}
	return k.path
}

// derive makes n secret bytes for one purpose from one of the keys.
func (k *Keys) derive(i int, label string, n int) []byte {
	out, err := hkdf.Key(sha256.New, k.keys[i][:], k.cluster[:], label, n)
	if err != nil {
		// Only a length beyond 255 hashes, or a key too short for FIPS mode, can
		// fail: neither depends on input.
		panic("wire: derive " + label + ": " + err.Error())
	}
	return out
}

// BeaconKey is the HMAC key of the discovery beacons that this node sends.
func (k *Keys) BeaconKey() []byte { return k.derive(0, labelBeacon, keyLen) }

// BeaconKeys are the HMAC keys of beacons to believe, the node's own first.
func (k *Keys) BeaconKeys() [][]byte {
	all := make([][]byte, len(k.keys))
	for i := range k.keys {
		all[i] = k.derive(i, labelBeacon, keyLen)
	}
	return all
}

// AdminToken is the bearer token of the admin API where it is not a unix socket.
func (k *Keys) AdminToken() string { return hex.EncodeToString(k.derive(0, labelAdmin, keyLen)) }

// Fingerprint names the first key without telling anything about it: two nodes
// that show the same fingerprint hold the same key.
func (k *Keys) Fingerprint() string { return fingerprint(k.authority(0).key.Public()) }

// String names the cluster and the first key's fingerprint, never a key.
func (k *Keys) String() string {
	if k == nil || len(k.keys) == 0 {
		return "no cluster key"
	}
	return fmt.Sprintf("cluster %s, key %s", k.cluster, k.Fingerprint())
}

// Format answers every verb with String: %#v and %x must not print a key either.
func (k *Keys) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }
