package s3

import (
	"net/http"
	"strings"
	"testing"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// What a presigner moved into the URL counts as the header that it was.
func TestHeadersInURL(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Auth = trusting{sig.Key{Access: "me"}} })
	r.path("b/f", "x")
	r.ok("PUT", "/b/k?x-amz-meta-color=light%20blue&x-amz-tagging=a%3D1%26b%3D2&x-amz-storage-class=STANDARD&x-amz-acl=private&x-id=PutObject"+
		"&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32&x-amz-expected-bucket-owner=me", "value")
	h := r.ok("GET", "/b/k", "").Header()
	r.same("metadata", strings.Join(h["x-amz-meta-color"], ",")+h.Get("x-amz-tagging-count"), "light blue2")
	h = r.ok("GET", "/b/k?x-amz-checksum-mode=ENABLED", "").Header()
	r.same("the sum of the body, not of the URL", h.Get("x-amz-checksum-crc64nvme"), sumOf(algoCRC64NVME, "value"))
	r.ok("PUT", "/b/c?x-amz-copy-source=b%2Fk&x-amz-metadata-directive=REPLACE&x-amz-meta-size=big", "")
	w := r.ok("GET", "/b/c", "")
	r.same("copy", w.body+strings.Join(w.Header()["x-amz-meta-size"], ","), "valuebig")

	none := func(code, query string, headers ...string) {
		t.Helper()
		r.fails(code, "PUT", "/b/none?"+query, "value", headers...)
	}
	none("NotImplemented", "x-amz-acl=public-read")
	none("NotImplemented", "x-amz-server-side-encryption=AES256")
	none("NotImplemented", "X-Amz-Grant-Read=id%3Dx")
	none("InvalidStorageClass", "x-amz-storage-class=NONE")
	none("InvalidRequest", "x-amz-object-lock-legal-hold=ON")
	none("AccessDenied", "x-amz-expected-bucket-owner=other")
	none("MetadataTooLarge", "x-amz-meta-a="+strings.Repeat("x", 2048))
	none("InvalidArgument", "x-amz-meta-a=1", "x-amz-meta-a: 2")
	none("InvalidArgument", "x-amz-meta-a=1&x-amz-meta-a=1")
	r.fails("AccessDenied", "GET", "/b/k?x-amz-expected-bucket-owner=other", "")
	r.fails("InvalidArgument", "GET", "/b/k?x-amz-copy-source=b%2Ff", "")
	r.same("nothing was put", r.find("b/none").Ino, volume.Ino(0))

	r.ok("PUT", "/b/k2?AWSAccessKeyId=me&Expires=1&Signature=x&content-type=text%2Fplain", "value")
	r.same("type", r.ok("HEAD", "/b/k2", "").Header().Get("Content-Type"), "text/plain")
	r.fails("BadDigest", "PUT", "/b/k3?AWSAccessKeyId=me&Expires=1&Signature=x&content-md5=1B2M2Y8AsgTpgAmY7PhCfg%3D%3D", "value")
}

// A request that is forwarded goes as it came, so that its signature holds.
func TestForwardedHeadersAsTheyCame(t *testing.T) {
	var got *http.Request
	r := newRig(t, func(c *Config) {
		c.Elsewhere = func(w http.ResponseWriter, req *http.Request, _ bool) (bool, error) {
			got = req
			w.WriteHeader(http.StatusOK)
			return true, nil
		}
	})
	r.path("b/", "")
	r.ok("PUT", "/b/k?x-amz-meta-a=1", "x")
	r.same("headers", len(got.Header), 1) // the length
	r.same("query", got.URL.RawQuery, "x-amz-meta-a=1")
}

func TestSemicolonInQuery(t *testing.T) {
	r := newRig(t)
	r.path("b/a;b", "x")
	r.path("b/c", "x")
	if w := r.ok("GET", "/b?prefix=a;b&list-type=2", ""); !strings.Contains(w.body, "<Key>a;b</Key>") || strings.Contains(w.body, "<Key>c</Key>") {
		t.Error(w.body)
	}
}
