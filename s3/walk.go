package s3

import (
	"context"
	"strings"

	"wolfdisk/volume"
)

// walker visits the keys of a bucket in byte order, from anywhere, at the cost of what it
// visits. A directory is visited as its key with a slash, before what is below it; so it
// stands where the keys below it stand, which is not where its name stands among the
// names of its parent: "a-b" and "a.txt" come before "a/", and "a0" after it.
type walker struct {
	s   *Server
	ctx context.Context
	// from is the least key that is visited.
	from string
	// prefix is what all visited keys begin with.
	prefix string
	// budget is how many entries may be looked at still.
	budget int
	// visit is called with each key and what has it, in the directory it is in.
	visit func(key string, dir volume.Ino, e volume.DirEntry) step
}

// step is what to do after a visit.
type step int

const (
	goOn step = iota // of a directory: into it
	skip             // of a directory: past it
	stop
)

// walk visits all keys; false if the visitor stopped it. errBudget if there was too
// much to look at.
func (w *walker) walk(bucket volume.Ino) (bool, error) {
	w.from = max(w.from, w.prefix)
	return w.dir(bucket, "")
}

var errBudget = volume.Errorf(volume.Busy, "too many entries for one answer")

func (w *walker) spend() error {
	if err := w.ctx.Err(); err != nil {
		return volume.Interrupted
	}
	if w.budget--; w.budget < 0 {
		return errBudget
	}
	return nil
}

// dir visits what is below a directory, whose key is given with its slash.
func (w *walker) dir(ino volume.Ino, key string) (bool, error) {
	rest := ""
	if strings.HasPrefix(w.from, key) {
		rest = w.from[len(key):]
	}
	first, _, below := strings.Cut(rest, "/")
	waiting, err := w.shorter(ino, first)
	if err != nil {
		return false, err
	}
	names := &nameIter{w: w, dir: ino, from: first}
	if below {
		// Between first and first/ there are first-1, first.txt and the like, as many as
		// may be, and all before from. So first itself is looked up, and they are not read.
		names.from = first + "/"
		if waiting, err = w.waitFor(waiting, ino, first); err != nil {
			return false, err
		}
	}
	for {
		e, ok, err := names.next()
		if err != nil {
			return false, err
		}
		for n := len(waiting); n > 0 && (!ok || waiting[n-1].Name+"/" < sortName(&e)); n = len(waiting) {
			d := waiting[n-1]
			waiting = waiting[:n-1]
			if more, err := w.enter(key+d.Name+"/", ino, d); err != nil || !more {
				return false, err
			}
		}
		switch {
		case !ok:
			return true, nil
		case e.Type == volume.ModeDir:
			waiting = append(waiting, e)
		default:
			if more, err := w.file(key+e.Name, ino, e); err != nil || !more {
				return false, err
			}
		}
	}
}

func sortName(e *volume.DirEntry) string {
	if e.Type == volume.ModeDir {
		return e.Name + "/"
	}
	return e.Name
}

// shorter finds the directories whose names come before a name, but whose keys come
// after it: it begins with theirs, and goes on with a byte below the slash. The longest,
// whose key is the least, comes last.
func (w *walker) shorter(dir volume.Ino, name string) (list []volume.DirEntry, err error) {
	for i := 1; i < len(name) && i <= volume.MaxNameLen; i++ {
		if name[i] >= '/' {
			continue
		}
		if list, err = w.waitFor(list, dir, name[:i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// waitFor adds a directory to those that wait, if there is one of that name.
func (w *walker) waitFor(list []volume.DirEntry, dir volume.Ino, name string) ([]volume.DirEntry, error) {
	if volume.CheckName(name) != nil {
		return list, nil
	}
	if err := w.spend(); err != nil {
		return nil, err
	}
	a, err := w.s.vol.Lookup(w.ctx, dir, name)
	switch kind := volume.KindOf(err); {
	case err != nil && (kind == volume.NotFound || kind == volume.Invalid || kind == volume.Stale):
		return list, nil
	case err != nil:
		return nil, err
	case a.IsDir():
		list = append(list, volume.DirEntry{Name: name, Ino: a.Ino, Type: volume.ModeDir})
	}
	return list, nil
}

// enter visits a directory and what is below it.
func (w *walker) enter(key string, dir volume.Ino, e volume.DirEntry) (bool, error) {
	switch {
	case key >= w.from && strings.HasPrefix(key, w.prefix):
		switch w.visit(key, dir, e) {
		case skip:
			return true, nil
		case stop:
			return false, nil
		}
	case key >= w.from && key > w.prefix:
		return false, nil // behind all that have the prefix
	case !strings.HasPrefix(w.from, key), len(key) > maxKeyLen:
		return true, nil // all below it is before from, or longer than any key
	}
	more, err := w.dir(e.Ino, key)
	if kind := volume.KindOf(err); err != nil && (kind == volume.Stale || kind == volume.NotDir) {
		return true, nil // removed meanwhile
	}
	return more, err
}

func (w *walker) file(key string, dir volume.Ino, e volume.DirEntry) (bool, error) {
	switch {
	case key < w.from:
		return true, nil
	case !strings.HasPrefix(key, w.prefix):
		return false, nil // from is at least prefix, so this is behind it
	}
	return w.visit(key, dir, e) != stop, nil
}

// Batches of names: a page of a few keys should not read many, a long one not ask often.
const (
	firstBatch = 32
	lastBatch  = 512
)

// nameIter reads a directory by name, in batches, since nothing else may be asked of the
// volume while it reads.
type nameIter struct {
	w     *walker
	dir   volume.Ino
	from  string
	batch []volume.DirEntry
	size  int
	end   bool
}

func (it *nameIter) next() (e volume.DirEntry, ok bool, err error) {
	if len(it.batch) == 0 {
		if it.end {
			return e, false, nil
		}
		if err := it.fill(); err != nil || len(it.batch) == 0 {
			return e, false, err
		}
	}
	e = it.batch[0]
	it.batch = it.batch[1:]
	return e, true, it.w.spend()
}

func (it *nameIter) fill() error {
	it.size = min(max(2*it.size, firstBatch), lastBatch)
	it.batch = make([]volume.DirEntry, 0, it.size)
	it.end = true
	err := it.w.s.vol.ReadNames(it.w.ctx, it.dir, it.from, func(e volume.DirEntry) bool {
		it.batch = append(it.batch, e)
		it.end = len(it.batch) < it.size
		return it.end
	})
	if n := len(it.batch); n > 0 {
		it.from = it.batch[n-1].Name + "\x00"
	}
	return err
}

// behind is the least string behind all that begin with s; false if there is none.
func behind(s string) (string, bool) {
	b := []byte(s)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return string(b[:i+1]), true
		}
	}
	return "", false
}
