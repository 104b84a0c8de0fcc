//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

const mib = 1 << 20

// frugal makes nodes keep little of their log, in small files.
func frugal(b *bed, retain string) {
	b.Env = append(b.Env, "WOLFDISK_OPLOG_SEGMENT_SIZE=1MiB", "WOLFDISK_OPLOG_RETAIN_BYTES="+retain, "WOLFDISK_CHUNKS_PACK_SIZE=2MiB")
}

// allocated is what a folder takes on the disk, as du counts it.
func allocated(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		i, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			bytes += i.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// overwrite writes over random places of four files of 8 MiB each, some MiB in all.
func (b *bed) overwrite() {
	b.t.Helper()
	var s strings.Builder
	for range 60 {
		count := 1 + rand.IntN(32)
		fmt.Fprintf(&s, "dd if=/dev/urandom of=hot%d bs=4k count=%d seek=%d conv=notrunc status=none\n", rand.IntN(4), count, rand.IntN(2048-count))
	}
	b.shell(s.String())
}

// trimmed waits until a node's log is trimmed to at most so many bytes, and returns its
// last version. A node looks at its log five times a second, and one with a directory needs a
// checkpoint first, each of which waits for up to five seconds.
func (b *bed) trimmed(n *cluster.Node, bytes int64) int64 {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		s, err := n.Status()
		b.must(err)
		if s.Oplog.First > 1 && s.Oplog.Bytes <= bytes {
			return int64(s.Position.Version)
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s: the log is not trimmed: %+v", n.ID, s.Oplog)
		}
	}
}

// TestOverwriting: while files are overwritten all the time, and daemons are killed now and
// then, no node takes more than 1.5 times what is in use and what is to be kept of the log;
// a follower that was away for a moment goes on by the log.
func TestOverwriting(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	frugal(b, "32MiB")
	b.must(b.Start(readyTimeout))
	b.shell("for i in 0 1 2 3; do dd if=/dev/urandom of=hot$i bs=1M count=8 status=none; done")
	const live, kept = 32 * mib, 32 * mib
	const bound = 3 * (live + kept) / 2
	d := 10 * time.Minute
	if testing.Short() {
		d = 12 * time.Second
	}
	var most [2]int64
	written := int64(0)
	end := time.Now().Add(d)
	for round := 1; time.Now().Before(end); round++ {
		b.overwrite()
		time.Sleep(150 * time.Millisecond) // a node looks at its log five times a second
		for i, n := range b.Nodes() {
			bytes := allocated(t, n.State)
			if n.Leader {
				bytes += live // its directory
			}
			if most[i] = max(most[i], bytes); bytes > bound {
				t.Fatalf("round %d: %s takes %d MiB, at most %d are allowed; now log %d, chunks %d, index %d", round, n.ID, bytes/mib, bound/mib,
					allocated(t, n.State+"/oplog")/mib, allocated(t, n.State+"/chunks")/mib, allocated(t, n.State+"/index")/mib)
			}
		}
		switch {
		case round%9 == 0:
			b.must(b.Leader.Kill9())
			b.must(b.Leader.StartReady(readyTimeout))
		case round%6 == 0:
			b.must(b.follower().Kill9())
			b.must(b.follower().StartReady(readyTimeout))
		}
	}
	b.equal()
	for _, n := range b.Nodes() {
		written = b.trimmed(n, 36*mib) // an eighth more than is to be kept
	}
	t.Logf("at version %d the leader took at most %d MiB, the follower %d of %d", written, most[0]/mib, most[1]/mib, bound/mib)

	b.must(b.follower().Stop())
	b.overwrite()
	b.must(b.follower().StartReady(readyTimeout))
	b.equal()
	if said := b.follower().LastLog(); strings.Contains(said, "snapshot") {
		t.Errorf("a follower that was away for a moment took a snapshot:\n%s", said)
	}
	b.stopsPlain()
}

type chunkStatus struct {
	Chunks *struct {
		Count     int64 `json:"count"`
		Bytes     int64 `json:"bytes"`
		Stored    int64 `json:"stored_bytes"`
		DedupHits int64 `json:"dedup_hits"`
		PackBytes int64 `json:"pack_bytes"`
	} `json:"chunks"`
}

func (b *bed) chunks(n *cluster.Node) (s chunkStatus) {
	b.t.Helper()
	body, err := n.Get("/v1/status")
	b.must(err)
	b.must(json.Unmarshal(body, &s))
	return s
}

// sealed overwrites a file of its own until what was there before is out of the log.
func (b *bed) sealed() {
	b.t.Helper()
	s, err := b.follower().Status()
	b.must(err)
	for range 40 {
		now, err := b.follower().Status()
		b.must(err)
		if now.Oplog.First > s.Oplog.Last {
			return
		}
		b.shell("dd if=/dev/urandom of=churn bs=1M count=4 conv=notrunc status=none")
		time.Sleep(200 * time.Millisecond)
		_, err = b.CatchUp(b.follower(), equalTimeout)
		b.must(err)
	}
	b.t.Fatal("the log is not trimmed")
}

func (b *bed) gc(args ...string) string {
	b.t.Helper()
	return b.ok(b.follower().Ctl(time.Minute, append([]string{"gc"}, args...)...)).Stdout
}

// TestCollect: equal content is stored once and stays while one of two files has it, and
// space of deleted files comes back.
func TestCollect(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	frugal(b, "16MiB")
	b.must(b.Start(readyTimeout))
	b.shell("dd if=/dev/urandom of=one bs=1M count=8 status=none; cp one two; dd if=/dev/urandom of=large bs=1M count=24 status=none; sha256sum <one >sum; sync")
	b.equal()
	if s := b.chunks(b.Leader); s.Chunks != nil {
		t.Errorf("a node with a directory says it has chunks: %+v", s.Chunks)
	}
	b.sealed()
	s := b.chunks(b.follower())
	if s.Chunks == nil || s.Chunks.DedupHits < 2 || s.Chunks.Bytes > 38*mib {
		t.Fatalf("one and two are not stored once: %+v", s.Chunks)
	}
	packs := filepath.Join(b.follower().State, "chunks")
	before := allocated(t, packs)
	if before < 32*mib {
		t.Fatalf("chunks take %d bytes: nothing was sealed", before)
	}
	b.shell("rm one large")
	_, err := b.CatchUp(b.follower(), equalTimeout)
	b.must(err)
	time.Sleep(1500 * time.Millisecond) // what was used a moment ago stays
	// The follower may collect what the churn has left by itself at any moment, so a run
	// during which something went is made again; one that removes itself finds nothing then.
	for try := 1; ; try++ {
		had := allocated(t, packs)
		out := b.gc("--dry-run", "--now")
		if !strings.Contains(out, "would remove") {
			t.Fatalf("a dry run finds nothing to remove, with %d bytes there:\n%s", had, out)
		}
		has := allocated(t, packs)
		if has >= had-2*mib {
			break
		}
		if try == 5 {
			t.Fatalf("a dry run changed something: %d bytes before, %d after\n%s", had, has, out)
		}
	}
	out := b.gc("--now")
	if after := allocated(t, packs); after > before-23*mib {
		t.Errorf("deleted space did not come back: %d bytes before, %d after\n%s", before, after, out)
	}
	b.ok(cluster.Shell(b.follower().Mount, "sha256sum <two | cmp - sum", time.Minute))
	b.equal()
	b.must(b.follower().Kill9())
	b.must(b.follower().StartReady(readyTimeout))
	b.ok(cluster.Shell(b.follower().Mount, "sha256sum <two | cmp - sum", time.Minute))

	b.shell("rm two churn")
	_, err = b.CatchUp(b.follower(), equalTimeout)
	b.must(err)
	time.Sleep(1500 * time.Millisecond)
	b.gc("--now")
	if left := allocated(t, packs); left > 3*mib {
		t.Errorf("with nothing left, chunks take %d bytes", left)
	}
	b.equal()
	if r := b.Leader.Ctl(time.Minute, "gc"); r.Code == 0 || !strings.Contains(r.Stderr, "directory") {
		t.Errorf("gc of a node with a directory: code %d, %s", r.Code, r.Stderr)
	}
}

// TestRetainAfterSnapshot: what a copy needed of the log goes when the copy is consistent, though its
// follower stays connected; and while one is being made, what it has already.
func TestRetainAfterSnapshot(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	frugal(b, "8MiB")
	b.must(b.Start(readyTimeout))
	b.shell("for i in 0 1 2 3; do dd if=/dev/urandom of=hot$i bs=1M count=8 status=none; done")
	b.resync(b.follower())
	for range 8 {
		b.overwrite()
	}
	b.equal()
	b.trimmed(b.Leader, 10*mib)
	b.trimmed(b.follower(), 10*mib)
}
