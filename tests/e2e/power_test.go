//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// power is a bed with computers that can lose their power.
type power struct {
	*bed
	computers []computer
	boots     int
}

// computer is a node that lives on a disk of its own, data and state.
type computer struct {
	node        *cluster.Node
	disk, image string
}

// newPower is one whose leader can lose its power.
func newPower(t *testing.T) *power { return newPowerOf(t, "alpha") }

// newPowerOf skips where there are no loop devices. The nodes are alpha, which leads, and
// beta; those named lose their power, all at once.
func newPowerOf(t *testing.T, ids ...string) *power {
	needRoot(t)
	needFuse(t)
	c, err := cluster.New(binDir)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{c, t}
	t.Cleanup(b.end)
	p := &power{bed: b}
	// A node gets a mount namespace of its own; what it mounts here is seen here.
	b.must(unix.Mount(c.Dir, c.Dir, "", unix.MS_BIND, ""))
	b.must(unix.Mount("", c.Dir, "", unix.MS_SHARED, ""))
	for _, id := range ids {
		m := computer{disk: filepath.Join(c.Dir, id), image: filepath.Join(c.Dir, id+".img")}
		b.must(os.Mkdir(m.disk, 0o755))
		b.must(os.WriteFile(m.image, nil, 0o600))
		b.must(os.Truncate(m.image, 4<<30))
		b.ok(cluster.Run("mkfs.ext4", "-q", "-N", "1000000", m.image))
		if r := cluster.Run("mount", "-o", "loop", m.image, m.disk); r.OK() != nil {
			t.Skip("no loop device can be mounted: ", r.OK())
		}
		p.computers = append(p.computers, m)
	}
	_, err = c.AddLeader("alpha")
	b.must(err)
	_, err = c.AddFollower("beta")
	b.must(err)
	for _, n := range c.Nodes() {
		if i := slices.Index(ids, n.ID); i >= 0 {
			p.computers[i].node = n
		}
	}
	p.boot()
	return p
}

// boot makes the nodes' next start one of another boot: another ID, and a clock that
// says that the machine came up just now.
func (p *power) boot() {
	p.t.Helper()
	p.boots++
	id := filepath.Join(p.Dir, fmt.Sprint("boot-", p.boots))
	p.must(os.WriteFile(id, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", p.boots), 0o444))
	time.Sleep(1100 * time.Millisecond) // uptimes have whole seconds here
	text, err := os.ReadFile("/proc/uptime")
	p.must(err)
	up, _, _ := strings.Cut(string(text), ".")
	for _, m := range p.computers {
		m.node.Wrap = []string{"unshare", "-m", "--propagation", "unchanged", "-T", "--boottime", "-" + up, "sh", "-euc",
			`mount --make-rprivate /proc; mount --bind "$0" /proc/sys/kernel/random/boot_id; exec "$@"`, id}
	}
}

// freeze stops every thread of a node: a machine without power answers nobody, while
// a sync that meets the shutdown of its file system may well return success.
func (p *power) freeze(n *cluster.Node) {
	p.t.Helper()
	pid := n.Proc().Pid()
	p.must(n.Proc().Signal(unix.SIGSTOP))
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		p.must(err)
		running := 0
		for _, name := range tasks {
			text, err := os.ReadFile(name)
			p.must(err)
			_, state, _ := strings.Cut(string(text), ") ")
			if !strings.HasPrefix(state, "T") && !strings.HasPrefix(state, "D") {
				running++
			}
		}
		if running == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal("the node does not stop")
		}
	}
}

// cut takes the power away: what was not synced is gone.
func (p *power) cut() {
	p.t.Helper()
	for _, m := range p.computers {
		if m.node.Running() {
			p.freeze(m.node)
		}
	}
	for _, m := range p.computers {
		p.shutDown(m.disk)
	}
	for _, m := range p.computers {
		p.must(m.node.Kill9())
	}
}

// shutDown stops a file system where it is.
func (p *power) shutDown(disk string) {
	p.t.Helper()
	fd, err := unix.Open(disk, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	p.must(err)
	const (
		ext4Shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush   = 2
	)
	how := uint32(noLogFlush)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ext4Shutdown, uintptr(unsafe.Pointer(&how)))
	unix.Close(fd)
	if e != 0 {
		p.t.Fatal("shut down the file system: ", e)
	}
}

// remount is the machines' next boot.
func (p *power) remount() {
	p.t.Helper()
	for _, m := range p.computers {
		p.must(cluster.UnmountBelow(m.node.Mount))
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			err := unix.Unmount(m.disk, 0)
			if err == nil {
				break
			}
			if err != unix.EBUSY || time.Now().After(deadline) {
				p.t.Fatal("unmount the disk: ", err)
			}
		}
		p.detached(m.image)
		p.ok(cluster.Run("mount", "-o", "loop", m.image, m.disk))
	}
	p.boot()
}

// detached waits until nobody holds the disk any more. A mount namespace that any process of
// the machine made meanwhile has a mount of it, too; mounted again before that has
// ended, it would be the file system without power once more.
func (p *power) detached(image string) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		r := p.ok(cluster.Run("losetup", "-n", "-O", "NAME", "-j", image))
		if strings.TrimSpace(r.Stdout) == "" {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is still held by %s: a mount namespace of another process has it mounted", image, strings.TrimSpace(r.Stdout))
		}
	}
}

// commit makes the lower file systems write down names and sizes, with what other files hold
// still in memory: the directory gets ahead of the log.
func (p *power) commit() {
	p.t.Helper()
	for _, m := range p.computers {
		f, err := os.Create(filepath.Join(m.disk, "state", "commit"))
		p.must(err)
		_, err = f.Write([]byte("x"))
		p.must(err)
		p.must(f.Sync())
		p.must(f.Close())
	}
}

// synced cuts a writer's notes to what a power loss may not take: all that was
// acknowledged before the last acknowledged fsync. Of the rest it is known what was tried.
func synced(acks string) string {
	lines := strings.SplitAfter(acks, "\n")
	last := -1
	for i, line := range lines {
		if n, ok := strings.CutPrefix(line, "ok file "); ok {
			if v, err := strconv.Atoi(strings.TrimSpace(n)); err == nil && v%11 == 0 {
				last = i
			}
		}
	}
	var b strings.Builder
	for i, line := range lines {
		if i <= last || strings.HasPrefix(line, "try ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// survived checks a writer's cut notes on all mounts.
func (p *power) survived(toks []*cluster.Tokens) {
	p.t.Helper()
	for _, n := range p.Nodes() {
		for _, tok := range toks {
			cmd := cluster.HelperCmd(2*time.Minute, "synced", filepath.Join(n.Mount, "tokens", tok.ID), tok.ID)
			cmd.Stdin = tok.Acks + "\n"
			if err := cmd.Run().OK(); err != nil {
				p.t.Fatalf("%s: %v", n.ID, err)
			}
		}
	}
}

// checkSynced is the child: DIR ID, with the notes on standard input. A rename or
// removal that was tried, but not synced, may have happened or not, or left both names.
func checkSynced(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want DIR ID, got %q", args)
	}
	notes := map[string]map[string]bool{}
	sc := bufio.NewScanner(os.Stdin)
	for sc.Scan() {
		if f := strings.Fields(sc.Text()); len(f) == 3 {
			if notes[f[2]] == nil {
				notes[f[2]] = map[string]bool{}
			}
			notes[f[2]][f[0]+" "+f[1]] = true
		}
	}
	text, err := os.ReadFile(args[0] + "/log")
	if err != nil && !os.IsNotExist(err) { // it may never have been synced; then no line of it was
		return err
	}
	lines := map[string]int{}
	for line := range strings.Lines(string(text)) {
		lines[strings.TrimSuffix(line, "\n")]++
	}
	errs := []error{sc.Err()}
	for i, n := range notes {
		if n["ok line"] && lines[i] != 1 {
			errs = append(errs, fmt.Errorf("line %s is there %d times", i, lines[i]))
		}
		if n["ok file"] {
			errs = append(errs, checkToken(args[0], args[1], i, n))
		}
	}
	return errors.Join(errs...)
}

func checkToken(dir, id, i string, n map[string]bool) error {
	v, err := strconv.Atoi(i)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%s %s %s\n", id, i, strings.Repeat(i, 1+v%200))
	plain, perr := os.ReadFile(dir + "/" + i)
	moved, merr := os.ReadFile(dir + "/" + i + ".r")
	switch {
	case n["ok remove"] && (perr == nil || merr == nil):
		return fmt.Errorf("token %s: removed and synced, but there", i)
	case n["try remove"]:
		return nil
	case n["ok rename"] && (perr == nil || string(moved) != want):
		return fmt.Errorf("token %s: renamed and synced, but %q, %v and %q, %v", i, plain, perr, moved, merr)
	case string(plain) != want && string(moved) != want:
		return fmt.Errorf("token %s: synced, but %q, %v and %q, %v", i, plain, perr, moved, merr)
	}
	return nil
}

// TestPowerLoss takes the leader's power away at any moment under load. It must come
// back by itself with all that was synced, and the follower be equal to it.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	p := newPower(t)
	p.must(p.Start(readyTimeout))
	toks := p.tokens()
	for round := range rounds(t, 2, 30) {
		loads := []*load{startLoad(toks[0], time.Minute), startLoad(toks[1], time.Minute)}
		mix := make(chan cluster.Result, 1)
		go func() {
			mix <- cluster.RunHelper(2*time.Minute, "mix", p.Leader.Mount+"/tokens", fmt.Sprint(round), "100000")
		}()
		time.Sleep(moment())
		alone := round%2 == 0 // the follower does not get the end of the log
		if alone {
			p.follower().Gate(true)
		}
		time.Sleep(moment())
		if rand.IntN(3) > 0 {
			p.commit()
		}
		p.cut()
		for _, l := range loads {
			<-l.done
			p.must(l.err)
			if l.failed == "" {
				t.Fatal("the writer did not notice the power loss")
			}
			l.Acks = synced(l.Acks)
		}
		<-mix // ends with the mount
		p.remount()
		p.follower().Gate(false)
		p.must(p.Leader.StartReady(readyTimeout))
		p.equal()
		p.survived(toks)
		t.Logf("round %d, alone %v: %d and %d tokens; reconciled: %v", round, alone, toks[0].Count(), toks[1].Count(),
			strings.Contains(p.Leader.LastLog(), "WD-1404"))
	}
	if toks[0].Count() == 0 || toks[1].Count() == 0 {
		t.Fatal("no token was ever synced")
	}
	if !testing.Short() && !strings.Contains(p.Leader.Log(), "WD-1404") {
		t.Error("the directory was never ahead of the log")
	}
	p.stopsPlain()
}

// TestPowerLossInRecovery takes it away again while the leader comes back.
func TestPowerLossInRecovery(t *testing.T) {
	t.Parallel()
	p := newPower(t)
	p.must(p.Start(readyTimeout))
	toks := p.tokens()
	for range rounds(t, 1, 15) {
		l := startLoad(toks[0], time.Minute)
		time.Sleep(moment())
		p.follower().Gate(true)
		time.Sleep(moment())
		p.commit()
		p.cut()
		<-l.done
		p.must(l.err)
		l.Acks = synced(l.Acks)
		for range 2 {
			p.remount()
			p.must(p.Leader.Start())
			time.Sleep(time.Duration(20+rand.IntN(250)) * time.Millisecond)
			if rand.IntN(2) == 0 {
				p.must(p.Leader.Kill9())
				p.must(cluster.UnmountBelow(p.Leader.Mount))
				p.must(p.Leader.Start())
				time.Sleep(time.Duration(20+rand.IntN(250)) * time.Millisecond)
			}
			p.cut()
		}
		p.remount()
		p.follower().Gate(false)
		p.must(p.Leader.StartReady(readyTimeout))
		p.equal()
		p.survived(toks[:1])
	}
	p.stopsPlain()
}
