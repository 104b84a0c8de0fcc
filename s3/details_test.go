package s3

import (
	"fmt"
	"net/http"
	"strings"
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

// Who does not sign cannot choose headers of the answer, also where nobody is asked to.
func TestOverridesAreSigned(t *testing.T) {
	r := newRig(t)
	r.path("b/k", "x")
	for _, method := range []string{"GET", "HEAD"} {
		r.fails("InvalidRequest", method, "/b/k?response-content-type=text%2Fhtml", "")
	}
	for _, query := range []string{"&X-Amz-Signature=x", "&Signature=x"} {
		r.same("type", r.ok("GET", "/b/k?response-content-type=a%2Fb"+query, "").Header().Get("Content-Type"), "a/b")
	}
	r.ok("GET", "/b/k?response-content-type=a%2Fb", "", "Authorization: any")
}

func TestTaggingWithoutSet(t *testing.T) {
	r := newRig(t)
	r.path("b/k", "x")
	for _, path := range []string{"/b?tagging", "/b/k?tagging"} {
		r.fails("MalformedXML", "PUT", path, "<Tagging/>")
		r.ok("PUT", path, "<Tagging><TagSet/></Tagging>")
	}
}

// A copy reads from every bucket that can be read, however its directory is called.
func TestCopyFromAnyBucket(t *testing.T) {
	r := newRig(t)
	r.path("my photos/a", "1")
	r.path("bücher/a", "2")
	r.path("b/", "")
	r.ok("PUT", "/b/1", "", "x-amz-copy-source: my%20photos/a")
	r.ok("PUT", "/b/2", "", "x-amz-copy-source: b%C3%BCcher/a")
	r.same("copies", r.ok("GET", "/b/1", "").body+r.ok("GET", "/b/2", "").body, "12")
	r.fails("InvalidArgument", "PUT", "/b/3", "", "x-amz-copy-source: no%20bucket/a")
}

func TestExposedHeaders(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CORSOrigins = []string{"*"} })
	r.path("b/", "")
	r.ok("PUT", "/b/k", "x", "x-amz-meta-color: blue", "x-amz-meta-size: 1")
	got := strings.Split(r.ok("GET", "/b/k", "", "Origin: https://app.test").Header().Get("Access-Control-Expose-Headers"), ", ")
	for _, name := range []string{"x-amz-meta-color", "x-amz-meta-size", "ETag", "x-amz-checksum-sha512", "x-amz-checksum-xxhash128", "Content-Disposition"} {
		if !strings.Contains(","+strings.Join(got, ",")+",", ","+name+",") {
			t.Errorf("%s is not in %q", name, got)
		}
	}
}

// Some names are reserved in Amazon S3. Directories that have them are buckets.
func TestReservedBucketNames(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"xn--a", "sthree-a", "amzn-s3-demo-a", "a-s3alias", "a--ol-s3", "abc.mrap", "a--x-s3", "a--table-s3"} {
		r.fails("InvalidBucketName", "PUT", "/"+name, "")
		r.path(name+"/k", "x")
		r.ok("GET", "/"+name+"/k", "")
	}
	for _, name := range []string{"axn--a", "s3alias", "amzn-s3", "x-s3"} {
		r.ok("PUT", "/"+name, "")
	}
}

func TestVersionMarkers(t *testing.T) {
	r := newRig(t)
	r.path("b/a/k", "x")
	r.path("b/k", "x")
	r.path("b/l", "x")
	r.fails("InvalidArgument", "GET", "/b?versions&version-id-marker=null", "")
	r.ok("GET", "/b?versions&version-id-marker=null&key-marker=k", "")
	for after, want := range map[string]string{"": "<NextKeyMarker>a/</NextKeyMarker>", "a/": "<NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>"} {
		w := r.ok("GET", "/b?versions&delimiter=/&max-keys=1&key-marker="+after, "")
		if !strings.Contains(w.body, want) || strings.Contains(w.body, "NextVersionIdMarker") != strings.Contains(want, "NextVersionIdMarker") {
			t.Errorf("after %q: %s", after, w.body)
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

func TestBucketsOfARegion(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Region = "eu-north-1" })
	r.path("b/", "")
	for query, want := range map[string]int{"": 1, "bucket-region=": 1, "bucket-region=eu-north-1": 1, "bucket-region=us-east-1": 0, "bucket-region=us-east-1&prefix=b": 0} {
		var res bucketList
		r.xml(r.ok("GET", "/?"+query, ""), &res)
		r.same(query, len(res.Buckets), want)
		r.same(query+": owner", res.Owner.ID, everybody)
	}
	r.fails("InvalidArgument", "GET", "/?bucket-region=us-east-1&max-buckets=0", "")
}
