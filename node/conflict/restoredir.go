package conflict

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// DirOptions say where a record is restored to.
type DirOptions struct {
	RestoreOptions
	Dir string // exists and is empty
	// Check is asked whether the open directory may be written to.
	Check  func(*hostdir.Plain) error
	NoSync bool // make nothing durable, for tests that restore very often
	Log    zerolog.Logger
}

// toDir restores into a plain directory.
type toDir struct {
	DirOptions
	ctx   context.Context
	r     *Reader
	plain *hostdir.Plain
	chain chain
	res   Result
	// links are further names, made when all directories are there.
	links []furtherName
	// serial stands for the inode ID where none is known.
	serial uint32
}

type furtherName struct{ first, path string }

// RestoreTo writes what is recorded as plain files into an empty directory: everything, or
// the chosen paths, with the directories above them. What has no name any more goes to
// .wolfdisk/nameless in it.
func (r *Reader) RestoreTo(ctx context.Context, o DirOptions) (res Result, err error) {
	if err := o.prepare(); err != nil {
		return res, err
	}
	if err := r.holds(ctx, &o.RestoreOptions); err != nil {
		return res, err
	}
	t := &toDir{DirOptions: o, ctx: ctx, r: r}
	if t.plain, err = hostdir.OpenPlain(o.Dir, o.Log); err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, t.chain.close(), t.plain.Close()) }()
	if t.chain.root, err = t.plain.Root(); err != nil {
		return res, err
	}
	if err := t.usable(); err != nil {
		return res, err
	}
	err = r.Each(ctx, t.entry)
	for _, l := range t.links {
		if err == nil {
			err = at(t.link(l), "link", l.path)
		}
	}
	if err == nil {
		err = t.dress()
	}
	if err == nil && !o.NoSync {
		err = t.plain.Sync()
	}
	if k := volume.KindOf(err); err != nil && (k == volume.NoSpace || k == volume.Quota) {
		err = volume.Errorf(k, "no space left for %s: make room, or choose another directory (%w)", o.Dir, err)
	}
	return t.res, err
}

func (t *toDir) usable() error {
	if t.Check != nil {
		if err := t.Check(t.plain); err != nil {
			return err
		}
	}
	return t.chain.root.Names(func(name string) error {
		if name == "lost+found" {
			return nil
		}
		return volume.Errorf(volume.NotEmpty, "%s is not empty (%q is in it): choose an empty directory", t.Dir, name)
	})
}

func at(err error, verb, path string) error {
	return volume.Wrap(err, verb+" "+strconv.Quote(path))
}

// entry restores one entry.
func (t *toDir) entry(e *Entry) error {
	list := t.chosen(e)
	if t.nameless(e) {
		list = []string{namelessDir + "/" + strconv.FormatUint(t.source(e), 16)}
	}
	if len(list) == 0 || !e.Known {
		return nil
	}
	if e.Attr.IsDir() {
		_, err := t.chain.to(list[0])
		t.res.Folders++
		return at(err, "make directory", list[0])
	}
	dir, name := split(list[0])
	f, err := t.chain.to(dir)
	if err != nil {
		return at(err, "make directory", dir)
	}
	made, err := t.make(f, name, e, list[0])
	if err != nil || !made {
		return at(err, "write", list[0])
	}
	t.res.Written++
	t.Progress(1, 0, list[0])
	for _, p := range list[1:] {
		t.links = append(t.links, furtherName{list[0], p})
	}
	return nil
}

// source is a number that no other entry has.
func (t *toDir) source(e *Entry) uint64 {
	if e.Ino != 0 {
		return uint64(e.Ino)
	}
	t.serial++
	return 1<<60 | uint64(t.serial)
}

// make makes one object that is no directory; false if the file system does not have it.
func (t *toDir) make(f *hostdir.PlainFolder, name string, e *Entry, path string) (made bool, err error) {
	if e.Attr.IsFile() {
		err = t.file(f, name, e, path)
	} else {
		err = f.Make(name, &e.Attr, e.Target)
	}
	if k := volume.KindOf(err); err != nil && (k == volume.Unsupported || k == volume.TooBig) {
		return false, t.refuse(path, err.Error())
	}
	if err != nil {
		return false, err
	}
	return true, t.dressOne(f, name, e, path)
}

func (t *toDir) refuse(path, text string) error {
	t.res.Refused++
	return t.Tell(Note{Refused, path, text})
}

func (t *toDir) file(f *hostdir.PlainFolder, name string, e *Entry, path string) error {
	out, err := f.Create(name)
	if err != nil {
		return err
	}
	err = t.fill(out, e, path)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		rerr := f.Remove(name, false) // a file that is not whole must not look like one
		err = errors.Join(err, rerr)
	}
	return err
}

func (t *toDir) fill(out *os.File, e *Entry, path string) error {
	if err := out.Truncate(e.Attr.Size); err != nil {
		return err
	}
	lost, err := t.r.assemble(t.ctx, e, t.base(e), func(p []byte, off int64) error {
		_, err := out.WriteAt(p, off)
		t.res.Bytes += uint64(len(p))
		t.Progress(0, uint64(len(p)), path)
		return err
	})
	if err != nil || len(lost) == 0 {
		return err
	}
	t.res.Partial++
	return t.Tell(Note{Partial, path, lostText(e, lost)})
}

// lostText says which content is not there.
func lostText(e *Entry, lost []volume.Range) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d bytes are not to be had, and are left as holes:", total(lost), e.Attr.Size)
	for i, r := range lost {
		if i == 8 {
			fmt.Fprintf(&b, " and %d more", len(lost)-i)
			break
		}
		fmt.Fprintf(&b, " %d+%d", r.Off, r.Len)
	}
	b.WriteString(". The fork did not change them, and the file as it is now is not what it was then; or they could not be read when the record was made")
	return b.String()
}

// xattrView gives an entry's attributes to what dresses a lower file.
type xattrView struct {
	volume.View
	e *Entry
}

func (v xattrView) Xattrs(volume.Ino) ([]volume.Xattr, error) { return v.e.Xattrs, nil }

func (t *toDir) dressOne(f *hostdir.PlainFolder, name string, e *Entry, path string) error {
	a := e.Attr
	a.Ino = volume.Ino(t.source(e))
	refused, err := f.Dress(name, &a, xattrView{e: e})
	if err == nil && len(refused) > 0 {
		err = t.refuse(path, strings.Join(refused, ", "))
	}
	return err
}

func (t *toDir) link(l furtherName) error {
	dir, name := split(l.path)
	to, err := t.chain.to(dir)
	if err != nil {
		return err
	}
	firstDir, firstName := split(l.first)
	from := chain{root: t.chain.root}
	f, err := from.to(firstDir)
	if err == nil {
		err = f.Link(firstName, to, name)
	}
	from.root = nil
	if err = errors.Join(err, from.close()); err == nil {
		t.res.Written++
	}
	return err
}

// dress gives directories their attributes, now that nothing in them changes any more, the
// deepest first.
func (t *toDir) dress() error {
	var open []*Entry
	pop := func() error {
		e := open[len(open)-1]
		open = open[:len(open)-1]
		p := e.Paths[0]
		f, err := t.chain.to(p)
		if err == nil {
			err = t.dressOne(f, ".", e, p)
		}
		return at(err, "set attributes of", p)
	}
	err := t.r.Each(t.ctx, func(e *Entry) error {
		if !e.Known || !e.Attr.IsDir() || len(t.chosen(e)) == 0 || len(t.Paths) > 0 && e.Paths[0] == "." {
			return nil
		}
		for len(open) > 0 && !within(e.Paths[0], open[len(open)-1].Paths[0]) {
			if err := pop(); err != nil {
				return err
			}
		}
		open = append(open, e)
		return nil
	})
	for err == nil && len(open) > 0 {
		err = pop()
	}
	return err
}

// within reports whether a path lies in a directory.
func within(path, dir string) bool { return dir == "." || strings.HasPrefix(path, dir+"/") }

// chain is the open directories from the root to the one that is worked in.
type chain struct {
	root  *hostdir.PlainFolder
	names []string
	open  []*hostdir.PlainFolder
	read  bool // nothing is made or changed
}

// to opens a directory, and makes it if it is not there, unless the chain is for reading.
func (c *chain) to(path string) (*hostdir.PlainFolder, error) {
	var want []string
	if path != "." {
		want = strings.Split(path, "/")
	}
	same := 0
	for same < len(want) && same < len(c.names) && want[same] == c.names[same] {
		same++
	}
	if err := c.cut(same); err != nil {
		return nil, err
	}
	f := c.last()
	for _, name := range want[same:] {
		sub, err := c.enter(f, name)
		if err != nil {
			return nil, err
		}
		c.names, c.open = append(c.names, name), append(c.open, sub)
		f = sub
	}
	return f, nil
}

func (c *chain) enter(f *hostdir.PlainFolder, name string) (*hostdir.PlainFolder, error) {
	if c.read {
		return f.Into(name)
	}
	sub, err := f.Folder(name)
	if err == nil || volume.KindOf(err) != volume.NotFound {
		return sub, err
	}
	if err := f.Mkdir(name); err != nil {
		return nil, err
	}
	return f.Folder(name)
}

func (c *chain) last() *hostdir.PlainFolder {
	if n := len(c.open); n > 0 {
		return c.open[n-1]
	}
	return c.root
}

// cut closes all but the first n.
func (c *chain) cut(n int) error {
	var errs []error
	for _, f := range c.open[n:] {
		errs = append(errs, f.Close())
	}
	c.names, c.open = c.names[:n], c.open[:n]
	return errors.Join(errs...)
}

func (c *chain) close() error {
	err := c.cut(0)
	if c.root != nil {
		err = errors.Join(err, c.root.Close())
	}
	return err
}
