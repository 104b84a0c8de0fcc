package s3

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// condition is what a request asks of the object that is there.
type condition struct {
	ifMatch, ifNoneMatch           []string // ETags without quotes, or "*"
	hasMatch, hasNone              bool
	modifiedSince, unmodifiedSince time.Time
	size                           int64 // -1: none
	lastModified                   time.Time
	read                           bool // a read answers 304 where a write answers 412
}

func (c *condition) empty() bool {
	return c == nil || !c.hasMatch && !c.hasNone && c.modifiedSince.IsZero() && c.unmodifiedSince.IsZero() && c.size < 0 && c.lastModified.IsZero()
}

// tags parts a list of ETags.
func tags(v string) (list []string) {
	for _, t := range strings.Split(v, ",") {
		t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
		list = append(list, strings.Trim(t, `"`))
	}
	return list
}

// condition reads the headers that begin with a prefix: none, or x-amz-copy-source-.
func (c *call) condition(prefix string, read bool) (*condition, error) {
	cond := &condition{size: -1, read: read}
	if v := c.headerValue(prefix + "if-match"); v != "" {
		cond.hasMatch, cond.ifMatch = true, tags(v)
	}
	if v := c.headerValue(prefix + "if-none-match"); v != "" {
		cond.hasNone, cond.ifNoneMatch = true, tags(v)
	}
	// A date that cannot be read, or lies in the future, is none, by RFC 9110; and one of this header is none to
	// a request that changes something.
	if t, err := http.ParseTime(c.headerValue(prefix + "if-modified-since")); read && err == nil && !t.After(c.s.cfg.Now()) {
		cond.modifiedSince = t
	}
	if t, err := http.ParseTime(c.headerValue(prefix + "if-unmodified-since")); err == nil {
		cond.unmodifiedSince = t
	}
	if read {
		return cond, nil
	}
	if cond.hasNone && cond.hasMatch {
		return nil, errf("NotImplemented", "a write can have If-Match or If-None-Match").with("Header", "If-None-Match").
			with("additionalMessage", "Multiple conditional request headers present in the request")
	}
	if cond.hasNone && (len(cond.ifNoneMatch) != 1 || cond.ifNoneMatch[0] != "*") {
		return nil, errf("NotImplemented", "If-None-Match of a write can only be *").with("Header", "If-None-Match").
			with("additionalMessage", "We don't accept the provided value of If-None-Match header for this API")
	}
	if v := c.headerValue("x-amz-if-match-size"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return nil, errf("InvalidArgument", "x-amz-if-match-size is %q", v)
		}
		cond.size = n
	}
	if v := c.headerValue("x-amz-if-match-last-modified-time"); v != "" {
		t, err := http.ParseTime(v)
		if err != nil {
			return nil, errf("InvalidArgument", "x-amz-if-match-last-modified-time is %q", v)
		}
		cond.lastModified = t
	}
	return cond, nil
}

func matchesAny(list []string, etag string) bool {
	for _, t := range list {
		if t == "*" || t == etag {
			return true
		}
	}
	return false
}

// check says whether the condition holds for an object, or, with nil, for none.
func (c *condition) check(o *object) error {
	if o == nil {
		if c.hasMatch || c.size >= 0 || !c.lastModified.IsZero() {
			return errf("NoSuchKey", "there is no object that could match")
		}
		return nil
	}
	etag := o.etag()
	modified := o.modified().Std().Truncate(time.Second)
	failed := func(header string) error {
		return errf("PreconditionFailed", "%s does not hold: the object has the ETag %q and is of %s", header, etag, modified.Format(http.TimeFormat)).
			with("Condition", header)
	}
	unchanged := func(header string) error {
		if c.read {
			return notModified
		}
		return failed(header)
	}
	switch {
	case c.hasMatch && !matchesAny(c.ifMatch, etag):
		return failed("If-Match")
	case !c.hasMatch && !c.unmodifiedSince.IsZero() && modified.After(c.unmodifiedSince):
		return failed("If-Unmodified-Since")
	case c.hasNone && matchesAny(c.ifNoneMatch, etag):
		return unchanged("If-None-Match")
	case !c.hasNone && !c.modifiedSince.IsZero() && !modified.After(c.modifiedSince):
		return unchanged("If-Modified-Since")
	case c.size >= 0 && c.size != o.size():
		return failed("If-Match-Size")
	case !c.lastModified.IsZero() && !modified.Equal(c.lastModified.Truncate(time.Second)):
		return failed("If-Match-Last-Mod-Time")
	}
	return nil
}
