package admin

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// fakeSource is a daemon of which a test decides everything.
type fakeSource struct {
	mu      sync.Mutex
	status  Status
	lag     uint64
	mounted bool
	ops     []OpLine
	grown   chan struct{} // closed and replaced when ops are added
	opsErr  error         // after the ops
	stopErr error
	stopped chan struct{}
	block   chan struct{} // if set, Status waits for it
}

func newFake() *fakeSource {
	return &fakeSource{status: sampleStatus(), mounted: true, grown: make(chan struct{}), stopped: make(chan struct{}, 8)}
}

func (f *fakeSource) Status(context.Context) Status {
	f.mu.Lock()
	block, s := f.block, f.status
	f.mu.Unlock()
	if block != nil {
		<-block
	}
	return s
}

func (f *fakeSource) Ready(_ context.Context, maxLag uint64) (bool, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.mounted:
		return false, "not mounted yet"
	case f.lag > maxLag:
		return false, "behind"
	}
	return true, ""
}

func (f *fakeSource) Ops(ctx context.Context, from volume.Version, follow bool, fn func(OpLine) error) error {
	for next := max(int(from), 1); ; {
		f.mu.Lock()
		ops, grown, err := f.ops, f.grown, f.opsErr
		f.mu.Unlock()
		for ; next <= len(ops); next++ {
			if err := fn(ops[next-1]); err != nil {
				return err
			}
		}
		if err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}

func (f *fakeSource) Stop(context.Context) error {
	if f.stopErr == nil {
		f.stopped <- struct{}{}
	}
	return f.stopErr
}

func (f *fakeSource) set(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	close(f.grown)
	f.grown = make(chan struct{})
}

func (f *fakeSource) add(n int) {
	f.set(func() {
		for range n {
			f.ops = append(f.ops, OpLine{Version: uint64(len(f.ops) + 1), Kind: "write"})
		}
	})
}

func sampleStatus() Status {
	return Status{
		ClusterID: "0f0e0d0c0b0a09080706050403020100", VolumeID: "000102030405060708090a0b0c0d0e0f", NodeID: "node-2", Software: "1.2.3",
		Role: "leader", State: "live", LeaderID: "node-2",
		Position:       Position{Epoch: 3, EpochLeader: "node-2", Version: 1234, Digest: "00112233445566778899aabbccddeeff"},
		DurableVersion: 1230, Oplog: Oplog{First: 1, Last: 1234, Bytes: 5 << 20}, Files: 99, Bytes: 123456789,
		Chunks: &Chunks{Count: 7, Bytes: 9 << 20, StoredBytes: 5 << 20, DedupHits: 3, Marked: 1, Packs: 2, PackBytes: 6 << 20, DeadBytes: 1 << 20},
		Mount:  Mount{Path: "/srv/data", Driver: "bazil"},
		Peers: []Peer{
			{ID: "node-10", Address: "10.0.0.10:9500", Role: "follower", State: "syncing", Software: "1.2.2", Received: 1200, Applied: 1100, Durable: 1000,
				LagOps: 134, LagBytes: 70000, LagSeconds: 1.25, SyncPercent: 89.1},
			{ID: "node-9", Address: "[2001:db8::9]:9500", Role: "follower", State: "live", Software: "1.2.3", Received: 1234, Applied: 1234, Durable: 1233, SyncPercent: 100},
		},
		Verify: &VerifyResult{
			Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Seconds: 1.5, Version: 1200, Names: 99, Files: 80, Bytes: 123456000, Differences: 1, NotCompared: 1,
			Nodes: []VerifyNode{{ID: "node-2", Compared: true}, {ID: "node-9", Compared: true}, {ID: "node-10", Reason: "not connected"}},
			Shown: []VerifyDifference{{Path: `"a\xffb"`, RawPath: []byte("a\xffb"), Kind: "mtime", Node: "node-9", Detail: "1.000000001 on node-2, 1.000000002 here"}},
		},
	}
}

// stateDir is a state directory with a path that fits into a socket address, which
// those of the testing package may not.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	if opts.StateDir == "" {
		opts.StateDir = stateDir(t)
	}
	opts.Log, opts.Program = zerolog.Nop(), "wolfdisk-master"
	s, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := os.Lstat(SocketPath(opts.StateDir)); !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
		left, err := filepath.Glob(filepath.Join(opts.StateDir, ".admin-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return s
}

func dial(t *testing.T, s *Server) *Client {
	t.Helper()
	c := Dial(s.opts.StateDir)
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
