package node

import (
	"context"
	"fmt"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// brake refuses to take a disk that is not there, or not whole, for one that was
// emptied. It is asked when everything that has only moved is recorded.
func (r *reconciler) brake(gone []missing) error {
	if len(gone) == 0 {
		return nil
	}
	for _, m := range gone {
		n, err := r.lostWith(m)
		if err != nil {
			return err
		}
		r.gone += n
	}
	return r.tooMuch(r.gone)
}

// brakeEarly is brake before anything is recorded: what has come may be what has gone,
// but no more than that. Of another round than the first it says nothing new.
func (r *reconciler) brakeEarly(ctx context.Context, f *round) error {
	if !f.whole || r.ops > 0 || len(f.missing) == 0 {
		return nil
	}
	var gone, come uint64
	for _, m := range f.missing {
		n, err := r.lostWith(m)
		if err != nil {
			return err
		}
		gone += n
	}
	for _, kind := range []hostdir.DiffKind{hostdir.DiffExtra, hostdir.DiffReplaced, hostdir.DiffType} {
		for _, d := range f.byKind[kind] {
			n, err := r.st.dir.CountBelow(ctx, r.st.engine, d.Parent, d.Name)
			if err != nil {
				return err
			}
			come += 1 + n
		}
	}
	return r.tooMuch(gone - min(gone, come))
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

// lostWith counts the files that are gone with a name. One that has another name is not.
func (r *reconciler) lostWith(m missing) (uint64, error) {
	e, err := r.st.engine.Entry(m.parent, m.name)
	if err == nil && e.Ino == m.ino {
		var a volume.Attr
		if a, err = r.st.engine.Inode(m.ino); err == nil && !a.IsDir() && a.Nlink > 1 {
			return 0, nil
		}
	}
	switch {
	case err != nil && volume.KindOf(err) == volume.NotFound, err == nil && e.Ino != m.ino:
		return 0, nil // it has moved
	case err != nil:
		return 0, volume.Wrap(err, "count missing files")
	}
	gone := uint64(1)
	below := []volume.Ino{m.ino}
	for len(below) > 0 {
		ino := below[len(below)-1]
		below = below[:len(below)-1]
		err := r.st.engine.Entries(ino, 0, func(e volume.DirEntry) bool {
			gone++
			if e.Type == volume.ModeDir {
				below = append(below, e.Ino)
			}
			return true
		})
		if k := volume.KindOf(err); err != nil && k != volume.NotDir && k != volume.NotFound && k != volume.Stale {
			return 0, volume.Wrap(err, "count missing files")
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
