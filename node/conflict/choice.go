package conflict

import (
	"context"
	"strings"

	"wolfdisk/volume"
)

// Kinds of notes.
const (
	Partial = "partial" // of a file, not all content was to be had: the rest is a hole
	Refused = "refused" // the file system, or the volume, does not take it or something of it
	Beside  = "beside"  // its place was taken: it is beside it, under another name
)

// Note is something about one path that somebody should know.
type Note struct {
	Kind, Path, Text string
}

// Result counts what a restore did.
type Result struct {
	Written uint64 // names other than of directories
	Folders uint64 // made
	Kept    uint64 // names that were there already, as recorded
	Beside  uint64 // of those written, under another name
	Bytes   uint64 // of content
	Partial uint64
	Refused uint64
}

// RestoreOptions are what both ways of restoring share.
type RestoreOptions struct {
	// Paths are restored, with all below them; none means everything.
	Paths []string
	// Present is the tree as it is now: content that the fork did not change is taken from it if
	// it proves to be the same. nil if there is none.
	Present volume.Reader
	// Tell is told of every note.
	Tell func(Note) error
	// Progress may be nil.
	Progress func(files, bytes uint64, path string)
}

func (o *RestoreOptions) prepare() error {
	if o.Tell == nil {
		o.Tell = func(Note) error { return nil }
	}
	if o.Progress == nil {
		o.Progress = func(uint64, uint64, string) {}
	}
	for i, p := range o.Paths {
		if p = strings.Trim(p, "/"); p == "" {
			p = "."
		}
		if !checkPath(p) {
			return volume.Errorf(volume.Invalid, "path %q: must lead from the root of the volume to a name, without . and ..", o.Paths[i])
		}
		o.Paths[i] = p
	}
	return nil
}

// wants reports whether a path is to be restored, and whether it lies above one that is.
func (o *RestoreOptions) wants(path string) (itself, above bool) {
	if len(o.Paths) == 0 {
		return true, false
	}
	for _, p := range o.Paths {
		if p == path || p == "." || strings.HasPrefix(path, p+"/") {
			itself = true
		}
		above = above || path == "." || strings.HasPrefix(p, path+"/")
	}
	return itself, above
}

// chosen are the paths of an entry that are to be restored: for a directory also those above
// what is.
func (o *RestoreOptions) chosen(e *Entry) (list []string) {
	for _, p := range e.Paths {
		if itself, above := o.wants(p); itself || above && e.Attr.IsDir() {
			list = append(list, p)
		}
	}
	return list
}

// nameless reports whether an entry has lost its names but not its content, and is wanted.
func (o *RestoreOptions) nameless(e *Entry) bool {
	if len(e.Paths) > 0 || !e.Known || e.Attr.IsDir() {
		return false
	}
	itself, _ := o.wants(e.Path())
	return itself
}

// holds is NotFound if one of the chosen paths is not in the record.
func (r *Reader) holds(ctx context.Context, o *RestoreOptions) error {
	if len(o.Paths) == 0 {
		return nil
	}
	found, gone := map[string]bool{}, map[string]bool{}
	err := r.Each(ctx, func(e *Entry) error {
		for _, p := range o.Paths {
			one := RestoreOptions{Paths: []string{p}}
			for _, q := range append(e.Paths[:len(e.Paths):len(e.Paths)], e.Path()) {
				if itself, _ := one.wants(q); itself {
					found[p] = found[p] || e.Known
					gone[p] = true
				}
			}
		}
		return nil
	})
	for _, p := range o.Paths {
		switch {
		case err != nil || found[p]:
		case gone[p]:
			err = volume.Errorf(volume.NotFound, "conflict record %s says of %q only that it was removed: there is nothing to restore", r.ID, p)
		default:
			err = volume.Errorf(volume.NotFound, "conflict record %s holds nothing at %q: wolfdiskctl conflicts show %s lists what it holds", r.ID, p, r.ID)
		}
	}
	return err
}

// base is where the present tree has an entry's content.
func (o *RestoreOptions) base(e *Entry) Base {
	if o.Present == nil || e.Ino == 0 {
		return nil
	}
	return readerContent{o.Present, e.Ino}
}

func split(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return ".", path
}
