package sig

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Key is one pair of keys and what it may do.
type Key struct {
	Access, Secret string
	Buckets        []string // empty: all
	ReadOnly       bool
}

// Allows reports whether the key may touch the bucket, and write to it.
func (k Key) Allows(bucket string, write bool) bool {
	if write && k.ReadOnly {
		return false
	}
	return len(k.Buckets) == 0 || slices.Contains(k.Buckets, bucket)
}

// Keys finds keys. Empty means that there are none, hence no authentication.
// Both are called by many requests at once.
type Keys interface {
	Find(access string) (Key, bool)
	Empty() bool
}

// Verifier verifies requests. Its fields do not change while it is in use; Keys
// may change what it answers at any time. Without Keys everything is refused.
type Verifier struct {
	Keys    Keys
	Now     func() time.Time // nil: time.Now
	Region  string           // the only one accepted in a scope; empty: any
	Domains []string         // b.DOMAIN is bucket b; needed for version 2 signatures
}

// Result is a request that may go on, and its body.
type Result struct {
	Key       Key  // zero if Anonymous
	Anonymous bool // there are no keys: nobody was asked for a signature

	// Body is the decoded body. It is verified while it is read, so nothing of it
	// counts before io.EOF: any other error is an *Error and voids what was read.
	Body io.Reader
	// Length is that of the decoded body; -1 if it is not known.
	Length int64
	// ContentEncoding is the header of that name without aws-chunked.
	ContentEncoding string
	// Checksums are those that came with the body, in a header or trailer, and
	// match it. Empty before io.EOF. Content-MD5 is not one of them.
	Checksums func() []Checksum

	body *body
}

// Also has further sums computed while the body is read, for Sum. It must be
// called before the first Read.
func (r *Result) Also(algorithms ...string) error { return r.body.hasher.add(algorithms...) }

// Sum is the sum over the whole body of an algorithm that was asked for by Also or
// had to be verified; nil for others, and before io.EOF.
func (r *Result) Sum(algorithm string) []byte {
	if r.body.err != io.EOF {
		return nil
	}
	return r.body.hasher.Sum(algorithm)
}

// grant is what authentication found: who asks, how the payload is announced, and
// with what its chunks are signed.
type grant struct {
	key       Key
	anonymous bool
	payload   string       // value of x-amz-content-sha256; empty: not stated
	chunks    *chunkSigner // nil: signatures of chunks cannot be verified
}

// Verify authenticates a request as a server gets it. Path and query are those of
// the request line (RequestURI, if it is there). The error is an *Error. The body
// is not touched before the Result's is read, so nothing asks the client to
// continue before it is known who it is.
func (v *Verifier) Verify(r *http.Request) (*Result, error) {
	g, params, e := v.authenticate(r)
	if e != nil {
		return nil, e
	}
	res, e := newResult(r, params, g)
	if e != nil {
		return nil, e
	}
	return res, nil
}

func (v *Verifier) authenticate(r *http.Request) (*grant, []param, *Error) {
	params, e := parseQuery(r.URL.RawQuery)
	if e != nil {
		return nil, nil, e
	}
	if v.Keys == nil {
		return nil, nil, accessDenied("Access Denied.")
	}
	if v.Keys.Empty() {
		payload, e := single(r.Header, "x-amz-content-sha256")
		if e != nil {
			return nil, nil, e
		}
		return &grant{anonymous: true, payload: payload}, params, nil
	}
	g, e := v.mechanism(r, params)
	return g, params, e
}

// mechanism is the one way in which the request is signed. Two at once are
// refused: they could be about different requests.
func (v *Verifier) mechanism(r *http.Request, params []param) (*grant, *Error) {
	header := len(r.Header["Authorization"]) > 0
	query4 := hasAny(params, "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders")
	if header && (query4 || query2(params)) || query4 && query2(params) {
		return nil, invalidArgument("Authorization", r.Header.Get("Authorization"),
			"Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	}
	switch {
	case query4:
		return v.verifyQuery4(r, params)
	case query2(params):
		return v.verifyQuery2(r, params)
	case !header:
		return nil, accessDenied("Access Denied.")
	}
	value, e := single(r.Header, "authorization")
	if e != nil {
		return nil, e
	}
	scheme, rest, found := strings.Cut(value, " ")
	switch {
	case !found:
		return nil, invalidArgument("Authorization", value, "Authorization header is invalid -- one and only one ' ' (space) required.")
	case scheme == algorithm4:
		return v.verifyHeader4(r, params, rest)
	case scheme == "AWS":
		return v.verifyHeader2(r, params, rest)
	}
	return nil, invalidArgument("Authorization", scheme, "Unsupported Authorization Type")
}

// query2 reports whether a URL carries a version 2 signature.
func query2(params []param) bool { return hasAny(params, "AWSAccessKeyId", "Signature") }

func (v *Verifier) now() time.Time {
	if v.Now == nil {
		return time.Now()
	}
	return v.Now()
}

// single is the value of a header that must not be repeated.
func single(h http.Header, name string) (string, *Error) {
	values := h.Values(name)
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(values[0]), nil
	}
	return "", invalidArgument(name, strings.Join(values, ","), "The header "+name+" must not be repeated.")
}

// HostBucket is the bucket that a host names under one of the base domains: b for
// b.s3.example with the domain s3.example, whatever the port. Empty if the host
// names none, or is a domain itself, so that the bucket is the first segment of the
// path.
func HostBucket(host string, domains []string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	best := ""
	for _, d := range domains {
		d = strings.Trim(d, ".")
		if strings.EqualFold(host, d) {
			return ""
		}
		n := len(host) - len(d) - 1
		if d == "" || n <= 0 || host[n] != '.' || !strings.EqualFold(host[n+1:], d) {
			continue
		}
		if b := host[:n]; best == "" || len(b) < len(best) {
			best = b // of nested domains the longest one counts
		}
	}
	return strings.ToLower(best)
}
