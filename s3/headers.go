package s3

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"wolfdisk/volume"
)

// kept are the headers of the system metadata that are stored and returned.
var kept = []string{"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires", redirectHeader}

// redirectHeader is kept for whoever serves the bucket as a site, and is never copied.
const redirectHeader = "X-Amz-Website-Redirect-Location"

const (
	userPrefix    = "X-Amz-Meta-"
	defaultType   = "binary/octet-stream"
	directoryType = "application/x-directory" // as many clients make and know them
)

// newMeta is the metadata that a request's headers give an object.
func (c *call) newMeta() (*meta, error) {
	m := &meta{kind: kindObject, modified: volume.TimeOf(c.s.cfg.Now())}
	total := 0
	for _, name := range kept {
		v := c.headerValue(name)
		if name == "Content-Encoding" {
			v = c.auth.ContentEncoding // aws-chunked is of the transfer
		}
		if v == "" {
			continue
		}
		if name == redirectHeader && !strings.HasPrefix(v, "/") && !strings.HasPrefix(v, "http://") && !strings.HasPrefix(v, "https://") {
			return nil, errf("InvalidRedirectLocation", "%s is %q", redirectHeader, clean(v))
		}
		if total += len(name) + len(v); total > maxHeaders {
			return nil, errf("MetadataTooLarge", "the headers of the object have more than %d bytes", maxHeaders)
		}
		m.headers = append(m.headers, pair{name, v})
	}
	total = 0
	for name, values := range c.h {
		if !strings.HasPrefix(name, userPrefix) {
			continue
		}
		p := pair{strings.ToLower(strings.TrimPrefix(name, userPrefix)), strings.Join(values, ",")}
		if total += len(p.name) + len(p.value); total > maxUserMeta || len(m.user) >= maxMetaPairs/2 {
			return nil, errf("MetadataTooLarge", "the metadata of the object has more than %d bytes", maxUserMeta).
				with("Size", strconv.Itoa(userSize(c.h))).with("MaxSizeAllowed", strconv.Itoa(maxUserMeta))
		}
		m.user = append(m.user, p)
	}
	slices.SortFunc(m.user, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	var err error
	if v := c.h.Get("x-amz-tagging"); v != "" {
		m.tags, err = parseTagging(v)
	}
	return m, err
}

// userSize is how long the user's metadata are, bytes.
func userSize(h http.Header) (n int) {
	for name, values := range h {
		if strings.HasPrefix(name, userPrefix) {
			n += len(name) - len(userPrefix) + len(strings.Join(values, ","))
		}
	}
	return n
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
		twice := slices.ContainsFunc(tags, func(t pair) bool { return t.name == p.name })
		if err != nil || p.name == "" || twice {
			return nil, errArgument("x-amz-tagging", v,
				"The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
		}
		tags = append(tags, p)
	}
	return tags, checkTags(tags, maxTags, "Object tags cannot be greater than %d")
}

// checkTags holds tags to S3's rules; tooMany is what to say if there are more than most.
func checkTags(tags []pair, most int, tooMany string) error {
	if len(tags) > most {
		return errf("BadRequest", tooMany, most)
	}
	bad := func(t pair, text, why string) error {
		return errf("InvalidTag", "%s", text).with("TagKey", t.name).with("TagValue", t.value).with("Reason", why)
	}
	const badKey, badValue = "The TagKey you have provided is invalid", "The TagValue you have provided is invalid"
	for i, t := range tags {
		switch {
		case t.name == "" || !utf8.ValidString(t.name) || utf8.RuneCountInString(t.name) > maxTagKey:
			return bad(t, badKey, fmt.Sprintf("a key has 1 to %d characters", maxTagKey))
		case !tagSafe(t.name):
			return bad(t, badKey, "it may have letters, digits, spaces and + - = . _ : / @")
		case strings.HasPrefix(strings.ToLower(t.name), "aws:"):
			return bad(t, badKey, `what begins with "aws:" is reserved`)
		case !utf8.ValidString(t.value) || utf8.RuneCountInString(t.value) > maxTagValue:
			return bad(t, badValue, fmt.Sprintf("a value has at most %d characters", maxTagValue))
		case !tagSafe(t.value):
			return bad(t, badValue, "it may have letters, digits, spaces and + - = . _ : / @")
		}
		for _, u := range tags[:i] {
			if u.name == t.name {
				return bad(t, "Cannot provide multiple Tags with the same key", "each key can be there once")
			}
		}
	}
	return nil
}

// tagSafe holds a text to the characters that S3 allows in tags.
func tagSafe(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.Zs, r) && !strings.ContainsRune("+-=._:/@", r) {
			return false
		}
	}
	return true
}

// sendMeta sets the headers of an object's metadata.
func (c *call) sendMeta(o *object) {
	h := c.w.Header()
	h.Set("Content-Type", defaultType)
	if o.attr.IsDir() {
		h.Set("Content-Type", directoryType)
	}
	if m := o.meta; m != nil {
		for _, p := range m.headers {
			h.Set(p.name, p.value)
		}
		for _, p := range m.user {
			h[userPrefixSent+p.name] = []string{p.value}
			expose(h, userPrefixSent+p.name)
		}
		if len(m.tags) > 0 {
			h.Set("x-amz-tagging-count", strconv.Itoa(len(m.tags)))
		}
	}
	h.Set("ETag", quoteTag(o.etag()))
	h.Set("Last-Modified", httpTime(o.modified()))
	h.Set("Accept-Ranges", "bytes")
	h.Set("x-amz-storage-class", "STANDARD")
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
		if !c.signed() {
			return errf("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
		}
		if strings.ContainsAny(v, "\r\n\x00") {
			return errf("InvalidArgument", "%s has a line break", name)
		}
		c.w.Header().Set(header, v)
	}
	return nil
}

// signed reports whether the request carries a signature. Without keys nobody looks
// whether it is good, but still a page of somebody else's cannot link to an object as
// what it is not.
func (c *call) signed() bool {
	return len(c.r.Header["Authorization"]) > 0 || c.q.Has("X-Amz-Signature") || c.q.Has("Signature")
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

// askedAlgo is the checksum that the client wants to be computed: by name, or because it
// sends one.
func (c *call) askedAlgo() (algo, error) {
	for _, name := range []string{"x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm"} {
		if v := c.headerValue(name); v != "" {
			a := algoOf(v)
			if !a.valid() {
				return 0, errf("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [%s]", knownAlgos()).
					with("Header", name).with("Value", v)
			}
			return a, nil
		}
	}
	return algoNone, nil
}
