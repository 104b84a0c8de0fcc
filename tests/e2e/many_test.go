//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// manyBed is a leader with as many followers as the form of the test asks for. Some dial
// the leader, some are dialled, all know several addresses, one of them dead; one
// keeps a plain directory; each compresses differently.
func manyBed(t *testing.T) *bed {
	t.Helper()
	var ids []string
	for i := range rounds(t, 4, 8) {
		ids = append(ids, fmt.Sprint("node-", i+1))
	}
	b := newBed(t, ids...)
	dead, err := cluster.FreeAddr()
	b.must(err)
	for i, f := range b.Followers {
		f.Extra = append(f.Extra, "-z", fmt.Sprint(i*9/(len(ids)-1)))
		next := b.Followers[(i+1)%len(ids)]
		if i%2 == 0 {
			f.Connect = []string{f.Uplink.Addr() + "," + dead, next.Front.Addr()}
		} else {
			f.Connect = []string{dead}
			b.Leader.Connect = append(b.Leader.Connect, f.Front.Addr())
		}
	}
	b.keepsDir(b.Followers[1], "elsewhere")
	b.must(b.Start(2 * readyTimeout))
	return b
}

// appends is how many pieces of 4 KiB an application writes in a second, and the
// longest time that one took.
func (b *bed) appends(name string) (perSecond int, longest time.Duration) {
	b.t.Helper()
	const d = 2 * time.Second
	r := b.ok(cluster.RunHelper(time.Minute, "appender", filepath.Join(b.Leader.Mount, name), d.String()))
	var count int
	var micros int64
	if _, err := fmt.Sscan(r.Stdout, &count, &micros); err != nil {
		b.t.Fatal(err)
	}
	return count / int(d/time.Second), time.Duration(micros) * time.Microsecond
}

// TestManyFollowers: all of them hold what the leader holds, one that stands still keeps nobody
// waiting, and those that were away come back.
func TestManyFollowers(t *testing.T) {
	t.Parallel()
	b := manyBed(t)
	work := func(b *bed, name string) {
		dir := b.in(name)
		if testing.Short() {
			b.ok(cluster.RunHelper(time.Minute, "many", dir, "300"))
		} else {
			b.ok(cluster.Cmd{Args: []string{"cp", "-a", sourceTree(b.t), dir}, Timeout: 5 * time.Minute}.Run())
		}
		b.ok(cluster.RunHelper(3*time.Minute, "mix", b.in(name+"-mix"), "3", "400"))
	}
	t.Run("equal", func(t *testing.T) {
		b := b.on(t)
		b.shell(everyKind)
		work(b, "together")
		b.equalWithin(5 * time.Minute)
	})
	t.Run("one stands still", func(t *testing.T) {
		b := b.on(t)
		free, _ := b.appends("free")
		still := b.Followers[0]
		others := b.Followers[1:]
		b.must(still.Proc().Signal(unix.SIGSTOP))
		stopped, longest := b.appends("stopped")
		began := time.Now()
		for _, f := range others {
			_, err := b.CatchUp(f, equalTimeout)
			b.must(err)
		}
		late := time.Since(began)
		b.must(still.Proc().Signal(unix.SIGCONT))
		t.Logf("appends per second: %d, with one stopped %d, the longest %v; the others were equal %v later", free, stopped, longest, late)
		// Half leaves room for a noisy machine; a leader that waited would do a handful.
		if stopped < free/2 || longest > 2*time.Second {
			t.Error("the leader was slowed down")
		}
		if late > 20*time.Second {
			t.Error("the others were kept waiting")
		}
		b.equalWithin(3 * time.Minute)
	})
	t.Run("some away", func(t *testing.T) {
		b := b.on(t)
		away := b.Followers[1:3]
		b.must(away[0].Stop())
		b.must(away[1].Kill9())
		work(b, "apart")
		for _, f := range away {
			b.must(f.StartReady(2 * readyTimeout))
		}
		b.equalWithin(5 * time.Minute)
	})
	t.Run("leader killed", func(t *testing.T) {
		b := b.on(t)
		l := startLoad(b.tokens()[0], time.Minute)
		time.Sleep(moment())
		b.must(b.Leader.Kill9())
		<-l.done
		b.must(l.err)
		b.must(b.Leader.StartReady(2 * readyTimeout))
		b.equalWithin(3 * time.Minute)
		b.accounted([]*cluster.Tokens{l.Tokens})
	})
	s, err := b.Leader.Status()
	b.must(err)
	if len(s.Peers) != len(b.Followers) {
		t.Errorf("the leader knows %d peers: %+v", len(s.Peers), s.Peers)
	}
}

func (b *bed) equalWithin(d time.Duration) {
	b.t.Helper()
	_, err := b.Equal(d)
	b.must(err)
}

// TestCompressionLevels: what is written with any level, on either side, is read as it was,
// also after a restart; level 0 does not compress.
func TestCompressionLevels(t *testing.T) {
	t.Parallel()
	levels := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	if testing.Short() {
		levels = []int{0, 1, 9}
	}
	text := []byte(strings.Repeat("a line that occurs again and again, number %d\n", 20000))
	random := make([]byte, 300_000)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(random)
	logBytes := map[int]int64{}
	for _, z := range levels {
		t.Run(fmt.Sprint("z", z), func(t *testing.T) {
			b := newBed(t, "beta")
			b.Leader.Extra = append(b.Leader.Extra, "-z", fmt.Sprint(z))
			b.follower().Extra = append(b.follower().Extra, fmt.Sprint("--compress=", 9-z))
			b.must(b.Start(readyTimeout))
			// Text first: behind what does not shrink level 1 leaves some frames as they are.
			for _, f := range []struct {
				name    string
				content []byte
			}{{"text", text}, {"small", []byte("x")}, {"random", random}} {
				src := filepath.Join(b.Dir, f.name)
				b.must(os.WriteFile(src, f.content, 0o644))
				b.ok(cluster.Run("cp", src, b.Leader.Mount))
			}
			b.ok(cluster.RunHelper(time.Minute, "mix", b.in("mix"), fmt.Sprint(z), "200"))
			before := b.equal()
			s, err := b.Leader.Status()
			b.must(err)
			logBytes[z] = s.Oplog.Bytes
			for _, n := range b.Nodes() {
				b.must(n.Stop())
			}
			b.must(b.Start(readyTimeout))
			if after := b.equal(); after["text"]["sha256"] != before["text"]["sha256"] || after["random"]["sha256"] != before["random"]["sha256"] {
				t.Error("content has changed over the restart")
			}
			for _, name := range []string{"text", "random"} {
				b.ok(cluster.Run("cmp", filepath.Join(b.Dir, name), filepath.Join(b.follower().Mount, name)))
			}
		})
	}
	t.Logf("bytes of the log: %v", logBytes)
	if logBytes[0] < int64(len(text)+len(random)) {
		t.Errorf("with -z 0 the log has %d bytes, fewer than what was written", logBytes[0])
	}
	for _, z := range levels[1:] {
		if logBytes[z] > logBytes[0]/2 {
			t.Errorf("with -z %d the log has %d bytes, with -z 0 %d", z, logBytes[z], logBytes[0])
		}
	}
	for _, z := range []string{"10", "-1", "x"} {
		b := newBed(t)
		b.Leader.Extra = append(b.Leader.Extra, "-z", z)
		b.must(b.Leader.Start())
		if code, err := b.Leader.WaitExit(readyTimeout); err != nil || code != 64 {
			t.Errorf("-z %s: exit code %d, %v", z, code, err)
		}
	}
}
