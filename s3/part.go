package s3

import (
	"context"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
	"time"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

type initiateResult struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
	Bucket   string
	Key      string
	UploadId string
}

// createUpload is CreateMultipartUpload.
func (c *call) createUpload() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	p, err := c.s.find(c.ctx, b.Ino, c.key)
	switch {
	case err != nil:
		return err
	case p.isDir:
		return errf("InvalidArgument", "%q ends in a slash, so it is a directory, which does not come in parts", clean(c.key))
	case p.blocked != "":
		return errParent([]string{p.blocked})
	case p.attr.IsDir():
		return errIsDir(c.key)
	}
	u := &upload{bucketIno: b.Ino, bucket: c.bucket, key: c.key}
	if u.meta, err = c.newMeta(); err != nil {
		return err
	}
	if u.algo, err = c.askedAlgo(); err != nil {
		return err
	}
	kind := c.headerValue("x-amz-checksum-type")
	switch {
	case kind != "" && !strings.EqualFold(kind, "COMPOSITE") && !strings.EqualFold(kind, "FULL_OBJECT"):
		return errf("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
	case kind == "" && u.algo == algoNone:
	case kind == "":
		u.composite = u.algo.ofParts()
	case u.algo == algoNone:
		return errf("InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	case strings.EqualFold(kind, "COMPOSITE") && u.algo.ofParts():
		u.composite = true
	case strings.EqualFold(kind, "FULL_OBJECT") && u.algo.ofWhole():
	default:
		return errf("InvalidRequest", "The %s checksum type cannot be used with the %s checksum algorithm.", strings.ToUpper(kind), strings.ToLower(u.algo.String()))
	}
	if err := c.s.newUpload(c.ctx, u); err != nil {
		return err
	}
	h := c.w.Header()
	if u.algo.valid() {
		h.Set("x-amz-checksum-algorithm", u.algo.String())
		h.Set("x-amz-checksum-type", sumType(sum{composite: u.composite}))
	}
	c.sendXML(http.StatusOK, &initiateResult{Bucket: c.bucket, Key: clean(c.key), UploadId: u.id()})
	return nil
}

func (c *call) partNumber() (int, error) {
	n, err := strconv.Atoi(c.q.Get("partNumber"))
	if err != nil || n < 1 || n > maxParts {
		return 0, errArgument("partNumber", c.q.Get("partNumber"), "Part number must be an integer between 1 and %d, inclusive.", maxParts)
	}
	return n, nil
}

// uploadPart is UploadPart and UploadPartCopy.
func (c *call) uploadPart() error {
	n, err := c.partNumber()
	if err != nil {
		return err
	}
	if c.h.Get("x-amz-copy-source") != "" {
		if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
			return err
		}
		if _, _, err := c.sourceName(); err != nil {
			return err
		}
	}
	u, err := c.findUpload()
	if err != nil {
		return err
	}
	if c.h.Get("x-amz-copy-source") != "" {
		return c.copyPart(u, n)
	}
	if err := c.sameAlgo(u); err != nil {
		return err
	}
	if err := c.tooLong(); err != nil { // before its length can divide the data
		return err
	}
	r, sums, err := c.s.addPart(c.ctx, u, n, c.auth.Length, func(off int64, to sink) (received, error) {
		return c.receive(off, u.kept(), to)
	})
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("ETag", quoteTag(r.etag()))
	for _, s := range sums {
		if len(sums) == 1 || s.algo != defaultAlgo || u.algo == defaultAlgo {
			h.Set(s.algo.header(), sumText(s, 0))
		}
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// sameAlgo holds a part to the checksum that its upload was begun with.
func (c *call) sameAlgo(u *upload) error {
	if _, err := c.askedAlgo(); err != nil || !u.algo.valid() {
		return err
	}
	sent := algoNone
	if sum, there, err := sig.HeaderChecksum(c.r.Header); err != nil {
		return err
	} else if there {
		sent = algoOf(sum.Algorithm)
	} else if name, is := strings.CutPrefix(strings.ToLower(c.headerValue("x-amz-trailer")), "x-amz-checksum-"); is {
		sent = algoOf(name)
	}
	got := "null"
	switch {
	case sent == u.algo, sent == algoNone && !u.composite:
		return nil
	case sent.valid():
		got = sent.String()
	}
	return errf("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s", u.algo, got)
}

// seat is where a part goes.
type seat struct {
	ino   volume.Ino
	off   int64
	own   bool // an inode of its own
	taken bool // of the upload's data inode
}

// addPart stores a part and notes it in the ledger: of two with one number, the one that
// was finished last counts.
func (s *Server) addPart(ctx context.Context, u *upload, n int, length int64, body func(off int64, to sink) (received, error)) (slot, []sum, error) {
	a := s.uploads.join(u.ino)
	defer s.uploads.leave(u.ino, a)
	at, err := s.seatFor(ctx, u, a, n, length)
	if err != nil {
		return slot{}, nil, err
	}
	if at.taken {
		defer func() {
			a.mu.Lock()
			delete(a.busy, n)
			a.mu.Unlock()
		}()
	}
	r, sums, err := s.fillSeat(ctx, u, a, n, at, body)
	if err != nil && at.own {
		if uerr := s.unkeep(ctx, at.ino); uerr != nil {
			s.cfg.Log.Warn().Err(uerr).Stringer("ino", at.ino).Msg("s3: end a part that was not finished; it goes when its upload expires")
		}
	}
	return r, sums, err
}

func (s *Server) fillSeat(ctx context.Context, u *upload, a *activity, n int, at seat, body func(off int64, to sink) (received, error)) (slot, []sum, error) {
	write := s.into(ctx, at.ino)
	rec, err := body(at.off, func(p []byte, off int64) error {
		a.hold.RLock()
		defer a.hold.RUnlock()
		if err := s.stillOpen(ctx, u); err != nil {
			return err
		}
		return write(p, off)
	})
	if err != nil {
		return slot{}, nil, err
	}
	r := slot{ino: at.ino, off: at.off, length: rec.size, time: volume.TimeOf(s.cfg.Now())}
	if s.cfg.OpaqueETags {
		copy(r.md5[:], u.secret) // no MD5, but it tells one upload's parts from another's
		r.md5[0], r.md5[1] = byte(n>>8), byte(n)
	} else {
		copy(r.md5[:], rec.md5)
	}
	for _, x := range rec.sums {
		if x.algo == u.kept() {
			r.algo = x.algo
			copy(r.sum[:], x.value)
		}
	}
	a.hold.RLock()
	defer a.hold.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := s.stillOpen(ctx, u); err != nil {
		return slot{}, nil, err
	}
	old, had, err := s.readSlot(ctx, u.ino, n)
	if err != nil {
		return slot{}, nil, err
	}
	if err := s.writeSlot(ctx, u.ino, n, r); err != nil {
		return slot{}, nil, err
	}
	// The log holds the ledger's slot as well as the content.
	if err := s.sync(ctx, at.ino); err != nil {
		return slot{}, nil, err
	}
	if had && old.off == 0 && old.ino != r.ino {
		if d, ok, err := s.readSlot(ctx, u.ino, slotDivide); err == nil && ok && d.ino != old.ino {
			if err := s.unkeep(ctx, old.ino); err != nil {
				s.cfg.Log.Warn().Err(err).Stringer("ino", old.ino).Msg("s3: end a part that was replaced; it goes when its upload expires")
			}
		}
	}
	return r, rec.sums, nil
}

// stillOpen says whether the upload takes parts.
func (s *Server) stillOpen(ctx context.Context, u *upload) error {
	_, done, err := s.completion(ctx, u)
	if done || volume.KindOf(err) == volume.Stale && err != nil {
		return errNoUpload(u.id())
	}
	return err
}

// completion reads what completing the upload has left. It is done if that says so, or if
// the node died right after publishing: the data has a name then, or had one.
func (s *Server) completion(ctx context.Context, u *upload) (r slot, done bool, err error) {
	r, ok, err := s.readSlot(ctx, u.ino, slotDone)
	if err != nil || !ok {
		return r, false, err
	}
	if r.sum[0] != 0 {
		return r, true, nil
	}
	v, err := s.vol.GetXattr(ctx, r.ino, volume.XattrKeep)
	if kind := volume.KindOf(err); err != nil && (kind == volume.Stale || kind == volume.NoXattr) {
		return r, true, nil
	}
	return r, err == nil && len(v) == 0, err
}

// seatFor finds the place of a part: its final one if it fits and nobody has it, else an
// inode of its own.
func (s *Server) seatFor(ctx context.Context, u *upload, a *activity, n int, length int64) (seat, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := s.stillOpen(ctx, u); err != nil {
		return seat{}, err
	}
	d, ok, err := s.readSlot(ctx, u.ino, slotDivide)
	if err == nil && !ok {
		err = errNoUpload(u.id()) // begun, but never answered
	}
	if err != nil {
		return seat{}, err
	}
	// What is shorter than any part but the last says nothing of the others.
	if d.length == 0 && length > 0 && (n == 1 || length >= minPart) && int64(n) <= volume.MaxNewSize/length {
		d.length = length
		if err := s.writeSlot(ctx, u.ino, slotDivide, d); err != nil {
			return seat{}, err
		}
	}
	_, had, err := s.readSlot(ctx, u.ino, n)
	if err != nil {
		return seat{}, err
	}
	if !had && !a.busy[n] && length >= 0 && length <= d.length && int64(n) <= volume.MaxNewSize/max(d.length, 1) {
		a.busy[n] = true
		return seat{ino: d.ino, off: int64(n-1) * d.length, taken: true}, nil
	}
	ino, err := s.keepData(ctx, u)
	return seat{ino: ino, own: true}, err
}

// abortUpload is AbortMultipartUpload.
func (c *call) abortUpload() error {
	u, err := c.findUpload()
	if err != nil {
		return err
	}
	a := c.s.uploads.join(u.ino)
	defer c.s.uploads.leave(u.ino, a)
	a.hold.Lock()
	defer a.hold.Unlock()
	if err := c.s.stillOpen(c.ctx, u); err != nil {
		return err
	}
	if t, err := http.ParseTime(c.headerValue("x-amz-if-match-initiated-time")); err == nil && !t.After(c.s.cfg.Now()) &&
		!t.Equal(u.created.Std().Truncate(time.Second)) {
		return errf("PreconditionFailed", "the upload was begun at %s", httpTime(u.created)).with("Condition", "If-Match-Initiated-Time")
	}
	if err := c.s.endUpload(c.ctx, u.ino); err != nil {
		return err
	}
	if err := c.s.sync(c.ctx, u.bucketIno); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
