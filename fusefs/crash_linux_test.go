package fusefs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

const serveDir = "WOLFDISK_FUSEFS_TEST_DIR"

// runServer serves a mount in a child, until it is killed.
func runServer() {
	s, err := Mount(context.Background(), newHub(), Options{Dir: os.Getenv(serveDir), Driver: os.Getenv(driverEnv), AllowOther: true, Log: zerolog.Nop()})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("mounted")
	s.Wait()
}

// crashedMount leaves the mount of a killed server on dir.
func crashedMount(t *testing.T, dir string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := exec.Command(exe)
	p.Env = append(os.Environ(), agentEnv+"=serve", serveDir+"="+dir)
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "mounted\n" {
		t.Fatalf("server: %q %v", line, err)
	}
	a := startAgent(t, dir, 0)
	a.put("f", "x") // so that the kernel keeps something
	a.open("f", unix.O_RDONLY)
	p.Process.Kill()
	p.Wait()
	if r := a.try(cmd{Op: "put", Path: "g", Mode: 0o644}); r.Errno != "ENOTCONN" && r.Errno != "ECONNABORTED" {
		t.Fatalf("after kill -9: %q", r.Errno)
	}
}

func TestCleanStale(t *testing.T) {
	if err := Available(); err != nil || os.Geteuid() != 0 {
		t.Skip("cannot mount here")
	}
	dir := t.TempDir() + "/with space, comma"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
	})
	if cleaned, err := CleanStale(dir, zerolog.Nop()); cleaned || err != nil {
		t.Fatalf("nothing mounted: %v, %v", cleaned, err)
	}
	crashedMount(t, dir)
	if cleaned, err := CleanStale(dir, zerolog.Nop()); !cleaned || err != nil {
		t.Fatalf("one: %v, %v", cleaned, err)
	}
	if err := os.WriteFile(dir+"/below", nil, 0o644); err != nil {
		t.Fatalf("the directory itself is not back: %v", err)
	}
	if cleaned, err := CleanStale(dir+"/none", zerolog.Nop()); cleaned || err != nil {
		t.Fatalf("no such directory: %v, %v", cleaned, err)
	}
	link := t.TempDir() + "/link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	crashedMount(t, dir)
	if cleaned, err := CleanStale(link, zerolog.Nop()); !cleaned || err != nil {
		t.Fatalf("through a link: %v, %v", cleaned, err)
	}
}

func TestCleanStaleLeavesLive(t *testing.T) {
	r, a := mountModel(t)
	a.put("f", "x")
	if cleaned, err := CleanStale(r.dir, zerolog.Nop()); cleaned || err != nil {
		t.Fatalf("a live mount: %v, %v", cleaned, err)
	}
	if got := a.content("f"); got != "x" {
		t.Errorf("content %q", got)
	}
}

func TestUnmount(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		r, a := mountModel(t)
		a.put("f", "x")
		if err := r.srv.Unmount(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := r.srv.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := r.srv.Unmount(context.Background()); err != nil {
			t.Errorf("a second time: %v", err)
		}
		a.fails("ENOENT", cmd{Op: "stat", Path: "f"})
	})
	t.Run("from outside", func(t *testing.T) {
		r, _ := mountModel(t)
		if err := exec.Command("umount", r.dir).Run(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-r.srv.Done():
		case <-time.After(5 * time.Second):
			t.Fatal("the server does not notice")
		}
	})
	t.Run("in use", func(t *testing.T) {
		r, a := mountModel(t)
		fd := a.open("f", unix.O_CREAT|unix.O_RDWR)
		ino := r.hub.ino(t, "f")
		a.do(cmd{Op: "unlink", Path: "f"})
		start := time.Now()
		if err := r.srv.Unmount(context.Background()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("took %v", d)
		}
		if r := a.try(cmd{Op: "pwrite", FD: fd, Data: []byte("x")}); r.Errno == "" {
			t.Error("a write after the end succeeded")
		}
		// What was open is closed, so the unlinked file has ended.
		if _, err := r.hub.GetAttr(context.Background(), ino); volume.KindOf(err) != volume.Stale || err == nil {
			t.Errorf("the unlinked file lives: %v", err)
		}
	})
	t.Run("with a request that hangs", func(t *testing.T) {
		h := newHub()
		r := mountHub(t, h, Options{})
		a := startAgent(t, r.dir, 0)
		entered, _ := h.hang()
		wait := a.start(cmd{Op: "mkdir", Path: "d", Mode: 0o755})
		<-entered
		if err := r.srv.Unmount(context.Background()); err != nil {
			t.Fatal(err)
		}
		if r := wait(); r.Errno == "" {
			t.Error("mkdir succeeded")
		}
	})
}

// hang makes changes wait until their request is cancelled.
func (h *hub) hang() (entered chan bool, cancelled *atomic.Int32) {
	entered, cancelled = make(chan bool, 100), new(atomic.Int32)
	before := func(ctx context.Context, _ *volume.Request) error {
		entered <- true
		<-ctx.Done()
		cancelled.Add(1)
		return volume.Errorf(volume.Interrupted, "wait: %w", ctx.Err())
	}
	h.before.Store(&before)
	return entered, cancelled
}

// A caller that is killed does not wait for its request; other signals do not matter.
func TestInterrupt(t *testing.T) {
	if err := Available(); err != nil || os.Geteuid() != 0 {
		t.Skip("cannot mount here")
	}
	h := newHub()
	for i := range 7 { // the kernel locks a directory while something is made in it
		h.elsewhere(t, volume.Request{Kind: volume.OpCreate, Parent: 1, Name: fmt.Sprint("p", i), Mode: volume.ModeDir | 0o755})
	}
	r := mountHub(t, h, Options{})
	entered, cancelled := h.hang()
	a := startAgent(t, r.dir, 0)
	a.start(cmd{Op: "mkdir", Path: "p6/d", Mode: 0o755})
	<-entered
	a.proc.Process.Signal(syscall.SIGWINCH)
	a.proc.Process.Signal(syscall.SIGURG)
	time.Sleep(100 * time.Millisecond)
	if n := cancelled.Load(); n != 0 {
		t.Errorf("a harmless signal cancelled %d requests", n)
	}
	// All other requests go on, however many hang.
	for i := range 6 {
		b := startAgent(t, r.dir, 0)
		b.start(cmd{Op: "mkdir", Path: fmt.Sprintf("p%d/d", i), Mode: 0o755})
		<-entered
	}
	c := startAgent(t, r.dir, 0)
	c.do(cmd{Op: "statfs", Path: "."})
	a.proc.Process.Kill()
	eventually(t, "the killed caller's request is cancelled", func() bool { return cancelled.Load() == 1 })
	died := make(chan bool)
	go func() { a.proc.Wait(); close(died) }()
	select {
	case <-died:
	case <-time.After(5 * time.Second):
		t.Error("the killed caller does not die")
	}
}

func TestMountErrors(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip("cannot mount here")
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		o    Options
		kind volume.Kind
		text string
	}{
		{Options{}, volume.Invalid, "no directory"},
		{Options{Dir: file}, volume.NotDir, "not a directory"},
		{Options{Dir: file + "/x/y"}, volume.NotDir, "file/x/y"},
		{Options{Dir: t.TempDir() + "/none"}, volume.NotFound, "none"},
		{Options{Dir: t.TempDir() + "/none", Driver: testDriver}, volume.NotFound, "none"},
		{Options{Dir: t.TempDir(), Driver: "other"}, volume.Unsupported, `"other"`},
		{Options{Dir: t.TempDir(), MaxBackground: 1 << 20}, volume.Invalid, "max_background"},
		{Options{Dir: t.TempDir(), ReadAhead: -1}, volume.Invalid, "read-ahead"},
	} {
		s, err := Mount(context.Background(), newHub(), tt.o)
		if err == nil {
			s.Unmount(context.Background())
			t.Errorf("%+v: mounted", tt.o)
			continue
		}
		if volume.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%+v: %v (%v), want %v and %q", tt.o, err, volume.KindOf(err), tt.kind, tt.text)
		}
	}
}

// Mount flags and names are those of the contract.
func TestMountTable(t *testing.T) {
	h := newHub()
	r := mountHub(t, h, Options{FSName: "photos, 2"})
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if !strings.Contains(line, " "+r.dir+" ") {
			continue
		}
		for _, want := range []string{"rw,nosuid,nodev", " fuse.wolfdisk photos,\\0402 ", "default_permissions", "allow_other"} {
			if !strings.Contains(line, want) {
				t.Errorf("%q lacks %q", line, want)
			}
		}
		return
	}
	t.Error("not in the mount table")
}

// The options that the library has no option for arrive.
func TestNegotiated(t *testing.T) {
	r, _ := mountModel(t)
	got, id := agreed(t, r.srv.driver)
	want := uint64(initAsyncRead | initAtomicTrunc | initExportSupport | initBigWrites | initDontMask | initReaddirplus | initReaddirplusAuto |
		initAsyncDIO | initParallelDirOps | initPosixACL | initCacheSymlinks | initExplicitInval | initKillPrivV2 | initSetxattrExt)
	if r.srv.Driver() == DriverGofuse {
		want |= initMaxPages | initExt // which only that one can say
	}
	if got != want {
		t.Errorf("negotiated %#x, want %#x", got, want)
	}
	kb, err := os.ReadFile("/sys/class/bdi/" + id + "/read_ahead_kb")
	if err != nil || strings.TrimSpace(string(kb)) != "1024" {
		t.Errorf("read-ahead window %q KiB, %v", kb, err)
	}
}
