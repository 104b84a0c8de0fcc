package sim

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wolfdisk/elect"
)

var (
	seedsFlag = flag.Int("seeds", 0, "how many clusters to simulate; 0 means 300, and 50 with the race detector or 10 with -short")
	seedFlag  = flag.Uint64("seed", 0, "simulate only this one")
	fromFlag  = flag.Uint64("from", 1, "the first of them")
)

// TestMain lets garbage gather: stores are opened by the thousand, and each is small.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// bugSeeds is within how many seeds a planted bug is to be seen.
const bugSeeds = 200

func seeds() uint64 {
	switch {
	case *seedsFlag > 0:
		return uint64(*seedsFlag)
	case raced && testing.Short():
		return 10
	case raced:
		return 50
	}
	return 300
}

// quick skips what says nothing about races and would take ten times as long with their detector.
func quick(t *testing.T) {
	t.Helper()
	t.Parallel()
	if raced {
		t.Skip("runs without the race detector")
	}
}

// TestSimulation lives through whole clusters, each from its seed: first faults, then heal
// and converge. A failure prints the seed, and the seed replays it.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		r := run(t, *seedFlag, bug{})
		if r.broken != "" {
			t.Error(r.failure)
		}
		r.failure = ""
		t.Logf("%+v", r)
		return
	}
	began := time.Now()
	var (
		mu        sync.Mutex // guards all below
		next      = *fromFlag
		end       = next + seeds()
		total     result
		schedules = map[uint64]bool{}
		gaps      []time.Duration
		heals     []time.Duration
		failed    int
	)
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= end && failed < 3
	}
	note := func(r *result) {
		mu.Lock()
		defer mu.Unlock()
		if r.broken != "" {
			failed++
			t.Error(r.failure)
			return
		}
		schedules[r.trace] = true
		total.roles += r.roles
		total.saves += r.saves
		total.events += r.events
		total.acked += r.acked
		total.conflicts += r.conflicts
		total.records += r.records
		total.applied += r.applied
		total.looked += r.looked
		total.helped += r.helped
		total.gone += r.gone
		total.amid += r.amid
		total.repeats += r.repeats
		if r.class == killed_ {
			gaps = append(gaps, r.gap)
		}
		if (r.class == faults || r.class == leases) && r.gone == 0 {
			heals = append(heals, r.healed)
		}
	}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				r := run(t, seed, bug{})
				note(&r)
			}
		})
	}
	workers.Wait()
	took := time.Since(began)
	t.Logf("%d seeds, %.1f per second: %d distinct schedules, %d role changes, %d promises, %d events, %d changes of copies, %d trees compared; %d acknowledged ops, %d of them in %d conflict records or lost with all their disks; %d crashes between two calls to a file system, %d forwarded requests asked again, %d clusters needed an operator, of %d no disk held a copy any more; "+
		"failover p50 %v max %v; healed p50 %v max %v",
		end-*fromFlag, float64(end-*fromFlag)/took.Seconds(), len(schedules), total.roles, total.saves, total.events, total.applied, total.looked, total.acked, total.conflicts, total.records, total.amid, total.repeats, total.helped, total.gone,
		middle(gaps), last(gaps), middle(heals), last(heals))
}

func middle(l []time.Duration) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[len(l)/2]
}

func last(l []time.Duration) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return slices.Max(l)
}

// TestReplay: a seed is a whole life.
func TestReplay(t *testing.T) {
	quick(t)
	for seed := uint64(1); seed <= 16; seed++ {
		a, b := run(t, seed, bug{}), run(t, seed, bug{})
		if a != b {
			t.Errorf("seed %d: %+v, then %+v", seed, a, b)
		}
	}
}

// TestPlantedBugs: each is seen within a few seeds, and by the invariant
// that it breaks, not only because the cluster does not come to rest.
func TestPlantedBugs(t *testing.T) {
	quick(t)
	for _, row := range []struct {
		name string
		bug  bug
		only []class // seeds of others are passed over; nil is all
		seen []string
	}{
		{"no fencing", bug{elect.NoFencing, noFencing}, nil, []string{"I2"}},
		{"no veto", bug{elect.NoVeto, noBug}, nil, []string{"veto", "fenced"}},
		{"leading unsynced", bug{elect.Unsynced, noBug}, nil, []string{"I6"}},
		{"equal epochs", bug{elect.EqualEpochs, noBug}, nil, []string{"I1"}},
		{"promise not saved", bug{elect.Unsaved, noBug}, nil, []string{"I1", "I2"}},
		{"no lease", bug{elect.NoLease, noBug}, []class{leases}, []string{"fenced"}},
		{"dropping a fork", bug{elect.NoBug, dropFork}, nil, []string{"I9", "I5"}},
		{"fsync without a sync", bug{elect.NoBug, earlySync}, nil, []string{"I6", "promise 3"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= bugSeeds; seed++ {
				if row.only != nil && !slices.Contains(row.only, classOf(seed)) {
					continue
				}
				r := run(t, seed, row.bug)
				for _, by := range row.seen {
					if strings.Contains(r.broken, " s: "+by+":") {
						t.Logf("seed %d: %s", seed, r.broken)
						return
					}
				}
			}
			t.Errorf("none of %q noticed in %d seeds", row.seen, bugSeeds)
		})
	}
}
