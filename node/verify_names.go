package node

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"wolfdisk/index"
	"wolfdisk/volume"
)

// compareNames compares names and attributes of every other copy with the base, each by
// itself, from the sum of the whole down to where it differs.
func (v *verifier) compareNames(ctx context.Context) error {
	top, err := v.base.find(ctx, v.path)
	if err != nil {
		return volume.Wrapf(err, "path %q on %s", v.path, v.base.name())
	}
	errs := make([]error, len(v.others))
	v.each(len(v.others), func(i int) {
		w := &walker{v: v, ctx: ctx, other: v.others[i]}
		errs[i] = w.top(&top)
	})
	for i, err := range errs {
		if err != nil && ctx.Err() == nil {
			v.gaveUp(v.others[i], err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return nil
}

// gaveUp reports that a node ended being compared.
func (v *verifier) gaveUp(c verifyCopy, err error) { v.skipNode(c.name(), err.Error()) }

// walker compares one copy with the base.
type walker struct {
	v     *verifier
	ctx   context.Context
	other verifyCopy
}

// noNames is where inodes without a name are shown.
const noNames = "(without a name)"

func (w *walker) top(mine *index.Entry) error {
	theirs, err := w.other.find(w.ctx, w.v.path)
	switch kind := volume.KindOf(err); {
	case err != nil && kind == volume.NotFound || kind == volume.NotDir:
		w.v.differs(w.v.path, "missing", w.other.name(), "%s has it", w.v.base.name())
		return nil
	case damage(err):
		w.v.differs(w.v.path, "unreadable", w.other.name(), "%v", err)
		return nil
	case err != nil:
		return err
	}
	if err := w.entry(w.v.path, mine, &theirs); err != nil || w.v.path != "" {
		return err
	}
	return w.dir(noNames, index.NoDir, index.NoDir)
}

// damage reports whether an error says that something stored is bad, rather than that
// nobody answers.
func damage(err error) bool {
	if err == nil {
		return false
	}
	k := volume.KindOf(err)
	return k == volume.Corrupt || k == volume.Missing || k == volume.IO
}

// entry compares what is under one name, and below it.
func (w *walker) entry(path string, mine, theirs *index.Entry) error {
	found := diffEntries(mine, theirs)
	for _, d := range found {
		w.v.differs(path, d.kind, w.other.name(), "%s on %s, %s here", d.mine, w.v.base.name(), d.theirs)
	}
	if !mine.Attr.IsDir() || !theirs.Attr.IsDir() || mine.Tree == theirs.Tree {
		return nil
	}
	return w.dir(path, mine.Ino, theirs.Ino)
}

type below struct {
	path         string
	mine, theirs index.Entry
}

// dir compares two directories, then those in them that differ.
func (w *walker) dir(path string, mine, theirs volume.Ino) error {
	var subdirs []below
	err := w.merge(mine, theirs, func(a, b *index.Entry) error {
		name := ""
		if a != nil {
			name = a.Name
		} else {
			name = b.Name
		}
		at := strings.TrimPrefix(path+"/"+name, "/")
		switch {
		case b == nil:
			w.v.differs(at, "missing", w.other.name(), "%s has it", w.v.base.name())
		case a == nil:
			w.v.differs(at, "extra", w.other.name(), "%s has it not", w.v.base.name())
		case a.Attr.IsDir() && b.Attr.IsDir():
			if a.Tree != b.Tree || len(diffEntries(a, b)) > 0 {
				subdirs = append(subdirs, below{at, *a, *b})
			}
		default:
			return w.entry(at, a, b)
		}
		return nil
	})
	if damage(err) {
		w.v.differs(path, "unreadable", w.other.name(), "%v", err)
		err = nil
	}
	for i := range subdirs {
		if err == nil {
			err = w.entry(subdirs[i].path, &subdirs[i].mine, &subdirs[i].theirs)
		}
	}
	return err
}

// merge walks two directories in the order of names and calls fn with both entries of a
// name, or one and nil.
func (w *walker) merge(mine, theirs volume.Ino, fn func(a, b *index.Entry) error) error {
	next, stop := iter.Pull2(w.entries(theirs))
	defer stop()
	b, err, more := next()
	if err != nil {
		return err
	}
	listed := w.v.base.list(w.ctx, mine, func(a *index.Entry) error {
		for more && err == nil && b.Name < a.Name {
			if err := fn(nil, b); err != nil {
				return err
			}
			b, err, more = next()
		}
		switch {
		case err != nil:
			return err
		case more && b.Name == a.Name:
			if err := fn(a, b); err != nil {
				return err
			}
			b, err, more = next()
			return err
		}
		return fn(a, nil)
	})
	if listed != nil {
		return listed
	}
	for err == nil && more {
		if err = fn(nil, b); err == nil {
			b, err, more = next()
		}
	}
	return err
}

// entries is the other copy's list as a sequence, which ends with its error.
func (w *walker) entries(dir volume.Ino) iter.Seq2[*index.Entry, error] {
	return func(yield func(*index.Entry, error) bool) {
		err := w.other.list(w.ctx, dir, func(e *index.Entry) error {
			if !yield(e, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

// entryDiff is one kind of difference between two entries, and what both say.
type entryDiff struct{ kind, mine, theirs string }

// diffEntries lists how two entries of one name differ. The version is named only if
// nothing else is, since every change of the rest comes with one.
func diffEntries(a, b *index.Entry) (list []entryDiff) {
	add := func(kind string, differs bool, mine, theirs any) {
		if differs {
			list = append(list, entryDiff{kind, fmt.Sprint(mine), fmt.Sprint(theirs)})
		}
	}
	add("inode", a.Ino != b.Ino, a.Ino, b.Ino)
	add("type", a.Type != b.Type, octal(a.Type), octal(b.Type))
	add("order", a.Cookie != b.Cookie, a.Cookie, b.Cookie)
	if a.Found != b.Found {
		have := map[bool]string{true: "an inode", false: "no inode for the name"}
		add("inode", a.Ino == b.Ino, have[a.Found], have[b.Found])
		return list
	}
	p, q := &a.Attr, &b.Attr
	add("type", p.Type() != q.Type() && a.Type == b.Type, octal(p.Mode), octal(q.Mode))
	add("mode", p.Mode&volume.ModePerm != q.Mode&volume.ModePerm, octal(p.Mode), octal(q.Mode))
	add("owner", p.UID != q.UID || p.GID != q.GID, fmt.Sprintf("%d:%d", p.UID, p.GID), fmt.Sprintf("%d:%d", q.UID, q.GID))
	add("device", p.Rdev != q.Rdev, p.Rdev, q.Rdev)
	add("links", p.Nlink != q.Nlink, p.Nlink, q.Nlink)
	add("size", p.Size != q.Size, p.Size, q.Size)
	add("atime", p.Atime != q.Atime, timeText(p.Atime), timeText(q.Atime))
	add("mtime", p.Mtime != q.Mtime, timeText(p.Mtime), timeText(q.Mtime))
	add("ctime", p.Ctime != q.Ctime, timeText(p.Ctime), timeText(q.Ctime))
	add("btime", p.Btime != q.Btime, timeText(p.Btime), timeText(q.Btime))
	add("parent", a.Parent != b.Parent, a.Parent, b.Parent)
	add("target", a.Target != b.Target, fmt.Sprintf("%q", a.Target), fmt.Sprintf("%q", b.Target))
	add("order", a.Order != b.Order && a.Tree == b.Tree, "one listing", "another")
	list = append(list, diffXattrs(a.Xattrs, b.Xattrs)...)
	add("version", p.Version != q.Version && len(list) == 0, p.Version, q.Version)
	return list
}

// diffXattrs names the attributes that differ.
func diffXattrs(a, b []index.XattrSum) (list []entryDiff) {
	theirs := make(map[string]index.Sum, len(b))
	for _, x := range b {
		theirs[x.Name] = x.Sum
	}
	for _, x := range a {
		sum, ok := theirs[x.Name]
		delete(theirs, x.Name)
		switch {
		case !ok:
			list = append(list, entryDiff{"xattr", fmt.Sprintf("%q", x.Name), "not"})
		case sum != x.Sum:
			list = append(list, entryDiff{"xattr", fmt.Sprintf("one value of %q", x.Name), "another"})
		}
	}
	for _, x := range b {
		if _, extra := theirs[x.Name]; extra {
			list = append(list, entryDiff{"xattr", "nothing", fmt.Sprintf("%q", x.Name)})
		}
	}
	return list
}

func octal(mode uint32) string { return fmt.Sprintf("%06o", mode) }

func timeText(t volume.Time) string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }
