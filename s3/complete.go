package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// maxCompleteBody holds the longest list of parts, bytes.
const maxCompleteBody = 8 << 20

type completePart struct {
	PartNumber *int
	ETag       *string
	sumElements
}

type completeRequest struct {
	XMLName xml.Name       `xml:"CompleteMultipartUpload"`
	Part    []completePart `xml:"Part"`
}

type completeResult struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
	Location string
	Bucket   string
	Key      string
	ETag     string
	sumElements
	ChecksumType string `xml:",omitempty"`
}

// completeUpload is CompleteMultipartUpload. Said again after it was done, as a client
// does that missed the answer, it answers the same.
func (c *call) completeUpload() error {
	u, err := c.findUpload()
	if err != nil {
		return err
	}
	cond, err := c.condition("", false)
	if err != nil {
		return err
	}
	var req completeRequest
	if err := c.readXML(maxCompleteBody, &req); err != nil {
		return err
	}
	if err := checkParts(req.Part); err != nil {
		return err
	}
	size := int64(-1)
	if v := c.headerValue("x-amz-mp-object-size"); v != "" {
		if size, err = strconv.ParseInt(v, 10, 64); err != nil {
			return errf("InvalidRequest", "Value for x-amz-mp-object-size header is invalid: '%s'", clean(v))
		}
		if size < 0 {
			return errf("InvalidRequest", "Value for x-amz-mp-object-size header is less than zero: '%d'", size)
		}
	}
	want, err := c.wholeSum(u)
	if err != nil {
		return err
	}
	return c.slowly(func() (any, error) {
		a := c.s.uploads.join(u.ino)
		defer c.s.uploads.leave(u.ino, a)
		a.hold.Lock()
		defer a.hold.Unlock()
		j := &joining{s: c.s, ctx: context.WithoutCancel(c.ctx), u: u, a: a, asked: req.Part, cond: cond, size: size, want: want}
		if err := j.run(c); err != nil {
			return nil, err
		}
		return j.result(c), nil
	})
}

// wholeSum is the checksum that the client expects of the object; "" if it names none, or
// began the upload without one.
func (c *call) wholeSum(u *upload) (string, error) {
	found, value := algoNone, ""
	for a := algoNone + 1; a < algoEnd; a++ {
		v := c.headerValue(a.header())
		if v == "" {
			continue
		}
		if found.valid() {
			return "", errf("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		found, value = a, v
		if !sig.ValidChecksum(sig.Checksum{Algorithm: a.String(), Value: v}) || strings.Contains(v, "-") && !u.composite {
			return "", errf("InvalidRequest", "Value for %s header is invalid.", a.header())
		}
	}
	kind := strings.ToUpper(c.headerValue("x-amz-checksum-type"))
	switch {
	case kind != "" && kind != "COMPOSITE" && kind != "FULL_OBJECT":
		return "", errf("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
	case kind != "" && u.algo.valid() && kind != sumType(sum{composite: u.composite}):
		return "", errf("InvalidRequest", "The upload was created using the %s checksum mode. The complete request must use the same checksum mode.", sumType(sum{composite: u.composite}))
	case !u.algo.valid() || found == algoNone:
		return "", nil
	case found != u.algo:
		return "", errf("InvalidRequest", "the upload was begun with %s, and not with %s", u.algo, found)
	}
	return value, nil
}

// joining makes an object of parts.
type joining struct {
	s     *Server
	ctx   context.Context
	u     *upload
	a     *activity // whose hold we have alone
	asked []completePart
	cond  *condition
	size  int64  // that the client expects; -1: none
	want  string // the checksum that the client expects; "": none

	all   map[int]slot // what the ledger has
	parts []slot       // what was asked for
	total int64
	data  volume.Ino
	meta  *meta
}

func (j *joining) run(c *call) error {
	if err := j.collect(); err != nil {
		return err
	}
	r, done, err := j.s.completion(j.ctx, j.u)
	if err != nil {
		return err
	}
	sum := md5.Sum([]byte(j.meta.etag))
	if done {
		if r.md5 != sum {
			return errNoUpload(j.u.id())
		}
		return j.settle(r.ino)
	}
	if err := j.check(c); err != nil {
		return err
	}
	p, err := j.s.find(j.ctx, j.u.bucketIno, j.u.key)
	switch {
	case err != nil:
	case p.blocked != "":
		err = errParent([]string{p.blocked})
	case p.attr.IsDir():
		err = errIsDir(j.u.key)
	default:
		err = c.early(&p, j.cond)
	}
	if err != nil {
		return err
	}
	st, err := j.assemble()
	if err != nil {
		return err
	}
	ino := j.data
	if st != nil {
		defer st.drop(j.ctx)
		ino = st.ino
	}
	j.meta.modified = volume.TimeOf(j.s.cfg.Now())
	if st == nil {
		// First the intent: it tells a completion that was not answered from one that was
		// not carried out, by whether the data inode is still kept. A staged one ends with
		// its node either way, so it has no intent; then all is done again, of the same parts.
		note := slot{ino: ino, time: j.meta.modified, md5: sum}
		if err := j.s.writeSlot(j.ctx, j.u.ino, slotDone, note); err != nil {
			return err
		}
	}
	if err := j.s.commit(j.ctx, j.u.bucketIno, j.u.key, ino, j.meta, partSums(j.u, j.parts), j.cond); err != nil {
		return err
	}
	return j.settle(ino)
}

// settle notes that the upload is done, and ends all of it but the ledger, which answers
// repeats for a while.
func (j *joining) settle(ino volume.Ino) error {
	note := slot{ino: ino, time: volume.TimeOf(j.s.cfg.Now()), md5: md5.Sum([]byte(j.meta.etag))}
	note.sum[0] = 1
	err := j.s.writeSlot(j.ctx, j.u.ino, slotDone, note)
	if err == nil {
		err = j.s.endUpload(j.ctx, j.u.ino, j.u.ino, ino)
	}
	if err != nil { // the object is there: what is left goes when the upload expires
		j.s.cfg.Log.Warn().Err(err).Str("key", j.u.key).Msg("s3: clean up after an upload")
	}
	return nil
}

// collect reads the ledger, and finds what was asked for.
func (j *joining) collect() error {
	j.all = map[int]slot{}
	err := j.s.readSlots(j.ctx, j.u.ino, slotDivide, maxParts, func(n int, r slot) error {
		if n == slotDivide {
			j.data = r.ino
		} else {
			j.all[n] = r
		}
		return nil
	})
	if volume.KindOf(err) == volume.Stale && err != nil {
		return errNoUpload(j.u.id())
	}
	if err != nil {
		return err
	}
	h := md5.New()
	m := *j.u.meta
	j.meta = &m
	last := 0
	for _, p := range j.asked {
		n := *p.PartNumber
		if n <= last {
			return errf("InvalidPartOrder", "part %d comes after part %d", n, last)
		}
		last = n
		r, ok := j.all[n]
		if !ok || !strings.EqualFold(strings.Trim(strings.TrimSpace(*p.ETag), `"`), r.etag()) {
			return j.errPart(p, "part %d was not uploaded, or has another ETag", n)
		}
		if err := j.checkSum(p, &r); err != nil {
			return err
		}
		j.parts = append(j.parts, r)
		j.meta.addPart(r.length)
		if j.total > maxObject-r.length {
			return errf("EntityTooLarge", "the object would have more than %d bytes", int64(maxObject))
		}
		j.total += r.length
		h.Write(r.md5[:])
	}
	j.meta.etag = hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(j.parts))
	if s, ok := joinSums(j.u, j.parts); ok {
		j.meta.sums = []sum{s}
	}
	return nil
}

func (j *joining) errPart(p completePart, format string, args ...any) error {
	return errf("InvalidPart", format, args...).with("UploadId", j.u.id()).with("PartNumber", strconv.Itoa(*p.PartNumber)).
		with("ETag", strings.Trim(*p.ETag, `"`))
}

// checkSum compares the checksum that a list of parts gives of one with that which came
// with the part. Of an upload that was begun without, those are not kept.
func (j *joining) checkSum(p completePart, r *slot) error {
	given := p.given()
	if !j.u.algo.valid() {
		return nil
	}
	lower := strings.ToLower(j.u.algo.String())
	switch {
	case len(given) == 0 && j.u.composite:
		return errf("InvalidRequest", "The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.",
			lower, *p.PartNumber)
	case len(given) == 0:
		return nil
	case given[0] != j.u.algo:
		return &fault{code: "BadDigest", status: http.StatusBadRequest,
			message: fmt.Sprintf("The %s you specified for part %d did not match what we received.", strings.ToLower(given[0].String()), *p.PartNumber)}
	case r.algo != j.u.algo || *p.of(j.u.algo) != base64.StdEncoding.EncodeToString(r.sum[:r.algo.size()]):
		return j.errPart(p, "part %d has another %s", *p.PartNumber, j.u.algo)
	}
	return nil
}

// checkParts looks at what a list of parts says by itself.
func checkParts(list []completePart) error {
	if n := len(list); n == 0 || n > maxParts {
		return errf("MalformedXML", "the document names %d parts; 1 to %d are allowed", n, maxParts)
	}
	for _, p := range list {
		if p.PartNumber == nil || p.ETag == nil {
			return errf("MalformedXML", "a part lacks its number or its ETag")
		}
		if *p.PartNumber < 1 {
			return errArgument("PartNumber", strconv.Itoa(*p.PartNumber), "PartNumber must be >= 1")
		}
		given := p.given()
		all, good := "", len(given) <= 1
		for _, a := range given {
			text := *p.of(a)
			_, ok := decodeSum(a, text)
			good = good && ok
			all += a.String() + ":" + text + ";"
		}
		if len(given) == 1 {
			all = *p.of(given[0])
		}
		if !good {
			return errArgument("Checksum", all, "Invalid Base64 or multiple checksums present in request")
		}
	}
	return nil
}

// check holds the parts to what the protocol and the client demand.
func (j *joining) check(c *call) error {
	for i, r := range j.parts[:len(j.parts)-1] {
		if r.length < minPart {
			return errf("EntityTooSmall", "part %d has %d bytes; all but the last must have at least %d", *j.asked[i].PartNumber, r.length, minPart).
				with("ProposedSize", itoa(r.length)).with("MinSizeAllowed", strconv.Itoa(minPart))
		}
	}
	if j.size >= 0 && j.size != j.total {
		return errf("InvalidRequest", "The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d", j.size, j.total)
	}
	if j.want == "" {
		return nil
	}
	if len(j.meta.sums) == 0 {
		return errf("InvalidRequest", "a part came without a checksum, so the object has none")
	}
	s := j.meta.sums[0]
	if got := sumText(s, len(j.parts)); got != j.want && strings.TrimSuffix(got, fmt.Sprintf("-%d", len(j.parts))) != j.want {
		return &fault{code: "BadDigest", status: http.StatusBadRequest, message: fmt.Sprintf("The %s you specified did not match the calculated checksum.", s.algo)}
	}
	return nil
}

// assemble brings the parts together, in the data inode if that can be done without
// touching what another list of parts would need, else in a staged one, which it returns.
func (j *joining) assemble() (*staged, error) {
	j.a.mu.Lock()
	// A part that is still coming in has blocks in the data inode of which the ledger knows nothing yet, and goes on if
	// this is refused in the end. One that begins after this look writes its first block after all of it: see hold.
	inPlace := len(j.a.busy) == 0
	j.a.mu.Unlock()
	end := int64(0)
	for _, r := range j.all {
		if r.ino == j.data {
			end = max(end, r.off+r.length)
		}
	}
	at := int64(0)
	for _, r := range j.parts {
		if (r.ino != j.data || r.off != at) && j.overlaps(at, r.length) {
			inPlace = false
		}
		at += r.length
	}
	if end > j.total {
		inPlace = false // a part that was not asked for lies behind
	}
	if !inPlace {
		return j.copyAll()
	}
	at = 0
	for _, r := range j.parts {
		if r.ino != j.data || r.off != at {
			if err := j.copyPart(r, at, j.data); err != nil {
				return nil, err
			}
		}
		at += r.length
	}
	a, err := j.s.vol.GetAttr(j.ctx, j.data)
	if err == nil && a.Size != j.total {
		_, err = j.s.do(j.ctx, &volume.Request{Kind: volume.OpSetAttr, Ino: j.data, Set: volume.SetSize, Size: j.total})
	}
	return nil, err
}

// overlaps reports whether a range of the data inode holds any part.
func (j *joining) overlaps(off, length int64) bool {
	for _, r := range j.all {
		if r.ino == j.data && r.off < off+length && off < r.off+r.length {
			return true
		}
	}
	return false
}

func (j *joining) copyAll() (*staged, error) {
	st, err := j.s.stage(j.ctx, j.u.bucketIno)
	if err != nil {
		return nil, err
	}
	at := int64(0)
	for _, r := range j.parts {
		if err := j.copyPart(r, at, st.ino); err != nil {
			st.drop(j.ctx)
			return nil, err
		}
		at += r.length
	}
	return st, nil
}

func (j *joining) copyPart(r slot, at int64, to volume.Ino) error {
	src := &part{s: j.s, ctx: j.ctx, r: r}
	n, err := j.s.pour(src, nil, at, j.s.into(j.ctx, to))
	if err == nil && n != r.length {
		err = volume.Errorf(volume.Missing, "a part of %d bytes ends after %d", r.length, n)
	}
	return err
}

// part reads a part. Nobody changes it meanwhile.
type part struct {
	s   *Server
	ctx context.Context
	r   slot
	at  int64
}

func (p *part) Read(b []byte) (int, error) {
	b = b[:min(int64(len(b)), p.r.length-p.at)]
	if p.at == p.r.length {
		return 0, io.EOF
	}
	n, err := p.s.vol.ReadAt(p.ctx, p.r.ino, b, p.r.off+p.at)
	if err == nil && n == 0 && len(b) > 0 {
		err = io.EOF
	}
	p.at += int64(n)
	return n, err
}

func (j *joining) result(c *call) *completeResult {
	res := &completeResult{Location: c.location(), Bucket: c.bucket, Key: clean(c.key), ETag: quoteTag(j.meta.etag)}
	for _, s := range j.meta.sums {
		*res.of(s.algo) = sumText(s, len(j.parts))
		res.ChecksumType = sumType(s)
	}
	return res
}

// location is the URL of the object, in the style of the request.
func (c *call) location() string {
	scheme, bucket := "http", "/"+escapeKey(c.bucket)
	if c.r.TLS != nil {
		scheme = "https"
	}
	if c.hosted {
		bucket = ""
	}
	return scheme + "://" + c.r.Host + bucket + "/" + escapeKey(c.key)
}
