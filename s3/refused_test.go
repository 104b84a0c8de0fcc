package s3

import (
	"testing"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// What is not offered is refused, whatever it would become if it were overlooked.
func TestNotOffered(t *testing.T) {
	r := newRig(t)
	r.path("one/f", "x")
	for _, q := range []string{"metadataConfiguration", "metadataTable", "metadataInventoryTable", "metadataJournalTable", "metadataAnnotationTable",
		"abac", "requestPayment", "intelligent-tiering", "accelerate", "session"} {
		r.fails("NotImplemented", "PUT", "/new-bucket?"+q, "<x/>")
		r.fails("NotImplemented", "DELETE", "/one?"+q, "")
	}
	for _, q := range []string{"annotation&annotationName=a", "renameObject", "encryption", "retention"} {
		r.fails("NotImplemented", "PUT", "/one/k?"+q, "x")
		r.fails("NotImplemented", "DELETE", "/one/f?"+q, "")
	}
	r.fails("NotImplemented", "PUT", "/one/f", "y", "x-amz-write-offset-bytes: 1")
	r.fails("NotImplemented", "PUT", "/one/f?x-amz-write-offset-bytes=1", "y")
	r.fails("NotImplemented", "PUT", "/one?acl", "", "x-amz-acl: private", "x-amz-grant-read: id=x")
	r.fails("NotImplemented", "PUT", "/new-bucket", "", "x-amz-bucket-object-lock-enabled: True")
	r.fails("NotImplemented", "PUT", "/new-bucket", "", "x-amz-bucket-namespace: account-regional")
	for _, class := range []string{"GLACIER", "GLACIER_IR", "DEEP_ARCHIVE", "EXPRESS_ONEZONE"} {
		r.fails("NotImplemented", "PUT", "/one/k", "x", "x-amz-storage-class: "+class)
	}
	r.fails("InvalidStorageClass", "PUT", "/one/k", "x", "x-amz-storage-class: OTHER")
	for _, path := range []string{"/one/k", "/one/f?acl", "/one?acl"} {
		r.fails("NotImplemented", "PUT", path, "", "x-amz-acl: authenticated-read")
		r.fails("InvalidArgument", "PUT", path, "", "x-amz-acl: other")
	}
	r.same("content", r.ok("GET", "/one/f", "").body, "x")
	r.same("nothing was made", r.find("new-bucket").Ino+r.find("one/k").Ino, volume.Ino(0))
}

// A form has its credentials in the body: that it is not offered does not depend on keys.
func TestForms(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Domains = []string{"s3.wolf.test"}
		c.Auth = &sig.Verifier{Keys: oneKey{}, Domains: c.Domains}
	})
	r.path("one/f", "x")
	const form = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--x--\r\n"
	for _, kind := range []string{"multipart/form-data; boundary=x", "Multipart/Form-Data;boundary=x"} {
		r.fails("NotImplemented", "POST", "/one", form, "Content-Type: "+kind)
		r.fails("NotImplemented", "POST", "/one/", form, "Content-Type: "+kind)
		r.fails("NotImplemented", "POST", "/", form, "Content-Type: "+kind, "Host: one.s3.wolf.test")
		r.fails("AccessDenied", "POST", "/one?delete", form, "Content-Type: "+kind)
		r.fails("MethodNotAllowed", "POST", "/", form, "Content-Type: "+kind)
	}
	r.fails("AccessDenied", "POST", "/one", "x", "Content-Type: text/plain")
}

// oneKey knows one key.
type oneKey struct{}

func (oneKey) Find(access string) (sig.Key, bool) {
	return sig.Key{Access: "me", Secret: "secret"}, access == "me"
}
func (oneKey) Empty() bool { return false }

func TestEmptyVersion(t *testing.T) {
	r := newRig(t)
	r.path("b/k", "x")
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		r.fails("InvalidArgument", method, "/b/k?versionId=", "")
	}
	r.fails("InvalidArgument", "PUT", "/b/c", "", "x-amz-copy-source: b/k?versionId=")
	r.ok("PUT", "/b/c", "", "x-amz-copy-source: b/k?versionId=null")
	r.ok("GET", "/b/k?versionId=null", "")
}

// A method that is refused says which are not, by RFC 9110.
func TestAllow(t *testing.T) {
	r := newRig(t)
	r.path("b/k", "x")
	for _, row := range []struct{ method, path, allow string }{
		{"POST", "/", "GET"},
		{"PUT", "/", "GET"},
		{"POST", "/b/k", "GET, HEAD, PUT, DELETE"},
		{"PUT", "/b/k?uploadId=x", "DELETE, POST, GET"},
	} {
		r.same(row.method+" "+row.path, r.fails("MethodNotAllowed", row.method, row.path, "").Header().Get("Allow"), row.allow)
	}
}

// Only the path of the gateway itself lists its buckets.
func TestEmptyBucketName(t *testing.T) {
	r := newRig(t)
	r.path("b/k", "x")
	r.ok("GET", "/", "")
	for _, path := range []string{"//", "//k", "///"} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			r.fails("InvalidBucketName", method, path, "")
		}
	}
}
