package conflict

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

var (
	ctx        = context.Background()
	testVolume = volume.ID{4, 5, 6}
)

// rig is the volume of a node that will lose, in memory, with a leader that changes it.
type rig struct {
	t      testing.TB
	log    *oplog.Log
	engine *index.Engine
	store  *chunkstore.Store
	leader *master.Leader
	gen    *volumetest.Gen

	common volume.Version
	winner *volumetest.Model // the other branch, from fork on
	base   *volumetest.Model // the tree at the common version
}

func newRig(t testing.TB, seed uint64) *rig {
	t.Helper()
	mem := vfs.NewMem()
	r := &rig{t: t, gen: volumetest.Random(seed)}
	opt := oplog.DefaultOptions("oplog", testVolume)
	opt.FS, opt.SyncEvery, opt.SegmentSize = mem, 0, 64<<10
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

// play has a volume do random steps.
func play(vol volume.Volume, gen *volumetest.Gen, steps int) {
	for range steps {
		s := gen.Next()
		var res volume.Result
		var err error
		switch {
		case s.Req != nil:
			res, err = vol.Do(ctx, s.Req)
		case s.Open != 0:
			err = vol.Open(ctx, s.Open, false)
		default:
			err = vol.Close(ctx, s.Close)
		}
		gen.Done(s, res, err)
	}
}

func (r *rig) work(steps int) { play(r.leader, r.gen, steps) }

// fork begins another branch at the present version.
func (r *rig) fork() {
	r.t.Helper()
	r.common = r.engine.Position().Version
	r.winner = volumetest.NewModel(volumetest.Options{})
	for _, op := range r.ops() {
		if err := r.winner.Apply(ctx, op); err != nil {
			r.t.Fatal(err)
		}
	}
	r.base = r.winner.Clone()
	r.winner.Reign(volume.Epoch{Number: 2, Leader: "b", Tag: 77}, "b")
}

// ops are all that the log holds.
func (r *rig) ops() (list []*volume.Op) {
	r.t.Helper()
	from := r.log.First()
	rd, err := r.log.Reader(from)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rd.Close()
	for {
		f, ok, err := rd.TryNext()
		if err != nil {
			r.t.Fatal(err)
		}
		if !ok {
			return list
		}
		_, ops, err := oplog.DecodeFrame(f.Bytes)
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, ops...)
	}
}

func (r *rig) do(vol volume.Volume, req volume.Request) volume.Ino {
	r.t.Helper()
	if req.Caller.Front == 0 {
		req.Caller = volume.Caller{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Front: volume.FrontFUSE}
	}
	res, err := vol.Do(ctx, &req)
	if err != nil {
		r.t.Fatalf("%s %q: %v", req.Kind, req.Name, err)
	}
	return res.Attr.Ino
}

func (r *rig) file(vol volume.Volume, dir volume.Ino, name, content string) volume.Ino {
	r.t.Helper()
	ino := r.do(vol, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: name, Mode: volume.ModeFile | 0o644})
	if content != "" {
		r.write(vol, ino, 0, content)
	}
	return ino
}

func (r *rig) write(vol volume.Volume, ino volume.Ino, off int64, content string) {
	r.t.Helper()
	r.do(vol, volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: []byte(content)})
}

func (r *rig) mkdir(vol volume.Volume, dir volume.Ino, name string) volume.Ino {
	r.t.Helper()
	return r.do(vol, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: name, Mode: volume.ModeDir | 0o755})
}

// options record the rig's own branch as the loser.
func (r *rig) options(s *Store) Options {
	return Options{
		Store: s, Volume: testVolume, Node: "a", Winner: "b", Why: "test", Common: r.common,
		Mine: r.engine.Position(), Theirs: r.winner.Position(), MineLineage: r.engine.Lineage(), TheirsLineage: r.winner.Lineage(),
		Copy: r.leader, Log: r.log, Log0: zerolog.Nop(),
	}
}

func openStore(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := OpenStore(fs, "conflicts")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *rig) mustWrite(o Options) Record {
	r.t.Helper()
	rec, err := Write(ctx, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return rec
}

func openRecord(t testing.TB, s *Store, id string) *Reader {
	t.Helper()
	rd, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rd.Close(); err != nil {
			t.Error(err)
		}
	})
	return rd
}

// entries are those of a record, by their paths (a nameless one by Path).
func entries(t testing.TB, rd *Reader) map[string]*Entry {
	t.Helper()
	m := map[string]*Entry{}
	last := ""
	err := rd.Each(ctx, func(e *Entry) error {
		if key := treeKey(e.Path()); key < last {
			return fmt.Errorf("%q comes late", e.Path())
		} else {
			last = key
		}
		for _, p := range append(e.Paths, e.Path()) {
			if m[p] != nil && m[p] != e && len(e.Paths) > 0 && len(m[p].Paths) > 0 {
				return fmt.Errorf("%q comes twice", p)
			}
			if m[p] == nil || len(e.Paths) > 0 {
				m[p] = e
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
