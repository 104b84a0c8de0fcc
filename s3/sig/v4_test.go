package sig

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Paths, queries and headers as clients write them.
func TestSigned4(t *testing.T) {
	for _, target := range []string{
		"/", "/bucket", "/bucket/", "/bucket/key", "/bucket/a//b/", "/bucket/./../x", "/b/sp%20ace", "/b/%2B%26%3D%25", "/b/a+b",
		"/b/%E1%88%B4", "/b/ keys", "/b/(x)!*'", "/b/%7Etilde~", "/b/k?acl", "/b/k?acl=", "/b?prefix=a%20b&delimiter=%2F&list-type=2",
		"/b?x=2&x=1&x=&x", "/b?a=b=c", "/b?A=1&a=2&a-b=3", "/b?marker=%E1%88%B4", "/b?p=a+b", "/b?semi%3Bcolon=1", "/b?x=%2a~",
	} {
		escaped := strings.ReplaceAll(target, " ", "%20")
		r := httptest.NewRequest("GET", escaped, nil)
		setHeaders(r, "Range: bytes=0-1", "x-amz-meta-note:  two   words ", "x-amz-meta-list: a", "x-amz-meta-list: b", "X-Amz-Meta-Empty:")
		newClient().sign4(r, unsignedPayload)
		expect(t, target, testVerifier(), r, "")
		r.RequestURI = "" // as made by a caller that has only the URL
		expect(t, target+" without request line", testVerifier(), r, "")
		r.RequestURI = "http://" + r.Host + escaped
		expect(t, target+" in absolute form", testVerifier(), r, "")
		r.RequestURI = ""
		r.URL.Path += "x"
		r.URL.RawPath = ""
		expect(t, target+", another path", testVerifier(), r, "SignatureDoesNotMatch")
	}
}

// The path may be sent in another encoding than the one that AWS signs.
func TestSignedNormalPath(t *testing.T) {
	r := httptest.NewRequest("GET", "/b/a(1)%2d%7e+%e1%88%b4", nil)
	c := newClient()
	s := httptest.NewRequest("GET", "/b/a%281%29-~%2B%E1%88%B4", nil)
	c.sign4(s, unsignedPayload)
	r.Header = s.Header
	expect(t, "normalised", testVerifier(), r, "")
}

func TestHeader4Refused(t *testing.T) {
	auth := func(f func(string) string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", f(r.Header.Get("Authorization"))) }
	}
	replace := func(old, new string) func(*http.Request) {
		return auth(func(s string) string { return strings.Replace(s, old, new, 1) })
	}
	whole := func(s string) func(*http.Request) { return auth(func(string) string { return s }) }
	const sig64 = "Signature=5fb279ae552098ea7c5c807df54cdb159e74939e19449b29831552639ec34b29"
	const cred = "Credential=wolfmain/20261128/us-east-1/s3/aws4_request"
	for _, row := range []struct {
		name    string
		change  func(*http.Request)
		code    string
		message string // part of it
	}{
		{"no signature", func(r *http.Request) { r.Header.Del("Authorization") }, "AccessDenied", ""},
		{"no space", whole("invalid_header"), "InvalidArgument", "one and only one"},
		{"empty", whole(""), "InvalidArgument", ""},
		{"other algorithm", replace("AWS4-HMAC-SHA256", "AWS2-HMAC-SHA1"), "InvalidArgument", "Unsupported Authorization Type"},
		{"two headers", func(r *http.Request) { r.Header.Add("Authorization", "x y") }, "InvalidArgument", "authorization"},
		{"two components", whole("AWS4-HMAC-SHA256 " + cred + "," + sig64), "AuthorizationHeaderMalformed", "three components"},
		{"component without value", whole("AWS4-HMAC-SHA256 " + cred + ",SignedHeaders-x," + sig64), "AuthorizationHeaderMalformed", `"SignedHeaders-x" is malformed`},
		{"component twice", whole("AWS4-HMAC-SHA256 " + cred + "," + cred + "," + sig64), "AuthorizationHeaderMalformed", "malformed"},
		{"no credential", whole("AWS4-HMAC-SHA256 x=" + cred + ",SignedHeaders=host," + sig64), "AuthorizationHeaderMalformed", "missing Credential."},
		{"no signed headers", whole("AWS4-HMAC-SHA256 " + cred + ",x=host," + sig64), "AuthorizationHeaderMalformed", "missing SignedHeaders."},
		{"no signature in it", whole("AWS4-HMAC-SHA256 " + cred + ",SignedHeaders=host,x=1"), "AuthorizationHeaderMalformed", "missing Signature."},
		{"long credential", replace("us-east-1/s3/aws4_request", "us-east-1/s3/extra/things"), "AuthorizationHeaderMalformed", "Credential is mal-formed"},
		{"terminal", replace("aws4_request", "aws_request"), "AuthorizationHeaderMalformed", `incorrect terminal "aws_request"`},
		{"service", replace("/s3/", "/ec2/"), "AuthorizationHeaderMalformed", `incorrect service "ec2"`},
		{"day", replace("20261128", "3223423234"), "AuthorizationHeaderMalformed", `incorrect date format "3223423234"`},
		{"another day", replace("20261128", "20261127"), "AuthorizationHeaderMalformed", "Date is not the same"},
		{"another region", replace("us-east-1", "us-west-1"), "SignatureDoesNotMatch", ""},
		{"capital in signed headers", replace("=host", "=Host"), "AuthorizationHeaderMalformed", "SignedHeaders"},
		{"unknown key", replace("Credential=wolfmain", "Credential=nobody"), "InvalidAccessKeyId", ""},
		{"another's key", replace("Credential=wolfmain", "Credential=other"), "SignatureDoesNotMatch", ""},
		{"short signature", auth(func(s string) string { return s[:len(s)-1] }), "SignatureDoesNotMatch", ""},
		{"host not signed", replace("host;", ""), "AccessDenied", "not signed"},
		{"no date", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "AccessDenied", "valid Date"},
		{"empty date", func(r *http.Request) { r.Header.Set("X-Amz-Date", "") }, "AccessDenied", "valid Date"},
		{"no such date", func(r *http.Request) { r.Header.Set("X-Amz-Date", "03032006") }, "AccessDenied", "valid Date"},
		{"two dates", func(r *http.Request) { r.Header.Add("X-Amz-Date", "20261128T063000Z") }, "AccessDenied", "valid Date"},
		{"no payload", func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, "InvalidRequest", "x-amz-content-sha256"},
		{"two payloads", func(r *http.Request) { r.Header.Add("X-Amz-Content-Sha256", "x") }, "InvalidArgument", "x-amz-content-sha256"},
		{"token", func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "t") }, "InvalidToken", ""},
		{"header not signed", func(r *http.Request) {
			setHeaders(r, "X-Amz-Copy-Source: s/k", "X-Amz-Tagging: a=b")
		}, "AccessDenied", "not signed"},
		{"signed header changed", func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }, "SignatureDoesNotMatch", ""},
		{"signed header gone", func(r *http.Request) { r.Header.Del("X-Amz-Acl") }, "SignatureDoesNotMatch", ""},
		{"parameter added", func(r *http.Request) { r.URL.RawQuery = "acl" }, "SignatureDoesNotMatch", ""},
		{"query unreadable", func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, "InvalidURI", `"a"`},
		{"two mechanisms", func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=1" }, "InvalidArgument", "Only one auth mechanism"},
		{"two mechanisms, version 2", func(r *http.Request) { r.URL.RawQuery = "AWSAccessKeyId=1" }, "InvalidArgument", "Only one auth mechanism"},
		{"a payload that is none", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "nonsense") }, "InvalidArgument", "valid sha256"},
		{"content type not signed", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, "", ""},
		{"other headers not signed", func(r *http.Request) { r.Header.Set("X-Amzn-Trace-Id", "1") }, "", ""},
	} {
		r := put("", "X-Amz-Acl: private")
		newClient().sign4(r, unsignedPayload)
		row.change(r)
		e := expect(t, row.name, testVerifier(), r, row.code)
		if e != nil && (!strings.Contains(e.Message, row.message) || e.Status < 400) {
			t.Errorf("%s: %+v, want %q", row.name, e, row.message)
		}
	}
}

func TestUnsignedHeadersAreNamed(t *testing.T) {
	r := put("")
	newClient().sign4(r, unsignedPayload)
	setHeaders(r, "X-Amz-Tagging: a=b", "X-Amz-Copy-Source: s/k")
	e := expect(t, "unsigned", testVerifier(), r, "AccessDenied")
	if e == nil || len(e.Detail) != 1 || e.Detail[0] != (Field{"HeadersNotSigned", "x-amz-copy-source, x-amz-tagging"}) {
		t.Errorf("detail %+v", e)
	}
}

func TestSkew(t *testing.T) {
	for off, code := range map[time.Duration]string{
		0: "", 15 * time.Minute: "", -15 * time.Minute: "", 15*time.Minute + time.Second: "RequestTimeTooSkewed",
		-15*time.Minute - time.Second: "RequestTimeTooSkewed", 5 * 24 * time.Hour: "RequestTimeTooSkewed", -5 * 24 * time.Hour: "RequestTimeTooSkewed",
	} {
		c := newClient()
		c.now = c.now.Add(off)
		r := put("")
		c.sign4(r, unsignedPayload)
		expect(t, off.String(), testVerifier(), r, code)
	}
}

// Date may take the place of x-amz-date.
func TestPlainDate(t *testing.T) {
	for _, layout := range []string{http.TimeFormat, dateFormat} {
		r := put("")
		c := newClient()
		r.Header.Set("Date", c.now.Format(layout))
		r.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
		text, names := c.canonical(r, unsignedPayload, nil)
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.access+"/"+c.scopeText()+",SignedHeaders="+names+",Signature="+c.signature(text))
		expect(t, layout, testVerifier(), r, "")
	}
}

func TestRegion(t *testing.T) {
	for _, presigned := range []bool{false, true} {
		for region, want := range map[string]string{"": "", "us-east-1": "", "eu-central-1": "x"} {
			v := testVerifier()
			v.Region = region
			r := put("")
			if presigned {
				newClient().presign4(r, "60")
			} else {
				newClient().sign4(r, unsignedPayload)
			}
			code := want
			if want != "" {
				code = "AuthorizationHeaderMalformed"
				if presigned {
					code = "AuthorizationQueryParametersError"
				}
			}
			e := expect(t, region, v, r, code)
			if e != nil && (e.Detail[0] != Field{"Region", region} || !strings.Contains(e.Message, `expecting "`+region+`"`)) {
				t.Errorf("%s: %+v", region, e)
			}
		}
	}
}

// What is signed is the request line: a server's own reading of the path counts for nothing.
func TestRequestLineCounts(t *testing.T) {
	r := httptest.NewRequest("GET", "/bucket/key", nil)
	newClient().sign4(r, unsignedPayload)
	r.RequestURI = "/bucket/other"
	expect(t, "request line", testVerifier(), r, "SignatureDoesNotMatch")
}

func TestWithoutKeysFieldNothingPasses(t *testing.T) {
	v := &Verifier{}
	r := put("")
	newClient().sign4(r, unsignedPayload)
	expect(t, "no Keys", v, r, "AccessDenied")
}

func TestAllows(t *testing.T) {
	for _, row := range []struct {
		key    Key
		bucket string
		write  bool
		want   bool
	}{
		{Key{}, "b", true, true}, {Key{ReadOnly: true}, "b", true, false}, {Key{ReadOnly: true}, "b", false, true},
		{Key{Buckets: []string{"a"}}, "b", false, false}, {Key{Buckets: []string{"a", "b"}}, "b", true, true},
	} {
		if got := row.key.Allows(row.bucket, row.write); got != row.want {
			t.Errorf("%+v, %q, write %t: %t", row.key, row.bucket, row.write, got)
		}
	}
}
