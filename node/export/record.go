package export

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// The record is a header and entries of one size, each with a checksum, appended. All
// numbers are big-endian.
//
//	header  "WDEXPORT"  format u32 = 1  zero u32   volume 16  XXH3-64 of what is before
//	entry   kind u8  zero 3  path 16  a u64  b u64  low half of XXH3-64 of what is before
//
// A path is given by the first 16 bytes of the SHA-256 of its bytes from the root, without a
// leading slash. A last entry that is torn is cut.
const (
	recordMagic  = "WDEXPORT"
	recordFormat = 1
	entryLen     = 40
)

// Kinds of entries.
const (
	entryBegin   = 1 // an export of version a begins; for people, as is entryEnd
	entryIntent  = 2 // a path is about to be made
	entryDone    = 3 // a path is inode a as of version b, on disk
	entryRemoved = 4 // a path is no longer ours
	entryEnd     = 5 // the export of version a is complete
)

type pathKey [16]byte

func keyOf(path string) pathKey {
	sum := sha256.Sum256([]byte(path))
	return pathKey(sum[:])
}

// made is what the record says of a path; zeros while it is not known to be whole.
type made struct {
	ino     volume.Ino
	version volume.Version
}

// record is the open file. It is used by one goroutine.
type record struct {
	f    *os.File
	made map[pathKey]made
	buf  []byte

	noSync bool
}

// openRecord reads the record, or makes it, and locks it.
func openRecord(path string, vol volume.ID) (_ *record, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, volume.Wrap(err, "open the record of the export")
	}
	r := &record{f: f, made: map[pathKey]made{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, volume.Errorf(volume.Busy, "another export is writing into this directory: wait for its end, or choose another directory")
	}
	end, err := r.load(vol)
	if err != nil {
		return nil, err
	}
	if end == 0 {
		r.buf = header(vol)
	}
	if err := f.Truncate(end); err != nil {
		return nil, volume.Wrap(err, "cut the record of the export")
	}
	_, err = f.Seek(end, io.SeekStart)
	return r, volume.Wrap(err, "read the record of the export")
}

func header(vol volume.ID) []byte {
	b := append([]byte(recordMagic), 0, 0, 0, recordFormat, 0, 0, 0, 0)
	b = append(b, vol[:]...)
	return binary.BigEndian.AppendUint64(b, xxh3.Hash(b))
}

// load reads what is there and returns where the last whole entry ends.
func (r *record) load(vol volume.ID) (int64, error) {
	b := make([]byte, entryLen*1024)
	n, err := io.ReadFull(r.f, b[:entryLen])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return 0, nil // made, and nothing was written after it
	}
	if err != nil {
		return 0, volume.Wrap(err, "read the record of the export")
	}
	h := b[:n]
	switch {
	case string(h[:8]) != recordMagic || binary.BigEndian.Uint64(h[32:]) != xxh3.Hash(h[:32]):
		return 0, volume.Errorf(volume.Corrupt, "%s is damaged, so nothing tells what the export has made: choose an empty directory", r.f.Name())
	case binary.BigEndian.Uint32(h[8:]) != recordFormat:
		return 0, volume.Errorf(volume.WrongVersion, "%s has format %d, this program knows %d: use the program that wrote it", r.f.Name(), binary.BigEndian.Uint32(h[8:]), recordFormat)
	case volume.ID(h[16:32]) != vol:
		return 0, volume.Errorf(volume.WrongVolume, "the directory holds an export of volume %s, this is %s: choose another directory", volume.ID(h[16:32]), vol)
	}
	end := int64(entryLen)
	for {
		n, err := io.ReadFull(r.f, b)
		for e := b[:n-n%entryLen]; len(e) > 0; e = e[entryLen:] {
			if binary.BigEndian.Uint32(e[36:]) != uint32(xxh3.Hash(e[:36])) {
				return end, nil
			}
			r.take(e[0], pathKey(e[4:20]), binary.BigEndian.Uint64(e[20:]), binary.BigEndian.Uint64(e[28:]))
			end += entryLen
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return end, nil
		}
		if err != nil {
			return 0, volume.Wrap(err, "read the record of the export")
		}
	}
}

func (r *record) take(kind byte, key pathKey, a, b uint64) {
	switch kind {
	case entryIntent:
		r.made[key] = made{}
	case entryDone:
		r.made[key] = made{volume.Ino(a), volume.Version(b)}
	case entryRemoved:
		delete(r.made, key)
	}
}

// put adds an entry, which reaches the file with the next flush.
func (r *record) put(kind byte, key pathKey, a, b uint64) {
	start := len(r.buf)
	r.buf = append(r.buf, kind, 0, 0, 0)
	r.buf = append(r.buf, key[:]...)
	r.buf = binary.BigEndian.AppendUint64(r.buf, a)
	r.buf = binary.BigEndian.AppendUint64(r.buf, b)
	r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(xxh3.Hash(r.buf[start:])))
}

// flush writes what was put; with sync it is on disk afterwards, with all before it.
func (r *record) flush(sync bool) error {
	if len(r.buf) > 0 {
		n, err := r.f.Write(r.buf)
		if err != nil {
			// What is torn is written over: entries begin at multiples of their length.
			at, serr := r.f.Seek(-int64(n), io.SeekCurrent)
			return volume.Wrap(errors.Join(err, serr, r.f.Truncate(at)), "write the record of the export")
		}
		r.buf = r.buf[:0]
	}
	if !sync || r.noSync {
		return nil
	}
	return volume.Wrap(r.f.Sync(), "sync the record of the export")
}

func (r *record) close() error { return volume.Wrap(r.f.Close(), "close the record of the export") }
