package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// extras are what only the cluster can show.
func (b *bench) extras(m *mirror) error {
	for _, e := range []struct {
		name string
		run  func(*mirror) error
	}{
		{"lag", b.lag},
		{"replay", b.replay},
		{"bytes per byte", b.writeAmplification},
		{"idle", b.idle},
	} {
		b.note("%s: %s", leaderName(m.followers), e.name)
		if err := e.run(m); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return b.eachNode(m, "_peak_rss_mib", func(n *cluster.Node) (float64, error) {
		kib, err := procStatus(n.Proc().Pid(), "VmHWM")
		return float64(kib) / 1024, err
	})
}

// extra notes a figure of a cluster.
func (b *bench) extra(m *mirror, name string, v float64) {
	b.report.Extras[extraName(name, m.followers)] = v
}

// eachNode notes a figure of the leader and the highest of the followers.
func (b *bench) eachNode(m *mirror, what string, figure func(*cluster.Node) (float64, error)) error {
	highest := make(map[string]float64)
	for _, n := range m.Nodes() {
		v, err := figure(n)
		if err != nil {
			return err
		}
		role := "follower"
		if n == m.Leader {
			role = "leader"
		}
		highest[role] = max(highest[role], v)
	}
	for role, v := range highest {
		b.extra(m, role+what, v)
	}
	return nil
}

// lag runs the child that does mixed operations at a fixed rate on the leader and
// waits for some of them on all followers.
func (b *bench) lag(m *mirror) error {
	dir, err := mkdir(m.Leader.Mount, "lag")
	if err != nil {
		return err
	}
	if err := m.catchUp(); err != nil {
		return err
	}
	args := []string{strconv.Itoa(b.sizes.lagSeconds), dir}
	for _, f := range m.Followers {
		args = append(args, filepath.Join(f.Mount, "lag"))
	}
	r := cluster.RunHelper(time.Duration(b.sizes.lagSeconds)*time.Second+wait, "lag", args...)
	if err := r.OK(); err != nil {
		return err
	}
	var out lagResult
	if err := json.Unmarshal([]byte(r.Stdout), &out); err != nil {
		return err
	}
	if out.Rate < 490 {
		return fmt.Errorf("only %.0f of 500 ops/s could be done", out.Rate)
	}
	slices.Sort(out.Millis)
	at := func(q float64) float64 { return out.Millis[int(q*float64(len(out.Millis)-1))] }
	b.extra(m, "lag_p50_ms", at(0.5))
	b.extra(m, "lag_p99_ms", at(0.99))
	b.extra(m, "lag_max_ms", at(1))
	return nil
}

type lagResult struct {
	Rate   float64   // operations per second that were done
	Millis []float64 // from the return of a create on the leader to its sight on the last follower
}

// lagChild is the child: SECONDS LEADERDIR FOLLOWERDIR...
func lagChild(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("want SECONDS LEADERDIR FOLLOWERDIR..., got %q", args)
	}
	dir, followers := args[1], args[2:]
	seconds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	type probe struct {
		name string
		at   time.Time
	}
	probes := make(chan probe, 10000)
	out := make(chan lagResult, 1)
	errs := make(chan error, 1)
	go func() {
		var r lagResult
		for p := range probes {
			for _, f := range followers {
				if err := waitName(f+"/"+p.name, p.at.Add(10*time.Second)); err != nil {
					errs <- err
					return
				}
			}
			r.Millis = append(r.Millis, float64(time.Since(p.at).Microseconds())/1000)
		}
		out <- r
	}()
	const rate = 500
	began := time.Now()
	count := rate * seconds
	for i := range count {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / rate)))
		name := fmt.Sprintf("probe-%d", i)
		if err := mixedOp(dir, i, name); err != nil {
			return fmt.Errorf("op %d: %w", i, err)
		}
		if i%5 == 0 {
			probes <- probe{name, time.Now()}
		}
	}
	took := time.Since(began)
	close(probes)
	select {
	case err := <-errs:
		return err
	case r := <-out:
		r.Rate = float64(count) / took.Seconds()
		return json.NewEncoder(os.Stdout).Encode(r)
	}
}

func waitName(path string, deadline time.Time) error {
	for ; ; time.Sleep(50 * time.Microsecond) {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not there after 10 s", path)
		}
	}
}

// mixedOp makes about one op: every fifth creates a file.
func mixedOp(dir string, i int, name string) error {
	last := fmt.Sprintf("%s/probe-%d", dir, i-i%5)
	switch i % 5 {
	case 0:
		return unix.Mknod(dir+"/"+name, unix.S_IFREG|0o644, 0)
	case 1, 2:
		fd, err := unix.Open(last, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		_, err = unix.Pwrite(fd, make([]byte, 4096), int64(i%5)*4096)
		return errors.Join(err, unix.Close(fd))
	case 3:
		return unix.Chmod(last, 0o600)
	}
	return unix.Symlink("target", last+".link")
}

// replay lets the last follower catch up with many small creates and compares its rate
// with that of the leader's mount; others follow all the time.
func (b *bench) replay(m *mirror) error {
	f := m.Followers[len(m.Followers)-1]
	if err := f.Stop(); err != nil {
		return err
	}
	from, err := m.Leader.Status()
	if err != nil {
		return err
	}
	dir, err := mkdir(m.Leader.Mount, "replay")
	if err != nil {
		return err
	}
	r := cluster.RunHelper(5*time.Minute, "create", dir, strconv.Itoa(b.sizes.replayFiles))
	if err := r.OK(); err != nil {
		return err
	}
	made := r.Took
	to, err := m.Leader.Status()
	if err != nil {
		return err
	}
	if err := f.Start(); err != nil {
		return err
	}
	start, err := f.WaitStatus(wait, "replaying", func(s cluster.Status) bool { return s.Position.Version > from.Position.Version })
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := f.WaitStatus(wait, "done", func(s cluster.Status) bool { return s.Position.Version >= to.Position.Version }); err != nil {
		return err
	}
	took := max(time.Since(began), time.Millisecond)
	all := float64(to.Position.Version - from.Position.Version)
	left := float64(to.Position.Version - start.Position.Version)
	b.extra(m, "leader_ops_per_second", all/made.Seconds())
	b.extra(m, "replay_ops_per_second", left/took.Seconds())
	b.extra(m, "replay_ratio", left/took.Seconds()/(all/made.Seconds()))
	if left < all/4 {
		// Too fast for the poll: what was seen of it says nothing. The whole time
		// since the daemon's start is a bound from below.
		return fmt.Errorf("only %.0f of %.0f ops were left at the first look: use more files", left, all)
	}
	return nil
}

// createChild makes small files: DIR COUNT.
func createChild(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want DIR COUNT, got %q", args)
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	text := []byte(strings.Repeat("x", 100))
	for i := range count {
		dir := fmt.Sprintf("%s/%04d", args[0], i/1000)
		if i%1000 == 0 {
			if err := unix.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
		fd, err := unix.Open(fmt.Sprintf("%s/%06d", dir, i), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, text)
		if err := errors.Join(err, unix.Close(fd)); err != nil {
			return err
		}
	}
	return nil
}

// writeAmplification overwrites a file at random and looks at what the daemons
// made the disk write, once all of it is durable.
func (b *bench) writeAmplification(m *mirror) error {
	dir, err := mkdir(m.Leader.Mount, "amplification")
	if err != nil {
		return err
	}
	if _, err := b.fio(dir, "write", "iops", "--rw=write", "--bs=1m", "--size=SMALL", "--end_fsync=1"); err != nil {
		return err
	}
	before := make(map[*cluster.Node]int64)
	if err := quiet(m); err != nil {
		return err
	}
	for _, n := range m.Nodes() {
		if before[n], err = writeBytes(n.Proc().Pid()); err != nil {
			return err
		}
	}
	// Every block is overwritten four times; fio's map sees to it that it is so.
	r := cluster.Cmd{Args: []string{"fio", "--name=job", "--filename=" + filepath.Join(dir, "file"), "--ioengine=psync", "--fallocate=none",
		"--rw=randwrite", "--bs=4k", "--size=" + b.sizes.fioSize, "--loops=4", "--end_fsync=1", "--output-format=json"}, Timeout: 10 * time.Minute}.Run()
	if err := r.OK(); err != nil {
		return err
	}
	var out struct {
		Jobs []struct {
			Write struct {
				Bytes float64 `json:"io_bytes"`
			} `json:"write"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &out); err != nil || len(out.Jobs) != 1 || out.Jobs[0].Write.Bytes <= 0 {
		return fmt.Errorf("fio: %w in %s", err, r.Stdout)
	}
	if err := quiet(m); err != nil {
		return err
	}
	return b.eachNode(m, "_written_per_byte", func(n *cluster.Node) (float64, error) {
		after, err := writeBytes(n.Proc().Pid())
		return float64(after-before[n]) / out.Jobs[0].Write.Bytes, err
	})
}

// quiet waits until everything is durable on all sides.
func quiet(m *mirror) error {
	if err := m.catchUp(); err != nil {
		return err
	}
	for _, n := range m.Nodes() {
		if _, err := n.WaitStatus(wait, "durable", func(s cluster.Status) bool { return s.DurableVersion >= s.Position.Version }); err != nil {
			return err
		}
	}
	unix.Sync()
	return nil
}

// idle fills the volume and looks at daemons that have nothing to do.
func (b *bench) idle(m *mirror) error {
	dir, err := mkdir(m.Leader.Mount, "idle")
	if err != nil {
		return err
	}
	if err := cluster.RunHelper(20*time.Minute, "create", dir, strconv.Itoa(b.sizes.idleFiles)).OK(); err != nil {
		return err
	}
	// As after a restart: what is resident then is what the files cost.
	for _, n := range slices.Backward(m.Nodes()) { // the leader last
		if err := n.Stop(); err != nil {
			return err
		}
	}
	if err := m.Start(wait); err != nil {
		return err
	}
	if err := quiet(m); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	const seconds = 10
	before := make(map[*cluster.Node]float64)
	for _, n := range m.Nodes() {
		if before[n], err = cpuSeconds(n.Proc().Pid()); err != nil {
			return err
		}
	}
	time.Sleep(seconds * time.Second)
	cpu := func(n *cluster.Node) (float64, error) {
		after, err := cpuSeconds(n.Proc().Pid())
		return (after - before[n]) / seconds * 100, err
	}
	resident := func(n *cluster.Node) (float64, error) {
		kib, err := procStatus(n.Proc().Pid(), "VmRSS")
		return float64(kib) / 1024, err
	}
	if err := errors.Join(b.eachNode(m, "_idle_cpu_percent", cpu), b.eachNode(m, "_idle_rss_mib", resident)); err != nil {
		return err
	}
	s, err := m.Leader.Status()
	if err != nil {
		return err
	}
	b.extra(m, "idle_files", float64(s.Files))
	return nil
}

func mkdir(parent, name string) (string, error) {
	dir := filepath.Join(parent, name)
	return dir, cluster.Run("mkdir", dir).OK()
}

// procStatus reads a figure of /proc/PID/status, in KiB.
func procStatus(pid int, name string) (kib int64, err error) {
	return procField(fmt.Sprintf("/proc/%d/status", pid), name+":")
}

// writeBytes is what a process made the disk write, as the kernel counts it when
// pages become dirty.
func writeBytes(pid int) (int64, error) {
	return procField(fmt.Sprintf("/proc/%d/io", pid), "\nwrite_bytes:")
}

func procField(path, label string) (v int64, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, after, ok := strings.Cut(string(text), label)
	if !ok {
		return 0, fmt.Errorf("%s: no %s", path, label)
	}
	_, err = fmt.Sscan(after, &v)
	return v, err
}

// cpuSeconds are user and system time of a process.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100, errors.Join(err1, err2) // USER_HZ is 100 on Linux
}
