package s3

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"net/http"
	"slices"
	"strings"

	"wolfdisk/volume"
)

type partEntry struct {
	PartNumber   int
	LastModified string `xml:",omitempty"`
	ETag         string `xml:",omitempty"`
	Size         int64
	sumElements
}

type partList struct {
	XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
	Bucket               string
	Key                  string
	UploadId             string
	Initiator            owner
	Owner                owner
	StorageClass         string
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	ChecksumAlgorithm    string `xml:",omitempty"`
	ChecksumType         string `xml:",omitempty"`
	Part                 []partEntry
}

// listParts is ListParts.
func (c *call) listParts() error {
	u, err := c.findUpload()
	if err != nil {
		return err
	}
	if err := c.s.stillOpen(c.ctx, u); err != nil {
		return err
	}
	most, err := c.number("max-parts", maxKeys)
	if err != nil {
		return err
	}
	after, err := c.number("part-number-marker", maxParts)
	if err != nil {
		return err
	}
	if !c.q.Has("part-number-marker") || c.q.Get("part-number-marker") == "" {
		after = 0
	}
	res := &partList{Bucket: c.bucket, Key: clean(c.key), UploadId: u.id(), Initiator: c.owner(), Owner: c.owner(), StorageClass: "STANDARD",
		PartNumberMarker: after, MaxParts: most}
	if u.algo.valid() {
		res.ChecksumAlgorithm, res.ChecksumType = u.algo.String(), sumType(sum{composite: u.composite})
	}
	err = c.s.readSlots(c.ctx, u.ino, after+1, maxParts, func(n int, r slot) error {
		if len(res.Part) >= most {
			res.IsTruncated = most > 0
			return errEnough
		}
		p := partEntry{PartNumber: n, LastModified: xmlTime(r.time), ETag: quoteTag(r.etag()), Size: r.length}
		if r.algo.valid() {
			p.set(r.algo, r.sum[:r.algo.size()])
		}
		res.Part = append(res.Part, p)
		res.NextPartNumberMarker = n
		return nil
	})
	if err != nil && err != errEnough {
		return err
	}
	c.sendXML(http.StatusOK, res)
	return nil
}

var errEnough = volume.Errorf(volume.Interrupted, "enough")

type uploadEntry struct {
	Key               string
	UploadId          string
	Initiator         owner
	Owner             owner
	StorageClass      string
	Initiated         string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

type uploadList struct {
	XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
	Bucket             string
	KeyMarker          string
	UploadIdMarker     string
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIdMarker string `xml:",omitempty"`
	Prefix             string `xml:",omitempty"`
	Delimiter          string `xml:",omitempty"`
	EncodingType       string `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Upload             []uploadEntry
	CommonPrefixes     []commonPrefix
}

// eachUpload calls fn with the ledgers of all uploads, and those of inodes that no ledger
// speaks for any more.
func (s *Server) eachUpload(ctx context.Context, fn func(ino volume.Ino, u *upload) error) error {
	for after := volume.Ino(0); ; {
		var batch []volume.Ino
		err := s.vol.ReadKept(ctx, after, func(ino volume.Ino) bool {
			batch = append(batch, ino)
			return len(batch) < lastBatch
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		after = batch[len(batch)-1]
		for _, ino := range batch {
			u, err := s.readUpload(ctx, ino)
			if err != nil && volume.KindOf(err) != volume.BadFormat {
				return err
			}
			if err := fn(ino, u); err != nil {
				return err
			}
		}
	}
}

// maxUploads bounds the uploads of a bucket that are listed.
const maxUploads = 100000

// listUploads is ListMultipartUploads.
func (c *call) listUploads() error {
	enc, err := c.encoding()
	if err != nil {
		return err
	}
	b, err := c.s.bucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	most, err := c.number("max-uploads", maxKeys)
	if err != nil {
		return err
	}
	prefix, delim := c.q.Get("prefix"), c.q.Get("delimiter")
	keyMarker, idMarker := c.q.Get("key-marker"), c.q.Get("upload-id-marker")
	if err := c.checkMarker(keyMarker, idMarker); err != nil {
		return err
	}
	var list []*upload
	err = c.s.eachUpload(c.ctx, func(_ volume.Ino, u *upload) error {
		if u == nil || u.bucketIno != b.Ino || u.bucket != c.bucket || !strings.HasPrefix(u.key, prefix) || len(list) >= maxUploads {
			return nil
		}
		if u.key < keyMarker || u.key == keyMarker && (idMarker == "" || u.id() <= idMarker) && keyMarker != "" {
			return nil
		}
		if enc.kind == "" && !xmlSafe(u.key) {
			c.s.hidden.Add(1)
			return nil
		}
		if c.s.stillOpen(c.ctx, u) == nil {
			list = append(list, u)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b *upload) int {
		if d := strings.Compare(a.key, b.key); d != 0 {
			return d
		}
		return strings.Compare(a.id(), b.id())
	})
	res := &uploadList{Bucket: c.bucket, KeyMarker: enc.text(keyMarker), UploadIdMarker: clean(idMarker), Prefix: enc.text(prefix),
		Delimiter: enc.text(delim), EncodingType: enc.kind, MaxUploads: most}
	res.fill(list, prefix, delim, most, keyMarker, enc, c.owner())
	c.sendXML(http.StatusOK, res)
	return nil
}

// checkMarker refuses an upload-id-marker that cannot have come from a list of this
// bucket. The upload that it names may be gone.
func (c *call) checkMarker(key, id string) error {
	if key == "" || id == "" {
		return nil
	}
	raw, err := hex.DecodeString(id)
	if err == nil && len(id) == uploadIDLen {
		u, rerr := c.s.readUpload(c.ctx, volume.Ino(binary.BigEndian.Uint64(raw)))
		if rerr != nil {
			return rerr
		}
		if u == nil || u.key == key {
			return nil
		}
	}
	return errArgument("upload-id-marker", id, "Invalid uploadId marker")
}

func (res *uploadList) fill(list []*upload, prefix, delim string, most int, marker string, enc coding, me owner) {
	seen := ""
	for _, u := range list {
		common := ""
		if delim != "" {
			if i := strings.Index(u.key[len(prefix):], delim); i >= 0 {
				common = u.key[:len(prefix)+i+len(delim)]
			}
		}
		if common != "" && (common == seen || common <= marker) {
			continue
		}
		if len(res.Upload)+len(res.CommonPrefixes) >= most {
			res.IsTruncated = most > 0
			return
		}
		if common != "" {
			seen = common
			res.CommonPrefixes = append(res.CommonPrefixes, commonPrefix{enc.text(common)})
			res.NextKeyMarker, res.NextUploadIdMarker = enc.text(common), ""
			continue
		}
		e := uploadEntry{Key: enc.text(u.key), UploadId: u.id(), Initiator: me, Owner: me, StorageClass: "STANDARD", Initiated: xmlTime(u.created)}
		if u.algo.valid() {
			e.ChecksumAlgorithm, e.ChecksumType = u.algo.String(), sumType(sum{composite: u.composite})
		}
		res.Upload = append(res.Upload, e)
		res.NextKeyMarker, res.NextUploadIdMarker = enc.text(u.key), u.id()
	}
	res.NextKeyMarker, res.NextUploadIdMarker = "", ""
}
