package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/config"
	"wolfdisk/node/exit"
)

// fakeManager is a socket as a service manager binds it.
type fakeManager struct {
	t    *testing.T
	name string
	conn *net.UnixConn
}

func listen(t *testing.T, name string) *fakeManager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &fakeManager{t, name, conn}
}

// shortName is a path that fits into a socket address, whatever the test is called.
func shortName(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wdn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "notify")
}

// heard is the next message.
func (f *fakeManager) heard() string {
	f.t.Helper()
	f.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4096)
	n, err := f.conn.Read(buf)
	if err != nil {
		f.t.Fatalf("no message: %v", err)
	}
	return string(buf[:n])
}

// silent fails if there is another message.
func (f *fakeManager) silent() {
	f.t.Helper()
	f.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	buf := make([]byte, 4096)
	if n, err := f.conn.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		f.t.Fatalf("heard %q, %v", buf[:n], err)
	}
}

func (f *fakeManager) expect(want ...string) {
	f.t.Helper()
	for _, w := range want {
		if got := f.heard(); got != w {
			f.t.Fatalf("heard %q, want %q", got, w)
		}
	}
}

func TestManagerMessages(t *testing.T) {
	names := []string{shortName(t)}
	if runtime.GOOS == "linux" {
		names = append(names, "@wolfdisk-test-"+strconv.Itoa(os.Getpid()))
	}
	for _, name := range names {
		f := listen(t, name)
		m, err := newManager([]string{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=3000000"}, 1)
		if err != nil || !m.Listens() || m.Watchdog() != 3*time.Second {
			t.Fatalf("%v, %v", m, err)
		}
		m.now = func() (time.Duration, error) { return 1234567 * time.Nanosecond, nil }
		m.Status("starting\nREADY=1\x00") // one line, whatever is in it
		m.Status("starting READY=1 ")     // said already
		m.Alive()
		ran := false
		m.reloading(func() { ran = true }) // not ready: nothing that could be taken for it
		m.Ready()
		m.Ready()
		m.reloading(func() { m.Status("reading") })
		m.Stopping()
		m.Stopping()
		m.Status("too late")
		m.reloading(func() {})
		m.Ready()
		f.expect("STATUS=starting READY=1 ", "WATCHDOG=1", "READY=1", "RELOADING=1\nMONOTONIC_USEC=1234", "STATUS=reading", "READY=1", "STOPPING=1\nSTATUS=stopping")
		f.silent()
		if !ran {
			t.Error("the reload did not take place")
		}
	}
}

// A daemon that stops before it was ready must not be taken for ready.
func TestManagerStopsBeforeReady(t *testing.T) {
	f := listen(t, shortName(t))
	m, err := newManager([]string{"NOTIFY_SOCKET=" + f.name}, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.Stopping()
	m.Ready()
	m.Alive() // nobody wants to hear it
	f.expect("STOPPING=1\nSTATUS=stopping")
	f.silent()
}

func TestManagerEnvironment(t *testing.T) {
	tests := []struct {
		environ  string
		listens  bool
		watchdog time.Duration
		err      string
	}{
		{"", false, 0, ""},
		{"NOTIFY_SOCKET=", false, 0, ""},
		{"WATCHDOG_USEC=1000000", false, 0, ""},
		{"NOTIFY_SOCKET=/x", true, 0, ""},
		{"NOTIFY_SOCKET=@x", true, 0, ""},
		{"NOTIFY_SOCKET=/", false, 0, "must be the path"},
		{"NOTIFY_SOCKET=vsock:2:1234", false, 0, "must be the path"},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=500 WATCHDOG_PID=7", true, 500 * time.Microsecond, ""},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=500", true, 500 * time.Microsecond, ""},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=500 WATCHDOG_PID=8", true, 0, ""},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=0", true, 0, "number of microseconds"},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=-5", true, 0, "number of microseconds"},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=99999999999999999999", true, 0, "number of microseconds"},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=9223372036854775807", true, 0, "number of microseconds"},
		{"NOTIFY_SOCKET=/x WATCHDOG_USEC=1s", true, 0, "number of microseconds"},
	}
	for _, tt := range tests {
		m, err := newManager(strings.Fields(tt.environ), 7)
		if m.Listens() != tt.listens || m.Watchdog() != tt.watchdog {
			t.Errorf("%s: %v, %v", tt.environ, m.Listens(), m.Watchdog())
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v", tt.environ, err)
		}
	}
	var nobody *Manager
	nobody.Ready()
	nobody.Status("x")
	nobody.Alive()
	nobody.Stopping()
	ran := false
	nobody.reloading(func() { ran = true })
	if !ran {
		t.Error("without a manager there is no reload")
	}
}

// A manager that does not listen costs one warning, and one that went away after
// READY=1 not even that; one that comes back is heard of again.
func TestManagerGone(t *testing.T) {
	name := shortName(t)
	m, err := newManager([]string{"NOTIFY_SOCKET=" + name}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var out buffer
	m.log = zerolog.New(&out)
	m.Status("one")
	m.Status("two")
	if got := strings.Count(out.String(), `"level":"warn"`); got != 1 {
		t.Errorf("%d warnings\n%s", got, out.String())
	}
	f := listen(t, name)
	m.Ready()
	f.expect("READY=1")
	f.conn.Close()
	os.Remove(name)
	before := len(out.String())
	m.Status("three")
	if strings.Contains(out.String()[before:], `"level":"warn"`) {
		t.Errorf("a warning for a manager that only waited for READY=1\n%s", out.String())
	}
	f = listen(t, name)
	m.Stopping()
	f.expect("STOPPING=1\nSTATUS=stopping")
}

// TestManagerHearsDaemon: a whole run, as a manager sees it.
func TestManagerHearsDaemon(t *testing.T) {
	f := listen(t, shortName(t))
	p, _, stderr := newProcess(daemonArgs(t)...)
	p.environ = append(p.environ, "NOTIFY_SOCKET="+f.name)
	cfg, err := p.load()
	if err != nil {
		t.Fatal(err)
	}
	log := newLogger(cfg, stderr)
	p.meetManager(log)
	signals, code := make(chan os.Signal), make(chan exit.Code, 1)
	go func() {
		code <- p.run(func(ctx context.Context, _ *config.Config, _ zerolog.Logger, m *Manager) error {
			m.Ready()
			<-ctx.Done()
			return nil
		}, cfg, log, signals)
	}()
	f.expect("READY=1")
	signals <- syscall.SIGHUP
	if got := f.heard(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("heard %q", got)
	}
	f.expect("READY=1")
	signals <- syscall.SIGTERM
	f.expect("STOPPING=1\nSTATUS=stopping")
	if c := <-code; c != exit.OK {
		t.Errorf("code %d\n%s", c, stderr)
	}
	f.silent()
}

// A variable that no manager sets is told, and the daemon starts.
func TestManagerNonsense(t *testing.T) {
	p, _, stderr := newProcess(daemonArgs(t)...)
	p.environ = append(p.environ, "NOTIFY_SOCKET=nonsense")
	code := p.main(func(_ context.Context, _ *config.Config, _ zerolog.Logger, m *Manager) error {
		if m.Listens() {
			t.Error("somebody listens")
		}
		return nil
	})
	if code != exit.OK || !strings.Contains(stderr.String(), `NOTIFY_SOCKET \"nonsense\"`) && !strings.Contains(stderr.String(), `NOTIFY_SOCKET "nonsense"`) {
		t.Errorf("code %d\n%s", code, stderr)
	}
}
