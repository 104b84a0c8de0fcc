//go:build linux

package posix

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

const (
	readyTimeout = 30 * time.Second
	equalTimeout = 2 * time.Minute
)

// bed is a leader with a follower that belongs to a test.
type bed struct {
	*cluster.Cluster
	t *testing.T
}

// newBed starts a leader that keeps content in a real directory ("dir") or in "chunks",
// and a follower that does the other.
func newBed(t *testing.T, storage string) *bed { return newBedWith(t, storage, driver) }

// driver is $WDTEST_DRIVER, with which another than the usual one is tested.
var driver = cmp.Or(os.Getenv("WDTEST_DRIVER"), "auto")

// newBedWith chooses the driver of the mounts as well.
func newBedWith(t *testing.T, storage, driver string) *bed {
	t.Helper()
	b := prepareBed(t, storage, driver)
	b.must(b.Start(readyTimeout))
	return b
}

// newPromoted starts a leader of a real directory and a follower, and has that take over: it leads
// from its chunks, and who led before follows into its directory.
func newPromoted(t *testing.T, driver string) *bed {
	t.Helper()
	b := prepareBed(t, "dir", driver)
	was, now := b.Leader, b.follower()
	now.Role = "auto"
	for _, n := range b.Nodes() {
		n.Env = append(n.Env, "WOLFDISK_ELECT_RECLAIM=false") // who leads goes on leading
	}
	b.must(b.Start(readyTimeout))
	b.must(cluster.Shell(was.Mount, "mkdir before; echo text >before/file", time.Minute).OK())
	b.must(was.Stop())
	_, err := now.WaitStatus(30*time.Second, "leading", func(s cluster.Status) bool { return s.State == "leading" })
	b.must(err)
	b.must(was.StartReady(readyTimeout))
	b.Leader, b.Followers = now, []*cluster.Node{was}
	return b
}

func prepareBed(t *testing.T, storage, driver string) *bed {
	t.Helper()
	if noFuse != "" {
		t.Skip("FUSE is not usable: ", noFuse)
	}
	c, err := cluster.New(binDir)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{c, t}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range b.Nodes() {
				t.Log(n.LogTail())
			}
		}
		if err := b.Close(); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	c.Env = append(c.Env, "WOLFDISK_MOUNT_DRIVER="+driver)
	leader, err := c.AddLeader("alpha")
	b.must(err)
	leader.Env = append(leader.Env, "WOLFDISK_VOLUME_STORAGE="+storage)
	f, err := c.AddFollower("beta")
	b.must(err)
	if storage == "chunks" { // and the other way round
		plain := filepath.Join(b.Dir, "beta", "plain")
		b.must(os.Mkdir(plain, 0o755))
		f.Env = append(f.Env, "WOLFDISK_VOLUME_STORAGE=dir", "WOLFDISK_VOLUME_DIR="+plain)
	}
	return b
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) follower() *cluster.Node { return b.Followers[0] }

// in is a new folder of the leader's mount.
func (b *bed) in(name string) string {
	b.t.Helper()
	dir := filepath.Join(b.Leader.Mount, name)
	b.must(cluster.Run("mkdir", "-p", dir).OK())
	return dir
}

// equal compares the mounts, then asks the nodes themselves.
func (b *bed) equal() {
	b.t.Helper()
	_, err := b.Equal(equalTimeout)
	b.must(err)
	b.must(b.Leader.Ctl(equalTimeout, "verify").OK())
}

// TestLeader: a volume in a real directory.
func TestLeader(t *testing.T) {
	t.Parallel()
	testMounts(t, newBed(t, "dir"))
}

// TestPromoted: a follower that has taken over leads from its chunks.
func TestPromoted(t *testing.T) {
	t.Parallel()
	testMounts(t, newPromoted(t, driver))
}

// TestChunks: a leader that has kept its volume in chunks from the beginning.
func TestChunks(t *testing.T) {
	if testing.Short() {
		t.Skip("long form only; TestPromoted leads from chunks too")
	}
	t.Parallel()
	testMounts(t, newBed(t, "chunks"))
}

// TestOtherDriver: the same through go-fuse.
func TestOtherDriver(t *testing.T) {
	if testing.Short() {
		t.Skip("long form only; WDTEST_DRIVER=gofuse chooses it for all")
	}
	t.Parallel()
	testMounts(t, newBedWith(t, "dir", "gofuse"))
}

func testMounts(t *testing.T, b *bed) {
	needRoot(t)
	layout := b.in("layout")
	b.must(cluster.RunHelper(time.Minute, "layout", layout).OK())
	t.Run("suite", func(t *testing.T) {
		report(t, cluster.RunHelper(suiteTimeout, "suite", b.in("suite"), "mount", only))
	})
	t.Run("equal", func(t *testing.T) { (&bed{b.Cluster, t}).equal() })
	there := filepath.Join(b.follower().Mount, "layout")
	t.Run("follower-refuses", func(t *testing.T) {
		(&bed{b.Cluster, t}).must(cluster.RunHelper(time.Minute, "refuse", there).OK())
	})
	for name, dir := range map[string]string{"leader-reads": layout, "follower-reads": there} {
		t.Run(name, func(t *testing.T) {
			(&bed{b.Cluster, t}).must(cluster.RunHelper(time.Minute, "reading", dir).OK())
		})
	}
	t.Run("removed-elsewhere", func(t *testing.T) {
		(&bed{b.Cluster, t}).must(cluster.RunHelper(time.Minute, "removed", b.in("removed"), filepath.Join(b.follower().Mount, "removed")).OK())
	})
	t.Run("holes", func(t *testing.T) {
		odd := &bed{b.Cluster, t} // data that neither begins nor ends with a block
		odd.must(cluster.Shell(layout, "truncate -s 1M odd; printf 0123456789 | dd of=odd bs=1 seek=5000 conv=notrunc status=none; head -c 20000 /dev/urandom >punched; fallocate -p -o 100 -l 10000 punched", time.Minute).OK())
		odd.equal()
		a, c := cluster.RunHelper(time.Minute, "holes", layout), cluster.RunHelper(time.Minute, "holes", there)
		(&bed{b.Cluster, t}).must(a.OK())
		(&bed{b.Cluster, t}).must(c.OK())
		if a.Stdout != c.Stdout {
			t.Errorf("the leader has data at\n%sthe follower at\n%s", a.Stdout, c.Stdout)
		}
	})
}
