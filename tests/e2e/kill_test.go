//go:build linux

package e2e

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

// load is a writer of tokens in the background.
type load struct {
	*cluster.Tokens
	done   chan struct{}
	failed string
	err    error
}

func startLoad(tok *cluster.Tokens, d time.Duration) *load {
	l := &load{Tokens: tok, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.failed, l.err = tok.Run(d)
	}()
	return l
}

func (b *bed) tokens() []*cluster.Tokens {
	dir := b.in("tokens")
	return []*cluster.Tokens{{Dir: dir, ID: "one"}, {Dir: dir, ID: "two"}}
}

// accounted checks both writers' notes on all mounts.
func (b *bed) accounted(toks []*cluster.Tokens) {
	b.t.Helper()
	for _, n := range b.Nodes() {
		for _, tok := range toks {
			if err := tok.Check(n.Mount + "/tokens"); err != nil {
				b.t.Fatalf("%s: %v", n.ID, err)
			}
		}
	}
}

func rounds(t *testing.T, short, long int) int {
	t.Helper()
	if testing.Short() {
		return short
	}
	return long
}

func moment() time.Duration { return time.Duration(50+rand.IntN(700)) * time.Millisecond }

// TestKillLeader kills the leader with -9 at any moment under load: what was
// acknowledged is there after the restart, on both sides.
func TestKillLeader(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	toks := b.tokens()
	for round := range rounds(t, 4, 50) {
		loads := []*load{startLoad(toks[0], time.Minute), startLoad(toks[1], time.Minute)}
		time.Sleep(moment())
		b.must(b.Leader.Kill9())
		for _, l := range loads {
			<-l.done
			b.must(l.err)
			if l.failed == "" {
				t.Fatal("the writer did not notice that the leader was killed")
			}
		}
		b.must(b.Leader.StartReady(readyTimeout))
		b.equal()
		b.accounted(toks)
		t.Logf("round %d: %d and %d tokens", round, toks[0].Count(), toks[1].Count())
	}
	if toks[0].Count() == 0 || toks[1].Count() == 0 {
		t.Fatal("no token was ever acknowledged")
	}
	b.stopsPlain()
}

// TestKillFollower: the writers notice nothing, the follower converges by itself.
func TestKillFollower(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	toks := b.tokens()
	for round := range rounds(t, 2, 50) {
		if round%10 == 9 { // each round looks at all that is there
			b.shell("rm -r tokens")
			toks = b.tokens()
		}
		loads := []*load{startLoad(toks[0], 1500*time.Millisecond), startLoad(toks[1], 1500*time.Millisecond)}
		time.Sleep(moment())
		b.must(b.follower().Kill9())
		time.Sleep(moment() / 4)
		b.must(b.follower().StartReady(readyTimeout))
		for _, l := range loads {
			<-l.done
			b.must(l.err)
			if l.failed != "" {
				t.Fatalf("a writer failed on the leader: %s", l.failed)
			}
		}
		b.equal()
		b.accounted(toks)
		t.Logf("round %d: %d and %d tokens", round, toks[0].Count(), toks[1].Count())
	}
}

// TestKillBoth: power for everybody goes at once, so to speak.
func TestKillBoth(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	toks := b.tokens()
	for range rounds(t, 2, 30) {
		l := startLoad(toks[0], time.Minute)
		time.Sleep(moment())
		first, second := b.Leader, b.follower()
		if rand.IntN(2) == 0 {
			first, second = second, first
		}
		b.must(first.Kill9())
		b.must(second.Kill9())
		<-l.done
		b.must(l.err)
		b.must(b.follower().Start())
		b.must(b.Leader.StartReady(readyTimeout))
		b.must(b.follower().WaitReady(readyTimeout))
		b.equal()
		b.accounted(toks[:1])
	}
}

// TestKillDuringStart: a daemon that is killed while it recovers recovers all the
// same.
func TestKillDuringStart(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	toks := b.tokens()
	for range rounds(t, 2, 20) {
		l := startLoad(toks[0], time.Minute)
		time.Sleep(moment())
		b.must(b.Leader.Kill9())
		<-l.done
		b.must(l.err)
		for range 5 {
			b.must(b.Leader.Start())
			time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
			b.must(b.Leader.Kill9())
		}
		b.must(b.Leader.StartReady(readyTimeout))
		b.equal()
		b.accounted(toks[:1])
	}
}

// TestSoak kills at random for as long as $WDTEST_SOAK says.
func TestSoak(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("WDTEST_SOAK"))
	if err != nil {
		t.Skip("WDTEST_SOAK is not set to a duration (make soak DURATION=1h)")
	}
	b := startBed(t)
	toks := b.tokens()
	round := 0
	for end := time.Now().Add(d); time.Now().Before(end); round++ {
		loads := []*load{startLoad(toks[0], time.Minute), startLoad(toks[1], time.Minute)}
		mix := make(chan cluster.Result, 1)
		go func() {
			mix <- cluster.RunHelper(2*time.Minute, "mix", b.Leader.Mount+"/tokens", "1", "100000")
		}()
		time.Sleep(time.Duration(rand.IntN(8000)) * time.Millisecond)
		for range 3 {
			victim := b.Nodes()[rand.IntN(2)]
			b.must(victim.Kill9())
			b.must(victim.StartReady(readyTimeout))
			time.Sleep(moment())
		}
		b.must(b.Leader.Kill9())
		for _, l := range loads {
			<-l.done
			b.must(l.err)
		}
		<-mix // ends with the mount
		b.must(b.Leader.StartReady(readyTimeout))
		b.equal()
		b.accounted(toks)
	}
	t.Logf("%d rounds, %d and %d tokens", round, toks[0].Count(), toks[1].Count())
	b.stopsPlain()
}
