package node

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"wolfdisk/master"
	"wolfdisk/volume"
)

const (
	// idleEvery is how often what the directory lags behind is looked at.
	idleEvery = 5 * time.Second
	// idleBatch is how many files are settled at a time, at least.
	idleBatch = 256
)

// adoptRoot gives the root of a new volume the attributes of its directory.
func (n *node) adoptRoot(ctx context.Context, l *master.Leader) error {
	st := n.storage()
	if st.dir == nil {
		return nil
	}
	a, err := st.dir.RootAttr()
	if err != nil {
		return err
	}
	_, err = l.Do(ctx, &volume.Request{
		Kind: volume.OpSetAttr, Ino: volume.RootIno, Caller: volume.Caller{Front: volume.FrontReconcile},
		Set:  volume.SetMode | volume.SetUID | volume.SetGID | volume.SetAtime | volume.SetMtime,
		Mode: a.Mode & volume.ModePerm, UID: a.UID, GID: a.GID, Atime: a.Atime, Mtime: a.Mtime,
	})
	return volume.Wrap(err, "take over the root's attributes")
}

// finishIntents turns what a killed daemon had begun into ops, or takes it back.
func (n *node) finishIntents(ctx context.Context, l *master.Leader) error {
	st := n.storage()
	if st.dir == nil || n.prev.Clean || n.prev.Boot != n.boot {
		return nil
	}
	for _, in := range st.dir.Intents() {
		if err := st.dir.Inspect(ctx, in, st.engine, l.Absorb); err != nil {
			return err
		}
	}
	if err := st.dir.Tidy(ctx, st.engine); err != nil {
		return err
	}
	st.dir.ClearIntents()
	return nil
}

// idleWork does now and then what is put off while ops come: lower times, and the
// records by which foreign changes are found. A node that has come to rest puts its
// index on disk, so that a start has nothing to replay, and gives memory back.
func (n *node) idleWork(ctx context.Context) {
	t := time.NewTicker(idleEvery)
	defer t.Stop()
	var last volume.Version
	rested := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		st := n.storage()
		if st == nil {
			continue
		}
		if !n.settleIdle(st) {
			return
		}
		n.rememberSelf()
		now := st.engine.Position().Version
		if now != last {
			last, rested = now, false
			continue
		}
		if rested {
			continue
		}
		rested = true
		if err := st.engine.Flush(); err != nil {
			n.log.Error().Err(err).Str("code", "WD-1154").Msg("could not put the index on disk")
			return
		}
		debug.FreeOSMemory()
	}
}

// settleIdle lets the directory catch up by a batch; false if the index is broken.
func (n *node) settleIdle(st *storage) bool {
	n.checkpointMu.Lock() // or it could go on while a copy takes the directory over
	defer n.checkpointMu.Unlock()
	if st.dir == nil || n.syncing() || n.between.Load() {
		return true // a copy that is being made in the directory has an index of its own
	}
	if _, err := st.dir.SettleIdle(st.engine, idleBatch); err != nil {
		n.log.Warn().Err(err).Str("code", "WD-1153").Msg("could not set times in the real directory; trying again")
	}
	now := time.Now()
	if err := os.Chtimes(filepath.Join(n.cfg.Node.DataDir, lockName), now, now); err != nil {
		n.log.Warn().Err(err).Str("code", "WD-1153").Msg("could not note when times were set in the real directory; trying again")
	}
	if err := st.engine.PutLower(st.dir.PendingLower()); err != nil {
		n.log.Error().Err(err).Str("code", "WD-1154").Msg("could not store records of the real directory")
		return false
	}
	return true
}
