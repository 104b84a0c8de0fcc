package s3

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strings"

	"wolfdisk/volume"
)

const xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"

// owner is who owns everything: access is a matter of keys.
type owner struct {
	ID          string
	DisplayName string
}

var theOwner = owner{ID: "wolfdisk", DisplayName: "wolfdisk"}

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
	most, err := c.number("max-buckets", maxBuckets)
	if err != nil {
		return err
	}
	from := prefix
	if token := c.q.Get("continuation-token"); token != "" {
		t, err := decodeToken(token)
		if err != nil {
			return err
		}
		from = max(from, t.last+"\x00")
	}
	res := &bucketList{Owner: theOwner, Prefix: clean(prefix)}
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
				res.ContinuationToken = token{last: names[i-1].Name}.encode()
			}
			break
		}
		a, err := c.s.vol.GetAttr(c.ctx, e.Ino)
		if err != nil {
			continue // removed meanwhile
		}
		res.Buckets = append(res.Buckets, bucketEntry{Name: e.Name, CreationDate: xmlTime(created(&a))})
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
}

// createBucket is CreateBucket. One's own bucket can be created again.
func (c *call) createBucket() error {
	if c.headerValue("x-amz-bucket-object-lock-enabled") == "true" {
		return errf("NotImplemented", "object lock is not supported")
	}
	body, err := c.body(maxSmallXML)
	if err != nil {
		return err
	}
	if len(strings.TrimSpace(string(body))) > 0 {
		var req createBucketRequest
		if err := xml.Unmarshal(body, &req); err != nil {
			return errf("MalformedXML", "the document cannot be read: %v", err)
		}
		if l := req.LocationConstraint; l != "" && l != c.s.cfg.Region && c.s.cfg.Region != "us-east-1" {
			return errf("IllegalLocationConstraintException", "buckets are made in the region %q, not in %q", c.s.cfg.Region, clean(l))
		}
	}
	if err := checkNewBucket(c.bucket); err != nil {
		return err
	}
	if hiddenBucket(c.bucket) {
		return errf("InvalidBucketName", "the bucket name %q is reserved", c.bucket)
	}
	if path, ok := c.s.cfg.Buckets[c.bucket]; ok {
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
	res, err := c.s.do(c.ctx, &volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: c.bucket, Mode: volume.ModeDir | c.s.cfg.DirMode})
	if volume.KindOf(err) == volume.Exists && err != nil {
		if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
			return errf("BucketAlreadyExists", "%q is the name of something else than a bucket", c.bucket)
		}
		if c.s.cfg.Region != "us-east-1" {
			return errf("BucketAlreadyOwnedByYou", "the bucket %q is there already", c.bucket)
		}
	} else if err != nil {
		return err
	} else if err := c.s.sync(c.ctx, res.Attr.Ino); err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// deleteBucket is DeleteBucket.
func (c *call) deleteBucket() error {
	if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
		return err
	}
	if _, ok := c.s.cfg.Buckets[c.bucket]; ok {
		return errf("AccessDenied", "the bucket %q is part of the gateway's configuration", c.bucket)
	}
	_, err := c.s.do(c.ctx, &volume.Request{Kind: volume.OpRmdir, Parent: volume.RootIno, Name: c.bucket})
	switch volume.KindOf(err) {
	case volume.NotEmpty:
		return errf("BucketNotEmpty", "the bucket %q has objects or directories in it", c.bucket)
	case volume.NotFound:
		return errf("NoSuchBucket", "there is no bucket %q", c.bucket)
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
