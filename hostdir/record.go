package hostdir

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// A key names a lower file for as long as it exists, over renames and reboots:
//
//	4  tag of the file system (of its ID in the marker), big endian
//	1  'h': what follows is a file handle, 4 bytes type and the handle's own bytes
//	   'n': what follows is inode number (8), birth time seconds (8), nanoseconds (4); of an
//	        inode without a file its own ID, zeros, and ones
//
// The value of a volume.LowerRecord is
//
//	1  format version, 1
//	1  flags
//	8  version of the inode when the rest was noted
//	8  lower inode number
//	8  lower ctime, seconds    4  nanoseconds
//	8  lower size
//	n  the key
//
// all big endian. The index keeps it with its own checksums.
const (
	recordVersion = 1
	recordHead    = 38
	keyHead       = 5
	maxHandleLen  = 128 // MAX_HANDLE_SZ of Linux, in bytes
	keyHandle     = 'h'
	keyNumber     = 'n'
)

// Flags of a record.
const (
	// flagClean: ctime and size are those after our own last change.
	flagClean uint8 = 1 << iota
	// flagOwner, flagMode, flagXattr: the lower file system refused what the index
	// has, so these are not compared.
	flagOwner
	flagMode
	flagXattr
	// flagStandIn: an empty file stands for a device node that could not be made.
	flagStandIn
	// flagSuspect: somebody else changed the content, which is not in the log yet.
	flagSuspect

	flagsRefused = flagOwner | flagMode | flagXattr | flagStandIn
	flagsKept    = flagsRefused | flagSuspect // until the file is another
	flagsAll     = flagClean | flagsKept
)

// record is what is remembered of an inode's lower file.
type record struct {
	flags   uint8
	version volume.Version
	ino     uint64
	ctime   volume.Time
	size    int64
	key     string
}

func (r *record) encode(ino volume.Ino) volume.LowerRecord {
	b := make([]byte, 0, recordHead+len(r.key))
	b = append(b, recordVersion, r.flags)
	b = binary.BigEndian.AppendUint64(b, uint64(r.version))
	b = binary.BigEndian.AppendUint64(b, r.ino)
	b = binary.BigEndian.AppendUint64(b, uint64(r.ctime.Sec))
	b = binary.BigEndian.AppendUint32(b, r.ctime.Nsec)
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	b = append(b, r.key...)
	return volume.LowerRecord{Ino: ino, Key: []byte(r.key), Value: b}
}

// decodeRecord reads a record's value; BadFormat.
func decodeRecord(b []byte) (*record, error) {
	if len(b) < recordHead+keyHead || len(b) > recordHead+keyHead+4+maxHandleLen {
		return nil, volume.Errorf(volume.BadFormat, "record of a lower file has %d bytes", len(b))
	}
	if b[0] != recordVersion {
		return nil, volume.Errorf(volume.WrongVersion, "record of a lower file has format %d, not %d", b[0], recordVersion)
	}
	r := &record{
		flags:   b[1],
		version: volume.Version(binary.BigEndian.Uint64(b[2:])),
		ino:     binary.BigEndian.Uint64(b[10:]),
		ctime:   volume.Time{Sec: int64(binary.BigEndian.Uint64(b[18:])), Nsec: binary.BigEndian.Uint32(b[26:])},
		size:    int64(binary.BigEndian.Uint64(b[30:])),
		key:     string(b[recordHead:]),
	}
	if r.flags&^flagsAll != 0 || r.ctime.Nsec >= 1e9 || r.size < 0 {
		return nil, volume.Errorf(volume.BadFormat, "record of a lower file: flags %x, ctime or size out of range", r.flags)
	}
	return r, nil
}

// handle is the file handle inside a key; nil if it holds none.
func handleOf(key string) []byte {
	if len(key) > keyHead && key[4] == keyHandle {
		return []byte(key[keyHead:])
	}
	return nil
}

// keyOf identifies an open lower file.
func (d *Dir) keyOf(fd int, st *lowerStat) (string, error) {
	b := make([]byte, 0, 64)
	b = append(b, d.fsTag[:]...)
	if d.handles {
		h, err := d.sys.handle(fd)
		if err == nil {
			b = append(b, keyHandle)
			return string(append(b, h...)), nil
		}
		if err != unix.EOPNOTSUPP {
			return "", err
		}
	}
	born := d.sys.birth(fd)
	b = append(b, keyNumber)
	b = binary.BigEndian.AppendUint64(b, st.Ino)
	b = binary.BigEndian.AppendUint64(b, uint64(born.Sec))
	b = binary.BigEndian.AppendUint32(b, born.Nsec)
	return string(b), nil
}

// noFile is a record that no file is like, of an inode that has none.
func (d *Dir) noFile(ino volume.Ino) *record {
	b := append(d.fsTag[:len(d.fsTag):len(d.fsTag)], keyNumber)
	b = binary.BigEndian.AppendUint64(b, uint64(ino)) // no two have one key
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint32(b, 1<<32-1)
	return &record{key: string(b)}
}

// ownerOf is the inode whose record has a key; 0 if there is none.
func (d *Dir) ownerOf(key string, view volume.View) (volume.Ino, error) {
	ino := d.pending.owner(key)
	if ino == 0 {
		var err error
		if ino, err = view.LowerIno([]byte(key)); err != nil {
			if volume.KindOf(err) == volume.NotFound {
				err = nil
			}
			return 0, err
		}
	}
	// Its record may have become another since.
	rec, err := d.recordOf(ino, view)
	if err != nil || rec == nil || rec.key != key {
		return 0, err
	}
	return ino, nil
}

// known reports whether a record is of this file system; those made on another (the
// directory was copied to a new disk) say nothing.
func (d *Dir) known(r *record) bool {
	return r != nil && len(r.key) > keyHead && string(d.fsTag[:]) == r.key[:4]
}

// recordOf is the newest record of an inode: one that still waits to be stored, or
// the index's; nil if there is none for this file system.
func (d *Dir) recordOf(ino volume.Ino, view volume.View) (*record, error) {
	if r := d.pending.find(ino); r != nil {
		return r, nil
	}
	b, err := view.Lower(ino)
	if err != nil {
		if volume.KindOf(err) == volume.NotFound {
			return nil, nil
		}
		return nil, volume.Wrap(err, "read the record of inode "+ino.String())
	}
	if b == nil {
		return nil, nil
	}
	r, err := decodeRecord(b)
	if err != nil {
		return nil, volume.Wrap(err, "inode "+ino.String())
	}
	if !d.known(r) {
		return nil, nil
	}
	return r, nil
}
