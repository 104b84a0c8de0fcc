package index

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// check is what a check of the present state finds.
func check(t testing.TB, e *Engine) (found []string, stats CheckStats) {
	t.Helper()
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	stats, err = s.Check(context.Background(), CheckOptions{Found: func(f Finding) error {
		found = append(found, f.String())
		return nil
	}})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if int(stats.Findings) != len(found) {
		t.Errorf("%d findings counted, %d told", stats.Findings, len(found))
	}
	return found, stats
}

// Nothing is found in the index of any volume that ops have made, whatever they were.
func TestCheckFindsNothing(t *testing.T) {
	for seed := range uint64(3) {
		e := openEngine(t, Options{})
		defer e.Abandon()
		f := newFeeder(t, e)
		g := volumetest.Random(seed)
		open := map[volume.Ino]bool{}
		done := 0
		for i := range 2000 {
			s := g.Next()
			switch {
			case s.Open != 0:
				err := e.Pin(s.Open)
				open[s.Open] = open[s.Open] || err == nil
				g.Done(s, volume.Result{}, err)
				continue
			case s.Close != 0:
				if open[s.Close] {
					delete(open, s.Close)
					if err := e.Unpin(s.Close); err != nil {
						t.Fatal(err)
					}
				}
				continue
			}
			d, err := e.Decide(s.Req, Env{Now: volume.Time{Sec: f.time.Sec + 1}, InUse: func(i volume.Ino) bool { return open[i] && i%2 == 0 }, Locked: func(volume.Ino) bool { return true }})
			var res volume.Result
			if err == nil && len(d.Ops) > 0 {
				// One that has ended here is not known at a leader, and no op changes it.
				if err = f.try(d.Ops...); err != nil && volume.KindOf(err) != volume.WrongHistory {
					t.Fatal(err)
				}
				done++
			}
			if err == nil && d.Subject != 0 {
				if res.Attr, err = e.Inode(d.Subject); err == volume.NotFound {
					res.Attr, err = volume.Attr{Ino: d.Subject}, nil
				}
			}
			g.Done(s, res, err)
			if i%500 == 499 {
				if found, _ := check(t, e); len(found) > 0 {
					t.Fatalf("seed %d after %d steps: %s", seed, i, strings.Join(found, "\n"))
				}
			}
		}
		if found, stats := check(t, e); len(found) > 0 || done < 500 || stats.Inodes < 20 || stats.Entries < 10 {
			t.Fatalf("seed %d, %d ops, %+v: %s", seed, done, stats, strings.Join(found, "\n"))
		}
	}
}

// planted is an index with one of everything.
func planted(t *testing.T, fs vfs.FS) *Engine {
	t.Helper()
	e := openEngine(t, Options{FS: fs})
	f := newFeeder(t, e)
	f.enter(dir(2, root, "d"), dir(3, 2, "sub"))
	f.enter(file(4, "f"), write(4, 0, make([]byte, 100)), write(4, 200, make([]byte, 50)))
	f.enter(&volume.Op{Kind: volume.OpLink, Ino: 4, Parent: 2, Name: "second"})
	f.enter(&volume.Op{Kind: volume.OpCreate, Ino: 5, Parent: root, Name: "link", Mode: volume.ModeLink | 0o777, Target: "to"})
	f.enter(&volume.Op{Kind: volume.OpSetXattr, Ino: 4, Name: "user.a", Data: []byte("x")})
	f.enter(file(6, ""))
	f.enter(&volume.Op{Kind: volume.OpMember, Member: volume.Member{ID: "b", Role: volume.RoleFollower}})
	if err := e.PutLower([]volume.LowerRecord{{Ino: 4, Key: []byte("handle"), Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	if found, stats := check(t, e); len(found) > 0 || stats.Inodes != 6 || stats.Entries != 5 || stats.Extents != 2 {
		t.Fatalf("before anything was planted: %+v %v", stats, found)
	}
	return e
}

// Every kind of contradiction is found: a record that is gone, that is too many, or
// that says something else.
func TestCheckFindsEverything(t *testing.T) {
	inodeOf := func(e *Engine, ino volume.Ino, change func(*inode)) func(*pebble.Batch) error {
		return func(b *pebble.Batch) error {
			n, err := readInode(e.db, ino)
			if err != nil {
				return err
			}
			change(&n)
			return b.Set(keyIno(kInode, ino), n.encode(), nil)
		}
	}
	metaOf := func(e *Engine, change func(*meta)) func(*pebble.Batch) error {
		return func(b *pebble.Batch) error {
			m := *e.meta.Load()
			change(&m)
			e.meta.Store(&m)
			return nil
		}
	}
	del := func(key []byte) func(*pebble.Batch) error {
		return func(b *pebble.Batch) error { return b.Delete(key, nil) }
	}
	set := func(key, val []byte) func(*pebble.Batch) error {
		return func(b *pebble.Batch) error { return b.Set(key, val, nil) }
	}
	cookieOf := func(e *Engine, dir volume.Ino, name string) []byte {
		d, ok, err := e.dirent(dir, name)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		return keyInoNum(kCookie, dir, d.cookie)
	}
	tests := []struct {
		name string
		harm func(e *Engine) func(*pebble.Batch) error
		want string
	}{
		{"inode gone", func(e *Engine) func(*pebble.Batch) error { return del(keyIno(kInode, 4)) }, "which does not exist"},
		{"inode gone, its records left", func(e *Engine) func(*pebble.Batch) error { return del(keyIno(kInode, 4)) }, "no such inode, but records"},
		{"inode cut short", func(e *Engine) func(*pebble.Batch) error { return set(keyIno(kInode, 4), []byte("x")) }, "record of 1 bytes"},
		{"entry gone", func(e *Engine) func(*pebble.Batch) error { return del(keyInoName(kDirent, root, "f")) }, `its name "f" is not in directory`},
		{"entry of another", func(e *Engine) func(*pebble.Batch) error {
			return func(b *pebble.Batch) error {
				d, _, err := e.dirent(root, "f")
				d.ino = 5
				return errors.Join(err, b.Set(keyInoName(kDirent, root, "f"), d.encode(""), nil))
			}
		}, "is that of inode"},
		{"entry cut short", func(e *Engine) func(*pebble.Batch) error { return set(keyInoName(kDirent, root, "f"), []byte("x")) }, `entry "f"`},
		{"entry of another type", func(e *Engine) func(*pebble.Batch) error {
			return func(b *pebble.Batch) error {
				d, _, err := e.dirent(root, "f")
				d.typ = volume.ModeDir
				return errors.Join(err, b.Set(keyInoName(kDirent, root, "f"), d.encode(""), nil))
			}
		}, "says type"},
		{"cookie gone", func(e *Engine) func(*pebble.Batch) error { return del(cookieOf(e, root, "f")) }, "is not in the listing"},
		{"cookie too many", func(e *Engine) func(*pebble.Batch) error {
			return set(keyInoNum(kCookie, root, 999), dirent{4, volume.ModeFile, 999}.encode("f"))
		}, "is listed twice"},
		{"cookie of nothing", func(e *Engine) func(*pebble.Batch) error {
			return set(keyInoNum(kCookie, root, 999), dirent{4, volume.ModeFile, 999}.encode("nobody"))
		}, "is listed and no entry"},
		{"name gone", func(e *Engine) func(*pebble.Batch) error { return del(keyBackName(4, root, "f")) }, "does not know that name"},
		{"name too many", func(e *Engine) func(*pebble.Batch) error { return set(keyBackName(4, 3, "x"), nil) }, `"x" is not in directory`},
		{"link count", func(e *Engine) func(*pebble.Batch) error { return inodeOf(e, 4, func(n *inode) { n.Nlink = 7 }) }, "link count 7, and 2 names"},
		{"link count of a directory", func(e *Engine) func(*pebble.Batch) error { return inodeOf(e, 2, func(n *inode) { n.Nlink = 2 }) }, "link count 2, must be 3"},
		{"entry count", func(e *Engine) func(*pebble.Batch) error { return inodeOf(e, 2, func(n *inode) { n.entries = 9 }) }, "counts 9 entries and has 2"},
		{"parent", func(e *Engine) func(*pebble.Batch) error { return inodeOf(e, 3, func(n *inode) { n.parent = root }) }, "its parent is directory"},
		{"version before that of an entry", func(e *Engine) func(*pebble.Batch) error { return inodeOf(e, 2, func(n *inode) { n.Version = 1 }) }, "later cookie"},
		{"version ahead", func(e *Engine) func(*pebble.Batch) error { return inodeOf(e, 4, func(n *inode) { n.Version = 1e9 }) }, "not entered yet"},
		{"size below an extent", func(e *Engine) func(*pebble.Batch) error { return inodeOf(e, 4, func(n *inode) { n.Size = 210 }) }, "beyond the file's size"},
		{"extents overlap", func(e *Engine) func(*pebble.Batch) error {
			return set(keyInoNum(kExtent, 4, 50), encodeExtent(volume.Extent{Off: 50, Len: 10, InLog: true}))
		}, "lies over the one before"},
		{"extent cut short", func(e *Engine) func(*pebble.Batch) error { return set(keyInoNum(kExtent, 4, 200), []byte("x")) }, "extent of 1 bytes"},
		{"extent of a directory", func(e *Engine) func(*pebble.Batch) error {
			return set(keyInoNum(kExtent, 2, 0), encodeExtent(volume.Extent{Len: 10, InLog: true}))
		}, "is no file"},
		{"orphan not noted", func(e *Engine) func(*pebble.Batch) error { return del(keyIno(kOrphan, 6)) }, "not noted as living without"},
		{"orphan with names", func(e *Engine) func(*pebble.Batch) error { return set(keyIno(kOrphan, 4), nil) }, "noted as one without"},
		{"limbo", func(e *Engine) func(*pebble.Batch) error { return set(keyIno(kLimbo, 6), nil) }, "kept for who has it open"},
		{"target gone", func(e *Engine) func(*pebble.Batch) error { return del(keyIno(kTarget, 5)) }, "without a target"},
		{"target of another length", func(e *Engine) func(*pebble.Batch) error { return set(keyIno(kTarget, 5), []byte("elsewhere")) }, "target of 9 bytes"},
		{"target of a file", func(e *Engine) func(*pebble.Batch) error { return set(keyIno(kTarget, 4), []byte("to")) }, "no symbolic link"},
		{"xattr unknown", func(e *Engine) func(*pebble.Batch) error { return set(keyInoName(kXattr, 2, "user.b"), nil) }, "does not know"},
		{"lower record", func(e *Engine) func(*pebble.Batch) error { return del([]byte("hhandle")) }, "does not lead back"},
		{"lower record gone", func(e *Engine) func(*pebble.Batch) error { return del(keyIno(kLower, 4)) }, "no inode knows"},
		{"files", func(e *Engine) func(*pebble.Batch) error { return metaOf(e, func(m *meta) { m.files++ }) }, "counter of files says 6, there are 5"},
		{"bytes", func(e *Engine) func(*pebble.Batch) error { return metaOf(e, func(m *meta) { m.bytes-- }) }, "counter of bytes"},
		{"reign", func(e *Engine) func(*pebble.Batch) error { return set(key64(kReign, 1), []byte("x")) }, "a reign"},
		{"reign gone", func(e *Engine) func(*pebble.Batch) error { return del(key64(kReign, 1)) }, "the last reign"},
		{"member", func(e *Engine) func(*pebble.Batch) error { return set([]byte("pb"), []byte("x")) }, "a member"},
		{"key cut short", func(e *Engine) func(*pebble.Batch) error { return set([]byte("i\x00"), nil) }, "is cut short"},
		{"unknown kind", func(e *Engine) func(*pebble.Batch) error { return set([]byte("z?"), nil) }, "no known kind"},
		{"the root's name", func(e *Engine) func(*pebble.Batch) error { return set(keyBackName(root, 2, "r"), nil) }, "the root has a name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := planted(t, nil)
			defer e.Abandon()
			b := e.db.NewBatch()
			defer b.Close()
			if err := errors.Join(tt.harm(e)(b), b.Commit(pebble.NoSync)); err != nil {
				t.Fatal(err)
			}
			found, _ := check(t, e)
			if !strings.Contains(strings.Join(found, "\n"), tt.want) {
				t.Errorf("found %q, want %q", found, tt.want)
			}
		})
	}
}

// A block that does not match its checksum is a finding, and the check ends well.
func TestCheckDamagedFile(t *testing.T) {
	hit := 0
	for seed := range uint64(10) {
		mem := vfs.NewMem()
		e := planted(t, mem)
		f := &feeder{t: t, e: e, time: e.LastTime()}
		var many []*volume.Op
		for i := range volume.Ino(1000) {
			many = append(many, file(100+i, "many-"+i.String()))
		}
		f.enter(many...)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		flipTable(t, mem, rand.New(rand.NewPCG(seed, 1)))
		e, err := Open(Options{FS: mem, Dir: "index", Extents: true, MemTable: 1 << 20})
		if err != nil {
			hit++ // the start found it
			continue
		}
		if found, _ := check(t, e); len(found) > 0 {
			hit++
		}
		if err := e.Abandon(); err != nil {
			t.Fatal(err)
		}
	}
	if hit < 7 { // what lies in filters and unused bytes is not read
		t.Errorf("only %d of 10 flipped bytes were found", hit)
	}
}

// flipTable flips a byte in one of the store's tables.
func flipTable(t *testing.T, mem vfs.FS, rnd *rand.Rand) {
	t.Helper()
	names, err := mem.List("index")
	if err != nil {
		t.Fatal(err)
	}
	best, size := "", int64(0)
	for _, name := range names {
		if info, err := mem.Stat("index/" + name); err == nil && strings.HasSuffix(name, ".sst") && info.Size() > size {
			best, size = "index/"+name, info.Size()
		}
	}
	f, err := mem.OpenReadWrite(best, "test")
	if err != nil {
		t.Fatal(err)
	}
	b, off := make([]byte, 1), rnd.Int64N(size*3/4)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x81
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Whoever asks can end it.
func TestCheckEnds(t *testing.T) {
	e := planted(t, nil)
	defer e.Abandon()
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Check(ctx, CheckOptions{})
	wantKind(t, "cancelled", err, volume.Interrupted)
	if err := e.db.Set(binary.BigEndian.AppendUint64([]byte{kOrphan}, 4), nil, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	s2, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	stop := errors.New("enough")
	if _, err := s2.Check(context.Background(), CheckOptions{Found: func(Finding) error { return stop }}); !errors.Is(err, stop) {
		t.Errorf("ended with %v", err)
	}
}
