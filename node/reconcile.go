package node

import (
	"context"

	"wolfdisk/hostdir"
	"wolfdisk/master"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

const (
	// maxRounds bounds the comparisons of a reconcile. One is needed for each level of new
	// directories.
	maxRounds = 4096
	// brakeFiles is how many names may be missing, whatever their share is.
	brakeFiles = 1000
)

// reconcile turns into ops what the directory has and the index has not after a power
// loss: effects of ops whose end of the log was lost, and edits made since. Edits made
// while the daemon was stopped in peace are none of its business. It may be
// interrupted anywhere and is begun again by the next start.
func (n *node) reconcile(ctx context.Context, l *master.Leader) error {
	st := n.storage()
	if st.dir == nil || !n.recovery.pending() {
		return nil
	}
	r := &reconciler{n: n, st: st, l: l, suspects: n.recovery.Suspects}
	for range maxRounds {
		before := r.ops
		if err := r.round(ctx); err != nil {
			return err
		}
		if r.ops == before {
			break
		}
	}
	if r.ops > 0 {
		n.log.Warn().Str("code", "WD-1404").Int("ops", r.ops).Int("differences", r.count).Msg("found in the directory after the power loss and recorded: changes that were never synced, or made since")
	}
	return nil
}

type reconciler struct {
	n          *node
	st         *storage
	l          *master.Leader
	count, ops int
	suspects   []volume.Ino // not looked at yet
}

func (r *reconciler) describe(ctx context.Context, d hostdir.Difference) error {
	before := r.ops
	err := r.st.dir.Describe(ctx, d, r.st.engine, r.st.engine.NewIno, func(op *volume.Op, lower []volume.LowerRecord) error {
		r.ops++
		return r.l.Absorb(op, lower)
	})
	if r.ops > before {
		r.count++
		r.n.log.Debug().Stringer("difference", d).Int("ops", r.ops-before).Msg("reconciled")
	}
	return err
}

// round compares, and describes what it found: what has come before what has gone, so
// that a file that only moved stays the same inode.
//
// What is found is settled only afterwards: a settled file counts as one that
// was seen as the index has it.
func (r *reconciler) round(ctx context.Context) error {
	byKind := map[hostdir.DiffKind][]hostdir.Difference{}
	err := r.st.dir.Check(ctx, r.st.engine, func(d hostdir.Difference) error {
		byKind[d.Kind] = append(byKind[d.Kind], d)
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.brake(byKind[hostdir.DiffMissing]); err != nil {
		return err
	}
	changed := byKind[hostdir.DiffChanged]
	if err := r.suspect(changed); err != nil {
		return err
	}
	known := map[volume.Ino]bool{}
	for _, d := range changed {
		known[d.Ino] = true
	}
	for _, ino := range r.suspects {
		if !known[ino] {
			known[ino] = true
			byKind[hostdir.DiffChanged] = append(byKind[hostdir.DiffChanged], hostdir.Difference{
				Kind: hostdir.DiffChanged, Ino: ino, Path: "inode " + ino.String(), Why: "changed about when the power was lost"})
		}
	}
	r.suspects = nil
	for _, kind := range []hostdir.DiffKind{hostdir.DiffExtra, hostdir.DiffChanged, hostdir.DiffType, hostdir.DiffReplaced, hostdir.DiffMissing} {
		for _, d := range byKind[kind] {
			if err := r.describe(ctx, d); err != nil {
				return err
			}
		}
	}
	return r.st.settle()
}

// brake refuses to take a disk that is not there, or not whole, for one that was emptied.
func (r *reconciler) brake(missing []hostdir.Difference) error {
	files, _ := r.st.engine.Counts()
	var gone uint64
	var below []volume.Ino
	for _, d := range missing {
		gone++
		below = append(below, d.Ino)
	}
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
		if k := volume.KindOf(err); err != nil && k != volume.NotDir && k != volume.NotFound {
			return volume.Wrap(err, "count missing files")
		}
	}
	if gone > brakeFiles && gone > files/2 {
		return exit.Errorf(exit.Unsafe, "WD-1405: %d of %d files are missing from %s after a power loss; nothing is removed for that. Look at the disk and mount it whole; "+
			"to bring the files back from a follower, sync this node anew", gone, files, r.n.cfg.Volume.Dir)
	}
	return nil
}

// suspect remembers changed files over a crash: one whose content is half recorded need
// not look changed any more.
func (r *reconciler) suspect(changed []hostdir.Difference) error {
	rec := r.n.recovery
	known := map[volume.Ino]bool{}
	for _, ino := range rec.Suspects {
		known[ino] = true
	}
	before := len(rec.Suspects)
	for _, d := range changed {
		if a, err := r.st.engine.Inode(d.Ino); err == nil && a.IsFile() && !known[d.Ino] {
			rec.Suspects = append(rec.Suspects, d.Ino)
		} else if err != nil && volume.KindOf(err) != volume.NotFound {
			return err
		}
	}
	if len(rec.Suspects) == before {
		return nil
	}
	return rec.reach(rec.Stage)
}

// recovered ends the recovery once directory and index agree and are on disk.
func (n *node) recovered() error {
	if !n.recovery.pending() {
		return nil
	}
	if err := n.checkpointNow(); err != nil {
		return err
	}
	return n.recovery.end()
}
