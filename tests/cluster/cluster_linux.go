package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"wolfdisk/tests/tree"
)

// Cluster is a leader with followers below one folder.
type Cluster struct {
	Bin       string // the folder of the binaries
	Dir       string // the folder of everything else
	Key       string // the cluster key all nodes share; made by the first start
	Env       []string
	Leader    *Node
	Followers []*Node
	witnesses []*Node
	owned     bool
}

// New prepares a cluster in a new temporary folder, which Close removes.
func New(bin string) (*Cluster, error) {
	dir, err := TempDir()
	if err != nil {
		return nil, err
	}
	c, err := NewIn(bin, dir)
	if err != nil {
		return nil, err
	}
	c.owned = true
	return c, nil
}

// NewIn prepares a cluster in a folder of the caller, who removes it.
func NewIn(bin, dir string) (*Cluster, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	// The default port of the metrics can belong to one daemon of a machine only.
	// Nodes meet on the ways that the tests can cut.
	env := []string{"WOLFDISK_ADMIN_BIND=none", "WOLFDISK_CLUSTER_DISCOVERY=none"}
	if driver := os.Getenv(DriverEnv); driver != "" {
		env = append(env, "WOLFDISK_MOUNT_DRIVER="+driver)
	}
	return &Cluster{Bin: bin, Dir: dir, Key: filepath.Join(dir, "cluster.key"), Env: env}, nil
}

// DriverEnv is the environment variable that says which FUSE driver the nodes of new
// clusters mount with. Without it they choose themselves.
const DriverEnv = "WDTEST_DRIVER"

// AddLeader prepares the leader, mounted over its own directory.
func (c *Cluster) AddLeader(id string) (*Node, error) {
	n, err := c.add(id)
	if err != nil {
		return nil, err
	}
	n.Leader, n.Dir = true, n.Mount
	c.Leader = n
	return n, nil
}

// AddFollower prepares a follower that knows the leader's address.
func (c *Cluster) AddFollower(id string) (*Node, error) {
	n, err := c.add(id)
	if err != nil {
		return nil, err
	}
	if n.Uplink, err = NewProxy(c.Leader.Addr); err != nil {
		return nil, err
	}
	n.Connect = []string{n.Uplink.Addr()}
	c.Followers = append(c.Followers, n)
	return n, nil
}

// AddWitness prepares a node without a copy that knows the leader's address. It is none of Nodes,
// which have trees to be compared: whoever adds it starts and stops it.
func (c *Cluster) AddWitness(id string) (*Node, error) {
	n, err := c.AddFollower(id)
	if err != nil {
		return nil, err
	}
	c.Followers = c.Followers[:len(c.Followers)-1]
	n.Witness = true
	c.witnesses = append(c.witnesses, n)
	return n, nil
}

func (c *Cluster) add(id string) (*Node, error) {
	base := filepath.Join(c.Dir, id)
	n := &Node{ID: id, c: c, Mount: filepath.Join(base, "data"), State: filepath.Join(base, "state"), log: base + ".log"}
	if err := os.MkdirAll(n.Mount, 0o755); err != nil {
		return nil, err
	}
	n.admin = adminClient(filepath.Join(n.State, "admin.sock"))
	var err error
	if n.Addr, err = FreeAddr(); err != nil {
		return nil, err
	}
	if n.Front, err = NewProxy(n.Addr); err != nil {
		return nil, err
	}
	n.Advertise = n.Front.Addr()
	return n, nil
}

// Ports for daemons lie below those that the kernel gives out by itself, so that
// nothing else on the machine gets one between its choice and its use.
const (
	firstPort = 20000
	lastPort  = 32000
)

var nextPort atomic.Uint32

func init() { nextPort.Store(uint32(os.Getpid()) * 37) }

// FreeAddr is an address of 127.0.0.1 that nobody listens on now, and that this
// process has not returned before.
func FreeAddr() (string, error) {
	var err error
	for range lastPort - firstPort {
		port := firstPort + nextPort.Add(1)%(lastPort-firstPort)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		var ln net.Listener
		if ln, err = net.Listen("tcp", addr); err == nil {
			return addr, ln.Close()
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}

// Nodes are all of them, the leader first.
func (c *Cluster) Nodes() []*Node {
	if c.Leader == nil {
		return c.Followers
	}
	return append([]*Node{c.Leader}, c.Followers...)
}

// Start starts all nodes at once and waits until all are ready.
func (c *Cluster) Start(timeout time.Duration) error {
	for _, n := range c.Nodes() {
		if err := n.Start(); err != nil {
			return err
		}
		if n == c.Leader {
			// The key is made by the first start; the leader's is the one to have it.
			if err := waitFile(c.Key, timeout, n); err != nil {
				return err
			}
		}
	}
	for _, n := range c.Nodes() {
		if err := n.WaitReady(timeout); err != nil {
			return err
		}
	}
	return nil
}

func waitFile(path string, timeout time.Duration, n *Node) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Lstat(path); err == nil {
			return nil
		}
		if !n.Running() || time.Now().After(deadline) {
			return fmt.Errorf("%s made no %s\n%s", n.ID, path, n.LogTail())
		}
	}
}

// Close kills what runs, unmounts and removes everything.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range append(c.Nodes(), c.witnesses...) {
		if n.Running() {
			errs = append(errs, n.Kill9())
		}
		errs = append(errs, n.Front.Close())
		if n.Uplink != nil {
			errs = append(errs, n.Uplink.Close())
		}
	}
	if c.owned {
		errs = append(errs, RemoveTemp(c.Dir))
	}
	return errors.Join(errs...)
}

// Keep protects the folder: CleanStale leaves it alone.
func (c *Cluster) Keep() error {
	return os.WriteFile(filepath.Join(c.Dir, keepMark), nil, 0o600)
}

// Describe is the tree below a directory, read by a child.
func Describe(dir string, timeout time.Duration) (tree.Tree, error) {
	r := RunHelper(timeout, "treehash", dir)
	if err := r.OK(); err != nil {
		return nil, fmt.Errorf("describe %s: %w", dir, err)
	}
	return tree.Parse(strings.NewReader(r.Stdout))
}

// CatchUp waits until a follower has applied what the leader has now, and returns
// that version.
func (c *Cluster) CatchUp(f *Node, timeout time.Duration) (uint64, error) {
	s, err := c.Leader.Status()
	if err != nil {
		return 0, err
	}
	want := s.Position.Version
	_, err = f.WaitStatus(timeout, fmt.Sprintf("at version %d", want), func(s Status) bool {
		return s.Position.Version >= want
	})
	return want, err
}

// Equal compares the mounts of the leader and of every follower, at one version at
// which all rest, and returns the leader's tree.
func (c *Cluster) Equal(timeout time.Duration) (tree.Tree, error) {
	deadline := time.Now().Add(timeout)
	for {
		trees, still, err := c.describeAll(deadline)
		if err != nil {
			return nil, err
		}
		var diff []string
		for i, f := range c.Followers {
			for _, d := range tree.Diff(trees[0], trees[i+1], tree.Rules{}) {
				diff = append(diff, fmt.Sprintf("%s, %s: %s", c.Leader.ID, f.ID, d))
			}
		}
		if still && len(diff) == 0 {
			return trees[0], nil
		}
		// Ops that came in between (a late close) make a comparison void.
		if still || time.Now().After(deadline) {
			return nil, fmt.Errorf("trees differ (at rest: %v), %d differences:\n%s",
				still, len(diff), strings.Join(diff[:min(len(diff), 20)], "\n"))
		}
	}
}

// describeAll describes all mounts and tells whether no node moved meanwhile.
func (c *Cluster) describeAll(deadline time.Time) ([]tree.Tree, bool, error) {
	for _, f := range c.Followers {
		if _, err := c.CatchUp(f, time.Until(deadline)); err != nil {
			return nil, false, err
		}
	}
	before, err := c.positions()
	if err != nil {
		return nil, false, err
	}
	nodes := c.Nodes()
	trees := make([]tree.Tree, len(nodes))
	errs := make([]error, len(nodes))
	done := make(chan struct{})
	for i, n := range nodes {
		go func() {
			trees[i], errs[i] = Describe(n.Mount, max(time.Until(deadline), time.Second))
			done <- struct{}{}
		}()
	}
	for range nodes {
		<-done
	}
	after, err := c.positions()
	if err != nil {
		return nil, false, err
	}
	still := before == after
	if err := errors.Join(errs...); err != nil && (still || time.Now().After(deadline)) {
		return nil, false, err
	}
	return trees, still, nil
}

// positions renders version and digest of all nodes. Equal versions must have equal
// digests; since nodes are asked one after the other while they may move, a
// difference counts only if it stays.
func (c *Cluster) positions() (string, error) {
	for try := 0; ; try++ {
		text, err := c.positionsOnce()
		if !errors.Is(err, errDigest) || try == 20 {
			return text, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var errDigest = errors.New("equal versions have other digests")

func (c *Cluster) positionsOnce() (string, error) {
	var b strings.Builder
	digests := make(map[uint64]string)
	for _, n := range c.Nodes() {
		s, err := n.Status()
		if err != nil {
			return "", err
		}
		p := s.Position
		if d, ok := digests[p.Version]; ok && d != p.Digest {
			return "", fmt.Errorf("%w: version %d has %s on %s, %s elsewhere", errDigest, p.Version, p.Digest, n.ID, d)
		}
		digests[p.Version] = p.Digest
		fmt.Fprintf(&b, "%s %d %s;", n.ID, p.Version, p.Digest)
	}
	return b.String(), nil
}
