package sig

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

const (
	algorithm4 = "AWS4-HMAC-SHA256"
	service    = "s3"
	terminal   = "aws4_request"
	dateFormat = "20060102T150405Z"
	dayFormat  = "20060102"

	maxSkew = 15 * time.Minute
	// maxExpires is the longest life of a presigned URL.
	maxExpires = 7 * 24 * 3600 // seconds
)

// credential is the Credential of a signature: ACCESS/YYYYMMDD/REGION/s3/aws4_request.
type credential struct {
	access, day, region string
}

func (c credential) scope() string { return c.day + "/" + c.region + "/" + service + "/" + terminal }

// parseCredential checks the parts in the order in which AWS complains of them.
// malformed makes the error of the place where the credential stood.
func parseCredential(s string, malformed func(string, ...any) *Error) (credential, *Error) {
	parts := strings.Split(s, "/")
	if len(parts) < 5 {
		return credential{}, malformed(`the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`)
	}
	n := len(parts)
	c := credential{strings.Join(parts[:n-4], "/"), parts[n-4], parts[n-3]} // an access key may contain slashes
	if term := parts[n-1]; term != terminal {
		if n > 5 {
			return credential{}, malformed(`the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`)
		}
		return credential{}, malformed(`incorrect terminal %q. This endpoint uses "aws4_request".`, term)
	}
	if s := parts[n-2]; s != service {
		return credential{}, malformed(`incorrect service %q. This endpoint belongs to "s3".`, s)
	}
	if _, err := time.Parse(dayFormat, c.day); err != nil {
		return credential{}, malformed(`incorrect date format %q. This date in the credential must be in the format "yyyyMMdd".`, c.day)
	}
	if c.access == "" || c.region == "" {
		return credential{}, malformed(`the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`)
	}
	return c, nil
}

// parseSigned splits a list of signed headers. Names are lower-case tokens, each
// there once.
func parseSigned(list string) ([]string, bool) {
	names := strings.Split(list, ";")
	seen := make(map[string]bool, len(names))
	for _, n := range names {
		if n == "" || seen[n] || strings.ContainsFunc(n, func(c rune) bool {
			return c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || c == ':' || c == ','
		}) {
			return nil, false
		}
		seen[n] = true
	}
	return names, true
}

// authorization is the Authorization header of version 4.
type authorization struct {
	credential credential
	signed     []string
	signature  string
}

// parseHeader4 reads what follows the algorithm.
func parseHeader4(rest string) (authorization, *Error) {
	var a authorization
	parts := strings.Split(rest, ",")
	if len(parts) != 3 {
		return a, headerMalformed("the authorization header requires three components: Credential, SignedHeaders, and Signature.")
	}
	values := make(map[string]string, 3)
	for _, p := range parts {
		p = strings.TrimSpace(p)
		name, value, found := strings.Cut(p, "=")
		if _, twice := values[name]; !found || twice {
			return a, headerMalformed("the authorization component %q is malformed.", p)
		}
		values[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if values[name] == "" {
			return a, headerMalformed("missing %s.", name)
		}
	}
	var e *Error
	if a.credential, e = parseCredential(values["Credential"], headerMalformed); e != nil {
		return a, e
	}
	var ok bool
	if a.signed, ok = parseSigned(values["SignedHeaders"]); !ok {
		return a, headerMalformed("the authorization component %q is malformed.", "SignedHeaders="+values["SignedHeaders"])
	}
	a.signature = values["Signature"]
	return a, nil
}

// requestDate is the date of a request that is signed in its header. Version 4 wants
// the basic ISO 8601 form; in Date the usual one of HTTP is accepted as well.
func requestDate(h http.Header) (time.Time, *Error) {
	if v := h.Get("x-amz-date"); v != "" || len(h.Values("x-amz-date")) > 1 {
		t, err := time.Parse(dateFormat, v)
		if err != nil || len(h.Values("x-amz-date")) > 1 {
			return t, noDate()
		}
		return t, nil
	}
	v := h.Get("Date")
	if t, err := time.Parse(dateFormat, v); err == nil {
		return t, nil
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return t, noDate()
	}
	return t.UTC(), nil
}

func (v *Verifier) verifyHeader4(r *http.Request, params []param, rest string) (*grant, *Error) {
	date, e := requestDate(r.Header)
	if e != nil {
		return nil, e
	}
	a, e := parseHeader4(rest)
	if e != nil {
		return nil, e
	}
	if v.Region != "" && a.credential.region != v.Region {
		return nil, headerMalformed("the region %q is wrong; expecting %q", a.credential.region, v.Region).with("Region", v.Region)
	}
	if now := v.now(); date.Sub(now).Abs() > maxSkew {
		return nil, skewed(date, now)
	}
	key, found := v.Keys.Find(a.credential.access)
	if !found {
		return nil, unknownKey(a.credential.access)
	}
	if r.Header.Get("x-amz-security-token") != "" {
		return nil, invalidToken() // there are no temporary keys
	}
	if date.Format(dayFormat) != a.credential.day {
		return nil, headerMalformed("Invalid credential date. Date is not the same as X-Amz-Date.")
	}
	payload, e := single(r.Header, "x-amz-content-sha256")
	if e != nil {
		return nil, e
	}
	if payload == "" {
		return nil, invalidRequest("Missing required header for this request: x-amz-content-sha256")
	}
	if _, e := payloadForm(r, payload); e != nil {
		return nil, e
	}
	if list := unsignedHeaders(r, a.signed); len(list) > 0 {
		return nil, notSigned(list)
	}
	s := signed4{credential: a.credential, date: date, signed: a.signed, signature: a.signature, payload: payload}
	return s.verify(r, key, canonicalQuery(params, ""))
}

// signed4 is a version 4 signature and what it is about.
type signed4 struct {
	credential credential
	date       time.Time
	signed     []string
	signature  string
	payload    string
}

func (s *signed4) verify(r *http.Request, key Key, query string) (*grant, *Error) {
	signer := &chunkSigner{
		key:    signingKey(key.Secret, s.credential.day, s.credential.region, service),
		access: key.Access,
		date:   s.date.Format(dateFormat),
		scope:  s.credential.scope(),
		prev:   s.signature,
	}
	var first, firstRequest string
	for _, path := range pathForms(r) {
		request := canonicalRequest(r, path, query, s.signed, s.payload)
		text := stringToSign(signer.date, signer.scope, request)
		if sameText(hexHMAC(signer.key, text), s.signature) {
			return &grant{key: key, payload: s.payload, chunks: signer}, nil
		}
		if first == "" {
			first, firstRequest = text, request
		}
	}
	return nil, mismatch(key.Access, first, s.signature, firstRequest)
}

func stringToSign(date, scope, request string) string {
	return algorithm4 + "\n" + date + "\n" + scope + "\n" + hexSHA256(request)
}

// signingKey derives the key of a day, region and service from the secret.
func signingKey(secret, day, region, service string) []byte {
	k := hmacSHA256([]byte("AWS4"+secret), day)
	k = hmacSHA256(k, region)
	k = hmacSHA256(k, service)
	return hmacSHA256(k, terminal)
}

func hmacSHA256(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hexHMAC(key []byte, text string) string { return hex.EncodeToString(hmacSHA256(key, text)) }

func hexSHA256(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// sameText compares in a time that does not tell where the difference is.
func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
