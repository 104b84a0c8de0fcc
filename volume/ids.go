package volume

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/zeebo/xxh3"
)

// Ino is an inode ID: allocated by the leader, equal on every node, never
// reused. Bits 0 to 31 count within an epoch, bits 32 to 51 hold the tag of the
// epoch that made it (0 in the first), bits 52 to 63 are 0.
type Ino uint64

// RootIno is the root directory of every volume.
const RootIno Ino = 1

const (
	inoTagShift = 32
	// InoTagBits is the width of an epoch's tag inside an inode ID.
	InoTagBits = 20
	// MaxInoCount is the largest counter part of an inode ID.
	MaxInoCount = 1<<inoTagShift - 1
)

// MakeIno returns the ID with the given epoch tag and counter.
func MakeIno(tag uint32, count uint32) Ino {
	return Ino(uint64(tag&(1<<InoTagBits-1))<<inoTagShift | uint64(count))
}

// Tag is the epoch tag inside the ID.
func (i Ino) Tag() uint32 { return uint32(i>>inoTagShift) & (1<<InoTagBits - 1) }

// Count is the counter part of the ID.
func (i Ino) Count() uint32 { return uint32(i) }

// Valid reports whether the ID could have been made by a leader.
func (i Ino) Valid() bool { return i != 0 && i>>(inoTagShift+InoTagBits) == 0 && i.Count() != 0 }

func (i Ino) String() string { return fmt.Sprintf("%013x", uint64(i)) }

// Version numbers an op: 1, 2, 3 ... without gaps for the life of a volume. 0
// is the empty volume.
type Version uint64

// Epoch is one reign of one leader. Every start of a leader is a new one.
type Epoch struct {
	Number uint64 // grows with every claim; 0 means "no epoch"
	Leader string // node ID
	Tag    uint32 // random, InoTagBits wide, unique in a lineage; 0 only in the first epoch of a volume
}

// Compare orders epochs: the higher number wins, and of equal numbers the lower
// leader ID. It returns a negative number if e is the lower one.
func (e Epoch) Compare(o Epoch) int {
	if c := cmp.Compare(e.Number, o.Number); c != 0 {
		return c
	}
	if e.Number == 0 {
		return 0
	}
	if c := CompareNodeIDs(o.Leader, e.Leader); c != 0 {
		return c
	}
	return cmp.Compare(e.Tag, o.Tag)
}

// IsZero reports whether e is no epoch at all.
func (e Epoch) IsZero() bool { return e.Number == 0 }

func (e Epoch) String() string { return fmt.Sprintf("%d/%s/%05x", e.Number, e.Leader, e.Tag) }

// DigestLen is the length of a Digest in bytes.
const DigestLen = 16

// Digest chains over all ops of a history: two copies with the same version and
// digest hold the same ops. It is XXH3-128, which guards against accidents;
// enemies are kept out by the session's TLS.
type Digest [DigestLen]byte

// Next is the digest after one more op, given by its encoding.
func (d Digest) Next(op []byte) Digest {
	var buf [2 * DigestLen]byte
	copy(buf[:], d[:])
	sum := xxh3.Hash128(op).Bytes()
	copy(buf[DigestLen:], sum[:])
	return Digest(xxh3.Hash128(buf[:]).Bytes())
}

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Position says how far a copy is, and of which history.
type Position struct {
	Epoch   Epoch // the epoch that wrote the op Version
	Version Version
	Digest  Digest
}

func (p Position) String() string {
	return fmt.Sprintf("%d@%s#%.8s", p.Version, p.Epoch, p.Digest)
}

// Reign is one entry of a lineage.
type Reign struct {
	Epoch        Epoch
	First        Version  // the version of its OpReign
	Participants []string // node IDs that took part in its claim, the leader among them
}

// Lineage lists the epochs that wrote, oldest first. First versions and epoch
// numbers grow strictly.
type Lineage []Reign

// At returns the reign that wrote version v.
func (l Lineage) At(v Version) (Reign, bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if v >= l[i].First {
			return l[i], true
		}
	}
	return Reign{}, false
}

// CommonPrefix returns the last version up to which two copies of the given
// lineages and last versions can be the same history, judged by lineage alone.
func CommonPrefix(a Lineage, aLast Version, b Lineage, bLast Version) Version {
	i := 0
	for i < len(a) && i < len(b) && a[i].Epoch == b[i].Epoch && a[i].First == b[i].First {
		i++
	}
	end := func(l Lineage, last Version) Version {
		if i < len(l) {
			return min(last, l[i].First-1)
		}
		return last
	}
	return min(end(a, aLast), end(b, bLast))
}

// CompareNodeIDs orders node IDs naturally: runs of decimal digits compare as
// numbers, everything else by bytes, so node-9 comes before node-10. IDs that
// differ only in leading zeros are ordered by bytes, so that the order is total.
func CompareNodeIDs(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if isDigit(x[0]) && isDigit(y[0]) {
			m, n := digits(x), digits(y)
			u, v := strings.TrimLeft(x[:m], "0"), strings.TrimLeft(y[:n], "0")
			if c := cmp.Compare(len(u), len(v)); c != 0 {
				return c
			}
			if c := strings.Compare(u, v); c != 0 {
				return c
			}
			x, y = x[m:], y[n:]
			continue
		}
		if c := cmp.Compare(x[0], y[0]); c != 0 {
			return c
		}
		x, y = x[1:], y[1:]
	}
	if c := cmp.Compare(len(x), len(y)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// CheckNodeID says whether a node ID can be used: 1 to MaxNodeIDLen bytes of
// letters, digits, '.', '_' and '-', not beginning with '.' or '-'.
func CheckNodeID(id string) error {
	if id == "" || len(id) > MaxNodeIDLen {
		return Errorf(Invalid, "node ID %q: must have 1 to %d bytes", id, MaxNodeIDLen)
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		ok := isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && (c == '.' || c == '-')
		if !ok {
			return Errorf(Invalid, "node ID %q: byte %d is not a letter, digit, '_', or (after the first) '.' or '-'", id, i)
		}
	}
	return nil
}

// ID is a random 128-bit identity: of a cluster, a volume or a store.
type ID [16]byte

// IsZero reports whether the ID was never set.
func (id ID) IsZero() bool { return id == ID{} }

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText is the hex form, which JSON and TOML use.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the hex form.
func (id *ID) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(id) {
		return Errorf(Invalid, "ID %q: must have %d hex digits", text, 2*len(id))
	}
	if _, err := hex.Decode(id[:], text); err != nil {
		return Errorf(Invalid, "ID %q: %v", text, err)
	}
	return nil
}
