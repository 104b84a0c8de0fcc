//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

func TestFollowerRefusesChanges(t *testing.T) {
	b := startBed(t)
	b.shell("mkdir folder; echo content >file; echo below >folder/below; setfattr -n user.kept -v v file")
	b.equal()
	before, err := b.follower().Status()
	b.must(err)
	b.ok(cluster.RunHelper(time.Minute, "readonly", b.follower().Mount))
	b.equal()
	after, err := b.follower().Status()
	b.must(err)
	if before.Position != after.Position {
		t.Fatalf("the position went from %+v to %+v", before.Position, after.Position)
	}
}

// TestMountOptions: both mounts look alike in /proc/mounts, because a promotion
// does not remount, and carry what the contract says.
func TestMountOptions(t *testing.T) {
	b := startBed(t)
	for _, n := range b.Nodes() {
		m, ok, err := cluster.MountAt(n.Mount)
		b.must(err)
		if !ok || m.Type != "fuse.wolfdisk" || m.Source != "wolfdisk" {
			t.Errorf("%s: %+v", n.ID, m)
		}
		for _, want := range []string{"rw", "nosuid", "nodev", "allow_other", "default_permissions"} {
			if !strings.Contains(","+m.Opts+",", ","+want+",") {
				t.Errorf("%s: no %s in %s", n.ID, want, m.Opts)
			}
		}
	}
}

// TestLiveView: what was read, listed and found absent on the follower is not
// served from a cache after the leader changed it, with a file held open.
func TestLiveView(t *testing.T) {
	b := startBed(t)
	b.shell("mkdir d; echo old >d/f; ln -s old d/l")
	b.equal()
	follower := b.follower().Mount
	read := func() string {
		return b.ok(cluster.Shell(follower, `cat d/f; readlink d/l || :; ls d; stat -c '%a %s' d/f; cat d/new 2>/dev/null || echo none`, time.Minute)).Stdout
	}
	read() // fills the caches
	b.shell("echo newer >d/f; chmod 600 d/f; ln -sfn newer d/l; echo made >d/new; rm -f d/gone")
	_, err := b.CatchUp(b.follower(), equalTimeout)
	b.must(err)
	const want = "newer\nnewer\nf\nl\nnew\n600 6\nmade\n"
	deadline := time.Now().Add(time.Second) // invalidation follows the state
	for got := ""; got != want; {
		if got = read(); got != want && time.Now().After(deadline) {
			t.Fatalf("the follower shows %q, want %q", got, want)
		}
	}
}

// missedBytes lets a stopped follower start and catch up and returns the bytes it
// received, and the bytes of the frames it missed: as much as its own log grew,
// because frames are the same bytes everywhere.
func (b *bed) missedBytes() (received, missed int64) {
	b.t.Helper()
	f := b.follower()
	f.Gate(true)
	b.must(f.Start())
	start, err := f.WaitStatus(readyTimeout, "answering", func(s cluster.Status) bool { return s.Position.Version > 0 })
	b.must(err)
	before := f.Received()
	f.Gate(false)
	_, err = b.CatchUp(f, equalTimeout)
	b.must(err)
	end, err := f.Status()
	b.must(err)
	if start.Position.Version >= end.Position.Version {
		b.t.Fatalf("nothing was missed: version %d before, %d after", start.Position.Version, end.Position.Version)
	}
	return f.Received() - before, end.Oplog.Bytes - start.Oplog.Bytes
}

func TestDeltaCatchUp(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	b.in("before")
	b.ok(cluster.RunHelper(time.Minute, "big", filepath.Join(b.Leader.Mount, "before/file"), fmt.Sprint(64<<20), fmt.Sprint(1<<20)))
	b.equal()
	for _, stop := range []struct {
		name string
		f    func() error
	}{{"stopped", b.follower().Stop}, {"killed", b.follower().Kill9}} {
		t.Run(stop.name, func(t *testing.T) {
			b := b.on(t)
			b.must(stop.f())
			b.ok(cluster.RunHelper(time.Minute, "many", b.in("away-"+stop.name), "1000"))
			b.ok(cluster.RunHelper(time.Minute, "big", filepath.Join(b.Leader.Mount, "away-"+stop.name, "file"), fmt.Sprint(8<<20), fmt.Sprint(1<<20)))
			received, missed := b.missedBytes()
			t.Logf("received %d bytes for %d missed: %.3f", received, missed, float64(received)/float64(missed))
			if missed < 8<<20 || float64(received) > 1.05*float64(missed) {
				t.Errorf("received %d bytes for %d missed, at most 1.05 x are allowed", received, missed)
			}
			b.equal()
		})
	}
	// Nothing missed: next to nothing is sent.
	b.must(b.follower().Stop())
	before := b.follower().Received()
	b.must(b.follower().StartReady(readyTimeout))
	if got := b.follower().Received() - before; got > 64<<10 {
		t.Errorf("received %d bytes with nothing to receive", got)
	}
}

// TestSlowFollower: a follower whose connection stands still, and one that is dead,
// cost the leader nothing; afterwards they converge by themselves.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	b.in("d")
	rate := func(name string) (count int, longest time.Duration) {
		r := b.ok(cluster.RunHelper(time.Minute, "appender", filepath.Join(b.Leader.Mount, "d", name), "2s"))
		var micros int64
		if _, err := fmt.Sscan(r.Stdout, &count, &micros); err != nil {
			t.Fatal(err)
		}
		return count, time.Duration(micros) * time.Microsecond
	}
	free, _ := rate("free")
	for _, p := range []*cluster.Proxy{b.follower().Front, b.follower().Uplink, b.Leader.Front} {
		p.Stall(true)
	}
	stalled, longest := rate("stalled")
	for _, p := range []*cluster.Proxy{b.follower().Front, b.follower().Uplink, b.Leader.Front} {
		p.Stall(false)
	}
	b.equal()
	b.must(b.follower().Kill9())
	dead, _ := rate("dead")
	b.must(b.follower().StartReady(readyTimeout))
	b.equal()
	t.Logf("appends of 4 KiB in 2 s: %d with a follower, %d with a stalled one (longest %v), %d with a dead one", free, stalled, longest, dead)
	// Half leaves room for a noisy machine; a leader that waits does a handful.
	if stalled < free/2 || dead < free/2 || longest > time.Second {
		t.Error("the leader was slowed down")
	}
}

// TestCutConnections: connections cut in the middle of frames, again and again.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	b.in("d")
	done := make(chan cluster.Result, 1)
	go func() {
		done <- cluster.RunHelper(time.Minute, "many", filepath.Join(b.Leader.Mount, "d"), "3000")
	}()
	for {
		select {
		case r := <-done:
			b.ok(r)
			b.equal()
			return
		case <-time.After(150 * time.Millisecond):
			for _, p := range []*cluster.Proxy{b.follower().Front, b.follower().Uplink, b.Leader.Front} {
				p.Cut()
			}
		}
	}
}

// TestFlippedBit: a bit that changes on the way ends the session and never reaches a
// tree.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	b.in("d")
	flips := 0
	b.follower().Uplink.Harm(func(fromTarget bool, off int64, p []byte) bool {
		if fromTarget && flips < 3 && len(p) > 1000 {
			flips++
			p[len(p)/2] ^= 4
		}
		return false
	})
	b.follower().Front.Harm(func(fromTarget bool, off int64, p []byte) bool {
		if !fromTarget && flips < 3 && len(p) > 1000 {
			flips++
			p[len(p)/2] ^= 4
		}
		return false
	})
	b.ok(cluster.RunHelper(time.Minute, "many", filepath.Join(b.Leader.Mount, "d"), "1000"))
	b.equal()
	if flips == 0 {
		t.Fatal("no bit was flipped")
	}
}

// TestTwoFollowers: both get everything, one of them late.
func TestTwoFollowers(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta", "gamma")
	late := b.Followers[1]
	b.Followers = b.Followers[:1]
	b.must(b.Start(readyTimeout))
	b.ok(cluster.RunHelper(time.Minute, "many", b.in("d"), "500"))
	b.Followers = append(b.Followers, late)
	b.must(late.StartReady(readyTimeout))
	b.ok(cluster.RunHelper(time.Minute, "mix", b.in("mix"), "1", "500"))
	b.equal()
}
