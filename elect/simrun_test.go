package elect_test

import (
	"flag"
	"slices"
	"testing"
	"time"

	"wolfdisk/elect"
)

var (
	seedsFlag = flag.Int("seeds", 0, "how many clusters to simulate; 0 means 400, and 150 with -short")
	seedFlag  = flag.Uint64("seed", 0, "simulate only this one")
)

func seeds() uint64 {
	switch {
	case *seedsFlag > 0:
		return uint64(*seedsFlag)
	case testing.Short():
		return 150
	}
	return 400
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
		if s.class == faults {
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

// TestPlantedBugs: each is seen by the checkers within the seeds of the short form.
func TestPlantedBugs(t *testing.T) {
	for bug, name := range map[elect.Bug]string{
		elect.NoFencing: "no fencing", elect.NoVeto: "no veto", elect.Unsynced: "leading unsynced",
		elect.EqualEpochs: "equal epochs", elect.DropFork: "dropping a fork",
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 150; seed++ {
				if s, _ := run(seed, bug); s.check.broken != "" {
					t.Logf("seed %d: %s", seed, s.check.broken)
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}
