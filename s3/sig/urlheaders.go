package sig

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

const amzPrefix = "x-amz-"

// ownParams are the x-amz-* parameters that are about the URL, and stand for no header.
var ownParams = []string{
	"x-amz-algorithm", "x-amz-credential", "x-amz-signature", "x-amz-date", "x-amz-signedheaders", "x-amz-expires",
	"x-amz-content-sha256", "x-amz-security-token",
}

// ofTransfer are headers about the way in which a body comes. Who writes a URL does not
// know it, so as parameters they say nothing.
var ofTransfer = []string{"x-amz-sdk-checksum-algorithm", "x-amz-trailer", decodedLengthHeader}

// version2Params are the other headers that boto3 moves into a URL that it signs by
// version 2.
var version2Params = []string{"content-type", "content-md5"}

// Query is a request's query as its signature covers it: a semicolon is part of a value.
// The error is an *Error.
func Query(r *http.Request) (url.Values, error) {
	params, e := parseQuery(r.URL.RawQuery)
	if e != nil {
		return nil, e
	}
	q := make(url.Values, len(params))
	for _, p := range params {
		q[p.name] = append(q[p.name], p.value)
	}
	return q, nil
}

// Headers are the headers of a request and those that its URL has instead, which
// presigners write so that whoever uses the URL need not know them. They count once
// Verify has accepted the request, since then they are signed. One that is there twice,
// in different words, is refused. The error is an *Error.
func Headers(r *http.Request) (http.Header, error) {
	params, e := parseQuery(r.URL.RawQuery)
	if e == nil {
		var h http.Header
		if h, e = mergedHeaders(r, params); e == nil {
			return h, nil
		}
	}
	return nil, e
}

func mergedHeaders(r *http.Request, params []param) (http.Header, *Error) {
	h := r.Header
	seen := map[string]bool{}
	for _, p := range params {
		name := strings.ToLower(p.name)
		if !standsForHeader(r, params, name) {
			continue
		}
		value := strings.TrimSpace(p.value)
		given := h.Values(name)
		switch {
		case seen[name]:
			return nil, invalidArgument(p.name, p.value, "The parameter must not be repeated.")
		case strings.ContainsFunc(name, notInName) || strings.ContainsFunc(value, notInValue):
			return nil, invalidArgument(p.name, p.value, "The parameter has characters that no header can have.")
		case len(given) > 0 && joined(given) != value:
			return nil, invalidArgument(p.name, p.value, "The parameter and the header of this name differ.")
		}
		if len(seen) == 0 {
			h = h.Clone() // the request's are left as they came: others verify them again
			if h == nil {
				h = http.Header{}
			}
		}
		seen[name] = true
		h[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
	}
	return h, nil
}

// standsForHeader reports whether a parameter, in lower case, says what a header would.
func standsForHeader(r *http.Request, params []param, name string) bool {
	if slices.Contains(version2Params, name) {
		return query2(params)
	}
	if !strings.HasPrefix(name, amzPrefix) || slices.Contains(ownParams, name) || slices.Contains(ofTransfer, name) {
		return false
	}
	kind, is := strings.CutPrefix(name, checksumPrefix)
	if _, known := FindAlgorithm(kind); is && known {
		return !describesBody(r, params) // see package documentation
	}
	return true
}

// notInName and notInValue are what RFC 9110 does not allow in names and values of headers.
func notInName(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
}

func notInValue(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

func joined(values []string) string {
	list := slices.Clone(values)
	for i, v := range list {
		list[i] = strings.TrimSpace(v)
	}
	return strings.Join(list, ",")
}
