package hostdir

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// ext4 is a small file system in a file, which can lose its power.
type ext4 struct {
	t          *testing.T
	base, root string
	images     int
}

func newExt4(t *testing.T) *ext4 {
	needRoot(t)
	e := &ext4{t: t, base: t.TempDir()}
	e.root = filepath.Join(e.base, "disk")
	if err := os.Mkdir(e.root, 0o755); err != nil {
		t.Fatal(err)
	}
	e.run("truncate", "-s", "48M", e.image())
	e.run("mkfs.ext4", "-q", "-N", "4096", e.image())
	t.Cleanup(func() { unix.Unmount(e.root, unix.MNT_DETACH) })
	e.mount()
	return e
}

func (e *ext4) image() string { return filepath.Join(e.base, fmt.Sprint("image", e.images)) }

func (e *ext4) run(args ...string) {
	e.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		e.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func (e *ext4) mount() {
	e.t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", e.image(), e.root).CombinedOutput(); err != nil {
		e.t.Skipf("no loop device can be mounted: %v\n%s", err, out)
	}
}

// commit makes the file system write down names and sizes; content stays in memory.
func (e *ext4) commit() {
	e.t.Helper()
	f, err := os.Create(filepath.Join(e.root, "commit"))
	if err != nil {
		e.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("x")); err != nil {
		e.t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		e.t.Fatal(err)
	}
}

// dark takes the power away: what was not synced is gone, and nothing more gets there.
func (e *ext4) dark() {
	e.t.Helper()
	fd, err := unix.Open(e.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		e.t.Fatal(err)
	}
	defer unix.Close(fd)
	const (
		ext4Shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush   = 2
	)
	how := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ext4Shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		e.t.Skip("this file system cannot be shut down: ", errno)
	}
}

// boot mounts a copy of the image: a mount namespace that some process made meanwhile may
// hold the old one, which would go on as it is.
func (e *ext4) boot() {
	e.t.Helper()
	if err := unix.Unmount(e.root, 0); err != nil {
		if err = unix.Unmount(e.root, unix.MNT_DETACH); err != nil {
			e.t.Fatal(err)
		}
	}
	old := e.image()
	e.images++
	e.run("cp", "--sparse=always", old, e.image())
	if err := os.Remove(old); err != nil {
		e.t.Fatal(err)
	}
	e.mount()
}

// TestPowerCut takes the power from a real file system, at any moment, with the log
// ahead of the directory or behind it. The directory is brought to the end of the log, and gets
// again what the log has lost.
func TestPowerCut(t *testing.T) {
	again, snapshots := 0, 0
	for name, tweak := range ways {
		for seed := range seeds(1, 200) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				e := newExt4(t)
				boots := 0
				r := newRigAt(t, e.root, func(o *Options) {
					o.Boot = &Boot{ID: fmt.Sprint("boot-", boots), Start: volume.Time{Sec: 1 << 40}}
				})
				r.tweak = tweak
				tweak(r.dir)
				g := newRandom(r, seed)
				g.run(150)
				for range 3 {
					r.checkpoint()
					cut := r.running(g, e)
					e.dark()
					r.dir.Close()
					e.boot()
					boots++
					if r.comesBack(cut) {
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
func (r *rig) running(g *random, e *ext4) powerCut {
	r.t.Helper()
	c := powerCut{at: r.index.clone()}
	records := r.index.clone() // the last that were put on disk
	n, end := 40+g.IntN(40), 0
	kept := g.IntN(n)
	for i := range n {
		g.run(1)
		switch g.IntN(12) {
		case 0:
			e.commit()
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
func (r *rig) comesBack(c powerCut) bool {
	r.t.Helper()
	r.index = c.at
	r.open(false)
	touched := NewTouched()
	for _, op := range c.log {
		touched.Add(op)
	}
	suspects, err := r.dir.ChangedSince(ctx, r.index, touched, volume.Time{})
	if err != nil {
		r.t.Fatal(err)
	}
	var lacks []Difference
	err = r.dir.Redo(ctx, r.index, touched, &volume.Time{}, seq(c.log), func(d Difference) {
		if d.Kind != DiffExtra {
			lacks = append(lacks, d)
		}
	})
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
	if len(lacks) > 0 {
		r.snapshot(c.all, false)
		return false
	}
	for _, op := range c.lost {
		done, err := r.dir.Apply(ctx, op, r.index)
		if volume.KindOf(err) == volume.Missing {
			r.snapshot(c.all, true)
			return false // it had ended in what was lost
		}
		if err != nil {
			r.t.Fatalf("%s again: %v", op.Kind, err)
		}
		r.index.apply(op, done.Lower)
	}
	r.compare()
	return true
}
