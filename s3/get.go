package s3

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// getObject is GetObject and HeadObject.
func (c *call) getObject() error {
	if c.q.Has("partNumber") {
		if _, err := c.partNumber(); err != nil {
			return err
		}
	}
	o, err := c.s.open(c.ctx, c.bucket, c.key)
	if err != nil {
		return err
	}
	defer c.s.closeObject(o)
	cond, err := c.condition("", true)
	if err != nil {
		return err
	}
	c.sendMeta(o)
	if err := cond.check(o); err != nil {
		if err != notModified {
			c.clearMeta()
		}
		return err
	}
	if err := c.override(); err != nil {
		return err
	}
	off, length, partial, err := c.rangeOf(o)
	if err != nil {
		c.clearMeta()
		return err
	}
	h := c.w.Header()
	if strings.EqualFold(c.headerValue("x-amz-checksum-mode"), "ENABLED") && o.meta != nil {
		switch {
		case c.q.Has("partNumber"):
			err = c.sendPartSums(o)
		case !partial:
			sendSums(h, o.meta.sums, o.meta.partCount())
		}
		if err != nil {
			c.clearMeta()
			return err
		}
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	status := http.StatusOK
	if partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off+length-1, o.size()))
	}
	if c.r.Method == http.MethodHead || length == 0 {
		c.w.WriteHeader(status)
		return nil
	}
	return c.stream(o, off, length, status)
}

// clearMeta takes back the headers of an object whose content is not sent.
func (c *call) clearMeta() {
	h := c.w.Header()
	for name := range h {
		if strings.HasPrefix(name, userPrefixSent) || strings.HasPrefix(name, "X-Amz-Tagging") {
			delete(h, name)
		}
	}
	for _, name := range append([]string{"Accept-Ranges"}, kept...) {
		h.Del(name)
	}
}

// stream sends a range. The status goes out with the first bytes that are known to be
// good; what is found wrong after that cuts the connection.
func (c *call) stream(o *object, off, length int64, status int) error {
	buf := c.s.buffer()
	defer c.s.buffers.Put(buf)
	r := &reading{s: c.s, ctx: c.ctx, o: o, off: off, end: off + length}
	for r.off < r.end {
		n, err := r.Read(*buf)
		if err != nil {
			return err
		}
		if !c.w.begun {
			c.w.WriteHeader(status)
		}
		if _, err := c.w.Write((*buf)[:n]); err != nil {
			return nil // the client has gone
		}
	}
	return nil
}

// rangeOf is what of an object is to be sent: all, a range, or a part.
func (c *call) rangeOf(o *object) (off, length int64, partial bool, err error) {
	size := o.size()
	spec := c.headerValue("Range")
	if c.q.Has("partNumber") {
		if spec != "" {
			return 0, 0, false, errf("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
		}
		return c.partOf(o)
	}
	if spec == "" {
		return 0, size, false, nil
	}
	if v := c.headerValue("If-Range"); v != "" && !rangeStillGood(v, o) {
		return 0, size, false, nil
	}
	first, last, ok := parseRange(spec, size)
	if !ok {
		return 0, size, false, nil // RFC 9110: what cannot be read counts for nothing
	}
	if first >= size || first > last {
		c.w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return 0, 0, false, errf("InvalidRange", "the range %q is not within the %d bytes of the object", clean(spec), size).
			with("RangeRequested", spec).with("ActualObjectSize", itoa(size))
	}
	return first, last - first + 1, true, nil
}

func rangeStillGood(v string, o *object) bool {
	if t, err := http.ParseTime(v); err == nil {
		return httpTime(o.modified()) == t.UTC().Format(http.TimeFormat)
	}
	return strings.Trim(v, `"`) == o.etag()
}

// parseRange reads one range of bytes; several are more than S3 serves, and count for
// nothing.
func parseRange(spec string, size int64) (first, last int64, ok bool) {
	v, ok := strings.CutPrefix(spec, "bytes=")
	if !ok {
		return 0, 0, false
	}
	a, b, ok := strings.Cut(v, "-")
	if !ok {
		return 0, 0, false
	}
	if a == "" {
		n, ok := position(b)
		if !ok {
			return 0, 0, false
		}
		if n == 0 {
			return size, size, true // nothing can satisfy it
		}
		if size == 0 {
			return 0, 0, false // satisfied by what is there, which no Content-Range can tell
		}
		return max(0, size-n), size - 1, true
	}
	if first, ok = position(a); !ok {
		return 0, 0, false
	}
	if b == "" {
		return first, size - 1, true
	}
	if last, ok = position(b); !ok || last < first {
		return 0, 0, false
	}
	return first, min(last, size-1), true
}

// position reads digits. RFC 9110 sets no limit to them: what is more than any file has
// is as good as the most.
func position(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, true
}

func errNoPart(count, asked int) error {
	return errf("InvalidPartNumber", "the object has %d parts, and no part %d", count, asked).
		with("ActualPartCount", strconv.Itoa(count)).with("PartNumberRequested", strconv.Itoa(asked))
}

// partOf is the range of one part.
func (c *call) partOf(o *object) (off, length int64, partial bool, err error) {
	n, err := c.partNumber()
	if err != nil {
		return 0, 0, false, err
	}
	count := 0
	if o.meta != nil {
		count = o.meta.partCount()
	}
	if count == 0 { // came whole: that is its only part
		if n == 1 {
			return 0, o.size(), o.size() > 0, nil
		}
		return 0, 0, false, errNoPart(1, n)
	}
	off, length, ok := o.meta.partRange(n)
	if !ok || off+length > o.size() {
		return 0, 0, false, errNoPart(count, n)
	}
	c.w.Header().Set("x-amz-mp-parts-count", strconv.Itoa(count))
	return off, length, length > 0, nil
}

// sendPartSums sets the headers of the checksums of the part that is asked for: what came whole is its only
// part, and has the object's, as has the only part of an object whose checksum is that of its bytes. Of
// several, such an object has none of each that Amazon S3 would tell; one whose checksum is made of those of
// its parts has them.
func (c *call) sendPartSums(o *object) error {
	n, err := c.partNumber()
	if err != nil {
		return err
	}
	count := o.meta.partCount()
	if !slices.ContainsFunc(o.meta.sums, func(s sum) bool { return s.composite }) {
		if count <= 1 {
			sendSums(c.w.Header(), o.meta.sums, count)
		}
		return nil
	}
	a, sums, err := c.s.readPartSums(c.ctx, o.attr.Ino, count)
	if err != nil || n > len(sums) {
		return err
	}
	h := c.w.Header()
	h.Set(a.header(), sumText(sum{algo: a, value: sums[n-1]}, 0))
	h.Set("x-amz-checksum-type", sumType(sum{composite: true}))
	return nil
}
