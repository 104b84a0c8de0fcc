package elect_test

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"wolfdisk/elect"
)

var (
	seedsFlag = flag.Int("seeds", 0, "how many clusters to simulate; 0 means 1000, and 200 with -short")
	seedFlag  = flag.Uint64("seed", 0, "simulate only this one")
)

// shortSeeds is the short form.
const shortSeeds = 200

func seeds() uint64 {
	switch {
	case *seedsFlag > 0:
		return uint64(*seedsFlag)
	case testing.Short():
		return shortSeeds
	}
	return 1000
}

// TestSimulation lives through whole clusters, each from its seed: first faults, then heal
// and converge. A failure prints the seed, and the seed replays it.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		s, r := run(*seedFlag, elect.NoBug)
		t.Logf("%+v", r)
		if s.check.broken != "" {
			s.fail(t)
		}
		return
	}
	var total result
	schedules := map[uint64]bool{}
	var gaps, heals []time.Duration
	failed := 0
	for seed := uint64(1); seed <= seeds() && failed < 3; seed++ {
		s, r := run(seed, elect.NoBug)
		if s.check.broken != "" {
			failed++
			s.fail(t)
			continue
		}
		schedules[r.trace] = true
		total.roles += r.roles
		total.saves += r.saves
		total.events += r.events
		total.acked += r.acked
		total.conflicts += r.conflicts
		if s.class == killed {
			gaps = append(gaps, r.gap)
		}
		if s.class == faults || s.class == leases {
			heals = append(heals, r.healed)
		}
	}
	t.Logf("%d distinct schedules, %d role changes, %d promises, %d events, %d acknowledged ops, %d of them in conflict records or lost with all their disks; "+
		"failover p50 %v max %v; healed p50 %v max %v",
		len(schedules), total.roles, total.saves, total.events, total.acked, total.conflicts, middle(gaps), last(gaps), middle(heals), last(heals))
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
	for seed := uint64(1); seed <= 16; seed++ {
		_, a := run(seed, elect.NoBug)
		_, b := run(seed, elect.NoBug)
		if a != b {
			t.Errorf("seed %d: %+v, then %+v", seed, a, b)
		}
	}
}

// TestPlantedBugs: each is seen within the seeds of the short form, and by the invariant
// that it breaks, not only because the cluster does not come to rest.
func TestPlantedBugs(t *testing.T) {
	for _, row := range []struct {
		name string
		bug  elect.Bug
		seen []string
	}{
		{"no fencing", elect.NoFencing, []string{"I2", "fenced"}},
		{"no veto", elect.NoVeto, []string{"veto", "fenced"}},
		{"leading unsynced", elect.Unsynced, []string{"I6"}},
		{"equal epochs", elect.EqualEpochs, []string{"I1"}},
		{"promise not saved", elect.Unsaved, []string{"I1", "I2"}},
		{"no lease", elect.NoLease, []string{"fenced"}},
		{"dropping a fork", elect.DropFork, []string{"I9", "I5"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			left := slices.Clone(row.seen)
			for seed := uint64(1); seed <= shortSeeds && len(left) == len(row.seen); seed++ {
				s, _ := run(seed, row.bug)
				left = slices.DeleteFunc(left, func(by string) bool {
					found := strings.Contains(s.check.broken, " s: "+by+":")
					if found {
						t.Logf("seed %d: %s", seed, s.check.broken)
					}
					return found
				})
			}
			if len(left) == len(row.seen) {
				t.Errorf("none of %q noticed in %d seeds", row.seen, shortSeeds)
			}
		})
	}
}

// TestNoFalseFailover: a leader that is paused for up to 1 s at random goes on leading, and
// its pauses are all that clients notice.
func TestNoFalseFailover(t *testing.T) {
	d := 10 * time.Minute
	if testing.Short() {
		d = time.Minute
	}
	for seed := range uint64(3) {
		s := newSim(seed, leases, elect.NoBug)
		s.slowDisks, s.safety = false, elect.Safety(seed)
		s.start()
		l := s.settled()
		if l == nil {
			s.fail(t)
			continue
		}
		epoch, began, pauses := l.leading, s.now, 0
		for s.now-began < d && l.leading == epoch {
			if s.now >= l.paused {
				l.paused = s.now + s.between(0, time.Second)
				pauses++
			}
			s.runUntil(s.now + s.between(50*ms, 3*time.Second))
		}
		if l.leading != epoch || s.check.broken != "" {
			s.check.violated("after %d pauses: %s no longer leads in %s", pauses, l.id, epoch)
			s.fail(t)
		}
	}
}
