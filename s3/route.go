package s3

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"wolfdisk/s3/sig"
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

// subresources are the query parameters that make another operation of a request. One
// that is not handled is never taken for a plain request.
var subresources = []string{
	"accelerate", "acl", "analytics", "annotation", "attributes", "cors", "delete", "encryption", "intelligent-tiering", "inventory", "legal-hold",
	"lifecycle", "location", "logging", "metadataConfiguration", "metadataTable", "metrics", "notification", "object-lock",
	"ownershipControls", "partNumber", "policy", "policyStatus", "publicAccessBlock", "renameObject", "replication", "requestPayment",
	"restore", "retention", "select", "session", "tagging", "torrent", "uploadId", "uploads", "versioning", "versions",
	"website", "abac",
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
		"GET tagging":     none("NoSuchTagSet", "tags"),
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
		return errf(code, "the bucket %q has no %s", c.bucket, what)
	})
}

// serve finds out what is asked for, by whom, and does it.
func (c *call) serve() error {
	if err := c.parse(); err != nil {
		return err
	}
	var err error
	if c.auth, err = c.s.cfg.Auth.Verify(c.r); err != nil {
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
	if op.write && !c.forwarded && c.s.cfg.Elsewhere != nil {
		if answered, err := c.s.cfg.Elsewhere(c.w, c.r, c.auth.Anonymous); answered || err != nil {
			return err
		}
	}
	return op.run(c)
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
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return errf("InvalidURI", "the query cannot be decoded: %v", err)
	}
	c.q = q
	path := strings.TrimPrefix(c.r.URL.Path, "/")
	if bucket := sig.HostBucket(c.r.Host, c.s.cfg.Domains); bucket != "" {
		c.bucket, c.key = bucket, path
	} else {
		c.bucket, c.key, _ = strings.Cut(path, "/")
	}
	return nil
}

func (c *call) operation() (*operation, error) {
	var found []string
	for _, name := range subresources {
		if _, ok := c.q[name]; ok {
			found = append(found, name)
		}
	}
	what := strings.Join(found, " and ")
	if what == "partNumber and uploadId" {
		what = "uploadId"
	}
	if len(found) == 0 && c.r.Method == http.MethodPut && c.key != "" && c.r.Header.Get("x-amz-copy-source") != "" {
		what = "copy"
	}
	method := c.r.Method + " " + what
	switch {
	case c.bucket == "":
		if method == "GET " && c.key == "" {
			return read("ListBuckets", (*call).listBuckets), nil
		}
		if len(found) > 0 {
			break
		}
		return nil, errf("MethodNotAllowed", "%s needs a bucket", c.r.Method)
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
	if v := c.q.Get("versionId"); c.q.Has("versionId") && v != "null" && v != "" {
		return errf("NoSuchVersion", "there is no version %q: objects have one, \"null\"", v)
	}
	if c.key == "" || !op.write {
		if c.r.Header.Get("x-amz-server-side-encryption-customer-algorithm") != "" {
			return errf("NotImplemented", "encryption with the client's keys is not supported")
		}
		return nil
	}
	for name := range c.r.Header {
		n := strings.ToLower(name)
		for _, prefix := range []string{"x-amz-server-side-encryption", "x-amz-copy-source-server-side-encryption", "x-amz-object-lock-", "x-amz-grant-", "x-amz-website-redirect"} {
			if strings.HasPrefix(n, prefix) {
				return errf("NotImplemented", "%s is not supported", n)
			}
		}
	}
	switch acl := c.headerValue("x-amz-acl"); acl {
	case "", "private", "bucket-owner-full-control", "bucket-owner-read":
	default:
		return errf("NotImplemented", "the ACL %q is not supported: access is what the keys allow", acl)
	}
	if class := c.headerValue("x-amz-storage-class"); class != "" && !slices.Contains(storageClasses, class) {
		return errf("InvalidStorageClass", "the storage class %q is not known", class)
	}
	return nil
}

// storageClasses are what clients may ask for. What they get is STANDARD.
var storageClasses = []string{"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"}
