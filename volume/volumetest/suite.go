package volumetest

import (
	"context"
	"testing"
	"time"

	"wolfdisk/volume"
)

// System is what the suite tests: an empty volume and what belongs to it.
type System struct {
	Vol volume.Volume
	// Ops are the recorded ops after a version, nil if they are not to be had. With
	// them the suite compares decisions op by op, and replays them.
	Ops func(after volume.Version) []*volume.Op
	// Replicas are kept up by the system itself, at once or soon; the suite waits
	// for them and compares. They need Ops.
	Replicas []volume.Replica
	// NewReplica makes an empty replica, to which the suite applies Ops; may be nil.
	NewReplica func(t *testing.T) volume.Replica
	// Chunks are what the volume (and its replicas) can find for OpCopyChunks.
	Chunks map[volume.ChunkID][]byte
}

// group is a list of checks that share a system, each in a directory of its own.
type group struct {
	name   string
	checks []check
}

// check proves one clause.
type check struct {
	clause string
	run    func(e *env)
}

func groups() []group {
	return []group{
		{"create", createChecks()},
		{"create-acl", createACLChecks()},
		{"link", linkChecks()},
		{"remove", removeChecks()},
		{"rename", renameChecks()},
		{"attributes", attrChecks()},
		{"content", contentChecks()},
		{"chunks", chunkChecks()},
		{"xattr", xattrChecks()},
		{"acl", aclChecks()},
		{"publish", publishChecks()},
		{"objects", objectChecks()},
		{"life", lifeChecks()},
		{"reading", readChecks()},
		{"readdir", readDirChecks()},
		{"effects", effectChecks()},
		{"requests", requestChecks()},
		{"forwarded", forwardChecks()},
	}
}

// Run proves that a kind of volume does what package volume and the contract of
// this package say. make returns a new, empty system each time it is called, and
// cleans up with t.Cleanup. With -short the random part is smaller.
func Run(t *testing.T, make func(t *testing.T) System) {
	for _, g := range groups() {
		t.Run(g.name, func(t *testing.T) {
			sys := make(t)
			p := start(t, sys)
			for _, c := range g.checks {
				t.Run(c.clause, func(t *testing.T) { c.run(newEnv(t, sys, p)) })
			}
			finish(t, sys, p)
		})
	}
	t.Run("empty", func(t *testing.T) { checkEmpty(t, make(t)) })
	t.Run("random", func(t *testing.T) { runRandom(t, make) })
	t.Run("concurrent", func(t *testing.T) { runConcurrent(t, make) })
}

func start(t *testing.T, sys System) *pair {
	t.Helper()
	p, err := newPair(t.Context(), sys)
	if err != nil {
		t.Fatalf("start the model: %v", err)
	}
	return p
}

// finish compares everything with the Model, and with replicas.
func finish(t *testing.T, sys System, p *pair) {
	t.Helper()
	if t.Failed() {
		return
	}
	if err := p.Compare(t.Context()); err != nil {
		t.Fatalf("at the end, volume and model:\n%v", err)
	}
	compareReplicas(t, sys, p.model.Inos())
}

// compareReplicas compares the volume with the system's replicas and with those
// that its ops make.
func compareReplicas(t *testing.T, sys System, inos []volume.Ino) {
	t.Helper()
	if sys.Ops == nil {
		return
	}
	want, err := Tree(t.Context(), sys.Vol, inos...)
	if err != nil {
		t.Fatal(err)
	}
	replicas := sys.Replicas
	fresh := []volume.Replica{NewModel(Options{Chunks: sys.Chunks}).Replica()}
	if sys.NewReplica != nil {
		fresh = append(fresh, sys.NewReplica(t))
	}
	for _, r := range fresh {
		for _, op := range sys.Ops(0) {
			if err := r.Apply(t.Context(), op); err != nil {
				t.Fatalf("replica %T: apply %s: %v", r, describeOp(op), err)
			}
		}
		replicas = append(replicas[:len(replicas):len(replicas)], r)
	}
	for _, r := range replicas {
		waitFor(t, r, sys.Vol.Position())
		got, err := Tree(t.Context(), r, inos...)
		if err != nil {
			t.Fatalf("replica %T: %v", r, err)
		}
		if err := disagreement(diffAll(want, got, true)); err != nil {
			t.Fatalf("volume and replica %T:\n%v", r, err)
		}
		if err := r.Sync(t.Context()); err != nil {
			t.Errorf("replica %T: sync: %v", r, err)
		}
	}
}

// waitFor waits until a replica has come to a position.
func waitFor(t *testing.T, r volume.Replica, want volume.Position) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if r.Position().Version >= want.Version {
			break
		}
	}
	if got := r.Position(); got != want {
		t.Fatalf("replica %T is at %s, the volume at %s", r, got, want)
	}
}

func checkEmpty(t *testing.T, sys System) {
	a, err := sys.Vol.GetAttr(t.Context(), volume.RootIno)
	if err != nil {
		t.Fatal(err)
	}
	want := volume.Attr{Ino: volume.RootIno, Mode: volume.ModeDir | 0o755, Nlink: 2}
	if a != want {
		t.Errorf("the root of an empty volume is %+v, not %+v", a, want)
	}
	if list, err := listing(t.Context(), sys.Vol, volume.RootIno); err != nil || len(list) != 0 {
		t.Errorf("an empty volume lists %v, %v", list, err)
	}
	if p, err := sys.Vol.ParentOf(t.Context(), volume.RootIno); err != nil || p != volume.RootIno {
		t.Errorf("the root's parent is %s, %v", p, err)
	}
	if err := sys.Vol.Sync(t.Context(), 0, false); err != nil {
		t.Errorf("sync: %v", err)
	}
}

// env is what a check works with: a pair, and a directory of its own.
type env struct {
	t   *testing.T
	ctx context.Context
	sys System
	p   *pair
	dir volume.Ino // the check's directory
}

func newEnv(t *testing.T, sys System, p *pair) *env {
	e := &env{t: t, ctx: context.WithoutCancel(t.Context()), sys: sys, p: p}
	name := "check-" + volume.MakeIno(0, uint32(p.model.Position().Version)+1).String()
	e.dir = e.mkdir(volume.RootIno, name)
	return e
}
