package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"wolfdisk/node/config"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
	"wolfdisk/volume/volumetest/powerdisk"
)

// TestPowerCut takes the power from a leader, directory and state on a real file system, at
// any moment of a random history. It comes back with all that was synced, directory and
// index agree, and what it found in the directory is in its log.
func TestPowerCut(t *testing.T) {
	eachSeed(t, 1, 40, powerCuts)
}

// eachSeed runs a test by seeds, as many as fit a short run, or a long one.
func eachSeed(t *testing.T, short, long uint64, test func(t *testing.T, seed uint64)) {
	seeds := long
	if testing.Short() {
		seeds = short
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { test(t, seed) })
	}
}

func powerCuts(t *testing.T, seed uint64) {
	ctx := context.Background()
	disk := powerdisk.New(t)
	m := &machine{t: t, dir: filepath.Join(disk.Root, "data"), data: filepath.Join(disk.Root, "state"), start: time.Now().Add(-time.Hour)}
	for _, dir := range []string{m.dir, m.data} {
		m.must(os.Mkdir(dir, 0o755))
	}
	m.tune = func(c *config.Config) { c.Oplog.SegmentSize = 1 << 20 }
	rng := rand.New(rand.NewPCG(seed, 9))
	gen := volumetest.Random(seed)
	m.must(m.lead(ctx))
	for cut := range 5 {
		changed := map[volume.Ino]bool{} // since it was synced
		synced := map[volume.Ino]string{}
		l := m.n.leading()
		for range 50 + rng.IntN(300) {
			s := gen.Next()
			if s.Req != nil {
				for _, ino := range []volume.Ino{s.Req.Ino, s.Req.Parent, s.Req.NewParent} {
					changed[ino] = true
				}
				for _, ref := range []volume.NameRef{{Parent: s.Req.Parent, Name: s.Req.Name}, {Parent: s.Req.NewParent, Name: s.Req.NewName}} {
					if a, err := l.Lookup(ctx, ref.Parent, ref.Name); err == nil {
						changed[a.Ino] = true
					}
				}
			}
			m.step(l, gen, s)
			switch rng.IntN(40) {
			case 0:
				disk.Commit()
			case 1:
				m.must(m.n.checkpointNow())
			case 2, 3:
				if s.Req == nil || s.Req.Ino == 0 {
					continue
				}
				if err := l.Sync(ctx, s.Req.Ino, false); err == nil {
					if a, err := l.GetAttr(ctx, s.Req.Ino); err == nil && a.IsFile() && a.Nlink > 0 && a.Size < 1<<20 { // some are sparse and huge
						synced[a.Ino], changed[a.Ino] = m.content(l, a), false
					}
				}
			}
		}
		durable := m.n.storage().log.Durable()
		m.dark(disk)
		disk.Boot()
		m.boot++
		m.start = time.Now()
		m.must(m.lead(ctx))
		if at := m.n.storage().log.Last().Version; at < durable {
			t.Errorf("cut %d: the log ends at %d, %d was durable", cut, at, durable)
		}
		l = m.n.leading()
		for ino, want := range synced {
			if changed[ino] {
				continue
			}
			if a, err := l.GetAttr(ctx, ino); err != nil {
				t.Errorf("cut %d: %s was synced: %v", cut, ino, err)
			} else if a.Size != int64(len(want)) {
				t.Errorf("cut %d: %s was synced with %d bytes, and has %d", cut, ino, len(want), a.Size)
			} else if got := m.content(l, a); got != want {
				t.Errorf("cut %d: %s was synced with %d bytes, and has %d others", cut, ino, len(want), len(got))
			}
		}
		m.agree()
		if t.Failed() {
			t.Fatalf("after cut %d", cut)
		}
	}
	m.kill()
}

// step does a step; what the volume refuses is part of the game, and so are the kinds of errors
// that are given.
func (m *machine) step(v volume.Volume, gen *volumetest.Gen, s volumetest.Step, ok ...volume.Kind) {
	m.t.Helper()
	ctx := context.Background()
	var res volume.Result
	var err error
	switch {
	case s.Req != nil:
		res, err = v.Do(ctx, s.Req)
	case s.Open != 0:
		err = v.Open(ctx, s.Open, false)
	default:
		err = v.Close(ctx, s.Close)
	}
	if k := volume.KindOf(err); err != nil && (k == volume.Fault || k == volume.Corrupt || k == volume.IO || k == volume.WrongHistory || k == volume.Missing) && !slices.Contains(ok, k) {
		m.t.Fatal(err)
	}
	gen.Done(s, res, err)
}

func (m *machine) content(v volume.Reader, a volume.Attr) string {
	m.t.Helper()
	b := make([]byte, a.Size)
	n, err := v.ReadAt(context.Background(), a.Ino, b, 0)
	m.must(err)
	return string(b[:n])
}

// dark ends the node by taking its disk away. The index's store would end the process for that, so it
// is closed a moment before, which puts nothing on the disk.
func (m *machine) dark(disk *powerdisk.Disk) {
	m.t.Helper()
	st := m.n.storage()
	m.n.cancel(nil)
	m.must(st.engine.Abandon())
	disk.Cut()
	_ = errors.Join(st.log.Close(), st.dir.Close(), m.n.state.Close()) // the disk is gone
}
