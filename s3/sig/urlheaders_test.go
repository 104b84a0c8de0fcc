package sig

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// moved2 signs as boto3 does: what is signed of the headers stands in the URL afterwards.
func (c *client) moved2(r *http.Request, expires time.Time, resource string) {
	date := fmt.Sprint(expires.Unix())
	q := r.URL.Query()
	q.Set("AWSAccessKeyId", c.access)
	q.Set("Expires", date)
	q.Set("Signature", c.sign2(text2(r, date, resource)))
	for name, values := range r.Header {
		q.Set(strings.ToLower(name), values[0])
	}
	r.Header = http.Header{}
	c.setQuery(r, q)
}

func TestPresigned2MovesHeaders(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*http.Request)
		code   string
	}{
		{"as it is", func(*http.Request) {}, ""},
		{"the same as a header", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "1") }, ""},
		{"another header", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "2") }, "SignatureDoesNotMatch"},
		{"another type", func(r *http.Request) { r.Header.Set("Content-Type", "a/b") }, "SignatureDoesNotMatch"},
		{"added", func(r *http.Request) { r.URL.RawQuery += "&x-amz-acl=private" }, "SignatureDoesNotMatch"},
		{"added in other letters", func(r *http.Request) { r.URL.RawQuery += "&X-AMZ-Meta-B=1" }, "SignatureDoesNotMatch"},
		{"changed", func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "meta-a=1", "meta-a=2", 1) }, "SignatureDoesNotMatch"},
		{"another body", func(r *http.Request) { setBody(r, "date") }, "BadDigest"},
	} {
		r := put("data", "x-amz-meta-a: 1", "x-amz-storage-class: STANDARD", "Content-Type: text/plain", "Content-MD5: jXd/OF09/siBXSD3SWAm3A==")
		newClient().moved2(r, testNow.Add(time.Hour), "/bucket/key")
		row.change(r)
		expect(t, row.name, testVerifier(), r, row.code)
	}
	// Signed in a header, the query is not signed beyond sub-resources.
	r := httptest.NewRequest("PUT", "/bucket/key?x-amz-meta-a=1", strings.NewReader("data"))
	line := testNow.Format(time.RFC1123Z)
	r.Header.Set("Date", line)
	r.Header.Set("Authorization", "AWS wolfmain:"+newClient().sign2(text2(r, line, "/bucket/key")))
	expect(t, "beside a header", testVerifier(), r, "AccessDenied")
}

// The key k/ is another one than k; only a bucket has both forms.
func TestVirtualHostSlash2(t *testing.T) {
	v := testVerifier()
	v.Domains = []string{"s3.wolf.test"}
	r := httptest.NewRequest("GET", "/k", nil)
	r.Host = "bucket.s3.wolf.test"
	newClient().presign2(r, testNow.Add(time.Hour), "/bucket/k/")
	expect(t, "a slash more", v, r, "SignatureDoesNotMatch")
}

func TestHeadersOfURL(t *testing.T) {
	const v4, v2 = "&X-Amz-Signature=x", "&Signature=x"
	for _, row := range []struct {
		method, query, header string
		want                  string // one of the headers
		code                  string
	}{
		{"PUT", "x-amz-meta-a=b%20" + v4, "", "X-Amz-Meta-A: b", ""},
		{"PUT", "X-Amz-Storage-Class=STANDARD" + v4, "", "X-Amz-Storage-Class: STANDARD", ""},
		{"PUT", "x-amz-meta-a=b" + v4, "x-amz-meta-a: b", "X-Amz-Meta-A: b", ""},
		{"PUT", "x-amz-meta-a=b" + v4, "x-amz-meta-a: c", "", "InvalidArgument"},
		{"PUT", "x-amz-meta-a=b&X-Amz-Meta-A=b", "", "", "InvalidArgument"},
		{"PUT", "x-amz-meta-a=b%0d%0ac", "", "", "InvalidArgument"},
		{"PUT", "x-amz-meta-a%20b=c", "", "", "InvalidArgument"},
		{"PUT", "x-amz-meta-a=%C3%BC", "", "X-Amz-Meta-A: ü", ""},
		{"PUT", "x-amz-checksum-crc32=AAAAAA==" + v4, "", "X-Amz-Checksum-Crc32: ", ""},
		{"PUT", "x-amz-sdk-checksum-algorithm=CRC32" + v4, "", "X-Amz-Sdk-Checksum-Algorithm: ", ""},
		{"POST", "uploads=&x-amz-checksum-algorithm=CRC32" + v4, "", "X-Amz-Checksum-Algorithm: CRC32", ""},
		{"POST", "uploadId=1&x-amz-checksum-crc32=AAAAAA==" + v4, "", "X-Amz-Checksum-Crc32: AAAAAA==", ""},
		{"GET", "x-amz-checksum-mode=ENABLED" + v4, "", "X-Amz-Checksum-Mode: ENABLED", ""},
		{"PUT", "content-type=a/b" + v2, "", "Content-Type: a/b", ""},
		{"PUT", "content-type=a/b" + v4, "", "Content-Type: ", ""},
		{"PUT", "X-Amz-Date=1" + v4, "", "X-Amz-Date: ", ""},
		{"PUT", "a=%ZZ", "", "", "InvalidURI"},
	} {
		r := httptest.NewRequest(row.method, "/b/k?"+row.query, nil)
		if row.header != "" {
			setHeaders(r, row.header)
		}
		h, err := Headers(r)
		code := ""
		if err != nil {
			code = err.(*Error).Code
		}
		name, value, _ := strings.Cut(row.want, ": ")
		if code != row.code || err == nil && h.Get(name) != value {
			t.Errorf("%s %s: %q %v, want %q %q", row.method, row.query, code, h, row.code, row.want)
		}
		if row.header == "" && len(r.Header) > 0 {
			t.Errorf("%s: the request has got headers: %v", row.query, r.Header)
		}
	}
}

// A semicolon parts nothing, in a signature as in its meaning.
func TestQuerySemicolon(t *testing.T) {
	q, err := Query(httptest.NewRequest("GET", "/b?X-Amz-SignedHeaders=host;range&prefix=a;b&acl", nil))
	if err != nil || q.Get("X-Amz-SignedHeaders") != "host;range" || q.Get("prefix") != "a;b" || !q.Has("acl") {
		t.Errorf("%v %v", q, err)
	}
	if _, err := Query(httptest.NewRequest("GET", "/b?a=%ZZ", nil)); err == nil {
		t.Error("what cannot be decoded was accepted")
	}
}
