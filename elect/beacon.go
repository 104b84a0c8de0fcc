package elect

import (
	"crypto/hmac"
	"crypto/sha256"

	"wolfdisk/volume"
)

// Beacon is what a node sends by multicast. It may only cause a dial: nothing that it says
// is believed.
//
//	magic "WOLFBCN" | format u8 | cluster ID | counter u64 | node ID | address | HMAC-SHA-256 of all before
//
// Integers are little-endian; the node ID has a length of one byte, the address of two. The
// key is derived from the cluster key for this use alone.
type Beacon struct {
	Cluster volume.ID
	Counter uint64 // grows with every beacon of a node, over its restarts too: ns since 1970 will do
	NodeID  string
	Address string // to dial: host:port, or :port at the host it came from
}

const (
	// MaxBeaconLen bounds a beacon, in bytes: one packet that no network splits.
	MaxBeaconLen = 512

	beaconMagic  = "WOLFBCN"
	beaconFormat = 1
)

// Encode makes a beacon's bytes.
func (b *Beacon) Encode(key []byte) ([]byte, error) {
	if err := b.check(volume.Invalid); err != nil {
		return nil, err
	}
	w := &writer{b: append([]byte(beaconMagic), beaconFormat)}
	b.visit(w)
	mac := hmac.New(sha256.New, key)
	mac.Write(w.b)
	return mac.Sum(w.b), nil
}

// DecodeBeacon reads one that was made with one of the keys: Unauthorized if it was not.
func DecodeBeacon(p []byte, keys ...[]byte) (*Beacon, error) {
	head := len(beaconMagic) + 1
	if len(p) < head+sha256.Size || len(p) > MaxBeaconLen || string(p[:len(beaconMagic)]) != beaconMagic {
		return nil, volume.Errorf(volume.BadFormat, "beacon: no magic, or length")
	}
	body := p[:len(p)-sha256.Size]
	known := false
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write(body)
		known = hmac.Equal(mac.Sum(nil), p[len(body):]) || known
	}
	if !known {
		return nil, volume.Errorf(volume.Unauthorized, "beacon: made with another cluster key")
	}
	if body[head-1] != beaconFormat {
		return nil, volume.Errorf(volume.WrongVersion, "beacon: format %d, this program knows %d", body[head-1], beaconFormat)
	}
	b := &Beacon{}
	r := &reader{b: body[head:]}
	b.visit(r)
	if err := r.end(); err != nil {
		return nil, volume.Errorf(volume.BadFormat, "beacon: %v", err)
	}
	return b, b.check(volume.BadFormat)
}

func (b *Beacon) visit(c coder) {
	c.fixed(b.Cluster[:])
	c.u64(&b.Counter)
	c.str(&b.NodeID, volume.MaxNodeIDLen)
	address := []byte(b.Address)
	c.bytes(&address, volume.MaxAddressLen)
	b.Address = string(address)
}

func (b *Beacon) check(kind volume.Kind) error {
	if err := volume.CheckNodeID(b.NodeID); err != nil {
		return volume.Errorf(kind, "beacon: %v", err)
	}
	if len(b.Address) > volume.MaxAddressLen || b.Address == "" {
		return volume.Errorf(kind, "beacon: address of %d bytes", len(b.Address))
	}
	for i := range len(b.Address) {
		if c := b.Address[i]; c <= ' ' || c > '~' {
			return volume.Errorf(kind, "beacon: address %.300q cannot be one", b.Address)
		}
	}
	return nil
}

// ReplayWindow remembers the last counter of each node, so that a recorded beacon causes
// nothing. It is bounded: beyond MaxBeaconNodes the oldest is forgotten.
type ReplayWindow struct {
	last  map[string]uint64
	order []string
}

// MaxBeaconNodes bounds what a ReplayWindow remembers; only holders of the key get in.
const MaxBeaconNodes = volume.MaxParticipants

// Fresh reports whether a beacon is newer than all of its node before, and remembers it.
func (w *ReplayWindow) Fresh(b *Beacon) bool {
	if w.last == nil {
		w.last = make(map[string]uint64)
	}
	last, known := w.last[b.NodeID]
	if known && b.Counter <= last {
		return false
	}
	if !known {
		if len(w.order) == MaxBeaconNodes {
			delete(w.last, w.order[0])
			w.order = w.order[1:]
		}
		w.order = append(w.order, b.NodeID)
	}
	w.last[b.NodeID] = b.Counter
	return true
}

// beaconSize is the longest a beacon can be: it has to stay below MaxBeaconLen.
const beaconSize = len(beaconMagic) + 1 + 16 + 8 + 1 + volume.MaxNodeIDLen + 2 + volume.MaxAddressLen + sha256.Size

var _ [MaxBeaconLen - beaconSize]struct{}
