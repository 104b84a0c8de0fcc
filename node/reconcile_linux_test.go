package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/node/config"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// machine is a node with a real directory that starts and ends as its test says.
type machine struct {
	t         *testing.T
	dir, data string
	boot      int
	start     time.Time // of this boot
	n         *node
	stop      func() // called after each op, while set
	tune      func(*config.Config)
	insist    config.Insist
}

func newMachine(t *testing.T) *machine {
	base := t.TempDir()
	m := &machine{t: t, dir: filepath.Join(base, "data"), data: filepath.Join(base, "state"), start: time.Now().Add(-time.Hour)}
	for _, d := range []string{m.dir, m.data} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// Applied implements volume.Observer.
func (m *machine) Applied([]*volume.Op) {
	if m.stop != nil {
		m.stop()
	}
}

// lead starts the node.
func (m *machine) lead(ctx context.Context) error {
	n := &node{
		cfg: &config.Config{}, log: zerolog.Nop(), role: volume.RoleLeader, boot: fmt.Sprint("boot-", m.boot),
		peers: newPeers(), observer: &observers{}, started: time.Now(),
		vacancy: newVacancy(), gate: master.NewGate(bootClock),
		machine: &hostdir.Boot{ID: fmt.Sprint("boot-", m.boot), Start: volume.TimeOf(m.start)},
	}
	n.cfg.Node.ID, n.cfg.Node.DataDir = "a", m.data
	n.cfg.Volume.Dir, n.cfg.Volume.Storage, n.cfg.Volume.ChunkSize = m.dir, config.StorageDir, volume.MinChunkSize
	n.cfg.Oplog.SegmentSize = 64 << 20
	if m.tune != nil {
		m.tune(n.cfg)
	}
	n.cfg.Safety.MaxDeleteRatio, n.cfg.Insist = 0.5, m.insist
	n.cfg.Program = config.Master
	var err error
	if n.roster, err = openRoster(m.data); err != nil {
		return err
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.stop, n.halt = context.WithCancelCause(n.ctx)
	n.control = newControl(n)
	n.observer.add(m)
	m.n = n
	if err := n.openOwnState(volume.ID{1}); err != nil {
		return err
	}
	if err := n.openVolume(ctx); err != nil {
		return err
	}
	n.elector = newElector(n)
	return m.reign(ctx)
}

// reign makes the node the leader in an epoch above all before.
func (m *machine) reign(ctx context.Context) error {
	e := volume.Epoch{Number: m.n.state.Get().Promise.Number + 1, Leader: "a"}
	if st := m.n.storage(); st != nil {
		for _, r := range st.engine.Lineage() {
			e.Number = max(e.Number, r.Epoch.Number+1)
			e.Tag = uint32(e.Number)
		}
	}
	if err := m.n.state.Update(func(s *State) { s.Promise = e }); err != nil {
		return err
	}
	return m.n.lead(ctx, e, []string{"a"}, func() { m.n.gate.Open(1 << 62) })
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// kill ends the node as kill -9 does.
func (m *machine) kill() {
	m.t.Helper()
	m.n.cancel(nil)
	if st := m.n.storage(); st != nil {
		m.must(st.abandon())
	}
	m.must(m.n.state.Close())
}

// powerLoss is a kill after which the machine boots anew.
func (m *machine) powerLoss() {
	m.t.Helper()
	m.kill()
	m.boot++
}

// up says that the new boot began now: what changes from here on is somebody's edit.
func (m *machine) up() { m.start = time.Now() }

func (m *machine) do(req volume.Request) volume.Attr {
	m.t.Helper()
	res, err := m.n.leading().Do(context.Background(), &req)
	m.must(err)
	return res.Attr
}

func (m *machine) mkdir(parent volume.Ino, name string) volume.Ino {
	m.t.Helper()
	return m.do(volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: volume.ModeDir | 0o755}).Ino
}

func (m *machine) file(parent volume.Ino, name, text string) volume.Ino {
	m.t.Helper()
	ino := m.do(volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: volume.ModeFile | 0o644}).Ino
	m.write(ino, text)
	return ino
}

func (m *machine) write(ino volume.Ino, text string) {
	m.t.Helper()
	m.do(volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte(text)})
}

// agree checks that the directory is what the index says, and that a replica fed from
// the log is equal, content and all.
func (m *machine) agree() {
	m.t.Helper()
	ctx := context.Background()
	st := m.n.storage()
	m.must(st.dir.Check(ctx, st.engine, func(d hostdir.Difference) error {
		m.t.Errorf("still different: %s", d)
		return nil
	}))
	model := volumetest.NewModel(volumetest.Options{})
	for op, err := range st.ops(ctx, 1) {
		m.must(err)
		m.must(model.Apply(ctx, op))
	}
	want, err := volumetest.Tree(ctx, model)
	m.must(err)
	got, err := volumetest.Tree(ctx, st.tree)
	m.must(err)
	for _, d := range volumetest.Diff(want, got) {
		m.t.Errorf("replica and leader: %s", d)
	}
	if _, err := os.Stat(filepath.Join(m.data, recoveryName)); err == nil {
		m.t.Error("the recovery has not ended")
	}
}

// plant makes the given effects below, of ops that the log does not hold.
type plant struct {
	name string
	do   func(m *machine) error
	want string // a path to be found with the given content, "" to be gone
	text string
}

func (m *machine) in(name string) string { return filepath.Join(m.dir, name) }

func put(name, text string) func(*machine) error {
	return func(m *machine) error { return os.WriteFile(m.in(name), []byte(text), 0o640) }
}

var plants = []plant{
	{"file", put("new", "text"), "new", "text"},
	{"empty file", put("empty", ""), "empty", ""},
	{"folder", func(m *machine) error {
		if err := os.MkdirAll(m.in("x/y/z"), 0o750); err != nil {
			return err
		}
		return os.WriteFile(m.in("x/y/z/deep"), []byte("deep"), 0o600)
	}, "x/y/z/deep", "deep"},
	{"link", func(m *machine) error { return os.Symlink("target", m.in("sym")) }, "", ""},
	{"fifo", func(m *machine) error { return unix.Mkfifo(m.in("fifo"), 0o600) }, "", ""},
	{"further name", func(m *machine) error { return os.Link(m.in("a"), m.in("d/a2")) }, "d/a2", "aaaa"},
	{"holes", func(m *machine) error {
		f, err := os.Create(m.in("sparse"))
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("end"), 3<<20); err != nil {
			return err
		}
		return f.Truncate(5 << 20)
	}, "", ""},
	{"attributes", func(m *machine) error {
		if err := put("tagged", "t")(m); err != nil {
			return err
		}
		if err := unix.Setxattr(m.in("tagged"), "user.k", []byte("v"), 0); err != nil {
			return err
		}
		return unix.Setxattr(m.in("a"), "user.new", []byte("w"), 0)
	}, "tagged", "t"},
	{"append", func(m *machine) error { return put("a", "aaaa and more")(m) }, "a", "aaaa and more"},
	{"cut", func(m *machine) error { return os.Truncate(m.in("a"), 1) }, "a", "a"},
	{"same size and time", func(m *machine) error {
		st, err := os.Stat(m.in("fresh"))
		if err != nil {
			return err
		}
		if err := put("fresh", "FFFF")(m); err != nil {
			return err
		}
		return os.Chtimes(m.in("fresh"), st.ModTime(), st.ModTime())
	}, "fresh", "FFFF"},
	{"mode", func(m *machine) error { return os.Chmod(m.in("d"), 0o700) }, "", ""},
	{"unlink", func(m *machine) error { return os.Remove(m.in("b")) }, "", ""},
	{"remove folder", func(m *machine) error { return os.RemoveAll(m.in("d")) }, "", ""},
	{"rename", func(m *machine) error { return os.Rename(m.in("a"), m.in("d/moved")) }, "d/moved", "aaaa"},
	{"rename over", func(m *machine) error { return os.Rename(m.in("a"), m.in("fresh")) }, "fresh", "aaaa"},
	{"rename folder", func(m *machine) error { return os.Rename(m.in("d"), m.in("e/d2")) }, "e/d2/sub/deep", "dddd"},
	{"turn inside out", func(m *machine) error { // e goes into what was below it
		if err := os.Rename(m.in("d/sub"), m.in("top")); err != nil {
			return err
		}
		return os.Rename(m.in("d"), m.in("top/d"))
	}, "top/deep", "dddd"},
	{"exchange", func(m *machine) error { return unix.Renameat2(-100, m.in("a"), -100, m.in("b"), unix.RENAME_EXCHANGE) }, "a", "bbbb"},
	{"other type", func(m *machine) error {
		if err := os.Remove(m.in("a")); err != nil {
			return err
		}
		return os.Mkdir(m.in("a"), 0o755)
	}, "", ""},
	{"folder to file", func(m *machine) error {
		if err := os.RemoveAll(m.in("d")); err != nil {
			return err
		}
		return put("d", "no folder")(m)
	}, "d", "no folder"},
	{"other target", func(m *machine) error {
		if err := os.Remove(m.in("s")); err != nil {
			return err
		}
		return os.Symlink("elsewhere", m.in("s"))
	}, "", ""},
}

// running is a machine whose log reaches to a known tree and whose end is lost: some of
// it lies before the checkpoint, some behind it.
func running(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.must(m.lead(context.Background()))
	d := m.mkdir(volume.RootIno, "d")
	m.mkdir(volume.RootIno, "e")
	m.file(m.mkdir(d, "sub"), "deep", "dddd")
	m.file(volume.RootIno, "a", "aaaa")
	fresh := m.file(volume.RootIno, "fresh", "ffff")
	m.do(volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: "s", Mode: volume.ModeLink | 0o777, Target: "t"})
	m.must(m.n.checkpointNow())
	m.file(volume.RootIno, "b", "bbbb")
	m.do(volume.Request{Kind: volume.OpSetAttr, Ino: fresh, Set: volume.SetMode, Mode: 0o600})
	return m
}

func (m *machine) expect(p plant) {
	m.t.Helper()
	if p.want == "" {
		return
	}
	ctx := context.Background()
	ino := volume.RootIno
	var a volume.Attr
	var err error
	for _, name := range strings.Split(p.want, "/") {
		if a, err = m.n.leading().Lookup(ctx, ino, name); err != nil {
			m.t.Errorf("%s: %v", p.want, err)
			return
		}
		ino = a.Ino
	}
	b := make([]byte, a.Size)
	if n, err := m.n.leading().ReadAt(ctx, ino, b, 0); err != nil || string(b[:n]) != p.text {
		m.t.Errorf("%s: %q, %v, want %q", p.want, b[:n], err, p.text)
	}
}

// TestReconcile finds each kind of difference after a power loss, as the effect of a lost op and as an
// edit of the new boot, and makes ops of it.
func TestReconcile(t *testing.T) {
	for _, p := range plants {
		for _, edit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/edit=%v", p.name, edit), func(t *testing.T) {
				m := running(t)
				m.powerLoss()
				if edit {
					m.up()
					time.Sleep(20 * time.Millisecond) // the clock of files goes in steps
				}
				m.must(p.do(m))
				if !edit {
					time.Sleep(20 * time.Millisecond)
					m.up()
				}
				m.must(m.lead(context.Background()))
				m.expect(p)
				m.agree()
				// And the next starts find nothing to do.
				at := m.n.storage().engine.Position()
				m.kill()
				m.must(m.lead(context.Background()))
				m.agree()
				if now := m.n.storage().engine.Position(); now != at {
					t.Errorf("another start wrote: %v, then %v", at, now)
				}
				m.kill()
			})
		}
	}
}

// TestReconcileInterrupted ends the daemon after any number of the ops that a reconcile
// makes, by kill -9, by another power loss, or in peace.
func TestReconcileInterrupted(t *testing.T) {
	after := []int{1, 2, 3, 5, 8, 13, 21, 34}
	if testing.Short() {
		after = []int{1, 4, 11}
	}
	all := []plant{plants[0], plants[2], plants[5], plants[6], plants[7], plants[8], plants[10], plants[11], plants[12]} // in one tree
	for _, k := range after {
		for _, how := range []string{"kill", "power", "stop"} {
			t.Run(fmt.Sprintf("%d/%s", k, how), func(t *testing.T) {
				m := running(t)
				m.powerLoss()
				for _, p := range all {
					m.must(p.do(m))
				}
				time.Sleep(20 * time.Millisecond)
				m.up()
				for range 3 {
					ctx, cancel := context.WithCancel(context.Background())
					n := 0
					m.stop = func() {
						if n++; n == k {
							cancel()
						}
					}
					err := m.lead(ctx)
					m.stop = nil
					cancel()
					if err == nil {
						m.kill()
						break // fewer ops than that were left
					}
					switch how {
					case "kill":
						m.kill()
					case "power":
						m.powerLoss()
						m.up()
					case "stop":
						m.must(m.n.release())
					}
				}
				m.must(m.lead(context.Background()))
				for _, p := range all {
					if p.name == "further name" {
						p.text = "aaaa and more" // it was written to since
					}
					m.expect(p)
				}
				m.agree()
				m.kill()
			})
		}
	}
}

// TestStoppedInPeace: what is changed while the daemon is stopped becomes ops, over any
// number of boots and starts that fail half-way.
func TestStoppedInPeace(t *testing.T) {
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			m := running(t)
			m.must(m.n.release())
			m.must(p.do(m))
			m.boot++
			m.up()
			m.must(m.lead(context.Background()))
			m.expect(p)
			m.agree()
			m.again()
			m.kill()
		})
	}
}

// TestBrake: most of a directory is gone after a power loss, singly or as one folder.
func TestBrake(t *testing.T) {
	for _, folder := range []bool{false, true} {
		t.Run(fmt.Sprint(folder), func(t *testing.T) { brakeOnce(t, folder) })
	}
}

func brakeOnce(t *testing.T, folder bool) {
	m := newMachine(t)
	m.must(m.lead(context.Background()))
	parent := m.mkdir(volume.RootIno, "folder")
	for i := range 1010 {
		m.do(volume.Request{Kind: volume.OpCreate, Parent: parent, Name: fmt.Sprint(i), Mode: volume.ModeFile | 0o600})
	}
	m.must(m.n.checkpointNow())
	at := m.n.storage().engine.Position()
	m.powerLoss()
	if folder {
		m.must(os.RemoveAll(m.in("folder")))
	} else {
		for i := range 1005 {
			m.must(os.Remove(m.in(fmt.Sprint("folder/", i))))
		}
	}
	m.up()
	for range 2 {
		err := m.lead(context.Background())
		if exit.Of(err) != exit.Unsafe || !strings.Contains(fmt.Sprint(err), "WD-1405") {
			t.Fatalf("start without files: %v", err)
		}
		if now := m.n.storage().engine.Position(); now != at {
			t.Errorf("refused, but wrote: %v, then %v", at, now)
		}
		m.must(m.n.release())
	}
}

// TestReapply records frames of another node, the last without applying it, as a kill -9 in
// between leaves it, after any op of a history.
func TestReapply(t *testing.T) {
	ctx := context.Background()
	from := running(t)
	d := from.mkdir(volume.RootIno, "more")
	from.do(volume.Request{Kind: volume.OpRename, Parent: volume.RootIno, Name: "a", NewParent: d, NewName: "a3"})
	from.do(volume.Request{Kind: volume.OpLink, Ino: from.file(d, "f", "text"), NewParent: volume.RootIno, NewName: "f2"})
	from.do(volume.Request{Kind: volume.OpUnlink, Parent: volume.RootIno, Name: "b"})
	from.do(volume.Request{Kind: volume.OpRename, Parent: d, Name: "f", NewParent: volume.RootIno, NewName: "fresh"})
	from.do(volume.Request{Kind: volume.OpRmdir, Parent: volume.RootIno, Name: "e"})
	// One name again and again, as who replaces a file by a new one does; the first lives on.
	for i := range 3 {
		tmp := from.file(volume.RootIno, "tmp", fmt.Sprint("token ", i))
		if i == 1 {
			from.do(volume.Request{Kind: volume.OpLink, Ino: tmp, NewParent: d, NewName: "second"})
		}
		from.do(volume.Request{Kind: volume.OpRename, Parent: volume.RootIno, Name: "tmp", NewParent: volume.RootIno, NewName: "tok"})
	}
	from.do(volume.Request{Kind: volume.OpRename, Parent: d, Name: "second", NewParent: volume.RootIno, NewName: "tok", Exchange: true})
	under := from.mkdir(d, "under")
	from.file(under, "x", "xxxx")
	from.do(volume.Request{Kind: volume.OpRename, Parent: d, Name: "under", NewParent: volume.RootIno, NewName: "over"})
	from.do(volume.Request{Kind: volume.OpRename, Parent: under, Name: "x", NewParent: volume.RootIno, NewName: "tok"})
	from.do(volume.Request{Kind: volume.OpRmdir, Parent: volume.RootIno, Name: "over"})
	var ops []*volume.Op
	for op, err := range from.n.storage().ops(ctx, 1) {
		from.must(err)
		c := *op
		c.Data = append([]byte(nil), op.Data...)
		ops = append(ops, &c)
	}
	epoch := from.n.leading().Epoch()
	epoch.Leader = "other"
	ops[0].Epoch = epoch
	from.kill()
	for last := range ops {
		size := min(5, len(ops)-last)
		for done := range size + 1 {
			for _, below := range []bool{false, true} {
				if last+size < 2 || below && done == size {
					continue // nothing but the opening of the epoch, or no op left to be half done
				}
				if testing.Short() && (last+2*done)%5 != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%d of %d after %d, %v", done, size, last, below), func(t *testing.T) {
					reapplyOnce(t, epoch, ops, last, size, done, below)
				})
			}
		}
	}
}

var errKilled = errors.New("killed")

// killed is a directory whose daemon dies at an op: before it is applied, or before it is entered
// into the index.
type killed struct {
	*hostdir.Dir
	at    volume.Version
	below bool
}

func (k *killed) Apply(ctx context.Context, op *volume.Op, view volume.View) (volume.Applied, error) {
	if op.Version == k.at && !k.below {
		return volume.Applied{}, errKilled
	}
	done, err := k.Dir.Apply(ctx, op, view)
	if op.Version == k.at && err == nil {
		err = errKilled
	}
	return done, err
}

// reapplyOnce applies last ops one by one, and then a frame of size ops, of which done are
// applied and entered when the daemon dies, and one more is applied below if it says so.
func reapplyOnce(t *testing.T, epoch volume.Epoch, ops []*volume.Op, last, size, done int, below bool) {
	ctx := context.Background()
	m := newMachine(t)
	m.must(m.openOnly(ctx))
	st := m.n.storage()
	tree := index.NewTree(st.engine, &killed{st.dir, volume.Version(last + done + 1), below})
	for from, end := 0, 0; from < last+size; from = end {
		if end = from + 1; from == last {
			end = last + size
		}
		// As of now: a file that was changed long after the last op is taken for an edit.
		now := volume.TimeOf(time.Now())
		var frame []*volume.Op
		for _, op := range ops[from:end] {
			c := *op
			c.Time = now
			frame = append(frame, &c)
		}
		f, err := st.log.AppendOps(epoch, frame)
		m.must(err)
		err = tree.ApplyBatch(ctx, index.Batch{Ops: frame, Frame: f[0].Ref, After: f[0].Position()})
		if dies := from == last && done < size; dies != errors.Is(err, errKilled) || !dies && err != nil {
			t.Fatalf("ops %d to %d: %v", from, end, err)
		}
	}
	m.kill()
	m.must(m.lead(ctx))
	m.agree()
	if got := m.n.storage().engine.Position().Version; got != volume.Version(last+size) {
		t.Errorf("at version %d after %d ops: ops were made of what was lost", got, last+size)
	}
	for _, folder := range []string{"kept", "staging"} {
		left, err := os.ReadDir(m.in(".wolfdisk/" + folder))
		m.must(err)
		if len(left) > 0 {
			t.Errorf("%s holds %v", folder, left)
		}
	}
	m.kill()
}

// openOnly opens the volume without leading.
func (m *machine) openOnly(ctx context.Context) error {
	err := m.lead(ctx)
	if err != nil {
		return err
	}
	m.kill()
	for _, d := range []string{m.dir, m.data} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	n := m.n
	n.store, n.leader = nil, nil
	if err := n.openOwnState(volume.ID{1}); err != nil {
		return err
	}
	_, err = n.openToLead(ctx)
	return err
}

// TestBrakeDisplaced: what is gone because something else stands in its place, and files with several
// names, count as what is missing does; what was only exchanged, or is there by another name, does not.
func TestBrakeDisplaced(t *testing.T) {
	for _, c := range []struct {
		name, script string
		refused      bool
	}{
		{"link in its place", "mv big ../elsewhere; ln -s ../elsewhere big", true},
		{"file in its place", "rm -r big; : >big", true},
		{"moved in its place", "rm -r big; mv small big", true},
		{"exchanged", "mv big t; mv small big; mv t small", false},
		{"in a circle", "mv big t; mv small big; mv pairs small; mv t pairs", false},
		{"copied", "cp -a big t; rm -r big; mv t big", false},
		{"partly restored", "mv big t; mkdir big; cd t; cp $(seq 0 79) ../big; cd ..; rm -r t", false},
		{"moved, and a link in its place", "mv big moved; ln -s moved big", false},
		{"one of two names", "rm pairs/a*", false},
		{"all names of most", "rm pairs/* small/* big/1*", true},
		{"deep, moved in its place", "rm -r deep; mv flat deep", true},
		{"deep, exchanged", "mv deep t; mv flat deep; mv t flat", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.must(m.lead(context.Background()))
			for dir, n := range map[string]int{"big": 150, "small": 10, "pairs": 90} {
				parent := m.mkdir(volume.RootIno, dir)
				for i := range n {
					name := fmt.Sprint(i)
					if dir == "pairs" {
						name = "a" + name
					}
					ino := m.do(volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: volume.ModeFile | 0o600}).Ino
					if dir == "pairs" {
						m.do(volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: parent, NewName: "b" + name})
					}
				}
			}
			if strings.HasPrefix(c.name, "deep") {
				for dir, n := range map[string]int{"deep": 700, "flat": 120} {
					parent := m.mkdir(m.mkdir(m.mkdir(volume.RootIno, dir), "x"), "y")
					for i := range n {
						m.do(volume.Request{Kind: volume.OpCreate, Parent: parent, Name: fmt.Sprint(i), Mode: volume.ModeFile | 0o600})
					}
				}
			}
			m.must(m.n.checkpointNow())
			at := m.n.storage().engine.Position()
			m.must(m.n.release())
			if out, err := exec.Command("sh", "-ec", "cd '"+m.dir+"'; "+c.script).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			err := m.lead(context.Background())
			if c.refused != (exit.Of(err) == exit.Unsafe) || !c.refused && err != nil {
				t.Errorf("start: %v, want refused %t", err, c.refused)
			}
			if now := m.n.storage().engine.Position(); c.refused && now != at {
				t.Errorf("refused, but wrote: %v, then %v", at, now)
			}
			m.must(m.n.release())
		})
	}
}
