//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

const (
	scrubTimeout = 2 * time.Minute
	// exitDamaged is how scrub ends if damage is left.
	exitDamaged = 5
)

// scrubBed is a leader and a follower whose logs have many small segments, with files
// that fill them.
func scrubBed(t *testing.T) (b *bed, files map[string][]byte) {
	t.Helper()
	b = newBed(t, "beta")
	for _, n := range b.Nodes() {
		n.Env = append(n.Env, "WOLFDISK_OPLOG_SEGMENT_SIZE=1MiB")
	}
	b.must(b.Start(readyTimeout))
	dir := b.in("d")
	b.shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c 700000 /dev/urandom >d/$i; done; sync d")
	b.equal()
	files = map[string][]byte{}
	entries, err := os.ReadDir(b.Leader.Dir + "/d")
	b.must(err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		b.must(err)
		files[e.Name()] = data
	}
	if len(files) != 12 {
		t.Fatalf("%d files", len(files))
	}
	return b, files
}

// harmLog flips bytes in the middle of two segments of a node's log that is not running;
// never of the last two, which every start reads whole.
func (b *bed) harmLog(n *cluster.Node) {
	b.t.Helper()
	segs, err := filepath.Glob(filepath.Join(n.State, "oplog", "*.seg"))
	b.must(err)
	slices.Sort(segs)
	if len(segs) < 6 {
		b.t.Fatalf("only %d segments", len(segs))
	}
	for _, path := range []string{segs[1], segs[3]} {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		b.must(err)
		p := make([]byte, 16)
		_, err = f.ReadAt(p, 300<<10)
		b.must(err)
		for i := range p {
			p[i] ^= 0xa5
		}
		_, err = f.WriteAt(p, 300<<10)
		b.must(err)
		b.must(f.Close())
	}
}

// readAll reads the files through a mount: each is whole, or the read ends with EIO behind
// bytes that are right. It returns how many could not be read.
func (b *bed) readAll(n *cluster.Node, files map[string][]byte) (failed int) {
	b.t.Helper()
	for name, want := range files {
		r := cluster.Run("cat", filepath.Join(n.Mount, "d", name))
		got := []byte(r.Stdout)
		if r.OK() == nil {
			if !bytes.Equal(got, want) {
				b.t.Errorf("%s holds other bytes, and no error said so", name)
			}
			continue
		}
		failed++
		if !strings.Contains(r.Stderr, "Input/output error") || !bytes.HasPrefix(want, got) {
			b.t.Errorf("%s: %d bytes, then %s", name, len(got), r.Stderr)
		}
	}
	return failed
}

func (b *bed) scrub(n *cluster.Node, code int, text string, args ...string) {
	b.t.Helper()
	r := n.Ctl(scrubTimeout, append([]string{"scrub"}, args...)...)
	if r.Code != code || !strings.Contains(r.Stdout, text) {
		b.t.Errorf("scrub %v: code %d, want %d and %q\n%s%s", args, r.Code, code, text, r.Stdout, r.Stderr)
	}
}

// TestScrubFollower: what is damaged in a follower's log while it is stopped is EIO while no
// node has it, and comes from the leader once that is there.
func TestScrubFollower(t *testing.T) {
	t.Parallel()
	b, files := scrubBed(t)
	f := b.follower()
	b.scrub(f, 0, "clean")
	b.must(f.Stop())
	b.must(b.Leader.Stop())
	b.harmLog(f)
	b.must(f.Start())
	b.must(cluster.WaitMounted(f.Mount, true, readyTimeout))
	if failed := b.readAll(f, files); failed == 0 {
		t.Error("nothing was damaged")
	}
	b.scrub(f, exitDamaged, "2 damaged", "--rate", "1GiB")
	b.scrub(f, exitDamaged, "not repaired", "--repair")
	s, err := f.Status()
	b.must(err)
	if !slices.ContainsFunc(s.Warnings, func(w cluster.Warning) bool { return w.Code == "WD-1158" }) {
		t.Errorf("status does not warn of the damage: %+v", s.Warnings)
	}
	b.must(b.Leader.StartReady(readyTimeout))
	b.must(f.WaitReady(readyTimeout))
	if failed := b.readAll(f, files); failed > 0 {
		t.Errorf("%d files cannot be read although the leader is there", failed)
	}
	b.scrub(f, 0, "clean") // reading has repaired it
	b.equal()
}

// TestScrubPacks: the same for content that a follower has sealed into chunks: the leader
// keeps none, so they come out of its files.
func TestScrubPacks(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	f := b.follower()
	f.Env = append(f.Env, "WOLFDISK_OPLOG_SEGMENT_SIZE=1MiB", "WOLFDISK_OPLOG_RETAIN_BYTES=1MiB")
	b.must(b.Start(readyTimeout))
	dir := b.in("d")
	b.shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c 700000 /dev/urandom >d/$i; done; sync d")
	b.equal()
	files := map[string][]byte{}
	for i := 1; i <= 12; i++ {
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
		b.must(err)
		files[fmt.Sprint(i)] = data
	}
	_, err := f.WaitStatus(readyTimeout, "a log that was sealed and trimmed", func(s cluster.Status) bool { return s.Oplog.First > s.Oplog.Last/2 })
	b.must(err)
	b.must(f.Stop())
	b.must(b.Leader.Stop())
	b.harmPacks(f)
	b.must(f.Start())
	b.must(cluster.WaitMounted(f.Mount, true, readyTimeout))
	if failed := b.readAll(f, files); failed == 0 {
		t.Error("nothing was damaged")
	}
	b.scrub(f, exitDamaged, "damaged: chunk", "--repair")
	b.must(b.Leader.StartReady(readyTimeout))
	b.must(f.WaitReady(readyTimeout))
	if failed := b.readAll(f, files); failed > 0 {
		t.Errorf("%d files cannot be read although the leader is there", failed)
	}
	b.scrub(f, 0, "", "--repair")
	b.scrub(f, 0, "clean")
	b.equal()
}

// harmPacks flips bytes in the packs of a node that is not running.
func (b *bed) harmPacks(n *cluster.Node) {
	b.t.Helper()
	packs, err := filepath.Glob(filepath.Join(n.State, "chunks", "*.pack"))
	b.must(err)
	for _, path := range packs {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		b.must(err)
		info, err := f.Stat()
		b.must(err)
		p := make([]byte, 8)
		for _, at := range []int64{info.Size() / 4, info.Size() / 2} {
			_, err = f.ReadAt(p, at)
			b.must(err)
			for i := range p {
				p[i] ^= 0xa5
			}
			_, err = f.WriteAt(p, at)
			b.must(err)
		}
		b.must(f.Close())
	}
	if len(packs) == 0 {
		b.t.Fatal("no packs")
	}
}

// TestScrubStopped: a daemon that is told to stop does not wait for a slow scrub, nor close
// anything under it.
func TestScrubStopped(t *testing.T) {
	t.Parallel()
	b, _ := scrubBed(t)
	f := b.follower()
	done := make(chan cluster.Result)
	go func() { done <- f.Ctl(scrubTimeout, "scrub", "--rate", "64KiB") }()
	for range 100 {
		if s, err := f.Get("/v1/status"); err == nil && strings.Contains(string(s), "scrubbing") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.must(f.Stop())
	if r := <-done; r.Code == 0 || r.Code == exitDamaged || r.Took > 20*time.Second {
		t.Errorf("the scrub ended with code %d after %v: %s%s", r.Code, r.Took, r.Stdout, r.Stderr)
	}
	b.must(f.StartReady(readyTimeout))
	b.scrub(f, 0, "clean")
}

// TestScrubRepair: scrub --repair mends the log of either side from the other.
func TestScrubRepair(t *testing.T) {
	t.Parallel()
	b, files := scrubBed(t)
	for _, n := range b.Nodes() {
		t.Run(n.ID, func(t *testing.T) {
			b := b.on(t)
			b.must(n.Stop())
			b.harmLog(n)
			b.must(n.StartReady(readyTimeout))
			b.must(b.follower().WaitReady(readyTimeout))
			b.scrub(n, exitDamaged, "run scrub --repair")
			b.scrub(n, 0, "all repaired", "--repair")
			b.scrub(n, 0, "clean", "--read-files")
			if failed := b.readAll(n, files); failed > 0 {
				t.Errorf("%d files cannot be read", failed)
			}
		})
	}
	b.shell(fmt.Sprintf("echo %s >goes-on", "x"))
	b.equal()
}
