package conflict

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"wolfdisk/volume"
)

// VolumeOptions say how a record is restored into a volume.
type VolumeOptions struct {
	RestoreOptions // Present is the volume itself
	Volume         volume.Volume
}

// toVolume restores into the volume, by ordinary requests.
type toVolume struct {
	VolumeOptions
	ctx context.Context
	r   *Reader
	res Result
	// dirs are where directories of the record are now, those on the way to the present
	// entry; made are those that were made, to be dressed in the end.
	dirs []placed
	made map[string]volume.Ino
	// where are all directories of the record that were met, by their recorded paths.
	where map[string]volume.Ino
	// links are further names.
	links []linkTo
}

type placed struct {
	path string
	ino  volume.Ino
}

type linkTo struct {
	ino  volume.Ino
	path string
	e    *Entry // without content: for notes
}

// RestoreInto puts what is recorded back into the volume: under its own path where nothing
// is, otherwise beside it as NAME.conflict-ID. What is there already, as recorded, is kept;
// nothing is ever written over, and no directory that exists is changed.
func (r *Reader) RestoreInto(ctx context.Context, o VolumeOptions) (Result, error) {
	o.Present = o.Volume
	if err := o.prepare(); err != nil {
		return Result{}, err
	}
	if err := r.holds(ctx, &o.RestoreOptions); err != nil {
		return Result{}, err
	}
	t := &toVolume{VolumeOptions: o, ctx: ctx, r: r, made: map[string]volume.Ino{}, where: map[string]volume.Ino{}}
	err := r.Each(ctx, t.entry)
	for _, l := range t.links {
		if err == nil {
			err = at(t.link(l), "restore", l.path)
		}
	}
	if err == nil {
		err = t.dressDirs()
	}
	if err == nil {
		err = o.Volume.Sync(ctx, 0, false)
	}
	if volume.KindOf(err) == volume.ReadOnly && err != nil {
		err = volume.Errorf(volume.ReadOnly, "this node takes no changes now: restore with --to DIR and copy into the mount of the leader, or again when this node leads (%w)", err)
	}
	return t.res, err
}

func (t *toVolume) do(req volume.Request) (volume.Result, error) {
	req.Caller.Front = volume.FrontAdmin
	return t.Volume.Do(t.ctx, &req)
}

// found looks a name up; Ino 0 if there is nothing.
func (t *toVolume) found(dir volume.Ino, name string) (volume.Attr, error) {
	a, err := t.Volume.Lookup(t.ctx, dir, name)
	if errors.Is(err, volume.NotFound) {
		return volume.Attr{}, nil
	}
	return a, err
}

func (t *toVolume) entry(e *Entry) error {
	list := t.chosen(e)
	name := ""
	if t.nameless(e) {
		// It had lost its name: so it does not get the old one.
		list = []string{"lost-" + e.Ino.String()}
		if len(e.Before) > 0 {
			list = e.Before[:1]
		}
		_, name = split(list[0])
		name = t.beside(name, 1)
	}
	if len(list) == 0 || !e.Known {
		return nil
	}
	if e.Attr.IsDir() {
		_, err := t.dir(list[0])
		return at(err, "restore directory", list[0])
	}
	ino, err := t.object(e, list[0], name)
	if err != nil || ino == 0 {
		return at(err, "restore", list[0])
	}
	small := &Entry{Ino: e.Ino, Attr: e.Attr}
	for _, p := range list[1:] {
		t.links = append(t.links, linkTo{ino, p, small})
	}
	return nil
}

// dir is the directory at a path, which is made if nothing is there. If something else has a
// name on the way, the directory is made beside it.
func (t *toVolume) dir(path string) (volume.Ino, error) {
	if path == "." {
		return volume.RootIno, nil
	}
	for len(t.dirs) > 0 && t.dirs[len(t.dirs)-1].path != path && !within(path, t.dirs[len(t.dirs)-1].path) {
		t.dirs = t.dirs[:len(t.dirs)-1]
	}
	ino, from := volume.RootIno, "."
	if n := len(t.dirs); n > 0 {
		ino, from = t.dirs[n-1].ino, t.dirs[n-1].path
	}
	rest := ""
	if from != path {
		rest = strings.TrimPrefix(path, from+"/")
	}
	for rest != "" {
		name, more, _ := strings.Cut(rest, "/")
		rest, from = more, inner(from, name)
		sub, err := t.subdir(ino, name, from)
		if err != nil {
			return 0, err
		}
		ino = sub
		t.dirs = append(t.dirs, placed{from, ino})
	}
	return ino, nil
}

func (t *toVolume) subdir(parent volume.Ino, name, path string) (volume.Ino, error) {
	if ino := t.where[path]; ino != 0 {
		return ino, nil // beside its place, as was decided before
	}
	for n := range maxBeside {
		as := t.beside(name, n)
		a, err := t.found(parent, as)
		if err != nil {
			return 0, err
		}
		if a.Ino != 0 && a.IsDir() {
			t.where[path] = a.Ino
			return a.Ino, nil
		}
		if a.Ino != 0 {
			continue
		}
		res, err := t.do(volume.Request{Kind: volume.OpCreate, Parent: parent, Name: as, Mode: volume.ModeDir | 0o700})
		if errors.Is(err, volume.Exists) {
			continue
		}
		if err != nil {
			return 0, err
		}
		t.res.Folders++
		t.made[path], t.where[path] = res.Attr.Ino, res.Attr.Ino
		return res.Attr.Ino, t.noteBeside(path, as, n)
	}
	return 0, t.crowded(name)
}

// maxBeside is how many names beside a taken one are tried.
const maxBeside = 100

func (t *toVolume) crowded(name string) error {
	return volume.Errorf(volume.Exists, "%q is taken, and so are %d names beside it: move some of them", name, maxBeside-1)
}

// beside is the n-th name for what is called name: its own, NAME.conflict-ID, and then with
// numbers behind it.
func (t *toVolume) beside(name string, n int) string {
	if n == 0 {
		return name
	}
	tail := ".conflict-" + t.r.ID
	if n > 1 {
		tail += fmt.Sprintf(".%d", n)
	}
	if most := volume.MaxNameLen - len(tail); len(name) > most {
		name = name[:most]
		for i := 0; i < utf8.UTFMax && i < len(name) && !utf8.RuneStart(name[len(name)-1]); i++ {
			name = name[:len(name)-1]
		}
	}
	return name + tail
}

func (t *toVolume) noteBeside(path, as string, n int) error {
	if n == 0 {
		return nil
	}
	t.res.Beside++
	return t.Tell(Note{Beside, path, "its place is taken: it is beside it as " + as})
}

// object restores what is no directory and returns the inode, also if it was there. own
// replaces the first name that is tried; it may be empty.
func (t *toVolume) object(e *Entry, path, own string) (volume.Ino, error) {
	dirPath, name := split(path)
	dir, err := t.dir(dirPath)
	if err != nil {
		return 0, err
	}
	start := 0
	if own != "" {
		start = 1
	}
	for n := start; n < maxBeside; n++ {
		a, err := t.found(dir, t.beside(name, n))
		if err != nil {
			return 0, err
		}
		if a.Ino != 0 {
			fields, err := t.r.differences(t.ctx, e, t.Volume, &a)
			if err != nil {
				return 0, err
			}
			if len(fields) > 0 {
				continue
			}
			t.res.Kept++
			return a.Ino, nil
		}
		ino, err := t.create(e, path, dir, t.beside(name, n))
		if errors.Is(err, volume.Exists) {
			continue // somebody was quicker
		}
		if err != nil || ino == 0 {
			return 0, err
		}
		t.res.Written++
		t.Progress(1, 0, path)
		if own == "" {
			err = t.noteBeside(path, t.beside(name, n), n)
		}
		return ino, err
	}
	return 0, t.crowded(name)
}

// create makes an inode without a name, and gives it its name when it is whole; 0 if the
// volume does not take it.
func (t *toVolume) create(e *Entry, path string, dir volume.Ino, name string) (ino volume.Ino, err error) {
	a := &e.Attr
	res, err := t.do(volume.Request{Kind: volume.OpCreate, Mode: a.Mode&volume.ModeType | 0o600, Rdev: a.Rdev, Target: e.Target,
		Caller: volume.Caller{UID: a.UID, GID: a.GID}})
	if err != nil {
		return 0, err
	}
	ino = res.Attr.Ino
	// While it is open it lives; closed without a name it ends.
	if err := t.Volume.Open(t.ctx, ino, true); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.Volume.Close(context.WithoutCancel(t.ctx), ino)) }()
	if a.IsFile() {
		err = t.content(e, path, ino)
	}
	if err == nil {
		err = t.dress(e, ino, path)
	}
	if err == nil {
		_, err = t.do(volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: dir, NewName: name})
	}
	if k := volume.KindOf(err); err != nil && (k == volume.TooBig || k == volume.Unsupported) {
		t.res.Refused++
		return 0, t.Tell(Note{Refused, path, err.Error()})
	}
	return ino, err
}

func (t *toVolume) content(e *Entry, path string, ino volume.Ino) error {
	_, err := t.do(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize, Size: e.Attr.Size})
	if err != nil {
		return err
	}
	lost, err := t.r.assemble(t.ctx, e, t.base(e), func(p []byte, off int64) error {
		for len(p) > 0 {
			res, err := t.do(volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: p})
			if err != nil {
				return err
			}
			if res.N < 1 {
				return volume.Errorf(volume.NoSpace, "the volume took nothing at %d", off)
			}
			p, off = p[res.N:], off+int64(res.N)
			t.res.Bytes += uint64(res.N)
			t.Progress(0, uint64(res.N), path)
		}
		return nil
	})
	if err != nil || len(lost) == 0 {
		return err
	}
	t.res.Partial++
	return t.Tell(Note{Partial, path, lostText(e, lost)})
}

// dress gives an inode its owner, attributes, mode and times, in that order: each may change
// those before it, never those behind.
func (t *toVolume) dress(e *Entry, ino volume.Ino, path string) error {
	a := &e.Attr
	if _, err := t.do(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetUID | volume.SetGID, UID: a.UID, GID: a.GID}); err != nil {
		return err
	}
	for _, x := range e.Xattrs {
		_, err := t.do(volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: x.Name, Data: x.Value})
		if err == nil {
			continue
		}
		if k := volume.KindOf(err); k != volume.Unsupported && k != volume.NotPermitted && k != volume.Invalid {
			return err
		}
		t.res.Refused++
		if err := t.Tell(Note{Refused, path, "extended attribute " + x.Name + ": " + err.Error()}); err != nil {
			return err
		}
	}
	set := volume.SetAtime | volume.SetMtime
	if a.Type() != volume.ModeLink {
		set |= volume.SetMode
	}
	_, err := t.do(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: set, Mode: a.Mode & volume.ModePerm, Atime: a.Atime, Mtime: a.Mtime})
	return err
}

// link gives what was restored a further name.
func (t *toVolume) link(l linkTo) error {
	dirPath, name := split(l.path)
	dir, err := t.dir(dirPath)
	if err != nil {
		return err
	}
	for n := range maxBeside {
		as := t.beside(name, n)
		a, err := t.found(dir, as)
		if err != nil {
			return err
		}
		if a.Ino == l.ino {
			t.res.Kept++
			return nil
		}
		if a.Ino != 0 {
			continue
		}
		_, err = t.do(volume.Request{Kind: volume.OpLink, Ino: l.ino, NewParent: dir, NewName: as})
		if errors.Is(err, volume.Exists) {
			continue
		}
		if err != nil {
			return err
		}
		t.res.Written++
		return t.noteBeside(l.path, as, n)
	}
	return t.crowded(name)
}

// dressDirs gives the directories that were made their attributes, when nothing in them
// changes any more.
func (t *toVolume) dressDirs() error {
	return t.r.Each(t.ctx, func(e *Entry) error {
		if !e.Known || !e.Attr.IsDir() || len(e.Paths) == 0 {
			return nil
		}
		ino := t.made[e.Paths[0]]
		if ino == 0 {
			return nil
		}
		err := t.undress(e, ino)
		if err == nil {
			err = t.dress(e, ino, e.Paths[0])
		}
		return at(err, "set attributes of", e.Paths[0])
	})
}

// undress takes away what a directory inherited when it was made: ACLs of the one above.
func (t *toVolume) undress(e *Entry, ino volume.Ino) error {
	names, err := t.Volume.ListXattr(t.ctx, ino)
	if err != nil {
		return err
	}
	for _, name := range names {
		has := slices.ContainsFunc(e.Xattrs, func(x volume.Xattr) bool { return x.Name == name })
		if has {
			continue
		}
		if _, err := t.do(volume.Request{Kind: volume.OpRemoveXattr, Ino: ino, Name: name}); err != nil {
			return err
		}
	}
	return nil
}
