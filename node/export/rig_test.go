package export_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/node/export"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

var (
	ctx        = context.Background()
	testVolume = volume.ID{4, 5, 6}
)

// rig is a volume in memory, with a leader that changes it.
type rig struct {
	t      *testing.T
	log    *oplog.Log
	engine *index.Engine
	store  *chunkstore.Store
	leader *master.Leader
	gen    *volumetest.Gen
}

func newRig(t *testing.T, seed uint64) *rig {
	t.Helper()
	mem := vfs.NewMem()
	r := &rig{t: t, gen: volumetest.Random(seed)}
	opt := oplog.DefaultOptions("oplog", testVolume)
	opt.FS, opt.SyncEvery, opt.SegmentSize = mem, 0, 1<<20
	var err error
	if r.log, _, err = oplog.Open(opt); err != nil {
		t.Fatal(err)
	}
	r.engine, err = index.Open(index.Options{FS: mem, Dir: "index", Extents: true, MemTable: 1 << 20, Log: zerolog.Nop(),
		SyncLog: func(v volume.Version) error { return r.log.Sync(context.Background(), v) }})
	if err != nil {
		t.Fatal(err)
	}
	r.store, _, err = chunkstore.Open(chunkstore.Options{FS: mem, Dir: "chunks", Volume: testVolume, ChunkSize: volume.MinChunkSize, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	r.leader, err = master.New(master.Options{Tree: index.NewTree(r.engine, chunkstore.NewContent(r.engine, r.log, r.store)), Log: r.log, Log0: zerolog.Nop(),
		Participants: []string{"a"}, Epoch: volume.Epoch{Number: 1, Leader: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.engine.Close(), r.store.Close(), r.log.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// work makes random changes.
func (r *rig) work(steps int) {
	for range steps {
		s := r.gen.Next()
		var res volume.Result
		var err error
		switch {
		case s.Req != nil:
			res, err = r.leader.Do(ctx, s.Req)
		case s.Open != 0:
			err = r.leader.Open(ctx, s.Open, false)
		default:
			err = r.leader.Close(ctx, s.Close)
		}
		r.gen.Done(s, res, err)
	}
}

func (r *rig) do(req volume.Request) volume.Ino {
	r.t.Helper()
	res, err := r.leader.Do(ctx, &req)
	if err != nil {
		r.t.Fatalf("%s: %v", req.Kind, err)
	}
	return res.Attr.Ino
}

// file makes a file with content.
func (r *rig) file(dir volume.Ino, name, content string) volume.Ino {
	r.t.Helper()
	ino := r.do(volume.Request{Kind: volume.OpCreate, Parent: dir, Name: name, Mode: volume.ModeFile | 0o644, Caller: volume.Caller{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}})
	if content != "" {
		r.do(volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte(content)})
	}
	return ino
}

func (r *rig) mkdir(dir volume.Ino, name string) volume.Ino {
	r.t.Helper()
	return r.do(volume.Request{Kind: volume.OpCreate, Parent: dir, Name: name, Mode: volume.ModeDir | 0o755, Caller: volume.Caller{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}})
}

// content is a volume's content that can be made to fail.
type content struct {
	export.Content
	reads atomic.Int64
	fail  func(read int64, ino volume.Ino) error
}

func (c *content) ReadAt(ctx context.Context, a *volume.Attr, p []byte, off int64, v volume.View) (int, error) {
	if n := c.reads.Add(1); c.fail != nil {
		if err := c.fail(n, a.Ino); err != nil {
			return 0, err
		}
	}
	return c.Content.ReadAt(ctx, a, p, off, v)
}

// run is one export, with what it told.
type run struct {
	snap  *index.Snapshot
	opt   export.Options
	notes []export.Note
}

// prepare takes a snapshot to be exported.
func (r *rig) prepare(dir string) *run {
	r.t.Helper()
	snap, err := r.engine.Snapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := snap.Close(); err != nil {
			r.t.Error(err)
		}
	})
	x := &run{snap: snap}
	x.opt = export.Options{
		Dir: dir, Volume: testVolume, Version: snap.Position().Version, Tree: snap, Jobs: 3, NoSync: true, Log: zerolog.Nop(),
		Content:  chunkstore.NewContent(snap, r.log, r.store),
		Progress: func(uint64, uint64, string) {}, Tick: func() error { return nil },
		Tell: func(n export.Note) error {
			x.notes = append(x.notes, n)
			return nil
		},
	}
	return x
}

func (x *run) mustRun(t *testing.T) export.Result {
	t.Helper()
	res, err := export.Run(ctx, x.opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// told reports whether a note says something of a path.
func (x *run) told(kind, path string) bool {
	for _, n := range x.notes {
		if n.Kind == kind && n.Path == path {
			return true
		}
	}
	return false
}

// compare compares a directory with the snapshot, name by name.
func (x *run) compare(t *testing.T, dir string) {
	t.Helper()
	c := &comparison{t: t, x: x, inos: map[volume.Ino]uint64{}, refused: map[volume.Ino]bool{}, own: x.opt.Keep}
	for _, n := range x.notes {
		if n.Kind == export.Refused {
			c.refused[c.find(n.Path)] = true
		}
	}
	c.folder(volume.RootIno, dir, "")
	if t.Failed() {
		t.FailNow()
	}
}

type comparison struct {
	t    *testing.T
	x    *run
	inos map[volume.Ino]uint64 // of lower files
	// refused are inodes that the file system did not take all of.
	refused map[volume.Ino]bool
	own     bool // the record stays
}

// find is the inode of a path.
func (c *comparison) find(path string) volume.Ino {
	ino := volume.RootIno
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		d, err := c.x.snap.Entry(ino, name)
		c.check(err)
		ino = d.Ino
	}
	return ino
}

func (c *comparison) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *comparison) folder(ino volume.Ino, full, path string) {
	c.inode(ino, full, path)
	have := map[string]bool{}
	entries, err := os.ReadDir(full)
	c.check(err)
	for _, e := range entries {
		have[e.Name()] = true
	}
	if path == "" && c.own {
		delete(have, export.Own)
	}
	var list []volume.DirEntry
	c.check(c.x.snap.ByName(ino, func(d volume.DirEntry) error {
		list = append(list, d)
		return nil
	}))
	for _, d := range list {
		p := strings.TrimPrefix(path+"/"+d.Name, "/")
		if !have[d.Name] {
			if !c.refused[d.Ino] {
				c.t.Errorf("%q is missing", p)
			}
			continue
		}
		delete(have, d.Name)
		if d.Type == volume.ModeDir {
			c.folder(d.Ino, filepath.Join(full, d.Name), p)
		} else {
			c.inode(d.Ino, filepath.Join(full, d.Name), p)
		}
	}
	for name := range have {
		c.t.Errorf("%q in %q should not be there", name, path)
	}
}

func (c *comparison) inode(ino volume.Ino, full, path string) {
	want, err := c.x.snap.Inode(ino)
	c.check(err)
	var st unix.Stat_t
	c.check(unix.Lstat(full, &st))
	if was, ok := c.inos[ino]; ok && was != st.Ino {
		c.t.Errorf("%q is not the same file as its other name", path)
	}
	c.inos[ino] = st.Ino
	refused := c.refused[ino] || os.Geteuid() != 0
	if uint32(st.Mode)&volume.ModeType != want.Type() {
		c.t.Errorf("%q has mode %o, want %o", path, st.Mode, want.Mode)
		return
	}
	if mtime := (volume.Time{Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec)}); mtime != want.Mtime && !(c.own && path == "") {
		c.t.Errorf("%q has mtime %v, want %v", path, mtime, want.Mtime)
	}
	if !refused && (st.Uid != want.UID || st.Gid != want.GID) {
		c.t.Errorf("%q belongs to %d:%d, want %d:%d", path, st.Uid, st.Gid, want.UID, want.GID)
	}
	if want.Type() != volume.ModeLink && !refused && uint32(st.Mode)&volume.ModePerm != want.Mode&volume.ModePerm {
		c.t.Errorf("%q has mode %o, want %o", path, st.Mode, want.Mode)
	}
	if !want.IsDir() && uint32(st.Nlink) != want.Nlink && !refused {
		c.t.Errorf("%q has %d names, want %d", path, st.Nlink, want.Nlink)
	}
	switch want.Type() {
	case volume.ModeLink:
		target, err := c.x.snap.Target(ino)
		c.check(err)
		if got, err := os.Readlink(full); err != nil || got != target {
			c.t.Errorf("%q leads to %q, %v, want %q", path, got, err, target)
		}
	case volume.ModeFile:
		c.content(&want, full, path)
	}
	if !refused {
		c.xattrs(ino, full, path)
	}
}

// content compares wherever one of the two has data: files may be sparse and huge.
func (c *comparison) content(want *volume.Attr, full, path string) {
	f, err := os.Open(full)
	c.check(err)
	defer f.Close()
	st, err := f.Stat()
	c.check(err)
	if st.Size() != want.Size {
		c.t.Errorf("%q has %d bytes, want %d", path, st.Size(), want.Size)
		return
	}
	for _, seek := range []func(off int64, hole bool) (int64, error){
		func(off int64, hole bool) (int64, error) {
			return c.x.opt.Content.Seek(ctx, want, off, hole, c.x.snap)
		},
		func(off int64, hole bool) (int64, error) {
			whence := unix.SEEK_DATA
			if hole {
				whence = unix.SEEK_HOLE
			}
			return unix.Seek(int(f.Fd()), off, whence)
		},
	} {
		for off := int64(0); off < want.Size; {
			from, err := seek(off, false)
			if volume.KindOf(err) == volume.NotSeekable && err != nil {
				break
			}
			c.check(err)
			off, err = seek(from, true)
			c.check(err)
			got, p := make([]byte, off-from), make([]byte, off-from)
			_, err = f.ReadAt(got, from)
			c.check(err)
			_, err = c.x.opt.Content.ReadAt(ctx, want, p, from, c.x.snap)
			c.check(err)
			if string(got) != string(p) {
				c.t.Errorf("%q has other content from %d to %d", path, from, off)
			}
		}
	}
}

func (c *comparison) xattrs(ino volume.Ino, full, path string) {
	want, err := c.x.snap.Xattrs(ino)
	c.check(err)
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(full, buf)
	if err == unix.EOPNOTSUPP {
		n = 0
	} else {
		c.check(err)
	}
	if got := strings.Count(string(buf[:n]), "\x00"); got != len(want) {
		c.t.Errorf("%q has %d extended attributes %q, want %d", path, got, buf[:n], len(want))
	}
	for _, w := range want {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(full, w.Name, value)
		if err != nil || string(value[:max(n, 0)]) != string(w.Value) {
			c.t.Errorf("%q has %s = %q, %v, want %q", path, w.Name, value[:max(n, 0)], err, w.Value)
		}
	}
}

// soon is a context that ends by itself.
func soon(d time.Duration) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
