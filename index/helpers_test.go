package index

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

const root = volume.RootIno

func openEngine(t testing.TB, opt Options) *Engine {
	t.Helper()
	if opt.FS == nil {
		opt.FS = vfs.NewMem()
	}
	if opt.MemTable == 0 {
		opt.MemTable = 1 << 20
	}
	opt.Dir, opt.Extents, opt.Log = "index", true, zerolog.Nop()
	e, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// feeder numbers and enters ops.
type feeder struct {
	t    testing.TB
	e    *Engine
	time volume.Time
	ops  []*volume.Op // all entered
}

func newFeeder(t testing.TB, e *Engine) *feeder {
	f := &feeder{t: t, e: e}
	f.enter(&volume.Op{Kind: volume.OpReign, Epoch: volume.Epoch{Number: 1, Leader: "a"}})
	return f
}

// batch numbers ops and makes a batch of them; its position's digest tells the version.
func (f *feeder) batch(ops ...*volume.Op) Batch {
	pos := f.e.Position()
	for _, op := range ops {
		f.time.Sec++
		pos.Version++
		op.Version, op.Time = pos.Version, f.time
		if op.Kind == volume.OpReign {
			pos.Epoch = op.Epoch
		}
	}
	pos.Digest = volume.Digest{byte(pos.Version), byte(pos.Version >> 8), 1}
	return Batch{Ops: ops, After: pos, Frame: volume.LogRef{Segment: uint64(ops[0].Version)}}
}

func (f *feeder) try(ops ...*volume.Op) error {
	before := f.time
	err := f.e.Enter(f.batch(ops...))
	if err != nil {
		f.time = before
		return err
	}
	f.ops = append(f.ops, ops...)
	return nil
}

func (f *feeder) enter(ops ...*volume.Op) {
	f.t.Helper()
	if err := f.try(ops...); err != nil {
		f.t.Fatal(err)
	}
}

func file(ino volume.Ino, name string) *volume.Op {
	op := &volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: root, Name: name, Mode: volume.ModeFile | 0o644}
	if name == "" {
		op.Parent = 0
	}
	return op
}

func dir(ino, parent volume.Ino, name string) *volume.Op {
	return &volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: parent, Name: name, Mode: volume.ModeDir | 0o755}
}

func write(ino volume.Ino, off int64, data []byte) *volume.Op {
	return &volume.Op{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: data}
}

func wantKind(t testing.TB, what string, err error, k volume.Kind) {
	t.Helper()
	if err == nil || volume.KindOf(err) != k {
		t.Errorf("%s: %v, want %v", what, err, k)
	}
}

// dump is the whole store, key by key.
func dump(t testing.TB, e *Engine) map[string]string {
	t.Helper()
	m := map[string]string{}
	if err := scan(e.db, nil, []byte{0xff}, func(k, v []byte) error {
		m[string(k)] = string(v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

func sameDump(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: key %q is %x, want %x", what, k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: key %q should not be there", what, k)
		}
	}
}
