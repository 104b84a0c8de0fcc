package s3

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"wolfdisk/volume"
)

const xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"

// owner is who owns a thing: whoever asks, since access is a matter of keys.
type owner struct {
	ID          string
	DisplayName string
}

// everybody is the owner where there are no keys; it is one's own name under any key.
const everybody = "wolfdisk"

func (c *call) owner() owner {
	id := everybody
	if c.auth.Key.Access != "" {
		id = c.auth.Key.Access
	}
	return owner{ID: id, DisplayName: id}
}

// expectedOwner holds a request to the owner that it expects of a bucket.
func (c *call) expectedOwner() error {
	for _, name := range []string{"x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"} {
		if v := c.headerValue(name); v != "" && v != c.owner().ID && v != everybody {
			return errf("AccessDenied", "%s is %q, and the bucket's owner is %q", name, clean(v), c.owner().ID)
		}
	}
	return nil
}

type bucketEntry struct {
	Name         string
	CreationDate string
	BucketRegion string `xml:",omitempty"`
}

type bucketList struct {
	XMLName           xml.Name      `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
	Owner             owner         `xml:"Owner"`
	Buckets           []bucketEntry `xml:"Buckets>Bucket"`
	Prefix            string        `xml:",omitempty"`
	ContinuationToken string        `xml:",omitempty"`
}

// maxBuckets is S3's limit of buckets in one answer.
const maxBuckets = 10000

// listBuckets is ListBuckets: the directories at the root that are not hidden and that
// the key is good for.
func (c *call) listBuckets() error {
	prefix := c.q.Get("prefix")
	most := maxBuckets
	if v := c.q.Get("max-buckets"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxBuckets {
			return errArgument("max-buckets", v, "Argument max-buckets must be an integer between 1 and %d.", maxBuckets)
		}
		most = n
	}
	from := prefix
	if last := c.q.Get("continuation-token"); last != "" { // the last bucket of the page before, as it is
		from = max(from, last+"\x00")
	}
	res := &bucketList{Owner: c.owner(), Prefix: clean(prefix)}
	if region := c.q.Get("bucket-region"); region != "" && region != c.s.cfg.Region {
		c.sendXML(http.StatusOK, res) // none is anywhere else
		return nil
	}
	names, err := c.mappedBuckets(prefix, from)
	if err != nil {
		return err
	}
	fixed := len(names)
	err = c.s.vol.ReadNames(c.ctx, volume.RootIno, from, func(e volume.DirEntry) bool {
		if !strings.HasPrefix(e.Name, prefix) {
			return false
		}
		if _, hides := c.s.cfg.Buckets[e.Name]; !hides && e.Type == volume.ModeDir && !hiddenBucket(e.Name) && xmlSafe(e.Name) && c.mayUse(e.Name) == nil {
			names = append(names, e)
		}
		return len(names)-fixed <= most
	})
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b volume.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	for i, e := range names {
		if i == most {
			if i > 0 {
				res.ContinuationToken = names[i-1].Name
			}
			break
		}
		a, err := c.s.vol.GetAttr(c.ctx, e.Ino)
		if err != nil {
			continue // removed meanwhile
		}
		res.Buckets = append(res.Buckets, bucketEntry{Name: e.Name, CreationDate: xmlTime(created(&a)), BucketRegion: c.s.cfg.Region})
	}
	c.sendXML(http.StatusOK, res)
	return nil
}

// created is when a bucket was made; of a directory that was there before the volume, as
// far as it is known.
func created(a *volume.Attr) volume.Time {
	if a.Btime != (volume.Time{}) {
		return a.Btime
	}
	return a.Ctime
}

type createBucketRequest struct {
	XMLName            xml.Name `xml:"CreateBucketConfiguration"`
	LocationConstraint string
	Tags               []tagElement `xml:"Tags>Tag"`
}

// createBucket is CreateBucket. One's own bucket can be created again.
func (c *call) createBucket() error {
	if strings.EqualFold(c.headerValue("x-amz-bucket-object-lock-enabled"), "true") {
		return errf("NotImplemented", "object lock is not supported")
	}
	if v := c.headerValue("x-amz-bucket-namespace"); v != "" && v != "global" {
		return errf("NotImplemented", "the namespace %q is not supported", clean(v))
	}
	body, err := c.body(maxSmallXML)
	if err != nil {
		return err
	}
	if err := c.bucketRights(); err != nil {
		return err
	}
	var req createBucketRequest
	if len(strings.TrimSpace(string(body))) > 0 {
		if err := xml.Unmarshal(body, &req); err != nil {
			return errf("MalformedXML", "the document cannot be read: %v", err)
		}
		if l := req.LocationConstraint; l != "" && l != c.s.cfg.Region && c.s.cfg.Region != "us-east-1" {
			return errf("InvalidLocationConstraint", "buckets are made in the region %q", c.s.cfg.Region).with("LocationConstraint", l)
		}
	}
	if err := checkNewBucket(c.bucket); err != nil {
		return err
	}
	if hiddenBucket(c.bucket) {
		return errf("InvalidBucketName", "the bucket name %q is reserved", c.bucket)
	}
	list, err := bucketTags(req.Tags)
	if err != nil {
		return err
	}
	if path, ok := c.s.cfg.Buckets[c.bucket]; ok {
		if len(list) > 0 {
			return errf("NotImplemented", "bucket %q is a directory named in the configuration, which is made without tags", c.bucket)
		}
		a, err := c.s.mapped(c.ctx, path, true)
		if err == nil {
			err = c.s.sync(c.ctx, a.Ino)
		}
		if err != nil {
			return err
		}
		c.w.Header().Set("Location", "/"+c.bucket)
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	op := &volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: c.bucket, Mode: volume.ModeDir | c.s.cfg.DirMode}
	if len(list) > 0 {
		m := &meta{kind: kindBucket, tags: list}
		op.Xattrs = []volume.Xattr{{Name: volume.XattrObject, Value: m.encode()}}
	}
	res, err := c.s.do(c.ctx, op)
	if volume.KindOf(err) == volume.Exists && err != nil {
		if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
			return errf("BucketAlreadyExists", "%q is the name of something else than a bucket", c.bucket)
		}
		if c.s.cfg.Region != "us-east-1" {
			return errf("BucketAlreadyOwnedByYou", "the bucket %q is there already", c.bucket).with("BucketName", c.bucket)
		}
	} else if err != nil {
		return err
	} else if err := c.s.sync(c.ctx, res.Attr.Ino); err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	c.w.Header().Set("x-amz-bucket-arn", "arn:aws:s3:::"+c.bucket)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// bucketRights refuses what a new bucket cannot have: owners of objects, and rights of
// others.
func (c *call) bucketRights() error {
	ownership := c.headerValue("x-amz-object-ownership")
	switch ownership {
	case "", "BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter":
	default:
		return errf("InvalidArgument", "Invalid x-amz-object-ownership header: %s", clean(ownership)).with("ArgumentName", "x-amz-object-ownership")
	}
	grants := c.grants()
	switch acl := c.headerValue("x-amz-acl"); {
	case (acl == "" || acl == "private") && !grants:
		return nil
	case ownership == "BucketOwnerEnforced":
		return errf("InvalidBucketAclWithObjectOwnership", "the ACL %q gives others a right", clean(acl))
	case grants:
		return errGrants()
	default:
		return errACL(acl)
	}
}

// deleteBucket is DeleteBucket.
func (c *call) deleteBucket() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	if _, ok := c.s.cfg.Buckets[c.bucket]; ok {
		return errf("AccessDenied", "the bucket %q is part of the gateway's configuration", c.bucket)
	}
	remove := func() error {
		_, err := c.s.do(c.ctx, &volume.Request{Kind: volume.OpRmdir, Parent: volume.RootIno, Name: c.bucket})
		return err
	}
	err = remove()
	if volume.KindOf(err) == volume.NotEmpty && err != nil && c.s.clear(c.ctx, b.Ino) {
		err = remove()
	}
	switch volume.KindOf(err) {
	case volume.NotEmpty:
		return errf("BucketNotEmpty", "the bucket %q has objects or directories in it", c.bucket).with("BucketName", c.bucket)
	case volume.NotFound:
		return errBucket(c.bucket)
	}
	if err != nil {
		return err
	}
	if err := c.s.sync(c.ctx, volume.RootIno); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) headBucket() error {
	if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
		return err
	}
	c.w.Header().Set("x-amz-bucket-region", c.s.cfg.Region)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) getLocation() error {
	if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
		return err
	}
	region := c.s.cfg.Region
	if region == "us-east-1" {
		region = "" // as S3 does
	}
	c.sendXML(http.StatusOK, &struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Region  string   `xml:",chardata"`
	}{Region: region})
	return nil
}

// getVersioning answers that there is none.
func (c *call) getVersioning() error {
	if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
		return err
	}
	c.sendXML(http.StatusOK, &struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ VersioningConfiguration"`
	}{})
	return nil
}
