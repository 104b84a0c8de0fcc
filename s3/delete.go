package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"strings"
	"time"

	"wolfdisk/volume"
)

// deleteObject is DeleteObject. What is not there is deleted already.
func (c *call) deleteObject() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	cond, err := c.condition("", false)
	if err != nil {
		return err
	}
	touched, err := c.s.remove(c.ctx, b.Ino, c.key, cond)
	if err != nil {
		return err
	}
	if touched != 0 {
		if err := c.s.sync(c.ctx, touched); err != nil {
			return err
		}
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// remove removes an object, and the directories that were made for it. It returns a
// directory whose sync makes it durable, 0 if nothing had to change.
func (s *Server) remove(ctx context.Context, bucket volume.Ino, key string, cond *condition) (volume.Ino, error) {
	for range patient {
		p, err := s.find(ctx, bucket, key)
		if err != nil {
			return 0, err
		}
		if !p.isObject() {
			if p.attr.Ino == 0 {
				// A daemon that was killed after it had removed the object has left its
				// directories, and this may be the client that missed the answer.
				s.prune(ctx, p.above, p.dirs)
			}
			if cond.hasMatch {
				return 0, cond.check(nil)
			}
			return 0, nil // of a size and a time, too, it is said that what is not there is deleted
		}
		o, err := s.look(ctx, p.attr)
		if err == nil && !cond.empty() {
			err = cond.check(o)
		}
		if err == nil {
			if p.isDir {
				err = s.removeDirectory(ctx, &p, o)
			} else {
				err = s.removeFile(ctx, &p, o)
			}
		}
		if err == nil {
			s.prune(ctx, p.above, p.dirs)
			return p.above[0], nil
		}
		if err != errAgain && !gone(err) {
			return 0, err
		}
	}
	return 0, errf("OperationAborted", "%q is being changed too fast", clean(key))
}

// removeFile unlinks the very file that was looked at, as it was then.
func (s *Server) removeFile(ctx context.Context, p *place, o *object) error {
	_, err := s.do(ctx, &volume.Request{Kind: volume.OpUnlink, Parent: p.parent, Name: p.name, Match: volume.Match{Version: o.attr.Version}})
	if kind := volume.KindOf(err); err != nil && (kind == volume.Precondition || kind == volume.IsDir) {
		return errAgain
	}
	return err
}

// removeDirectory removes an empty directory that was named with its slash. One with
// something in it stays, but is no object of its own any more.
func (s *Server) removeDirectory(ctx context.Context, p *place, o *object) error {
	_, err := s.do(ctx, &volume.Request{Kind: volume.OpRmdir, Parent: p.parent, Name: p.name, Match: volume.Match{Version: o.attr.Version}})
	switch kind := volume.KindOf(err); {
	case err == nil:
		return nil
	case kind == volume.Precondition:
		return errAgain
	case kind != volume.NotEmpty:
		return err
	}
	if o.meta == nil || o.meta.kind != kindExplicit {
		return nil
	}
	if o.meta.made {
		return s.setMeta(ctx, o, &meta{kind: kindImplicit, made: true})
	}
	_, err = s.do(ctx, &volume.Request{Kind: volume.OpRemoveXattr, Ino: o.attr.Ino, Name: volume.XattrObject, Match: volume.Match{Version: o.attr.Version}})
	if kind := volume.KindOf(err); err != nil && (kind == volume.Precondition || kind == volume.NoXattr) {
		return errAgain
	}
	return err
}

// maxDelete is S3's limit of keys in one DeleteObjects; maxDeleteBody holds them all, at
// their longest and escaped, bytes.
const (
	maxDelete     = 1000
	maxDeleteBody = 2 << 20
)

type deleteRequest struct {
	XMLName xml.Name `xml:"Delete"`
	Quiet   bool
	Object  []deleteEntry
}

// deleteEntry is a key, and under which conditions it is to be deleted; they are those of
// the headers of DeleteObject.
type deleteEntry struct {
	Key              string
	VersionId        string
	ETag             string
	Size             *int64 // bytes
	LastModifiedTime string
}

type deletedKey struct {
	Key       string
	VersionId string `xml:",omitempty"`
}

type deleteError struct {
	Key     string
	Code    string
	Message string
}

type deleteResult struct {
	XMLName xml.Name      `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
	Deleted []deletedKey  `xml:"Deleted"`
	Error   []deleteError `xml:"Error"`
}

// deleteObjects is DeleteObjects.
func (c *call) deleteObjects() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	var req deleteRequest
	if err := c.readXML(maxDeleteBody, &req); err != nil {
		return err
	}
	if n := len(req.Object); n == 0 || n > maxDelete {
		return errf("MalformedXML", "the document names %d keys; 1 to %d are allowed", n, maxDelete)
	}
	var res deleteResult
	var touched volume.Ino
	for _, o := range req.Object {
		at, err := c.deleteOne(b.Ino, &o)
		if at != 0 {
			touched = at
		}
		var f *fault
		if err != nil && !errors.As(err, &f) {
			f = faultOf(err)
		}
		switch {
		case f != nil:
			res.Error = append(res.Error, deleteError{clean(o.Key), f.code, clean(f.message)})
		case !req.Quiet:
			res.Deleted = append(res.Deleted, deletedKey{clean(o.Key), o.VersionId})
		}
	}
	if touched != 0 {
		if err := c.s.sync(c.ctx, touched); err != nil {
			return err
		}
	}
	c.sendXML(http.StatusOK, &res)
	return nil
}

func (c *call) deleteOne(bucket volume.Ino, o *deleteEntry) (volume.Ino, error) {
	if err := checkKey(o.Key); err != nil {
		return 0, err
	}
	if o.VersionId != "" && o.VersionId != "null" {
		return 0, errf("NoSuchVersion", "there is no version %q: objects have one, \"null\"", clean(o.VersionId))
	}
	cond, err := o.condition()
	if err != nil {
		return 0, err
	}
	return c.s.remove(c.ctx, bucket, o.Key, cond)
}

func (o *deleteEntry) condition() (*condition, error) {
	cond := &condition{size: -1}
	if o.ETag != "" {
		cond.hasMatch, cond.ifMatch = true, tags(o.ETag)
	}
	if o.Size != nil {
		if *o.Size < 0 {
			return nil, errf("InvalidArgument", "Size is %d", *o.Size)
		}
		cond.size = *o.Size
	}
	if v := strings.TrimSpace(o.LastModifiedTime); v != "" {
		// By S3's model the form is that of headers; its documentation shows that of documents.
		t, err := http.ParseTime(v)
		if err != nil {
			t, err = time.Parse(time.RFC3339, v)
		}
		if err != nil {
			return nil, errf("InvalidArgument", "LastModifiedTime is %q", clean(v))
		}
		cond.lastModified = t
	}
	return cond, nil
}
