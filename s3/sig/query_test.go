package sig

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestPresigned4(t *testing.T) {
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			q := r.URL.Query()
			if value == "" {
				q.Del(name)
			} else {
				q.Set(name, value)
			}
			newClient().setQuery(r, q)
		}
	}
	add := func(s string) func(*http.Request) {
		return func(r *http.Request) { r.URL.RawQuery += s }
	}
	const query = "AuthorizationQueryParametersError"
	for _, row := range []struct {
		name    string
		change  func(*http.Request)
		code    string
		message string
	}{
		{"as it is", func(*http.Request) {}, "", ""},
		{"no algorithm", set("X-Amz-Algorithm", ""), query, "requires the X-Amz-Algorithm"},
		{"no credential", set("X-Amz-Credential", ""), query, "requires"},
		{"no date", set("X-Amz-Date", ""), query, "requires"},
		{"no expires", set("X-Amz-Expires", ""), query, "requires"},
		{"no signed headers", set("X-Amz-SignedHeaders", ""), query, "requires"},
		{"no signature", set("X-Amz-Signature", ""), query, "requires"},
		{"other algorithm", set("X-Amz-Algorithm", "AWS4-SHA256"), query, "X-Amz-Algorithm only supports"},
		{"ECDSA", set("X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256"), query, `only supports "AWS4-HMAC-SHA256"`},
		{"credential", set("X-Amz-Credential", "access/hello/world"), query, "X-Amz-Credential parameter; the Credential is mal-formed"},
		{"terminal", set("X-Amz-Credential", "wolfmain/20261128/us-east-1/s3/aws5_request"), query, `incorrect terminal "aws5_request"`},
		{"service", set("X-Amz-Credential", "wolfmain/20261128/us-east-1/sns/aws4_request"), query, `incorrect service "sns"`},
		{"day", set("X-Amz-Credential", "wolfmain/32234Z34/us-east-1/s3/aws4_request"), query, `incorrect date format "32234Z34"`},
		{"another day", set("X-Amz-Credential", "wolfmain/20060102/us-east-1/s3/aws4_request"), query, `"20060102". This date is not the same as X-Amz-Date: "20261128"`},
		{"unknown key", set("X-Amz-Credential", "nobody/20261128/us-east-1/s3/aws4_request"), "InvalidAccessKeyId", ""},
		{"date", set("X-Amz-Date", "2026-11-28"), query, "X-Amz-Date must be"},
		{"expires: no number", set("X-Amz-Expires", "soon"), query, "should be a number"},
		{"expires: sign", set("X-Amz-Expires", "+9999999999999999999"), query, "should be a number"},
		{"expires: negative", set("X-Amz-Expires", "-3"), query, "non-negative"},
		{"expires: zero", set("X-Amz-Expires", "0"), query, "at least 1"},
		{"expires: too long", set("X-Amz-Expires", "604801"), query, "604800"},
		{"expires: huge", set("X-Amz-Expires", "99999999999999999999"), query, "604800"},
		{"expires: longer than signed", set("X-Amz-Expires", "604800"), "SignatureDoesNotMatch", ""},
		{"signed headers", set("X-Amz-SignedHeaders", "host;;x"), query, "X-Amz-SignedHeaders"},
		{"host not signed", set("X-Amz-SignedHeaders", "range"), "AccessDenied", "not signed"},
		{"signature", set("X-Amz-Signature", strings.Repeat("0", 64)), "SignatureDoesNotMatch", ""},
		{"token", add("&X-Amz-Security-Token=my_token"), "InvalidToken", ""},
		{"parameter added", add("&acl"), "SignatureDoesNotMatch", ""},
		{"x-amz parameter added", add("&x-amz-acl=public-read"), "SignatureDoesNotMatch", ""},
		{"second signature", add("&X-Amz-Signature=1"), query, "X-Amz-Signature must not be repeated"},
		{"second expires", add("&X-Amz-Expires=5"), query, "X-Amz-Expires must not be repeated"},
		{"with version 2", add("&Signature=1"), "InvalidArgument", "Only one"},
		{"unsigned x-amz header", func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "s/k") }, "AccessDenied", "not signed"},
		{"unsigned payload header", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", unsignedPayload) }, "AccessDenied", "not signed"},
		{"unsigned other header", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, "", ""},
		{"another method", func(r *http.Request) { r.Method = "DELETE" }, "SignatureDoesNotMatch", ""},
		{"another host", func(r *http.Request) { r.Host = "elsewhere" }, "SignatureDoesNotMatch", ""},
	} {
		r := httptest.NewRequest("PUT", "/bucket/a%20key?partNumber=1&uploadId=x%2By", nil)
		newClient().presign4(r, "3600")
		row.change(r)
		e := expect(t, row.name, testVerifier(), r, row.code)
		if e != nil && !strings.Contains(e.Message, row.message) {
			t.Errorf("%s: %+v, want %q", row.name, e, row.message)
		}
	}
}

// A presigned URL may demand headers, and a payload.
func TestPresignedHeadersAndPayload(t *testing.T) {
	r := put("data", "X-Amz-Acl: private", "Content-Type: text/plain")
	newClient().presign4(r, "604800")
	expect(t, "headers", testVerifier(), r, "")
	setBody(r, "data")
	r.Header.Set("X-Amz-Acl", "public-read")
	expect(t, "header changed", testVerifier(), r, "SignatureDoesNotMatch")

	for body, code := range map[string]string{"data": "", "date": "XAmzContentSHA256Mismatch"} {
		r = put(body)
		c := newClient()
		hash := shaHex("data")
		q := r.URL.Query()
		q.Set("X-Amz-Content-Sha256", hash)
		for name, value := range map[string]string{
			"Algorithm": algorithm4, "Credential": c.access + "/" + c.scopeText(), "Date": c.stamp(), "Expires": "60", "SignedHeaders": "host",
		} {
			q.Set("X-Amz-"+name, value)
		}
		c.setQuery(r, q)
		text, _ := c.canonical(r, hash, nil)
		q.Set("X-Amz-Signature", c.signature(text))
		c.setQuery(r, q)
		expect(t, "payload "+body, testVerifier(), r, code)
	}
}

func TestPresigned2(t *testing.T) {
	add := func(s string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery += s } }
	for _, row := range []struct {
		name, target, resource string
		expires                time.Duration
		change                 func(*http.Request)
		code                   string
	}{
		{"plain", "/bucket/key", "/bucket/key", time.Hour, nil, ""},
		{"escaped", "/bucket/a%20b%2Bc", "/bucket/a%20b%2Bc", time.Hour, nil, ""},
		{"sub-resources", "/bucket/key?uploadId=u%2F1&partNumber=2&x-id=UploadPart", "/bucket/key?partNumber=2&uploadId=u/1", time.Hour, nil, ""},
		{"bare sub-resource", "/bucket?acl", "/bucket?acl=", time.Hour, nil, ""}, // the query is written anew, with a sign
		{"bucket as boto3 signs it", "/bucket?versioning=&prefix=a", "/bucket/?versioning=", time.Hour, nil, ""},
		{"key with a slash more", "/bucket/key", "/bucket/key/", time.Hour, nil, "SignatureDoesNotMatch"},
		{"override", "/b/k?response-content-type=text%2Fplain%3B%20a", "/b/k?response-content-type=text/plain; a", time.Hour, nil, ""},
		{"last second", "/bucket/key", "/bucket/key", 0, nil, ""},
		{"expired", "/bucket/key", "/bucket/key", -time.Second, nil, "AccessDenied"},
		{"another path", "/bucket/key", "/bucket/other", time.Hour, nil, "SignatureDoesNotMatch"},
		{"sub-resource added", "/bucket/key", "/bucket/key", time.Hour, add("&acl"), "SignatureDoesNotMatch"},
		{"header added", "/bucket/key", "/bucket/key", time.Hour, func(r *http.Request) { r.Header.Set("X-Amz-Acl", "private") }, "SignatureDoesNotMatch"},
		{"type added", "/bucket/key", "/bucket/key", time.Hour, func(r *http.Request) { r.Header.Set("Content-Type", "a/b") }, "SignatureDoesNotMatch"},
		{"second expires", "/bucket/key", "/bucket/key", time.Hour, add("&Expires=9999999999"), "AccessDenied"},
		{"token", "/bucket/key", "/bucket/key", time.Hour, add("&x-amz-security-token=t"), "InvalidToken"},
		{"signed stream", "/bucket/key", "/bucket/key", time.Hour, func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", streamingSigned)
			r.Header.Set("X-Amz-Decoded-Content-Length", "0")
			r.URL.RawQuery, r.RequestURI = "", "/bucket/key"
			newClient().presign2(r, testNow.Add(time.Hour), "/bucket/key")
		}, "InvalidRequest"},
	} {
		r := httptest.NewRequest("PUT", row.target, strings.NewReader("data"))
		newClient().presign2(r, testNow.Add(row.expires), row.resource)
		if row.change != nil {
			row.change(r)
		}
		expect(t, row.name, testVerifier(), r, row.code)
	}
	for query, code := range map[string]string{
		"AWSAccessKeyId=wolfmain&Expires=9999999999":              "AccessDenied",
		"AWSAccessKeyId=wolfmain&Signature=x":                     "AccessDenied",
		"AWSAccessKeyId=wolfmain&Signature=x&Expires=soon":        "AccessDenied",
		"AWSAccessKeyId=wolfmain&Signature=x&Expires=-1":          "AccessDenied",
		"AWSAccessKeyId=nobody&Signature=x&Expires=9999999999":    "InvalidAccessKeyId",
		"AWSAccessKeyId=wolfmain&Signature=x&Expires=9999999999":  "SignatureDoesNotMatch",
		"AWSAccessKeyId=wolfmain&Signature=&Expires=999999999999": "AccessDenied",
	} {
		expect(t, query, testVerifier(), httptest.NewRequest("GET", "/b/k?"+query, nil), code)
	}
}

func TestHeader2(t *testing.T) {
	c := newClient()
	for _, row := range []struct {
		name   string
		change func(*http.Request)
		code   string
	}{
		{"plain", func(*http.Request) {}, ""},
		{"no colon", func(r *http.Request) { r.Header.Set("Authorization", "AWS seed_signature") }, "InvalidArgument"},
		{"unknown key", func(r *http.Request) { r.Header.Set("Authorization", "AWS nobody:x") }, "InvalidAccessKeyId"},
		{"no date", func(r *http.Request) { r.Header.Del("X-Amz-Date"); r.Header.Del("Date") }, "AccessDenied"},
		{"old", func(r *http.Request) { r.Header.Set("X-Amz-Date", testNow.Add(-time.Hour).Format(time.RFC1123Z)) }, "RequestTimeTooSkewed"},
		{"header added", func(r *http.Request) { r.Header.Set("X-Amz-Acl", "private") }, "SignatureDoesNotMatch"},
		{"token", func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "t") }, "InvalidToken"},
	} {
		for _, amz := range []bool{false, true} {
			r := put("data", "Content-MD5: jXd/OF09/siBXSD3SWAm3A==", "Content-Type: text/plain")
			line := testNow.Format(time.RFC1123Z)
			if amz {
				r.Header.Set("X-Amz-Date", line)
				line = ""
			} else {
				r.Header.Set("Date", line)
			}
			r.Header.Set("Authorization", "AWS "+c.access+":"+c.sign2(text2(r, line, "/bucket/key")))
			row.change(r)
			expect(t, row.name, testVerifier(), r, row.code)
		}
	}
}

func TestVirtualHost2(t *testing.T) {
	r := httptest.NewRequest("GET", "/key", nil)
	r.Host = "Bucket.s3.wolf.test:9878"
	newClient().presign2(r, testNow.Add(time.Hour), "/bucket/key")
	v := testVerifier()
	v.Domains = []string{"s3.wolf.test"}
	expect(t, "virtual host", v, r, "")
	v.Domains = []string{"wolf.test2"}
	expect(t, "other domain", v, r, "SignatureDoesNotMatch")
}

func TestHostBucket(t *testing.T) {
	domains := []string{"s3.wolf.test", "wolf.test", ".dotted.test.", ""}
	for host, want := range map[string]string{
		"b.s3.wolf.test": "b", "b.s3.wolf.test:9878": "b", "a.b.s3.wolf.test": "a.b", "B.S3.Wolf.Test.": "b", "b.dotted.test": "b",
		"s3.wolf.test": "", "x.wolf.test": "x", "wolf.test": "", "127.0.0.1:9878": "", "[::1]:9878": "", "[::1]": "", "": "", ":": "",
		"evilwolf.test": "", ".wolf.test": "",
	} {
		if got := HostBucket(host, domains); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
	if got := HostBucket("s3.wolf.test", domains[:1]); got != "" {
		t.Errorf("the domain itself: %q", got)
	}
}
