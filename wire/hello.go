package wire

import (
	"cmp"

	"wolfdisk/volume"
)

// ProtocolMin and ProtocolMax are the versions of the protocol that this program
// speaks. A session runs the highest that both sides know.
const (
	ProtocolMin uint16 = 1
	ProtocolMax uint16 = 1
)

const (
	// maxHello bounds an encoded hello, in bytes; nearly all of it can be lineage.
	maxHello = 1 << 20
	// maxSoftware bounds the name and version of a program, in bytes.
	maxSoftware = 128
	// maxBootID bounds the boot ID of a machine, in bytes.
	maxBootID = 64
	// maxReigns bounds the lineage in a hello; maxHello does so first.
	maxReigns = maxHello / minReign
	// minReign is the least that a reign takes, in bytes: arrays, an epoch with a
	// leader of one letter, and a first version.
	minReign = 9
	// minString is the least that a node ID takes, in bytes.
	minString = 3
)

// Hello is what two nodes tell each other before a session begins. Identity and
// Protocol are filled in by this package, from the configuration when sending, and
// compared with the certificate when receiving.
type Hello struct {
	ProtocolMin, ProtocolMax uint16
	Caps                     uint64 // capability bits; unknown ones mean nothing
	Identity
	Software   string    // name and version, for status
	Volume     volume.ID // zero: holds none yet
	ChunkSize  uint32    // of the volume, in bytes; zero without a volume
	Boot       Boot
	Promise    volume.Epoch // the highest epoch the node obeys
	Position   volume.Position
	Lineage    volume.Lineage
	Consistent bool           // its tree is an exact prefix of its lineage
	Leading    volume.Epoch   // zero unless it leads
	Durable    volume.Version // on its disk
	Address    string         // to dial it at: host:port, or :port at the host it comes from
}

// Boot tells one run of a node from the next.
type Boot struct {
	ID      string // the kernel's boot ID
	Started int64  // when the daemon started, ns since 1970 by its own clock
	Clean   bool   // the run before ended by a clean stop
}

// Heard reports whether the hello came from the peer, rather than being what its
// certificate alone says. See Handler.
func (h *Hello) Heard() bool { return h.ProtocolMax != 0 }

// protocolWith is the version that two nodes speak, or false.
func (h *Hello) protocolWith(o *Hello) (uint16, bool) {
	v := min(h.ProtocolMax, o.ProtocolMax)
	return v, v >= max(h.ProtocolMin, o.ProtocolMin)
}

// helloFields is the number of elements of an encoded hello of ProtocolMax.
const helloFields = 17

// visitFields visits what follows the protocol range. A later protocol version
// adds fields at the end; it is the only place that knows the order.
func (h *Hello) visitFields(c coder) {
	visitUint(c, &h.Caps)
	c.str(&h.Software, maxSoftware)
	c.fixed(h.Cluster[:])
	c.fixed(h.Volume[:])
	visitUint(c, &h.ChunkSize)
	c.str(&h.NodeID, volume.MaxNodeIDLen)
	visitUint(c, &h.Role)
	c.fixed(h.Store[:])
	c.array(3)
	c.str(&h.Boot.ID, maxBootID)
	c.i64(&h.Boot.Started)
	c.boolean(&h.Boot.Clean)
	visitEpoch(c, &h.Promise)
	c.array(3)
	visitEpoch(c, &h.Position.Epoch)
	visitUint(c, &h.Position.Version)
	c.fixed(h.Position.Digest[:])
	visitLineage(c, &h.Lineage)
	c.boolean(&h.Consistent)
	visitEpoch(c, &h.Leading)
	visitUint(c, &h.Durable)
	c.str(&h.Address, volume.MaxAddressLen)
}

func visitLineage(c coder, l *volume.Lineage) {
	n := len(*l)
	c.list(&n, maxReigns, minReign)
	if n != len(*l) {
		*l = make(volume.Lineage, n)
	}
	for i := range *l {
		r := &(*l)[i]
		c.array(3)
		visitEpoch(c, &r.Epoch)
		visitUint(c, &r.First)
		n := len(r.Participants)
		c.list(&n, volume.MaxParticipants, minString)
		if n != len(r.Participants) {
			r.Participants = make([]string, n)
		}
		for j := range r.Participants {
			c.str(&r.Participants[j], volume.MaxNodeIDLen)
		}
	}
}

// encodeHello refuses what no peer would accept: Invalid, TooBig.
func encodeHello(h *Hello) ([]byte, error) {
	if err := h.validate(); err != nil {
		return nil, volume.Errorf(volume.Invalid, "this node's hello: %w", err)
	}
	b, err := encode(func(c coder) {
		c.array(1 + helloFields)
		c.array(2)
		visitUint(c, &h.ProtocolMin)
		visitUint(c, &h.ProtocolMax)
		h.visitFields(c)
	})
	if err != nil {
		return nil, volume.Wrap(err, "encode hello")
	}
	if len(b) > maxHello {
		return nil, volume.Errorf(volume.TooBig, "this node's hello has %d bytes, %d reigns in its lineage: at most %d bytes can be sent", len(b), len(h.Lineage), maxHello)
	}
	return b, nil
}

// decodeHello reads a hello. Of a peer that shares no protocol version with us only
// the range is known, and returned with an error of kind WrongVersion. A peer that
// speaks a later version too may have added fields, which are not looked at.
func decodeHello(b []byte) (*Hello, error) {
	h := &Hello{}
	r := newDecoder(b)
	n := r.arrayLen()
	r.array(2)
	visitUint(r, &h.ProtocolMin)
	visitUint(r, &h.ProtocolMax)
	if r.err == nil && (h.ProtocolMin == 0 || h.ProtocolMin > h.ProtocolMax) {
		r.fail("protocol range %d to %d", h.ProtocolMin, h.ProtocolMax)
	}
	if r.err == nil {
		if _, ok := h.protocolWith(&Hello{ProtocolMin: ProtocolMin, ProtocolMax: ProtocolMax}); !ok {
			return h, volume.Errorf(volume.WrongVersion, "protocol versions %s", versions(h.ProtocolMin, h.ProtocolMax))
		}
	}
	newer := h.ProtocolMax > ProtocolMax
	if r.err == nil && (n < 1+helloFields || n > 1+helloFields && !newer) {
		r.fail("%d fields", n)
	}
	if r.err == nil {
		h.visitFields(r)
	}
	if r.err == nil && r.src.Len() != 0 && n == 1+helloFields {
		r.fail("%d bytes too many", r.src.Len())
	}
	if r.err == nil {
		if err := h.validate(); err != nil {
			r.fail("%w", err)
		}
	}
	if r.err != nil {
		return nil, volume.Wrap(r.err, "decode hello")
	}
	return h, nil
}

// validate says whether the values make sense by themselves.
func (h *Hello) validate() error {
	if err := volume.CheckNodeID(h.NodeID); err != nil {
		return err
	}
	if h.Role > volume.RoleWitness {
		return volume.Errorf(volume.BadFormat, "unknown role %d", h.Role)
	}
	if s := h.ChunkSize; s != 0 && (s < volume.MinChunkSize || s > volume.MaxChunkSize || s&(s-1) != 0) {
		return volume.Errorf(volume.BadFormat, "chunk size %d", s)
	}
	if cleanText(h.Software) != h.Software || cleanText(h.Address) != h.Address || cleanText(h.Boot.ID) != h.Boot.ID {
		return volume.Errorf(volume.BadFormat, "a text that is not printable")
	}
	for _, e := range []volume.Epoch{h.Promise, h.Leading, h.Position.Epoch} {
		if err := checkEpoch(e); err != nil {
			return err
		}
	}
	return checkLineage(h.Lineage)
}

func checkEpoch(e volume.Epoch) error {
	if e.IsZero() {
		if e != (volume.Epoch{}) {
			return volume.Errorf(volume.BadFormat, "epoch 0 with a leader or tag")
		}
		return nil
	}
	if e.Tag >= 1<<volume.InoTagBits {
		return volume.Errorf(volume.BadFormat, "epoch tag %x", e.Tag)
	}
	return volume.CheckNodeID(e.Leader)
}

func checkLineage(l volume.Lineage) error {
	var last volume.Reign
	for _, r := range l {
		if r.Epoch.IsZero() || r.First == 0 {
			return volume.Errorf(volume.BadFormat, "lineage with a reign without epoch or version")
		}
		if err := checkEpoch(r.Epoch); err != nil {
			return err
		}
		if cmp.Compare(r.Epoch.Number, last.Epoch.Number) <= 0 || r.First <= last.First {
			return volume.Errorf(volume.BadFormat, "lineage out of order at %s", r.Epoch)
		}
		for _, p := range r.Participants {
			if err := volume.CheckNodeID(p); err != nil {
				return err
			}
		}
		last = r
	}
	return nil
}
