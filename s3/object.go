package s3

import (
	"context"
	"fmt"

	"wolfdisk/volume"
)

// object is a file or directory with what is known of it as an object, all of one
// moment.
type object struct {
	attr volume.Attr
	meta *meta // nil if it was not put through the gateway, or changed since
}

// etag is the object's, without quotes. Of what came otherwise it is made of the inode
// and its version, so it is the same on every node and changes with the content (and
// with attributes, which does no harm); nothing takes it for an MD5.
func (o *object) etag() string {
	switch {
	case o.meta != nil && o.meta.etag != "":
		return o.meta.etag
	case o.attr.IsDir():
		return emptyMD5
	}
	return syntheticTag(&o.attr)
}

func syntheticTag(a *volume.Attr) string {
	return fmt.Sprintf("%016x%016x-0", uint64(a.Ino), uint64(a.Version))
}

const emptyMD5 = "d41d8cd98f00b204e9800998ecf8427e"

// modified is when the object came to be as it is.
func (o *object) modified() volume.Time {
	if o.meta != nil && o.meta.modified != (volume.Time{}) {
		return o.meta.modified
	}
	return o.attr.Mtime
}

func (o *object) size() int64 {
	if o.attr.IsDir() {
		return 0
	}
	return o.attr.Size
}

// patient bounds how often something that others change is looked at again.
const patient = 100

func errBucket(name string) *fault {
	return errf("NoSuchBucket", "there is no bucket %q", clean(name)).with("BucketName", name)
}

// bucket finds a bucket: a directory at the root that is not hidden, or one that the configuration
// names.
func (s *Server) bucket(ctx context.Context, name string) (volume.Attr, error) {
	missing := errBucket(name)
	if path, ok := s.cfg.Buckets[name]; ok {
		a, err := s.mapped(ctx, path, false)
		if kind := volume.KindOf(err); err != nil && (kind == volume.NotFound || kind == volume.Stale) {
			err = missing
		}
		return a, err
	}
	if hiddenBucket(name) || volume.CheckName(name) != nil {
		return volume.Attr{}, missing
	}
	a, err := s.vol.Lookup(ctx, volume.RootIno, name)
	if volume.KindOf(err) == volume.NotFound || err == nil && !a.IsDir() {
		return volume.Attr{}, missing
	}
	return a, err
}

// place is where a key leads to.
type place struct {
	above  []volume.Ino // the bucket, and the directories of the key that are there
	dirs   []string     // the names of all directories of the key
	parent volume.Ino   // 0 if it is not there
	name   string
	isDir  bool        // the key ends in a slash
	attr   volume.Attr // of what has the name; zero if nothing has
	// blocked is the part of the key that has a file where a directory is needed.
	blocked string
}

// find follows a key. What has the name may be of any type.
func (s *Server) find(ctx context.Context, bucket volume.Ino, key string) (place, error) {
	p := place{above: []volume.Ino{bucket}}
	p.dirs, p.name, p.isDir = splitKey(key)
	at, n := bucket, 0
	for _, name := range p.dirs {
		a, err := s.vol.Lookup(ctx, at, name)
		switch kind := volume.KindOf(err); {
		case err != nil && (kind == volume.NotFound || kind == volume.Stale):
			return p, nil
		case err != nil:
			return p, err
		case !a.IsDir():
			p.blocked = key[:n+len(name)]
			return p, nil
		}
		at = a.Ino
		p.above = append(p.above, at)
		n += len(name) + 1
	}
	p.parent = at
	a, err := s.vol.Lookup(ctx, at, p.name)
	if kind := volume.KindOf(err); err != nil && (kind == volume.NotFound || kind == volume.Stale) {
		return p, nil
	}
	p.attr = a
	return p, err
}

// isObject reports whether what was found is the object that the key means: a file, or
// with a slash a directory.
func (p *place) isObject() bool {
	return p.attr.Ino != 0 && (p.isDir && p.attr.IsDir() || !p.isDir && p.attr.IsFile())
}

// get finds an object; NoSuchKey.
func (s *Server) get(ctx context.Context, bucket, key string) (place, *object, error) {
	b, err := s.bucket(ctx, bucket)
	if err != nil {
		return place{}, nil, err
	}
	for range patient {
		p, err := s.find(ctx, b.Ino, key)
		if err != nil {
			return p, nil, err
		}
		if !p.isObject() {
			return place{}, nil, errf("NoSuchKey", "there is no object %q in the bucket %q", clean(key), clean(bucket))
		}
		o, err := s.look(ctx, p.attr)
		if volume.KindOf(err) == volume.Stale && err != nil {
			continue // replaced since
		}
		return p, o, err
	}
	return place{}, nil, errRestless(key)
}

func errRestless(key string) error {
	return errf("SlowDown", "the object %q is being changed too fast", clean(key))
}

// open finds an object, and keeps a file alive from then on, also if it is replaced or removed meanwhile: of
// one that is replaced before, the name is looked at again, for there is an object all the time. The caller
// ends it with closeObject.
func (s *Server) open(ctx context.Context, bucket, key string) (*object, error) {
	for range patient {
		_, o, err := s.get(ctx, bucket, key)
		if err != nil || !o.attr.IsFile() {
			return o, err
		}
		err = s.vol.Open(ctx, o.attr.Ino, false)
		if err == nil {
			return o, nil
		}
		if volume.KindOf(err) != volume.Stale {
			return nil, err
		}
	}
	return nil, errRestless(key)
}

// closeObject ends an open.
func (s *Server) closeObject(o *object) {
	if !o.attr.IsFile() {
		return
	}
	err := s.vol.Close(noContext, o.attr.Ino)
	if kind := volume.KindOf(err); err != nil && kind != volume.Stale && kind != volume.Closed {
		s.cfg.Log.Warn().Err(err).Stringer("ino", o.attr.Ino).Msg("s3: close a file that was read")
	}
}

// look reads what is known of an inode, all of one version; Stale.
func (s *Server) look(ctx context.Context, a volume.Attr) (*object, error) {
	for range patient {
		m, err := s.readMeta(ctx, a.Ino)
		if err != nil {
			return nil, err
		}
		b, err := s.vol.GetAttr(ctx, a.Ino)
		if err != nil {
			return nil, err
		}
		if b.Version == a.Version {
			return &object{attr: b, meta: m}, nil
		}
		a = b
	}
	return nil, errf("SlowDown", "the object is being changed too fast")
}

// readMeta is what the gateway noted of an inode; nil if nothing.
func (s *Server) readMeta(ctx context.Context, ino volume.Ino) (*meta, error) {
	v, err := s.vol.GetXattr(ctx, ino, volume.XattrObject)
	if volume.KindOf(err) == volume.NoXattr && err != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeMeta(v)
}

// mkdirs makes the directories of a key that are missing, and returns the one that holds
// its name, and all from the bucket down to it.
func (s *Server) mkdirs(ctx context.Context, bucket volume.Ino, dirs []string) (parent volume.Ino, above []volume.Ino, err error) {
	parent, above = bucket, []volume.Ino{bucket}
	implicit := &meta{kind: kindImplicit, made: true}
	for i, name := range dirs {
		a, err := s.vol.Lookup(ctx, parent, name)
		if volume.KindOf(err) == volume.NotFound && err != nil {
			a, err = s.mkdir(ctx, parent, name, implicit)
			if volume.KindOf(err) == volume.Exists && err != nil {
				a, err = s.vol.Lookup(ctx, parent, name)
			}
		}
		if err != nil {
			return 0, above, err
		}
		if !a.IsDir() {
			return 0, above, errParent(dirs[:i+1])
		}
		parent = a.Ino
		above = append(above, parent)
	}
	return parent, above, nil
}

func (s *Server) mkdir(ctx context.Context, parent volume.Ino, name string, m *meta) (volume.Attr, error) {
	res, err := s.do(ctx, &volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: volume.ModeDir | s.cfg.DirMode,
		Xattrs: []volume.Xattr{{Name: volume.XattrObject, Value: m.encode()}}})
	return res.Attr, err
}

// gone reports errors that say that a directory on the way was removed by another: begin
// again.
func gone(err error) bool {
	switch volume.KindOf(err) {
	case volume.NotFound, volume.Stale, volume.NotDir:
		_, ours := err.(*fault)
		return err != nil && !ours
	}
	return false
}
