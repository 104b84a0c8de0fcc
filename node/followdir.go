package node

import (
	"context"
	"fmt"
	"strings"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

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
