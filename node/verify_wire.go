package node

import (
	"bufio"
	"encoding/binary"
	"io"

	"wolfdisk/index"
	"wolfdisk/volume"
)

// What a volume.RequestDigest asks, as the first byte of its body; docs/formats.md,
// "Comparison".
const (
	digestHold   byte = iota + 1 // stop where you are
	digestTake                   // take the index at a version
	digestEnd                    // let go
	digestFind                   // the entry at a path
	digestList                   // the entries of a directory
	digestHash                   // what the disk holds of files
	digestCheck                  // what differs in the real directory
	digestVerify                 // compare all nodes: of the leader only
)

const (
	// maxVerifyFiles bounds the files of one request for hashes.
	maxVerifyFiles = 256
	// maxVerifyPath bounds a path in a request and in an answer, bytes.
	maxVerifyPath = 1 << 20
	// maxVerifyText bounds an explanation, bytes.
	maxVerifyText = 4 << 10
	// fileLen is the length of a file in a request.
	fileLen = 16
	// hashHeadLen is the length of a hash in an answer, before its text.
	hashHeadLen = 8 + 1 + 8 + 8 + 32 + 2
)

// digestRequest begins a request about a copy.
func digestRequest(what byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{what}, id)
}

// parseDigest splits a request.
func parseDigest(body []byte) (what byte, id uint64, rest []byte, err error) {
	if len(body) < 9 {
		return 0, 0, nil, volume.Errorf(volume.BadFormat, "request of a comparison with %d bytes", len(body))
	}
	return body[0], binary.BigEndian.Uint64(body[1:]), body[9:], nil
}

func appendFile(b []byte, f verifyFile) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(f.ino))
	return binary.BigEndian.AppendUint64(b, uint64(f.want))
}

func parseFiles(b []byte) ([]verifyFile, error) {
	if len(b)%fileLen != 0 || len(b) > maxVerifyFiles*fileLen {
		return nil, volume.Errorf(volume.BadFormat, "request for hashes with %d bytes", len(b))
	}
	var files []verifyFile
	for ; len(b) > 0; b = b[fileLen:] {
		files = append(files, verifyFile{volume.Ino(binary.BigEndian.Uint64(b)), volume.Version(binary.BigEndian.Uint64(b[8:]))})
	}
	return files, nil
}

func appendHash(b []byte, h *verifyHash) []byte {
	text := h.text[:min(len(h.text), maxVerifyText)]
	b = binary.BigEndian.AppendUint64(b, uint64(h.ino))
	b = append(b, byte(h.status))
	b = binary.BigEndian.AppendUint64(b, uint64(h.version))
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	b = append(b, h.sum[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// readHash reads the next hash of an answer; io.EOF behind the last one.
func readHash(r io.Reader, h *verifyHash) error {
	var b [hashHeadLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return cutShort(err)
	}
	*h = verifyHash{ino: volume.Ino(binary.BigEndian.Uint64(b[:])), status: hashStatus(b[8]),
		version: volume.Version(binary.BigEndian.Uint64(b[9:])), size: int64(binary.BigEndian.Uint64(b[17:]))}
	copy(h.sum[:], b[25:])
	n := binary.BigEndian.Uint16(b[57:])
	if h.status > hashUnreadable || n > maxVerifyText {
		return volume.Errorf(volume.BadFormat, "hash with status %d and a text of %d bytes", h.status, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return noEnd(err)
	}
	h.text = string(text)
	return nil
}

// cutShort is the error of reading what may end here, but not within.
func cutShort(err error) error {
	if err == io.ErrUnexpectedEOF {
		return noEnd(err)
	}
	return err
}

func noEnd(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return volume.Errorf(volume.BadFormat, "an answer of the comparison is cut off")
	}
	return err
}

// writeSized writes bytes behind their length.
func writeSized(w *bufio.Writer, b []byte) error {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(b)))
	if _, err := w.Write(n[:]); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// readSized reads bytes behind their length into buf; io.EOF at the end.
func readSized(r io.Reader, buf []byte, max int) ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, cutShort(err)
	}
	size := binary.BigEndian.Uint32(n[:])
	if uint64(size) > uint64(max) {
		return nil, volume.Errorf(volume.BadFormat, "%d bytes in an answer of the comparison, at most %d are possible", size, max)
	}
	if cap(buf) < int(size) {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	_, err := io.ReadFull(r, buf)
	return buf, noEnd(err)
}

// readEntries reads the entries of a directory, whose names must count up.
func readEntries(r io.Reader, fn func(*index.Entry) error) error {
	var buf []byte
	last, first := "", true
	for {
		var err error
		if buf, err = readSized(r, buf, index.MaxEntryLen); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		e, err := index.DecodeEntry(buf)
		if err != nil {
			return err
		}
		if e.Name == "" || !first && e.Name <= last {
			return volume.Errorf(volume.BadFormat, "the names of a directory come out of order")
		}
		last, first = e.Name, false
		if err := fn(&e); err != nil {
			return err
		}
	}
}
