package admin

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/exit"
)

func TestSocketMode(t *testing.T) {
	// A daemon with a mount has umask 0: the socket must not depend on it.
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s := start(t, Options{Source: newFake()})
	info, err := os.Lstat(SocketPath(s.opts.StateDir))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestSocketTaken(t *testing.T) {
	s := start(t, Options{Source: newFake()})
	_, err := Start(Options{StateDir: s.opts.StateDir, Source: newFake(), Log: zerolog.Nop()})
	if exit.Of(err) != exit.Unavailable || !strings.Contains(err.Error(), "another daemon answers on "+SocketPath(s.opts.StateDir)) {
		t.Fatalf("second daemon: %v", err)
	}
	if _, err := dial(t, s).Status(within(t, 5*time.Second)); err != nil {
		t.Errorf("the first one suffered: %v", err)
	}
}

func TestSocketStale(t *testing.T) {
	dir := stateDir(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: SocketPath(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, ".admin-1/s"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{StateDir: dir, Source: newFake()})
	if _, err := dial(t, s).Status(within(t, 5*time.Second)); err != nil {
		t.Errorf("after replacing a stale socket: %v", err)
	}
}

func TestSocketInTheWay(t *testing.T) {
	dir := stateDir(t)
	if err := os.WriteFile(SocketPath(dir), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(Options{StateDir: dir, Source: newFake(), Log: zerolog.Nop()})
	if exit.Of(err) != exit.Unavailable || !strings.Contains(err.Error(), "is in the way and is no socket") {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(SocketPath(dir)); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// Close must not take away the socket of somebody who came after.
func TestSocketOfAnother(t *testing.T) {
	dir := stateDir(t)
	s, err := Start(Options{StateDir: dir, Source: newFake(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(SocketPath(dir)); err != nil {
		t.Fatal(err)
	}
	other := start(t, Options{StateDir: dir, Source: newFake()})
	if err := s.Close(within(t, time.Second)); err != nil {
		t.Error(err)
	}
	if _, err := dial(t, other).Status(within(t, 5*time.Second)); err != nil {
		t.Errorf("the other's socket is gone: %v", err)
	}
}

func TestSocketLongPath(t *testing.T) {
	dir := filepath.Join(stateDir(t), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "linux" {
		_, err := Start(Options{StateDir: dir, Source: newFake(), Log: zerolog.Nop()})
		if exit.Of(err) != exit.Config || !strings.Contains(err.Error(), "choose a shorter --state-dir") {
			t.Errorf("%v", err)
		}
		return
	}
	s := start(t, Options{StateDir: dir, Source: newFake()})
	if st, err := dial(t, s).Status(within(t, 5*time.Second)); err != nil || st.NodeID != "node-2" {
		t.Errorf("%v", err)
	}
}

func TestNotRunning(t *testing.T) {
	dir := stateDir(t)
	for name, dir := range map[string]string{"no socket": dir, "no directory": dir + "/none", "a file": dir + "/file/x"} {
		if name == "a file" {
			if err := os.WriteFile(filepath.Dir(dir), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Dial(dir).Status(within(t, 5*time.Second))
		if exit.Of(err) != exit.NotRunning {
			t.Errorf("%s: code %d, %v", name, exit.Of(err), err)
			continue
		}
		for _, want := range []string{SocketPath(dir), "wolfdisk-master -m DIR --state-dir " + dir} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q lacks %q", name, err, want)
			}
		}
	}
}

func TestHungDaemon(t *testing.T) {
	dir := stateDir(t)
	l, err := net.Listen("unix", SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Dial(dir).Status(within(t, 50*time.Millisecond))
	if exit.Of(err) != exit.TimedOut || !strings.Contains(err.Error(), "does not answer in time") {
		t.Errorf("code %d, %v", exit.Of(err), err)
	}
}
