package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

var update = flag.Bool("update", false, "write the golden files anew")

// helperDir makes the test binary itself a daemon on that state directory.
const helperDir = "WDCTLTEST_STATE"

var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(helperDir); dir != "" {
		os.Exit(helperDaemon(dir))
	}
	dir, err := os.MkdirTemp("", "wdctl")
	if err == nil {
		binary = filepath.Join(dir, "wolfdiskctl")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// helperDaemon stops a moment after it was told to, as a real one does.
func helperDaemon(dir string) int {
	f := newFake()
	s, err := admin.Start(admin.Options{StateDir: dir, Source: f, Log: zerolog.Nop(), Program: "wolfdisk-master"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-f.stopped
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		return 1
	}
	time.Sleep(150 * time.Millisecond) // the socket is gone, the process is not
	if err := os.WriteFile(filepath.Join(dir, "ended"), nil, 0o600); err != nil {
		return 1
	}
	return 0
}

type fakeSource struct {
	mu      sync.Mutex
	status  admin.Status
	lag     uint64
	mounted bool
	ops     []admin.OpLine
	grown   chan struct{}
	stopped chan struct{}
}

func newFake() *fakeSource {
	f := &fakeSource{mounted: true, grown: make(chan struct{}), stopped: make(chan struct{}, 1)}
	f.status = admin.Status{
		ClusterID: "0f0e0d0c0b0a09080706050403020100", VolumeID: "000102030405060708090a0b0c0d0e0f", NodeID: "node-2", Software: "1.2.3",
		Role: "leader", State: "live", LeaderID: "node-2",
		Position:       admin.Position{Epoch: 3, EpochLeader: "node-2", Version: 25, Digest: "00112233445566778899aabbccddeeff"},
		DurableVersion: 24, Oplog: admin.Oplog{First: 1, Last: 25, Bytes: 5 << 20}, Files: 99, Bytes: 123456789,
		Chunks: &admin.Chunks{Count: 7, Bytes: 9 << 20, StoredBytes: 5 << 20, DedupHits: 3, Marked: 1, Packs: 2, PackBytes: 6 << 20, DeadBytes: 1 << 20},
		Mount:  admin.Mount{Path: "/srv/data", Driver: "bazil"},
		Peers: []admin.Peer{
			{ID: "node-10", Address: "10.0.0.10:9500", Role: "follower", State: "syncing", Software: "evil\x1b[2J", Received: 20, Applied: 18, Durable: 10,
				LagOps: 7, LagBytes: 70000, LagSeconds: 1.25, SyncPercent: 72},
			{ID: "node-9", Address: "[2001:db8::9]:9500", Role: "follower", State: "live", Software: "1.2.3", Received: 25, Applied: 25, Durable: 24, SyncPercent: 100},
		},
	}
	for v := uint64(1); v <= 25; v++ {
		f.ops = append(f.ops, admin.OpLine{Version: v, Time: "2026-01-02T03:04:05.000000006Z", Kind: "write", Ino: 9, Offset: new(int64(4096 * int64(v))), Length: new(int64(4096)), UID: 1000, GID: 100, Front: "fuse"})
	}
	f.ops[22] = admin.OpLine{Version: 23, Time: "2026-01-02T03:04:05.000000006Z", Kind: "rename", Ino: 9, Parent: 1, Name: "a b", NewParent: 2, NewName: "esc\x1b", Replaced: 5, Front: "s3"}
	f.ops[23] = admin.OpLine{Version: 24, Time: "2026-01-02T03:04:05.000000006Z", Kind: "create", Ino: 11, Parent: 1, Name: `"raw\xff"`, RawName: []byte("raw\xff"), Mode: "120777", Target: "to/x", Front: "fuse"}
	f.ops[24] = admin.OpLine{Version: 25, Time: "2026-01-02T03:04:05.000000006Z", Kind: "reign", Detail: "epoch 3/node-2/00001", Front: "node"}
	return f
}

func (f *fakeSource) Status(context.Context) admin.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeSource) Ready(_ context.Context, maxLag uint64) (bool, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.mounted:
		return false, "not mounted yet"
	case f.lag > maxLag:
		return false, fmt.Sprintf("%d ops behind", f.lag)
	}
	return true, ""
}

func (f *fakeSource) Ops(ctx context.Context, from volume.Version, follow bool, fn func(admin.OpLine) error) error {
	for next := max(int(from), 1); ; {
		f.mu.Lock()
		ops, grown := f.ops, f.grown
		f.mu.Unlock()
		for ; next <= len(ops); next++ {
			if err := fn(ops[next-1]); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}

func (f *fakeSource) Stop(context.Context) error {
	f.stopped <- struct{}{}
	return nil
}

func (f *fakeSource) set(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	close(f.grown)
	f.grown = make(chan struct{})
}

func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func serve(t *testing.T, f *fakeSource, dir string) {
	t.Helper()
	s, err := admin.Start(admin.Options{StateDir: dir, Source: f, Log: zerolog.Nop(), Program: "wolfdisk-master"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
	})
}

// ctl runs a command in this process.
func ctl(t *testing.T, dir string, args ...string) (exit.Code, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	code := run(ctx, append([]string{"--state-dir", dir}, args...), nil, &out, &errs)
	return code, out.String(), errs.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update):\n%s", path, got)
	}
}
