package conflict

import (
	"bufio"
	"encoding/binary"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// Every file of a record is a header and blocks without anything between. Numbers are
// little-endian.
//
//	header   0  4  magic "WDcf"
//	         4  1  format version, 1
//	         5  1  which file: M manifest, O ops, C contents, D the mark of completeness
//	         6  2  0
//	         8 16  random, the same in all files of a record
//	        24  8  XXH3-64 of what is before
//	block    0  1  kind
//	         1  3  0
//	         4  4  length of the payload, bytes
//	         8  8  checksum
//	        16  n  payload
//
// The checksum is the XXH3-64 of the payload with a seed: the XXH3-64 of the first 8 bytes
// with the seed (first half of the random number) xor (offset of the block). So a block counts in
// its own place in its own record only. The last block of a file is of kind Z, and its payload is
// the number of blocks before it (8 bytes).
const (
	blockMagic   = "WDcf"
	blockFormat  = 1
	fileHeadLen  = 32
	blockHeadLen = 16
	// maxPayload bounds a block: a frame with the largest op, a path of any use.
	maxPayload = 4 << 20
	writeBuf   = 1 << 20

	fileManifest = 'M'
	fileOps      = 'O'
	fileContents = 'C'
	fileComplete = 'D'

	blockEnd = 'Z'
)

// nonce tells the files of a record from those of another.
type nonce [16]byte

func (n nonce) header(which byte) []byte {
	b := append([]byte(blockMagic), blockFormat, which, 0, 0)
	b = append(b, n[:]...)
	return binary.LittleEndian.AppendUint64(b, xxh3.Hash(b))
}

// sum is the checksum of a block at an offset; head are its first 8 bytes.
func (n nonce) sum(off int64, head, payload []byte) uint64 {
	seed := xxh3.HashSeed(head, binary.LittleEndian.Uint64(n[:])^uint64(off))
	return xxh3.HashSeed(payload, seed)
}

// fileSum is what a finished file is: what is read back must be the same.
type fileSum struct {
	Len int64
	Sum [16]byte
}

// blockWriter writes one file.
type blockWriter struct {
	f      vfs.File
	name   string
	n      nonce
	off    int64
	blocks uint64
	buf    []byte
	joined []byte // a payload made of parts
	hash   *xxh3.Hasher
	err    error // the first; nothing is written after it
}

func newBlockWriter(fs vfs.FS, path string, which byte, n nonce) (*blockWriter, error) {
	f, err := fs.Create(path, "wolfdisk-conflict")
	if err != nil {
		return nil, volume.Wrap(err, "make "+path)
	}
	w := &blockWriter{f: f, name: path, n: n, buf: make([]byte, 0, writeBuf), hash: xxh3.New()}
	w.put(n.header(which))
	return w, w.err
}

// put writes bytes; the hash is of what was meant, since a file may alter what it is given.
func (w *blockWriter) put(p []byte) {
	w.hash.Write(p)
	w.off += int64(len(p))
	for len(p) > 0 && w.err == nil {
		k := copy(w.buf[len(w.buf):cap(w.buf)], p)
		w.buf, p = w.buf[:len(w.buf)+k], p[k:]
		if len(w.buf) == cap(w.buf) {
			w.flush()
		}
	}
}

func (w *blockWriter) flush() {
	if len(w.buf) > 0 && w.err == nil {
		_, err := w.f.Write(w.buf)
		w.err = volume.Wrap(err, "write "+w.name)
	}
	w.buf = w.buf[:0]
}

// block adds a block whose payload is the parts one behind the other.
func (w *blockWriter) block(kind byte, parts ...[]byte) error {
	payload := parts[0]
	if len(parts) > 1 {
		w.joined = w.joined[:0]
		for _, p := range parts {
			w.joined = append(w.joined, p...)
		}
		payload = w.joined
	}
	if len(payload) > maxPayload {
		if w.err == nil {
			w.err = volume.Errorf(volume.TooBig, "write %s: a block of %d bytes, at most %d", w.name, len(payload), maxPayload)
		}
		return w.err
	}
	head := [blockHeadLen]byte{kind}
	binary.LittleEndian.PutUint32(head[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(head[8:], w.n.sum(w.off, head[:8], payload))
	w.put(head[:])
	w.put(payload)
	w.blocks++
	return w.err
}

// finish ends the file and makes it durable.
func (w *blockWriter) finish() (fileSum, error) {
	count := binary.LittleEndian.AppendUint64(nil, w.blocks)
	w.block(blockEnd, count)
	w.flush()
	if w.err == nil {
		w.err = volume.Wrap(w.f.Sync(), "sync "+w.name)
	}
	if w.err == nil {
		dropCached(w.f)
	}
	if err := w.close(); w.err == nil {
		w.err = err
	}
	return fileSum{w.off, w.hash.Sum128().Bytes()}, w.err
}

func (w *blockWriter) close() error {
	if w == nil || w.f == nil {
		return nil
	}
	f := w.f
	w.f = nil
	return volume.Wrap(f.Close(), "close "+w.name)
}

// blockReader reads a file from one offset on.
type blockReader struct {
	f      vfs.File
	r      *bufio.Reader
	name   string
	n      nonce
	off    int64
	blocks uint64
	buf    []byte
	hash   *xxh3.Hasher // of all that was read, if it is wanted
	ended  bool
}

// damage is an error about a file.
func damage(name, format string, args ...any) error {
	return volume.Wrap(volume.Errorf(volume.Corrupt, format, args...), name+" is damaged")
}

// openBlocks opens a file and checks its header. want is the number it must have; nil takes any.
func openBlocks(fs vfs.FS, path string, which byte, want *nonce) (*blockReader, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, volume.Wrap(err, "open "+path)
	}
	r := &blockReader{f: f, name: path, r: bufio.NewReaderSize(f, 64<<10), hash: xxh3.New()}
	if err := r.head(which, want); err != nil {
		f.Close() // it was only read
		return nil, err
	}
	return r, nil
}

func (r *blockReader) head(which byte, want *nonce) error {
	var b [fileHeadLen]byte
	if err := r.full(b[:]); err != nil {
		return err
	}
	switch {
	case string(b[:4]) != blockMagic || binary.LittleEndian.Uint64(b[24:]) != xxh3.Hash(b[:24]):
		return damage(r.name, "its header does not match its checksum")
	case b[4] != blockFormat:
		return volume.Errorf(volume.WrongVersion, "%s has format %d, this program knows %d: use the program that wrote it", r.name, b[4], blockFormat)
	case b[5] != which || b[6] != 0 || b[7] != 0:
		return damage(r.name, "it is another file (%q)", b[5])
	}
	r.n = nonce(b[8:24])
	if want != nil && r.n != *want {
		return damage(r.name, "it belongs to another record")
	}
	return nil
}

func (r *blockReader) full(p []byte) error {
	n, err := io.ReadFull(r.r, p)
	if r.hash != nil {
		r.hash.Write(p[:n])
	}
	switch err {
	case nil:
		r.off += int64(n)
		return nil
	case io.EOF, io.ErrUnexpectedEOF:
		return damage(r.name, "it ends at %d", r.off+int64(n))
	}
	return volume.Errorf(volume.IO, "read %s: %w", r.name, err)
}

// next is the next block, valid until the one after; io.EOF behind the last.
func (r *blockReader) next() (kind byte, payload []byte, err error) {
	if r.ended {
		return 0, nil, io.EOF
	}
	var head [blockHeadLen]byte
	at := r.off
	if err := r.full(head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if n > maxPayload || head[1] != 0 || head[2] != 0 || head[3] != 0 {
		return 0, nil, damage(r.name, "a block of %d bytes at %d", n, at)
	}
	if cap(r.buf) < int(n) {
		r.buf = make([]byte, n)
	}
	payload = r.buf[:n]
	if err := r.full(payload); err != nil {
		return 0, nil, err
	}
	if binary.LittleEndian.Uint64(head[8:]) != r.n.sum(at, head[:8], payload) {
		return 0, nil, damage(r.name, "the block at %d does not match its checksum", at)
	}
	if head[0] != blockEnd {
		r.blocks++
		return head[0], payload, nil
	}
	return 0, nil, r.end(payload)
}

// end checks that the file ends where it says so.
func (r *blockReader) end(payload []byte) error {
	if len(payload) != 8 || r.hash != nil && binary.LittleEndian.Uint64(payload) != r.blocks {
		return damage(r.name, "it has %d blocks, and says something else", r.blocks)
	}
	if _, err := r.r.ReadByte(); err != io.EOF {
		return damage(r.name, "it goes on behind its end")
	}
	r.ended = true
	return io.EOF
}

// seek goes on at a block.
func (r *blockReader) seek(off int64) {
	r.r.Reset(io.NewSectionReader(r.f, off, 1<<62))
	r.off, r.hash = off, nil
}

// fileSum is that of a file read from its beginning to its end.
func (r *blockReader) fileSum() fileSum { return fileSum{r.off, r.hash.Sum128().Bytes()} }

func (r *blockReader) close() error { return r.f.Close() }
