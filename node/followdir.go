package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// settleToFollow looks, before a node that could have led follows, for what its directory has
// and its copy has not: edits made while it was stopped, and what it was applying when it was
// killed and nobody was told of. The leader's copy is then compared with the directory, in
// which files that were edited are put aside; until that is done nothing is served.
func (n *node) settleToFollow(ctx context.Context, st *storage) error {
	if n.settledNow() {
		return nil
	}
	if st.dir == nil || st.log.Last().Version == 0 || n.between.Load() {
		n.setSettled()
		return nil
	}
	if n.recovery.lost() {
		o := n.storageOptions()
		o.leads = false
		if err := st.recoverDir(ctx, o); err != nil {
			return err
		}
	}
	doubted := append([]volume.Ino(nil), n.recovery.Suspects...)
	doubt := func(op *volume.Op, _ []volume.LowerRecord) error {
		doubted = append(doubted, op.Ino, op.Replaced)
		return nil
	}
	for _, in := range st.dir.Intents() {
		if err := st.dir.Inspect(ctx, in, st.engine, doubt); err != nil {
			return err
		}
	}
	if err := st.dir.Tidy(ctx, st.engine); err != nil {
		return err
	}
	edits := 0
	err := st.dir.Check(ctx, st.engine, func(d hostdir.Difference) error {
		edits++
		n.log.Warn().Str("code", "WD-1406").Str("path", d.Path).Str("kind", d.Kind.String()).Msg("changed in the directory while this node was away from its cluster: what the leader has takes its place, edited files are kept in " + hostdir.Reserved + "/kept")
		return nil
	})
	if err != nil {
		return volume.Wrap(err, "compare the directory with the index")
	}
	if len(doubted) > 0 || edits > 0 || st.lacks {
		if err := n.doubt(doubted, !st.lacks); err != nil {
			return err
		}
	}
	st.dir.ClearIntents()
	if err := n.recovered(st); err != nil {
		return err
	}
	n.setSettled()
	return nil
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
