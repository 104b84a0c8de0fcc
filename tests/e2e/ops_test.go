//go:build linux

package e2e

import (
	"os"
	"sort"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

// TestOps runs every operation of the list (ops_*_test.go) in a folder of its own
// on the leader's mount; each checks what it sees itself, and afterwards the
// follower's tree must equal the leader's.
func TestOps(t *testing.T) {
	t.Parallel()
	everyOp(t, true)
}

// everyOp compares the nodes after each operation, or only after all.
func everyOp(t *testing.T, compareEach bool) {
	b := startBed(t)
	names := make([]string, 0, len(ops))
	for name := range ops {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			b := b.on(t)
			if rootOps[name] {
				needRoot(t)
			}
			b.ok(cluster.RunHelper(2*time.Minute, "op", name, b.in(name)))
			if compareEach {
				b.equal()
			}
		})
	}
	if t.Failed() {
		return
	}
	b.stopsPlain()
}

// TestOpsOnPlainDirectory shows that the operations themselves are right: each must
// pass on the file system below as it does on a mount.
func TestOpsOnPlainDirectory(t *testing.T) {
	t.Parallel()
	for name := range ops {
		t.Run(name, func(t *testing.T) {
			if rootOps[name] {
				needRoot(t)
			}
			dir, err := cluster.TempDir()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := cluster.RunHelper(time.Minute, "op", name, dir).OK(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
