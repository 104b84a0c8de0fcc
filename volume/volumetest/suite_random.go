package volumetest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wolfdisk/volume"
)

// seedVariable sets the first seed of the random tests, to repeat a failure.
const seedVariable = "WOLFDISK_TEST_SEED"

// seeds are those of a random test; a failure prints its seed.
func seeds(t *testing.T, short, long int) []uint64 {
	first, n := uint64(1), long
	if testing.Short() {
		n = short
	}
	if s := os.Getenv(seedVariable); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
		first, n = v, 1
	}
	var list []uint64
	for i := range n {
		list = append(list, first+uint64(i))
	}
	return list
}

// chunkRefs are the chunks of a system, whole, in order.
func chunkRefs(chunks map[volume.ChunkID][]byte) (refs []volume.ChunkRef) {
	for id, data := range chunks {
		if len(data) > 0 {
			refs = append(refs, volume.ChunkRef{ID: id, Length: int64(len(data))})
		}
	}
	slices.SortFunc(refs, func(a, b volume.ChunkRef) int { return strings.Compare(string(a.ID[:]), string(b.ID[:])) })
	return refs
}

// runRandom sends random streams to volume and model, one step after the other.
func runRandom(t *testing.T, make func(t *testing.T) System) {
	steps := 1500
	if testing.Short() {
		steps = 500
	}
	for _, seed := range seeds(t, 4, 12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			sys := make(t)
			p := start(t, sys)
			g := Random(seed, chunkRefs(sys.Chunks)...)
			var history []string
			for i := range steps {
				s := g.Next()
				history = append(history, s.String())
				res, err, disagree := p.step(t.Context(), s)
				if disagree == nil && (i%100 == 99 || i == steps-1) {
					disagree = p.Compare(t.Context())
				}
				if disagree != nil {
					t.Fatalf("seed %d (set %s to repeat), step %d:\n%s\nvolume != model:\n%v",
						seed, seedVariable, i, strings.Join(history[max(0, len(history)-12):], "\n"), disagree)
				}
				g.Done(s, res, err)
			}
			compareReplicas(t, sys, p.model.Inos())
		})
	}
}

func (s Step) String() string {
	switch {
	case s.Open != 0:
		return "open " + s.Open.String()
	case s.Close != 0:
		return "close " + s.Close.String()
	}
	return describeReq(s.Req)
}

func (p *pair) step(ctx context.Context, s Step) (res volume.Result, err, disagree error) {
	switch {
	case s.Open != 0:
		err, disagree = p.Open(ctx, s.Open, false)
	case s.Close != 0:
		err, disagree = p.Close(ctx, s.Close)
	default:
		res, err, disagree = p.Do(ctx, s.Req)
	}
	return res, err, disagree
}

// refusalKinds are the kinds with which a healthy volume refuses requests.
var refusalKinds = []volume.Kind{
	volume.NotFound, volume.Exists, volume.NotDir, volume.IsDir, volume.NotEmpty, volume.Invalid, volume.NameTooLong,
	volume.NotPermitted, volume.AccessDenied, volume.Stale, volume.NoXattr, volume.OutOfRange, volume.TooBig,
	volume.XattrTooBig, volume.Unsupported, volume.Precondition, volume.NotSeekable, volume.NoSpace,
}

// runConcurrent has several goroutines change and read one volume. Afterwards its
// ops, applied one after the other, must make the tree that it shows.
func runConcurrent(t *testing.T, make func(t *testing.T) System) {
	for _, seed := range seeds(t, 2, 6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { concurrentStream(t, make(t), seed) })
	}
	for _, c := range raceChecks() {
		t.Run(c.name, func(t *testing.T) {
			sys := make(t)
			c.run(t, sys)
			consistent(t, sys)
		})
	}
}

func concurrentStream(t *testing.T, sys System, seed uint64) {
	steps, workers := 600, 6
	if testing.Short() {
		steps = 200
	}
	g := Random(seed, chunkRefs(sys.Chunks)...)
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	opened := newOpened()
	for i := range workers {
		own := g.Fork(seed*100 + uint64(i))
		writers.Go(func() {
			for range steps {
				s := own.Next()
				res, err := concurrentStep(t.Context(), sys.Vol, s, opened)
				if err != nil && !slices.Contains(refusalKinds, volume.KindOf(err)) {
					t.Errorf("seed %d: %s: %v", seed, s, err)
					return
				}
				own.Done(s, res, err)
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			if err := readAround(t.Context(), sys.Vol, &done); err != nil {
				t.Errorf("seed %d: a reader: %v", seed, err)
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	for ino, n := range opened.counts {
		for range n {
			if err := sys.Vol.Close(t.Context(), ino); err != nil {
				t.Errorf("seed %d: close inode %s: %v", seed, ino, err)
			}
		}
	}
	consistent(t, sys)
}

// opened counts what is open.
type opened struct {
	mu     sync.Mutex
	counts map[volume.Ino]int
}

func newOpened() *opened { return &opened{counts: map[volume.Ino]int{}} }

func (o *opened) add(ino volume.Ino, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts[ino] += n
}

// concurrentStep does a step and checks that its effect is seen at once.
func concurrentStep(ctx context.Context, vol volume.Volume, s Step, opened *opened) (res volume.Result, err error) {
	switch {
	case s.Open != 0:
		if err = vol.Open(ctx, s.Open, true); err == nil {
			opened.add(s.Open, 1)
		}
		return res, err
	case s.Close != 0:
		opened.add(s.Close, -1)
		return res, vol.Close(ctx, s.Close)
	}
	if res, err = vol.Do(ctx, s.Req); err != nil || res.Version == 0 {
		return res, err
	}
	if v := vol.Position().Version; v < res.Version {
		return res, volume.Errorf(volume.Fault, "answered with version %d, but the position is %d", res.Version, v)
	}
	a, gerr := vol.GetAttr(ctx, res.Attr.Ino)
	if gerr != nil && volume.KindOf(gerr) != volume.Stale {
		return res, volume.Wrap(gerr, "attributes after "+s.String())
	}
	if gerr == nil && (a.Version < res.Version || a.Ctime.Compare(res.Attr.Ctime) < 0) {
		return res, volume.Errorf(volume.Fault, "answered with version %d, but attributes are of version %d", res.Version, a.Version)
	}
	return res, nil
}

// readAround reads all there is, again and again. What it reads may come and go, but
// a position never goes back, and a directory never shows a name twice.
func readAround(ctx context.Context, vol volume.Volume, done *atomic.Bool) error {
	var last volume.Version
	gone := func(err error) bool {
		k := volume.KindOf(err)
		return k == volume.Stale || k == volume.NoXattr || k == volume.NotFound
	}
	visit := func(ino volume.Ino) error {
		a, err := vol.GetAttr(ctx, ino)
		if err != nil {
			return err
		}
		if a.IsFile() {
			if _, err := vol.ReadAt(ctx, ino, make([]byte, 10000), 0); err != nil {
				return err
			}
		}
		names, err := vol.ListXattr(ctx, ino)
		for _, name := range names {
			if _, err := vol.GetXattr(ctx, ino, name); err != nil {
				return err
			}
		}
		return err
	}
	for !done.Load() {
		if v := vol.Position().Version; v < last {
			return volume.Errorf(volume.Fault, "position went from %d to %d", last, v)
		} else {
			last = v
		}
		dirs := []volume.Ino{volume.RootIno}
		for depth := 0; len(dirs) > 0 && depth < 200; depth++ {
			dir := dirs[0]
			dirs = dirs[1:]
			list, err := listing(ctx, vol, dir)
			if err != nil && !gone(err) {
				return volume.Wrap(err, "list")
			}
			cookies := map[uint64]bool{}
			for _, d := range list {
				if cookies[d.Cookie] {
					return volume.Errorf(volume.Fault, "cookie %d comes twice", d.Cookie)
				}
				cookies[d.Cookie] = true
				if d.Type == volume.ModeDir {
					dirs = append(dirs, d.Ino)
				}
				if err := visit(d.Ino); err != nil && !gone(err) {
					return volume.Wrap(err, "read "+d.Name)
				}
			}
		}
	}
	return nil
}

// consistent checks a volume at rest in itself and against its ops.
func consistent(t *testing.T, sys System) {
	t.Helper()
	if t.Failed() {
		return
	}
	snap, err := Tree(t.Context(), sys.Vol)
	if err != nil {
		t.Fatal(err)
	}
	if err := disagreement(Check(snap)); err != nil {
		t.Fatalf("the tree is not consistent:\n%v", err)
	}
	if sys.Ops == nil {
		return
	}
	m := NewModel(Options{Chunks: sys.Chunks})
	for _, op := range sys.Ops(0) {
		if err := m.Apply(t.Context(), op); err != nil {
			t.Fatalf("the ops do not follow from each other: %v\n%s", err, describeOp(op))
		}
	}
	compareReplicas(t, sys, m.Inos())
}
