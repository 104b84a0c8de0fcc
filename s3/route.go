package s3

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// operation is one of S3's operations.
type operation struct {
	name  string
	write bool
	run   func(c *call) error
}

func read(name string, run func(*call) error) *operation {
	return &operation{name: name, run: run}
}

func write(name string, run func(*call) error) *operation {
	return &operation{name: name, write: true, run: run}
}

// subresources are the query parameters that make another operation of a request, of all
// operations of Amazon S3's API reference. One that is not handled is never taken for a
// plain request.
var subresources = []string{
	"abac", "accelerate", "acl", "analytics", "annotation", "attributes", "cors", "delete", "encryption", "intelligent-tiering", "inventory",
	"legal-hold", "lifecycle", "location", "logging", "metadataAnnotationTable", "metadataConfiguration", "metadataInventoryTable",
	"metadataJournalTable", "metadataTable", "metrics", "notification", "object-lock", "ownershipControls", "partNumber", "policy",
	"policyStatus", "publicAccessBlock", "renameObject", "replication", "requestPayment", "restore", "retention", "select", "session",
	"tagging", "torrent", "uploadId", "uploads", "versioning", "versions", "website",
}

// The operations, by method and subresource; "" is the request without one.
var (
	bucketOps = map[string]*operation{
		"GET ":            read("ListObjects", (*call).listObjects),
		"GET location":    read("GetBucketLocation", (*call).getLocation),
		"GET versioning":  read("GetBucketVersioning", (*call).getVersioning),
		"GET versions":    read("ListObjectVersions", (*call).listVersions),
		"GET uploads":     read("ListMultipartUploads", (*call).listUploads),
		"GET acl":         read("GetBucketAcl", (*call).getACL),
		"PUT acl":         write("PutBucketAcl", (*call).putACL),
		"HEAD ":           read("HeadBucket", (*call).headBucket),
		"PUT ":            write("CreateBucket", (*call).createBucket),
		"DELETE ":         write("DeleteBucket", (*call).deleteBucket),
		"POST delete":     write("DeleteObjects", (*call).deleteObjects),
		"GET object-lock": none("ObjectLockConfigurationNotFoundError", "object lock"),
		"GET policy":      none("NoSuchBucketPolicy", "policy"),
		"GET cors":        none("NoSuchCORSConfiguration", "CORS configuration"),
		"GET lifecycle":   none("NoSuchLifecycleConfiguration", "lifecycle"),
		"GET tagging":     read("GetBucketTagging", (*call).getBucketTagging),
		"PUT tagging":     write("PutBucketTagging", (*call).putBucketTagging),
		"DELETE tagging":  write("DeleteBucketTagging", (*call).deleteBucketTagging),
		"GET encryption":  none("ServerSideEncryptionConfigurationNotFoundError", "encryption"),
		"GET website":     none("NoSuchWebsiteConfiguration", "website"),
		"GET replication": none("ReplicationConfigurationNotFoundError", "replication"),
		"GET ownershipControls": none("OwnershipControlsNotFoundError",
			"ownership controls"),
		"GET publicAccessBlock": none("NoSuchPublicAccessBlockConfiguration", "public access block"),
	}
	objectOps = map[string]*operation{
		"GET ":           read("GetObject", (*call).getObject),
		"HEAD ":          read("HeadObject", (*call).getObject),
		"GET partNumber": read("GetObject", (*call).getObject),
		"HEAD partNumber": read("HeadObject",
			(*call).getObject),
		"GET attributes":  read("GetObjectAttributes", (*call).getAttributes),
		"GET tagging":     read("GetObjectTagging", (*call).getTagging),
		"GET acl":         read("GetObjectAcl", (*call).getACL),
		"GET uploadId":    read("ListParts", (*call).listParts),
		"PUT ":            write("PutObject", (*call).putObject),
		"PUT copy":        write("CopyObject", (*call).copyObject),
		"PUT uploadId":    write("UploadPart", (*call).uploadPart),
		"PUT tagging":     write("PutObjectTagging", (*call).putTagging),
		"PUT acl":         write("PutObjectAcl", (*call).putACL),
		"POST uploads":    write("CreateMultipartUpload", (*call).createUpload),
		"POST uploadId":   write("CompleteMultipartUpload", (*call).completeUpload),
		"DELETE ":         write("DeleteObject", (*call).deleteObject),
		"DELETE uploadId": write("AbortMultipartUpload", (*call).abortUpload),
		"DELETE tagging":  write("DeleteObjectTagging", (*call).deleteTagging),
	}
)

// none is an operation that asks for a configuration which no bucket has.
func none(code, what string) *operation {
	return read(code, func(c *call) error {
		if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
			return err
		}
		return errf(code, "the bucket %q has no %s", c.bucket, what).with("BucketName", c.bucket)
	})
}

// serve finds out what is asked for, by whom, and does it.
func (c *call) serve() error {
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.misshapen(); err != nil {
		return err
	}
	var err error
	if c.auth, err = c.s.cfg.Auth.Verify(c.r); err != nil {
		return err
	}
	c.proceed()
	if c.key == "" && c.r.Method == http.MethodPut && strings.HasPrefix(c.headerValue("x-amz-content-sha256"), "STREAMING-") {
		return errf("InvalidRequest", "The value of x-amz-content-sha256 header is invalid.").with("Reason", "only the body of an object comes in chunks")
	}
	if err := c.expectedOwner(); err != nil {
		return err
	}
	op, err := c.operation()
	if err != nil {
		return err
	}
	c.name = op.name
	if c.auth.Key.ReadOnly && op.write {
		return errf("AccessDenied", "the key %q may only read", c.auth.Key.Access)
	}
	if c.bucket != "" {
		if err := c.mayUse(c.bucket); err != nil {
			return err
		}
	}
	if err := c.unsupported(op); err != nil {
		return err
	}
	if err := c.unstated(op); err != nil {
		return err
	}
	if op.write && !c.forwarded && c.s.cfg.Elsewhere != nil {
		if answered, err := c.s.cfg.Elsewhere(c.w, c.r, c.auth.Anonymous); answered || err != nil {
			return err
		}
	}
	return c.ofBucket(op.run(c))
}

// ofBucket turns the error that an inode is gone into one of the bucket, if that is what was removed while the
// operation was at work.
func (c *call) ofBucket(err error) error {
	if err == nil || volume.KindOf(err) != volume.Stale || c.bucket == "" {
		return err
	}
	var f *fault
	if _, berr := c.s.bucket(c.ctx, c.bucket); c.key == "" || errors.As(berr, &f) {
		return errBucket(c.bucket)
	}
	return err
}

// waitsForNothing reports whether the client waits to be told to go on with a body that
// has no bytes, as boto3 does.
func (c *call) waitsForNothing() bool {
	return c.r.ContentLength == 0 && strings.EqualFold(c.headerValue("Expect"), "100-continue")
}

// proceed tells it so; net/http, which does it when a body is read, does not for one without
// bytes. Otherwise boto3 takes the beginning of the next answer on the connection for a part
// of this one, and waits a minute for its end.
func (c *call) proceed() {
	if c.waitsForNothing() && !c.proceeded {
		c.proceeded = true
		c.w.ResponseWriter.WriteHeader(http.StatusContinue)
	}
}

// maxPutHeaders is S3's limit of the headers of a PUT, bytes.
const maxPutHeaders = 8 << 10

// misshapen refuses what no client could mean, before anybody asks who it is from.
func (c *call) misshapen() error {
	has := func(name string) bool { return c.q.Has(name) }
	source := c.h.Get("x-amz-copy-source")
	n := 0
	for name, values := range c.r.Header {
		for _, v := range values {
			n += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	switch m := c.r.Method; {
	case m == http.MethodPut && n > maxPutHeaders && !c.forwarded: // which another node has looked at, and added to
		return errf("RequestHeaderSectionTooLarge", "the headers have %d bytes", n).with("MaxSizeAllowed", strconv.Itoa(maxPutHeaders))
	case source != "" && m != http.MethodPut && (m != http.MethodPost || has("uploadId")):
		return errArgument("x-amz-copy-source", source, "You can only specify a copy source header for copy requests.")
	case m == http.MethodGet && c.key != "" && has("uploads"):
		return errf("InvalidRequest", "Key is not expected for the GET method ?uploads subresource")
	case m == http.MethodGet && c.key != "" && has("versions"):
		return errf("InvalidRequest", "There is no such thing as the ?versions sub-resource for a key")
	case m == http.MethodPut && c.key != "" && has("partNumber") && !has("uploadId"):
		return errArgument("partNumber", "partNumber", "This operation does not accept partNumber without uploadId")
	case m == http.MethodPut && c.key != "" && has("uploadId") && !has("partNumber"):
		const allow = "DELETE, POST, GET"
		return errMethod(m, "UPLOAD", allow).with("AllowedMethods", allow)
	case c.bucket == "" && c.key != "":
		return errf("InvalidBucketName", "the path %q has an empty bucket name", clean(c.r.URL.Path))
	case m == http.MethodPost && c.bucket == "":
		return errMethod(m, "SERVICE", "GET")
	case m == http.MethodPost && c.key == "" && len(c.found()) == 0 && hasPrefixFold(c.headerValue("Content-Type"), "multipart/form-data"):
		// Who asks says so in the form, so it cannot be asked first.
		return errf("NotImplemented", "forms are not supported")
	case m == http.MethodPost && c.key != "" && len(c.found()) == 0:
		return errMethod(m, "SERVICE", "GET, HEAD, PUT, DELETE")
	}
	return nil
}

func errMethod(method, resource, allow string) *fault {
	f := errf("MethodNotAllowed", "%s cannot be asked for here", method).with("Method", method).with("ResourceType", resource)
	f.allow = allow
	return f
}

// mayUse says whether the request's key is good for a bucket.
func (c *call) mayUse(bucket string) error {
	if k := &c.auth.Key; len(k.Buckets) > 0 && !slices.Contains(k.Buckets, bucket) {
		return errf("AccessDenied", "the key %q is not for the bucket %q", k.Access, bucket)
	}
	return nil
}

// parse takes bucket and key from host and path.
func (c *call) parse() error {
	var err error
	if c.q, err = sig.Query(c.r); err != nil {
		return err
	}
	h, err := sig.Headers(c.r)
	if err != nil {
		return err
	}
	c.h = h
	path := strings.TrimPrefix(c.r.URL.Path, "/")
	if bucket := sig.HostBucket(c.r.Host, c.s.cfg.Domains); bucket != "" {
		c.bucket, c.key, c.hosted = bucket, path, true
	} else {
		c.bucket, c.key, _ = strings.Cut(path, "/")
		if c.bucket == "" {
			c.key = path // not the gateway itself, even if only slashes follow
		}
	}
	return nil
}

// found are the subresources of the query.
func (c *call) found() (list []string) {
	for _, name := range subresources {
		if c.q.Has(name) {
			list = append(list, name)
		}
	}
	return list
}

func (c *call) operation() (*operation, error) {
	found := c.found()
	what := strings.Join(found, " and ")
	if what == "partNumber and uploadId" {
		what = "uploadId"
	}
	if len(found) == 0 && c.r.Method == http.MethodPut && c.key != "" && c.h.Get("x-amz-copy-source") != "" {
		what = "copy"
	}
	method := c.r.Method + " " + what
	switch {
	case c.bucket == "":
		if method == "GET " {
			return read("ListBuckets", (*call).listBuckets), nil
		}
		if len(found) > 0 {
			break
		}
		return nil, errMethod(c.r.Method, "SERVICE", http.MethodGet)
	case c.key == "":
		if op := bucketOps[method]; op != nil {
			return op, nil
		}
	default:
		if op := objectOps[method]; op != nil {
			return op, checkKey(c.key)
		}
	}
	return nil, errf("NotImplemented", "%s %s is not supported", c.r.Method, what)
}

// unsupported refuses headers whose meaning would be lost.
func (c *call) unsupported(op *operation) error {
	if v := c.q.Get("versionId"); c.q.Has("versionId") && v == "" {
		return errArgument("versionId", v, emptyVersion)
	} else if v != "null" && v != "" {
		return errf("NoSuchVersion", "there is no version %q: objects have one, \"null\"", v)
	}
	if c.key == "" || !op.write {
		if c.h.Get("x-amz-server-side-encryption-customer-algorithm") != "" {
			return errf("NotImplemented", "encryption with the client's keys is not supported")
		}
		return nil
	}
	for name := range c.h {
		n := strings.ToLower(name)
		for _, prefix := range []string{"x-amz-server-side-encryption", "x-amz-copy-source-server-side-encryption", "x-amz-grant-", "x-amz-write-offset-bytes"} {
			if strings.HasPrefix(n, prefix) {
				return errf("NotImplemented", "%s is not supported", n)
			}
		}
	}
	if err := c.lock(); err != nil {
		return err
	}
	switch acl := c.headerValue("x-amz-acl"); acl {
	case "", "private", "bucket-owner-full-control", "bucket-owner-read":
	default:
		return errACL(acl)
	}
	class := c.headerValue("x-amz-storage-class")
	switch {
	case class == "" || slices.Contains(storageClasses, class):
		return nil
	case slices.Contains(otherClasses, class):
		return errf("NotImplemented", "the storage class %q is not supported", class)
	}
	return errf("InvalidStorageClass", "the storage class %q is not known", class)
}

const emptyVersion = "Version id cannot be the empty string"

// unstated refuses content that comes without a length and without an encoding that has an end, as S3 does:
// net/http takes it for empty, and it would replace an object. Another node would be told that it is.
func (c *call) unstated(op *operation) error {
	if op.name != "PutObject" && op.name != "UploadPart" || c.h.Get("x-amz-copy-source") != "" ||
		len(c.r.Header["Content-Length"]) > 0 || len(c.r.TransferEncoding) > 0 {
		return nil
	}
	c.w.Header().Set("Connection", "close") // what follows may be the content, and is no request
	return errf("MissingContentLength", "the request does not say how long its body is")
}

// lock refuses what an object is to be locked with: no bucket has object lock.
func (c *call) lock() error {
	const modeName, untilName, holdName = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"
	mode, until, hold := c.headerValue(modeName), c.headerValue(untilName), c.headerValue(holdName)
	switch {
	case mode == "" && until == "" && hold == "":
		return nil
	case mode != "" && until == "":
		return errf("InvalidArgument", "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied.").with("ArgumentName", untilName)
	case mode == "" && until != "":
		return errf("InvalidArgument", "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied.").with("ArgumentName", modeName)
	case mode != "" && mode != "GOVERNANCE" && mode != "COMPLIANCE":
		return errArgument(modeName, mode, "Unknown wormMode directive.")
	case hold != "" && hold != "ON" && hold != "OFF":
		return errArgument(holdName, hold, "Legal Hold must be either of 'ON' or 'OFF'")
	}
	if until != "" {
		t, err := time.Parse(time.RFC3339, until)
		if err != nil {
			return errArgument(untilName, until, "The retain until date must be provided in ISO 8601 format")
		}
		if t.Before(c.s.cfg.Now()) {
			return errArgument(untilName, until, "The retain until date must be in the future!")
		}
	}
	return errf("InvalidRequest", "Bucket is missing ObjectLockConfiguration").with("BucketName", c.bucket)
}

// storageClasses are what clients may ask for. What they get is STANDARD, which does all
// that they do. The others of Amazon S3 (StorageClass of its API) are archives or other
// places.
var (
	storageClasses = []string{"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"}
	otherClasses   = []string{"GLACIER", "GLACIER_IR", "DEEP_ARCHIVE", "OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP"}
)
