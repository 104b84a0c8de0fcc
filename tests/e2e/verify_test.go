//go:build linux

package e2e

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// verdict is what `wolfdiskctl -o json verify` says.
type verdict struct {
	Code        int
	Differences []struct{ Path, Kind, Node, Detail string }
	Skipped     []struct{ Path, Node, Reason string }
	Result      *verifyResult
}

type verifyResult struct {
	Version     uint64 `json:"version"`
	Files       uint64 `json:"files"`
	Differences uint64 `json:"differences"`
	NotCompared uint64 `json:"not_compared"`
	Nodes       []struct {
		ID       string `json:"id"`
		Compared bool   `json:"compared"`
	} `json:"nodes"`
}

func (b *bed) verify(n *cluster.Node, args ...string) verdict {
	b.t.Helper()
	r := n.Ctl(3*time.Minute, append([]string{"-o", "json", "verify"}, args...)...)
	v := verdict{Code: r.Code}
	for line := range strings.Lines(r.Stdout) {
		var l struct {
			Difference *struct{ Path, Kind, Node, Detail string }
			Skipped    *struct{ Path, Node, Reason string } `json:"not_compared"`
			Result     *verifyResult
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			b.t.Fatalf("%v in %q", err, line)
		}
		switch {
		case l.Difference != nil:
			v.Differences = append(v.Differences, *l.Difference)
		case l.Skipped != nil:
			v.Skipped = append(v.Skipped, *l.Skipped)
		case l.Result != nil:
			v.Result = l.Result
		}
	}
	if v.Result == nil && (r.Code == 0 || r.Code == 5) {
		b.t.Fatalf("verify on %s: exit code %d without a result\n%s%s", n.ID, r.Code, r.Stdout, r.Stderr)
	}
	return v
}

// verifyAll is verify, again if nodes have parted meanwhile.
func (b *bed) verifyAll(n *cluster.Node, args ...string) verdict {
	b.t.Helper()
	v := b.verify(n, args...)
	for try := 0; try < 3 && v.parted(); try++ {
		b.t.Logf("verify on %s, once more: %+v", n.ID, v.Skipped)
		for _, m := range b.Nodes() {
			m.Ctl(time.Minute, "status", "--wait", "--timeout", "30s")
		}
		v = b.verify(n, args...)
	}
	return v
}

// wantVerified fails unless all was compared and found equal.
func (b *bed) wantVerified(n *cluster.Node, args ...string) verdict {
	b.t.Helper()
	v := b.verifyAll(n, args...)
	if v.Code != 0 || len(v.Differences)+len(v.Skipped) > 0 {
		b.t.Fatalf("verify on %s: exit code %d, differences %+v, not compared %+v", n.ID, v.Code, v.Differences, v.Skipped)
	}
	for _, have := range v.Result.Nodes {
		if !have.Compared {
			b.t.Errorf("node %s was not compared", have.ID)
		}
	}
	if len(v.Result.Nodes) != len(b.Nodes()) {
		b.t.Errorf("%d nodes compared, there are %d", len(v.Result.Nodes), len(b.Nodes()))
	}
	return v
}

// parted reports that nothing is wrong but that nodes parted for a moment, as they do when
// a machine with many clusters on it has no time for heartbeats.
func (v *verdict) parted() bool {
	return v.Code == 69 && len(v.Differences) == 0 && len(v.Skipped) > 0 &&
		!slices.ContainsFunc(v.Skipped, func(s struct{ Path, Node, Reason string }) bool {
			return s.Path != "" || !strings.Contains(s.Reason, "session")
		})
}

// kinds are the differences as "kind node path", sorted.
func (v *verdict) kinds() (list []string) {
	for _, d := range v.Differences {
		list = append(list, d.Kind+" "+d.Node+" "+d.Path)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// without leaves out a kind of differences.
func (v *verdict) without(kind string) {
	v.Differences = slices.DeleteFunc(v.Differences, func(d struct{ Path, Kind, Node, Detail string }) bool { return d.Kind == kind })
}

func (b *bed) wantFound(v verdict, want ...string) {
	b.t.Helper()
	slices.Sort(want)
	if got := v.kinds(); v.Code != 5 || !slices.Equal(got, want) || v.Result.Differences == 0 {
		b.t.Errorf("exit code %d, found\n%s\nwant 5 and\n%s\nnot compared: %v", v.Code, strings.Join(got, "\n"), strings.Join(want, "\n"), v.Skipped)
	}
}

// verifyTree makes some of everything in the leader's mount.
const verifyTree = `
mkdir -p a/deep/er dirs; for i in $(seq 120); do mkdir dirs/$i; echo $i >dirs/$i/f; done
head -c 3000000 /dev/urandom >a/big; truncate -s 5G a/sparse; printf x | dd of=a/sparse bs=1 seek=3000000000 conv=notrunc status=none
truncate -s 1M a/hole; echo content >a/deep/er/file; ln a/deep/er/file a/hard; ln -s nowhere a/link; mkfifo a/fifo
echo one >a/one; echo two >a/two; setfattr -n user.k -v value a/deep/er/file; chmod 2750 a/deep; printf '' >"a/a
b"
`

// TestVerify: equal copies are found equal, asked anywhere, also while everything
// changes all the time.
func TestVerify(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta", "gamma")
	b.must(b.Start(readyTimeout))
	b.shell(verifyTree)
	v := b.wantVerified(b.Leader)
	if v.Result.Files < 120 {
		t.Errorf("%d files compared", v.Result.Files)
	}
	s, err := b.Leader.Status()
	b.must(err)
	if v.Result.Version != s.Position.Version {
		t.Errorf("compared at version %d, all rest at %d", v.Result.Version, s.Position.Version)
	}
	b.wantVerified(b.follower())
	if v := b.wantVerified(b.follower(), "a/deep"); v.Result.Files != 1 {
		t.Errorf("%d files below a/deep", v.Result.Files)
	}
	if v := b.wantVerified(b.Leader, filepath.Join(b.Leader.Mount, "a/big")); v.Result.Files != 1 {
		t.Errorf("%d files are a/big", v.Result.Files)
	}
	if v := b.wantVerified(b.Leader, "--names-only"); v.Result.Files != 0 {
		t.Errorf("%d files compared with --names-only", v.Result.Files)
	}
	if r := b.Leader.Ctl(time.Minute, "verify", "no/such"); r.Code != 1 || !strings.Contains(r.Stderr, "no/such") {
		t.Errorf("a path that is not there: exit code %d, %s", r.Code, r.Stderr)
	}
	for _, n := range []*cluster.Node{b.Leader, b.follower()} {
		body, err := n.Get("/v1/status")
		b.must(err)
		var st struct{ Verify *verifyResult }
		if err := json.Unmarshal(body, &st); err != nil || st.Verify == nil || st.Verify.Version == 0 || len(st.Verify.Nodes) != 3 {
			t.Errorf("%s remembers %+v, %v", n.ID, st.Verify, err)
		}
		if table := b.ok(n.Ctl(time.Minute, "status")).Stdout; !strings.Contains(table, "equal: 3 of 3 nodes") {
			t.Errorf("%s: the table has no result\n%s", n.ID, table)
		}
	}

	load, err := cluster.StartProc(filepath.Join(b.Dir, "load.log"), nil, false, "sh", "-c", `cd "$1" && mkdir -p load && while :; do
		for i in 1 2 3 4 5; do echo $i.$(date +%N) >>load/$i; cp a/big load/new$i; mv load/new$i load/big$i; chmod 600 load/$i; rm -rf load/d$i; mkdir load/d$i; ln load/$i load/d$i/l; done
	done`, "sh", b.Leader.Mount)
	b.must(err)
	defer load.Kill9()
	for range 6 {
		b.wantVerified(b.Leader)
	}
	b.wantVerified(b.follower())
	if !load.Running() {
		t.Error("the load has ended by itself")
	}
	b.must(load.Kill9())
	b.wantVerified(b.Leader)

	// A member that is away is not passed over.
	b.must(b.Followers[1].Stop())
	if v := b.verify(b.Leader); v.Code != 69 || len(v.Differences) > 0 || len(v.Skipped) != 1 || v.Skipped[0].Node != "gamma" {
		t.Errorf("with gamma away: exit code %d, %+v, %+v", v.Code, v.Differences, v.Skipped)
	}
	if v := b.verify(b.Leader, "--connected"); v.Code != 0 || len(v.Result.Nodes) != 2 {
		t.Errorf("--connected: exit code %d, %+v", v.Code, v.Skipped)
	}
	// A stop does not wait for a comparison, nor trip over it, on either side.
	again, err := cluster.StartProc(filepath.Join(b.Dir, "again.log"), nil, false, "sh", "-c", `while :; do "$1" --state-dir "$2" verify; done`,
		"sh", filepath.Join(b.Bin, "wolfdiskctl"), b.Leader.State)
	b.must(err)
	defer again.Kill9()
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		b.must(b.follower().Stop())
		b.must(b.follower().StartReady(readyTimeout))
	}
	time.Sleep(300 * time.Millisecond)
	b.must(b.Leader.Stop())
	b.must(again.Kill9())
	if v := b.verify(b.follower()); v.Code != 69 {
		t.Errorf("without a leader: exit code %d", v.Code)
	}
}

// TestVerifyFinds: a difference of one byte, one mode bit, one attribute, one nanosecond
// is found, on any node.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta", "gamma")
	b.Leader.Mount = filepath.Join(b.Dir, "shown")
	b.must(os.Mkdir(b.Leader.Mount, 0o755))
	b.must(b.Start(readyTimeout))
	b.shell(verifyTree)
	b.wantVerified(b.Leader)
	ino := func(path string) uint64 {
		var st unix.Stat_t
		b.must(unix.Lstat(filepath.Join(b.Leader.Mount, path), &st))
		return st.Ino
	}
	key := func(kind byte, ino uint64, rest string) []byte {
		return append(binary.BigEndian.AppendUint64([]byte{kind}, ino), rest...)
	}
	// In an inode record: mode at 0, four times of 8 and 4 bytes from 28; docs/formats.md.
	flip := func(path string, at int) func(*pebble.Batch, *pebble.DB) error {
		k := key('i', ino(path), "")
		return func(w *pebble.Batch, db *pebble.DB) error { return rewrite(w, db, k, k, at) }
	}
	one, two := key('e', ino("a/one"), strings.Repeat("\x00", 8)), key('e', ino("a/two"), strings.Repeat("\x00", 8))
	xattr := key('x', ino("a/deep/er/file"), "user.k")
	tests := []struct {
		name, path string
		change     func(*pebble.Batch, *pebble.DB) error
		want       []string
	}{
		{"mode bit", "dirs/77", flip("dirs/77", 0), []string{"mode beta dirs/77"}},
		{"nanosecond of mtime", "a/big", flip("a/big", 28+12+8), []string{"mtime beta a/big"}},
		{"nanosecond of ctime", "a/link", flip("a/link", 28+24+8), []string{"ctime beta a/link"}},
		{"attribute", "", func(w *pebble.Batch, db *pebble.DB) error { return rewrite(w, db, xattr, xattr, 0) },
			[]string{"xattr beta a/deep/er/file", "xattr beta a/hard"}},
		{"content", "", func(w *pebble.Batch, db *pebble.DB) error { return rewrite(w, db, one, two, -1) }, []string{"content beta a/two"}},
		{"name", "", func(w *pebble.Batch, _ *pebble.DB) error { return w.Delete(key('d', ino("dirs/5"), "f"), nil) },
			[]string{"missing beta dirs/5/f"}},
	}
	beta := b.follower()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := b.on(t)
			before := filepath.Join(b.Dir, "before")
			b.must(beta.Stop())
			b.ok(cluster.Run("cp", "-a", beta.State, before))
			b.tamper(beta, tt.change)
			b.must(beta.StartReady(readyTimeout))
			b.wantFound(b.verifyAll(b.Leader), tt.want...)
			if tt.path != "" {
				b.wantFound(b.verifyAll(beta, tt.path), tt.want...)
				b.wantVerified(b.Leader, "a/deep")
			}
			b.must(beta.Stop())
			b.must(os.RemoveAll(beta.State))
			b.must(os.Rename(before, beta.State))
			b.must(beta.StartReady(readyTimeout))
			b.wantVerified(b.Leader)
		})
	}

	// Below the leader: the bytes of two files, of which one is a hole's, and then what
	// directory and index disagree about.
	lower := func(path string) string { return filepath.Join(b.Leader.Dir, path) }
	b.must(poke(lower("a/hole"), 500_000))
	b.must(poke(lower("a/sparse"), 4_000_000_001))
	b.must(poke(lower("a/big"), 1_234_567))
	// The directory itself differs too, but only once the files have come to rest.
	v := b.verifyAll(b.Leader)
	v.without("directory")
	b.wantFound(v, "content alpha a/hole", "content alpha a/sparse", "content alpha a/big")
	for _, path := range []string{"a/hole", "a/sparse", "a/big"} {
		b.must(poke(lower(path), map[string]int64{"a/hole": 500_000, "a/sparse": 4_000_000_001, "a/big": 1_234_567}[path]))
	}
	b.must(os.Chmod(lower("dirs/3"), 0o711))
	b.must(os.Remove(lower("dirs/4/f")))
	b.must(os.WriteFile(lower("dirs/extra"), nil, 0o600))
	v = b.verifyAll(b.Leader, "dirs")
	v.without("unreadable") // unless the file is open still
	// The directories themselves differ too, once they have come to rest.
	v.Differences = slices.DeleteFunc(v.Differences, func(d struct{ Path, Kind, Node, Detail string }) bool {
		return d.Path == "dirs" || d.Path == "dirs/4"
	})
	b.wantFound(v, "directory alpha dirs/3", "directory alpha dirs/4/f", "directory alpha dirs/extra")

	// A damaged frame of a follower's log is what cannot be read.
	b.must(damage(beta.State, "two\n"))
	v = b.verifyAll(beta, "a/two")
	b.wantFound(v, "unreadable beta a/two")
	status := b.Leader.Ctl(time.Minute, "status").Stdout
	if !strings.Contains(status, "1 difference: 3 of 3 nodes, below a/two") {
		t.Errorf("status says nothing of it\n%s", status)
	}
}

// tamper changes records of a stopped node's index behind its back.
func (b *bed) tamper(n *cluster.Node, change func(*pebble.Batch, *pebble.DB) error) {
	b.t.Helper()
	db, err := pebble.Open(filepath.Join(n.State, "index"), &pebble.Options{FormatMajorVersion: pebble.FormatNewest, DisableWAL: true, Logger: quiet{}})
	b.must(err)
	w := db.NewBatch()
	err = change(w, db)
	if err == nil {
		err = w.Commit(pebble.NoSync)
	}
	b.must(errors.Join(err, db.Flush(), db.Close()))
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// rewrite copies the record of one key to another, with one bit of a byte flipped
// unless at is negative.
func rewrite(w *pebble.Batch, db *pebble.DB, from, to []byte, at int) error {
	v, closer, err := db.Get(from)
	if err != nil {
		return fmt.Errorf("record %q: %w", from, err)
	}
	changed := slices.Clone(v)
	if at >= 0 {
		changed[at] ^= 1
	}
	return errors.Join(w.Set(to, changed, nil), closer.Close())
}

// poke flips a bit of one byte of a file.
func poke(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	if err != nil && err != io.EOF {
		return errors.Join(err, f.Close())
	}
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	return errors.Join(err, f.Close())
}

// damage flips a bit of the last place in a node's log that holds a text.
func damage(state, text string) error {
	segments, err := filepath.Glob(filepath.Join(state, "oplog", "*"))
	if err != nil {
		return err
	}
	for _, path := range segments {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if at := strings.LastIndex(string(b), text); at >= 0 {
			return poke(path, int64(at))
		}
	}
	return fmt.Errorf("%q is not in the log of %s", text, state)
}

// TestVerifyDirectory: a follower that keeps a plain directory is compared like any
// other, with what its directory holds.
func TestVerifyDirectory(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta", "gamma")
	dir := b.keepsDir(b.follower(), "elsewhere")
	b.must(b.Start(readyTimeout))
	b.shell(verifyTree)
	b.wantVerified(b.Leader)
	load, err := cluster.StartProc(filepath.Join(b.Dir, "load.log"), nil, false, "sh", "-c",
		`cd "$1" && while :; do for i in 1 2 3; do echo $i >>a/log$i; mv a/log$i a/moved$i; cp a/big a/big$i; rm -f a/big$i; done; done`, "sh", b.Leader.Mount)
	b.must(err)
	defer load.Kill9()
	for range 4 {
		b.wantVerified(b.Leader)
	}
	b.must(load.Kill9())
	b.wantVerified(b.Leader)
	// At once after the ops, so that these files are still to be settled.
	b.must(poke(filepath.Join(dir, "a/big"), 77))
	b.must(os.Chmod(filepath.Join(dir, "dirs/9/f"), 0o640))
	v := b.verifyAll(b.Leader)
	v.Differences = slices.DeleteFunc(v.Differences, func(d struct{ Path, Kind, Node, Detail string }) bool {
		return d.Kind == "directory" && d.Path == "a/big" // only once it has come to rest
	})
	b.wantFound(v, "content beta a/big", "directory beta dirs/9/f")
}
