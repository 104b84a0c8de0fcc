package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"wolfdisk/volume"
)

// kept are the headers of the system metadata that are stored and returned.
var kept = []string{"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}

const (
	userPrefix  = "X-Amz-Meta-"
	defaultType = "binary/octet-stream"
)

// newMeta is the metadata that a request's headers give an object.
func (c *call) newMeta() (*meta, error) {
	m := &meta{kind: kindObject, modified: volume.TimeOf(c.s.cfg.Now())}
	total := 0
	for _, name := range kept {
		v := c.headerValue(name)
		if name == "Content-Encoding" {
			v = withoutChunked(v)
		}
		if v == "" {
			continue
		}
		if total += len(name) + len(v); total > maxHeaders {
			return nil, errf("MetadataTooLarge", "the headers of the object have more than %d bytes", maxHeaders)
		}
		m.headers = append(m.headers, pair{name, v})
	}
	total = 0
	for name, values := range c.r.Header {
		if !strings.HasPrefix(name, userPrefix) {
			continue
		}
		p := pair{strings.ToLower(strings.TrimPrefix(name, userPrefix)), strings.Join(values, ",")}
		if total += len(p.name) + len(p.value); total > maxUserMeta || len(m.user) >= maxMetaPairs/2 {
			return nil, errf("MetadataTooLarge", "the metadata of the object has more than %d bytes", maxUserMeta)
		}
		m.user = append(m.user, p)
	}
	slices.SortFunc(m.user, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	var err error
	if v := c.r.Header.Get("x-amz-tagging"); v != "" {
		m.tags, err = parseTagging(v)
	}
	return m, err
}

// withoutChunked takes the coding that is of the transfer, and not of the object, out of a
// Content-Encoding.
func withoutChunked(v string) string {
	var list []string
	for _, e := range strings.Split(v, ",") {
		if e = strings.TrimSpace(e); e != "" && !strings.EqualFold(e, "aws-chunked") {
			list = append(list, e)
		}
	}
	return strings.Join(list, ",")
}

// parseTagging reads tags in the form of a query, in their order.
func parseTagging(v string) (tags []pair, err error) {
	for _, part := range strings.Split(v, "&") {
		if part == "" {
			continue
		}
		k, val, _ := strings.Cut(part, "=")
		var p pair
		if p.name, err = url.QueryUnescape(k); err == nil {
			p.value, err = url.QueryUnescape(val)
		}
		if err != nil {
			return nil, errf("InvalidArgument", "x-amz-tagging is %q", clean(v))
		}
		tags = append(tags, p)
	}
	return tags, checkTags(tags)
}

func checkTags(tags []pair) error {
	if len(tags) > maxTags {
		return errf("InvalidTag", "%d tags were given; an object can have %d", len(tags), maxTags)
	}
	for i, t := range tags {
		switch {
		case t.name == "" || !utf8.ValidString(t.name) || utf8.RuneCountInString(t.name) > maxTagKey:
			return errf("InvalidTag", "the key of a tag has 1 to %d characters", maxTagKey)
		case !utf8.ValidString(t.value) || utf8.RuneCountInString(t.value) > maxTagValue:
			return errf("InvalidTag", "the value of the tag %q has more than %d characters", clean(t.name), maxTagValue)
		case !xmlSafe(t.name) || !xmlSafe(t.value):
			return errf("InvalidTag", "the tag %q has a control character", clean(t.name))
		case strings.HasPrefix(strings.ToLower(t.name), "aws:"):
			return errf("InvalidTag", "the tag %q begins with \"aws:\"", t.name)
		}
		for _, u := range tags[:i] {
			if u.name == t.name {
				return errf("InvalidTag", "the tag %q is given twice", t.name)
			}
		}
	}
	return nil
}

// sendMeta sets the headers of an object's metadata.
func (c *call) sendMeta(o *object) {
	h := c.w.Header()
	h.Set("Content-Type", defaultType)
	if m := o.meta; m != nil {
		for _, p := range m.headers {
			h.Set(p.name, p.value)
		}
		for _, p := range m.user {
			h[userPrefixSent+p.name] = []string{p.value}
		}
		if len(m.tags) > 0 {
			h.Set("x-amz-tagging-count", strconv.Itoa(len(m.tags)))
		}
	}
	h.Set("ETag", quoteTag(o.etag()))
	h.Set("Last-Modified", httpTime(o.modified()))
	h.Set("Accept-Ranges", "bytes")
	if class := c.headerValue("x-amz-storage-class"); class != "" {
		h.Set("x-amz-storage-class", "STANDARD")
	}
}

// userPrefixSent is written in lower case, as clients expect user metadata to come back.
const userPrefixSent = "x-amz-meta-"

// overrides are the headers that a signed GET may choose.
var overrides = map[string]string{
	"response-content-type": "Content-Type", "response-cache-control": "Cache-Control", "response-expires": "Expires",
	"response-content-disposition": "Content-Disposition", "response-content-encoding": "Content-Encoding",
	"response-content-language": "Content-Language",
}

func (c *call) override() error {
	for name, header := range overrides {
		v := c.q.Get(name)
		if v == "" {
			continue
		}
		if strings.ContainsAny(v, "\r\n\x00") {
			return errf("InvalidArgument", "%s has a line break", name)
		}
		c.w.Header().Set(header, v)
	}
	return nil
}

// sendSums sets the headers of checksums.
func sendSums(h http.Header, sums []sum, parts int) {
	for _, s := range sums {
		h.Set(s.algo.header(), sumText(s, parts))
		h.Set("x-amz-checksum-type", sumType(s))
	}
}

func sumType(s sum) string {
	if s.composite {
		return "COMPOSITE"
	}
	return "FULL_OBJECT"
}

// sumText is a sum as S3 has it: of parts, with their number.
func sumText(s sum, parts int) string {
	v := base64.StdEncoding.EncodeToString(s.value)
	if s.composite {
		v += "-" + strconv.Itoa(parts)
	}
	return v
}

// wantedMD5 is the Content-MD5 of a request; nil if it has none.
func (c *call) wantedMD5() ([]byte, error) {
	v := c.headerValue("Content-MD5")
	if v == "" {
		if _, has := c.r.Header["Content-Md5"]; has {
			return nil, errf("InvalidDigest", "Content-MD5 is empty")
		}
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(b) != md5.Size {
		return nil, errf("InvalidDigest", "Content-MD5 %q is no MD5 in base64", clean(v))
	}
	return b, nil
}

// checkMD5 compares a document with the Content-MD5 of its request.
func (c *call) checkMD5(body []byte) error {
	want, err := c.wantedMD5()
	if err != nil || want == nil {
		return err
	}
	if got := md5.Sum(body); !bytes.Equal(got[:], want) {
		return errBadDigest
	}
	return nil
}

var errBadDigest = errf("BadDigest", "the body does not match its Content-MD5")

// askedAlgo is the checksum that the client wants to be computed: by name, or because it
// sends one.
func (c *call) askedAlgo() (algo, error) {
	for _, name := range []string{"x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm"} {
		if v := c.headerValue(name); v != "" {
			a := algoOf(v)
			if !a.valid() {
				return 0, errf("InvalidRequest", "%s %q is not known", name, clean(v))
			}
			return a, nil
		}
	}
	return algoNone, nil
}
