package fusefs

import "wolfdisk/volume"

const (
	blockSize  = 4096 // st_blksize: the unit in which the kernel's page cache works
	sectorSize = 512  // the unit of st_blocks
)

// blocks is st_blocks: what the size would take. The real use differs from node to
// node, and no promise is made about it. A file with holes has one less: programs look for
// holes, with SEEK_DATA, in what takes less than its size; but never 0, which some
// take for nothing but a hole.
func blocks(a *volume.Attr) uint64 {
	if !a.IsFile() {
		return 0
	}
	if a.Holes && a.Size > sectorSize {
		return uint64(a.Size-1) / sectorSize
	}
	return (uint64(a.Size) + sectorSize - 1) / sectorSize
}

// putAttr encodes struct fuse_attr. Times before 1970 are negative seconds in two's
// complement, which the kernel reads back as such.
func putAttr(b []byte, a *volume.Attr) {
	_ = b[attrLen-1]
	native.PutUint64(b, uint64(a.Ino))
	native.PutUint64(b[8:], uint64(a.Size))
	native.PutUint64(b[16:], blocks(a))
	native.PutUint64(b[24:], uint64(a.Atime.Sec))
	native.PutUint64(b[32:], uint64(a.Mtime.Sec))
	native.PutUint64(b[40:], uint64(a.Ctime.Sec))
	native.PutUint32(b[48:], a.Atime.Nsec)
	native.PutUint32(b[52:], a.Mtime.Nsec)
	native.PutUint32(b[56:], a.Ctime.Nsec)
	native.PutUint32(b[60:], a.Mode)
	native.PutUint32(b[64:], a.Nlink)
	native.PutUint32(b[68:], a.UID)
	native.PutUint32(b[72:], a.GID)
	native.PutUint32(b[76:], a.Rdev)
	native.PutUint32(b[80:], blockSize)
	native.PutUint32(b[84:], 0)
}

// putEntry encodes struct fuse_entry_out. The generation is 0, since inode IDs are
// never reused. fresh false makes the attributes expire at once.
func putEntry(b []byte, a *volume.Attr, fresh bool) {
	_ = b[entryLen-1]
	native.PutUint64(b, uint64(a.Ino))
	native.PutUint64(b[8:], 0)
	native.PutUint64(b[16:], validForEver)
	native.PutUint64(b[24:], attrValidity(fresh))
	native.PutUint64(b[32:], 0)
	putAttr(b[40:], a)
}

// putNoEntry encodes the answer that a name does not exist, which the kernel keeps.
func putNoEntry(b []byte) {
	clear(b[:entryLen])
	native.PutUint64(b[16:], validForEver)
}

// putAttrOut encodes struct fuse_attr_out.
func putAttrOut(b []byte, a *volume.Attr, fresh bool) {
	_ = b[attrOutLen-1]
	native.PutUint64(b, attrValidity(fresh))
	native.PutUint64(b[8:], 0)
	putAttr(b[16:], a)
}

func attrValidity(fresh bool) uint64 {
	if fresh {
		return validForEver
	}
	return 0
}

// putStatx encodes struct fuse_statx_out: the attributes with the time of birth.
func putStatx(b []byte, a *volume.Attr) {
	clear(b[:statxOutLen])
	native.PutUint64(b, validForEver)
	s := b[32:]
	native.PutUint32(s, statxBasic|statxBtime)
	native.PutUint32(s[4:], blockSize)
	native.PutUint32(s[16:], a.Nlink)
	native.PutUint32(s[20:], a.UID)
	native.PutUint32(s[24:], a.GID)
	native.PutUint16(s[28:], uint16(a.Mode))
	native.PutUint64(s[32:], uint64(a.Ino))
	native.PutUint64(s[40:], uint64(a.Size))
	native.PutUint64(s[48:], blocks(a))
	for i, t := range [...]volume.Time{a.Atime, a.Btime, a.Ctime, a.Mtime} {
		native.PutUint64(s[64+16*i:], uint64(t.Sec))
		native.PutUint32(s[72+16*i:], t.Nsec)
	}
	native.PutUint32(s[128:], a.Rdev>>8&0xfff)
	native.PutUint32(s[132:], a.Rdev&0xff|a.Rdev>>12&0xfff00)
}

// putStatFS encodes struct fuse_kstatfs.
func putStatFS(b []byte, s *volume.StatFS) {
	clear(b[:statfsLen])
	native.PutUint64(b, s.Blocks)
	native.PutUint64(b[8:], s.BlocksFree)
	native.PutUint64(b[16:], s.Avail)
	native.PutUint64(b[24:], s.Inodes)
	native.PutUint64(b[32:], s.InodesFree)
	native.PutUint32(b[40:], s.BlockSize)
	native.PutUint32(b[44:], volume.MaxNameLen)
	native.PutUint32(b[48:], s.BlockSize)
}
