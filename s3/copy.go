package s3

import (
	"encoding/xml"
	"net/url"
	"strconv"
	"strings"

	"wolfdisk/volume"
)

type copyResult struct {
	XMLName           xml.Name
	LastModified      string
	ETag              string
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

func newCopyResult(name string, modified volume.Time, etag string, sums []sum) *copyResult {
	res := &copyResult{XMLName: xml.Name{Space: xmlns, Local: name}, LastModified: xmlTime(modified), ETag: quoteTag(etag)}
	for _, s := range sums {
		*map[algo]*string{algoCRC32: &res.ChecksumCRC32, algoCRC32C: &res.ChecksumCRC32C, algoCRC64NVME: &res.ChecksumCRC64NVME,
			algoSHA1: &res.ChecksumSHA1, algoSHA256: &res.ChecksumSHA256}[s.algo] = sumText(s, 0)
		res.ChecksumType = sumType(s)
	}
	return res
}

// source finds the object that x-amz-copy-source names, and opens it. The caller closes.
func (c *call) source() (bucket, key string, o *object, err error) {
	v := c.r.Header.Get("x-amz-copy-source")
	v, query, _ := strings.Cut(v, "?")
	path, err := url.PathUnescape(v)
	if err != nil {
		return "", "", nil, errf("InvalidArgument", "x-amz-copy-source %q cannot be decoded", clean(v))
	}
	if q, err := url.ParseQuery(query); err != nil || q.Has("versionId") && q.Get("versionId") != "null" {
		return "", "", nil, errf("NoSuchVersion", "there is no version %q: objects have one, \"null\"", clean(query))
	}
	bucket, key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if bucket == "" || key == "" {
		return "", "", nil, errf("InvalidArgument", "x-amz-copy-source %q names no bucket and key", clean(path))
	}
	if err := checkKey(key); err != nil {
		return "", "", nil, err
	}
	if err := c.mayUse(bucket); err != nil {
		return "", "", nil, err
	}
	cond, err := c.condition("x-amz-copy-source-", true)
	if err != nil {
		return "", "", nil, err
	}
	cond.read = false // a copy that is not wanted is 412, not 304
	_, o, err = c.s.get(c.ctx, bucket, key)
	if err == nil {
		err = cond.check(o)
	}
	if err == nil && o.attr.IsFile() {
		err = c.s.vol.Open(c.ctx, o.attr.Ino, false)
	}
	return bucket, key, o, err
}

func (c *call) closeSource(o *object) {
	if o.attr.IsFile() {
		c.s.closeRead(o.attr.Ino)
	}
}

// directive is one of the headers that say what becomes of the source's metadata.
func (c *call) directive(name string) (replace bool, err error) {
	switch v := c.headerValue(name); strings.ToUpper(v) {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	default:
		return false, errf("InvalidArgument", "%s is %q: it can be COPY or REPLACE", name, clean(v))
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
	m.headers, m.user, m.tags = old.headers, old.user, old.tags
	if replace {
		m.headers, m.user = given.headers, given.user
	}
	if replaceTags {
		m.tags = given.tags
	}
	return m, replace || replaceTags, nil
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
	defer c.closeSource(src)
	m, changed, err := c.copyMeta(src)
	if err != nil {
		return err
	}
	if src.size() > maxPut {
		return errf("InvalidRequest", "the source has %d bytes; %d can be copied in one request", src.size(), int64(maxPut))
	}
	if bucket == c.bucket && key == c.key {
		if !changed && c.headerValue("x-amz-storage-class") == "" {
			return errf("InvalidRequest", "an object is copied to itself without changing anything of it")
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
		h := newHasher(!c.s.cfg.OpaqueETags, extra)
		if err := c.s.copyRange(c.ctx, src, 0, src.size(), h, 0, c.s.into(c.ctx, st.ino)); err != nil {
			return nil, err
		}
		rec := received{size: src.size(), sums: h.sums(nil)}
		if h.md5 != nil {
			rec.md5 = h.md5.Sum(nil)
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
	defer c.closeSource(src)
	off, length := int64(0), src.size()
	if spec := c.headerValue("x-amz-copy-source-range"); spec != "" {
		first, last, ok := parseRange(spec, src.size())
		if !ok || !strings.HasPrefix(spec, "bytes=") || strings.HasSuffix(spec, "-") || strings.HasPrefix(spec, "bytes=-") {
			return errf("InvalidArgument", "x-amz-copy-source-range %q is not bytes=FIRST-LAST", clean(spec))
		}
		if first >= src.size() || !strings.HasSuffix(spec, "-"+itoa(last)) {
			return errf("InvalidRange", "the range %q is not within the %d bytes of the source", clean(spec), src.size())
		}
		off, length = first, last-first+1
	}
	if length > maxPut {
		return errf("EntityTooLarge", "the part would have %d bytes; %d are allowed", length, int64(maxPut))
	}
	return c.slowly(func() (any, error) {
		r, sums, err := c.s.addPart(c.ctx, u, n, length, func(at int64, to sink) (received, error) {
			h := newHasher(!c.s.cfg.OpaqueETags, u.algo)
			if err := c.s.copyRange(c.ctx, src, off, length, h, at, to); err != nil {
				return received{}, err
			}
			rec := received{size: length, sums: h.sums(nil)}
			if h.md5 != nil {
				rec.md5 = h.md5.Sum(nil)
			}
			return rec, nil
		})
		if err != nil {
			return nil, err
		}
		res := newCopyResult("CopyPartResult", r.time, r.etag(), sums)
		res.ChecksumType = ""
		return res, nil
	})
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
