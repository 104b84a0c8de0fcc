package s3

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"wolfdisk/volume"
)

// mapped finds the directory of a bucket that Config.Buckets names, by its path from the root. With
// create, what is missing of it is made: as directories of a user, which nobody removes with the last
// object in them.
func (s *Server) mapped(ctx context.Context, path string, create bool) (volume.Attr, error) {
	a := volume.Attr{Ino: volume.RootIno}
	for name := range strings.SplitSeq(path, "/") {
		parent := a.Ino
		var err error
		a, err = s.vol.Lookup(ctx, parent, name)
		if create && err != nil && volume.KindOf(err) == volume.NotFound {
			var res volume.Result
			res, err = s.do(ctx, &volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: volume.ModeDir | s.cfg.DirMode})
			if a = res.Attr; err != nil && volume.KindOf(err) == volume.Exists {
				a, err = s.vol.Lookup(ctx, parent, name) // somebody was faster
			}
		}
		if err != nil {
			return volume.Attr{}, volume.Wrap(err, "the directory "+path)
		}
		if !a.IsDir() {
			return volume.Attr{}, errf("BucketAlreadyExists", "%q, on the way to the directory of the bucket, is something else than a directory", name)
		}
	}
	return a, nil
}

// MakeBuckets makes the directories of Config.Buckets that are missing.
func (s *Server) MakeBuckets(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Buckets)) {
		if _, err := s.mapped(ctx, s.cfg.Buckets[name], true); err != nil {
			return volume.Wrap(err, "make the bucket "+name)
		}
	}
	return nil
}

// mappedBuckets are those of Config.Buckets that are there, that the key is good for, and whose names
// have a prefix and are not before from.
func (c *call) mappedBuckets(prefix, from string) (list []volume.DirEntry, err error) {
	for name := range c.s.cfg.Buckets {
		if !strings.HasPrefix(name, prefix) || name < from || c.mayUse(name) != nil {
			continue
		}
		a, err := c.s.bucket(c.ctx, name)
		if f := (*fault)(nil); errors.As(err, &f) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, volume.DirEntry{Name: name, Ino: a.Ino, Type: volume.ModeDir})
	}
	return list, nil
}
