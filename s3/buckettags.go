package s3

import (
	"net/http"

	"wolfdisk/volume"
)

// maxBucketTags is S3's limit of tags of one bucket.
const maxBucketTags = 50

func bucketTags(tags []tagElement) ([]pair, error) {
	list := pairs(tags)
	return list, checkTags(list, maxBucketTags, "Bucket tag count cannot be greater than %d")
}

// getBucketTagging is GetBucketTagging.
func (c *call) getBucketTagging() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	m, err := c.s.readMeta(c.ctx, b.Ino)
	if err != nil {
		return err
	}
	if m == nil || len(m.tags) == 0 {
		return errf("NoSuchTagSet", "the bucket %q has no tags", c.bucket).with("BucketName", c.bucket)
	}
	c.sendTags(m.tags)
	return nil
}

// putBucketTagging is PutBucketTagging.
func (c *call) putBucketTagging() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	tags, err := c.readTags()
	if err != nil {
		return err
	}
	list, err := bucketTags(tags)
	if err != nil {
		return err
	}
	return c.setBucketTags(b.Ino, list)
}

// deleteBucketTagging is DeleteBucketTagging.
func (c *call) deleteBucketTagging() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	return c.setBucketTags(b.Ino, nil)
}

// setBucketTags notes tags in the attribute of the bucket's directory, which no mount
// sees, or removes it.
func (c *call) setBucketTags(bucket volume.Ino, list []pair) error {
	m := &meta{kind: kindBucket, tags: list}
	req := &volume.Request{Kind: volume.OpSetXattr, Ino: bucket, Name: volume.XattrObject, Data: m.encode()}
	switch {
	case len(list) == 0:
		req = &volume.Request{Kind: volume.OpRemoveXattr, Ino: bucket, Name: volume.XattrObject}
	case len(req.Data) > volume.MaxXattrLen:
		return errf("MetadataTooLarge", "the tags of the bucket have %d bytes; %d are allowed", len(req.Data), volume.MaxXattrLen)
	}
	_, err := c.s.do(c.ctx, req)
	switch kind := volume.KindOf(err); {
	case err == nil, kind == volume.NoXattr:
	case kind == volume.Stale:
		return errBucket(c.bucket)
	default:
		return err
	}
	if err := c.s.sync(c.ctx, bucket); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
