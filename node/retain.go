package node

import (
	"context"
	"errors"
	"math"
	"time"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/volume"
)

const (
	// retainEvery is how often the size of the log is looked at, agesEvery that of the age of
	// its segments.
	retainEvery = 200 * time.Millisecond
	agesEvery   = 10 * time.Second
	// replaceBatch is how many extents are entered at a time: writers wait meanwhile.
	replaceBatch = 256
	// checkpointPause is the least time between two checkpoints that only retention
	// wants, since each makes the lower file system write all it has; hurriedPause is the same
	// when the log is by a quarter larger than it is to be, with restFactor times what
	// the last one took.
	checkpointPause = 5 * time.Second
	hurriedPause    = 500 * time.Millisecond
	restFactor      = 4
	// retryFirst and retryLast bound the pause after a failure.
	retryFirst = 10 * time.Second
	retryLast  = 10 * time.Minute
)

// sealTries is how often sealing is repeated for what was cut while it was sealed.
var sealTries = 4 // tests have it 0

// retention is what the configuration says of the log.
func (n *node) retention() retention {
	o := &n.cfg.Oplog
	return retention{
		keep: int64(o.RetainBytes), age: o.RetainAge, limit: int64(o.RetainMax),
		slack: max(int64(o.SegmentSize), int64(o.RetainBytes)/8),
	}
}

// retain keeps the log within its bounds, as long as the node runs.
func (n *node) retain(ctx context.Context) {
	t := time.NewTicker(retainEvery)
	defer t.Stop()
	var retry retry
	var looked time.Time
	rule := n.retention()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		st := n.storage()
		if st == nil || n.leading() == nil && n.following() == nil || retry.waits() {
			continue
		}
		if st.log.Bytes() <= rule.keep+rule.slack && time.Since(looked) < agesEvery {
			continue
		}
		looked = time.Now()
		err := n.retainOnce(ctx, st)
		if ctx.Err() != nil {
			return
		}
		if err != nil && n.storage() != st {
			continue // another copy has taken its place, and its log is closed
		}
		if retry.note(err) {
			n.warn("WD-1161", "the log cannot be trimmed and grows: "+err.Error(), "look at the disk and at the log of the daemon; nothing is lost, and it is tried again")
		} else if err == nil {
			n.unwarn("WD-1161")
		}
	}
}

// retry lets something that fails rest for longer and longer.
type retry struct {
	failures int
	next     time.Time
}

func (r *retry) waits() bool { return time.Now().Before(r.next) }

// note takes the result of a try, and reports whether it failed.
func (r *retry) note(err error) bool {
	if err == nil {
		*r = retry{}
		return false
	}
	pause := retryLast
	if r.failures < 16 {
		pause = min(retryFirst<<r.failures, retryLast)
	}
	r.failures++
	r.next = time.Now().Add(pause)
	return true
}

// retainOnce trims the log as far as it may be.
func (n *node) retainOnce(ctx context.Context, st *storage) error {
	want, err := n.toTrim(st, math.MaxUint64)
	if err != nil || want == 0 {
		return err
	}
	own, failed := n.settled(ctx, st, want)
	if own == 0 {
		return failed
	}
	err = n.holds.trim(n.holds.mark(), func(held volume.Version) error {
		// Again: a follower may have come, whose log this is.
		through, err := n.toTrim(st, min(own, held))
		if err != nil || through == 0 {
			return err
		}
		freed, err := st.log.Trim(through)
		n.log.Debug().Uint64("through", uint64(through)).Int64("freed", freed).Msg("trimmed the log")
		return err
	})
	return errors.Join(failed, err)
}

// toTrim is the version through which the log is to go, at most floor.
func (n *node) toTrim(st *storage, floor volume.Version) (volume.Version, error) {
	segs, err := st.log.Segments()
	if err != nil {
		return 0, err
	}
	followers := volume.Version(math.MaxUint64)
	for _, p := range n.peers.list() {
		if p.feed != nil {
			followers = min(followers, p.feed.Durable())
		}
	}
	return n.retention().plan(segs, time.Now(), followers, floor), nil
}

// settled makes this node's own volume independent of the log through a version, and
// returns how far that succeeded: what the index and the directory have on disk, and no extent
// points into.
func (n *node) settled(ctx context.Context, st *storage, want volume.Version) (volume.Version, error) {
	if st.dir != nil {
		return n.settledDir(st, want)
	}
	n.life.Lock()
	defer n.life.Unlock()
	content := chunkstore.NewContent(st.engine, st.log, st.chunks)
	free := volume.Version(0)
	var failed error
	for try := 0; ; try++ {
		// The number of a segment is the version of its first op.
		var stats chunkstore.SealStats
		stats, failed = content.Seal(ctx, st.engine, uint64(want), replacer(st.engine))
		if stats.Replaced > 0 {
			n.log.Debug().Int("extents", stats.Replaced).Int64("bytes", stats.Bytes).Int("chunks", stats.Chunks).Int("known", stats.Deduped).Msg("sealed")
		}
		var err error
		if free, err = unreferenced(st.engine); err != nil {
			return 0, errors.Join(failed, err)
		}
		// What was cut while it was sealed is still in the log.
		if free >= want || failed != nil || try == sealTries {
			break
		}
	}
	if err := st.engine.Flush(); err != nil {
		return 0, errors.Join(failed, err)
	}
	return min(want, free, st.engine.Flushed()), failed
}

// settledDir does the same for a real directory: it needs the log behind its checkpoint.
func (n *node) settledDir(st *storage, want volume.Version) (volume.Version, error) {
	if n.state.Get().Checkpoint < want && n.mayCheckpoint(st) {
		if err := n.checkpointNow(); err != nil {
			return 0, err
		}
	}
	return min(want, n.state.Get().Checkpoint, st.engine.Flushed()), nil
}

// mayCheckpoint reports whether the last checkpoint is long enough ago.
func (n *node) mayCheckpoint(st *storage) bool {
	n.checkpointMu.Lock()
	at, took := n.checkpointAt, n.checkpointTook
	n.checkpointMu.Unlock()
	pause := checkpointPause
	if keep := n.retention().keep; keep > 0 && st.log.Bytes() > keep+keep/4 {
		pause = min(pause, max(hurriedPause, restFactor*took))
	}
	return time.Since(at) >= pause
}

// unreferenced is the version through which no extent of the index points into the log. It
// stays true: new extents point to new ops only.
func unreferenced(e *index.Engine) (volume.Version, error) {
	s, err := e.Snapshot()
	if err != nil {
		return 0, err
	}
	oldest, err := s.OldestSegment()
	through := min(volume.Version(max(oldest, 1)-1), s.Position().Version)
	return through, errors.Join(err, s.Close())
}

// replacer enters where content has been put, in small batches.
func replacer(e *index.Engine) func([]chunkstore.Replacement) error {
	return func(list []chunkstore.Replacement) error {
		batch := make([]index.Replacement, 0, min(len(list), replaceBatch))
		for i, r := range list {
			batch = append(batch, index.Replacement(r))
			if len(batch) < replaceBatch && i+1 < len(list) {
				continue
			}
			if _, err := e.Replace(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
		return nil
	}
}
