package chunkstore

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// The file mark says how much of the newest pack was durable when it was written:
// everything in packs with a lower number, and the first length bytes of that pack.
// It has two slots, in different blocks, written in turn, so that a torn write leaves
// the other one. The intact slot with the higher sequence number counts.
//
//	slot      0 magic "WDMARK\r\n"   8 version u32   12 pack number u32   16 volume ID
//	          32 length u64   40 sequence u64   48 zeros   56 checksum of 0..56
const (
	markName  = "mark"
	markMagic = "WDMARK\r\n"
	markLen   = 64
	markSlot  = 4096 // distance of the slots, bytes
)

type mark struct {
	pack   uint32
	length int64
	seq    uint64
}

func (m mark) encode(v volume.ID) []byte {
	b := make([]byte, markLen)
	copy(b, markMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], m.pack)
	copy(b[16:32], v[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(m.length))
	binary.LittleEndian.PutUint64(b[40:], m.seq)
	salt{volume: v}.sealBytes(0, b)
	return b
}

func decodeMark(b []byte, v volume.ID) (mark, error) {
	own := volume.ID(b[16:32])
	if string(b[:8]) != markMagic || !(salt{volume: own}).intact(0, b) {
		return mark{}, volume.Errorf(volume.Corrupt, "damaged slot")
	}
	if n := binary.LittleEndian.Uint32(b[8:]); n != formatVersion {
		return mark{}, volume.Errorf(volume.WrongVersion, "chunk store format %d, this program knows %d: use the version of WolfDisk that wrote it", n, formatVersion)
	}
	if own != v {
		return mark{}, volume.Errorf(volume.WrongVolume, "belongs to volume %s, not to %s: give each volume its own state directory", own, v)
	}
	m := mark{
		pack:   binary.LittleEndian.Uint32(b[12:]),
		length: int64(binary.LittleEndian.Uint64(b[32:])),
		seq:    binary.LittleEndian.Uint64(b[40:]),
	}
	if m.length < 0 || m.length > maxPackFile {
		return mark{}, volume.Errorf(volume.Corrupt, "length out of range")
	}
	return m, nil
}

// createMark publishes a mark file that promises nothing.
func (s *Store) createMark() error {
	b := make([]byte, markSlot+markLen)
	copy(b, mark{seq: 1}.encode(s.opts.Volume))
	copy(b[markSlot:], mark{seq: 2}.encode(s.opts.Volume))
	if err := s.publish(markName, b); err != nil {
		return err
	}
	return s.files.syncDir()
}

// readMark finds the newest intact slot. damage is set if a slot could not be used:
// then the mark may be older than what was really durable.
func (s *Store) readMark() (m mark, damage, err error) {
	f, err := s.opts.FS.OpenReadWrite(s.files.path(markName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return mark{}, nil, ioError(err, "open chunk store mark")
	}
	s.markFile = f
	for slot := range int64(2) {
		b := make([]byte, markLen)
		if _, err := f.ReadAt(b, slot*markSlot); err != nil && !errors.Is(err, io.EOF) {
			return mark{}, nil, ioError(err, "read chunk store mark")
		}
		got, err := decodeMark(b, s.opts.Volume)
		switch k := volume.KindOf(err); {
		case err == nil && got.seq > m.seq:
			m = got
		case err == nil:
		case k == volume.Corrupt:
			damage = err
		default:
			return mark{}, nil, volume.Wrap(err, "read "+s.files.path(markName))
		}
	}
	return m, damage, nil
}

// writeMark makes a new mark durable. Called with writeMu held, after the sync that
// makes it true.
func (s *Store) writeMark(pack uint32, length int64) error {
	m := mark{pack: pack, length: length, seq: s.mark.seq + 1}
	if _, err := s.markFile.WriteAt(m.encode(s.opts.Volume), int64(m.seq%2)*markSlot); err != nil {
		return ioError(err, "write chunk store mark")
	}
	if err := s.markFile.SyncData(); err != nil {
		return s.failLocked(ioError(err, "sync chunk store mark"))
	}
	s.mark = m
	return nil
}

// publish makes a file appear whole or not at all; the caller syncs the directory.
func (s *Store) publish(name string, content []byte) error {
	fs, tmp := s.opts.FS, s.files.path(name+tempSuffix)
	f, err := fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return ioError(err, "create "+name)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fs.Rename(tmp, s.files.path(name))
	}
	if err != nil {
		_ = fs.Remove(tmp) // else the next Open removes it
		return ioError(err, "write "+name)
	}
	return nil
}
