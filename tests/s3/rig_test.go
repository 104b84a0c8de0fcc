package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/s3"
	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

var testVolume = volume.ID{1, 2, 3}

// diskFS is a file system in memory that can say how full it is.
type diskFS struct{ vfs.FS }

func (diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 4 << 30, UsedBytes: 3 << 30}, nil
}

// keyPair is what the verifier knows: one pair, or none.
type keyPair struct{ atomic.Pointer[sig.Key] }

func (k *keyPair) Find(access string) (sig.Key, bool) {
	if p := k.Load(); p != nil && p.Access == access {
		return *p, true
	}
	return sig.Key{}, false
}

func (k *keyPair) Empty() bool { return k.Load() == nil }

// rig is a gateway on a port of loopback, over a leader.
type rig struct {
	t     *testing.T
	log   *oplog.Log
	tree  *index.Tree
	dir   *hostdir.Dir // nil over chunks
	lower string       // the directory's path
	epoch uint64
	lead  *master.Leader
	srv   *s3.Server
	url   string
	keys  *keyPair
	// wrap, if set, stands between the next gateway and the volume.
	wrap func(s3.Volume) s3.Volume
	// region, if set, is the only one that the next gateway accepts in a signature.
	region string
}

// kinds are the volumes that everything is tested over.
var kinds = []string{"chunks", "dir"}

// newRig makes one whose log, index and chunks are in memory.
func newRig(t *testing.T, kind string) *rig {
	t.Helper()
	return openRig(t, kind, diskFS{vfs.NewMem()}, "", 1<<20)
}

// newDiskRig makes one that keeps all on a disk, for content that is larger.
func newDiskRig(t *testing.T, kind string) *rig {
	t.Helper()
	return openRig(t, kind, vfs.Default, t.TempDir(), 16<<20)
}

func openRig(t *testing.T, kind string, fs vfs.FS, base string, memTable int64) *rig {
	t.Helper()
	r := &rig{t: t, keys: new(keyPair)}
	opt := oplog.DefaultOptions(filepath.Join(base, "oplog"), testVolume)
	opt.FS, opt.SyncEvery, opt.SegmentSize = fs, 0, 8<<20
	log, _, err := oplog.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	r.log = log
	ctx := context.Background()
	e, err := index.Open(index.Options{FS: fs, Dir: filepath.Join(base, "index"), Extents: kind == "chunks", MemTable: memTable, Log: zerolog.Nop(),
		SyncLog: func(v volume.Version) error { return log.Sync(ctx, v) }})
	if err != nil {
		t.Fatal(err)
	}
	closers := []io.Closer{e}
	var back volume.Backing
	if kind == "chunks" {
		store, _, err := chunkstore.Open(chunkstore.Options{FS: fs, Dir: filepath.Join(base, "chunks"), Volume: testVolume, ChunkSize: volume.MinChunkSize, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		back, closers = chunkstore.NewContent(e, log, store), append(closers, store)
	} else {
		if os.Geteuid() != 0 {
			t.Skip("owners of lower files need root")
		}
		r.lower = t.TempDir()
		r.dir, err = hostdir.Open(hostdir.Options{Path: r.lower, StateDir: t.TempDir(), Volume: testVolume, Store: volume.ID{9}, New: true, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		back, closers = r.dir, append(closers, r.dir)
	}
	r.tree = index.NewTree(e, back)
	t.Cleanup(func() {
		r.stop()
		for _, c := range append(closers, log) {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	r.start()
	return r
}

// start begins a new epoch, and a new gateway over it.
func (r *rig) start() {
	r.t.Helper()
	r.epoch++
	l, err := master.New(master.Options{Tree: r.tree, Log: r.log, Dir: r.dir, Epoch: volume.Epoch{Number: r.epoch, Leader: "test", Tag: uint32(r.epoch - 1)},
		Participants: []string{"test"}, Log0: zerolog.Nop()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.lead = l
	cfg := s3.DefaultConfig()
	cfg.Volume, cfg.Auth = l, &sig.Verifier{Keys: r.keys, Region: r.region}
	if r.wrap != nil {
		cfg.Volume = r.wrap(l)
	}
	if r.srv, err = s3.New(cfg); err != nil {
		r.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.url = "http://" + ln.Addr().String()
	srv := r.srv
	go func() {
		if err := srv.Serve(ln); err != nil {
			r.t.Error(err)
		}
	}()
}

// stop is the death of the leader, as far as its volume and its clients see it.
func (r *rig) stop() {
	if r.srv == nil {
		return
	}
	r.lead.Stop(volume.Fenced)
	if err := r.srv.Close(); err != nil {
		r.t.Error(err)
	}
	r.srv = nil
}

// send makes a request, and fails the test unless the status is as expected.
func (r *rig) send(want int, method, path, body string, headers ...string) (string, http.Header) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if res.StatusCode != want {
		r.t.Fatalf("%s %s: %s %.500s, want %d", method, path, res.Status, b, want)
	}
	return string(b), res.Header
}

func (r *rig) decode(doc string, v any) {
	r.t.Helper()
	if err := xml.Unmarshal([]byte(doc), v); err != nil {
		r.t.Fatalf("%.500s: %v", doc, err)
	}
}

// lookup is the inode at a path.
func (r *rig) lookup(path string) volume.Attr {
	r.t.Helper()
	a := volume.Attr{Ino: volume.RootIno}
	for _, name := range strings.Split(path, "/") {
		var err error
		if a, err = r.lead.Lookup(r.t.Context(), a.Ino, name); err != nil {
			r.t.Fatalf("%s: %v", path, err)
		}
	}
	return a
}

// nameless are the inodes that live without a name.
func (r *rig) nameless() []volume.Ino {
	r.t.Helper()
	list, err := r.tree.Orphans()
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func block(n int, seed byte) string {
	b := bytes.Repeat([]byte{seed}, n)
	for i := 0; i < n; i += 97 {
		b[i] = byte(i >> 7)
	}
	return string(b)
}
