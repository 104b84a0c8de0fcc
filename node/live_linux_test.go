package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/fusefs"
	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

const appEnv = "WOLFDISK_NODE_APP"

// TestMain runs the test binary as an application on a mount if it is told to: the
// process that serves a mount must never use it itself.
func TestMain(m *testing.M) {
	if dir := os.Getenv(appEnv); dir != "" {
		application(dir)
		return
	}
	os.Exit(m.Run())
}

// application does what its input says, a line each, and answers each with a line.
func application(dir string) {
	open := map[string]*os.File{}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		w := strings.Fields(in.Text())
		out, err := appStep(dir, open, w)
		if err != nil {
			out = "error " + err.Error()
		}
		fmt.Println(strings.ReplaceAll(out, "\n", " "))
	}
}

func appStep(dir string, open map[string]*os.File, w []string) (out string, err error) {
	path := filepath.Join(dir, w[1])
	switch w[0] {
	case "open":
		open[w[1]], err = os.Open(path)
	case "openrw":
		open[w[1]], err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	case "close":
		err = open[w[1]].Close()
	case "read": // through the open file
		b := make([]byte, 64)
		n, rerr := open[w[1]].ReadAt(b, 0)
		if rerr != nil && rerr != io.EOF {
			err = rerr
		}
		out = string(b[:n])
	case "write": // through the open file
		_, err = open[w[1]].WriteAt([]byte(w[2]), 0)
		if err == nil {
			err = open[w[1]].Sync()
		}
	case "put":
		err = os.WriteFile(path, []byte(w[2]), 0o644)
	case "get":
		var b []byte
		b, err = os.ReadFile(path)
		out = string(b)
	case "rm":
		err = os.Remove(path)
	case "mkdir":
		err = os.Mkdir(path, 0o755)
	case "ls":
		var list []os.DirEntry
		list, err = os.ReadDir(path)
		for _, e := range list {
			out += e.Name() + " "
		}
	}
	return strings.TrimSpace("ok " + out), err
}

// app is one application.
type app struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

func startApp(t *testing.T, dir string) *app {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), appEnv+"="+dir)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Error("application:", err)
		}
	})
	return &app{t, in, bufio.NewScanner(out)}
}

// do has the application do a step and returns what it says.
func (a *app) do(step string, args ...any) string {
	if _, err := fmt.Fprintf(a.in, step+"\n", args...); err != nil {
		a.t.Error(err)
		return ""
	}
	if !a.out.Scan() {
		a.t.Error("the application has ended")
		return ""
	}
	return a.out.Text()
}

func (a *app) want(answer, step string, args ...any) {
	a.t.Helper()
	if got := a.do(step, args...); got != answer {
		a.t.Errorf("%s: %q, want %q", fmt.Sprintf(step, args...), got, answer)
	}
}

// follow brings a volume what another one's log holds.
func (v *memVolume) follow(t *testing.T, from *oplog.Log) {
	t.Helper()
	ctx := context.Background()
	r, err := from.Reader(v.log.Last().Version + 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for v.log.Last() != from.Last() {
		f, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := v.log.AppendFrame(f.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	if err := replay(ctx, v.log, v.engine, v.log.Last().Version); err != nil {
		t.Fatal(err)
	}
}

func (v *memVolume) lead(t *testing.T, number uint64, o volume.Observer) *master.Leader {
	t.Helper()
	l, err := master.New(master.Options{Tree: v.tree, Log: v.log, Observer: o, Log0: zerolog.Nop(),
		Epoch: volume.Epoch{Number: number, Leader: "a", Tag: uint32(number - 1)}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSwitchUnderMount puts one leader after the other in charge of a live mount, each
// over a copy of the same tree. What applications have open goes on being read and
// written, also if its name has gone, and new work finds its way.
func TestSwitchUnderMount(t *testing.T) {
	if err := fusefs.Available(); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and /dev/fuse:", err)
	}
	ctx := context.Background()
	obs := &observers{}
	vols := make([]*memVolume, 3)
	for i := range vols {
		v, err := openMem(diskFS{vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.abandon)
		vols[i] = v
	}
	leader := vols[0].lead(t, 1, obs)
	h := NewHandle(leader)
	dir := t.TempDir()
	srv, err := fusefs.Mount(ctx, h, fusefs.Options{Dir: dir, FSName: "test", AllowOther: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	obs.add(srv.Observer())
	t.Cleanup(func() {
		c, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := srv.Unmount(c); err != nil {
			t.Error("unmount:", err)
		}
	})
	a := startApp(t, dir)
	a.want("ok", "put kept first")
	a.want("ok", "put nameless gone")
	a.want("ok", "open kept")
	a.want("ok", "openrw written")
	a.want("ok", "write written zero")
	a.want("ok", "open nameless")
	a.want("ok", "rm nameless")
	a.want("ok gone", "read nameless")
	a.want("ok", "mkdir d")

	busy := startApp(t, dir) // works all the time
	stop, worked := make(chan struct{}), make(chan struct{})
	var steps atomic.Int64 // done by it
	go func() {
		defer close(worked)
		for n := 0; ; n++ {
			steps.Store(int64(n))
			select {
			case <-stop:
				return
			default:
			}
			// A leader that has just been stopped answers EROFS: try again.
			for step := 0; ; step++ {
				got := busy.do("put d/f%d content%d", n%50, n)
				if got == "ok" {
					break
				}
				if !strings.Contains(got, "read-only") || step > 2000 {
					t.Errorf("put: %q", got)
					break
				}
				time.Sleep(time.Millisecond)
			}
			if got := busy.do("get d/f%d", n%50); got != fmt.Sprintf("ok content%d", n) {
				t.Errorf("get: %q, want content%d", got, n)
			}
		}
	}()
	rounds := 9
	if testing.Short() {
		rounds = 4
	}
	for i := 1; i <= rounds; i++ {
		before := steps.Load()
		waitUntil(t, "the other application's next steps", func() bool { return steps.Load() > before+1 })
		leader.Stop(volume.Errorf(volume.ReadOnly, "another one leads"))
		old, next := vols[(i-1)%len(vols)], vols[i%len(vols)]
		next.follow(t, old.log)
		leader = next.lead(t, uint64(i+1), obs)
		if stale := h.Switch(leader); len(stale) > 0 {
			t.Errorf("switch %d: stale %v", i, stale)
		}
		srv.InvalidateAll() // so that what is read comes from the new volume
		a.want("ok first", "read kept")
		a.want("ok gone", "read nameless")
		a.want("ok", "write written round%d", i)
		a.want(fmt.Sprintf("ok round%d", i), "read written")
		a.want(fmt.Sprintf("ok round%d", i), "get written")
		a.want("ok", "put new%d made%d", i, i)
		a.want(fmt.Sprintf("ok made%d", i), "get new%d", i)
	}
	close(stop)
	<-worked
	a.want("ok", "close nameless")
	a.want("ok", "close kept")
	a.want("ok", "close written")
	if err := srv.Settle(ctx); err != nil {
		t.Error(err)
	}
	if err := leader.Failed(); err != nil {
		t.Fatal(err)
	}
	// The log of the last leader makes its tree, and nothing nameless is left.
	last := vols[rounds%len(vols)]
	waitUntil(t, "the last close", func() bool {
		o, err := last.engine.Orphans()
		return err == nil && len(o) == 0
	})
	fresh, err := openMem(diskFS{vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fresh.abandon)
	fresh.follow(t, last.log)
	want, err := volumetest.Tree(ctx, last.tree)
	if err != nil {
		t.Fatal(err)
	}
	got, err := volumetest.Tree(ctx, fresh.tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range volumetest.Diff(want, got) {
		t.Error(d)
	}
	for _, s := range volumetest.Check(got) {
		t.Error(s)
	}
}

// diskFS is a file system in memory that can say how full it is.
type diskFS struct{ vfs.FS }

// GetDiskUsage implements vfs.FS.
func (diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 4 << 30, UsedBytes: 3 << 30}, nil
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%s: not within a minute", what)
			return
		}
	}
}
