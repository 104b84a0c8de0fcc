package s3

import (
	"encoding/xml"
	"net/http"
)

type contents struct {
	Key               string
	VersionId         string `xml:",omitempty"`
	IsLatest          bool   `xml:",omitempty"`
	LastModified      string
	ETag              string
	ChecksumAlgorithm []string `xml:",omitempty"`
	ChecksumType      string   `xml:",omitempty"`
	Size              int64
	StorageClass      string
	Owner             *owner `xml:",omitempty"`
}

type commonPrefix struct{ Prefix string }

// listV1 and the others have the elements that clients expect even if they are empty.
type listV1 struct {
	XMLName        xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name           string
	Prefix         string
	Marker         string
	NextMarker     string `xml:",omitempty"`
	MaxKeys        int
	Delimiter      string `xml:",omitempty"`
	EncodingType   string `xml:",omitempty"`
	IsTruncated    bool
	Contents       []contents
	CommonPrefixes []commonPrefix
}

type listV2 struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	KeyCount              int
	MaxKeys               int
	Delimiter             string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	IsTruncated           bool
	Contents              []contents
	CommonPrefixes        []commonPrefix
}

type versionList struct {
	XMLName             xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListVersionsResult"`
	Name                string
	Prefix              string
	KeyMarker           string
	VersionIdMarker     string
	NextKeyMarker       string `xml:",omitempty"`
	NextVersionIdMarker string `xml:",omitempty"`
	MaxKeys             int
	Delimiter           string `xml:",omitempty"`
	EncodingType        string `xml:",omitempty"`
	IsTruncated         bool
	Version             []contents
	CommonPrefixes      []commonPrefix
}

// coding is how keys are written: as they are, or in percent form.
type coding struct {
	kind string
	text func(string) string
}

func (c *call) encoding() (coding, error) {
	switch v := c.q.Get("encoding-type"); v {
	case "":
		return coding{"", clean}, nil
	case "url":
		return coding{v, escapeKey}, nil
	default:
		return coding{}, errf("InvalidArgument", "encoding-type %q is not known", clean(v))
	}
}

// startListing reads what all forms have in common.
func (c *call) startListing() (q listing, enc coding, err error) {
	if enc, err = c.encoding(); err != nil {
		return q, enc, err
	}
	q = listing{prefix: c.q.Get("prefix"), delim: c.q.Get("delimiter"), safe: enc.kind == ""}
	q.most, err = c.number("max-keys", maxKeys)
	return q, enc, err
}

func (c *call) page(q listing) (page, error) {
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return page{}, err
	}
	return c.s.list(c.ctx, b.Ino, q)
}

// entries are the elements of a page.
func (p *page) entries(enc coding, owner *owner, versions bool) (list []contents, prefixes []commonPrefix) {
	for _, it := range p.items {
		if it.prefix {
			prefixes = append(prefixes, commonPrefix{enc.text(it.key)})
			continue
		}
		e := contents{Key: enc.text(it.key), LastModified: xmlTime(it.object.modified()), ETag: quoteTag(it.object.etag()),
			Size: it.object.size(), StorageClass: "STANDARD"}
		if m := it.object.meta; m != nil {
			for _, s := range m.sums {
				e.ChecksumAlgorithm = append(e.ChecksumAlgorithm, s.algo.String())
				e.ChecksumType = sumType(s)
			}
		}
		e.Owner = owner
		if versions {
			e.VersionId, e.IsLatest = "null", true
		}
		list = append(list, e)
	}
	return list, prefixes
}

// listObjects is ListObjects, and with list-type=2 ListObjectsV2.
func (c *call) listObjects() error {
	switch v := c.q.Get("list-type"); v {
	case "":
		return c.listV1()
	case "2":
		return c.listV2()
	default:
		return errf("InvalidArgument", "list-type %q is not known", clean(v))
	}
}

func (c *call) listV1() error {
	q, enc, err := c.startListing()
	if err != nil {
		return err
	}
	q.after = c.q.Get("marker")
	p, err := c.page(q)
	if err != nil {
		return err
	}
	res := &listV1{Name: c.bucket, Prefix: enc.text(q.prefix), Marker: enc.text(q.after), MaxKeys: q.most,
		Delimiter: enc.text(q.delim), EncodingType: enc.kind, IsTruncated: p.more}
	me := c.owner()
	res.Contents, res.CommonPrefixes = p.entries(enc, &me, false)
	// Amazon S3 has it with a delimiter only: without one, clients go on behind the last key, which it is
	// here, too. But a page that ended early ends behind that, and has perhaps none; and there are clients
	// that know nothing else.
	if p.more {
		res.NextMarker = enc.text(p.next.last)
	}
	c.sendXML(http.StatusOK, res)
	return nil
}

func (c *call) listV2() error {
	q, enc, err := c.startListing()
	if err != nil {
		return err
	}
	given := c.q.Get("continuation-token")
	if c.q.Has("continuation-token") {
		if q.token, err = decodeToken(given); err != nil {
			return err
		}
	} else {
		q.after = c.q.Get("start-after")
	}
	p, err := c.page(q)
	if err != nil {
		return err
	}
	res := &listV2{Name: c.bucket, Prefix: enc.text(q.prefix), StartAfter: enc.text(c.q.Get("start-after")), ContinuationToken: given,
		KeyCount: len(p.items), MaxKeys: q.most, Delimiter: enc.text(q.delim), EncodingType: enc.kind, IsTruncated: p.more}
	var me *owner
	if c.q.Get("fetch-owner") == "true" {
		o := c.owner()
		me = &o
	}
	res.Contents, res.CommonPrefixes = p.entries(enc, me, false)
	if p.more {
		res.NextContinuationToken = p.next.encode()
	}
	c.sendXML(http.StatusOK, res)
	return nil
}

// listVersions is ListObjectVersions: every object is its only version.
func (c *call) listVersions() error {
	q, enc, err := c.startListing()
	if err != nil {
		return err
	}
	q.after = c.q.Get("key-marker")
	if v := c.q.Get("version-id-marker"); v != "" && q.after == "" {
		return errArgument("version-id-marker", v, "A version-id marker cannot be specified without a key marker.")
	}
	p, err := c.page(q)
	if err != nil {
		return err
	}
	res := &versionList{Name: c.bucket, Prefix: enc.text(q.prefix), KeyMarker: enc.text(q.after), VersionIdMarker: clean(c.q.Get("version-id-marker")),
		MaxKeys: q.most, Delimiter: enc.text(q.delim), EncodingType: enc.kind, IsTruncated: p.more}
	me := c.owner()
	res.Version, res.CommonPrefixes = p.entries(enc, &me, true)
	if p.more {
		res.NextKeyMarker = enc.text(p.next.last)
		if !p.next.prefix { // which has no version
			res.NextVersionIdMarker = "null"
		}
	}
	c.sendXML(http.StatusOK, res)
	return nil
}
