//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// Three nodes, each of which may lead: alpha goes before the others, since it is a master.

// soon is the environment of nodes that return, and do not wait as long as usual to take the lead back.
const soon = "WOLFDISK_ELECT_PREEMPT_DELAY=1s"

func newTrio(t *testing.T) *bed {
	t.Helper()
	b := newBed(t, "beta", "gamma")
	for _, n := range b.Followers {
		n.Role = "auto"
	}
	return b
}

func startTrio(t *testing.T) *bed {
	t.Helper()
	b := newTrio(t)
	b.must(b.Start(readyTimeout))
	return b
}

// stampEvery is the pause between two stamps: what is tested is that none is lost, not speed.
const stampEvery = 2 * time.Millisecond

// stamps is a writer that makes one file after the other: DIR PREFIX DURATION KEEP [fsync]. Each
// attempt gives a line, "ok NAME BEGAN TOOK" or "no NAME BEGAN TOOK ERROR", times in ns. Without
// KEEP it ends with the first that failed.
func runStamps(args []string) error {
	if len(args) < 4 || len(args) > 5 {
		return fmt.Errorf("want DIR PREFIX DURATION KEEP [fsync], got %q", args)
	}
	d, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	for i, end := 0, time.Now().Add(d); time.Now().Before(end); i++ {
		name := fmt.Sprintf("%s-%d", args[1], i)
		began := time.Now()
		err := stamp(filepath.Join(args[0], name), name, len(args) == 5)
		took := time.Since(began)
		if err == nil {
			fmt.Println("ok", name, began.UnixNano(), took.Nanoseconds())
			time.Sleep(stampEvery)
			continue
		}
		fmt.Println("no", name, began.UnixNano(), took.Nanoseconds(), err)
		if args[3] == "" {
			return nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// runHeld opens files and reads them until a file STOP exists: STOP FILE.... Then it says of each how
// the last read ended.
func runHeld(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("want STOP FILE..., got %q", args)
	}
	var files []*os.File
	for _, path := range args[1:] {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	for {
		_, err := os.Stat(args[0])
		ended := err == nil
		for _, f := range files {
			b := make([]byte, 100)
			n, err := f.ReadAt(b, 0)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			var st unix.Stat_t
			serr := unix.Fstat(int(f.Fd()), &st)
			if ended {
				fmt.Printf("%s %q %v %v\n", filepath.Base(f.Name()), b[:n], err, serr)
			}
		}
		if ended {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// runKept opens a file, adds LINE to it, and waits until a file STOP exists: STOP FILE LINE. Then it
// says how a write, fsync, read and the close of what it has open end, and what the file has for who
// opens it now.
func runKept(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want STOP FILE LINE, got %q", args)
	}
	f, err := os.OpenFile(args[1], os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(args[2] + "\n"); err != nil {
		return err
	}
	for _, err := os.Stat(args[0]); err != nil; _, err = os.Stat(args[0]) {
		time.Sleep(20 * time.Millisecond)
	}
	fd := int(f.Fd())
	_, werr := unix.Write(fd, []byte("late\n"))
	serr := unix.Fsync(fd)
	_, rerr := unix.Pread(fd, make([]byte, 100), 0)
	cerr := unix.Close(fd)
	now, err := os.ReadFile(args[1])
	fmt.Printf("write %v, fsync %v, read %v, close %v; %q %v\n", werr, serr, rerr, cerr, now, err)
	return nil
}

// runContents lists the files of DIR with what is in them.
func runContents(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want DIR, got %q", args)
	}
	list, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for _, e := range list {
		if !e.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(args[0], e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s %s\n", e.Name(), text)
	}
	return out.Flush()
}

func stamp(path, text string, fsync bool) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil && fsync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

type stamped struct {
	name        string
	began, took time.Duration
	failed      string
}

func stampsOf(r cluster.Result) (list []stamped) {
	for line := range strings.Lines(r.Stdout) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 5)
		if len(f) < 4 {
			continue // killed while it wrote the line
		}
		began, _ := strconv.ParseInt(f[2], 10, 64)
		took, _ := strconv.ParseInt(f[3], 10, 64)
		s := stamped{f[1], time.Duration(began), time.Duration(took), ""}
		if f[0] == "no" {
			s.failed = strings.Join(f[4:], " ")
		}
		list = append(list, s)
	}
	return list
}

func inBackground(f func() cluster.Result) <-chan cluster.Result {
	c := make(chan cluster.Result, 1)
	go func() { c <- f() }()
	return c
}

func (b *bed) waitLeads(n *cluster.Node, timeout time.Duration) {
	b.t.Helper()
	_, err := n.WaitStatus(timeout, "leading", func(s cluster.Status) bool { return s.State == "leading" })
	b.must(err)
}

// agree waits until all running nodes say that one leads, and are where it is.
func (b *bed) agree(leader string, timeout time.Duration) {
	b.t.Helper()
	b.await(timeout, "agree that "+leader+" leads", func(said []string) bool {
		return len(said) == 1 && strings.HasPrefix(said[0], leader+" at ")
	})
}

// await waits until what the running nodes say of leader and position, each answer once, is enough.
func (b *bed) await(timeout time.Duration, what string, enough func(said []string) bool) {
	b.t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		var said []string
		for _, n := range b.Nodes() {
			if !n.Running() {
				continue
			}
			s, err := n.Status()
			if err != nil {
				said = append(said, err.Error())
				continue
			}
			said = append(said, fmt.Sprintf("%s at %d %s", s.LeaderID, s.Position.Version, s.Position.Digest))
		}
		slices.Sort(said)
		if said = slices.Compact(said); enough(said) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("they do not %s: %q", what, said)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// hasAll reports which of the names are in none of the folders with their own name as content.
func lacking(names []string, dirs ...string) (lost []string, err error) {
	have := map[string]bool{}
	for _, dir := range dirs {
		r := cluster.RunHelper(2*time.Minute, "contents", dir)
		if err := r.OK(); err != nil {
			return nil, err
		}
		for line := range strings.Lines(r.Stdout) {
			if name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " "); name == text {
				have[name] = true
			}
		}
	}
	for _, n := range names {
		if !have[n] {
			lost = append(lost, n)
		}
	}
	return lost, nil
}

// TestFailover kills the leader with -9 under load. Another takes over through the mount that was
// there all the time; the killed one follows when it returns, takes the lead back without an error
// for whoever writes, and everything that was acknowledged is in the tree or in a conflict.
//
// A cluster takes few kills of the same node: each that comes soon after another doubles how long
// the node waits before it asks for the lead.
func TestFailover(t *testing.T) {
	var took []time.Duration
	for i := range rounds(t, 1, 25) {
		t.Run(fmt.Sprint(i), func(t *testing.T) { took = append(took, killLeader(t, rounds(t, 1, 2))...) })
	}
	if len(took) == 0 {
		return
	}
	t.Log("from the kill to the first write: ", spread(took))
	if longest := slices.Max(took); longest > 10*time.Second {
		t.Errorf("%s until a write was accepted", longest)
	}
}

// spread sorts some durations and tells how they lie.
func spread(d []time.Duration) string {
	slices.Sort(d)
	return fmt.Sprintf("median %s, 99th percentile %s, longest %s, of %d", d[len(d)/2], d[len(d)*99/100], d[len(d)-1], len(d))
}

// killLeader kills the leader of a cluster so many times, and tells how long each took until the
// next accepted a write.
func killLeader(t *testing.T, times int) (took []time.Duration) {
	b := startTrio(t)
	alpha, beta := b.Leader, b.Followers[0]
	b.shell("mkdir work")
	var acked []string
	for round := range times {
		prefix := fmt.Sprintf("a%d", round)
		before := inBackground(func() cluster.Result {
			return cluster.RunHelper(time.Minute, "stamps", filepath.Join(alpha.Mount, "work"), prefix, "20s", "")
		})
		time.Sleep(moment())
		after := inBackground(func() cluster.Result {
			return cluster.RunHelper(time.Minute, "stamps", filepath.Join(beta.Mount, "work"), "b"+prefix, "4s", "keep")
		})
		killed := time.Now()
		b.must(alpha.Kill9())
		for _, s := range stampsOf(<-before) {
			if s.failed == "" {
				acked = append(acked, s.name)
			}
		}
		first := time.Duration(0)
		for _, s := range stampsOf(<-after) {
			if s.failed != "" {
				continue
			}
			acked = append(acked, s.name)
			if end := s.began + s.took - time.Duration(killed.UnixNano()); first == 0 && end > 0 {
				first = end
			}
		}
		if first == 0 {
			t.Fatal("no write was accepted")
		}
		took = append(took, first)
		b.agree("beta", 10*time.Second)

		// It returns, and takes the lead back.
		b.must(alpha.Start())
		back := inBackground(func() cluster.Result {
			return cluster.RunHelper(time.Minute, "stamps", filepath.Join(beta.Mount, "work"), "c"+prefix, "30s", "")
		})
		b.waitLeads(alpha, 60*time.Second)
		list := stampsOf(<-back)
		for i, s := range list {
			if s.failed == "" {
				acked = append(acked, s.name)
			} else if i < len(list)-1 || !strings.Contains(s.failed, "read-only") {
				t.Errorf("while %s took the lead back: %s", alpha.ID, s.failed)
			}
		}
		b.agree("alpha", 20*time.Second)
	}
	b.accountedFor(acked, "work")
	b.equal()
	return took
}

// accountedFor checks that each file is in the leader's tree or in a conflict, and restores what
// is in conflicts.
func (b *bed) accountedFor(acked []string, dir string) {
	b.t.Helper()
	where := []string{filepath.Join(b.Leader.Mount, dir)}
	for _, n := range b.Nodes() {
		for _, id := range b.conflicts(n) {
			to := filepath.Join(b.Dir, "restored-"+n.ID+"-"+id)
			b.ok(n.Ctl(time.Minute, "conflicts", "restore", id, "--to", to))
			if _, err := os.Stat(filepath.Join(to, dir)); err == nil {
				where = append(where, filepath.Join(to, dir))
			}
		}
	}
	lost, err := lacking(acked, where...)
	b.must(err)
	if len(lost) > 0 {
		b.t.Errorf("%d of %d acknowledged files are neither in the tree nor in a conflict: %q", len(lost), len(acked), lost[:min(len(lost), 10)])
	}
}

// conflicts are the IDs of a node's records.
func (b *bed) conflicts(n *cluster.Node) (ids []string) {
	b.t.Helper()
	s, err := n.Status()
	b.must(err)
	r := b.listConflicts(n)
	for _, line := range strings.Split(r, "\n")[1:] {
		if f := strings.Fields(line); len(f) > 1 && (f[1] == "fork" || f[1] == "edits") {
			ids = append(ids, f[0])
		}
	}
	if len(ids) != s.ConflictsOpen {
		b.t.Errorf("%s: %d conflicts in status, %d listed", n.ID, s.ConflictsOpen, len(ids))
	}
	return ids
}

// listConflicts lists them; its exit code is 4 while there are any.
func (b *bed) listConflicts(n *cluster.Node) string {
	b.t.Helper()
	r := n.Ctl(time.Minute, "conflicts", "list")
	if r.Code != 0 && r.Code != 4 {
		b.must(r.OK())
	}
	return r.Stdout
}

// TestHandover has the lead go to and fro under load: no call fails, and nothing is lost.
func TestHandover(t *testing.T) {
	b := startTrio(t)
	b.shell("mkdir work")
	var acked []string
	var longest []time.Duration
	at, to := b.Leader, b.Followers[0]
	for round := range rounds(t, 2, 50) {
		load := inBackground(func() cluster.Result {
			return cluster.RunHelper(time.Minute, "stamps", filepath.Join(at.Mount, "work"), fmt.Sprint("h", round), "1500ms", "keep")
		})
		time.Sleep(500 * time.Millisecond)
		b.ok(at.Ctl(time.Minute, "handover", "--to", to.ID))
		b.waitLeads(to, 10*time.Second)
		most := time.Duration(0)
		for _, s := range stampsOf(<-load) {
			most = max(most, s.took)
			if s.failed != "" {
				t.Errorf("round %d: %s: %s", round, s.name, s.failed)
				break
			}
			acked = append(acked, s.name)
		}
		longest = append(longest, most)
		b.agree(to.ID, 20*time.Second)
		b.ok(to.Ctl(time.Minute, "handover", "--to", to.ID)) // as it is already
		at, to = to, at
	}
	t.Log("longest call of each hand-over: ", spread(longest))
	b.accountedFor(acked, "work")
	b.equal()
	// A leader that is stopped hands over first.
	stopped, left := at, to
	b.must(stopped.Stop())
	if !strings.Contains(stopped.LastLog(), "handed over") {
		t.Errorf("%s did not hand over before it stopped\n%s", stopped.ID, stopped.LogTail())
	}
	b.waitLeads(left, 5*time.Second)
}

// TestFork lets two nodes write without each other. What the loser alone had becomes a conflict,
// byte for byte; it is shown, compared, restored and dropped.
func TestFork(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	alpha, beta := b.Leader, b.Followers[0]
	beta.Role, beta.Env, alpha.Env = "auto", []string{"WOLFDISK_ELECT_BOOT_WAIT=1s"}, []string{soon}
	b.must(b.Start(readyTimeout))
	b.shell("echo common >common; mkdir dir; echo old >dir/f; ln -s common link; echo gone >gone; setfattr -n user.k -v old dir")
	_, err := b.CatchUp(beta, equalTimeout)
	b.must(err)
	b.must(beta.Kill9())
	b.shell("echo only-alpha >only; printf changed >dir/f; mv common renamed; rm gone; ln renamed hard; setfattr -n user.k -v new dir; mkfifo pipe; truncate -s 200M sparse; echo end >>sparse; sync sparse")
	lost := b.Dir + "/lost"
	b.ok(cluster.Shell(alpha.Mount, "mkdir '"+lost+"'; cp -a only renamed hard dir pipe '"+lost+"'", time.Minute))
	b.must(alpha.Kill9())
	b.must(beta.Start())
	b.waitLeads(beta, 30*time.Second)
	b.ok(cluster.Shell(beta.Mount, "echo only-beta >beta; echo changed-by-beta >dir/f; mkdir more; for i in $(seq 50); do echo $i >more/$i; done", time.Minute))

	b.must(alpha.Start())
	b.waitLeads(alpha, 60*time.Second)
	ids := b.conflicts(alpha)
	if len(ids) != 1 || len(b.conflicts(beta)) != 0 {
		t.Fatalf("conflicts of alpha: %q", ids)
	}
	if r := alpha.Ctl(time.Minute, "status"); r.Code != 4 {
		t.Errorf("status exits with %d while a conflict is open", r.Code)
	}
	b.agree("alpha", 20*time.Second)
	b.ok(cluster.Shell(alpha.Mount, "test ! -e only; test \"$(cat dir/f)\" = changed-by-beta; test \"$(cat beta)\" = only-beta; test \"$(cat common)\" = common; test -e gone", time.Minute))

	show := b.ok(alpha.Ctl(time.Minute, "conflicts", "show", ids[0])).Stdout
	for _, want := range []string{"only", "dir/f", "renamed", "gone", "sparse", "pipe"} {
		if !strings.Contains(show, want) {
			t.Errorf("show says nothing of %s:\n%s", want, show)
		}
	}
	to := b.Dir + "/restored"
	b.ok(alpha.Ctl(time.Minute, "conflicts", "restore", ids[0], "--to", to))
	b.ok(cluster.Shell(to, "cd '"+lost+"'; for f in $(find . -type f); do cmp $f '"+to+"'/$f; done; test $(stat -c %h '"+to+"'/hard) = 2; "+
		"test -p '"+to+"'/pipe; test $(stat -c %s '"+to+"'/sparse) = 209715204; test \"$(tail -c 4 '"+to+"'/sparse)\" = end", time.Minute))
	b.ok(alpha.Ctl(time.Minute, "conflicts", "restore", ids[0]))
	b.ok(cluster.Shell(alpha.Mount, "test \"$(cat only)\" = only-alpha; test \"$(cat dir/f)\" = changed-by-beta; grep -l changed dir/f.conflict-*", time.Minute))
	b.ok(alpha.Ctl(time.Minute, "conflicts", "drop", ids[0], "--yes"))
	if r := alpha.Ctl(time.Minute, "conflicts", "list"); r.Code != 0 {
		t.Errorf("list exits with %d when nothing is open", r.Code)
	}
	b.equal()
	b.ok(alpha.Ctl(time.Minute, "verify"))
}

// TestEditsWhileAway edits the directory of a leader while it is down and another leads. When it
// returns, what the other has takes the place of the edits, which become a conflict.
func TestEditsWhileAway(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	alpha, beta := b.Leader, b.Followers[0]
	beta.Role, alpha.Env = "auto", []string{soon}
	b.must(b.Start(readyTimeout))
	b.shell("mkdir -p dir/sub; echo old >dir/f; echo gone >gone; echo moved >moved; echo same >same; echo mode >mode; ln -s same link")
	b.equal()
	b.must(alpha.Kill9())
	b.must(cluster.UnmountBelow(alpha.Dir)) // what is over the directory since it was killed
	b.waitLeads(beta, 10*time.Second)
	b.ok(cluster.Shell(alpha.Dir, "echo edited >>dir/f; rm gone; mv moved dir/moved; mkdir -p new/deep; echo text >new/deep/file; ln same dir/hard; chmod 4711 mode", time.Minute))
	edited := b.Dir + "/edited"
	b.ok(cluster.Shell(alpha.Dir, "mkdir '"+edited+"'; cp -a dir new mode same '"+edited+"'", time.Minute))
	b.ok(cluster.Shell(beta.Mount, "echo beta >>dir/f; echo only >beta", time.Minute))

	b.must(alpha.Start())
	b.waitLeads(alpha, 60*time.Second)
	b.agree("alpha", 20*time.Second)
	b.ok(cluster.Shell(alpha.Mount, `test "$(cat dir/f)" = "$(printf 'old\nbeta')"; test "$(cat gone)" = gone; test "$(cat moved)" = moved; test ! -e new; test ! -e dir/moved; test ! -e dir/hard; test -e beta; test $(stat -c %a mode) = 644`, time.Minute))
	list := strings.Fields(strings.Split(b.listConflicts(alpha), "\n")[1])
	if s, err := alpha.Status(); err != nil || s.ConflictsOpen != 1 || list[1] != "edits" {
		t.Fatalf("open conflicts %d, listed %q, %v", s.ConflictsOpen, list, err)
	}
	show := b.ok(alpha.Ctl(time.Minute, "conflicts", "show", list[0])).Stdout
	for _, want := range []string{"dir/f", "gone", "dir/moved", "new/deep/file", "mode", "dir/hard"} {
		if !strings.Contains(show, want) {
			t.Errorf("show says nothing of %s:\n%s", want, show)
		}
	}
	to := b.Dir + "/restored"
	b.ok(alpha.Ctl(time.Minute, "conflicts", "restore", list[0], "--to", to))
	b.ok(cluster.Shell(to, "for f in dir/f dir/moved dir/hard new/deep/file mode; do cmp $f '"+edited+"'/$f; done; test $(stat -c %a mode) = 4711", time.Minute))
	b.ok(alpha.Ctl(time.Minute, "conflicts", "drop", list[0], "--yes"))
	b.equal()
	b.ok(alpha.Ctl(time.Minute, "verify"))

	// Nothing was edited: a killed leader's return makes no conflict, whatever it was doing.
	write := inBackground(func() cluster.Result {
		return cluster.Shell(alpha.Mount, "while echo x >w && echo y >>w && mv w v && mkdir d && rmdir d && echo z >>dir/f; do :; done", time.Minute)
	})
	time.Sleep(300 * time.Millisecond)
	b.must(alpha.Kill9())
	<-write
	b.waitLeads(beta, 10*time.Second)
	b.ok(cluster.Shell(beta.Mount, "echo more >>dir/f", time.Minute))
	b.must(alpha.Start())
	b.waitLeads(alpha, 60*time.Second)
	b.agree("alpha", 20*time.Second)
	if s := b.listConflicts(alpha); strings.Contains(s, "edits") {
		t.Errorf("nobody edited anything:\n%s", s)
	}
	b.equal()
}

// TestDurable loses the leader's machine with all that was on it, at any moment. On level durable what
// was fsynced is in the tree of the next leader, and not in a conflict.
func TestDurable(t *testing.T) {
	t.Parallel()
	for round := range rounds(t, 1, 20) {
		t.Run(fmt.Sprint(round), durableRound)
	}
}

func durableRound(t *testing.T) {
	b := newTrio(t)
	for _, n := range b.Nodes() {
		n.Env = append(n.Env, "WOLFDISK_ELECT_SAFETY=durable", soon)
	}
	b.must(b.Start(readyTimeout))
	alpha, beta := b.Leader, b.Followers[0]
	b.shell("mkdir work")
	b.agree("alpha", 20*time.Second)
	var writers []<-chan cluster.Result
	for i := range 4 {
		writers = append(writers, inBackground(func() cluster.Result {
			return cluster.RunHelper(time.Minute, "stamps", filepath.Join(alpha.Mount, "work"), fmt.Sprint(i), "20s", "", "fsync")
		}))
	}
	time.Sleep(time.Second + moment())
	b.must(alpha.Kill9())
	var acked []string
	for _, w := range writers {
		acked = append(acked, stampNames(t, <-w)...)
	}
	if len(acked) == 0 {
		t.Fatal("nothing was written")
	}
	b.must(cluster.UnmountBelow(alpha.Dir))
	b.ok(cluster.Shell(b.Dir, "rm -rf '"+alpha.State+"' '"+alpha.Dir+"'; mkdir '"+alpha.Dir+"'", time.Minute))
	b.waitLeads(beta, 20*time.Second)
	lost, err := lacking(acked, filepath.Join(beta.Mount, "work"))
	b.must(err)
	if len(lost) > 0 {
		t.Errorf("%d of %d files that were fsynced are lost: %q", len(lost), len(acked), lost[:min(len(lost), 10)])
	}
	for _, n := range b.Followers {
		if s := b.listConflicts(n); strings.Contains(s, "fork") {
			t.Errorf("%s: conflicts:\n%s", n.ID, s)
		}
	}
	t.Logf("%d files were fsynced before the leader was lost", len(acked))

	// A new machine with the ID of the lost one is not taken for it: it follows, and counts again
	// when somebody says so.
	alpha.Connect = []string{beta.Advertise} // or it would know nobody, and make a volume of its own
	b.must(alpha.Start())
	b.ok(cluster.Shell(beta.Mount, "echo later >work/later; sync work/later", time.Minute))
	if s, err := beta.Status(); err != nil || s.LeaderID != "beta" {
		t.Errorf("led by %s, %v", s.LeaderID, err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r := beta.Ctl(time.Minute, "member", "accept-store", "alpha")
		if r.Code == 0 {
			break
		}
		if r.Code != 69 || time.Now().After(deadline) { // 69 while it is not connected
			b.ok(r)
		}
	}
	if _, err := beta.WaitStatus(10*time.Second, "no more warnings", func(s cluster.Status) bool { return len(s.Warnings) == 0 }); err != nil {
		t.Error(err)
	}
	b.waitLeads(alpha, 60*time.Second)
	b.agree("alpha", 20*time.Second)
	b.equal()
	if lost, err = lacking(acked, filepath.Join(alpha.Mount, "work")); err != nil || len(lost) > 0 {
		t.Errorf("lost: %q, %v", lost, err)
	}
}

// TestDurableCutOff: the leader is cut off for so long that another leads, while fsyncs wait for the
// others. They are answered by whoever leads then, nothing that was fsynced is lost, and the nodes agree.
func TestDurableCutOff(t *testing.T) {
	t.Parallel()
	b := newTrio(t)
	for _, n := range b.Nodes() {
		n.Env = append(n.Env, "WOLFDISK_ELECT_SAFETY=durable", soon)
	}
	b.must(b.Start(readyTimeout))
	alpha := b.Leader
	b.shell("mkdir work")
	cut := b.cutter()
	var writers []<-chan cluster.Result
	for i := range 4 {
		writers = append(writers, inBackground(func() cluster.Result {
			return cluster.RunHelper(2*time.Minute, "stamps", filepath.Join(alpha.Mount, "work"), fmt.Sprint(i), "12s", "keep", "fsync")
		}))
	}
	time.Sleep(time.Second + moment())
	cut(true)
	b.waitLeads(b.Followers[0], 20*time.Second)
	cut(false)
	var acked []string
	for _, w := range writers {
		acked = append(acked, stampNames(t, <-w)...)
	}
	b.waitLeads(alpha, 60*time.Second)
	b.agree("alpha", 20*time.Second)
	b.equal()
	if lost, err := lacking(acked, filepath.Join(alpha.Mount, "work")); err != nil || len(lost) > 0 || len(acked) == 0 {
		t.Errorf("%d of %d files that were fsynced are lost: %q, %v", len(lost), len(acked), lost, err)
	}
}

// TestNoFalseFailover: a leader that works as hard as it can, and is paused for up to a second again
// and again, goes on leading in one epoch, and no call fails.
func TestNoFalseFailover(t *testing.T) {
	b := startTrio(t)
	alpha := b.Leader
	b.shell("mkdir work")
	before, err := alpha.Status()
	b.must(err)
	long := time.Duration(rounds(t, 10, 600)) * time.Second
	var writers []<-chan cluster.Result
	for i := range 4 {
		writers = append(writers, inBackground(func() cluster.Result {
			return cluster.RunHelper(long+time.Minute, "stamps", filepath.Join(alpha.Mount, "work"), fmt.Sprint(i), long.String(), "")
		}))
	}
	for end := time.Now().Add(long); time.Now().Before(end); {
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Millisecond)
		b.must(alpha.Proc().Signal(unix.SIGSTOP))
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
		b.must(alpha.Proc().Signal(unix.SIGCONT))
	}
	for _, w := range writers {
		for _, s := range stampsOf(<-w) {
			if s.failed != "" {
				t.Errorf("%s: %s", s.name, s.failed)
			}
		}
	}
	b.agree("alpha", 20*time.Second)
	after, err := alpha.Status()
	b.must(err)
	if after.State != "leading" || after.Position.Epoch != before.Position.Epoch {
		t.Errorf("%s in epoch %v, before in %v", after.State, after.Position.Epoch, before.Position.Epoch)
	}
	b.equalWithin(equalTimeout + long) // of ten minutes there are some 260,000 files
}

// cutter prepares a trio whose leader is to be cut off from the two others.
func (b *bed) cutter() (cut func(shut bool)) {
	b.t.Helper()
	// What is left of a shut proxy is the way between beta and gamma by their own addresses.
	beta, gamma := b.Followers[0], b.Followers[1]
	gamma.Connect = append(gamma.Connect, beta.Addr)
	b.must(gamma.Stop())
	b.must(gamma.StartReady(readyTimeout))
	b.agree(b.Leader.ID, 20*time.Second)
	return func(shut bool) {
		b.Leader.Front.Shut(shut)
		for _, n := range b.Followers {
			n.Front.Shut(shut)
			n.Uplink.Shut(shut)
		}
	}
}

// TestPartition cuts the leader off. On level available both sides go on, and the fork is settled
// when they meet; on fenced the cut-off leader takes no writes.
func TestPartition(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"available", "fenced"} {
		t.Run(level, func(t *testing.T) {
			b := newTrio(t)
			for _, n := range b.Nodes() {
				n.Env = append(n.Env, "WOLFDISK_ELECT_SAFETY="+level, soon)
			}
			b.must(b.Start(readyTimeout))
			alpha, beta := b.Leader, b.Followers[0]
			b.shell("mkdir work; echo 1 >work/first; echo ours >work/shared")
			b.agree("alpha", 20*time.Second)
			cut := b.cutter()
			cut(true)
			b.waitLeads(beta, 20*time.Second)
			acked := stampNames(t, cluster.RunHelper(time.Minute, "stamps", filepath.Join(beta.Mount, "work"), "b", "500ms", "keep"))
			r := cluster.RunHelper(time.Minute, "stamps", filepath.Join(alpha.Mount, "work"), "a", "500ms", "")
			mine := stampNames(t, r)
			if level == "fenced" && len(mine) > 0 {
				t.Errorf("the leader that was cut off has accepted %d writes", len(mine))
			}
			stop, held := filepath.Join(b.Dir, "stop"), (<-chan cluster.Result)(nil)
			var kept <-chan cluster.Result
			if level == "available" {
				kept = inBackground(func() cluster.Result {
					return cluster.RunHelper(2*time.Minute, "kept", stop, filepath.Join(alpha.Mount, "work/shared"), "lost")
				})
				held = inBackground(func() cluster.Result {
					return cluster.RunHelper(2*time.Minute, "held", stop, filepath.Join(alpha.Mount, "work/first"), filepath.Join(alpha.Mount, "work", mine[0]))
				})
				time.Sleep(time.Second)
			}
			cut(false)
			b.waitLeads(alpha, 60*time.Second)
			b.agree("alpha", 30*time.Second)
			if held != nil {
				b.must(os.WriteFile(stop, nil, 0o600))
				want := fmt.Sprintf("first %q <nil> <nil>\n%s \"\" read %s: stale file handle stale file handle\n", "1\n", mine[0], filepath.Join(alpha.Mount, "work", mine[0]))
				if r := <-held; r.Stdout != want {
					t.Errorf("files that were open on the loser: %q, want %q; %v", r.Stdout, want, r.OK())
				}
				const stale = "stale file handle"
				want = fmt.Sprintf("write %s, fsync %s, read %s, close %s; \"ours\\n\" <nil>\n", stale, stale, stale, stale)
				if r := <-kept; r.Stdout != want {
					t.Errorf("a file that the loser had changed: %q, want %q; %v", r.Stdout, want, r.OK())
				}
			}
			b.accountedFor(append(acked, mine...), "work")
			b.equal()
		})
	}
}

// TestWitness: two nodes with data and a witness. On level fenced either of them leads with the
// witness when the other is down, and without it no change is taken.
func TestWitness(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	alpha, beta := b.Leader, b.Followers[0]
	gamma, err := b.AddWitness("gamma")
	b.must(err)
	beta.Role = "auto"
	for _, n := range []*cluster.Node{alpha, beta, gamma} {
		n.Env = append(n.Env, "WOLFDISK_ELECT_SAFETY=fenced", soon)
	}
	b.must(gamma.Start())
	b.must(b.Start(readyTimeout))
	b.must(gamma.WaitReady(readyTimeout))
	known := func() string { return b.ok(alpha.Ctl(time.Minute, "member", "list")).Stdout }
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(known(), "witness"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the witness is no member:\n%s", known())
		}
	}
	b.shell("echo first >first")
	b.equal()
	if s, err := gamma.Status(); err != nil || s.Role != "witness" || s.LeaderID != "alpha" || s.Position.Version != 0 {
		t.Errorf("the witness says %+v, %v", s, err)
	}
	for _, name := range []string{"index", "oplog", "chunks"} {
		if _, err := os.Stat(filepath.Join(gamma.State, name)); !os.IsNotExist(err) {
			t.Errorf("the witness has a copy: %s, %v", name, err)
		}
	}
	if s, err := alpha.Status(); err != nil || !slices.ContainsFunc(s.Peers, func(p cluster.Peer) bool { return p.ID == "gamma" && p.Role == "witness" }) {
		t.Errorf("the leader's peers: %+v, %v", s.Peers, err)
	}

	b.must(alpha.Kill9())
	b.waitLeads(beta, 10*time.Second)
	b.ok(cluster.Shell(beta.Mount, "echo second >second", time.Minute))
	b.must(alpha.Start())
	b.waitLeads(alpha, 60*time.Second)
	b.agree("alpha", 20*time.Second)
	b.ok(cluster.Shell(alpha.Mount, "test $(cat second) = second", time.Minute))

	// Neither leads alone.
	b.must(gamma.Stop())
	b.must(alpha.Kill9())
	write := inBackground(func() cluster.Result { return cluster.Shell(beta.Mount, "echo third >third", 30*time.Second) })
	time.Sleep(4 * time.Second)
	if s, err := beta.Status(); err != nil || s.State == "leading" {
		t.Errorf("beta alone is %s, %v", s.State, err)
	}
	if r := <-write; r.Err == nil && r.Code == 0 {
		t.Error("a change was taken without a majority")
	}
	b.must(gamma.Start()) // it knows whom to ask, and whom it has obeyed
	b.waitLeads(beta, 20*time.Second)
	b.ok(cluster.Shell(beta.Mount, "echo third >third", time.Minute))
	b.must(gamma.Stop())
	r := beta.Ctl(time.Minute, "status")
	if r.Code != 0 && r.Code != 4 {
		t.Errorf("status: %v", r.OK())
	}

	// It is never a copy's place, and a copy is never its.
	for _, c := range []struct {
		want string
		args []string
	}{
		{"holds a copy", []string{"wolfdisk-slave", "--witness", "--id", "beta", "--state-dir", beta.State}},
		{"leave out -m", []string{"wolfdisk-slave", "--witness", "-m", beta.Mount, "--id", "x", "--state-dir", b.Dir + "/x"}},
		{"wolfdisk-slave --witness", []string{"wolfdisk-master", "-m", b.Dir, "--role", "witness", "--id", "x", "--state-dir", b.Dir + "/x"}},
	} {
		if c.args[len(c.args)-1] == beta.State {
			b.must(beta.Stop())
		}
		args := append([]string{filepath.Join(b.Bin, c.args[0])}, c.args[1:]...)
		r := cluster.Cmd{Args: append(args, "--key-file", b.Key, "--bind", "127.0.0.1:0"), Timeout: 20 * time.Second}.Run()
		if r.Code == 0 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%q: exit code %d, %s", c.args, r.Code, r.Stderr)
		}
	}
}

func stampNames(t *testing.T, r cluster.Result) (ok []string) {
	t.Helper()
	if r.Err != nil {
		t.Fatal(r.OK())
	}
	for _, s := range stampsOf(r) {
		if s.failed == "" {
			ok = append(ok, s.name)
		}
	}
	return ok
}

// TestRoles tries the commands of an operator.
func TestRoles(t *testing.T) {
	t.Parallel()
	b := startTrio(t)
	alpha, beta, gamma := b.Leader, b.Followers[0], b.Followers[1]
	out := b.ok(beta.Ctl(time.Minute, "member", "list")).Stdout
	for _, id := range []string{"alpha", "beta", "gamma"} {
		if !strings.Contains(out, id) {
			t.Errorf("%s is no member:\n%s", id, out)
		}
	}
	b.ok(gamma.Ctl(time.Minute, "promote"))
	b.ok(gamma.Ctl(time.Minute, "promote"))
	b.agree("gamma", 20*time.Second)
	for _, way := range [][2]*cluster.Node{{gamma, beta}, {beta, gamma}} { // two operators want the same
		var both []<-chan cluster.Result
		for range 2 {
			both = append(both, inBackground(func() cluster.Result { return way[0].Ctl(time.Minute, "handover", "--to", way[1].ID) }))
		}
		for _, r := range both {
			b.ok(<-r)
		}
		b.agree(way[1].ID, 20*time.Second)
	}
	// An operator chose it: nobody takes the lead back.
	time.Sleep(6 * time.Second)
	b.agree("gamma", 5*time.Second)
	if r := alpha.Ctl(time.Minute, "handover", "--to", "beta"); r.Code == 0 || !strings.Contains(r.Stderr, "gamma") {
		t.Errorf("a hand-over asked of a follower: %d %s", r.Code, r.Stderr)
	}
	b.ok(gamma.Ctl(time.Minute, "demote"))
	b.agree("alpha", 20*time.Second)
	b.ok(alpha.Ctl(time.Minute, "member", "remove", "gamma"))
	if _, err := b.CatchUp(beta, equalTimeout); err != nil {
		t.Fatal(err)
	}
	out = b.ok(beta.Ctl(time.Minute, "member", "list")).Stdout
	if !strings.Contains(out, "removed") {
		t.Errorf("nobody is removed:\n%s", out)
	}
	b.must(gamma.Stop())
	b.must(gamma.Start())
	if _, err := gamma.WaitStatus(20*time.Second, "refused", func(s cluster.Status) bool {
		return slices.ContainsFunc(s.Warnings, func(w cluster.Warning) bool { return w.Code == "WD-1325" })
	}); err != nil {
		t.Error(err)
	}
	b.ok(alpha.Ctl(time.Minute, "member", "add", "gamma"))
	b.must(gamma.WaitReady(readyTimeout))
	b.must(beta.Stop())
	b.must(gamma.Stop())
	r := alpha.Ctl(time.Minute, "demote")
	if r.Code != 6 {
		t.Errorf("demote without another node: exit code %d, %s", r.Code, r.Stderr)
	}
	r = b.ok(alpha.Ctl(time.Minute, "demote", "--allow-data-loss"))
	if !strings.Contains(r.Stdout, "beta") || !strings.Contains(r.Stdout, "gamma") {
		t.Errorf("it does not say who is away: %s", r.Stdout)
	}
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if s, err := alpha.Status(); err != nil || s.State == "leading" {
			t.Fatalf("it takes the lead back by itself: %+v, %v", s, err)
		}
	}
	b.ok(alpha.Ctl(time.Minute, "promote", "--allow-data-loss"))
	b.shell("echo x >x")
}

// TestRolesTimeout: a change of role that cannot be made yet is tried for as long as the operator says, and
// then ends with the exit code for that.
func TestRolesTimeout(t *testing.T) {
	t.Parallel()
	b := newTrio(t)
	for _, n := range b.Nodes() {
		n.Env = append(n.Env, "WOLFDISK_ELECT_SAFETY=fenced")
	}
	b.must(b.Start(readyTimeout))
	beta := b.Followers[0]
	b.agree("alpha", 20*time.Second)
	b.must(b.Followers[1].Kill9())
	b.must(b.Leader.Kill9())
	for _, long := range []time.Duration{2 * time.Second, 13 * time.Second} { // alone it has no majority
		began := time.Now()
		r := beta.Ctl(time.Minute, "promote", "--timeout", long.String())
		if took := time.Since(began); r.Code != 7 || took < long || took > long+3*time.Second || !strings.Contains(r.Stderr, "--timeout") {
			t.Errorf("--timeout %s: exit code %d after %s, %s", long, r.Code, took, r.Stderr)
		}
	}
	waits := inBackground(func() cluster.Result { return beta.Ctl(time.Minute, "promote", "--timeout", "40s") })
	time.Sleep(time.Second)
	b.must(b.Followers[1].Start())
	b.ok(<-waits)
	b.waitLeads(beta, time.Second)
}

// TestRemoved: a member that was removed while it was down takes no part when it is back, and leads
// nowhere when the leader dies, until it is taken up again.
func TestRemoved(t *testing.T) {
	t.Parallel()
	b := newTrio(t)
	for _, n := range b.Nodes() {
		n.Env = append(n.Env, soon, "WOLFDISK_ELECT_BOOT_WAIT=1s")
	}
	b.must(b.Start(readyTimeout))
	alpha, beta, gamma := b.Leader, b.Followers[0], b.Followers[1]
	b.shell("echo x >x")
	b.agree("alpha", 20*time.Second)
	b.must(alpha.Kill9())
	b.waitLeads(beta, 10*time.Second)
	for range 2 {
		b.ok(beta.Ctl(time.Minute, "member", "remove", "alpha"))
	}
	if r := beta.Ctl(time.Minute, "member", "remove", "nobody"); r.Code != 1 {
		t.Errorf("one that nobody knows was removed: exit code %d, %s", r.Code, r.Stderr)
	}
	b.agree("beta", 10*time.Second)
	b.must(alpha.Start())
	refused := func(n *cluster.Node) {
		t.Helper()
		_, err := n.WaitStatus(20*time.Second, "refused", func(s cluster.Status) bool {
			return s.LeaderID == "" && slices.ContainsFunc(s.Warnings, func(w cluster.Warning) bool { return w.Code == "WD-1325" })
		})
		b.must(err)
	}
	refused(alpha)
	apart := func(d time.Duration) {
		t.Helper()
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if s, err := alpha.Status(); err != nil || s.State == "leading" || s.LeaderID != "" {
				t.Fatalf("the removed node is %s and led by %q, %v", s.State, s.LeaderID, err)
			}
		}
	}
	apart(3 * time.Second)
	b.must(beta.Kill9())
	b.waitLeads(gamma, 10*time.Second)
	apart(4 * time.Second)
	b.ok(cluster.Shell(gamma.Mount, "echo y >y", time.Minute))
	r := alpha.Ctl(time.Minute, "promote")
	if r.Code != 6 || !strings.Contains(r.Stderr, "removed") {
		t.Errorf("the removed node was promoted: exit code %d, %s", r.Code, r.Stderr)
	}
	b.ok(gamma.Ctl(time.Minute, "member", "add", "alpha"))
	b.waitLeads(alpha, 60*time.Second)
	b.must(beta.Start())
	b.agree("alpha", 30*time.Second)
	b.ok(cluster.Shell(alpha.Mount, "test \"$(cat x y)\" = \"$(printf 'x\ny')\"", time.Minute))

	// One that is connected when it is removed, and hears of it.
	b.ok(alpha.Ctl(time.Minute, "handover", "--to", "beta"))
	b.agree("beta", 30*time.Second)
	b.ok(beta.Ctl(time.Minute, "member", "remove", "alpha"))
	refused(alpha)
	b.must(beta.Kill9())
	b.waitLeads(gamma, 10*time.Second)
	apart(3 * time.Second)
	b.ok(gamma.Ctl(time.Minute, "member", "add", "alpha"))
	b.waitLeads(alpha, 60*time.Second)
	b.must(beta.Start())
	b.agree("alpha", 30*time.Second)
	b.equal()
}

// TestHooks: programs are run when the role changes.
func TestHooks(t *testing.T) {
	t.Parallel()
	b := newBed(t, "beta")
	hook := filepath.Join(b.Dir, "hook")
	b.must(os.WriteFile(hook, []byte("#!/bin/sh\necho \"$WOLFDISK_ROLE $1 $WOLFDISK_LEADER_ID $2\" >>'"+b.Dir+"/hooks'\n"+
		filepath.Join(b.Bin, "wolfdiskctl")+" -o json status | grep -o '\"node_id\": *\"[a-z]*\"' >>'"+b.Dir+"/hooks'\n"), 0o755)) // a hook may ask its node
	beta := b.Followers[0]
	beta.Role = "auto"
	for _, n := range b.Nodes() {
		n.Env = append(n.Env, "WOLFDISK_HOOKS_ON_LEADER="+hook, "WOLFDISK_HOOKS_ON_FOLLOWER="+hook)
	}
	b.must(b.Start(readyTimeout))
	b.ok(b.Leader.Ctl(time.Minute, "handover", "--to", "beta"))
	b.agree("beta", 20*time.Second)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, _ := os.ReadFile(b.Dir + "/hooks")
		if bytes.Contains(got, []byte("leader alpha alpha 1/")) && bytes.Contains(got, []byte("leader beta beta 2/")) && bytes.Contains(got, []byte("follower beta alpha 1/")) &&
			bytes.Contains(got, []byte("follower alpha  1/")) && bytes.Contains(got, []byte("follower alpha beta 2/")) &&
			bytes.Contains(got, []byte(`"node_id": "beta"`)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("hooks that were run:\n%s", got)
		}
	}
}

// TestReplicated: fsync returns when as many nodes as demanded have it on disk, and what happens if
// they are not there is what the configuration says.
func TestReplicated(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		then  string
		works bool // an fsync with too few nodes
		says  bool
	}{{"block", false, true}, {"eio", false, true}, {"degrade", true, true}} {
		t.Run(row.then, func(t *testing.T) {
			b := newBed(t, "beta")
			b.Leader.Env = append(b.Leader.Env, "WOLFDISK_REPLICATION_MODE=replicated", "WOLFDISK_REPLICATION_FACTOR=2", "WOLFDISK_REPLICATION_TIMEOUT=1s",
				"WOLFDISK_REPLICATION_ON_TIMEOUT="+row.then, "WOLFDISK_REPLICATION_ON_CLOSE=true")
			b.must(b.Start(readyTimeout))
			beta := b.follower()
			b.shell("echo text >file; sync file")
			s, err := beta.Status()
			b.must(err)
			l, err := b.Leader.Status()
			b.must(err)
			// The close of the file waited too, so its last op is on beta's disk.
			if s.DurableVersion < l.Position.Version {
				t.Errorf("%s has %d on disk after fsync, the leader is at %d", beta.ID, s.DurableVersion, l.Position.Version)
			}
			b.must(beta.Kill9())
			r := cluster.Cmd{Args: []string{"sh", "-euc", "echo more >>file; sync file"}, Dir: b.Leader.Mount, Timeout: 4 * time.Second}.Run()
			if works := r.OK() == nil; works != row.works {
				t.Errorf("fsync with one node of two: %v", r.OK())
			}
			l, err = b.Leader.Status()
			b.must(err)
			if says := slices.ContainsFunc(l.Warnings, func(w cluster.Warning) bool { return w.Code == "WD-1350" }); says != row.says {
				t.Errorf("warnings: %+v", l.Warnings)
			}
			b.must(beta.StartReady(readyTimeout))
			b.shell("echo again >>file; sync file")
			if l, err = b.Leader.Status(); err != nil || slices.ContainsFunc(l.Warnings, func(w cluster.Warning) bool { return w.Code == "WD-1350" }) {
				t.Errorf("the warning stays: %v, %+v", err, l.Warnings)
			}
		})
	}
}

// TestDiscovery: nodes that are told no address find each other, and fail over.
func TestDiscovery(t *testing.T) {
	b := newTrio(t)
	for _, n := range b.Nodes() {
		n.Connect, n.Advertise = nil, n.Addr
		n.Env = append(n.Env, "WOLFDISK_CLUSTER_DISCOVERY=udp://239.255.0.1:9531")
	}
	b.must(b.Start(readyTimeout))
	b.shell("echo x >x")
	b.agree("alpha", 20*time.Second)
	b.must(b.Leader.Kill9())
	b.waitLeads(b.Followers[0], 20*time.Second)
	b.ok(cluster.Shell(b.Followers[0].Mount, "test \"$(cat x)\" = x; echo y >y", time.Minute))
}

// TestOneListOfPeers: every node is told the addresses of all, its own among them.
func TestOneListOfPeers(t *testing.T) {
	t.Parallel()
	b := newTrio(t)
	var all []string
	for _, n := range b.Nodes() {
		all = append(all, n.Addr)
	}
	for _, n := range b.Nodes() {
		n.Connect = all
	}
	b.must(b.Start(readyTimeout))
	b.shell("echo x >x")
	b.agree("alpha", 20*time.Second)
	for _, n := range b.Nodes() {
		if s, err := n.Status(); err != nil || len(s.Warnings) != 0 {
			t.Errorf("%s: %v, %+v", n.ID, err, s.Warnings)
		}
		if log := n.Log(); strings.Contains(log, "WD-1309") || !strings.Contains(log, "this node itself answers there") {
			t.Errorf("%s:\n%s", n.ID, log)
		}
	}
}
