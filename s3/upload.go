package s3

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"slices"
	"strings"
	"sync"

	"wolfdisk/volume"
)

// An upload in parts is nameless inodes that volume.XattrKeep keeps alive: a ledger, and
// the data. So it is replicated, outlives restarts and changes of the leader, and is to be
// seen nowhere. The ledger's attribute is
//
//	format 1, 'L'  2 bytes
//	fields         as in metadata; the tags below
//
// and that of data inodes
//
//	format 1, 'D'  2 bytes
//	ledger         inode ID (8), big-endian
//
// The content of the ledger is slots of 128 bytes, of which absent ones are zeros. Slot 0
// says how the data inode is divided, slots 1 to 10000 are the parts, slot 10001 is the
// completion:
//
//	  0   1  1
//	  1   8  inode ID of the data
//	  9   8  offset in it; of slot 0 unused
//	 17   8  length; of slot 0 the place of each part
//	 25  12  time: seconds (8), nanoseconds (4)
//	 37  16  MD5 of the part; of slot 10001 that of the ETag
//	 53   1  algorithm of the checksum, 0 for none
//	 54  64  checksum; of slot 10001: 1 once it is published
//	118   4  CRC32C of all before
//
// all big-endian. A slot is one write op, so it is whole or not there.
//
// Parts go to their final place in the one data inode: the n-th at (n-1) times the
// length of the first that came. So completing copies nothing. A part that does not
// fit there, or comes a second time, gets a data inode of its own and is copied at the end.
const (
	maxParts    = 10000
	minPart     = 5 << 20 // S3's least length of a part but the last, bytes
	slotLen     = 128
	slotUsed    = 122
	slotFormat  = 1
	slotDivide  = 0
	slotDone    = maxParts + 1
	uploadIDLen = 16 + 32

	keepLedger = 'L'
	keepData   = 'D'

	tagSecret  = 1
	tagBucket  = 2 // inode ID (8) and name
	tagKey     = 3
	tagMeta    = 4
	tagAlgo    = 5 // algorithm (1), composite (1)
	tagCreated = 6
)

// upload is an upload in parts, as its ledger's attribute has it.
type upload struct {
	ino       volume.Ino // of the ledger
	secret    []byte
	bucketIno volume.Ino
	bucket    string
	key       string
	meta      *meta
	algo      algo
	composite bool
	created   volume.Time
}

// kept is the algorithm whose sums the ledger keeps.
func (u *upload) kept() algo {
	if u.algo.valid() {
		return u.algo
	}
	return defaultAlgo
}

func (u *upload) id() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(u.ino))) + hex.EncodeToString(u.secret)
}

func appendTime(b []byte, t volume.Time) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, uint64(t.Sec)), t.Nsec)
}

func (u *upload) encode() []byte {
	b := []byte{metaFormat, keepLedger}
	b = appendField(b, tagSecret, u.secret)
	b = appendField(b, tagBucket, binary.BigEndian.AppendUint64(nil, uint64(u.bucketIno)), []byte(u.bucket))
	b = appendField(b, tagKey, []byte(u.key))
	b = appendField(b, tagMeta, u.meta.encode())
	composite := byte(0)
	if u.composite {
		composite = 1
	}
	b = appendField(b, tagAlgo, []byte{byte(u.algo), composite})
	return appendField(b, tagCreated, appendTime(nil, u.created))
}

// decodeUpload reads a ledger's attribute; nil if it is of another kind.
func decodeUpload(ino volume.Ino, b []byte) (*upload, error) {
	if len(b) < 2 || b[0] != metaFormat || b[1] != keepLedger {
		return nil, nil
	}
	u := &upload{ino: ino}
	err := fields(b[2:], func(tag byte, v []byte) bool {
		switch tag {
		case tagSecret:
			u.secret = append([]byte(nil), v...)
		case tagBucket:
			if len(v) < 8 {
				return false
			}
			u.bucketIno, u.bucket = volume.Ino(binary.BigEndian.Uint64(v)), string(v[8:])
		case tagKey:
			u.key = string(v)
		case tagMeta:
			var err error
			u.meta, err = decodeMeta(v)
			return err == nil
		case tagAlgo:
			if len(v) != 2 || algo(v[0]) >= algoEnd {
				return false
			}
			u.algo, u.composite = algo(v[0]), v[1] != 0
		case tagCreated:
			if len(v) != 12 {
				return false
			}
			u.created = volume.Time{Sec: int64(binary.BigEndian.Uint64(v)), Nsec: binary.BigEndian.Uint32(v[8:])}
		}
		return true
	})
	if err == nil && (u.meta == nil || len(u.secret) != 16) {
		err = volume.Errorf(volume.BadFormat, "upload %s: a field is missing", ino)
	}
	return u, err
}

// slot is one record of a ledger.
type slot struct {
	ino         volume.Ino
	off, length int64
	time        volume.Time
	md5         [16]byte
	algo        algo
	sum         [maxSumLen]byte
}

func (r *slot) encode() []byte {
	b := make([]byte, 0, slotLen)
	be := binary.BigEndian
	b = be.AppendUint64(append(b, slotFormat), uint64(r.ino))
	b = be.AppendUint64(b, uint64(r.off))
	b = be.AppendUint64(b, uint64(r.length))
	b = appendTime(b, r.time)
	b = append(b, r.md5[:]...)
	b = append(append(b, byte(r.algo)), r.sum[:]...)
	b = be.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:slotLen]
}

// decodeSlot reads a slot; false if there is none.
func decodeSlot(b []byte) (r slot, ok bool, err error) {
	if len(b) < slotUsed || b[0] == 0 {
		return r, false, nil
	}
	be := binary.BigEndian
	if b[0] != slotFormat || be.Uint32(b[slotUsed-4:]) != crc32.Checksum(b[:slotUsed-4], castagnoli) {
		return r, false, volume.Errorf(volume.Corrupt, "a record of an upload is damaged")
	}
	r.ino, r.off, r.length = volume.Ino(be.Uint64(b[1:])), int64(be.Uint64(b[9:])), int64(be.Uint64(b[17:]))
	r.time = volume.Time{Sec: int64(be.Uint64(b[25:])), Nsec: be.Uint32(b[33:])}
	copy(r.md5[:], b[37:])
	r.algo = algo(b[53])
	copy(r.sum[:], b[54:slotUsed-4])
	if r.algo >= algoEnd || r.off < 0 || r.length < 0 || r.off > volume.MaxFileSize-r.length {
		return r, false, volume.Errorf(volume.Corrupt, "a record of an upload makes no sense")
	}
	return r, true, nil
}

// etag is the part's, without quotes.
func (r *slot) etag() string { return hex.EncodeToString(r.md5[:]) }

// readSlots reads the slots from first to last.
func (s *Server) readSlots(ctx context.Context, ledger volume.Ino, first, last int, fn func(n int, r slot) error) error {
	buf := make([]byte, 256*slotLen)
	for first <= last {
		p := buf[:min(last-first+1, 256)*slotLen]
		n, err := s.vol.ReadAt(ctx, ledger, p, int64(first)*slotLen)
		if err != nil {
			return err
		}
		for i := 0; i*slotLen < n; i++ {
			r, ok, err := decodeSlot(p[i*slotLen : min((i+1)*slotLen, n)])
			if err == nil && ok {
				err = fn(first+i, r)
			}
			if err != nil {
				return err
			}
		}
		if n < len(p) {
			return nil
		}
		first += len(p) / slotLen
	}
	return nil
}

func (s *Server) readSlot(ctx context.Context, ledger volume.Ino, n int) (r slot, ok bool, err error) {
	err = s.readSlots(ctx, ledger, n, n, func(_ int, got slot) error {
		r, ok = got, true
		return nil
	})
	return r, ok, err
}

func (s *Server) writeSlot(ctx context.Context, ledger volume.Ino, n int, r slot) error {
	return s.into(ctx, ledger)(r.encode(), int64(n)*slotLen)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// uploads is what goes on in the uploads at this moment.
type uploads struct {
	mu sync.Mutex // guards m and the users of its values
	m  map[volume.Ino]*activity
}

// activity is one upload at work here. Blocks of parts are written with hold taken
// shared, so who takes it alone knows that nothing comes after.
type activity struct {
	users int

	hold sync.RWMutex
	mu   sync.Mutex // before the volume's; guards all below, and the ledger's slots
	busy map[int]bool
}

func (u *uploads) init() { u.m = map[volume.Ino]*activity{} }

func (u *uploads) join(ledger volume.Ino) *activity {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.m[ledger]
	if a == nil {
		a = &activity{busy: map[int]bool{}}
		u.m[ledger] = a
	}
	a.users++
	return a
}

func (u *uploads) leave(ledger volume.Ino, a *activity) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a.users--; a.users == 0 {
		delete(u.m, ledger)
	}
}

func errNoUpload(id string) error {
	return errf("NoSuchUpload", "there is no upload %q of this key; it may have been completed, aborted, or expired", clean(id)).with("UploadId", id)
}

// findUpload finds the upload that a request names, and checks that it is of its bucket
// and key.
func (c *call) findUpload() (*upload, error) {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return nil, err
	}
	id := c.q.Get("uploadId")
	raw, err := hex.DecodeString(id)
	if err != nil || len(id) != uploadIDLen {
		return nil, errNoUpload(id)
	}
	u, err := c.s.readUpload(c.ctx, volume.Ino(binary.BigEndian.Uint64(raw)))
	if err != nil {
		return nil, err
	}
	if u == nil || subtle.ConstantTimeCompare(u.secret, raw[8:]) != 1 || u.bucketIno != b.Ino || u.bucket != c.bucket || u.key != c.key {
		return nil, errNoUpload(id)
	}
	return u, nil
}

// readUpload reads a ledger; nil if the inode is none.
func (s *Server) readUpload(ctx context.Context, ino volume.Ino) (*upload, error) {
	if !ino.Valid() {
		return nil, nil
	}
	v, err := s.vol.GetXattr(ctx, ino, volume.XattrKeep)
	if kind := volume.KindOf(err); err != nil && (kind == volume.NoXattr || kind == volume.Stale) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeUpload(ino, v)
}

// keep makes a nameless inode that outlives this node.
func (s *Server) keep(ctx context.Context, dir volume.Ino, why []byte) (volume.Ino, error) {
	if len(why) > volume.MaxXattrLen {
		return 0, errf("MetadataTooLarge", "what is to be known of the object has %d bytes; %d are allowed", len(why), volume.MaxXattrLen)
	}
	res, err := s.do(ctx, &volume.Request{Kind: volume.OpCreate, Parent: dir, Mode: volume.ModeFile | s.cfg.FileMode,
		Xattrs: []volume.Xattr{{Name: volume.XattrKeep, Value: why}}})
	return res.Attr.Ino, err
}

// keepData makes a data inode of an upload.
func (s *Server) keepData(ctx context.Context, u *upload) (volume.Ino, error) {
	return s.keep(ctx, u.bucketIno, binary.BigEndian.AppendUint64([]byte{metaFormat, keepData}, uint64(u.ino)))
}

// unkeep ends the life of a kept inode; one that is gone, or has a name, is left alone.
func (s *Server) unkeep(ctx context.Context, ino volume.Ino) error {
	ctx = context.WithoutCancel(ctx)
	err := s.vol.Open(ctx, ino, true)
	if err == nil {
		_, err = s.do(ctx, &volume.Request{Kind: volume.OpRemoveXattr, Ino: ino, Name: volume.XattrKeep})
		if cerr := s.vol.Close(ctx, ino); err == nil {
			err = cerr
		}
	}
	if kind := volume.KindOf(err); err != nil && (kind == volume.Stale || kind == volume.NoXattr) {
		return nil
	}
	return err
}

// newUpload begins an upload.
func (s *Server) newUpload(ctx context.Context, u *upload) error {
	u.secret = make([]byte, 16)
	rand.Read(u.secret)
	u.created = volume.TimeOf(s.cfg.Now())
	ino, err := s.keep(ctx, u.bucketIno, u.encode())
	if err != nil {
		return err
	}
	u.ino = ino
	data, err := s.keepData(ctx, u)
	if err == nil {
		err = s.writeSlot(ctx, u.ino, slotDivide, slot{ino: data, time: u.created})
	}
	if err == nil {
		err = s.sync(ctx, u.ino)
	}
	return err
}

// endUpload ends all inodes of an upload but the ones it is told to spare.
func (s *Server) endUpload(ctx context.Context, ledger volume.Ino, spare ...volume.Ino) error {
	inos := map[volume.Ino]bool{}
	err := s.readSlots(ctx, ledger, slotDivide, maxParts, func(_ int, r slot) error {
		inos[r.ino] = true
		return nil
	})
	if err != nil && volume.KindOf(err) != volume.Stale && volume.KindOf(err) != volume.Corrupt {
		return err
	}
	for _, ino := range spare {
		delete(inos, ino)
	}
	// The ledger first: data without one are nobody's, but a ledger without its data
	// would speak of what is not there.
	if !slices.Contains(spare, ledger) {
		if err := s.unkeep(ctx, ledger); err != nil {
			return err
		}
	}
	for ino := range inos {
		if err := s.unkeep(ctx, ino); err != nil {
			return err
		}
	}
	return nil
}

// hasPrefixFold compares the start of a header's value.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
