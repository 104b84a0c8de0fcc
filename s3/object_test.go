package s3

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wolfdisk/volume"
)

func md5Of(s string) string {
	h := md5.Sum([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestPutGetHeadDelete(t *testing.T) {
	r := newRig(t)
	r.ok("PUT", "/bucket", "")
	for _, n := range []int{0, 1, 4096, blockLen - 1, blockLen, blockLen + 1, 3*blockLen + 17} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			body, path := pattern(n, byte(n)), fmt.Sprintf("/bucket/dir/sub/f%d", n)
			w := r.ok("PUT", path, body, "Content-Type: text/x", "x-amz-meta-One: 1", "x-amz-meta-Two: zw ei",
				"Content-Encoding: gzip, aws-chunked", "Cache-Control: no-store", "x-amz-tagging: b=2&a=%201", sumHeader(algoCRC32C, body))
			r.same("ETag", w.Header().Get("ETag"), quoteTag(md5Of(body)))
			w = r.ok("GET", path, "", "x-amz-checksum-mode: ENABLED")
			if w.body != body {
				t.Fatalf("got %d bytes, not the %d that were put", len(w.body), n)
			}
			head := r.ok("HEAD", path, "")
			for name, want := range map[string]string{"ETag": quoteTag(md5Of(body)), "Content-Type": "text/x", "Content-Encoding": "gzip", "Cache-Control": "no-store",
				"Content-Length": fmt.Sprint(n), "x-amz-tagging-count": "2", "Accept-Ranges": "bytes"} {
				r.same(name, w.Header().Get(name), want)
				r.same("HEAD "+name, head.Header().Get(name), want)
			}
			r.same("metadata", w.Header()["x-amz-meta-one"], []string{"1"})
			r.same("metadata", w.Header()["x-amz-meta-two"], []string{"zw ei"})
			r.same("checksum", w.Header().Get("x-amz-checksum-crc32c"), sumOf(algoCRC32C, body))
			r.same("checksum not asked for", head.Header().Get("x-amz-checksum-crc32c"), "")
			r.same("body of HEAD", head.body, "")
			a := r.find("bucket/dir/sub/" + fmt.Sprintf("f%d", n))
			r.same("owner and mode", fmt.Sprintf("%d %d %o", a.UID, a.GID, a.Mode), "12 34 100644")
			r.ok("DELETE", path, "")
			r.fails("NoSuchKey", "GET", path, "")
			r.ok("DELETE", path, "")
		})
	}
	r.same("directories that were made for objects", r.find("bucket/dir").Ino, volume.Ino(0))
	r.ok("DELETE", "/bucket", "")
	r.fails("NoSuchBucket", "PUT", "/bucket/x", "")
	left(r, 1)
}

// left counts inodes: nothing may be left behind.
func left(r *rig, want int) {
	r.t.Helper()
	if got := r.m.Inos(); len(got) != want {
		r.t.Errorf("inodes %v are left, want %d", got, want)
	}
}

func TestMadeThroughTheMount(t *testing.T) {
	r := newRig(t)
	ino := r.path("b/f", "hello")
	w := r.ok("GET", "/b/f", "")
	etag := w.Header().Get("ETag")
	r.same("body", w.body, "hello")
	r.same("type", w.Header().Get("Content-Type"), defaultType)
	if !strings.Contains(etag, "-") {
		t.Errorf("the ETag %s looks like an MD5", etag)
	}
	r.same("again", r.ok("HEAD", "/b/f", "").Header().Get("ETag"), etag)
	r.do(volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte("H")})
	changed := r.ok("HEAD", "/b/f", "").Header().Get("ETag")
	if changed == etag {
		t.Error("the ETag is that of another content")
	}
	// What was put goes void when the mount changes it, also with size and mtime as before.
	r.ok("PUT", "/b/o", "hello", "x-amz-meta-a: 1", "x-amz-tagging: t=1")
	o := r.find("b/o")
	r.do(volume.Request{Kind: volume.OpSetAttr, Ino: o.Ino, Set: volume.SetMode, Mode: 0o600})
	r.same("after chmod", r.ok("HEAD", "/b/o", "").Header().Get("ETag"), quoteTag(md5Of("hello")))
	r.do(volume.Request{Kind: volume.OpWrite, Ino: o.Ino, Data: []byte("HELLO")})
	r.do(volume.Request{Kind: volume.OpSetAttr, Ino: o.Ino, Set: volume.SetMtime, Mtime: o.Mtime})
	w = r.ok("GET", "/b/o", "")
	if w.Header().Get("ETag") == quoteTag(md5Of("hello")) || w.Header()["x-amz-meta-a"] != nil || w.Header().Get("x-amz-tagging-count") != "" {
		t.Errorf("after a write: %v", w.Header())
	}
}

func TestKeysAndDirectories(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	r.ok("PUT", "/b/file", "1")
	r.ok("PUT", "/b/dir/x", "2")
	r.fails("ExistingObjectIsDirectory", "PUT", "/b/dir", "3")
	r.fails("ExistingObjectIsDirectory", "PUT", "/b/dir", "3", "If-None-Match: *")
	r.fails("ObjectParentIsFile", "PUT", "/b/file/y", "3")
	r.fails("ObjectParentIsFile", "PUT", "/b/file/", "")
	r.fails("NoSuchKey", "GET", "/b/dir", "")
	r.fails("NoSuchKey", "HEAD", "/b/file/", "")
	r.fails("NoSuchKey", "GET", "/b/file/y", "")
	r.fails("DirectoryObjectContainsData", "PUT", "/b/new/", "data")
	for key, code := range map[string]string{
		"a//b": "InvalidArgument", "%2E%2E/x": "InvalidArgument", "a/%2E/b": "InvalidArgument", "a/..": "InvalidArgument", "a%00b": "InvalidArgument",
		"%2Fa": "InvalidArgument", strings.Repeat("k", 256): "KeyTooLongError", strings.Repeat("k/", 512) + "k": "KeyTooLongError", "a//": "InvalidArgument",
	} {
		r.fails(code, "PUT", "/b/"+key, "x")
		r.fails(code, "GET", "/b/"+key, "")
	}
	r.ok("PUT", "/b/"+strings.Repeat("k/", 511)+"kk", "deep")
	r.ok("DELETE", "/b/"+strings.Repeat("k/", 511)+"kk", "")
	r.same("deep directories", r.find("b/k").Ino, volume.Ino(0))
	r.ok("PUT", "/b/%FFbytes%01", "odd")
	r.same("odd", r.ok("GET", "/b/%FFbytes%01", "").body, "odd")

	// Directories as objects of their own.
	r.ok("PUT", "/b/new/", "", "Content-Type: application/x-directory")
	w := r.ok("HEAD", "/b/new/", "")
	r.same("ETag of nothing", w.Header().Get("ETag"), quoteTag(emptyMD5))
	r.same("type", w.Header().Get("Content-Type"), "application/x-directory")
	r.fails("NoSuchKey", "HEAD", "/b/new", "")
	r.ok("PUT", "/b/new/f", "x")
	r.ok("DELETE", "/b/new/", "")
	r.same("content below stays", r.ok("GET", "/b/new/f", "").body, "x")
	r.ok("DELETE", "/b/new/f", "")
	r.same("gone with the last object", r.find("b/new").Ino, volume.Ino(0))
	r.path("b/mine/", "")
	r.ok("HEAD", "/b/mine/", "")
	r.ok("PUT", "/b/mine/f", "x")
	r.ok("DELETE", "/b/mine/f", "")
	if r.find("b/mine").Ino == 0 {
		t.Error("a directory that a user made was removed with the last object in it")
	}
	r.ok("DELETE", "/b/mine/", "")
	r.same("a directory that was named itself", r.find("b/mine").Ino, volume.Ino(0))
	r.fails("BucketNotEmpty", "DELETE", "/b", "")
}

func TestLinksAreNotFollowed(t *testing.T) {
	r := newRig(t)
	b := r.path("b/", "")
	target := r.path("b/target", "target")
	r.do(volume.Request{Kind: volume.OpCreate, Parent: b, Name: "link", Mode: volume.ModeLink, Target: "target"})
	r.do(volume.Request{Kind: volume.OpCreate, Parent: b, Name: "up", Mode: volume.ModeLink, Target: ".."})
	r.do(volume.Request{Kind: volume.OpLink, Ino: target, NewParent: b, NewName: "hard"})
	r.fails("NoSuchKey", "GET", "/b/link", "")
	r.fails("NoSuchKey", "GET", "/b/up/b/target", "")
	r.fails("ObjectParentIsFile", "PUT", "/b/up/x", "x")
	r.ok("DELETE", "/b/link", "")
	if r.find("b/link").Ino == 0 {
		t.Error("a link that clients do not see was deleted")
	}
	r.ok("PUT", "/b/link", "new")
	r.ok("PUT", "/b/hard", "new")
	r.same("the target of both", r.ok("GET", "/b/target", "").body, "target")
	r.same("the new object", r.ok("GET", "/b/link", "").body, "new")
}

func TestBuckets(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"ab", "Upper", "a_b", "-ab", "ab-", "a..b", "1.2.3.4", strings.Repeat("a", 64), ".hidden"} {
		r.fails("InvalidBucketName", "PUT", "/"+name, "")
	}
	r.ok("PUT", "/one", "")
	r.ok("PUT", "/one", "")
	r.path("Two_B/", "")
	r.path(".secret/f", "x")
	r.path("lost+found/", "")
	r.path("file-at-root", "x")
	w := r.ok("GET", "/", "")
	for name, want := range map[string]bool{"one": true, "Two_B": true, ".secret": false, "lost+found": false, "file-at-root": false} {
		if strings.Contains(w.body, "<Name>"+name+"</Name>") != want {
			t.Errorf("%s listed is not %t: %s", name, want, w.body)
		}
		if want {
			r.ok("HEAD", "/"+name, "")
		} else {
			r.fails("NoSuchBucket", "HEAD", "/"+name, "")
			r.fails("NoSuchBucket", "GET", "/"+name+"/f", "")
		}
	}
	r.fails("BucketAlreadyExists", "PUT", "/file-at-root", "")
	w = r.ok("GET", "/?max-buckets=1", "")
	if !strings.Contains(w.body, "<Name>Two_B</Name>") || strings.Contains(w.body, "<Name>one</Name>") {
		t.Error(w.body)
	}
	if w := r.ok("GET", "/one?location", ""); !strings.Contains(w.body, "LocationConstraint") {
		t.Error(w.body)
	}
	if w := r.ok("GET", "/one?versioning", ""); strings.Contains(w.body, "Status") {
		t.Error(w.body)
	}
	r.fails("ObjectLockConfigurationNotFoundError", "GET", "/one?object-lock", "")
	r.fails("NoSuchBucketPolicy", "GET", "/one?policy", "")
	for _, q := range []string{"PUT /one?policy", "PUT /one?versioning", "PUT /one?lifecycle", "GET /one?inventory", "POST /one/k?restore", "POST /one/k?select&select-type=2",
		"GET /one/k?torrent", "PUT /one/k?retention", "PUT /one/k?legal-hold", "PUT /one/k?acl&tagging", "DELETE /one?cors", "POST /one", "PATCH /one/k", "PUT /one/k?unknown&replication"} {
		method, path, _ := strings.Cut(q, " ")
		r.fails("NotImplemented", method, path, "body")
	}
	r.fails("MethodNotAllowed", "POST", "/one/k", "body")
	r.same("nothing was put", r.find("one/k").Ino, volume.Ino(0))
	r.ok("GET", "/one?acl", "")
	r.ok("PUT", "/one?acl", "", "x-amz-acl: private")
	r.fails("NotImplemented", "PUT", "/one?acl", "", "x-amz-acl: public-read")
	r.fails("NotImplemented", "PUT", "/one/k", "x", "x-amz-acl: public-read")
	r.fails("NotImplemented", "PUT", "/one/k", "x", "x-amz-server-side-encryption: AES256")
	// No bucket has object lock, so nothing can be locked; who asks is told what is wrong.
	until := "x-amz-object-lock-retain-until-date: " + r.now.Add(time.Hour).UTC().Format(time.RFC3339)
	r.fails("InvalidRequest", "PUT", "/one/k", "x", "x-amz-object-lock-mode: GOVERNANCE", until)
	r.fails("InvalidRequest", "PUT", "/one/k", "x", "x-amz-object-lock-legal-hold: ON")
	r.fails("InvalidArgument", "PUT", "/one/k", "x", "x-amz-object-lock-mode: GOVERNANCE")
	r.fails("InvalidArgument", "PUT", "/one/k", "x", until)
	r.fails("InvalidArgument", "PUT", "/one/k", "x", "x-amz-object-lock-mode: OTHER", until)
	r.fails("InvalidArgument", "PUT", "/one/k", "x", "x-amz-object-lock-legal-hold: PERHAPS")
	r.fails("InvalidArgument", "PUT", "/one/k", "x", "x-amz-object-lock-mode: GOVERNANCE", "x-amz-object-lock-retain-until-date: 2001-01-01T00:00:00Z")
	r.fails("InvalidArgument", "PUT", "/one/k", "x", "x-amz-object-lock-mode: GOVERNANCE", "x-amz-object-lock-retain-until-date: soon")
	r.fails("MethodNotAllowed", "POST", "/", "")
}

func TestRanges(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	body := pattern(2*blockLen+100, 3)
	n := len(body)
	r.ok("PUT", "/b/k", body)
	for _, row := range []struct {
		spec        string
		first, last int // -1: not partial
	}{
		{"bytes=0-0", 0, 0}, {"bytes=5-99", 5, 99}, {"bytes=1000000-", 1000000, n - 1}, {"bytes=-7", n - 7, n - 1}, {"bytes=-999999999", 0, n - 1},
		{"bytes=10-999999999", 10, n - 1}, {"bytes=5-2", -1, 0}, {"bits=1-2", -1, 0}, {"bytes=1-2,4-5", -1, 0}, {"bytes=a-b", -1, 0},
	} {
		w := r.ok("GET", "/b/k", "", "Range: "+row.spec)
		if row.first < 0 {
			r.same(row.spec, fmt.Sprint(w.Code, w.body == body), "200 true")
			continue
		}
		r.same(row.spec, fmt.Sprint(w.Code, w.Header().Get("Content-Range"), w.body == body[row.first:row.last+1]),
			fmt.Sprint(206, fmt.Sprintf("bytes %d-%d/%d", row.first, row.last, n), true))
	}
	for _, spec := range []string{fmt.Sprintf("bytes=%d-", n), "bytes=-0", "bytes=99999999-99999999"} {
		w := r.fails("InvalidRange", "GET", "/b/k", "", "Range: "+spec)
		r.same("headers of no object", w.Header().Get("ETag"), "")
	}
	r.same("part 1 of what came whole", r.ok("GET", "/b/k?partNumber=1", "").body == body, true)
	r.fails("InvalidPartNumber", "GET", "/b/k?partNumber=2", "")
	r.fails("InvalidArgument", "GET", "/b/k?partNumber=0", "")
	w := r.ok("GET", "/b/k?response-content-type=text/y&response-cache-control=none", "", "Range: bytes=0-1", "Authorization: any")
	r.same("chosen", w.Header().Get("Content-Type")+w.Header().Get("Cache-Control"), "text/ynone")
	r.fails("InvalidArgument", "GET", "/b/k?response-content-type=a%0d%0ab", "", "Authorization: any")
}

func TestConditions(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	etag := r.ok("PUT", "/b/k", "v1").Header().Get("ETag")
	past, future := r.now.Add(-time.Hour).UTC().Format(http.TimeFormat), r.now.Add(time.Hour).UTC().Format(http.TimeFormat)
	now := r.ok("HEAD", "/b/k", "").Header().Get("Last-Modified")
	r.ok("GET", "/b/k", "", "If-Match: "+etag)
	r.ok("GET", "/b/k", "", `If-Match: "x", *`)
	r.fails("PreconditionFailed", "GET", "/b/k", "", `If-Match: "x"`)
	w := r.fails("NotModified", "GET", "/b/k", "", "If-None-Match: "+etag)
	r.same("headers of 304", w.Header().Get("ETag")+w.Header().Get("Last-Modified"), etag+now)
	r.ok("GET", "/b/k", "", `If-None-Match: "x"`)
	r.fails("NotModified", "GET", "/b/k", "", "If-Modified-Since: "+now)
	r.ok("GET", "/b/k", "", "If-Modified-Since: "+past)
	r.ok("GET", "/b/k", "", "If-Modified-Since: "+future)
	r.fails("PreconditionFailed", "GET", "/b/k", "", "If-Unmodified-Since: "+past)
	r.ok("GET", "/b/k", "", "If-Unmodified-Since: "+now)
	r.ok("GET", "/b/k", "", "If-Unmodified-Since: "+past, "If-Match: "+etag)
	r.fails("NotModified", "HEAD", "/b/k", "", "If-None-Match: "+etag)

	r.fails("PreconditionFailed", "PUT", "/b/k", "v2", "If-None-Match: *")
	r.fails("PreconditionFailed", "PUT", "/b/k", "v2", `If-Match: "x"`)
	r.fails("NoSuchKey", "PUT", "/b/none", "v2", "If-Match: "+etag)
	r.fails("NotImplemented", "PUT", "/b/k", "v2", `If-None-Match: "x"`)
	r.same("untouched", r.ok("GET", "/b/k", "").body, "v1")
	etag = r.ok("PUT", "/b/k", "v2", "If-Match: "+etag).Header().Get("ETag")
	r.ok("PUT", "/b/dir/new", "v1", "If-None-Match: *")
	r.fails("NoSuchKey", "PUT", "/b/dir2/new", "v1", "If-Match: *")
	r.same("directory of what was refused", r.find("b/dir2").Ino, volume.Ino(0))
	r.fails("PreconditionFailed", "DELETE", "/b/k", "", `If-Match: "x"`)
	r.fails("PreconditionFailed", "DELETE", "/b/k", "", `x-amz-if-match-size: 5`)
	r.fails("NoSuchKey", "DELETE", "/b/none", "", "If-Match: "+etag)
	// What is to be deleted only if it has a size or a time, and is not there, is deleted already.
	r.ok("DELETE", "/b/none", "", "x-amz-if-match-size: 5")
	r.ok("DELETE", "/b/none", "", "x-amz-if-match-last-modified-time: "+past)
	r.fails("NoSuchKey", "DELETE", "/b/none", "", "x-amz-if-match-size: 5", "If-Match: *")
	r.ok("DELETE", "/b/k", "", "If-Match: "+etag, "x-amz-if-match-size: 2")
	left(r, 4)
}

// By RFC 9110 If-Modified-Since is of GET and HEAD; of the source of a copy it has a name of its own.
func TestModifiedSinceOfWrites(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	r.ok("PUT", "/b/k", "v1")
	r.ok("PUT", "/b/src", "v2")
	r.pass(time.Hour)
	since := "if-modified-since: " + r.now.UTC().Format(http.TimeFormat)
	r.fails("NotModified", "HEAD", "/b/k", "", since)
	r.ok("PUT", "/b/k", "v3", since)
	r.fails("PreconditionFailed", "PUT", "/b/k", "", "x-amz-copy-source: b/src", "x-amz-copy-source-"+since)
	r.ok("PUT", "/b/k", "", "x-amz-copy-source: b/src", since)
	r.same("copy", r.ok("GET", "/b/k", "").body, "v2")
	id := r.begin("k")
	etag := r.part("k", id, 1, "v4")
	r.ok("POST", "/b/k?uploadId="+id, partsDoc(map[int]string{1: etag}), since)
	r.same("of parts", r.ok("GET", "/b/k", "").body, "v4")
	r.ok("PUT", "/b/dir/", "")
	r.ok("PUT", "/b/dir/", "", since)
	r.ok("DELETE", "/b/k", "", since)
	r.fails("NoSuchKey", "GET", "/b/k", "")
}

func TestWrongBodies(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	r.ok("PUT", "/b/k", "old")
	r.fails("BadDigest", "PUT", "/b/k", "new", "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==")
	r.fails("InvalidDigest", "PUT", "/b/k", "new", "Content-MD5: nonsense")
	r.fails("InvalidArgument", "PUT", "/b/k", "new", "x-amz-tagging: a=1&a=2")
	r.fails("InvalidTag", "PUT", "/b/k", "new", "x-amz-tagging: a%23=1")
	r.fails("MetadataTooLarge", "PUT", "/b/k", "new", "x-amz-meta-a: "+strings.Repeat("x", maxUserMeta))
	r.fails("InvalidStorageClass", "PUT", "/b/k", "new", "x-amz-storage-class: COLD")
	r.fails("InvalidRequest", "PUT", "/b/k", "new", "x-amz-checksum-algorithm: MD4")
	r.same("untouched", r.ok("GET", "/b/k", "").body, "old")
	left(r, 3)
}

// A body that ends early is no object.
func TestShortBody(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	c := &call{s: r.s, ctx: t.Context(), r: &http.Request{Header: http.Header{}}}
	body := func(from io.Reader) {
		req := httptest.NewRequest("PUT", "/b/k", from)
		req.ContentLength = 10
		c.auth, _ = trusting{}.Verify(req)
	}
	body(strings.NewReader("short"))
	if _, err := c.receive(0, algoNone, func([]byte, int64) error { return nil }); err == nil || faultOf(err).code != "IncompleteBody" {
		t.Errorf("got %v", err)
	}
	body(io.MultiReader(strings.NewReader("short"), errReader{io.ErrUnexpectedEOF}))
	if _, err := c.receive(0, algoNone, func([]byte, int64) error { return nil }); err == nil || faultOf(err).code != "IncompleteBody" {
		t.Errorf("got %v", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestDeleteObjects(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	for i := range 5 {
		r.ok("PUT", fmt.Sprintf("/b/d/k%d", i), "x")
	}
	doc := "<Delete>"
	for _, k := range []string{"d/k0", "d/k1", "none", "bad//key", "d/k2"} {
		doc += "<Object><Key>" + k + "</Key></Object>"
	}
	w := r.ok("POST", "/b?delete", doc+"</Delete>")
	var res deleteResult
	r.xml(w, &res)
	r.same("deleted", fmt.Sprint(res.Deleted), "[{d/k0 } {d/k1 } {none } {d/k2 }]")
	r.same("errors", len(res.Error), 1)
	r.same("code", res.Error[0].Code, "InvalidArgument")
	w = r.ok("POST", "/b?delete", "<Delete><Quiet>true</Quiet><Object><Key>d/k3</Key></Object><Object><Key>d/k4</Key><ETag>x</ETag></Object></Delete>")
	if strings.Contains(w.body, "<Deleted>") || !strings.Contains(w.body, "PreconditionFailed") {
		t.Error(w.body)
	}
	for _, o := range []struct{ elements, code string }{
		{"<Size>2</Size>", "PreconditionFailed"},
		{"<Size>1</Size><ETag>x</ETag>", "PreconditionFailed"},
		{"<LastModifiedTime>" + r.now.Add(-time.Hour).UTC().Format(http.TimeFormat) + "</LastModifiedTime>", "PreconditionFailed"},
		{"<LastModifiedTime>" + r.now.Add(-time.Hour).UTC().Format(time.RFC3339) + "</LastModifiedTime>", "PreconditionFailed"},
		{"<LastModifiedTime>yesterday</LastModifiedTime>", "InvalidArgument"},
		{"<Size>-1</Size>", "InvalidArgument"},
		{"<Size>1</Size><LastModifiedTime>" + r.now.UTC().Format(http.TimeFormat) + "</LastModifiedTime><ETag>" + md5Of("x") + "</ETag>", ""},
		{"<Size>1</Size>", ""}, // is not there
		{"<ETag>*</ETag>", "NoSuchKey"},
	} {
		w := r.ok("POST", "/b?delete", "<Delete><Object><Key>d/k4</Key>"+o.elements+"</Object></Delete>")
		var res deleteResult
		r.xml(w, &res)
		code := ""
		for _, e := range res.Error {
			code = e.Code
		}
		r.same(o.elements, fmt.Sprint(code, len(res.Deleted)), fmt.Sprint(o.code, 1-len(res.Error)))
	}
	r.ok("PUT", "/b/d/k4", "x")
	r.ok("POST", "/b?delete", "<Delete><Object><Key>d/k4</Key><LastModifiedTime>"+r.now.UTC().Format("2006-01-02T15:04:05.000Z")+"</LastModifiedTime></Object></Delete>")
	r.fails("NoSuchKey", "GET", "/b/d/k4", "")
	r.fails("MalformedXML", "POST", "/b?delete", "<Delete><Object><Key>k</Key><Size>large</Size></Object></Delete>")
	r.fails("MalformedXML", "POST", "/b?delete", "<Delete></Delete>")
	r.fails("MalformedXML", "POST", "/b?delete", "<Delete><Object>")
	r.fails("MissingRequestBodyError", "POST", "/b?delete", "")
	r.fails("MaxMessageLengthExceeded", "POST", "/b?delete", strings.Repeat(" ", maxDeleteBody+1))
	r.fails("MalformedXML", "POST", "/b?delete", "<Delete>"+strings.Repeat("<Object><Key>k</Key></Object>", maxDelete+1)+"</Delete>")
}

func TestTagging(t *testing.T) {
	r := newRig(t)
	r.path("b/f", "by mount")
	r.ok("PUT", "/b/k", "v")
	doc := "<Tagging><TagSet><Tag><Key>z</Key><Value>1</Value></Tag><Tag><Key>a</Key><Value>é/</Value></Tag></TagSet></Tagging>"
	for _, path := range []string{"/b/k", "/b/f"} {
		etag := r.ok("HEAD", path, "").Header().Get("ETag")
		r.ok("PUT", path+"?tagging", doc)
		w := r.ok("GET", path+"?tagging", "")
		if !strings.Contains(w.body, "<Tag><Key>z</Key><Value>1</Value></Tag><Tag><Key>a</Key><Value>é/</Value></Tag>") {
			t.Error(w.body)
		}
		r.same("ETag", r.ok("HEAD", path, "").Header().Get("ETag"), etag)
		r.ok("DELETE", path+"?tagging", "")
		if w := r.ok("GET", path+"?tagging", ""); !strings.Contains(w.body, "<TagSet></TagSet>") {
			t.Error(w.body)
		}
		r.same("ETag", r.ok("HEAD", path, "").Header().Get("ETag"), etag)
	}
	r.fails("NoSuchKey", "PUT", "/b/none?tagging", doc)
	many := ""
	for i := range maxTags + 1 {
		many += fmt.Sprintf("<Tag><Key>%d</Key><Value/></Tag>", i)
	}
	r.fails("BadRequest", "PUT", "/b/k?tagging", "<Tagging><TagSet>"+many+"</TagSet></Tagging>")
	r.fails("InvalidTag", "PUT", "/b/k?tagging", "<Tagging><TagSet><Tag><Key>"+strings.Repeat("é", 129)+"</Key></Tag></TagSet></Tagging>")
	big := ""
	for i := range maxTags {
		big += fmt.Sprintf("<Tag><Key>%d%s</Key><Value>%s</Value></Tag>", i, strings.Repeat("𐎀", 127), strings.Repeat("𐎀", 256))
	}
	r.ok("PUT", "/b/k?tagging", "<Tagging><TagSet>"+big+"</TagSet></Tagging>")
}

func TestCopy(t *testing.T) {
	r := newRig(t)
	body := pattern(blockLen+5, 9)
	r.path("b/mount", body)
	r.ok("PUT", "/b/src", body, "Content-Type: text/x", "x-amz-meta-a: 1", "x-amz-tagging: t=1")
	w := r.ok("PUT", "/b/sub/dst", "", "x-amz-copy-source: /b/src")
	if !strings.Contains(w.body, "&#34;"+md5Of(body)+"&#34;") {
		t.Error(w.body)
	}
	w = r.ok("GET", "/b/sub/dst", "")
	r.same("copy", w.body == body, true)
	r.same("metadata", fmt.Sprint(w.Header()["x-amz-meta-a"], w.Header().Get("Content-Type"), w.Header().Get("x-amz-tagging-count")), "[1]text/x1")
	r.ok("PUT", "/b/repl", "", "x-amz-copy-source: b/src?versionId=null", "x-amz-metadata-directive: REPLACE", "x-amz-tagging-directive: REPLACE", "x-amz-meta-b: 2")
	w = r.ok("GET", "/b/repl", "")
	r.same("metadata", fmt.Sprint(w.Header()["x-amz-meta-a"], w.Header()["x-amz-meta-b"], w.Header().Get("x-amz-tagging-count")), "[] [2]")
	r.ok("PUT", "/b/m", "", "x-amz-copy-source: b%2Fmount", "x-amz-checksum-algorithm: SHA256")
	r.same("ETag of a copy", r.ok("HEAD", "/b/m", "").Header().Get("ETag"), quoteTag(md5Of(body)))
	r.fails("InvalidRequest", "PUT", "/b/src", "", "x-amz-copy-source: b/src")
	r.ok("PUT", "/b/src", "", "x-amz-copy-source: b/src", "x-amz-metadata-directive: REPLACE", "x-amz-meta-c: 3")
	w = r.ok("GET", "/b/src", "")
	r.same("copied to itself", fmt.Sprint(w.body == body, w.Header()["x-amz-meta-c"]), "true [3]")
	r.fails("NoSuchKey", "PUT", "/b/x", "", "x-amz-copy-source: b/none")
	r.fails("NoSuchBucket", "PUT", "/b/x", "", "x-amz-copy-source: none/none")
	r.fails("InvalidArgument", "PUT", "/b/x", "", "x-amz-copy-source: b/../b/src")
	r.fails("InvalidArgument", "PUT", "/b/x", "", "x-amz-copy-source: b")
	r.fails("NoSuchVersion", "PUT", "/b/x", "", "x-amz-copy-source: b/src?versionId=7")
	r.fails("PreconditionFailed", "PUT", "/b/x", "", "x-amz-copy-source: b/src", `x-amz-copy-source-if-match: "x"`)
	r.fails("PreconditionFailed", "PUT", "/b/x", "", "x-amz-copy-source: b/src", `x-amz-copy-source-if-none-match: *`)
	r.fails("PreconditionFailed", "PUT", "/b/repl", "", "x-amz-copy-source: b/src", "If-None-Match: *")
	r.fails("ExistingObjectIsDirectory", "PUT", "/b/sub", "", "x-amz-copy-source: b/src")
	r.fails("DirectoryObjectContainsData", "PUT", "/b/d/", "", "x-amz-copy-source: b/src")
}
