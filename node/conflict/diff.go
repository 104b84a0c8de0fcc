package conflict

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"

	"wolfdisk/volume"
)

// How a path of a record compares with the present tree.
const (
	Same      = "same"      // what is there is as recorded; of a removed name: nothing is there
	Differs   = "differs"   // it is there, but not as recorded; of a removed name: it is there still
	Missing   = "missing"   // nothing is there, and the inode is nowhere else
	Displaced = "displaced" // the inode is elsewhere now, or another has its place
)

// Compared is one path of a record beside the present tree.
type Compared struct {
	Path    string
	Removed bool // the fork took this name away
	State   string
	// Fields are what differs, of Differs, and of Displaced if something else is there.
	Fields []string
	Now    string // where the inode is now, of Displaced, if it is somewhere
}

// Diff compares what is recorded with the present tree, path by path.
func (r *Reader) Diff(ctx context.Context, present volume.Reader, fn func(*Entry, Compared) error) error {
	return r.Each(ctx, func(e *Entry) error {
		if !e.counts() {
			return nil
		}
		for _, p := range e.Paths {
			c, err := r.compare(ctx, e, p, present)
			if err != nil {
				return at(err, "compare", p)
			}
			if err := fn(e, c); err != nil {
				return err
			}
		}
		for _, p := range e.Removed() {
			c := Compared{Path: p, Removed: true, State: Same}
			a, err := lookPath(ctx, present, p)
			if err != nil {
				return at(err, "compare", p)
			}
			if a.Ino != 0 && a.Ino == e.Ino {
				c.State = Differs
			}
			if err := fn(e, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *Reader) compare(ctx context.Context, e *Entry, path string, present volume.Reader) (c Compared, err error) {
	c = Compared{Path: path, State: Same}
	a, err := lookPath(ctx, present, path)
	if err != nil {
		return c, err
	}
	if a.Ino != 0 {
		if c.Fields, err = r.differences(ctx, e, present, &a); err != nil || len(c.Fields) == 0 {
			return c, err
		}
		if c.State = Differs; a.Ino == e.Ino || e.Ino == 0 {
			return c, nil
		}
		c.State = Displaced
	}
	live := false
	if e.Ino != 0 {
		_, err := present.GetAttr(ctx, e.Ino)
		if live = err == nil; err != nil && !errors.Is(err, volume.Stale) {
			return c, err
		}
	}
	switch {
	case a.Ino == 0 && !live:
		c.State = Missing
	case live:
		c.State = Displaced
		c.Now, err = whereNow(present, ctx, e.Ino)
	}
	return c, err
}

// namer is a tree that knows the names of inodes.
type namer interface {
	Names(ino volume.Ino) ([]volume.NameRef, error)
}

// whereNow is a path of an inode in a tree that can tell.
func whereNow(present volume.Reader, ctx context.Context, ino volume.Ino) (string, error) {
	n, ok := present.(namer)
	if !ok {
		return "", nil
	}
	path := ""
	for at := ino; at != volume.RootIno; {
		refs, err := n.Names(at)
		if err != nil || len(refs) == 0 || len(path) > maxDepth {
			return "", err
		}
		path = strings.TrimSuffix(refs[0].Name+"/"+path, "/")
		at = refs[0].Parent
	}
	return path, ctx.Err()
}

// lookPath walks a path; Ino 0 if it does not lead anywhere.
func lookPath(ctx context.Context, r volume.Reader, path string) (a volume.Attr, err error) {
	if path == "." {
		return r.GetAttr(ctx, volume.RootIno)
	}
	at := volume.RootIno
	for name := range strings.SplitSeq(path, "/") {
		a, err = r.Lookup(ctx, at, name)
		if errors.Is(err, volume.NotFound) || errors.Is(err, volume.NotDir) || errors.Is(err, volume.Stale) {
			return volume.Attr{}, nil
		}
		if err != nil {
			return a, err
		}
		at = a.Ino
	}
	return a, nil
}

// differences are the names of what is not as recorded: type, mode, owner, device, size,
// times, target, attributes, content. ctime and link counts follow from other things.
func (r *Reader) differences(ctx context.Context, e *Entry, present volume.Reader, a *volume.Attr) (fields []string, err error) {
	if a.Type() != e.Attr.Type() {
		return []string{"type"}, nil
	}
	add := func(name string, differs bool) {
		if differs {
			fields = append(fields, name)
		}
	}
	w := &e.Attr
	add("mode", a.Mode != w.Mode)
	add("owner", a.UID != w.UID || a.GID != w.GID)
	add("mtime", a.Mtime != w.Mtime)
	switch a.Type() {
	case volume.ModeBlock, volume.ModeChar:
		add("device", a.Rdev != w.Rdev)
	case volume.ModeLink:
		target, err := present.ReadLink(ctx, a.Ino)
		if err != nil {
			return fields, err
		}
		add("target", target != e.Target)
	}
	same, err := sameXattrs(ctx, present, a.Ino, e.Xattrs)
	if err != nil {
		return fields, err
	}
	add("attributes", !same)
	if !a.IsFile() {
		return fields, nil
	}
	add("size", a.Size != w.Size)
	if a.Size == w.Size {
		same, err := r.sameContent(ctx, e, readerContent{present, a.Ino})
		if err != nil {
			return fields, err
		}
		add("content", !same)
	}
	return fields, nil
}

func sameXattrs(ctx context.Context, present volume.Reader, ino volume.Ino, want []volume.Xattr) (bool, error) {
	names, err := present.ListXattr(ctx, ino)
	if err != nil || len(names) != len(want) {
		return false, err
	}
	slices.Sort(names)
	for i, x := range want {
		if names[i] != x.Name {
			return false, nil
		}
		v, err := present.GetXattr(ctx, ino, x.Name)
		if err != nil || !bytes.Equal(v, x.Value) {
			if errors.Is(err, volume.NoXattr) {
				err = nil
			}
			return false, err
		}
	}
	return true, nil
}

// errOther ends a comparison.
var errOther = errors.New("other content")

// sameContent compares content of the recorded size: blocks with bytes or hashes, and zeros
// where there is no block.
func (r *Reader) sameContent(ctx context.Context, e *Entry, c content) (bool, error) {
	if e.Form == NoContent {
		return true, nil // a directory above: never a file
	}
	buf := make([]byte, unit)
	read := func(off int64, n int) ([]byte, error) {
		p := buf[:n]
		k, err := c.ReadAt(ctx, p, off)
		clear(p[k:])
		return p, err
	}
	at := int64(0) // compared up to here
	err := r.parts(ctx, e, func(p part) error {
		if p.off+int64(p.len) <= at {
			return nil // its unit was compared by hash
		}
		if err := allZero(ctx, c, at, p.off, read); err != nil {
			return err
		}
		at = p.off + int64(p.len)
		if p.kind == blockUnreadable {
			return errOther // nobody can say
		}
		q, err := read(p.off, p.len)
		if err != nil {
			return err
		}
		same := zero(q)
		switch p.kind {
		case blockData:
			same = bytes.Equal(q, p.data)
		case blockBase:
			same = sha256.Sum256(q) == p.hash
		}
		if !same {
			return errOther
		}
		return nil
	})
	if err == nil {
		err = allZero(ctx, c, at, e.Attr.Size, read)
	}
	if err == errOther {
		return false, nil
	}
	return err == nil, err
}

// allZero is errOther if there is anything but zeros in [at, end).
func allZero(ctx context.Context, c content, at, end int64, read func(int64, int) ([]byte, error)) error {
	for at < end {
		from, to, err := nextData(ctx, c, at, end)
		if err != nil {
			return err
		}
		for from < to {
			n := min(to-from, unit)
			p, err := read(from, int(n))
			if err != nil {
				return err
			}
			if !zero(p) {
				return errOther
			}
			from += n
		}
		at = to
	}
	return nil
}
