//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

const (
	readyTimeout = 30 * time.Second
	equalTimeout = 60 * time.Second
)

// bed is a cluster that belongs to a test: it fails the test with the logs of the
// daemons, and is gone when the test ends.
type bed struct {
	*cluster.Cluster
	t *testing.T
}

func needFuse(t *testing.T) {
	t.Helper()
	if noFuse != "" {
		t.Skip("FUSE is not usable: ", noFuse)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// newBed prepares a leader, alpha, and a number of followers, and starts nothing.
func newBed(t *testing.T, followers ...string) *bed {
	t.Helper()
	return newBedOf(t, "alpha", followers...)
}

func newBedOf(t *testing.T, leader string, followers ...string) *bed {
	t.Helper()
	needFuse(t)
	c, err := cluster.New(binDir)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{c, t}
	t.Cleanup(b.end)
	_, err = c.AddLeader(leader)
	b.must(err)
	for _, id := range followers {
		_, err := c.AddFollower(id)
		b.must(err)
	}
	return b
}

// startBed starts a leader with one follower and waits until both are ready.
func startBed(t *testing.T) *bed {
	t.Helper()
	b := newBed(t, "beta")
	b.must(b.Start(readyTimeout))
	return b
}

// on is the bed as seen by a subtest.
func (b *bed) on(t *testing.T) *bed { return &bed{b.Cluster, t} }

func (b *bed) end() {
	if b.t.Failed() {
		for _, n := range b.Nodes() {
			b.t.Log(n.LogTail())
		}
	}
	if err := b.Close(); err != nil {
		b.t.Errorf("clean up: %v", err)
	}
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) follower() *cluster.Node { return b.Followers[0] }

// ok fails the test unless the child ended well.
func (b *bed) ok(r cluster.Result) cluster.Result {
	b.t.Helper()
	b.must(r.OK())
	return r
}

// shell runs a script in the leader's mount.
func (b *bed) shell(script string) cluster.Result {
	b.t.Helper()
	return b.ok(cluster.Shell(b.Leader.Mount, script, 3*time.Minute))
}

// in is a new folder of the leader's mount, made by a child.
func (b *bed) in(name string) string {
	b.t.Helper()
	dir := filepath.Join(b.Leader.Mount, name)
	b.ok(cluster.Run("mkdir", "-p", dir))
	return dir
}

// equal compares all mounts.
func (b *bed) equal() tree.Tree {
	b.t.Helper()
	t, err := b.Equal(equalTimeout)
	b.must(err)
	return t
}

// same compares two directories that are not mounts of one volume.
func (b *bed) same(dirA, dirB string, rules tree.Rules) {
	b.t.Helper()
	ta, err := cluster.Describe(dirA, equalTimeout)
	b.must(err)
	tb, err := cluster.Describe(dirB, equalTimeout)
	b.must(err)
	b.noDiff(tree.Diff(ta, tb, rules), dirA+" and "+dirB)
}

func (b *bed) noDiff(diff []string, what string) {
	b.t.Helper()
	if len(diff) > 0 {
		b.t.Fatalf("%s: %d differences:\n%s", what, len(diff), strings.Join(diff[:min(len(diff), 20)], "\n"))
	}
}

// stopsPlain stops all daemons and compares what the leader's directory holds now
// with what its mount showed.
func (b *bed) stopsPlain() {
	b.t.Helper()
	seen := b.equal()
	for _, n := range b.Nodes() {
		b.must(n.Stop())
	}
	left, err := cluster.Describe(b.Leader.Dir, equalTimeout)
	b.must(err)
	b.noDiff(tree.Diff(seen, left, tree.Plain), "mount and directory after the stop")
}
