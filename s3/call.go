package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// call is one request on its way.
type call struct {
	s    *Server
	w    *answer
	r    *http.Request
	h    http.Header // with those that the URL has instead; see sig.Headers
	ctx  context.Context
	id   string
	auth *sig.Result

	bucket, key string
	q           url.Values
	hosted      bool   // the host names the bucket
	proceeded   bool   // see proceed
	name        string // of the operation, once it is known
	forwarded   bool   // by another node
}

// answer remembers whether anything was sent: an error that comes later can only cut
// the connection.
type answer struct {
	http.ResponseWriter
	body    *pacedBody // of the request; nil if it has none
	begun   bool
	status  int
	written int64
}

func (a *answer) WriteHeader(status int) {
	if a.body != nil {
		a.body.extend() // net/http reads what is left of it before it sends
	}
	a.begun = true
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(p)
	a.written += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) flush() {
	if f, ok := a.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// fail answers an error.
func (c *call) fail(err error) {
	f := faultOf(err)
	if f.status >= http.StatusInternalServerError {
		ev := c.s.cfg.Log.Warn()
		if f.code == "SlowDown" || volume.KindOf(err) == volume.ReadOnly {
			ev = c.s.cfg.Log.Debug()
		}
		ev.Err(err).Str("request", c.id).Str("method", c.r.Method).Str("bucket", c.bucket).Str("key", c.key).Msg("s3: request failed")
	}
	if c.w.begun {
		panic(http.ErrAbortHandler) // what was sent is not to be taken for the whole
	}
	h := c.w.Header()
	if f.status == http.StatusNotModified {
		c.w.WriteHeader(f.status)
		return
	}
	for _, name := range []string{"Content-Length", "Content-Encoding", "ETag", "Last-Modified"} {
		h.Del(name)
	}
	if f.status != http.StatusRequestedRangeNotSatisfiable {
		h.Del("Content-Range") // which tells the length of what has no such range
	}
	if f.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	if c.waitsForNothing() && !c.proceeded {
		h.Set("Connection", "close") // see proceed
	}
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(f.status)
		return
	}
	c.sendXML(f.status, c.errorBody(f))
}

func (c *call) errorBody(f *fault) *errorBody {
	b := &errorBody{Code: f.code, Message: clean(f.message), Resource: clean(c.r.URL.Path), RequestId: c.id, HostId: c.id}
	b.Key = clean(c.key)
	for _, d := range f.detail {
		b.Detail = append(b.Detail, detail{xml.Name{Local: d.Name}, clean(d.Value)})
	}
	return b
}

// clean makes a string fit for XML.
func clean(s string) string {
	if xmlSafe(s) {
		return s
	}
	return escapeKey(s)
}

// sendXML answers with a document.
func (c *call) sendXML(status int, v any) {
	b, err := encodeXML(v)
	if err != nil { // a value that XML cannot carry slipped through
		c.s.cfg.Log.Error().Err(err).Str("request", c.id).Msg("s3: answer cannot be encoded")
		c.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/xml")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b) // the client has gone if this fails
}

func encodeXML(v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	err := xml.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

// body reads a request's whole body, which must not exceed a limit, and be as it was
// signed.
func (c *call) body(limit int64) ([]byte, error) {
	if c.auth.Length > limit {
		return nil, errf("MaxMessageLengthExceeded", "the document has %d bytes; %d are allowed", c.auth.Length, limit)
	}
	b, err := io.ReadAll(io.LimitReader(c.auth.Body, limit+1))
	if err != nil {
		return nil, bodyError(err)
	}
	if int64(len(b)) > limit {
		return nil, errf("MaxMessageLengthExceeded", "the document has more than %d bytes", limit)
	}
	if c.auth.Length >= 0 && int64(len(b)) != c.auth.Length {
		return nil, errf("IncompleteBody", "%d of %d bytes came", len(b), c.auth.Length)
	}
	return b, nil
}

// readXML decodes a request's document.
func (c *call) readXML(limit int64, v any) error {
	b, err := c.body(limit)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return errf("MissingRequestBodyError", "the request has no document")
	}
	if err := xml.Unmarshal(b, v); err != nil {
		return errf("MalformedXML", "the document cannot be read: %v", err)
	}
	return nil
}

// bodyError is what went wrong while a body was read.
func bodyError(err error) error {
	var f *fault
	var s *sig.Error
	if errors.As(err, &f) || errors.As(err, &s) || volume.KindOf(err) != volume.Unknown {
		return err
	}
	return errf("IncompleteBody", "the body ended early: %v", err)
}

// slowly answers with the document that fn makes. If that takes long, the answer begins
// with white space, so that nobody on the way gives up; an error is then a document in
// an answer that had said 200, as in S3.
func (c *call) slowly(fn func() (any, error)) error {
	type outcome struct {
		v   any
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil { // as net/http does for handlers
				o.err = volume.Errorf(volume.Fault, "panic: %v", p)
			}
			done <- o
		}()
		o.v, o.err = fn()
	}()
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case o := <-done:
			if !c.w.begun {
				if o.err == nil {
					c.sendXML(http.StatusOK, o.v)
				}
				return o.err
			}
			if o.err != nil {
				c.s.cfg.Log.Warn().Err(o.err).Str("request", c.id).Str("key", c.key).Msg("s3: request failed after the answer began")
				o.v = c.errorBody(faultOf(o.err))
			}
			b, err := encodeXML(o.v)
			if err == nil {
				_, err = c.w.Write(bytes.TrimPrefix(b, []byte(xml.Header)))
			}
			return err
		case <-tick.C:
			if !c.w.begun {
				c.w.Header().Set("Content-Type", "application/xml")
				c.w.WriteHeader(http.StatusOK)
				_, _ = io.WriteString(c.w, xml.Header)
			}
			_, _ = io.WriteString(c.w, " ") // a client that has gone is noticed at the end
			c.w.flush()
		}
	}
}

// patience is how long a client hears nothing.
const patience = 5 * time.Second

// httpTime is a time as headers have it, xmlTime as documents do.
func httpTime(t volume.Time) string { return t.Std().Format(http.TimeFormat) }
func xmlTime(t volume.Time) string  { return t.Std().Format("2006-01-02T15:04:05.000Z") }

func quoteTag(etag string) string { return `"` + etag + `"` }

// headerValue is a header without the spaces around it.
func (c *call) headerValue(name string) string { return strings.TrimSpace(c.h.Get(name)) }
