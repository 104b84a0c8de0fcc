package index

import (
	"wolfdisk/volume"
)

// EachExtent calls fn for all extents of all inodes, such as live without a name or have
// ended while somebody reads them included, by inode and then by offset, until it
// returns false.
func (s *Snapshot) EachExtent(fn func(ino volume.Ino, x volume.Extent) bool) error {
	return scan(s.r, []byte{kExtent}, []byte{kExtent}, func(key, val []byte) error {
		if len(key) != 17 {
			return volume.Errorf(volume.Corrupt, "index: extent key of %d bytes", len(key))
		}
		x, err := decodeExtent(int64(beUint64(key[9:])), val)
		if err == nil && !fn(volume.Ino(beUint64(key[1:])), x) {
			err = errStop
		}
		return err
	})
}
