package node

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"wolfdisk/master"
	"wolfdisk/volume"
)

// TestFailedLeaderStaysUnfit: a node whose disk ended its reign does not lead again in this run.
// It would fail again, step down again, and as the first in the order keep all others from leading.
func TestFailedLeaderStaysUnfit(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name  string
		fails func(errorfs.OpKind) bool
		leads bool // when it fails
	}{
		{"write", func(k errorfs.OpKind) bool { return k == errorfs.OpFileWriteAt || k == errorfs.OpFileWrite }, true},
		{"sync", func(k errorfs.OpKind) bool { return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData }, true},
		{"sync of a node that does not lead", func(k errorfs.OpKind) bool { return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var broken atomic.Bool
			v, err := openMem(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && c.fails(op.Kind) {
					return syscall.EIO
				}
				return nil
			})))
			if err != nil {
				t.Fatal(err)
			}
			defer v.abandon()
			n := bareNode(t, "a")
			n.store = &storage{log: v.log, engine: v.engine, tree: v.tree, chunks: v.store, zlog: zerolog.Nop()}
			l, err := master.New(master.Options{Tree: v.tree, Log: v.log, Epoch: epoch(1, "a"), Log0: zerolog.Nop()})
			if err != nil {
				t.Fatal(err)
			}
			make1 := func(name string) error {
				_, err := l.Do(ctx, &volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: name, Mode: volume.ModeFile | 0o644})
				return err
			}
			if err := make1("x"); err != nil {
				t.Fatal(err)
			}
			if c.leads {
				n.leader = l
			}
			if n.elector.local().Failed {
				t.Fatal("unfit before anything has failed")
			}
			broken.Store(true)
			if make1("y") == nil && v.log.Sync(ctx, v.log.Last().Version) == nil {
				t.Fatal("nothing failed")
			}
			broken.Store(false)
			n.degraded.Store(true)
			n.stepDown()
			if c.leads && n.degraded.Load() {
				t.Error("the next reign would not wait for other nodes, and not say so")
			}
			if !n.elector.local().Failed {
				t.Error("may lead again")
			}
			if _, ok := n.warnings.states["WD-1001"]; ok != c.leads {
				t.Errorf("the warning of the failed leader stays: %t", ok)
			}
		})
	}
}
