package node

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// logOf makes segments of ten ops and 100 bytes each, written an hour apart, the last one,
// which is the active one, now.
func logOf(n int, now time.Time) (segs []oplog.SegmentInfo) {
	for i := range n {
		segs = append(segs, oplog.SegmentInfo{
			First: volume.Version(10*i + 1), Last: volume.Version(10*i + 10), Bytes: 100,
			Written: now.Add(-time.Duration(n-i-1) * time.Hour),
		})
	}
	segs[n-1].Written = time.Time{}
	return segs
}

func TestRetentionPlan(t *testing.T) {
	const nobody = volume.Version(math.MaxUint64)
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		name             string
		r                retention
		segs             int
		followers, floor volume.Version
		want             volume.Version
	}{
		{"no bounds", retention{}, 10, nobody, nobody, 0},
		{"little", retention{keep: 1000}, 10, nobody, nobody, 0},
		{"within the slack", retention{keep: 500, slack: 500}, 10, nobody, nobody, 0},
		{"too much", retention{keep: 500, slack: 400}, 10, nobody, nobody, 50},
		{"no segment is cut", retention{keep: 550}, 10, nobody, nobody, 40},
		{"the active segment stays", retention{keep: 1}, 10, nobody, nobody, 90},
		{"only one segment", retention{keep: 1}, 1, nobody, nobody, 0},
		{"too old", retention{keep: 5000, age: 6*time.Hour + time.Minute}, 10, nobody, nobody, 30},
		{"nothing is too old", retention{keep: 5000, age: 100 * time.Hour}, 10, nobody, nobody, 0},
		{"all are too old", retention{age: time.Minute}, 10, nobody, nobody, 90},
		{"a follower is in the way", retention{keep: 100}, 10, 35, nobody, 30},
		{"a follower at the end of a segment", retention{keep: 100}, 10, 30, nobody, 30},
		{"a follower that has nothing", retention{keep: 100}, 10, 0, nobody, 0},
		{"a follower is too slow", retention{keep: 100, limit: 600}, 10, 5, nobody, 40},
		{"a follower below what is kept", retention{keep: 700, limit: 600}, 10, 5, nobody, 30},
		{"a follower and age", retention{age: time.Minute}, 10, 35, nobody, 30},
		{"a slow follower and age", retention{age: time.Minute, limit: 400}, 10, 5, nobody, 60},
		{"own volume", retention{keep: 100, limit: 100}, 10, 0, 49, 40},
		{"own volume at the end of a segment", retention{keep: 100}, 10, nobody, 50, 50},
		{"own volume has nothing", retention{keep: 100, age: time.Minute}, 10, nobody, 0, 0},
	} {
		if got := c.r.plan(logOf(c.segs, now), now, c.followers, c.floor); got != c.want {
			t.Errorf("%s: through %d, want %d", c.name, got, c.want)
		}
	}
}

// Whatever there is: what is planned is the end of a segment that is not the active one,
// lies behind no floor, leaves what is to be kept, and is all that may go.
func TestRetentionPlanProperties(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		segs := make([]oplog.SegmentInfo, 1+r.IntN(12))
		v, at, total := volume.Version(r.IntN(1000)), now.Add(-time.Duration(r.IntN(100))*time.Hour), int64(0)
		for i := range segs {
			n := volume.Version(1 + r.IntN(50))
			segs[i] = oplog.SegmentInfo{First: v + 1, Last: v + n, Bytes: 256 + r.Int64N(1000), Written: at}
			v, at, total = v+n, at.Add(time.Duration(r.IntN(8))*time.Hour), total+segs[i].Bytes
		}
		segs[len(segs)-1].Written = time.Time{}
		some := func(n int64) int64 { return r.Int64N(2) * r.Int64N(n) }
		rule := retention{keep: some(8000), slack: some(1000), age: time.Duration(some(60)) * time.Hour, limit: some(12000)}
		followers, floor := segs[0].First+volume.Version(r.Int64N(int64(v-segs[0].First)+20)), segs[0].First+volume.Version(r.Int64N(int64(v-segs[0].First)+20))
		got := rule.plan(segs, now, followers, floor)
		k := 0 // segments that go
		left := total
		for k < len(segs) && segs[k].Last <= got {
			left -= segs[k].Bytes
			k++
		}
		switch {
		case got != 0 && (k == 0 || segs[k-1].Last != got):
			t.Fatalf("seed %d: %d is not the end of a segment", seed, got)
		case k == len(segs):
			t.Fatalf("seed %d: the active segment goes", seed)
		case got > floor:
			t.Fatalf("seed %d: %d is beyond floor %d", seed, got, floor)
		case got > followers && (rule.limit == 0 || left < max(rule.limit, rule.keep)):
			t.Fatalf("seed %d: %d is taken from a follower at %d, of %d bytes %d are left", seed, got, followers, total, left)
		}
		// Each that went was too many or too old, and the next one is not, or is needed.
		size := total
		why := func(s *oplog.SegmentInfo) bool {
			return rule.keep > 0 && total > rule.keep+rule.slack && size-s.Bytes >= rule.keep || rule.age > 0 && now.Sub(s.Written) > rule.age
		}
		for i := range k {
			if !why(&segs[i]) {
				t.Fatalf("seed %d: segment %d need not go", seed, i)
			}
			size -= segs[i].Bytes
		}
		if next := &segs[k]; k < len(segs)-1 && why(next) && next.Last <= floor && (next.Last <= followers || rule.limit > 0 && size-next.Bytes >= max(rule.limit, rule.keep)) {
			t.Fatalf("seed %d: segment %d should go", seed, k)
		}
		// With less in the way, no less goes.
		if more := rule.plan(segs, now, math.MaxUint64, math.MaxUint64); more < got {
			t.Fatalf("seed %d: %d without followers and floor, %d with them", seed, more, got)
		}
	}
}
