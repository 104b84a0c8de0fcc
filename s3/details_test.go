package s3

import (
	"fmt"
	"net/http"
	"testing"

	"wolfdisk/volume"
)

func TestTooLargeIsABadRequest(t *testing.T) {
	if f := faultOf(volume.Errorf(volume.TooBig, "x")); f.status != http.StatusBadRequest || f.code != "EntityTooLarge" {
		t.Errorf("%d %s", f.status, f.code)
	}
}

// What does not fit in 64 bits is a number all the same.
func TestEndlessRanges(t *testing.T) {
	r := newRig(t)
	r.path("b/k", "0123456789")
	const huge = "99999999999999999999"
	for spec, want := range map[string]string{
		"bytes=0-" + huge: "206 bytes 0-9/10", "bytes=8-" + huge: "206 bytes 8-9/10", "bytes=-" + huge: "206 bytes 0-9/10",
		"bytes=" + huge + "-": "416 bytes */10", "bytes=" + huge + "-" + huge: "416 bytes */10", "bytes=10-": "416 bytes */10", "bytes=-0": "416 bytes */10",
		"bytes=+1-2": "200 ", "bytes=1-+2": "200 ", "bytes=--2": "200 ", "bytes=-": "200 ",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			w := r.send(method, "/b/k", "", "Range: "+spec)
			r.same(method+" "+spec, fmt.Sprint(w.Code, " ", w.Header().Get("Content-Range")), want)
		}
	}
}

// The Location of an upload is where the object can be got.
func TestLocation(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Domains = []string{"s3.wolf.test"} })
	r.path("bucket/", "")
	for _, row := range []struct{ host, path, want string }{
		{"s3.wolf.test", "/bucket/a/k", "http://s3.wolf.test/bucket/a/k"},
		{"bucket.s3.wolf.test", "/a/k", "http://bucket.s3.wolf.test/a/k"},
	} {
		host := "Host: " + row.host
		var begun struct{ UploadId string }
		r.xml(r.ok("POST", row.path+"?uploads", "", host), &begun)
		etag := r.ok("PUT", row.path+"?partNumber=1&uploadId="+begun.UploadId, "x", host).Header().Get("ETag")
		var res struct{ Location string }
		r.xml(r.ok("POST", row.path+"?uploadId="+begun.UploadId, partsDoc(map[int]string{1: etag}), host), &res)
		r.same(row.host, res.Location, row.want)
	}
}
