package s3

import (
	"context"
	"strings"
	"time"

	"wolfdisk/volume"
)

func errParent(dirs []string) error {
	return errf("ObjectParentIsFile", "%q is an object, so there can be no object below it", clean(strings.Join(dirs, "/")))
}

func errIsDir(key string) error {
	return errf("ExistingObjectIsDirectory", "%q is a directory, which an object cannot replace", clean(key))
}

// publish gives a staged inode its name, with its metadata, if the condition holds, in
// one op. What had the name is displaced; who has it open reads on.
func (s *Server) publish(ctx context.Context, bucket volume.Ino, key string, ino volume.Ino, xattrs []volume.Xattr, cond *condition) (volume.Attr, error) {
	dirs, name, _ := splitKey(key)
	var above []volume.Ino
	for range patient {
		var parent volume.Ino
		var err error
		parent, above, err = s.mkdirs(ctx, bucket, dirs)
		if err == nil {
			var a volume.Attr
			if a, err = s.publishAt(ctx, parent, name, key, ino, xattrs, cond); err == nil {
				return a, nil
			}
		}
		if err == errAgain || gone(err) {
			if _, berr := s.vol.GetAttr(ctx, bucket); berr != nil {
				return volume.Attr{}, errf("NoSuchBucket", "the bucket of %q was removed", clean(key))
			}
			continue
		}
		s.prune(ctx, above, dirs)
		return volume.Attr{}, err
	}
	s.prune(ctx, above, dirs)
	return volume.Attr{}, errf("ConditionalRequestConflict", "%q is being changed too fast", clean(key))
}

// errAgain says that a condition was looked at too early.
var errAgain = volume.Errorf(volume.Precondition, "changed meanwhile")

func (s *Server) publishAt(ctx context.Context, parent volume.Ino, name, key string, ino volume.Ino, xattrs []volume.Xattr, cond *condition) (volume.Attr, error) {
	match, err := s.match(ctx, parent, name, key, cond)
	if err != nil {
		return volume.Attr{}, err
	}
	res, err := s.do(ctx, &volume.Request{Kind: volume.OpPublish, Ino: ino, Parent: parent, Name: name, Xattrs: xattrs, Match: match})
	if err == nil {
		return res.Attr, nil
	}
	switch volume.KindOf(err) {
	case volume.IsDir:
		err = errIsDir(key)
	case volume.Precondition:
		err = errAgain
	case volume.Stale:
		if _, aerr := s.vol.GetAttr(ctx, ino); aerr != nil { // the staged inode, not the directory
			err = errf("ServiceUnavailable", "the upload was lost with a change of the leader; send it again")
		}
	}
	return volume.Attr{}, err
}

// match turns a condition into one that the volume checks in the op: that the name is
// free, or taken by the very inode that was looked at.
func (s *Server) match(ctx context.Context, parent volume.Ino, name, key string, cond *condition) (volume.Match, error) {
	if cond.empty() {
		return volume.Match{}, nil
	}
	a, err := s.vol.Lookup(ctx, parent, name)
	if volume.KindOf(err) == volume.NotFound && err != nil {
		return volume.Match{Absent: true}, cond.check(nil)
	}
	if err != nil {
		return volume.Match{}, err
	}
	if a.IsDir() {
		return volume.Match{}, errIsDir(key)
	}
	match := volume.Match{Version: a.Version}
	if !a.IsFile() { // no object: clients do not see it, and it is replaced
		return match, cond.check(nil)
	}
	o, err := s.look(ctx, a)
	if err != nil {
		return match, err
	}
	match.Version = o.attr.Version
	return match, cond.check(o)
}

// pruneFor bounds how long prune goes on for nobody.
const pruneFor = 10 * time.Second

// prune removes directories that the gateway made for objects below them, from the
// deepest up, as long as they are empty. above are the bucket and the directories. That
// the client has gone is no reason to leave them: nobody else would remove them.
func (s *Server) prune(ctx context.Context, above []volume.Ino, dirs []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pruneFor)
	defer cancel()
	for i := len(above) - 1; i > 0; i-- {
		if !s.pruneOne(ctx, above[i-1], above[i], dirs[i-1]) {
			return
		}
	}
}

func (s *Server) pruneOne(ctx context.Context, parent, dir volume.Ino, name string) bool {
	for range patient {
		a, err := s.vol.GetAttr(ctx, dir)
		if err != nil {
			return volume.KindOf(err) == volume.Stale // another removed it
		}
		if !s.implicit(ctx, dir) {
			return false
		}
		_, err = s.do(ctx, &volume.Request{Kind: volume.OpRmdir, Parent: parent, Name: name, Match: volume.Match{Version: a.Version}})
		if volume.KindOf(err) != volume.Precondition || err == nil {
			return err == nil
		}
	}
	return false
}

// implicit reports whether a directory was made for objects below it, and is there for
// nothing else.
func (s *Server) implicit(ctx context.Context, dir volume.Ino) bool {
	m, err := s.readMeta(ctx, dir)
	return err == nil && m != nil && m.kind == kindImplicit && m.made
}

// clear removes what killed daemons have left below a directory: implicit directories
// without anything in them. It reports whether nothing else is there, and ends at the
// first that is.
func (s *Server) clear(ctx context.Context, dir volume.Ino) bool {
	for from := ""; ; {
		var batch []volume.DirEntry
		err := s.vol.ReadNames(ctx, dir, from, func(e volume.DirEntry) bool {
			batch = append(batch, e)
			return len(batch) < firstBatch
		})
		if err != nil || len(batch) == 0 {
			return err == nil
		}
		for _, e := range batch {
			if e.Type != volume.ModeDir || !s.implicit(ctx, e.Ino) || !s.clear(ctx, e.Ino) || !s.pruneOne(ctx, dir, e.Ino, e.Name) {
				return false
			}
		}
		from = batch[len(batch)-1].Name + "\x00"
	}
}
