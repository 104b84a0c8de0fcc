package s3

import (
	"encoding/xml"
	"net/http"
)

type tagElement struct {
	Key   string
	Value string
}

type tagDocument struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ Tagging"`
	// A pointer, so that an empty set is written, too.
	TagSet *tagSet `xml:"TagSet"`
}

type tagSet struct {
	Tag []tagElement `xml:"Tag"`
}

// getTagging is GetObjectTagging.
func (c *call) getTagging() error {
	_, o, err := c.s.get(c.ctx, c.bucket, c.key)
	if err != nil {
		return err
	}
	var list []pair
	if o.meta != nil {
		list = o.meta.tags
	}
	c.sendTags(list)
	return nil
}

func (c *call) sendTags(list []pair) {
	doc := &tagDocument{TagSet: &tagSet{}}
	for _, t := range list {
		doc.TagSet.Tag = append(doc.TagSet.Tag, tagElement{t.name, t.value})
	}
	c.sendXML(http.StatusOK, doc)
}

type tagRequest struct {
	XMLName xml.Name `xml:"Tagging"`
	TagSet  *tagSet
}

// readTags reads a document of tags. Its set may be empty, but has to be there.
func (c *call) readTags() ([]tagElement, error) {
	var doc tagRequest
	if err := c.readXML(maxSmallXML, &doc); err != nil {
		return nil, err
	}
	if doc.TagSet == nil {
		return nil, errf("MalformedXML", "the document has no TagSet")
	}
	return doc.TagSet.Tag, nil
}

func pairs(tags []tagElement) (list []pair) {
	for _, t := range tags {
		list = append(list, pair{t.Key, t.Value})
	}
	return list
}

// putTagging is PutObjectTagging.
func (c *call) putTagging() error {
	tags, err := c.readTags()
	if err != nil {
		return err
	}
	list := pairs(tags)
	if err := checkTags(list, maxTags, "Object tags cannot be greater than %d"); err != nil {
		return err
	}
	if err := c.setTags(list); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// deleteTagging is DeleteObjectTagging.
func (c *call) deleteTagging() error {
	if err := c.setTags(nil); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// setTags replaces the tags of an object, and nothing else of it: a file that came
// otherwise keeps the ETag that it had.
func (c *call) setTags(list []pair) error {
	for range patient {
		p, o, err := c.s.get(c.ctx, c.bucket, c.key)
		if err != nil {
			return err
		}
		if o.meta == nil && len(list) == 0 {
			return nil
		}
		m := &meta{kind: kindTagged, etag: o.etag(), modified: o.modified()}
		if p.isDir {
			m.kind = kindExplicit
		}
		if o.meta != nil {
			old := *o.meta
			m = &old
		}
		m.tags = list
		if err := c.s.setMeta(c.ctx, o, m); err == errAgain {
			continue
		} else if err != nil {
			return err
		}
		return c.s.sync(c.ctx, o.attr.Ino)
	}
	return errf("OperationAborted", "%q is being changed too fast", clean(c.key))
}
