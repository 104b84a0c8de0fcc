package s3

import (
	"encoding/xml"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"wolfdisk/volume"
)

type copyResult struct {
	XMLName      xml.Name
	LastModified string
	ETag         string
	sumElements
	ChecksumType string `xml:",omitempty"`
}

func newCopyResult(name string, modified volume.Time, etag string, sums []sum) *copyResult {
	res := &copyResult{XMLName: xml.Name{Space: xmlns, Local: name}, LastModified: xmlTime(modified), ETag: quoteTag(etag)}
	for _, s := range sums {
		*res.of(s.algo) = sumText(s, 0)
		res.ChecksumType = sumType(s)
	}
	return res
}

// sourceName reads x-amz-copy-source.
func (c *call) sourceName() (bucket, key string, err error) {
	const header = "x-amz-copy-source"
	v, query, _ := strings.Cut(c.h.Get(header), "?")
	path, err := url.PathUnescape(v)
	if err != nil {
		return "", "", errArgument(header, v, "Invalid copy source encoding")
	}
	if q, err := url.ParseQuery(query); err == nil && q.Has("versionId") && q.Get("versionId") == "" {
		return "", "", errArgument(header, "", emptyVersion)
	} else if err != nil || q.Has("versionId") && q.Get("versionId") != "null" {
		return "", "", errf("NoSuchVersion", "there is no version %q: objects have one, \"null\"", clean(query))
	}
	bucket, key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if _, err := netip.ParseAddr(bucket); err == nil || bucket == "" || strings.ContainsFunc(bucket, func(r rune) bool {
		return r >= 0x80 || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r)
	}) {
		// No name of Amazon S3, but a directory that a mount made may have it.
		switch _, err := c.s.bucket(c.ctx, bucket); {
		case err != nil && faultOf(err).code == "NoSuchBucket":
			return "", "", errArgument(header, path, "Invalid copy source bucket name")
		case err != nil:
			return "", "", err
		}
	}
	if err := checkKey(key); err != nil {
		return "", "", errArgument(header, key, "Invalid copy source object key").with("Reason", err.Error())
	}
	return bucket, key, nil
}

// source finds the object that x-amz-copy-source names, and opens it. The caller ends it with
// closeObject.
func (c *call) source() (bucket, key string, o *object, err error) {
	if bucket, key, err = c.sourceName(); err == nil {
		err = c.mayUse(bucket)
	}
	if err != nil {
		return "", "", nil, err
	}
	cond, err := c.condition("x-amz-copy-source-", true)
	if err != nil {
		return "", "", nil, err
	}
	cond.read = false // a copy that is not wanted is 412, not 304
	if o, err = c.s.open(c.ctx, bucket, key); err != nil {
		return "", "", nil, err
	}
	if err = cond.check(o); err != nil {
		c.s.closeObject(o)
		return "", "", nil, err
	}
	return bucket, key, o, nil
}

// directive is one of the headers that say what becomes of the source's metadata.
func (c *call) directive(name string) (replace bool, err error) {
	switch v := c.headerValue(name); strings.ToUpper(v) {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	default:
		what := strings.TrimSuffix(strings.TrimPrefix(name, "x-amz-"), "-directive")
		return false, errArgument(name, v, "Unknown %s directive.", what)
	}
}

// copyMeta is the metadata of a copy.
func (c *call) copyMeta(src *object) (m *meta, changed bool, err error) {
	replace, err := c.directive("x-amz-metadata-directive")
	if err != nil {
		return nil, false, err
	}
	replaceTags, err := c.directive("x-amz-tagging-directive")
	if err != nil {
		return nil, false, err
	}
	given, err := c.newMeta()
	if err != nil {
		return nil, false, err
	}
	m = &meta{kind: kindObject, modified: given.modified}
	old := src.meta
	if old == nil {
		old = &meta{}
	}
	m.user, m.tags = old.user, old.tags
	for _, p := range old.headers {
		if p.name != redirectHeader {
			m.headers = append(m.headers, p)
		}
	}
	to := given.header(redirectHeader)
	switch {
	case replace:
		m.headers, m.user = given.headers, given.user
	case to != "":
		m.headers = append(m.headers, pair{redirectHeader, to})
	}
	if replaceTags {
		m.tags = given.tags
	}
	return m, replace || replaceTags || to != "", nil
}

// copyObject is CopyObject: by value, beside the sums of it, so that the copy has them
// also where the source had none.
func (c *call) copyObject() error {
	b, err := c.s.bucket(c.ctx, c.bucket)
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
	bucket, key, src, err := c.source()
	if err != nil {
		return err
	}
	defer c.s.closeObject(src)
	m, changed, err := c.copyMeta(src)
	if err != nil {
		return err
	}
	if src.size() > maxPut {
		return errf("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: %d", int64(maxPut))
	}
	if bucket == c.bucket && key == c.key {
		if !changed && c.headerValue("x-amz-storage-class") == "" {
			return errf("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		}
	}
	p, err := c.s.find(c.ctx, b.Ino, c.key)
	switch {
	case err != nil:
		return err
	case p.blocked != "":
		return errParent([]string{p.blocked})
	case p.isDir && src.size() > 0:
		return errf("DirectoryObjectContainsData", "%q ends in a slash, so it is a directory and can have no content", clean(c.key))
	case p.isDir:
		return c.copyDirectory(b.Ino, m, cond)
	case p.attr.IsDir():
		return errIsDir(c.key)
	}
	if err := c.early(&p, cond); err != nil {
		return err
	}
	return c.slowly(func() (any, error) {
		if extra == algoNone && src.meta != nil && len(src.meta.sums) > 0 {
			extra = src.meta.sums[0].algo
		}
		st, err := c.s.stage(c.ctx, p.above...)
		if err != nil {
			return nil, err
		}
		defer st.drop(c.ctx)
		rec, err := c.s.copyRange(c.ctx, src, 0, src.size(), extra, 0, c.s.into(c.ctx, st.ino))
		if err != nil {
			return nil, err
		}
		m.etag, m.sums = c.s.etagOf(&rec, st.ino), rec.sums
		if err := c.s.commit(c.ctx, b.Ino, c.key, st.ino, m, nil, cond); err != nil {
			return nil, err
		}
		return newCopyResult("CopyObjectResult", m.modified, m.etag, m.sums), nil
	})
}

// copyDirectory copies an empty object to a key that ends in a slash.
func (c *call) copyDirectory(bucket volume.Ino, m *meta, cond *condition) error {
	return c.slowly(func() (any, error) {
		if err := c.placeDirectory(bucket, m, cond); err != nil {
			return nil, err
		}
		return newCopyResult("CopyObjectResult", m.modified, m.etag, nil), nil
	})
}

// copyPart is UploadPartCopy.
func (c *call) copyPart(u *upload, n int) error {
	_, _, src, err := c.source()
	if err != nil {
		return err
	}
	defer c.s.closeObject(src)
	off, length := int64(0), src.size()
	if spec := c.headerValue("x-amz-copy-source-range"); spec != "" {
		const header = "x-amz-copy-source-range"
		first, last, ok := parseRange(spec, math.MaxInt64)
		if !ok || strings.HasSuffix(spec, "-") || strings.HasPrefix(spec, "bytes=-") {
			return errArgument(header, spec, "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
		}
		if last >= src.size() {
			return errArgument(header, itoa(src.size()), "Range specified is not valid for source object of size: %d", src.size())
		}
		off, length = first, last-first+1
	}
	if length > maxPut {
		return errf("EntityTooLarge", "the part would have %d bytes; %d are allowed", length, int64(maxPut))
	}
	return c.slowly(func() (any, error) {
		r, sums, err := c.s.addPart(c.ctx, u, n, length, func(at int64, to sink) (received, error) {
			return c.s.copyRange(c.ctx, src, off, length, u.kept(), at, to)
		})
		if err != nil {
			return nil, err
		}
		if !u.algo.valid() {
			sums = nil // computed for the whole, and not asked for
		}
		res := newCopyResult("CopyPartResult", r.time, r.etag(), sums)
		res.ChecksumType = ""
		return res, nil
	})
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
