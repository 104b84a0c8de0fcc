package node

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/node/admin"
	"wolfdisk/volume"
)

const (
	// collectEvery is how often the size of the packs is looked at.
	collectEvery = 500 * time.Millisecond
	// sparsePart is the part of a chunk from which on it is left alone.
	sparsePart = 0.6
	// hurriedDead is the dead part of a pack from which rewriting it pays in a hurry.
	hurriedDead = 0.25
	// moveBytes bounds what a collection that nobody waits for moves in one go.
	moveBytes = 1 << 30
	// leastGarbage is what never makes a hurry, bytes.
	leastGarbage = 4 << 20
)

// gcOptions say how a collection goes.
type gcOptions struct {
	dry bool
	now bool // what is unused goes at once
	// idle ends it after the look unless there is a hurry.
	idle  bool
	bound int64 // of bytes moved; 0 is none
}

// collect keeps the chunk store small, as long as the node runs: at intervals with a grace
// time, and at once when too much of it is garbage.
func (n *node) collect(ctx context.Context) {
	t := time.NewTicker(collectEvery)
	defer t.Stop()
	interval := n.cfg.Chunks.GCInterval
	next := time.Now().Add(interval)
	size := int64(-1) // of the packs when they were last looked at
	var retry retry
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		st := n.storage()
		if st == nil || st.chunks == nil || n.leading() == nil && n.following() == nil || retry.waits() {
			continue
		}
		if size < 0 {
			size = st.chunks.FileBytes()
		}
		due := interval > 0 && !time.Now().Before(next)
		if !due && st.chunks.FileBytes()-size <= n.growth(size) {
			continue
		}
		res, err := n.gc(ctx, gcOptions{idle: !due, bound: moveBytes}, func(admin.GCLine) error { return nil })
		if ctx.Err() != nil {
			return
		}
		if due {
			next = time.Now().Add(interval)
		}
		// After as much as one go may do, there is more.
		if size = st.chunks.FileBytes(); res.MovedBytes >= moveBytes {
			size = 0
		}
		if retry.note(err) && !errors.Is(err, errSyncing) {
			n.warn("WD-1162", "chunks that nobody uses cannot be collected: "+err.Error(), "look at the disk and at the log of the daemon; nothing in use is lost, and it is tried again")
		} else if err == nil {
			n.unwarn("WD-1162")
		}
	}
}

// growth is by how much the packs may grow before they are looked at.
func (n *node) growth(size int64) int64 {
	return max(2*int64(n.cfg.Oplog.SegmentSize), (size+int64(n.cfg.Oplog.RetainBytes))/16)
}

// gcVerb is what wolfdiskctl gc asks for.
func (n *node) gcVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	var o gcOptions
	for name, flag := range map[string]*bool{"dry_run": &o.dry, "now": &o.now} {
		switch v := query.Get(name); v {
		case "", "0":
		case "1":
			*flag = true
		default:
			return admin.BadParam(name, v, "0 or 1")
		}
	}
	res, err := n.gc(ctx, o, func(l admin.GCLine) error { return emit(l) })
	if errors.Is(err, errSyncing) {
		return admin.Refused("WD-1163", err.Error(), "wait until the copy is complete: wolfdiskctl status shows how far it is")
	}
	if err != nil {
		return err
	}
	return emit(admin.GCLine{Result: &res})
}

// gc puts scattered content together, forgets chunks that nobody uses and wins their
// space back. report is told of each phase.
func (n *node) gc(ctx context.Context, o gcOptions, report func(admin.GCLine) error) (res admin.GCResult, err error) {
	st := n.storage()
	switch {
	case st == nil:
		return res, volume.Errorf(volume.Unavailable, "this node holds no volume yet")
	case st.chunks == nil:
		return res, volume.Errorf(volume.Unsupported, "this node keeps its content in a plain directory: there are no chunks to collect")
	}
	res.DryRun = o.dry
	hurry, done, err := n.gcChunks(ctx, st, o, report, &res)
	if err != nil || done {
		return res, err
	}
	if !o.dry {
		if err := report(admin.GCLine{Phase: "packs"}); err != nil {
			return res, err
		}
		opt := chunkstore.CompactOptions{Active: true}
		if hurry {
			opt.MinDead = hurriedDead
		}
		st, err := st.chunks.Compact(ctx, opt)
		res.Packs, res.CopiedBytes, res.FreedBytes = st.Packs, st.CopiedBytes, st.FreedBytes
		if err != nil {
			return res, err
		}
	}
	res.DeadBytes = st.chunks.Stats().DeadBytes
	if res.Removed > 0 || res.Packs > 0 || res.MovedBytes > 0 {
		n.log.Debug().Bool("hurry", hurry).Int("removed", res.Removed).Int64("moved", res.MovedBytes).Int("packs", res.Packs).Int64("freed", res.FreedBytes).Msg("collected chunks")
	}
	return res, nil
}

// gcChunks moves what is in use and sweeps what is not. done says that there was no need.
func (n *node) gcChunks(ctx context.Context, st *storage, o gcOptions, report func(admin.GCLine) error, res *admin.GCResult) (hurry, done bool, err error) {
	// Nobody seals meanwhile: what is put into the store and not yet in the index is none of
	// ours.
	n.life.Lock()
	defer n.life.Unlock()
	if err := report(admin.GCLine{Phase: "look"}); err != nil {
		return false, false, err
	}
	look, err := n.survey(ctx, st)
	if err != nil {
		return false, false, err
	}
	hurry = o.now || n.tooMuch(look.garbage, look.stats.Used)
	if o.idle && !hurry {
		return hurry, true, nil
	}
	if !o.dry && !look.held {
		if err := report(admin.GCLine{Phase: "move"}); err != nil {
			return hurry, false, err
		}
		if err := n.moveContent(ctx, st, look, hurry, o.bound, res); err != nil {
			return hurry, false, err
		}
	}
	if err := report(admin.GCLine{Phase: "sweep"}); err != nil {
		return hurry, false, err
	}
	return hurry, false, n.sweep(ctx, st, hurry, o.dry, res)
}

// tooMuch reports whether garbage, in bytes, must not wait: disk use is to stay well
// within one and a half of what is in use and the log together.
func (n *node) tooMuch(garbage, used int64) bool {
	return garbage > max((used+int64(n.cfg.Oplog.RetainBytes))/5, leastGarbage)
}

// sweep forgets what nobody uses.
func (n *node) sweep(ctx context.Context, st *storage, hurry, dry bool, res *admin.GCResult) error {
	use := st.chunks.NewUse() // before the snapshot: what comes later is spared
	return n.holds.collect(st.engine, func(now *index.Snapshot, snaps []*held) error {
		if err := n.copying(st); err != nil {
			return err
		}
		if err := markAll(ctx, use, now, snaps); err != nil {
			return err
		}
		if !dry {
			// After a crash the index must not point to what is gone.
			if err := st.engine.Flush(); err != nil {
				return err
			}
		}
		o := chunkstore.SweepOptions{Since: use.Since(), Grace: n.cfg.Chunks.GCGrace, DryRun: dry}
		if hurry {
			o.Grace = 0
		}
		s, err := st.chunks.Sweep(ctx, use.Live, o)
		res.Chunks, res.Live, res.Kept, res.Marked, res.Removed, res.RemovedBytes = s.Checked, s.Live, s.Young+s.Pinned, s.Marked, s.Removed, s.RemovedBytes
		return err
	})
}

// copying refuses while there is a copy whose chunks the index in charge knows nothing of,
// also one that waits for its leader; and if st is not in charge any more.
func (n *node) copying(st *storage) error {
	n.mu.Lock()
	waits := n.sync != nil || n.store != st
	n.mu.Unlock()
	if !waits { // one that this run has not taken up yet
		dirs, err := n.syncDirs()
		if err != nil {
			return volume.Wrap(err, "look for a copy under way")
		}
		waits = slices.ContainsFunc(dirs, func(dir string) bool { return dir != st.home })
	}
	if waits {
		return errSyncing
	}
	return nil
}

// markAll notes what is in use. Snapshots that are only read count as little as possible: their
// chunks stay, but are not well used for that.
func markAll(ctx context.Context, use *chunkstore.Use, now *index.Snapshot, snaps []*held) error {
	err := now.EachExtent(func(_ volume.Ino, x volume.Extent) bool {
		addUse(use, &x)
		return ctx.Err() == nil
	})
	for _, s := range snaps {
		if err != nil {
			break
		}
		err = s.look(func(s *index.Snapshot) error {
			return s.Chunks(func(id volume.ChunkID) bool {
				use.Add(id, 1)
				return ctx.Err() == nil
			})
		})
	}
	if ctx.Err() != nil { // or what is in use would look unused
		return volume.Errorf(volume.Interrupted, "look for what is in use: %w", context.Cause(ctx))
	}
	return err
}

func addUse(use *chunkstore.Use, x *volume.Extent) {
	if !x.InLog && !x.Chunk.IsHole() {
		use.Add(x.Chunk.ID, x.Len)
	}
}
