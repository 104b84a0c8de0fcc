package s3

import (
	"context"
	"encoding/hex"
	"net/http"

	"wolfdisk/volume"
)

// received is what came of a body.
type received struct {
	size int64
	md5  []byte // nil if ETags are opaque
	sums []sum
}

// tooLong refuses a body that is longer than S3 takes in one request.
func (c *call) tooLong() error {
	if c.auth.Length > maxPut {
		return errf("EntityTooLarge", "the body has %d bytes; %d are allowed in one request", c.auth.Length, int64(maxPut))
	}
	return nil
}

// receive stores the request's body through a sink, and verifies all that the client said
// of it.
func (c *call) receive(off int64, asked algo, to sink) (received, error) {
	var rec received
	err := c.auth.Also(c.s.algorithms(asked)...)
	if err == nil {
		rec.size, err = c.s.pour(c.auth.Body, nil, off, to)
	}
	if err != nil {
		return rec, err
	}
	if c.auth.Length >= 0 && rec.size != c.auth.Length {
		return rec, errf("IncompleteBody", "%d of %d bytes came", rec.size, c.auth.Length)
	}
	rec.md5, rec.sums = c.auth.Sum("MD5"), sums(c.auth, c.auth.Checksums(), asked)
	return rec, nil
}

// etagOf is the ETag of a content that came whole.
func (s *Server) etagOf(rec *received, ino volume.Ino) string {
	if s.cfg.OpaqueETags {
		return syntheticTag(&volume.Attr{Ino: ino})
	}
	return hex.EncodeToString(rec.md5)
}

// putObject is PutObject.
func (c *call) putObject() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err == nil {
		err = c.tooLong()
	}
	if err != nil {
		return err
	}
	m, err := c.newMeta()
	if err != nil {
		return err
	}
	cond, err := c.condition("", false)
	if err != nil {
		return err
	}
	extra, err := c.askedAlgo()
	if err != nil {
		return err
	}
	p, err := c.s.find(c.ctx, b.Ino, c.key)
	if err != nil {
		return err
	}
	if p.blocked != "" {
		return errParent([]string{p.blocked})
	}
	if p.isDir {
		return c.putDirectory(b.Ino, m, cond)
	}
	if p.attr.IsDir() {
		return errIsDir(c.key)
	}
	if err := c.early(&p, cond); err != nil {
		return err
	}
	st, err := c.s.stage(c.ctx, p.above...)
	if err != nil {
		return err
	}
	defer st.drop(c.ctx)
	rec, err := c.receive(0, extra, c.s.into(c.ctx, st.ino))
	if err != nil {
		return err
	}
	m.etag, m.sums = c.s.etagOf(&rec, st.ino), rec.sums
	if err := c.s.commit(c.ctx, b.Ino, c.key, st.ino, m, nil, cond); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("ETag", quoteTag(m.etag))
	h.Set("x-amz-object-size", itoa(rec.size))
	sendSums(h, m.sums, 0)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// early looks at a condition before the body comes, to spare it. What counts is the
// look at the end.
func (c *call) early(p *place, cond *condition) error {
	if cond.empty() {
		return nil
	}
	if !p.isObject() {
		return cond.check(nil)
	}
	o, err := c.s.look(c.ctx, p.attr)
	if volume.KindOf(err) == volume.Stale && err != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return cond.check(o)
}

// commit publishes a staged inode as an object, and makes it durable.
func (s *Server) commit(ctx context.Context, bucket volume.Ino, key string, ino volume.Ino, m *meta, more []volume.Xattr, cond *condition) error {
	xattrs := append([]volume.Xattr{{Name: volume.XattrObject, Value: m.encode()}}, more...)
	if len(xattrs[0].Value) > volume.MaxXattrLen {
		return errf("MetadataTooLarge", "what is to be known of the object has %d bytes; %d are allowed", len(xattrs[0].Value), volume.MaxXattrLen)
	}
	if _, err := s.publish(ctx, bucket, key, ino, xattrs, cond); err != nil {
		return err
	}
	return s.sync(ctx, ino)
}

// sync makes what was done durable, through every op so far. It is not given up when the
// client goes: others may rely on it.
func (s *Server) sync(ctx context.Context, ino volume.Ino) error {
	err := s.vol.Sync(context.WithoutCancel(ctx), ino, true)
	if volume.KindOf(err) == volume.Stale && err != nil {
		return s.vol.Sync(context.WithoutCancel(ctx), volume.RootIno, true) // replaced already
	}
	return err
}

// putDirectory is PutObject of "name/": an empty object, which is a directory.
func (c *call) putDirectory(bucket volume.Ino, m *meta, cond *condition) error {
	if c.auth.Length > 0 {
		return errf("DirectoryObjectContainsData", "%q ends in a slash, so it is a directory and can have no content", clean(c.key))
	}
	asked, err := c.askedAlgo()
	if err != nil {
		return err
	}
	rec, err := c.receive(0, asked, func([]byte, int64) error {
		return errf("DirectoryObjectContainsData", "%q ends in a slash, so it is a directory and can have no content", clean(c.key))
	})
	if err != nil {
		return err
	}
	m.sums = rec.sums
	if err := c.placeDirectory(bucket, m, cond); err != nil {
		return err
	}
	c.w.Header().Set("ETag", quoteTag(emptyMD5))
	c.w.Header().Set("x-amz-object-size", "0")
	sendSums(c.w.Header(), m.sums, 0)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// placeDirectory makes a directory, or marks the one that is there, as an object.
func (c *call) placeDirectory(bucket volume.Ino, m *meta, cond *condition) error {
	m.kind, m.etag = kindExplicit, emptyMD5
	dirs, name, _ := splitKey(c.key)
	var above []volume.Ino
	for range patient {
		var parent volume.Ino
		var err error
		parent, above, err = c.s.mkdirs(c.ctx, bucket, dirs)
		if err == nil {
			err = c.putDirectoryAt(parent, name, m, cond)
		}
		if gone(err) || err == errAgain {
			continue
		}
		if err != nil {
			c.s.prune(c.ctx, above, dirs)
			return err
		}
		return c.s.sync(c.ctx, parent)
	}
	c.s.prune(c.ctx, above, dirs)
	return errf("ConditionalRequestConflict", "%q is being changed too fast", clean(c.key))
}

func (c *call) putDirectoryAt(parent volume.Ino, name string, m *meta, cond *condition) error {
	a, err := c.s.vol.Lookup(c.ctx, parent, name)
	if volume.KindOf(err) == volume.NotFound && err != nil {
		if err := cond.check(nil); err != nil {
			return err
		}
		m.made = true
		_, err = c.s.mkdir(c.ctx, parent, name, m)
		if volume.KindOf(err) == volume.Exists && err != nil {
			err = errAgain
		}
		return err
	}
	if err != nil {
		return err
	}
	if !a.IsDir() {
		return errf("ObjectParentIsFile", "%q is an object, so it cannot be a directory", clean(name))
	}
	o, err := c.s.look(c.ctx, a)
	if err != nil {
		return err
	}
	explicit := o
	if o.meta == nil || o.meta.kind != kindExplicit {
		explicit = nil
	}
	if err := cond.check(explicit); err != nil {
		return err
	}
	m.made = o.meta != nil && o.meta.made
	return c.s.setMeta(c.ctx, o, m)
}

// setMeta replaces the metadata of an object, if nothing has changed it since it was
// looked at: errAgain.
func (s *Server) setMeta(ctx context.Context, o *object, m *meta) error {
	_, err := s.do(ctx, &volume.Request{Kind: volume.OpSetXattr, Ino: o.attr.Ino, Name: volume.XattrObject,
		Data: m.encode(), Match: volume.Match{Version: o.attr.Version}})
	if kind := volume.KindOf(err); err != nil && (kind == volume.Precondition || kind == volume.Stale) {
		return errAgain
	}
	return err
}
