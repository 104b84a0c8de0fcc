package s3

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strings"
)

type attributesChecksum struct {
	sumElements
	ChecksumType string `xml:",omitempty"`
}

type attributesParts struct {
	PartsCount           int
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	Part                 []partEntry
}

type attributes struct {
	XMLName      xml.Name            `xml:"http://s3.amazonaws.com/doc/2006-03-01/ GetObjectAttributesResponse"`
	ETag         string              `xml:",omitempty"`
	Checksum     *attributesChecksum `xml:",omitempty"`
	ObjectParts  *attributesParts    `xml:",omitempty"`
	StorageClass string              `xml:",omitempty"`
	ObjectSize   *int64              `xml:",omitempty"`
}

// getAttributes is GetObjectAttributes.
func (c *call) getAttributes() error {
	if _, err := c.s.bucket(c.ctx, c.bucket); err != nil {
		return err
	}
	var asked []string
	for _, v := range c.h.Values("x-amz-object-attributes") {
		for _, name := range strings.Split(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				asked = append(asked, name)
			}
		}
	}
	if len(asked) == 0 {
		return errf("InvalidRequest", "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	for _, name := range asked {
		if !slices.Contains([]string{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}, name) {
			return errArgument("x-amz-object-attributes", name, "Invalid attribute name specified.")
		}
	}
	o, err := c.s.open(c.ctx, c.bucket, c.key) // open, as the parts' checksums are read one after another
	if err != nil {
		return err
	}
	defer c.s.closeObject(o)
	res := &attributes{}
	for _, name := range asked {
		switch name {
		case "ETag":
			res.ETag = o.etag() // without quotes, as S3
		case "Checksum":
			res.Checksum = checksumOf(o)
		case "ObjectParts":
			if res.ObjectParts, err = c.partsOf(o); err != nil {
				return err
			}
		case "StorageClass":
			res.StorageClass = "STANDARD"
		case "ObjectSize":
			n := o.size()
			res.ObjectSize = &n
		}
	}
	c.w.Header().Set("Last-Modified", httpTime(o.modified()))
	c.sendXML(http.StatusOK, res)
	return nil
}

func checksumOf(o *object) *attributesChecksum {
	if o.meta == nil || len(o.meta.sums) == 0 {
		return nil
	}
	s := o.meta.sums[0]
	res := &attributesChecksum{ChecksumType: sumType(s)}
	res.set(s.algo, s.value)
	return res
}

// partsOf lists the parts of an object that came in parts; singly only if they have
// checksums, as S3.
func (c *call) partsOf(o *object) (*attributesParts, error) {
	if o.meta == nil || len(o.meta.parts) == 0 {
		return nil, nil
	}
	most, after := maxKeys, 0
	if v := c.headerValue("x-amz-max-parts"); v != "" {
		n, err := parseNumber("x-amz-max-parts", v)
		if err != nil {
			return nil, err
		}
		most = min(most, n)
	}
	if v := c.headerValue("x-amz-part-number-marker"); v != "" {
		n, err := parseNumber("x-amz-part-number-marker", v)
		if err != nil {
			return nil, err
		}
		after = n
	}
	count := o.meta.partCount()
	res := &attributesParts{PartsCount: count, PartNumberMarker: after, MaxParts: most}
	a, sums, err := c.s.readPartSums(c.ctx, o.attr.Ino, count)
	if err != nil || sums == nil {
		return res, err
	}
	for n := after + 1; n <= count; n++ {
		if len(res.Part) == most {
			res.IsTruncated = most > 0 // with nothing to go on from, a client would ask for ever
			break
		}
		_, size, _ := o.meta.partRange(n)
		p := partEntry{PartNumber: n, Size: size}
		p.set(a, sums[n-1])
		res.Part = append(res.Part, p)
		res.NextPartNumberMarker = n
	}
	return res, nil
}
