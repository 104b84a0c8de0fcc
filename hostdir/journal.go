package hostdir

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// The journal of a redo says that one is under way in this boot, and which inodes had
// been edited by somebody before it began. It is the file redo in the state directory,
// published by rename, integers big endian:
//
//	8  magic "WDREDO\0\0"    4  format, 1    48  boot ID, padded with zeros
//	4  count    8 each: inode IDs    8  XXH3-64 of everything before
const (
	journalName   = "redo"
	journalMagic  = "WDREDO\x00\x00"
	journalFormat = 1
	journalHead   = 8 + 4 + bootLen + 4
	// maxJournal bounds the file that is read back, in bytes: 16 million edits.
	maxJournal = journalHead + 8<<24 + 8
)

func (d *Dir) writeJournal(edited map[volume.Ino]bool) error {
	b := make([]byte, 0, journalHead+8*len(edited)+8)
	b = append(b, journalMagic...)
	b = binary.BigEndian.AppendUint32(b, journalFormat)
	var boot [bootLen]byte
	copy(boot[:], d.boot.ID)
	b = append(b, boot[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(edited)))
	for ino := range edited {
		b = binary.BigEndian.AppendUint64(b, uint64(ino))
	}
	b = binary.BigEndian.AppendUint64(b, xxh3.Hash(b))
	const tmp = journalName + ".tmp"
	fd, err := again2(func() (int, error) {
		return unix.Openat(d.state, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return volume.Wrap(err, "create the redo journal")
	}
	_, err = pwriteFull(fd, b, 0)
	if err == nil {
		err = again(func() error { return unix.Fsync(fd) })
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err == nil {
		err = renameAt(d.state, tmp, d.state, journalName)
	}
	if err == nil {
		err = again(func() error { return unix.Fsync(d.state) })
	}
	return volume.Wrap(err, "write the redo journal")
}

// readJournal returns what an interrupted redo of this boot had found; found is false
// if there was none. One of another boot is of no interest: a power loss has undone
// what it did.
func (d *Dir) readJournal() (edited []volume.Ino, found bool, err error) {
	fd, err := again2(func() (int, error) {
		return unix.Openat(d.state, journalName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err == unix.ENOENT {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, volume.Wrap(err, "open the redo journal")
	}
	defer unix.Close(fd)
	st, err := fstat(fd)
	if err != nil {
		return nil, false, volume.Wrap(err, "stat the redo journal")
	}
	b := make([]byte, min(st.Size, maxJournal))
	if _, err := preadFull(fd, b, 0); err != nil {
		return nil, false, volume.Wrap(err, "read the redo journal")
	}
	edited, boot, err := decodeJournal(b)
	if err != nil {
		return nil, false, err
	}
	return edited, boot == padBoot(d.boot.ID), nil
}

func padBoot(id string) (b [bootLen]byte) { copy(b[:], id); return b }

func decodeJournal(b []byte) (edited []volume.Ino, boot [bootLen]byte, err error) {
	bad := func(what string) ([]volume.Ino, [bootLen]byte, error) {
		return nil, boot, volume.Errorf(volume.Corrupt, "the redo journal in the state directory is damaged (%s); remove the file %s to redo "+
			"everything since the last checkpoint, over edits made since", what, journalName)
	}
	if len(b) < journalHead+8 || string(b[:8]) != journalMagic {
		return bad("magic")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != journalFormat {
		return nil, boot, volume.Errorf(volume.WrongVersion, "the redo journal has format %d, not %d; use the program that wrote it", v, journalFormat)
	}
	copy(boot[:], b[12:])
	n := int(binary.BigEndian.Uint32(b[journalHead-4:]))
	if len(b) != journalHead+8*n+8 {
		return bad("length")
	}
	if binary.BigEndian.Uint64(b[len(b)-8:]) != xxh3.Hash(b[:len(b)-8]) {
		return bad("checksum")
	}
	for i := range n {
		edited = append(edited, volume.Ino(binary.BigEndian.Uint64(b[journalHead+8*i:])))
	}
	return edited, boot, nil
}

func (d *Dir) endJournal() error {
	if err := unlinkAt(d.state, journalName, false); err != nil && err != unix.ENOENT {
		return volume.Wrap(err, "remove the redo journal")
	}
	return volume.Wrap(again(func() error { return unix.Fsync(d.state) }), "sync the state directory")
}
