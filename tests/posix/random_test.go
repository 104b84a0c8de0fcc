//go:build linux

package posix

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

// seed is that of $WDTEST_SEED, or a new one; it is in the test's output.
func seed(t *testing.T) string {
	t.Helper()
	s := os.Getenv("WDTEST_SEED")
	if s == "" {
		s = strconv.FormatUint(rand.Uint64()>>12, 10)
	}
	t.Log("WDTEST_SEED=" + s)
	return s
}

// steps are as many as the form of the test asks for, or $WDTEST_OPS.
func steps(short, long int) string {
	if s := os.Getenv("WDTEST_OPS"); s != "" {
		return s
	}
	if testing.Short() {
		return strconv.Itoa(short)
	}
	return strconv.Itoa(long)
}

const randomTimeout = 20 * time.Minute

// TestFile: one file by every call, against a model in memory.
func TestFile(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"dir", "chunks"} {
		t.Run(storage, func(t *testing.T) {
			b := newBedApart(t, storage)
			b.must(cluster.RunHelper(randomTimeout, "file", b.in("file"), seed(t), steps(3000, 1000000)).OK())
			b.equal()
			for _, d := range b.sameHoles("file") {
				t.Error(d)
			}
		})
	}
}

// TestTree: a random history of names and attributes by several users on a mount and on
// a plain directory, in step.
func TestTree(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, storage := range []string{"dir", "chunks"} {
		t.Run(storage, func(t *testing.T) {
			b := newBed(t, storage)
			plain := filepath.Join(plainDir(t), "tree")
			if err := os.Mkdir(plain, 0o755); err != nil {
				t.Fatal(err)
			}
			mount := b.in("tree")
			b.must(cluster.RunHelper(randomTimeout, "tree", seed(t), steps(4000, 1000000), plain, mount).OK())
			want, err := cluster.Describe(plain, equalTimeout)
			b.must(err)
			got, err := cluster.Describe(mount, equalTimeout)
			b.must(err)
			if diff := tree.Diff(want, got, tree.Rules{Ignore: []string{"ino", "mtime", "ctime"}}); len(diff) > 0 {
				t.Errorf("%d differences between the plain directory and the mount, the first: %s", len(diff), diff[0])
			}
			b.equal()
		})
	}
}

// TestCrowd: many processes of several users in one tree.
func TestCrowd(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, storage := range []string{"dir", "chunks"} {
		t.Run(storage, func(t *testing.T) {
			b := newBed(t, storage)
			b.must(cluster.RunHelper(randomTimeout, "crowd", seed(t), steps(600, 60000), "16", b.in("crowd")).OK())
			b.equal()
		})
	}
}
