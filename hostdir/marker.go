package hostdir

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Reserved is the name at a volume's root that belongs to the real directory. No op
// may make it: IsReserved.
const (
	Reserved    = ".wolfdisk"
	markerName  = "marker"
	stagingName = "staging"
	keptName    = "kept"
)

// IsReserved reports whether a name is kept for the real directory itself.
func IsReserved(dir volume.Ino, name string) bool {
	return dir == volume.RootIno && name == Reserved
}

// marker ties a directory to a volume, a state directory and a file system. It is a
// text of fixed lines, for an operator may want to read it:
//
//	wolfdisk-directory 1
//	volume 32 hex digits
//	store 32 hex digits
//	filesystem uuid-... or fsid-...
//	checksum 16 hex digits
//
// each with a newline; the checksum is XXH3-64 of all bytes before its line.
type marker struct {
	volume, store volume.ID
	fs            string
}

const (
	markerMagic  = "wolfdisk-directory"
	markerFormat = "1"
	maxMarkerLen = 512
	maxFSLen     = 64
)

func (m marker) encode() []byte {
	b := fmt.Appendf(nil, "%s %s\nvolume %s\nstore %s\nfilesystem %s\n", markerMagic, markerFormat, m.volume, m.store, m.fs)
	return fmt.Appendf(b, "checksum %016x\n", xxh3.Hash(b))
}

func decodeMarker(b []byte) (m marker, err error) {
	bad := func(what string) (marker, error) {
		return marker{}, volume.Errorf(volume.Corrupt, "the marker %s/%s is damaged (%s); restore it from a backup, or remove %s and "+
			"adopt the directory again", Reserved, markerName, what, Reserved)
	}
	if len(b) > maxMarkerLen {
		return bad("too long")
	}
	lines := strings.SplitAfter(string(b), "\n")
	if word, format, _ := strings.Cut(strings.TrimSuffix(lines[0], "\n"), " "); word != markerMagic {
		return bad("no marker at all")
	} else if format != markerFormat {
		return marker{}, volume.Errorf(volume.WrongVersion, "the marker %s/%s has format %.20q, this program knows %s; use the program "+
			"that wrote it", Reserved, markerName, format, markerFormat)
	}
	if len(lines) != 6 || lines[5] != "" {
		return bad("wrong number of lines")
	}
	value := func(i int, key string) string {
		v, ok := strings.CutPrefix(lines[i], key+" ")
		if !ok || !strings.HasSuffix(v, "\n") {
			return ""
		}
		return strings.TrimSuffix(v, "\n")
	}
	body := strings.Join(lines[:4], "")
	if value(4, "checksum") != fmt.Sprintf("%016x", xxh3.HashString(body)) {
		return bad("checksum")
	}
	if m.volume.UnmarshalText([]byte(value(1, "volume"))) != nil || m.store.UnmarshalText([]byte(value(2, "store"))) != nil {
		return bad("IDs")
	}
	if m.fs = value(3, "filesystem"); m.fs == "" || len(m.fs) > maxFSLen {
		return bad("file system")
	}
	return m, nil
}

// readMarker reads the marker of an open .wolfdisk; NotFound.
func (d *Dir) readMarker(own int) (marker, error) {
	fd, err := d.sys.open(own, markerName, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return marker{}, volume.Wrap(err, "open the marker "+Reserved+"/"+markerName)
	}
	defer unix.Close(fd)
	buf := make([]byte, maxMarkerLen+1)
	n, err := preadFull(fd, buf, 0)
	if err != nil {
		return marker{}, volume.Wrap(err, "read the marker "+Reserved+"/"+markerName)
	}
	return decodeMarker(buf[:n])
}

// writeMarker publishes the marker: temporary file, sync, rename, sync of the folders.
func (d *Dir) writeMarker(own int, m marker) error {
	const tmp = markerName + ".tmp"
	if err := unlinkAt(own, tmp, false); err != nil && err != unix.ENOENT {
		return volume.Wrap(err, "remove an unfinished marker")
	}
	fd, err := d.sys.open(own, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return volume.Wrap(err, "create the marker")
	}
	_, err = pwriteFull(fd, m.encode(), 0)
	if err == nil {
		err = again(func() error { return unix.Fsync(fd) })
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err == nil {
		err = renameAt(own, tmp, own, markerName)
	}
	if err == nil {
		err = d.syncDir(own)
	}
	if err == nil {
		err = d.syncDir(d.root)
	}
	return volume.Wrap(err, "write the marker "+Reserved+"/"+markerName)
}

// syncDir makes a directory's entries durable.
func (d *Dir) syncDir(dir int) error {
	fd, err := d.sys.open(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return d.failSync(again(func() error { return unix.Fsync(fd) }), "sync directory")
}

// fsTagOf shortens a file system's ID for keys.
func fsTagOf(fs string) (tag [4]byte) {
	binary.BigEndian.PutUint32(tag[:], uint32(xxh3.HashString(fs)))
	return tag
}

func (m marker) equal(o marker) bool { return bytes.Equal(m.encode(), o.encode()) }
