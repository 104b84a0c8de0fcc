package export

import (
	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// folder is an open directory of the export, with the objects of a batch that wait in it.
type folder struct {
	*hostdir.PlainFolder
	refs int
}

func (f *folder) release() error {
	if f.refs--; f.refs > 0 {
		return nil
	}
	return f.Close()
}

// firstName is where the first name of an inode lies, and how many are still to come.
type firstName struct {
	path  string
	lower uint64 // of one that is in place
	left  uint32
}

// inner is the path of a name in a directory.
func inner(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// walk brings one directory, then those in it, to what the tree has.
func (e *exporter) walk(root *hostdir.PlainFolder, ino volume.Ino, path string) (err error) {
	f := &folder{root, 1}
	if ino != volume.RootIno {
		defer func() {
			if rerr := f.release(); err == nil {
				err = volume.Wrap(rerr, "close a directory")
			}
		}()
	} else {
		f.refs++ // the exporter closes it
	}
	if err := e.removeGone(f, ino, path); err != nil {
		return err
	}
	var subdirs []volume.DirEntry
	err = e.Tree.ByName(ino, func(d volume.DirEntry) error {
		if err := e.pause(); err != nil {
			return err
		}
		if d.Type == volume.ModeDir {
			subdirs = append(subdirs, d)
			return nil
		}
		return e.name(f, d, inner(path, d.Name))
	})
	if err != nil {
		return err
	}
	for _, d := range subdirs {
		if err := e.subdir(f, d, inner(path, d.Name)); err != nil {
			return err
		}
	}
	return nil
}

// pause is the place where an export ends early, and tells how far it is.
func (e *exporter) pause() error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	return e.Tick()
}

// removeGone removes what an earlier export made here and the tree no longer has.
func (e *exporter) removeGone(f *folder, ino volume.Ino, path string) error {
	if len(e.rec.made) == 0 {
		return nil
	}
	var gone []string
	err := f.Names(func(name string) error {
		if path == "" && (name == Own || name == lostFound) {
			return nil
		}
		_, err := e.Tree.Entry(ino, name)
		if err != nil && volume.KindOf(err) == volume.NotFound {
			gone = append(gone, name)
			return nil
		}
		return err
	})
	if err != nil {
		return at(err, "list", path)
	}
	for _, name := range gone {
		if _, err := e.remove(f.PlainFolder, name, inner(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a name, with all below it, as far as the export made it, and tells
// whether it is gone.
func (e *exporter) remove(f *hostdir.PlainFolder, name, path string) (bool, error) {
	if err := e.pause(); err != nil {
		return false, err
	}
	a, _, err := f.Stat(name)
	if err != nil {
		return false, at(err, "look at", path)
	}
	key := keyOf(path)
	if _, ours := e.rec.made[key]; !ours {
		return false, e.note(Left, path, "was not made by this export")
	}
	if a.IsDir() {
		empty, err := e.removeBelow(f, name, path)
		if err != nil || !empty {
			return false, err
		}
	}
	if err := f.Remove(name, a.IsDir()); err != nil {
		return false, at(err, "remove", path)
	}
	delete(e.rec.made, key)
	e.rec.put(entryRemoved, key, 0, 0)
	e.res.Removed++
	return true, nil
}

func (e *exporter) removeBelow(f *hostdir.PlainFolder, name, path string) (empty bool, err error) {
	sub, err := f.Folder(name)
	if err != nil {
		return false, at(err, "open", path)
	}
	defer sub.Close()
	var names []string
	err = sub.Names(func(name string) error {
		names = append(names, name)
		return nil
	})
	if err != nil {
		return false, at(err, "list", path)
	}
	empty = true
	for _, n := range names {
		gone, err := e.remove(sub, n, inner(path, n))
		if err != nil {
			return false, err
		}
		empty = empty && gone
	}
	return empty, nil
}

// clear makes room for what the tree has at a name.
func (e *exporter) clear(f *folder, name, path string) error {
	gone, err := e.remove(f.PlainFolder, name, path)
	if err == nil && !gone {
		err = volume.Errorf(volume.Exists, "%q is in the way and was not made by this export: move it out of %s", path, e.Dir)
	}
	return err
}

// name looks at one name of the tree that is no directory: it stays or is written.
func (e *exporter) name(f *folder, d volume.DirEntry, path string) error {
	attr, err := e.Tree.Inode(d.Ino)
	if err != nil {
		return at(err, "look up", path)
	}
	o := &object{folder: f, name: d.Name, path: path, key: keyOf(path), attr: attr}
	was, ours := e.rec.made[o.key]
	lower, err := e.below(o, was, ours)
	if err != nil {
		return err
	}
	if attr.Nlink > 1 {
		first := e.first[attr.Ino]
		if first == nil {
			e.first[attr.Ino] = &firstName{path, lower, attr.Nlink - 1}
		} else {
			o.link = first.path
			if lower != first.lower {
				lower = 0 // it is whole, but another file
			}
			if first.left--; first.left == 0 {
				delete(e.first, attr.Ino)
			}
		}
	}
	if lower != 0 {
		e.res.Kept++
		e.Progress(1, uint64(size(&attr)), path)
		return nil
	}
	return e.add(o)
}

func size(a *volume.Attr) int64 {
	if !a.IsFile() {
		return 0
	}
	return a.Size
}

// below makes sure that what a name has in the export may be replaced, and returns its
// lower inode number if it need not be.
func (e *exporter) below(o *object, was made, ours bool) (lower uint64, err error) {
	have, lower, err := o.folder.Stat(o.name)
	switch {
	case err != nil && volume.KindOf(err) == volume.NotFound:
		return 0, nil
	case err != nil:
		return 0, at(err, "look at", o.path)
	case !ours || have.IsDir():
		return 0, e.clear(o.folder, o.name, o.path)
	case was.ino == o.attr.Ino && was.version == o.attr.Version && same(&have, &o.attr):
		return lower, nil
	}
	return 0, nil
}

// same reports whether a lower file looks as it was left: one that somebody edited is
// written again.
func same(have, want *volume.Attr) bool {
	return have.Type() == want.Type() && have.Mtime == want.Mtime && (!want.IsFile() || have.Size == want.Size)
}

// subdir makes sure that a directory is there, and walks it.
func (e *exporter) subdir(f *folder, d volume.DirEntry, path string) error {
	if err := e.pause(); err != nil {
		return err
	}
	key := keyOf(path)
	have, _, err := f.Stat(d.Name)
	missing := err != nil && volume.KindOf(err) == volume.NotFound
	switch {
	case err != nil && !missing:
		return at(err, "look at", path)
	case !missing && !have.IsDir():
		if err := e.clear(f, d.Name, path); err != nil {
			return err
		}
		missing = true
	}
	_, ours := e.rec.made[key]
	if !ours {
		e.rec.put(entryIntent, key, 0, 0)
		if err := e.rec.flush(false); err != nil {
			return err
		}
	}
	if missing {
		if err := f.Mkdir(d.Name); err != nil {
			return at(err, "make directory", path)
		}
	}
	sub, err := f.Folder(d.Name)
	if err != nil {
		return at(err, "open directory", path)
	}
	if !missing && !ours {
		if err := e.adopt(sub, path); err != nil {
			sub.Close()
			return err
		}
	}
	e.res.Folders++
	return e.walk(sub, d.Ino, path)
}

// adopt takes a directory that the record does not know. A power loss may have taken its
// entry, but not those of files in it, which are synced before these are made.
func (e *exporter) adopt(sub *hostdir.PlainFolder, path string) error {
	return sub.Names(func(name string) error {
		a, _, err := sub.Stat(name)
		if err != nil {
			return at(err, "look at", inner(path, name))
		}
		if _, ours := e.rec.made[keyOf(inner(path, name))]; ours || a.IsDir() {
			return nil
		}
		return volume.Errorf(volume.Exists, "%q was not made by this export, and %q is in it: move it out of %s", path, name, e.Dir)
	})
}
