package index

import (
	"encoding/binary"

	"wolfdisk/volume"
)

const (
	kMeta    = 'm'
	kInode   = 'i'
	kDirent  = 'd'
	kCookie  = 'c'
	kName    = 'n'
	kOrphan  = 'o'
	kLimbo   = 'q'
	kTarget  = 't'
	kXattr   = 'x'
	kExtent  = 'e'
	kReign   = 'l'
	kMember  = 'p'
	kLower   = 'w'
	kLowerIx = 'h'
	kCursor  = 's'
	kAnswer  = 'a'
	kAsked   = 'b'
)

var metaKey = []byte{kMeta}

func key64(prefix byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, n)
}

func keyIno(prefix byte, ino volume.Ino) []byte { return key64(prefix, uint64(ino)) }

func keyInoName(prefix byte, ino volume.Ino, name string) []byte {
	b := make([]byte, 0, 9+len(name))
	b = binary.BigEndian.AppendUint64(append(b, prefix), uint64(ino))
	return append(b, name...)
}

func keyInoNum(prefix byte, ino volume.Ino, n uint64) []byte {
	b := make([]byte, 0, 17)
	b = binary.BigEndian.AppendUint64(append(b, prefix), uint64(ino))
	return binary.BigEndian.AppendUint64(b, n)
}

func keyBackName(ino, dir volume.Ino, name string) []byte {
	b := make([]byte, 0, 17+len(name))
	b = binary.BigEndian.AppendUint64(append(b, kName), uint64(ino))
	b = binary.BigEndian.AppendUint64(b, uint64(dir))
	return append(b, name...)
}

// after is the smallest key behind all that begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
