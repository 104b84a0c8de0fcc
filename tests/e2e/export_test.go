//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

const exportTimeout = 3 * time.Minute

// exported is the last line of `wolfdiskctl -o json export`.
type exported struct {
	Version, Written, Kept, Removed, Failed, Refused, Left uint64
}

// export exports and returns what the result says; the notes are in the output.
func (b *bed) export(n *cluster.Node, dir string, args ...string) (exported, cluster.Result) {
	b.t.Helper()
	r := b.ok(n.Ctl(exportTimeout, append([]string{"-o", "json", "export", dir}, args...)...))
	var last struct{ Result *exported }
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	b.must(json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	if last.Result == nil {
		b.t.Fatalf("no result in %q", r.Stdout)
	}
	return *last.Result, r
}

// sameAs compares an export with a mount at rest.
func (b *bed) sameAs(mount, dir string, skip ...string) {
	b.t.Helper()
	rules := tree.Plain
	rules.Skip = append(append([]string{}, skip...), rules.Skip...)
	if len(skip) == 0 {
		rules.IgnoreRoot = nil
	}
	b.same(mount, dir, rules)
}

// TestExport: an export is equal to the volume in all that counts, and nothing else is in
// the directory.
func TestExport(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	b.shell(everyKind)
	b.ok(cluster.RunHelper(time.Minute, "mix", b.in("mix"), "11", "1500"))
	b.ok(cluster.RunHelper(time.Minute, "big", filepath.Join(b.in("big"), "file"), fmt.Sprint(40<<20), fmt.Sprint(4<<20)))
	b.ok(cluster.Run("cp", "-a", sourceTree(t), filepath.Join(b.Leader.Mount, "source")))
	b.shell("chmod 0555 .; touch -d '2003-04-05 06:07:08.000000009' .")
	b.equal()
	dir := filepath.Join(b.Dir, "exported")
	res, _ := b.export(b.follower(), dir, "--jobs", "3")
	b.sameAs(b.follower().Mount, dir)
	b.sameAs(b.Leader.Mount, dir)
	if res.Refused+res.Failed+res.Left+res.Kept > 0 && os.Geteuid() == 0 {
		t.Errorf("result %+v", res)
	}
	blocks := func(path string) int64 {
		var st unix.Stat_t
		b.must(unix.Stat(path, &st))
		return st.Blocks * 512
	}
	if got := blocks(filepath.Join(dir, "k/sparse")); got > 1<<20 {
		t.Errorf("3 MiB with a few bytes in the middle take %d bytes: the holes are gone", got)
	}
	// A finished export is a directory like any other: it is not written to again.
	if r := b.follower().Ctl(exportTimeout, "export", dir); r.Code != 6 || !strings.Contains(r.Stderr, "not empty") {
		t.Errorf("a second export: code %d, %s", r.Code, r.Stderr)
	}
}

// TestExportIsOneVersion: while files are written one after the other, an export never has a
// later one without the earlier.
func TestExportIsOneVersion(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	const files = 400
	chain := b.in("chain")
	cmd := cluster.HelperCmd(0, "chain", chain, strconv.Itoa(files))
	writer, err := cluster.StartProc(filepath.Join(b.Dir, "chain.log"), cmd.Env, false, cmd.Args...)
	b.must(err)
	defer writer.Kill9()
	distinct := map[uint64]bool{}
	for i := range rounds(t, 3, 20) {
		time.Sleep(300 * time.Millisecond)
		dir := filepath.Join(b.Dir, fmt.Sprint("exported-", i))
		res, _ := b.export(b.follower(), dir)
		distinct[res.Version] = true
		checkChain(t, filepath.Join(dir, "chain"), files)
		b.must(os.RemoveAll(dir))
	}
	if !writer.Running() {
		t.Error("the writer ended")
	}
	if len(distinct) < 2 {
		t.Errorf("nothing was written meanwhile: versions %v", distinct)
	}
}

// runChain writes round after round into a row of files, always from the first to the
// last: DIR FILES.
func runChain(args []string) error {
	files, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fds := make([]int, files)
	for i := range fds {
		fds[i], err = unix.Open(fmt.Sprintf("%s/%05d", args[0], i), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
	}
	for round := 1; ; round++ {
		for i, fd := range fds {
			if _, err := unix.Pwrite(fd, fmt.Appendf(nil, "%08d", round), 0); err != nil {
				return fmt.Errorf("file %d, round %d: %w", i, round, err)
			}
		}
	}
}

// checkChain: rounds never grow along the row, and differ by one at most.
func checkChain(t *testing.T, dir string, files int) {
	t.Helper()
	first, last := -1, 0
	for i := range files {
		text, err := os.ReadFile(fmt.Sprintf("%s/%05d", dir, i))
		round := 0
		switch {
		case os.IsNotExist(err): // not made yet
			round = -1
		case err != nil:
			t.Fatal(err)
		case len(text) > 0:
			if round, err = strconv.Atoi(string(text)); err != nil {
				t.Fatal(err)
			}
		}
		if i == 0 {
			first, last = round, round
		}
		if round > last || round < first-1 {
			t.Fatalf("file 0 is at round %d, file %d at %d, file %d at %d: no version is like that", first, i-1, last, i, round)
		}
		last = round
	}
}

// TestExportResumes: a daemon that is killed and a tool that is interrupted in the middle cost no
// more than the rest, also when the volume has changed meanwhile, and on another node.
func TestExportResumes(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta", "gamma")
	b.must(b.Start(readyTimeout))
	count := 6000
	if !testing.Short() {
		count = 60000
	}
	b.ok(cluster.RunHelper(5*time.Minute, "many", b.in("many"), strconv.Itoa(count)))
	b.shell(everyKind)
	for _, f := range b.Followers {
		_, err := b.CatchUp(f, equalTimeout)
		b.must(err)
	}
	dir := filepath.Join(b.Dir, "exported")
	began := time.Now()
	b.export(b.follower(), dir)
	whole := time.Since(began)
	b.must(os.RemoveAll(dir))
	part := false
	for round := range rounds(t, 2, 6) {
		done := make(chan cluster.Result, 1)
		node := b.Followers[round%2]
		after := time.Duration(float64(whole) * (0.2 + 0.4*rand.Float64()))
		if round%2 == 0 {
			go func() { done <- node.Ctl(exportTimeout, "export", dir) }()
			time.Sleep(after)
			b.must(node.Kill9())
			if r := <-done; r.Code == 0 {
				t.Logf("round %d: done before the daemon was killed", round)
			}
			b.must(node.StartReady(readyTimeout))
		} else if r := node.Ctl(exportTimeout, "--timeout", after.String(), "export", dir); r.Code != 0 && r.Code != 7 {
			t.Fatal(r.OK())
		}
		_, err := os.Lstat(filepath.Join(dir, ".wolfdisk-export"))
		if part = err == nil; !part {
			b.must(os.RemoveAll(dir)) // it was done all the same
		} else if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("round %d: half an export is open to others: %v, %v", round, st.Mode(), err)
		}
		b.shell(fmt.Sprintf(`r=%d; rm -r many/000$r; mv many/001$r many/000$r; echo $r >k/new$r; rm -rf k/sub; mkdir -p k/sub; ln k/renamed k/name$r
			rm -rf k/turns; if test $((r %% 2)) = 0; then mkdir k/turns; echo x >k/turns/f; else echo y >k/turns; fi; chmod 0$((640 + r)) k/suid`, round))
		for _, f := range b.Followers {
			_, err := b.CatchUp(f, equalTimeout)
			b.must(err)
		}
	}
	res, _ := b.export(b.Followers[1], dir)
	b.sameAs(b.Leader.Mount, dir)
	if part && res.Kept == 0 || res.Left > 0 {
		t.Errorf("nothing was kept of what earlier runs had written, or something was left over: %+v", res)
	}
}

// TestExportIncremental: with its record an export is brought up to date; what it did not
// make is left alone, what somebody edited is written again.
func TestExportIncremental(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	dir := filepath.Join(b.Dir, "exported")
	b.shell(everyKind + `; cd ..; mkdir -p t/dir/below; echo 1 >t/file; echo 2 >t/dir/f; echo 3 >t/dir/below/f; ln t/file t/link; mkdir same; echo s >same/s`)
	b.equal()
	b.export(b.follower(), dir, "--incremental")
	own := ".wolfdisk-export"
	b.sameAs(b.follower().Mount, dir, own)
	b.shell(`rm -r t/dir; echo file >t/dir; rm t/file; mkdir t/file; echo in >t/file/in; mv k/moved k/elsewhere; rm k/big; chmod 4711 k/suid; setfattr -x user.text k/hard`)
	b.equal()
	b.ok(cluster.Shell(dir, `echo mine >foreign; mkdir k/mine; echo mine >k/mine/f; echo edited >same/s`, time.Minute))
	res, r := b.export(b.follower(), dir, "--incremental")
	if res.Left != 2 || res.Kept == 0 || !strings.Contains(r.Stdout, `"foreign"`) || !strings.Contains(r.Stdout, `"k/mine"`) {
		t.Errorf("result %+v of\n%s", res, r.Stdout)
	}
	b.ok(cluster.Shell(dir, `test "$(cat foreign k/mine/f)" = "mine
mine"; rm -r foreign k/mine; touch -d @1 k .`, time.Minute))
	if res, _ = b.export(b.follower(), dir, "--incremental"); res.Written > 0 || res.Removed > 0 || res.Left > 0 {
		t.Errorf("with nothing to do: %+v", res)
	}
	b.sameAs(b.follower().Mount, dir, own)
	// Something foreign where the volume has a file stops it before anything is lost.
	b.shell("echo volume >taken")
	b.equal()
	b.ok(cluster.Shell(dir, "echo mine >taken", time.Minute))
	if r := b.follower().Ctl(exportTimeout, "export", dir); r.Code != 6 || !strings.Contains(r.Stderr, "taken") {
		t.Errorf("over a foreign file: code %d, %s", r.Code, r.Stderr)
	}
	b.ok(cluster.Shell(dir, `test "$(cat taken)" = mine; rm taken`, time.Minute))
	b.export(b.follower(), dir)
	b.sameAs(b.follower().Mount, dir)
}

// TestExportFullDisk: a full disk stops it with a message, and after room was made it
// goes on.
func TestExportFullDisk(t *testing.T) {
	t.Parallel()
	needRoot(t)
	b := startBed(t)
	b.ok(cluster.RunHelper(time.Minute, "big", filepath.Join(b.in("a"), "file"), fmt.Sprint(6<<20), fmt.Sprint(1<<20)))
	b.ok(cluster.RunHelper(time.Minute, "many", b.in("b"), "3000"))
	b.equal()
	disk := filepath.Join(b.Dir, "disk")
	b.must(os.Mkdir(disk, 0o755))
	b.must(unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m"))
	defer unix.Unmount(disk, unix.MNT_DETACH)
	dir := filepath.Join(disk, "exported")
	r := b.follower().Ctl(exportTimeout, "export", dir)
	if r.Code != 69 || !strings.Contains(r.Stderr, "no space left") || !strings.Contains(r.Stderr, "goes on where") {
		t.Fatalf("on a full disk: code %d, %s", r.Code, r.Stderr)
	}
	b.must(unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=100m"))
	b.export(b.follower(), dir)
	b.sameAs(b.follower().Mount, dir)
}

// TestExportRefuses: places that would swallow each other, and nodes that cannot.
func TestExportRefuses(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	b.shell("mkdir d; echo x >d/f")
	b.equal()
	full := filepath.Join(b.Dir, "full")
	b.must(os.Mkdir(full, 0o755))
	b.must(os.WriteFile(filepath.Join(full, "somebody's"), nil, 0o644))
	link := filepath.Join(b.Dir, "link")
	b.must(os.Symlink(b.follower().Mount, link))
	other := filepath.Join(b.Dir, "other")
	b.ok(cluster.Shell(b.Dir, `mkdir -p other/.wolfdisk-export; printf nonsense-that-is-longer-than-a-header-of-forty-bytes >other/.wolfdisk-export/record`, time.Minute))
	for _, c := range []struct {
		name string
		node *cluster.Node
		dir  string
		code int
		want string
	}{
		{"mount", b.follower(), b.follower().Mount, 6, "WD-1424"},
		{"in the mount", b.follower(), filepath.Join(b.follower().Mount, "d", "x"), 6, "WD-1424"},
		{"by a link", b.follower(), filepath.Join(link, "x"), 6, "WD-1424"},
		{"in the state directory", b.follower(), filepath.Join(b.follower().State, "x"), 6, "WD-1424"},
		{"not empty", b.follower(), full, 6, "somebody's"},
		{"no parent", b.follower(), filepath.Join(b.Dir, "no", "x"), 1, "parent"},
		{"a file", b.follower(), filepath.Join(full, "somebody's"), 1, "not a directory"},
		{"damaged record", b.follower(), other, 1, "damaged"},
		{"leader with a directory", b.Leader, filepath.Join(b.Dir, "x"), 6, "WD-1421"},
	} {
		r := c.node.Ctl(exportTimeout, "export", c.dir)
		if r.Code != c.code || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: code %d, want %d and %q: %s", c.name, r.Code, c.code, c.want, r.Stderr)
		}
	}
	for _, args := range [][]string{{}, {"a", "b"}, {"--jobs", "0", filepath.Join(b.Dir, "x")}, {"--jobs", "1000", filepath.Join(b.Dir, "x")}, {""}} {
		if r := b.follower().Ctl(exportTimeout, append([]string{"export"}, args...)...); r.Code == 0 {
			t.Errorf("export %q is accepted", args)
		}
	}
	b.equal()
}
