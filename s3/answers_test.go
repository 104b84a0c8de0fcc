package s3

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// An error says what Amazon S3 says of its code, and names the thing in elements.
func TestErrorElements(t *testing.T) {
	r := newRig(t)
	r.path("b/f", "12345")
	id := r.begin("k")
	for _, row := range []struct {
		method, path, body string
		headers            []string
		want               map[string]string // elements
	}{
		{"GET", "/none/f", "", nil, map[string]string{"Code": "NoSuchBucket", "Message": "The specified bucket does not exist.", "BucketName": "none", "Reason": `there is no bucket "none"`}},
		{"GET", "/b/none", "", nil, map[string]string{"Code": "NoSuchKey", "Message": "The specified key does not exist.", "Key": "none"}},
		{"GET", "/b/f", "", []string{"Range: bytes=9-"}, map[string]string{"Code": "InvalidRange", "RangeRequested": "bytes=9-", "ActualObjectSize": "5"}},
		{"GET", "/b/f", "", []string{"If-Match: x"}, map[string]string{"Code": "PreconditionFailed", "Condition": "If-Match"}},
		{"GET", "/b/f?partNumber=2", "", nil, map[string]string{"Code": "InvalidPartNumber", "ActualPartCount": "1", "PartNumberRequested": "2"}},
		{"GET", "/b/f?partNumber=0", "", nil, map[string]string{"Code": "InvalidArgument", "ArgumentName": "partNumber", "ArgumentValue": "0"}},
		{"GET", "/b?max-keys=-1", "", nil, map[string]string{"Code": "InvalidArgument", "ArgumentName": "max-keys", "ArgumentValue": "-1"}},
		{"GET", "/b/k?uploadId=x", "", nil, map[string]string{"Code": "NoSuchUpload", "UploadId": "x"}},
		{"PUT", "/b/k", "x", []string{"Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg=="}, map[string]string{"Code": "BadDigest", "CalculatedDigest": "ndTkYSaMgDT1yFZOFVxnpg=="}},
		{"PUT", "/b/k", "x", []string{"x-amz-meta-a: " + strings.Repeat("x", maxUserMeta)}, map[string]string{"Code": "MetadataTooLarge", "Size": fmt.Sprint(maxUserMeta + 1), "MaxSizeAllowed": "2048"}},
		{"PUT", "/b/k", "x", []string{"If-None-Match: y"}, map[string]string{"Code": "NotImplemented", "Header": "If-None-Match"}},
		{"PUT", "/b/k", "x", []string{"x-amz-website-redirect-location: nowhere"}, map[string]string{"Code": "InvalidRedirectLocation"}},
		{"PUT", "/b/k?uploadId=" + id, "x", nil, map[string]string{"Code": "MethodNotAllowed", "ResourceType": "UPLOAD", "Method": "PUT", "AllowedMethods": "DELETE, POST, GET"}},
		{"PUT", "/b/k?partNumber=1", "x", nil, map[string]string{"Code": "InvalidArgument", "ArgumentName": "partNumber"}},
		{"PUT", "/b/k", "x", []string{"x-amz-custom: " + strings.Repeat("x", maxPutHeaders)}, map[string]string{"Code": "RequestHeaderSectionTooLarge", "MaxSizeAllowed": "8192"}},
		{"GET", "/b/f", "", []string{"x-amz-copy-source: b/f"}, map[string]string{"Code": "InvalidArgument", "ArgumentName": "x-amz-copy-source"}},
		{"PUT", "/b/k", "", []string{"x-amz-copy-source: b/%ZZ"}, map[string]string{"Code": "InvalidArgument", "Message": "Invalid copy source encoding"}},
		{"PUT", "/b/k", "", []string{"x-amz-copy-source: b/../f"}, map[string]string{"Code": "InvalidArgument", "Message": "Invalid copy source object key", "ArgumentValue": "../f"}},
		{"PUT", "/b/k", "", []string{"x-amz-copy-source: 127.0.0.1/f"}, map[string]string{"Code": "InvalidArgument", "Message": "Invalid copy source bucket name"}},
		{"PUT", "/b/k?partNumber=1&uploadId=" + id, "", []string{"x-amz-copy-source: b/f", "x-amz-copy-source-range: bytes=2-5"}, map[string]string{"Code": "InvalidArgument", "ArgumentValue": "5"}},
		{"POST", "/b/k?uploadId=" + id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>", nil, map[string]string{"Code": "MalformedXML"}},
		{"POST", "/b/k?uploadId=" + id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>", nil,
			map[string]string{"Code": "InvalidPart", "PartNumber": "1", "ETag": "x", "UploadId": id}},
		{"POST", "/b/k?uploadId=" + id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag><ChecksumCRC32>?</ChecksumCRC32></Part></CompleteMultipartUpload>", nil,
			map[string]string{"Code": "InvalidArgument", "ArgumentName": "Checksum", "ArgumentValue": "?"}},
		{"PUT", "/b/k", "x", []string{"If-None-Match: *", "If-Match: x"}, map[string]string{"Code": "NotImplemented", "additionalMessage": "Multiple conditional request headers present in the request"}},
		{"POST", "/b/k?uploadId=" + id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>", []string{"x-amz-checksum-crc32: AAAAAA==-x"},
			map[string]string{"Code": "InvalidRequest", "Message": "Value for x-amz-checksum-crc32 header is invalid."}},
		{"POST", "/b/k?uploadId=" + id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>", []string{"x-amz-checksum-type: NONE"},
			map[string]string{"Code": "InvalidRequest", "Message": "Value for x-amz-checksum-type header is invalid."}},
		{"GET", "/none/f?attributes", "", nil, map[string]string{"Code": "NoSuchBucket"}},
		{"DELETE", "/b", "", nil, map[string]string{"Code": "BucketNotEmpty", "BucketName": "b"}},
		{"PUT", "/x", "", nil, map[string]string{"Code": "InvalidBucketName", "BucketName": "x"}},
		{"PUT", "/new-one", "", []string{"x-amz-acl: public-read"}, map[string]string{"Code": "NotImplemented"}},
		{"PUT", "/new-one", "", []string{"x-amz-acl: other"}, map[string]string{"Code": "InvalidArgument", "ArgumentName": "x-amz-acl"}},
		{"PUT", "/new-one", "", []string{"x-amz-acl: public-read", "x-amz-object-ownership: BucketOwnerEnforced"}, map[string]string{"Code": "InvalidBucketAclWithObjectOwnership"}},
		{"PUT", "/new-one", "", []string{"x-amz-object-ownership: other"}, map[string]string{"Code": "InvalidArgument"}},
		{"GET", "/b/f?uploads", "", nil, map[string]string{"Code": "InvalidRequest"}},
		{"GET", "/b/f?versions", "", nil, map[string]string{"Code": "InvalidRequest"}},
	} {
		w := r.send(row.method, row.path, row.body, row.headers...)
		var doc struct {
			Elements []struct {
				XMLName xml.Name
				Value   string `xml:",chardata"`
			} `xml:",any"`
		}
		r.xml(w, &doc)
		got := map[string]string{}
		for _, e := range doc.Elements {
			got[e.XMLName.Local] = e.Value
		}
		for name, want := range row.want {
			if got[name] != want {
				t.Errorf("%s %s: %s is %q, want %q; %s", row.method, row.path, name, got[name], want, w.body)
			}
		}
	}
	r.same("nothing was made", r.find("new-one").Ino, volume.Ino(0))
}

// Whoever has a key owns what it reaches, and a request that expects another owner does
// nothing.
func TestExpectedOwner(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Auth = trusting{sig.Key{Access: "me"}} })
	r.path("b/f", "x")
	for _, who := range []string{"me", everybody} {
		r.ok("PUT", "/b/k", "x", "x-amz-expected-bucket-owner: "+who)
	}
	r.fails("AccessDenied", "DELETE", "/b/k", "", "x-amz-expected-bucket-owner: other")
	r.fails("AccessDenied", "PUT", "/b/c", "", "x-amz-copy-source: b/k", "x-amz-source-expected-bucket-owner: other")
	for _, path := range []string{"/", "/b?acl", "/b", "/b?list-type=2&fetch-owner=true", "/b/k?acl"} {
		if w := r.ok("GET", path, ""); !strings.Contains(w.body, "<ID>me</ID>") {
			t.Errorf("%s: %s", path, w.body)
		}
	}
}

func TestBucketTagging(t *testing.T) {
	r := newRig(t)
	tags := "<Tag><Key>a</Key><Value>1</Value></Tag>"
	r.ok("PUT", "/one", "<CreateBucketConfiguration><Tags>"+tags+"</Tags></CreateBucketConfiguration>")
	get := func(bucket string) string { return r.ok("GET", "/"+bucket+"?tagging", "").body }
	if got := get("one"); !strings.Contains(got, "<TagSet>"+tags+"</TagSet>") {
		t.Error(got)
	}
	r.path("two/f", "x") // a bucket that a mount made
	r.fails("NoSuchTagSet", "GET", "/two?tagging", "")
	more := tags + "<Tag><Key>b</Key><Value>2</Value></Tag>"
	r.same("status", r.ok("PUT", "/two?tagging", "<Tagging><TagSet>"+more+"</TagSet></Tagging>").Code, 204)
	if got := get("two"); !strings.Contains(got, "<TagSet>"+more+"</TagSet>") {
		t.Error(got)
	}
	r.ok("PUT", "/two/g", "x")
	r.same("status", r.ok("DELETE", "/two?tagging", "").Code, 204)
	r.ok("DELETE", "/two?tagging", "")
	r.fails("NoSuchTagSet", "GET", "/two?tagging", "")
	many := ""
	for i := range maxBucketTags + 1 {
		many += fmt.Sprintf("<Tag><Key>%d</Key><Value/></Tag>", i)
	}
	r.fails("BadRequest", "PUT", "/two?tagging", "<Tagging><TagSet>"+many+"</TagSet></Tagging>")
	r.fails("InvalidTag", "PUT", "/three", "<CreateBucketConfiguration><Tags>"+tags+tags+"</Tags></CreateBucketConfiguration>")
	r.fails("NoSuchBucket", "PUT", "/three?tagging", "<Tagging><TagSet>"+tags+"</TagSet></Tagging>")
	r.ok("DELETE", "/one", "")
}

// Content without a checksum gets CRC64NVME, also in parts, where an upload that was begun
// without one needs none.
func TestDefaultChecksum(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	want := sumOf(algoCRC64NVME, "content")
	r.same("PUT", r.ok("PUT", "/b/k", "content").Header().Get("x-amz-checksum-crc64nvme"), want)
	w := r.ok("GET", "/b/k", "", "x-amz-checksum-mode: ENABLED")
	r.same("GET", w.Header().Get("x-amz-checksum-crc64nvme")+w.Header().Get("x-amz-checksum-type"), want+"FULL_OBJECT")
	w = r.ok("PUT", "/b/k", "content", sumHeader(algoSHA1, "content"))
	r.same("one of the client's", w.Header().Get("x-amz-checksum-crc64nvme")+w.Header().Get("x-amz-checksum-sha1"), sumOf(algoSHA1, "content"))
	id, p1 := r.begin("m"), pattern(minPart, 3)
	etags := map[int]string{1: r.part("m", id, 1, p1, sumHeader(algoCRC32, p1)), 2: r.part("m", id, 2, "content")}
	r.ok("POST", "/b/m?uploadId="+id, partsDoc(etags), "x-amz-checksum-crc64nvme: AAAAAAAAAAA=")
	w = r.ok("HEAD", "/b/m", "", "x-amz-checksum-mode: ENABLED")
	r.same("of parts", w.Header().Get("x-amz-checksum-crc64nvme"), sumOf(algoCRC64NVME, p1+"content"))
}

// A redirect belongs to the object that it was put with: a copy has its own or none.
func TestRedirect(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	const name = "x-amz-website-redirect-location"
	r.ok("PUT", "/b/k", "x", name+": /there", "Cache-Control: no-store")
	r.ok("PUT", "/b/c", "", "x-amz-copy-source: b/k")
	r.ok("PUT", "/b/d", "", "x-amz-copy-source: b/k", name+": /here")
	r.ok("PUT", "/b/k", "", "x-amz-copy-source: b/k", name+": /new") // changes something
	for key, want := range map[string]string{"k": "/new", "c": "", "d": "/here"} {
		h := r.ok("HEAD", "/b/"+key, "").Header()
		r.same(key, h.Get(name)+h.Get("Cache-Control"), want+"no-store")
	}
}

func TestAbortIfInitiated(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	id := r.begin("k")
	const name = "x-amz-if-match-initiated-time: "
	at := func(d time.Duration) string { return r.now.Add(d).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }
	r.fails("PreconditionFailed", "DELETE", "/b/k?uploadId="+id, "", name+at(-time.Hour))
	r.ok("DELETE", "/b/k?uploadId="+id, "", name+at(time.Hour)) // in the future: none
	id = r.begin("k")
	r.ok("DELETE", "/b/k?uploadId="+id, "", name+at(0))
}
