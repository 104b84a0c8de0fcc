package hostdir

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest/powerdisk"
)

// TestPowerCut takes the power from a real file system, at any moment, with the log
// ahead of the directory or behind it. The directory is brought to the end of the log, and gets
// again what the log has lost.
func TestPowerCut(t *testing.T) {
	again, snapshots := 0, 0
	for name, tweak := range ways {
		for seed := range seeds(1, 200) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				disk := powerdisk.New(t)
				boots := 0
				r := newRigAt(t, disk.Root, func(o *Options) {
					o.Boot = &Boot{ID: fmt.Sprint("boot-", boots), Start: volume.Time{Sec: 1 << 40}}
				})
				r.tweak = tweak
				tweak(r.dir)
				g := newRandom(r, seed)
				g.run(150)
				for range 3 {
					r.checkpoint()
					left := r.running(g, disk)
					cut := func() {
						disk.Cut()
						r.dir.Close()
						disk.Boot()
						boots++
					}
					cut()
					if r.comesBack(left, g, cut) {
						again++
					} else {
						snapshots++
					}
				}
			})
		}
	}
	t.Logf("%d times the ops came again, %d times a snapshot", again, snapshots)
	if again == 0 {
		t.Error("nothing was ever whole again")
	}
}

// checkpoint is what a node does now and then, and leaves the directory open.
func (r *rig) checkpoint() {
	r.t.Helper()
	records, err := r.dir.SettleAll(r.index)
	if err != nil {
		r.t.Fatal(err)
	}
	r.index.store(records)
	if err := r.dir.SyncAll(ctx); err != nil {
		r.t.Fatal(err)
	}
	r.index.store(r.dir.PendingLower())
	r.index.store(r.dir.PendingLower())
	r.log = nil
}

// powerCut is what is left of a run without the directory.
type powerCut struct {
	log  []*volume.Op // what the log has kept since the checkpoint
	lost []*volume.Op // what it has lost
	at   *fakeIndex   // the index at the end of the log
	all  *fakeIndex   // what the leader has
}

// running makes ops until the power is to go.
func (r *rig) running(g *random, disk *powerdisk.Disk) powerCut {
	r.t.Helper()
	c := powerCut{at: r.index.clone()}
	records := r.index.clone() // the last that were put on disk
	n, end := 40+g.IntN(40), 0
	kept := g.IntN(n)
	for i := range n {
		g.run(1)
		switch g.IntN(12) {
		case 0:
			disk.Commit()
		case 1:
			if ino := g.pick(func(n *fakeInode) bool { return n.attr.IsFile() }); ino != 0 {
				if err := r.dir.Sync(ctx, ino, true, r.index); err != nil {
					r.t.Fatal(err)
				}
			}
		case 2:
			if i <= kept {
				records = r.index.clone()
			}
		}
		if i == kept {
			c.at, end = r.index.clone(), len(r.log)
		}
	}
	c.at.lower, c.at.keys = map[volume.Ino]volume.LowerRecord{}, map[string]volume.Ino{}
	for _, rec := range records.lower {
		c.at.store([]volume.LowerRecord{{Ino: rec.Ino, Key: bytes.Clone(rec.Key), Value: bytes.Clone(rec.Value)}})
	}
	c.log, c.lost, c.all = r.log[:end], r.log[end:], r.index
	return c
}

// comesBack recovers. It reports whether the ops came again; otherwise it was a snapshot.
func (r *rig) comesBack(c powerCut, rng *random, cut func()) bool {
	r.t.Helper()
	r.index = c.at
	for rng.IntN(3) == 0 { // the daemon dies half-way, or the power goes again
		r.open(false)
		lacks, err := r.redoHome(&countdown{ctx, rng.IntN(300)}, c.log)
		if err == nil && len(lacks) == 0 {
			r.index.store(r.dir.PendingLower()) // that far it may have come, too
		}
		r.dir.Close()
		if rng.IntN(2) == 0 {
			cut()
		}
	}
	r.open(false)
	suspects, err := r.dir.ChangedSince(ctx, r.index, NewTouched(), volume.Time{})
	if err != nil {
		r.t.Fatal(err)
	}
	lacks, err := r.redoHome(ctx, c.log)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.dir.Doubt(suspects, r.index); err != nil {
		r.t.Fatal(err)
	}
	r.index.store(r.dir.PendingLower())
	if err := r.dir.Tidy(ctx, r.index); err != nil {
		r.t.Fatal(err)
	}
	again := len(lacks) == 0
	if again {
		again = r.giveAgain(c.lost)
	}
	if again {
		r.compare()
	} else {
		r.snapshot(c.all, len(lacks) == 0)
	}
	if err := r.dir.Check(ctx, r.index, func(d Difference) error { return fmt.Errorf("check: %s", d) }); err != nil {
		r.t.Fatal(err)
	}
	return again
}

func (r *rig) redoHome(c context.Context, log []*volume.Op) (lacks []Difference, err error) {
	touched := NewTouched()
	for _, op := range log {
		touched.Add(op)
	}
	err = r.dir.Redo(c, r.index, touched, &volume.Time{}, seq(log), func(d Difference) {
		if d.Kind != DiffExtra {
			lacks = append(lacks, d)
		}
	})
	return lacks, err
}

// giveAgain applies the ops that the log lost; false if what one needs had ended in what was lost.
func (r *rig) giveAgain(lost []*volume.Op) bool {
	r.t.Helper()
	for _, op := range lost {
		done, err := r.dir.Apply(ctx, op, r.index)
		if volume.KindOf(err) == volume.Missing {
			return false
		}
		if err != nil {
			r.t.Fatalf("%s again: %v", op.Kind, err)
		}
		r.index.apply(op, done.Lower)
	}
	return true
}
