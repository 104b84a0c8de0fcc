package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"wolfdisk/index"
	"wolfdisk/volume"
)

const (
	// adoptBatch is how many ops enter the index together during an adoption. Larger
	// ones would be flushed on their own.
	adoptBatch = 2048
	// tellEveryScan is how often the log says how far a scan has come.
	tellEveryScan = 5 * time.Second
)

// full reports whether the directory holds files and the volume nothing: then they are
// to become the volume.
func (s *storage) full() (bool, error) {
	if s.dir == nil || s.log.Last().Version > 0 {
		return false, nil
	}
	empty, err := s.dir.IsEmpty()
	return !empty, err
}

// adopt makes what the directory holds the volume's, without a copy: the ops that say what
// is there enter the index and never the log, which begins behind them. So a
// follower gets all of it by a snapshot. Nobody is served yet.
//
// The index is complete once the log begins behind it, which happens at once; until
// then the state says that it is not, and a start makes it anew (dropHalfAdopted).
func (n *node) adopt(ctx context.Context, epoch volume.Epoch, participants []string) error {
	st := n.storage()
	if st.log.Last().Version > 0 && n.state.Get().Adopting { // the last run ended just before it could say so
		return n.state.Update(func(s *State) { s.Adopting = false })
	}
	full, err := st.full()
	if err != nil || !full {
		return err
	}
	if err := n.state.Update(func(s *State) { s.Adopting, s.Checkpoint = true, 0 }); err != nil {
		return err
	}
	n.log.Info().Str("dir", n.cfg.Volume.Dir).Msg("the directory holds files: scanning it, to adopt them in place")
	p := n.beginProgress("scanning", 0, 0)
	defer n.endProgress(p)
	st.adopting.Store(true) // to the end of the run if it fails: the index is ahead of the log
	count, err := st.dir.Count(ctx)
	if err != nil {
		return err
	}
	p.expect(count)
	a := newAdoption(n, st, p, epoch)
	if err := a.run(ctx, participants); err != nil {
		return volume.Wrap(err, "adopt "+n.cfg.Volume.Dir)
	}
	if err := n.finishAdoption(ctx, st); err != nil {
		return err
	}
	files, bytes := st.engine.Counts()
	n.log.Info().Uint64("files", files).Uint64("bytes", bytes).Str("took", time.Since(p.begun).Round(time.Millisecond).String()).
		Float64("files_per_second", float64(a.files)/max(time.Since(p.begun).Seconds(), 1e-3)).Msg("adopted the directory in place")
	return nil
}

// finishAdoption makes the adoption the volume's beginning.
func (n *node) finishAdoption(ctx context.Context, st *storage) error {
	pos := st.engine.Position()
	// What was copied here a moment ago may still be on its way to the disk.
	if err := st.dir.Checkpoint(ctx); err != nil {
		return err
	}
	if err := st.engine.Flush(); err != nil {
		return err
	}
	if err := n.state.Update(func(s *State) { s.Checkpoint = pos.Version }); err != nil {
		return err
	}
	if err := st.log.Reset(pos); err != nil {
		return volume.Wrap(err, "begin the log behind the adopted files")
	}
	st.adopting.Store(false)
	return n.state.Update(func(s *State) { s.Adopting = false })
}

// dropHalfAdopted removes the index of an adoption that did not come to its end. The
// directory was not changed by it.
func (s *storage) dropHalfAdopted(o storageOptions) error {
	if !o.state.Adopting || s.log.Last().Version > 0 {
		return nil
	}
	s.zlog.Info().Msg("the adoption of the directory was interrupted: beginning anew")
	return volume.Wrap(os.RemoveAll(filepath.Join(o.cfg.Node.DataDir, "index")), "remove the unfinished index")
}

// adoption takes what a scan finds and enters it into the index, many ops at a time.
type adoption struct {
	n     *node
	st    *storage
	p     *progress
	epoch volume.Epoch
	time  volume.Time
	enc   *volume.Encoder

	ops    []*volume.Op
	lower  []volume.LowerRecord
	shared map[string]volume.Ino // keys among lower
	after  volume.Position

	files, bytes uint64
	told         uint64
	tell         time.Time
}

func newAdoption(n *node, st *storage, p *progress, epoch volume.Epoch) *adoption {
	return &adoption{
		n: n, st: st, p: p, epoch: epoch, time: volume.TimeOf(time.Now()), enc: volume.NewEncoder(),
		shared: map[string]volume.Ino{}, tell: time.Now().Add(tellEveryScan),
	}
}

func (a *adoption) run(ctx context.Context, participants []string) error {
	a.st.engine.BeginEpoch(a.epoch.Tag)
	if _, err := a.Add(&volume.Op{Kind: volume.OpReign, Epoch: a.epoch, Participants: participants}); err != nil {
		return err
	}
	if _, err := a.Add(&volume.Op{Kind: volume.OpMember, Member: a.n.asMember()}); err != nil {
		return err
	}
	if err := a.st.dir.Scan(ctx, a); err != nil {
		return err
	}
	return a.enter()
}

// Prefetch implements hostdir.Sink: for each name it is asked whether the directory has it already.
func (a *adoption) Prefetch(dir volume.Ino, names []string) error {
	return a.st.engine.Prefetch(dir, names)
}

// NewIno implements hostdir.Sink.
func (a *adoption) NewIno() (volume.Ino, error) { return a.st.engine.NewIno() }

// Add implements hostdir.Sink.
func (a *adoption) Add(op *volume.Op) (volume.Version, error) {
	if len(a.ops) >= adoptBatch {
		if err := a.enter(); err != nil {
			return 0, err
		}
	}
	op.Time, op.Caller.Front = a.time, volume.FrontReconcile
	if op.Kind == volume.OpReign {
		op.Caller.Front = volume.FrontNone
	}
	a.enc.Reset()
	raw, err := a.enc.Add(op)
	if err != nil {
		return 0, err
	}
	a.after.Version++
	a.after.Epoch, a.after.Digest = a.epoch, a.after.Digest.Next(raw)
	op.Version = a.after.Version
	a.ops = append(a.ops, op)
	return op.Version, nil
}

// Record implements hostdir.Sink.
func (a *adoption) Record(r volume.LowerRecord, shared bool) error {
	a.lower = append(a.lower, r)
	if shared {
		a.shared[string(r.Key)] = r.Ino
	}
	return nil
}

// LowerIno implements hostdir.Sink.
func (a *adoption) LowerIno(key []byte) (volume.Ino, error) {
	if ino, ok := a.shared[string(key)]; ok {
		return ino, nil
	}
	return a.st.engine.LowerIno(key)
}

// Found implements hostdir.Sink.
func (a *adoption) Found(dir string, bytes int64) {
	a.files++
	a.bytes += uint64(bytes)
	if a.files%256 != 0 {
		return
	}
	a.p.add(256, 0, "/"+dir)
	if now := time.Now(); now.After(a.tell) {
		a.say(now)
	}
}

// say logs how far the scan has come.
func (a *adoption) say(now time.Time) {
	s := a.p.show()
	a.n.log.Info().Uint64("files", a.files).Uint64("of", s.AllFiles).Str("percent", fmt.Sprintf("%.1f", s.Percent)).
		Float64("files_per_second", float64(a.files-a.told)/(tellEveryScan+now.Sub(a.tell)).Seconds()).
		Str("eta", (time.Duration(s.ETASeconds)*time.Second).String()).Str("path", s.Path).Msg("scanning")
	a.told, a.tell = a.files, now.Add(tellEveryScan)
}

// enter makes what was added part of the index.
func (a *adoption) enter() error {
	if len(a.ops) == 0 {
		return nil
	}
	if err := a.st.engine.Enter(index.Batch{Ops: a.ops, After: a.after, Lower: a.lower}); err != nil {
		return err
	}
	clear(a.ops)
	clear(a.shared)
	a.ops, a.lower = a.ops[:0], a.lower[:0]
	return nil
}

// expect says how many files there are, once that is known.
func (p *progress) expect(files uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allFiles = files
}
