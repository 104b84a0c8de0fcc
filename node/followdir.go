package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wolfdisk/hostdir"
	"wolfdisk/node/conflict"
	"wolfdisk/volume"
)

// settleToFollow looks, before a node that could have led follows a leader, for what its directory
// has and its copy has not; see settleEdits. If there is anything, the leader's copy is compared with the
// directory; until that is done nothing is served.
func (n *node) settleToFollow(ctx context.Context, st *storage, leader string) error {
	if n.settledNow() {
		return nil
	}
	found, err := n.settleEdits(ctx, st, leader)
	if err != nil {
		return err
	}
	if found.differs {
		if err := n.doubt(found.doubted, !st.lacks); err != nil {
			return err
		}
	}
	return n.editsSettled(st, found)
}

// foundEdits is what settleEdits has found.
type foundEdits struct {
	looked  bool
	differs bool         // directory and index
	doubted []volume.Ino // of which nothing is known any more
}

// settleEdits looks, once in a run, for what the directory of a node that could have led has and its
// copy has not. What the node was applying when it was killed nobody was told of, and it is
// forgotten. Edits made while it was stopped count as ops of a fork that the leader has won: they
// become a conflict record, and nothing is changed before that is complete. When what it has found
// is noted, editsSettled is to be called.
func (n *node) settleEdits(ctx context.Context, st *storage, leader string) (found foundEdits, err error) {
	if n.settledNow() || st.dir == nil || st.log.Last().Version == 0 || n.between.Load() {
		return found, nil
	}
	if n.recovery.lost() {
		o := n.storageOptions()
		o.leads = false
		if err := st.recoverDir(ctx, o, nil); err != nil {
			return found, err
		}
	}
	cut := interrupted{inos: map[volume.Ino]bool{}, names: map[dirEntry]bool{}}
	for _, in := range st.dir.Intents() {
		cut.add(in.Ino, in.Replaced, in.Parent, in.NewParent) // of directories, the times
		cut.names[dirEntry{in.Parent, in.Name}] = true
		cut.names[dirEntry{in.NewParent, in.NewName}] = true
		err := st.dir.Inspect(ctx, in, st.engine, func(op *volume.Op, _ []volume.LowerRecord) error {
			cut.add(op.Ino, op.Replaced)
			return nil
		})
		if err != nil {
			return found, err
		}
	}
	if err := st.dir.Tidy(ctx, st.engine); err != nil {
		return found, err
	}
	edited, err := n.keepEdits(ctx, st, leader, &cut)
	if err != nil {
		return found, err
	}
	found.looked = true
	found.doubted = slices.AppendSeq(slices.Clone(n.recovery.Suspects), maps.Keys(cut.inos))
	found.differs = len(found.doubted) > 0 || edited || st.lacks
	return found, nil
}

// editsSettled says that what settleEdits has found is kept and noted.
func (n *node) editsSettled(st *storage, found foundEdits) error {
	if found.looked {
		st.dir.ClearIntents()
		if err := n.recovered(st); err != nil {
			return err
		}
	}
	n.setSettled()
	return nil
}

// interrupted is what a killed daemon was about: that the directory differs there from the index is
// nobody's edit.
type interrupted struct {
	inos  map[volume.Ino]bool
	names map[dirEntry]bool
}

type dirEntry struct {
	parent volume.Ino
	name   string
}

func (i *interrupted) add(inos ...volume.Ino) {
	for _, ino := range inos {
		if ino != 0 {
			i.inos[ino] = true
		}
	}
}

func (i *interrupted) has(d *hostdir.Difference) bool {
	return i.inos[d.Ino] || i.names[dirEntry{d.Parent, d.Name}]
}

// keepEdits makes a conflict record of what somebody changed in the directory while this node was
// away, and reports whether directory and index differ.
func (n *node) keepEdits(ctx context.Context, st *storage, leader string, cut *interrupted) (differ bool, err error) {
	at, lineage := st.position()
	suspects := map[volume.Ino]bool{} // changed since this node was alive, whatever they look like
	for _, ino := range n.recovery.Suspects {
		suspects[ino] = true
	}
	p := n.beginProgress("keeping edits", 0, 0)
	defer n.endProgress(p)
	rec, err := conflict.WriteEdits(ctx, conflict.EditsOptions{
		Store: n.conflicts, Volume: n.state.Get().Volume, Node: n.cfg.Node.ID, Winner: leader, Tree: st.dir.Plain(), At: at, AtLineage: lineage,
		Why: fmt.Sprintf("the directory of %s was edited while the node was away, and %s leads", n.cfg.Node.ID, leader),
		Each: func(ctx context.Context, fn func(hostdir.Difference) error) error {
			return st.dir.CheckAll(ctx, st.engine, hostdir.CheckOptions{Suspects: suspects}, func(d hostdir.Difference) error {
				differ = true
				if cut.has(&d) {
					return nil
				}
				n.log.Warn().Str("code", "WD-1406").Str("path", d.Path).Str("kind", d.Kind.String()).Msg("changed in the directory while this node was away from its cluster: it becomes a conflict, and what the leader has takes its place")
				return fn(d)
			})
		},
		Progress: p.add, Log0: n.log,
	})
	if err != nil {
		return differ, volume.Wrap(err, "keep what was edited in "+n.cfg.Volume.Dir)
	}
	if rec.ID == "" {
		return differ, nil
	}
	n.log.Warn().Str("code", codeConflict).Str("record", rec.ID).Msg("what was edited while this node was away was kept as a conflict: wolfdiskctl conflicts show " + rec.ID)
	// What is in the way of the leader's copy is put aside when that is made. What is not, goes now:
	// it would be taken for an edit again, or for the truth once this node leads.
	err = st.dir.Check(ctx, st.engine, func(d hostdir.Difference) error {
		if d.Kind != hostdir.DiffExtra || cut.has(&d) {
			return nil
		}
		return st.dir.Edited(d, st.engine)
	})
	return differ, volume.Wrap(err, "put aside what was edited in "+n.cfg.Volume.Dir)
}

// doubt takes the copy in a directory out of service: it is compared with the next leader's. What
// is known of the content of the inodes does not count, and nothing does unless known says that
// the rest is as the copy had it.
func (n *node) doubt(inos []volume.Ino, known bool) error {
	by := unknownCopy
	if known {
		by = knownCopy
	}
	inos = slices.DeleteFunc(inos, func(i volume.Ino) bool { return i == 0 })
	if err := n.writeBetween(by, inos...); err != nil {
		return err
	}
	n.between.Store(true)
	return nil
}

// compareDirectory looks, before frames come, for what somebody changed in the real
// directory of a follower while the daemon was stopped. A follower has nobody to record
// such edits for, and what it should have instead is the leader's: they are left alone
// and said, in the log one by one, in status as a warning that stays.
//
// After a power loss the directory may rightly be ahead of the log: what the
// log lost comes again from the leader and is applied once more.
func (n *node) compareDirectory(ctx context.Context, st *storage) error {
	if st.dir == nil || n.recovery.pending() || st.log.Last().Version == 0 || n.between.Load() {
		return nil // with no version a copy may be under way, which knows better
	}
	count := 0
	var shown []string
	err := st.dir.Check(ctx, st.engine, func(d hostdir.Difference) error {
		if count++; count <= shownDifferences {
			shown = append(shown, d.String())
		}
		n.log.Warn().Str("code", "WD-1406").Str("path", d.Path).Str("kind", d.Kind.String()).Msg("this follower's directory differs from what the leader had")
		return nil
	})
	if err != nil {
		return volume.Wrap(err, "compare the directory with the index")
	}
	if count > 0 {
		n.warn("WD-1406", fmt.Sprintf("%d names in %s were changed while this follower was stopped: %s", count, n.cfg.Volume.Dir, strings.Join(shown, "; ")),
			"a follower's directory is to be read only: undo the changes and restart, or stop it, move state directory and files away, and let it sync anew")
	}
	return nil
}
