package node

import (
	"context"
	"fmt"
	"slices"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// brake refuses to take a disk that is not there, or not whole, for one that was
// emptied. It is asked when everything that has only moved is recorded.
func (r *reconciler) brake(gone []missing) error {
	n, err := r.lost(gone)
	if err != nil {
		return err
	}
	r.gone += n
	return r.tooMuch(r.gone)
}

// brakeEarly is brake before anything is recorded: what has come may be what has gone,
// but no more than that. Of another round than the first it says nothing new.
func (r *reconciler) brakeEarly(ctx context.Context, f *round) error {
	if !f.whole || r.ops > 0 {
		return nil
	}
	replaced := slices.Concat(f.byKind[hostdir.DiffReplaced], f.byKind[hostdir.DiffType])
	gone, err := r.fewer(ctx, append(displaced(replaced), f.missing...), append(replaced, f.byKind[hostdir.DiffExtra]...))
	if err != nil {
		return err
	}
	return r.tooMuch(gone)
}

// brakeDisplaced is brake for what something else stands in place of, which nothing says to be missing:
// a directory behind a link that was put in its place, or below one that was moved there. It is asked
// before that is recorded, when what has only moved is.
func (r *reconciler) brakeDisplaced(ctx context.Context, replaced []hostdir.Difference) error {
	gone, err := r.fewer(ctx, displaced(replaced), replaced)
	if err != nil {
		return err
	}
	r.displaced += gone
	return r.tooMuch(r.displaced)
}

// fewer is how many more files are gone with names than are at the names of differences.
func (r *reconciler) fewer(ctx context.Context, names []missing, there []hostdir.Difference) (uint64, error) {
	gone, err := r.lost(names)
	if err != nil || gone == 0 {
		return 0, err
	}
	come, err := r.come(ctx, there)
	return gone - min(gone, come), err
}

// displaced are the names whose inodes have given way to something else.
func displaced(list []hostdir.Difference) (gone []missing) {
	for _, d := range list {
		gone = append(gone, missing{parent: d.Parent, name: d.Name, ino: d.Ino})
	}
	return gone
}

// come counts what is at the names of differences: what lies below one of them is counted with it.
func (r *reconciler) come(ctx context.Context, list []hostdir.Difference) (come uint64, err error) {
	counted := map[volume.Ino]bool{}
	for _, d := range list {
		counted[d.Ino] = true
	}
	for _, d := range list {
		below, err := r.below(counted, d.Parent)
		if err != nil {
			return 0, err
		}
		if below {
			continue
		}
		n, err := r.st.dir.CountBelow(ctx, r.st.engine, d.Parent, d.Name)
		if err != nil {
			return 0, err
		}
		come += 1 + n
	}
	return come, nil
}

// below reports whether a directory of the index is one of some, or in one of them.
func (r *reconciler) below(some map[volume.Ino]bool, dir volume.Ino) (bool, error) {
	for dir != volume.RootIno {
		if some[dir] {
			return true, nil
		}
		parent, err := r.st.engine.ParentOf(dir)
		if err != nil {
			return false, volume.Wrap(err, "count what is in the directory")
		}
		dir = parent
	}
	return false, nil
}

// tooMuch is the error if more is gone than may be.
func (r *reconciler) tooMuch(gone uint64) error {
	ratio := r.n.cfg.Safety.MaxDeleteRatio
	if r.confirm || float64(gone) <= ratio*float64(r.files) {
		return nil
	}
	hint := "start with --confirm-deletes"
	if !r.atStart {
		hint = "run wolfdiskctl reconcile --confirm-deletes"
	}
	return errBrake("%d of %d files are missing from %s, more than [safety] max_delete_ratio = %g allows; nothing is removed for that. Look at the disk and mount it whole; "+
		"if they were really deleted, %s; to bring them back from a follower, sync this node anew", gone, r.files, r.n.cfg.Volume.Dir, ratio, hint)
}

// lost counts the files that are gone with names, which are gone. A file is gone with the last of
// its names.
func (r *reconciler) lost(names []missing) (gone uint64, err error) {
	c := losses{r: r, links: map[volume.Ino]uint32{}, dirs: map[volume.Ino]bool{}}
	for _, m := range names {
		if c.dirs[m.parent] {
			continue // counted with its directory, whose place another one has taken that lacks it
		}
		e, err := r.st.engine.Entry(m.parent, m.name)
		if volume.KindOf(err) == volume.NotFound && err != nil || err == nil && e.Ino != m.ino {
			continue // it has moved
		}
		var n uint64
		if err == nil {
			n, err = c.with(e)
		}
		if err != nil {
			return 0, volume.Wrap(err, "count missing files")
		}
		gone += n
	}
	return gone, nil
}

// losses are what is counted as gone.
type losses struct {
	r     *reconciler
	links map[volume.Ino]uint32 // how many names are gone of files that have several
	dirs  map[volume.Ino]bool   // counted with all that is in them
}

// with counts an entry, and what is below it.
func (c *losses) with(e volume.DirEntry) (gone uint64, err error) {
	for todo := []volume.DirEntry{e}; len(todo) > 0; {
		e := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if e.Type != volume.ModeDir {
			a, err := c.r.st.engine.Inode(e.Ino)
			if err != nil {
				return 0, err
			}
			if c.links[e.Ino]++; c.links[e.Ino] == max(a.Nlink, 1) {
				delete(c.links, e.Ino)
				gone++
			}
			continue
		}
		gone++
		c.dirs[e.Ino] = true
		if err := c.r.st.engine.Entries(e.Ino, 0, func(sub volume.DirEntry) bool {
			todo = append(todo, sub)
			return true
		}); err != nil {
			return 0, err
		}
	}
	return gone, nil
}

// remember notes over a crash which files are being recorded: one whose content is half
// recorded need not look changed any more. The log holds what was recorded before.
func (r *reconciler) remember(changed []hostdir.Difference) error {
	if !r.atStart {
		return nil
	}
	rec := r.n.recovery
	known := map[volume.Ino]bool{}
	suspects := append([]volume.Ino(nil), r.base...)
	for _, ino := range suspects {
		known[ino] = true
	}
	for _, d := range changed {
		if a, err := r.st.engine.Inode(d.Ino); err == nil && a.IsFile() && !known[d.Ino] {
			suspects = append(suspects, d.Ino)
		} else if err != nil && volume.KindOf(err) != volume.NotFound {
			return err
		}
	}
	if len(suspects) == len(r.base) {
		return nil
	}
	rec.Suspects = suspects
	stage := rec.Stage
	if stage == recoveryNone {
		stage = recoveryEdits
	}
	return rec.reach(stage)
}

// plural is a number of differences of a kind.
func plural(n int, kind string) string { return fmt.Sprintf("%d %s", n, kind) }
