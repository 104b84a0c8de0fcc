package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"time"

	"wolfdisk/index"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// codeDamaged says that the last scrub left damage.
const codeDamaged = "WD-1158"

// scrubEvery is how often a scrub says how far it is.
const scrubEvery = time.Second

// scrubOptions say what a scrub does.
type scrubOptions struct {
	repair    bool
	readFiles bool
	rate      int64 // bytes per second; 0 is no bound
}

// scrubVerb is `wolfdiskctl scrub`.
func (n *node) scrubVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	var o scrubOptions
	for name, to := range map[string]*bool{"repair": &o.repair, "read_files": &o.readFiles} {
		if text := query.Get(name); text != "" {
			v, err := strconv.ParseBool(text)
			if err != nil {
				return admin.BadParam(name, text, "true or false")
			}
			*to = v
		}
	}
	if text := query.Get("rate"); text != "" {
		v, err := config.ParseSize(text)
		if err != nil || v < minScrubRate {
			return admin.BadParam("rate", text, "a size per second like 50MiB, 64KiB at least")
		}
		o.rate = int64(v)
	}
	ctx, release, err := n.longVerb(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = n.scrub(ctx, o, func(l admin.ScrubLine) error { return emit(l) })
	return err
}

// minScrubRate is the lowest bound of speed, bytes per second: pieces that are larger
// than a second's worth are read at once all the same.
const minScrubRate = 64 << 10

// scrub checks all that this node keeps against its hashes, in the order log, chunks, index,
// then what joins them.
func (n *node) scrub(ctx context.Context, o scrubOptions, emit func(admin.ScrubLine) error) (admin.ScrubResult, error) {
	if !n.scrubbing.CompareAndSwap(false, true) {
		return admin.ScrubResult{}, volume.Errorf(volume.Busy, "a scrub is running already: wait for its end")
	}
	defer n.scrubbing.Store(false)
	st := n.storage()
	if st == nil {
		return admin.ScrubResult{}, volume.Errorf(volume.Unavailable, "this node holds no volume yet")
	}
	all := uint64(st.log.Bytes())
	if st.chunks != nil {
		all += uint64(st.chunks.Stats().FileBytes)
	}
	s := &scrubber{
		n: n, st: st, ctx: ctx, opt: o, emit: emit, begun: time.Now(), told: time.Now(),
		shown: n.beginProgress("scrubbing", 0, all), lost: map[volume.ChunkID]*lostChunk{},
	}
	defer n.endProgress(s.shown)
	s.result.Repair = o.repair
	n.log.Info().Bool("repair", o.repair).Msg("scrub: begun")
	if err := s.run(); err != nil {
		if ctx.Err() != nil {
			err = volume.Errorf(volume.Interrupted, "scrub: %w", context.Cause(ctx))
		}
		return s.result, err
	}
	s.result.Time = time.Now()
	s.result.Seconds = s.result.Time.Sub(s.begun).Seconds()
	s.result.Left = s.result.Damaged - s.result.Repaired
	n.scrubbed(&s.result)
	return s.result, emit(admin.ScrubLine{Result: &s.result})
}

// scrubbed keeps the result in mind while damage is left.
func (n *node) scrubbed(r *admin.ScrubResult) {
	n.log.Info().Uint64("damaged", r.Damaged).Uint64("repaired", r.Repaired).Float64("seconds", r.Seconds).Msg("scrub: done")
	if r.Left > 0 {
		n.warn(codeDamaged, fmt.Sprintf("a scrub at %s left %d damaged places", r.Time.UTC().Format(time.RFC3339), r.Left),
			"see them with 'wolfdiskctl scrub'; connect a node that has intact copies and run 'wolfdiskctl scrub --repair'")
		return
	}
	n.unwarn(codeDamaged)
}

// scrubber is one scrub.
type scrubber struct {
	n    *node
	st   *storage
	ctx  context.Context
	opt  scrubOptions
	emit func(admin.ScrubLine) error

	begun  time.Time
	told   time.Time // when progress was last told
	shown  *progress
	bytes  int64 // read so far
	result admin.ScrubResult
	snap   *index.Snapshot
	// lost are chunks that are damaged or absent: told once it is known whose they are.
	lost map[volume.ChunkID]*lostChunk
	gaps []*gap // of the log
	// whole says that nothing is wrong with the index, so that what no extent names is
	// nobody's; forgot, that chunks were forgotten, which their packs still hold.
	whole, forgot bool
}

func (s *scrubber) run() error {
	// What it names must stay while it is looked for.
	snap, free, err := s.n.holds.take(s.st.engine)
	if err != nil {
		return err
	}
	s.snap = snap
	steps := []func() error{s.log, s.chunks, s.index, s.extents, s.tellGaps, s.tellLost, s.files}
	for _, step := range steps {
		if err == nil {
			err = step()
		}
	}
	if s.st.dir != nil && !s.opt.readFiles {
		s.result.Notes = append(s.result.Notes, "files of a real directory have no hashes: damage below them is known only to their disk; --read-files reads them all")
	}
	return errors.Join(err, free())
}

// read counts what was read, shows it, and keeps to the rate.
func (s *scrubber) read(bytes int64, path string) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.bytes += bytes
	s.shown.add(0, uint64(bytes), path)
	if now := time.Now(); now.Sub(s.told) >= scrubEvery {
		s.told = now
		if err := s.emit(admin.ScrubLine{Progress: s.shown.show()}); err != nil {
			return err
		}
	}
	if s.opt.rate == 0 {
		return nil
	}
	ahead := time.Duration(float64(s.bytes)/float64(s.opt.rate)*float64(time.Second)) - time.Since(s.begun)
	if ahead < 10*time.Millisecond {
		return nil
	}
	t := time.NewTimer(ahead)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// damage tells of something damaged. failed is why it was not repaired: nil if it was, or
// if nobody tried.
func (s *scrubber) damage(d admin.ScrubDamage, what, failed error) error {
	d.Error = what.Error()
	if failed != nil {
		d.Error += "; not repaired: " + failed.Error()
	}
	s.result.Damaged++
	if d.Repaired {
		s.result.Repaired++
	}
	s.n.log.Warn().Str("kind", d.Kind).Str("what", d.What).Str("where", d.Where).Strs("paths", d.Paths).
		Bool("repaired", d.Repaired).Str("error", d.Error).Msg("scrub: damaged")
	return s.emit(admin.ScrubLine{Damage: &d})
}

// log checks every segment, frame and op.
func (s *scrubber) log() error {
	return s.st.log.Verify(s.ctx, func(c oplog.Checked) error {
		s.result.LogBytes += uint64(c.Bytes)
		if c.Last != 0 {
			s.result.Frames++
		}
		if c.Err != nil {
			if err := s.logDamage(c); err != nil {
				return err
			}
		}
		return s.read(c.Bytes, "")
	})
}

func (s *scrubber) logDamage(c oplog.Checked) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	d := admin.ScrubDamage{Kind: "log", Where: fmt.Sprintf("segment %016x, %d bytes at %d", c.Segment, c.Bytes, c.Offset)}
	switch {
	case c.Last != 0:
		d.What = fmt.Sprintf("frame %d to %d", c.First, c.Last)
	case c.Offset == 0:
		d.What = "header of a segment"
	default:
		d.What = "header of a frame"
	}
	var failed error
	if s.opt.repair {
		_, failed = s.st.log.Repair(s.ctx, volume.LogRef{Segment: c.Segment, Frame: c.Offset})
		d.Repaired = failed == nil
	}
	if d.Repaired || len(s.gaps) >= maxLost {
		return s.damage(d, c.Err, failed)
	}
	s.gaps = append(s.gaps, &gap{at: c, damage: d, failed: failed})
	return nil
}

// gap is a damaged place of the log: told once it is known which files lie there.
type gap struct {
	at     oplog.Checked
	damage admin.ScrubDamage
	failed error
}

// gapAt is the damaged place that a frame lies in; nil if there is none. Gaps are in
// order, since the log was checked in its order.
func (s *scrubber) gapAt(ref volume.LogRef) *gap {
	i := sort.Search(len(s.gaps), func(i int) bool {
		at := &s.gaps[i].at
		return at.Segment > ref.Segment || at.Segment == ref.Segment && at.Offset > ref.Frame
	})
	if i == 0 {
		return nil
	}
	g := s.gaps[i-1]
	if g.at.Segment != ref.Segment || g.at.Offset+g.at.Bytes <= ref.Frame {
		return nil
	}
	return g
}

// tellGaps tells of the damage of the log that is left.
func (s *scrubber) tellGaps() error {
	for _, g := range s.gaps {
		if err := s.damage(g.damage, g.at.Err, g.failed); err != nil {
			return err
		}
	}
	return nil
}

// index checks the records against each other.
func (s *scrubber) index() error {
	var bytes uint64
	stats, err := s.snap.Check(s.ctx, index.CheckOptions{
		Found: func(f index.Finding) error {
			d := admin.ScrubDamage{Kind: "index", What: f.What, Where: "index"}
			if f.Ino != 0 {
				d.Where = "inode " + f.Ino.String()
				d.Paths = s.paths(f.Ino)
			}
			what := f.Err
			if what == nil {
				what = errContradiction
			}
			var failed error
			if s.opt.repair {
				failed = errNoIndexRepair
			}
			return s.damage(d, what, failed)
		},
		Step: func(c index.CheckStats) error {
			now := c.Bytes
			defer func() { bytes = now }()
			return s.read(int64(now-bytes), "")
		},
	})
	s.result.Records = stats.Records
	s.whole = stats.Findings == 0
	return err
}

var (
	errContradiction = errors.New("the records contradict each other")
	errNoIndexRepair = errors.New("an index is not repaired in place: 'wolfdiskctl resync --full' makes it anew from the leader; on the leader, have a follower take its place")
)

// maxPaths bounds the paths that are told with one damage.
const maxPaths = 10

// paths are names of an inode; as many as can be read.
func (s *scrubber) paths(ino volume.Ino) []string {
	names, err := s.snap.Names(ino)
	if err != nil {
		return nil // the index is damaged there, which is found where it is looked for
	}
	var list []string
	for _, name := range names[:min(len(names), maxPaths)] {
		if p, ok := s.path(name); ok {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// maxDepth ends the way up a tree that is a ring in a damaged index.
const maxDepth = 4096

func (s *scrubber) path(name volume.NameRef) (string, bool) {
	path := name.Name
	for range maxDepth {
		if name.Parent == volume.RootIno {
			return path, true
		}
		names, err := s.snap.Names(name.Parent)
		if err != nil || len(names) == 0 {
			return "", false
		}
		name = names[0]
		path = name.Name + "/" + path
	}
	return "", false
}

func sortPieces(list []piece) {
	slices.SortFunc(list, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.x.Chunk.Offset, b.x.Chunk.Offset), cmp.Compare(b.x.Len, a.x.Len), cmp.Compare(a.ino, b.ino))
	})
}
