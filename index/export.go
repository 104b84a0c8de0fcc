package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pierrec/lz4/v4"
	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// An export is what a snapshot sync carries of the index: every record that is the same
// on every node at the same version, in the order of keys, and the meta record last.
// It is a magic, the length of the meta record (2 bytes) and that record, so that the
// reader knows at once where the copy begins, and then blocks:
//
//	 0  4  stored length, bytes; 0 ends the export
//	 4  4  raw length
//	 8  8  XXH3-64 of the stored bytes
//	16  n  LZ4 block, or the records themselves if both lengths are equal
//
// little-endian. A record is two lengths as uvarints, then key and value. What the two
// sides share is docs/formats.md, "Export".
const (
	exportMagic = "WDexpo\x00\x01"
	// exportBlock is where a block ends, bytes. A record is far smaller.
	exportBlock = 256 << 10
	// maxExportBlock bounds a block that is read: one record beyond exportBlock.
	maxExportBlock = exportBlock + maxExportRecord
	// maxExportRecord bounds a record: the largest is an attribute of 64 KiB.
	maxExportRecord = volume.MaxXattrLen + 1024
	exportHeadLen   = 16
)

// exported are the kinds of keys that an export carries, in their order.
var exported = []byte{kAnswer, kAsked, kCookie, kDirent, kInode, kReign, kName, kOrphan, kMember, kTarget, kXattr}

// Export writes what Import reads. The snapshot stays the caller's. fn is told of every
// inode that was written.
func (s *Snapshot) Export(w io.Writer, fn func()) error {
	ended, err := s.ended()
	if err != nil {
		return err
	}
	x := &exporter{w: w}
	meta := s.meta.encode()
	head := binary.LittleEndian.AppendUint16([]byte(exportMagic), uint16(len(meta)))
	if _, err := w.Write(append(head, meta...)); err != nil {
		return err
	}
	for _, kind := range exported {
		err := scan(s.r, []byte{kind}, []byte{kind}, func(key, val []byte) error {
			switch kind {
			case kInode, kTarget, kXattr:
				if len(ended) > 0 && len(key) >= 9 && ended[volume.Ino(beUint64(key[1:]))] {
					return nil
				}
			}
			if kind == kInode {
				fn()
			}
			return x.record(key, val)
		})
		if err != nil {
			return err
		}
	}
	if err := x.record(metaKey, meta); err != nil {
		return err
	}
	return x.end()
}

// ended are the inodes that are only kept for who has them open here.
func (s *Snapshot) ended() (map[volume.Ino]bool, error) {
	inos := map[volume.Ino]bool{}
	err := scan(s.r, []byte{kLimbo}, []byte{kLimbo}, func(key, _ []byte) error {
		if len(key) == 9 {
			inos[volume.Ino(beUint64(key[1:]))] = true
		}
		return nil
	})
	return inos, err
}

type exporter struct {
	w      io.Writer
	raw    []byte
	packed []byte
	lz     lz4.Compressor
}

func (x *exporter) record(key, val []byte) error {
	x.raw = binary.AppendUvarint(x.raw, uint64(len(key)))
	x.raw = binary.AppendUvarint(x.raw, uint64(len(val)))
	x.raw = append(append(x.raw, key...), val...)
	if len(x.raw) < exportBlock {
		return nil
	}
	return x.block()
}

func (x *exporter) block() error {
	if len(x.raw) == 0 {
		return nil
	}
	if cap(x.packed) < exportHeadLen+len(x.raw) {
		x.packed = make([]byte, exportHeadLen+len(x.raw))
	}
	out := x.packed[:exportHeadLen+len(x.raw)]
	n, err := x.lz.CompressBlock(x.raw, out[exportHeadLen:])
	if err != nil || n == 0 || n >= len(x.raw) {
		n = copy(out[exportHeadLen:], x.raw)
	}
	stored := out[exportHeadLen : exportHeadLen+n]
	binary.LittleEndian.PutUint32(out, uint32(n))
	binary.LittleEndian.PutUint32(out[4:], uint32(len(x.raw)))
	binary.LittleEndian.PutUint64(out[8:], xxh3.Hash(stored))
	x.raw = x.raw[:0]
	_, err = x.w.Write(out[:exportHeadLen+n])
	return err
}

func (x *exporter) end() error {
	if err := x.block(); err != nil {
		return err
	}
	_, err := x.w.Write(make([]byte, exportHeadLen))
	return err
}

// Import makes a new index in opt.Dir, which must hold none, of an export. Every record
// is checked by itself before it is stored; nothing is opened if the stream is cut off,
// and the caller removes what there is then. begin is told where the copy begins before
// anything else is read, fn of every inode. On success the index is on disk.
func Import(opt Options, r io.Reader, begin func(Head) error, fn func()) (_ *Engine, err error) {
	e, err := Open(opt)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Abandon())
		}
	}()
	if e.Position().Version != 0 {
		return nil, volume.Errorf(volume.NotEmpty, "import: the index in %s holds a volume", opt.Dir)
	}
	m := &importer{e: e, begin: begin, fn: fn}
	if err := m.read(r); err != nil {
		return nil, volume.Wrap(err, "import the index")
	}
	if err := e.Flush(); err != nil {
		return nil, err
	}
	return e, nil
}

// Head is what an export says of itself first.
type Head struct {
	Position volume.Position
	Files    uint64 // inodes with a name
	Bytes    uint64 // sum of the sizes of regular files
}

type importer struct {
	e     *Engine
	begin func(Head) error
	fn    func()
	head  []byte // the meta record, as it was said first
	last  []byte // key
	meta  *meta
	root  bool
}

// start reads what comes before the blocks.
func (m *importer) start(r io.Reader) error {
	magic := make([]byte, len(exportMagic)+2)
	if _, err := io.ReadFull(r, magic); err != nil {
		return cutOff(err)
	}
	if string(magic[:len(exportMagic)]) != exportMagic {
		return volume.Errorf(volume.WrongVersion, "the other node sends an export in another format (%q)", magic)
	}
	m.head = make([]byte, binary.LittleEndian.Uint16(magic[len(exportMagic):]))
	if _, err := io.ReadFull(r, m.head); err != nil {
		return cutOff(err)
	}
	meta, err := decodeMeta(m.head)
	if err != nil {
		return volume.Errorf(volume.BadFormat, "head of the export: %w", err)
	}
	if meta.pos.Version == 0 {
		return volume.Errorf(volume.BadFormat, "the export holds no volume")
	}
	return m.begin(Head{Position: meta.pos, Files: meta.files, Bytes: meta.bytes})
}

func (m *importer) read(r io.Reader) error {
	if err := m.start(r); err != nil {
		return err
	}
	var head [exportHeadLen]byte
	var stored, raw []byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return cutOff(err)
		}
		n, rawLen := int(binary.LittleEndian.Uint32(head[:])), int(binary.LittleEndian.Uint32(head[4:]))
		if head == [exportHeadLen]byte{} {
			return m.finish()
		}
		if n == 0 {
			return volume.Errorf(volume.BadFormat, "an empty block")
		}
		if rawLen > maxExportBlock || n > rawLen {
			return volume.Errorf(volume.BadFormat, "a block of %d bytes for %d", n, rawLen)
		}
		stored, raw = sized(stored, n), sized(raw, rawLen)
		if _, err := io.ReadFull(r, stored); err != nil {
			return cutOff(err)
		}
		if xxh3.Hash(stored) != binary.LittleEndian.Uint64(head[8:]) {
			return volume.Errorf(volume.Corrupt, "a block does not match its checksum")
		}
		block := stored
		if n < rawLen {
			k, err := lz4.UncompressBlock(stored, raw)
			if err != nil || k != rawLen {
				return volume.Errorf(volume.BadFormat, "a block cannot be decompressed: %v", err)
			}
			block = raw
		}
		if err := m.block(block); err != nil {
			return err
		}
	}
}

func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func cutOff(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return volume.Errorf(volume.BadFormat, "the export is cut off")
	}
	return err
}

// block stores the records of a block.
func (m *importer) block(b []byte) error {
	batch := m.e.db.NewBatch()
	defer batch.Close()
	for len(b) > 0 {
		if m.meta != nil {
			return volume.Errorf(volume.BadFormat, "a record behind the last one")
		}
		var lens [2]int
		for i := range lens {
			v, n := binary.Uvarint(b)
			if n <= 0 || v > maxExportRecord {
				return volume.Errorf(volume.BadFormat, "the length of a record")
			}
			lens[i], b = int(v), b[n:]
		}
		if lens[0]+lens[1] > len(b) {
			return volume.Errorf(volume.BadFormat, "a record is cut off")
		}
		key, val := b[:lens[0]], b[lens[0]:lens[0]+lens[1]]
		b = b[lens[0]+lens[1]:]
		if err := m.record(key, val); err != nil {
			return err
		}
		if m.meta != nil {
			continue // stored when all others are
		}
		if err := batch.Set(key, val, nil); err != nil {
			return err
		}
	}
	m.e.enterMu.Lock()
	defer m.e.enterMu.Unlock()
	return m.e.commitOutside(batch)
}

// record checks one record by itself, and its place.
func (m *importer) record(key, val []byte) error {
	bad := func(err error) error {
		return volume.Errorf(volume.BadFormat, "record %.40q: %w", key, err)
	}
	if len(key) == 1 && key[0] == kMeta {
		meta, err := decodeMeta(val)
		if err != nil || !bytes.Equal(val, m.head) {
			return bad(errors.Join(err, errors.New("not what the export began with")))
		}
		m.meta = &meta
		return nil
	}
	if len(key) < 2 || m.last != nil && string(key) <= string(m.last) && key[0] == m.last[0] {
		return bad(errors.New("out of order"))
	}
	m.last = append(m.last[:0], key...)
	if err := checkRecord(key, val); err != nil {
		return bad(err)
	}
	if key[0] == kInode {
		m.root = m.root || volume.Ino(beUint64(key[1:])) == volume.RootIno
		m.fn()
	}
	return nil
}

// finish stores the meta record: with it the index is one.
func (m *importer) finish() error {
	switch {
	case m.meta == nil:
		return volume.Errorf(volume.BadFormat, "the export ends without its last record")
	case !m.root:
		return volume.Errorf(volume.BadFormat, "the export holds no root")
	}
	e := m.e
	e.enterMu.Lock()
	defer e.enterMu.Unlock()
	b := e.db.NewBatch()
	defer b.Close()
	if err := b.Set(metaKey, m.meta.encode(), nil); err != nil {
		return err
	}
	if err := e.commitOutside(b); err != nil {
		return err
	}
	e.meta.Store(m.meta)
	e.setAlloc(m.meta.inoTag, m.meta.inoCount)
	e.cache.drop(volume.RootIno)
	e.entries.clear()
	e.lowers.clear()
	return e.loadLists()
}

// checkRecord decodes a record of a kind that is the same on all nodes.
func checkRecord(key, val []byte) error {
	short := errors.New("wrong length")
	if key[0] != kMember && len(key) < 9 {
		return short
	}
	exact := func(n int) error {
		if len(key) != n {
			return short
		}
		return nil
	}
	switch key[0] {
	case kInode:
		n, err := decodeInode(volume.Ino(beUint64(key[1:])), val)
		if err == nil && (n.Size < 0 || n.Size > volume.MaxFileSize || n.Ino == 0) {
			err = errors.New("size or inode ID out of range")
		}
		return errors.Join(exact(9), err)
	case kDirent, kCookie:
		return checkEntry(key, val)
	case kName:
		if len(key) < 18 || len(val) != 0 {
			return short
		}
		return volume.CheckName(string(key[17:]))
	case kOrphan:
		return exact(9)
	case kTarget:
		if len(val) == 0 || len(val) > volume.MaxTargetLen {
			return short
		}
		return exact(9)
	case kXattr:
		if len(val) > volume.MaxXattrLen || len(key) == 9 || len(key) > 9+volume.MaxXattrNameLen {
			return short
		}
		return nil
	case kAnswer:
		_, n, ok := cutClientKey(key)
		if _, err := decodeAnswer(val); err != nil || !ok || n == 0 {
			return errors.Join(err, short)
		}
		return nil
	case kAsked:
		if _, n, ok := cutClientKey(key); !ok || n == 0 || len(val) != 8 {
			return short
		}
		return nil
	case kReign:
		_, err := decodeReign(volume.Version(beUint64(key[1:])), val)
		return errors.Join(exact(9), err)
	case kMember:
		_, err := decodeMember(string(key[1:]), val)
		return err
	}
	return errors.New("of a kind that is not known")
}

func checkEntry(key, val []byte) error {
	d, name, err := decodeDirent(val)
	if err != nil {
		return err
	}
	if key[0] == kDirent {
		name = string(key[9:])
	} else if len(key) != 17 || beUint64(key[9:]) != d.cookie {
		return errors.New("wrong cookie")
	}
	if d.ino == 0 || d.cookie < volume.FirstCookie {
		return errors.New("inode ID or cookie out of range")
	}
	return volume.CheckName(name)
}

// SetContent says where the content of a part of a file lies, for a copy that is being
// made: extents from off on take the place of what was there. cursor is remembered in
// the same batch: what Cursor says after a crash.
func (e *Engine) SetContent(list []Content, cursor []byte) error {
	e.enterMu.Lock()
	defer e.enterMu.Unlock()
	if e.broken != nil {
		return e.broken
	}
	b := e.db.NewBatch()
	defer b.Close()
	if err := dropContents(e.db, b, list); err != nil {
		return err
	}
	for i := range list {
		c := &list[i]
		for _, x := range c.Extents {
			if x.Off < c.Off || x.Len <= 0 || x.Off+x.Len > c.Off+c.Len || x.Len > maxExtentLen {
				return volume.Errorf(volume.Invalid, "index: extent %d+%d outside of %d+%d", x.Off, x.Len, c.Off, c.Len)
			}
			if err := b.Set(keyInoNum(kExtent, c.Ino, uint64(x.Off)), encodeExtent(x), nil); err != nil {
				return err
			}
		}
	}
	if cursor == nil {
		if err := b.Delete(cursorKey, nil); err != nil {
			return err
		}
	} else if err := b.Set(cursorKey, cursor, nil); err != nil {
		return err
	}
	return e.commitOutside(b)
}

// dropContents deletes the extents that begin in any of the ranges. A range deletion for
// each would be kept in memory by the store, and there is one for every file of a copy,
// while there is hardly ever anything to delete.
func dropContents(r pebble.Reader, b *pebble.Batch, list []Content) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{kExtent}, UpperBound: after([]byte{kExtent})})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for i := range list {
		c := &list[i]
		end := keyInoNum(kExtent, c.Ino, uint64(c.Off+c.Len))
		for ok := it.SeekGE(keyInoNum(kExtent, c.Ino, uint64(c.Off))); ok && bytes.Compare(it.Key(), end) < 0; ok = it.Next() {
			if err := b.Delete(it.Key(), nil); err != nil {
				return err
			}
		}
		if err := it.Error(); err != nil {
			return err
		}
	}
	return nil
}

// Content is where the content of a range of a file lies. What no extent covers is a
// hole.
type Content struct {
	Ino      volume.Ino
	Off, Len int64
	Extents  []volume.Extent
}

// Cursor is what SetContent remembered last; nil if there is nothing, or a nil cursor
// said that the copy is complete.
func (e *Engine) Cursor() ([]byte, error) {
	v, ok, err := e.get(cursorKey)
	if err != nil || !ok {
		return nil, err
	}
	return v, nil
}

var cursorKey = []byte{kCursor}
