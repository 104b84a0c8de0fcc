package s3

import (
	"encoding/xml"
	"net/http"
	"strings"
)

type attributesChecksum struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
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
	var asked []string
	for _, v := range c.r.Header.Values("x-amz-object-attributes") {
		for _, name := range strings.Split(v, ",") {
			asked = append(asked, strings.TrimSpace(name))
		}
	}
	if len(asked) == 0 {
		return errf("InvalidArgument", "x-amz-object-attributes names nothing")
	}
	_, o, err := c.s.get(c.ctx, c.bucket, c.key)
	if err != nil {
		return err
	}
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
		default:
			return errf("InvalidArgument", "the attribute %q is not known", clean(name))
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
	var p partEntry
	s := o.meta.sums[0]
	p.setSum(s.algo, s.value)
	return &attributesChecksum{p.ChecksumCRC32, p.ChecksumCRC32C, p.ChecksumCRC64NVME, p.ChecksumSHA1, p.ChecksumSHA256, sumType(s)}
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
			res.IsTruncated = true
			break
		}
		_, size, _ := o.meta.partRange(n)
		p := partEntry{PartNumber: n, Size: size}
		p.setSum(a, sums[n-1])
		res.Part = append(res.Part, p)
		res.NextPartNumberMarker = n
	}
	return res, nil
}
