package sig

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// subResources are the query parameters that version 2 signs. All others can be
// changed by whoever holds the URL; that is how version 2 is.
var subResources = []string{
	"accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle", "location",
	"logging", "metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
	"response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
	"response-content-type", "response-expires", "restore", "select", "select-type", "storageClass", "tagging",
	"torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
}

// verifyQuery2 verifies AWSAccessKeyId, Expires and Signature of a URL.
func (v *Verifier) verifyQuery2(r *http.Request, params []param) (*grant, *Error) {
	values := map[string]string{}
	for _, q := range params {
		switch q.name {
		case "AWSAccessKeyId", "Expires", "Signature":
			if _, twice := values[q.name]; twice {
				return nil, accessDenied("The parameter %s must not be repeated.", q.name)
			}
			values[q.name] = q.value
		case "x-amz-security-token":
			return nil, invalidToken()
		}
	}
	access, expires, signature := values["AWSAccessKeyId"], values["Expires"], values["Signature"]
	if access == "" || expires == "" || signature == "" {
		return nil, accessDenied("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
	}
	seconds, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return nil, accessDenied("Invalid date (should be seconds since epoch): %s", expires)
	}
	now := v.now()
	if end := time.Unix(seconds, 0); now.After(end) {
		return nil, expired(end, now)
	}
	key, found := v.Keys.Find(access)
	if !found {
		return nil, unknownKey(access)
	}
	return v.verify2(r, params, params, key, expires, signature)
}

// verifyHeader2 verifies "Authorization: AWS ACCESS:SIGNATURE".
func (v *Verifier) verifyHeader2(r *http.Request, params []param, rest string) (*grant, *Error) {
	i := strings.LastIndexByte(rest, ':')
	if i <= 0 || i == len(rest)-1 {
		return nil, invalidArgument("Authorization", "AWS "+rest, "AWS authorization header is invalid. Expected AwsAccessKeyId:signature")
	}
	access, signature := rest[:i], rest[i+1:]
	if list := amzParams(params); len(list) > 0 {
		return nil, notSigned(list) // beside headers, version 2 signs no parameters of this kind
	}
	stated, e := single(r.Header, "x-amz-date")
	if e != nil {
		return nil, e
	}
	line := "" // x-amz-date is signed among the headers of its kind
	if stated == "" {
		stated = r.Header.Get("Date")
		line = stated
	}
	date, ok := parseDate2(stated)
	if !ok {
		return nil, noDate()
	}
	if now := v.now(); date.Sub(now).Abs() > maxSkew {
		return nil, skewed(date, now)
	}
	key, found := v.Keys.Find(access)
	if !found {
		return nil, unknownKey(access)
	}
	return v.verify2(r, params, nil, key, line, signature)
}

func parseDate2(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC1123, time.RFC1123Z, dateFormat, time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// verify2 compares the signature. moved are the parameters among which there are headers.
func (v *Verifier) verify2(r *http.Request, params, moved []param, key Key, date, signature string) (*grant, *Error) {
	if r.Header.Get("x-amz-security-token") != "" {
		return nil, invalidToken()
	}
	payload, e := single(r.Header, "x-amz-content-sha256")
	if e != nil {
		return nil, e
	}
	var first string
	for _, path := range v.pathForms2(r) {
		text := v.stringToSign2(r, params, moved, date, path)
		if sameText(sign2(key.Secret, text), signature) {
			return &grant{key: key, payload: payload}, nil
		}
		if first == "" {
			first = text
		}
	}
	return nil, mismatch(key.Access, first, signature, "")
}

// pathForms2 are the ways of writing the path for version 2. boto3 signs /bucket/ for
// the bucket that it sends as /bucket. What is below a virtual host is a key, and
// another one with a slash.
func (v *Verifier) pathForms2(r *http.Request) []string {
	forms := pathForms(r)
	if raw := forms[0]; HostBucket(r.Host, v.Domains) == "" && strings.LastIndexByte(raw, '/') == 0 && len(raw) > 1 {
		forms = append(forms, raw+"/")
	}
	return forms
}

func sign2(secret, text string) string {
	m := hmac.New(sha1.New, []byte(secret))
	m.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// stringToSign2 covers all x-amz-* headers, so none of them can be added to a URL, and
// those that stand in it: boto3 moves all of them there once it has signed them, and
// Content-MD5 and Content-Type as well (HmacV1QueryAuth in botocore's auth.py).
func (v *Verifier) stringToSign2(r *http.Request, params, moved []param, date, path string) string {
	var b strings.Builder
	b.WriteString(method(r) + "\n" + headerLine2(r, moved, "content-md5") + "\n" + headerLine2(r, moved, "content-type") + "\n" + date + "\n")
	names := amzParams(moved)
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, amzPrefix) {
			names = append(names, lower)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		b.WriteString(name + ":" + headerLine2(r, moved, name) + "\n")
	}
	if bucket := HostBucket(r.Host, v.Domains); bucket != "" {
		b.WriteString("/" + bucket)
	}
	b.WriteString(path)
	separator := "?"
	for _, p := range sortedSubResources(params) {
		b.WriteString(separator + p)
		separator = "&"
	}
	return b.String()
}

// headerLine2 trims values and joins repeated ones, no more. A parameter counts if there
// is no such header.
func headerLine2(r *http.Request, moved []param, name string) string {
	values := r.Header.Values(name)
	if len(values) == 0 {
		for _, p := range moved {
			if strings.EqualFold(p.name, name) {
				values = append(values, p.value)
			}
		}
	}
	return joined(values)
}

// amzParams are the names of the x-amz-* parameters, in lower case.
func amzParams(params []param) (names []string) {
	for _, p := range params {
		if lower := strings.ToLower(p.name); strings.HasPrefix(lower, amzPrefix) {
			names = append(names, lower)
		}
	}
	return names
}

// sortedSubResources are the signed parameters, with their values decoded.
func sortedSubResources(params []param) []string {
	var list []param
	for _, p := range params {
		if slices.Contains(subResources, p.name) {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b param) int { return strings.Compare(a.name, b.name) })
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.name
		if p.valued {
			texts[i] += "=" + p.value
		}
	}
	return texts
}
