package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/node/admin"
	"wolfdisk/oplog"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// syncDirPrefix begins the names of folders in the state directory in which copies are
// made, with growing numbers: a finished one is used where it lies until the next start.
const syncDirPrefix = "sync-"

// fullName is a file in such a folder that says, by being there, that all content is to travel.
const fullName = "full"

// isFull reports whether all content of a copy is to travel.
func isFull(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, fullName))
	return err == nil
}

// syncDirs are the folders of copies, oldest first.
func (n *node) syncDirs() ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(n.cfg.Node.DataDir, syncDirPrefix+"????????"))
	slices.Sort(dirs)
	return dirs, err
}

// nextSyncDir is a folder for another copy.
func (n *node) nextSyncDir() (string, error) {
	dirs, err := n.syncDirs()
	if err != nil {
		return "", err
	}
	// A number is not used again while the directory is as a copy of that number left it.
	if by, err := n.betweenBy(); err != nil {
		return "", err
	} else if by != "" && by != knownCopy {
		dirs = append(dirs, by)
		slices.SortFunc(dirs, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	}
	last := 0
	if len(dirs) > 0 {
		if last, err = strconv.Atoi(strings.TrimPrefix(filepath.Base(dirs[len(dirs)-1]), syncDirPrefix)); err != nil {
			err = volume.Errorf(volume.Invalid, "%s is not a folder of ours: move it away", dirs[len(dirs)-1])
		}
	}
	return filepath.Join(n.cfg.Node.DataDir, fmt.Sprintf("%s%08d", syncDirPrefix, last+1)), err
}

// follow follows a leader on a session: by its log from where this node is, or by a
// snapshot if the log does not reach back that far.
func (n *node) follow(ctx context.Context, s *wire.Session) error {
	f, err := n.followLeader(ctx, s)
	if err != nil {
		return err
	}
	n.mu.Lock()
	sync := n.sync
	n.mu.Unlock()
	to := slave.Receiver(f)
	if sync != nil {
		to = sync
	}
	session := slave.NewSession(s, to, f.Answer)
	return session.Serve(ctx, func(ctx context.Context) error {
		return n.join(ctx, session, f, sync)
	})
}

// join agrees with the leader on how to follow. It returns when the session ends, or to
// end it.
func (n *node) join(ctx context.Context, s *slave.Session, f *slave.Follower, sync *slave.Sync) error {
	how, err := s.Join(ctx, n.wantSnapshot.Load() || sync == nil && n.between.Load())
	if err != nil {
		return err
	}
	asked := false
	if how == volume.JoinSnapshot {
		if sync, err = n.beginSync(); err != nil {
			n.stopWith(err)
			return err
		}
		asked = n.wantSnapshot.Swap(false)
		s.Deliver(sync)
	}
	if sync != nil {
		if err := n.makeCopy(ctx, s, sync); err != nil {
			if asked && !sync.Begun() { // it is dropped, and what an operator asked for is still to be done
				n.wantSnapshot.Store(true)
			}
			return err
		}
	} else if err := n.serveFollower(ctx, f); err != nil {
		n.stopWith(err)
		return err
	}
	<-ctx.Done()
	return nil
}

// serveFollower shows a follower's tree. One that holds nothing yet is not shown before a
// leader has said that the log will bring it from there: an empty tree would look as if
// all were gone.
func (n *node) serveFollower(ctx context.Context, f *slave.Follower) error {
	n.mu.Lock()
	done := n.shown == f
	n.shown = f
	if n.sync == nil { // a copy that was begun may have been dropped
		n.phase = phaseFollowing
	}
	n.mu.Unlock()
	if done {
		return nil
	}
	n.attach(front{f, n})
	return n.mountNow(ctx)
}

// syncOptions are those of the copy that is being made, beside the volume in st.
func (n *node) syncOptions(st *storage, dir string) slave.SyncOptions {
	log := logOptions(n.cfg, n.state.Get().Volume, n.log)
	opt := slave.SyncOptions{
		FS: vfs.Default, Dir: dir, Log: log, Index: index.Options{Log: n.log},
		Chunks: st.chunks, Into: st.dir, ChunkSize: n.state.Get().ChunkSize, Phase: n.syncPhase, Full: isFull(dir), Log0: n.log,
		From: n.sources.count, Named: n.dials.members,
	}
	if st.dir != nil { // what came before is in the directory, and durable
		opt.Old = st.engine
		opt.Leave = func(ctx context.Context) (slave.Left, error) { return n.leaveDirectory(ctx, st, filepath.Base(dir)) }
		opt.Ready = func(v volume.Version) error { return n.state.Update(func(s *State) { s.Checkpoint = v }) }
	}
	return opt
}

// syncPhase shows a phase of a sync in status.
func (n *node) syncPhase(name string, all, had slave.Amount) func(files, bytes uint64, path string) {
	n.log.Info().Str("phase", name).Uint64("files", all.Files).Uint64("bytes", all.Bytes).Uint64("done_files", had.Files).Uint64("done_bytes", had.Bytes).Msg("sync")
	p := &progress{phase: name, begun: time.Now(), allFiles: all.Files, allBytes: all.Bytes, files: had.Files, bytes: had.Bytes, hadFiles: had.Files, hadBytes: had.Bytes}
	n.showProgress(p)
	return p.add
}

// takeUpSync finds a copy that an earlier run has begun.
func (n *node) takeUpSync(st *storage) error {
	dirs, err := n.syncDirs()
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	found := false
	for _, dir := range dirs { // one, unless a crash left others: the newest counts
		opt := n.syncOptions(st, dir)
		var s *slave.Sync
		if !found {
			s, err = slave.OpenSync(opt)
		}
		switch {
		case err != nil:
			return err
		case s != nil:
			found = true
			n.fullSync.Store(opt.Full) // should it have to begin anew
			n.setSync(s, opt)
		default:
			if opt.Full && !found { // an operator asked for it, and it was not far enough to go on
				n.fullSync.Store(true)
				n.wantSnapshot.Store(true)
			}
			if err := slave.RemoveSync(opt); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *node) setSync(s *slave.Sync, opt slave.SyncOptions) {
	n.mu.Lock()
	n.sync, n.syncOpt = s, opt
	n.phase = phaseSyncing
	n.mu.Unlock()
}

// syncing reports whether a copy is being made.
func (n *node) syncing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sync != nil
}

// beginSync begins a copy, in the place of another that was under way.
func (n *node) beginSync() (*slave.Sync, error) {
	if err := n.dropSync(); err != nil {
		return nil, err
	}
	dir, err := n.nextSyncDir()
	if err != nil {
		return nil, err
	}
	err = os.Mkdir(dir, 0o700)
	if err == nil && n.fullSync.Load() {
		err = replaceFile(filepath.Join(dir, fullName), nil)
	}
	if err != nil {
		return nil, volume.Wrap(err, "make a folder for the copy")
	}
	opt := n.syncOptions(n.storage(), dir)
	s := slave.NewSync(opt)
	n.setSync(s, opt)
	return s, nil
}

// dropSync gives up the copy that is being made, if there is one.
func (n *node) dropSync() error {
	n.mu.Lock()
	s, opt := n.sync, n.syncOpt
	n.sync = nil
	n.mu.Unlock()
	if s == nil {
		return nil
	}
	if err := s.Close(); err != nil {
		n.log.Warn().Err(err).Msg("closing a copy that is given up")
	}
	return slave.RemoveSync(opt)
}

// makeCopy makes the copy, or as much as the session lasts for, and puts it in charge.
func (n *node) makeCopy(ctx context.Context, s *slave.Session, sync *slave.Sync) error {
	full := isFull(n.syncOpt.Dir)
	if !sync.Begun() {
		n.log.Info().Str("leader", s.Remote().NodeID).Bool("full", full).Msg("the leader's log does not reach back to what this node holds: taking a snapshot")
	} else {
		n.log.Info().Str("leader", s.Remote().NodeID).Bool("full", full).Msg("going on with the copy that was begun")
	}
	defer n.holds.sync()()
	defer func() { n.endProgress(n.progressNow()) }() // of the last phase
	telling, told := context.WithCancel(ctx)
	defer told()
	n.background(func(context.Context) { n.tellProgress(telling, s.Session) })
	began := time.Now()
	err := sync.Run(ctx, slave.Source{ID: s.Remote().NodeID, Caller: s.Session}, func() []slave.Source { return n.otherSources(s.Session) })
	if err != nil {
		if !sync.Begun() {
			// Names come whole or not at all.
			return errors.Join(err, n.dropSync())
		}
		return err
	}
	f, err := n.takeOver(ctx, s, sync)
	if err != nil {
		n.stopWith(err)
		return err
	}
	pos := f.Position()
	n.log.Info().Stringer("position", pos).Dur("took", time.Since(began)).Interface("from", n.sources.all()).Msg("the copy is consistent and serves")
	return nil
}

func (n *node) progressNow() *progress {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.progress
}

// takeOver puts a finished copy in charge. The old one stays open, since somebody may
// still read it, until the process ends; its files are removed, and the next start gives
// the new one their place.
func (n *node) takeOver(ctx context.Context, s *slave.Session, sync *slave.Sync) (*slave.Follower, error) {
	old := n.storage()
	var st *storage
	f, err := sync.Finish(ctx, func(log *oplog.Log, engine *index.Engine) *slave.Follower {
		st = &storage{log: log, engine: engine, chunks: old.chunks, dir: old.dir, zlog: old.zlog, home: n.syncOpt.Dir}
		if st.dir != nil {
			st.tree = index.NewTree(engine, st.dir)
		} else {
			st.tree = index.NewTree(engine, chunkstore.NewContent(engine, log, old.chunks))
		}
		return n.newFollower(st)
	})
	if err != nil {
		return nil, err
	}
	s.Deliver(f)
	n.mu.Lock()
	was := n.follower
	n.store, n.follower, n.sync = st, f, nil
	n.mu.Unlock()
	if isFull(n.syncOpt.Dir) {
		n.fullSync.Store(false) // what was asked for is done
	}
	was.Stop(volume.Errorf(volume.Closed, "another copy has taken this one's place"))
	if err := n.endBetween(); err != nil {
		return nil, err
	}
	if err := n.serveFollower(ctx, f); err != nil {
		return nil, err
	}
	n.verify.copies.dropAll(false) // what a comparison holds of the old copy
	if err := old.log.Close(); err != nil {
		n.log.Warn().Err(err).Msg("closing the log of the old copy")
	}
	if err := old.remove(n.cfg.Node.DataDir); err != nil {
		n.log.Warn().Err(err).Msg("removing the old copy")
	}
	if st.dir != nil {
		if err := st.dir.DropOld(n.ctx); err != nil {
			n.log.Warn().Err(err).Msg("removing what the old copy had; the next start tries again")
		}
	}
	return f, nil
}

// remove removes the files of a copy that another has taken the place of.
func (s *storage) remove(stateDir string) error {
	if s.home != stateDir {
		return os.RemoveAll(s.home)
	}
	return errors.Join(os.RemoveAll(filepath.Join(s.home, "oplog")), os.RemoveAll(filepath.Join(s.home, "index")))
}

// finishTakeOver gives a copy that was finished before this start its place. Of several
// the newest counts.
func (n *node) finishTakeOver() error {
	dirs, err := n.syncDirs()
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	for i, dir := range dirs {
		if slave.Finished(vfs.Default, dir) {
			// Unless a later copy has begun to change the directory.
			if by, err := n.betweenBy(); err != nil {
				return err
			} else if by <= filepath.Base(dir) {
				if err := n.endBetween(); err != nil {
					return err
				}
			}
		}
		done, err := slave.TakePlace(vfs.Default, dir, n.cfg.Node.DataDir)
		if err != nil {
			return err
		}
		if !done {
			continue
		}
		n.log.Debug().Msg("the copy that was made has taken its place")
		for _, older := range dirs[i+1:] {
			if err := os.RemoveAll(older); err != nil {
				return volume.Wrap(err, "remove an older copy")
			}
		}
		return nil
	}
	return nil
}

// abandonSync drops a copy whose history the leader does not share, so that the old one
// can join; false if there is none.
func (n *node) abandonSync(why error) bool {
	n.mu.Lock()
	s := n.sync
	n.mu.Unlock()
	if s == nil {
		return false
	}
	n.log.Warn().Err(why).Msg("the copy that was being made does not fit the leader any more: beginning anew")
	if err := n.dropSync(); err != nil {
		n.stopWith(err)
	}
	return true
}

// answerCounts says how much this node holds.
func (n *node) answerCounts(w *wire.AnswerWriter) error {
	st := n.storage()
	if st == nil {
		return volume.Errorf(volume.Unavailable, "node %s holds no volume", n.cfg.Node.ID)
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(st.engine.Position().Version))
	files, bytes := st.engine.Counts()
	b = binary.BigEndian.AppendUint64(b, files)
	return w.Last(binary.BigEndian.AppendUint64(b, bytes))
}

// askCounts asks another node how much it holds.
func askCounts(ctx context.Context, s *wire.Session) (version, files, bytes uint64, err error) {
	b, err := s.CallAll(ctx, volume.RequestCounts, nil, 24)
	if err != nil {
		return 0, 0, 0, volume.Wrap(err, "ask node "+s.Remote().NodeID+" how much it holds")
	}
	if len(b) != 24 {
		return 0, 0, 0, volume.Errorf(volume.BadFormat, "node %s says in %d bytes how much it holds", s.Remote().NodeID, len(b))
	}
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), nil
}

// resyncVerb has a follower take a snapshot, whatever its leader's log holds.
func (n *node) resyncVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	var out admin.Resync
	for name, dst := range map[string]*bool{"full": &out.Full, "dry_run": &out.DryRun} {
		if text := query.Get(name); text != "" {
			v, err := strconv.ParseBool(text)
			if err != nil {
				return admin.BadParam(name, text, "1 or 0")
			}
			*dst = v
		}
	}
	st := n.storage()
	if n.following() == nil || st == nil {
		return admin.Refused("WD-1330", "this node does not follow anybody", "ask a follower")
	}
	leader := n.leaderSession()
	if leader == nil {
		return volume.Errorf(volume.Unavailable, "no leader is connected: wolfdiskctl status shows the peers")
	}
	out.Leader, out.Version = leader.Remote().NodeID, uint64(st.engine.Position().Version)
	out.Files, out.Bytes = st.engine.Counts()
	if out.DryRun {
		var err error
		if out.LeaderVersion, out.LeaderFiles, out.LeaderBytes, err = askCounts(ctx, leader); err != nil {
			return err
		}
		return emit(out)
	}
	n.fullSync.Store(out.Full)
	n.wantSnapshot.Store(true)
	leader.Close(volume.Errorf(volume.Busy, "this node is to take a snapshot"))
	return emit(out)
}
