//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// sourceTree is a real source tree: that of the Go toolchain, or a part of it.
func sourceTree(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal("go env GOROOT: ", err)
	}
	src, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(out)), "src"))
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		src = filepath.Join(src, "crypto")
	}
	return src
}

// TestRealInput is what people do: unpack, copy, synchronise, develop, keep a
// database.
func TestRealInput(t *testing.T) {
	t.Parallel()
	realInput(t)
}

// realInput does the steps with the given names, or all.
func realInput(t *testing.T, only ...string) {
	b := startBed(t)
	steps := []struct {
		name string
		run  func(*bed)
	}{
		{"tar", untarTree},
		{"cp", copyTree},
		{"rsync", rsyncTree},
		{"git", gitWork},
		{"sqlite-rollback", func(b *bed) { sqliteWork(b, "delete") }},
		{"sqlite-wal", func(b *bed) { sqliteWork(b, "wal") }},
		{"big", bigFile},
		{"many", manyFiles},
		{"writers", severalWriters},
		{"remove-tree", func(b *bed) { b.shell("rm -rf tar cp/*"); b.equal() }},
	}
	for _, s := range steps {
		if len(only) > 0 && !slices.Contains(only, s.name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) { s.run(b.on(t)) })
	}
	if !t.Failed() {
		b.stopsPlain()
	}
}

func untarTree(b *bed) {
	src := sourceTree(b.t)
	archive := filepath.Join(b.Dir, "src.tar")
	b.ok(cluster.Run("tar", "-C", src, "-cf", archive, "."))
	dir := b.in("tar")
	began := time.Now()
	b.ok(cluster.Cmd{Args: []string{"tar", "-C", dir, "-xpf", archive}, Timeout: 3 * time.Minute}.Run())
	took := time.Since(began)
	_, err := b.CatchUp(b.follower(), equalTimeout)
	b.must(err)
	b.t.Logf("untar %v, follower equal %v later", took.Round(time.Millisecond), (time.Since(began) - took).Round(time.Millisecond))
	b.same(src, dir, tree.Plain)
	b.equal()
}

func copyTree(b *bed) {
	b.in("cp")
	b.shell("cp -a tar cp/copy")
	b.same(filepath.Join(b.Leader.Mount, "tar"), filepath.Join(b.Leader.Mount, "cp/copy"), tree.Plain)
	b.equal()
}

func rsyncTree(b *bed) {
	src := filepath.Join(b.Dir, "rsync-src")
	b.ok(cluster.Shell(b.Dir, fmt.Sprintf(`mkdir rsync-src
		cp -a %q rsync-src/tree
		cd rsync-src
		f=$(find . -name '*.go' | head -n 1); ln "$f" hard; ln -s "$f" soft
		setfattr -n user.note -v text "$f"; setfacl -m u:1234:r "$f"
		truncate -s 1M sparse; touch -d '2001-02-03 04:05:06.789012345' hard`, sourceTree(b.t)), time.Minute))
	dir := b.in("rsync")
	rsync := func(extra ...string) string {
		// Without the window, times that differ in their nanoseconds alone count as equal.
		args := append([]string{"rsync", "-aHAX", "--delete", "--modify-window=-1"}, extra...)
		return b.ok(cluster.Cmd{Args: append(args, src+"/", dir+"/"), Timeout: 3 * time.Minute}.Run()).Stdout
	}
	rsync()
	b.same(src, dir, tree.Plain)
	if out := rsync("-nic"); out != "" {
		b.t.Fatalf("a second rsync would change:\n%s", out)
	}
	b.ok(cluster.Shell(src, "rm soft; mkdir added; date >added/file; chmod 0600 hard; find . -name '*_test.go' -delete", time.Minute))
	rsync("--inplace")
	b.same(src, dir, tree.Plain)
	b.equal()
}

func gitWork(b *bed) {
	b.in("git")
	src := sourceTree(b.t)
	home := filepath.Join(b.Dir, "home")
	b.ok(cluster.Run("mkdir", "-p", home))
	script := fmt.Sprintf(`export HOME=%q GIT_CONFIG_NOSYSTEM=1
		git config --global user.name tester; git config --global user.email tester@example.com
		git config --global init.defaultBranch main; git config --global advice.detachedHead false
		if test ! -d "$HOME/origin"; then
			git init -q "$HOME/origin"; cp -a %q/. "$HOME/origin/"
			git -C "$HOME/origin" add -A; git -C "$HOME/origin" commit -qm import
		fi
		git clone -q --no-hardlinks "$HOME/origin" clone; cd clone
		for i in 1 2 3 4 5; do
			echo "change $i" >"note $i"; git add -A; git commit -qm "note $i"
		done
		git checkout -q -b side HEAD~2; git mv "note 1" moved; git commit -qm move; git checkout -q main
		git merge -q -m merge side
		git gc -q --prune=now
		git fsck --full --strict --no-progress
		test -z "$(git status --porcelain)"
		git push -q origin main:refs/heads/pushed`, home, src)
	b.ok(cluster.Shell(filepath.Join(b.Leader.Mount, "git"), script, 3*time.Minute))
	b.equal()
	// The follower's copy is a sound repository as well.
	b.ok(cluster.Cmd{Args: []string{"git", "-c", "safe.directory=*", "--no-optional-locks", "fsck", "--full", "--no-progress"},
		Dir: filepath.Join(b.follower().Mount, "git/clone"), Timeout: 3 * time.Minute}.Run())
}

func sqliteWork(b *bed, mode string) {
	dir := b.in("sqlite-" + mode)
	rows := 150
	if !testing.Short() {
		rows = 3000
	}
	script := fmt.Sprintf(`sqlite3 db 'pragma journal_mode=%s; create table t (id integer primary key, w text, v blob); create index i on t(w)' >/dev/null
		writer() {
			i=0
			{
				echo '.timeout 60000'
				while [ $i -lt %d ]; do
					echo "begin immediate; insert into t(w, v) values ('$1', randomblob(500)); update t set v=randomblob(900) where id%%17=$((i%%17)); commit;"
					i=$((i+1))
				done
			} | sqlite3 -bail db
		}
		writer a & one=$!
		writer b & two=$!
		wait $one; wait $two
		test "$(sqlite3 db 'select count(*) from t')" = %d
		sqlite3 db '.timeout 60000' "delete from t where id%%3=0; vacuum; pragma integrity_check" | grep -x ok`, mode, rows, 2*rows)
	b.ok(cluster.Shell(dir, script, 3*time.Minute))
	b.equal()
	copied := filepath.Join(b.follower().Mount, "sqlite-"+mode, "db")
	r := b.ok(cluster.Run("sqlite3", "file:"+copied+"?immutable=1", "pragma integrity_check; select count(*) from t"))
	if r.Stdout != fmt.Sprintf("ok\n%d\n", 2*rows-2*rows/3) {
		b.t.Fatalf("the follower's database says %q", r.Stdout)
	}
}

// bigFile is 1 GiB with few data in the short form, 4 GiB and a piece without a hole else.
func bigFile(b *bed) {
	dir := b.in("big")
	size, stride := int64(1<<29), int64(64<<20)
	if !testing.Short() {
		size, stride = 4<<30+12345, 1<<20
	}
	b.ok(cluster.RunHelper(10*time.Minute, "big", filepath.Join(dir, "file"), strconv.FormatInt(size, 10), strconv.FormatInt(stride, 10)))
	_, err := b.Equal(10 * time.Minute)
	b.must(err)
	b.shell("rm -r big")
	b.equal()
}

func manyFiles(b *bed) {
	count := 3000
	if !testing.Short() {
		count = 50000
	}
	b.ok(cluster.RunHelper(10*time.Minute, "many", b.in("many"), strconv.Itoa(count)))
	b.equal()
	b.shell("rm -r many")
	b.equal()
}

// severalWriters collide on few names, in one folder each and in a common one.
func severalWriters(b *bed) {
	dir := b.in("writers")
	steps, rounds := 1500, 1
	if !testing.Short() {
		steps, rounds = 10000, 5
	}
	for round := range rounds {
		results := make(chan cluster.Result)
		const writers = 4
		for w := range writers {
			go func() {
				results <- cluster.RunHelper(5*time.Minute, "mix", dir, strconv.Itoa(round*writers+w), strconv.Itoa(steps))
			}()
		}
		var errs []error
		for range writers {
			if err := (<-results).OK(); err != nil {
				errs = append(errs, err)
			}
		}
		for _, err := range errs {
			b.t.Error(err)
		}
		b.equal()
	}
}

// TestRealInputToolsAreThere makes a missing tool a failure that names it, not one
// in the middle of a script.
func TestRealInputToolsAreThere(t *testing.T) {
	for _, tool := range []string{"tar", "cp", "rsync", "git", "sqlite3", "setfattr", "setfacl", "getfacl", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Errorf("%v (tests/need.sh installs it)", err)
		}
	}
	if _, err := os.Stat(sourceTree(t)); err != nil {
		t.Error(err)
	}
}
