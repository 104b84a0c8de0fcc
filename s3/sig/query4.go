package sig

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// presigned are the parameters of a URL that carries a version 4 signature.
type presigned struct {
	credential credential
	date       time.Time
	expires    int64 // seconds
	signed     []string
	signature  string
	payload    string // X-Amz-Content-Sha256; empty: not there
}

const missingQuery4 = "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."

// parsePresigned reads the X-Amz-* parameters of authentication. None may be
// repeated: two readers could take different ones.
func parsePresigned(params []param, region string) (presigned, *Error) {
	var p presigned
	values := map[string]string{}
	for _, q := range params {
		switch q.name {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders",
			"X-Amz-Expires", "X-Amz-Content-Sha256", "X-Amz-Security-Token":
			if _, twice := values[q.name]; twice {
				return p, queryMalformed("The parameter %s must not be repeated.", q.name)
			}
			values[q.name] = q.value
		}
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"} {
		if values[name] == "" {
			return p, queryMalformed(missingQuery4)
		}
	}
	switch a := values["X-Amz-Algorithm"]; a {
	case algorithm4:
	case "AWS4-ECDSA-P256-SHA256":
		return p, queryMalformed(`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"`)
	default:
		return p, queryMalformed(`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"`)
	}
	inCredential := func(format string, args ...any) *Error {
		return queryMalformed("Error parsing the X-Amz-Credential parameter; "+format, args...)
	}
	var e *Error
	if p.credential, e = parseCredential(values["X-Amz-Credential"], inCredential); e != nil {
		return p, e
	}
	if region != "" && p.credential.region != region {
		return p, inCredential("the region %q is wrong; expecting %q", p.credential.region, region).with("Region", region)
	}
	var err error
	if p.date, err = time.Parse(dateFormat, values["X-Amz-Date"]); err != nil {
		return p, queryMalformed(`X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
	}
	if day := p.date.Format(dayFormat); day != p.credential.day {
		return p, queryMalformed("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", p.credential.day, day)
	}
	if p.expires, e = parseExpires(values["X-Amz-Expires"]); e != nil {
		return p, e
	}
	var ok bool
	if p.signed, ok = parseSigned(values["X-Amz-SignedHeaders"]); !ok {
		return p, queryMalformed("The parameter X-Amz-SignedHeaders is malformed.")
	}
	p.signature = values["X-Amz-Signature"]
	p.payload = values["X-Amz-Content-Sha256"]
	if _, there := values["X-Amz-Security-Token"]; there {
		return p, invalidToken()
	}
	return p, nil
}

func parseExpires(s string) (int64, *Error) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil && (!isRange(err) || strings.HasPrefix(s, "+")):
		return 0, queryMalformed("X-Amz-Expires should be a number")
	case n < 0:
		return 0, queryMalformed("X-Amz-Expires must be non-negative")
	case n == 0:
		return 0, queryMalformed("X-Amz-Expires must be at least 1 second")
	case n > maxExpires:
		return 0, queryMalformed("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	return n, nil
}

func isRange(err error) bool {
	n, ok := err.(*strconv.NumError)
	return ok && n.Err == strconv.ErrRange
}

func (v *Verifier) verifyQuery4(r *http.Request, params []param) (*grant, *Error) {
	p, e := parsePresigned(params, v.Region)
	if e != nil {
		return nil, e
	}
	now := v.now()
	if p.date.Sub(now) > maxSkew {
		return nil, accessDenied("Request is not valid yet.").
			with("X-Amz-Date", p.date.Format(dateFormat)).with("ServerTime", now.UTC().Format(time.RFC3339))
	}
	if end := p.date.Add(time.Duration(p.expires) * time.Second); now.After(end) {
		return nil, expired(end, now).with("X-Amz-Expires", strconv.FormatInt(p.expires, 10))
	}
	key, found := v.Keys.Find(p.credential.access)
	if !found {
		return nil, unknownKey(p.credential.access)
	}
	if list := unsignedHeaders(r, p.signed); len(list) > 0 {
		return nil, notSigned(list)
	}
	// The payload is not part of such a signature unless it says otherwise: in a
	// header, which is signed as all of its kind are, or in the URL.
	payload, e := single(r.Header, "x-amz-content-sha256")
	if e != nil {
		return nil, e
	}
	if payload == "" {
		payload = p.payload
	}
	if payload == "" {
		payload = unsignedPayload
	}
	s := signed4{credential: p.credential, date: p.date, signed: p.signed, signature: p.signature, payload: payload}
	return s.verify(r, key, canonicalQuery(params, "X-Amz-Signature"))
}
