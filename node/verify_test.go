package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/index"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
	"wolfdisk/volume"
)

// verifyRig is a node with nothing but an index.
func verifyRig(t *testing.T) (*node, *index.Engine) {
	t.Helper()
	e, err := index.Open(index.Options{FS: vfs.NewMem(), Dir: "index", Extents: true, Log: zerolog.Nop(), MemTable: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{cfg: &config.Config{}, log: zerolog.Nop(), store: &storage{engine: e}}
	n.cfg.Node.ID = "alpha"
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	t.Cleanup(func() {
		n.verify.copies.dropAll(true)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, e
}

// enterOps numbers and enters ops.
func enterOps(t *testing.T, e *index.Engine, ops ...*volume.Op) {
	t.Helper()
	if e.Position().Version == 0 {
		ops = append([]*volume.Op{{Kind: volume.OpReign, Epoch: volume.Epoch{Number: 1, Leader: "alpha"}}}, ops...)
	}
	for _, op := range ops {
		p := e.Position()
		if op.Kind == volume.OpReign {
			p.Epoch = op.Epoch
		}
		p.Version++
		op.Version, op.Time = p.Version, volume.Time{Sec: int64(p.Version)}
		if err := e.Enter(index.Batch{Ops: []*volume.Op{op}, After: p}); err != nil {
			t.Fatal(err)
		}
	}
}

func mkfile(ino, dir volume.Ino, name string) *volume.Op {
	return &volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: dir, Name: name, Mode: volume.ModeFile | 0o644}
}

func mkdir(ino, dir volume.Ino, name string) *volume.Op {
	return &volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: dir, Name: name, Mode: volume.ModeDir | 0o755}
}

// fakeCopy is another node's copy: an index of its own, and what its disk holds.
type fakeCopy struct {
	id     string
	d      *index.Digests
	hashes func(f verifyFile) verifyHash
	err    error // of hash
	mu     sync.Mutex
	asked  int
}

func (c *fakeCopy) name() string { return c.id }
func (c *fakeCopy) end()         {}
func (c *fakeCopy) find(ctx context.Context, path string) (index.Entry, error) {
	return c.d.Find(ctx, path)
}
func (c *fakeCopy) list(ctx context.Context, dir volume.Ino, fn func(*index.Entry) error) error {
	return c.d.List(ctx, dir, fn)
}
func (c *fakeCopy) check(context.Context, func(string, string) error) error { return nil }
func (c *fakeCopy) hash(_ context.Context, files []verifyFile, fn func(*verifyHash) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range files {
		if c.err != nil {
			return c.err
		}
		c.asked++
		h := c.hashes(f)
		h.ino = f.ino
		if err := fn(&h); err != nil {
			return err
		}
	}
	return nil
}

// newVerifier compares an engine with other copies; it returns what was said.
func newVerifier(t *testing.T, n *node, others ...verifyCopy) (*verifier, *[]admin.VerifyLine) {
	t.Helper()
	var lines []admin.VerifyLine
	_, cancel := context.WithCancelCause(context.Background())
	v := &verifier{n: n, begun: time.Now(), others: others, cancel: cancel, line: func(l admin.VerifyLine) error {
		lines = append(lines, l)
		return nil
	}}
	base, err := n.ownCopy(context.Background(), 0, func(uint64) {})
	if err != nil {
		t.Fatal(err)
	}
	v.base, v.mine = base, base
	t.Cleanup(base.end)
	return v, &lines
}

func said(lines []admin.VerifyLine) (list []string) {
	for _, l := range lines {
		if d := l.Difference; d != nil {
			list = append(list, d.Kind+" "+d.Node+" "+d.Path)
		}
		if s := l.Skipped; s != nil {
			list = append(list, "skipped "+s.Node+" "+s.Path)
		}
	}
	slices.Sort(list)
	return list
}

// TestVerifyNames: differences of two indexes are named by path and kind, each once.
func TestVerifyNames(t *testing.T) {
	common := func() []*volume.Op {
		return []*volume.Op{
			mkdir(10, 1, "d"), mkdir(11, 10, "e"), mkfile(12, 11, "f"), mkfile(13, 1, "g"), mkfile(14, 1, "z"), mkfile(15, 0, ""),
			{Kind: volume.OpCreate, Ino: 16, Parent: 1, Name: "l", Mode: volume.ModeLink | 0o777, Target: "x"},
		}
	}
	set := func(ino volume.Ino, name string) *volume.Op {
		return &volume.Op{Kind: volume.OpSetXattr, Ino: ino, Name: name, Data: []byte("v")}
	}
	tests := []struct {
		name   string
		change []*volume.Op
		path   string
		want   []string
	}{
		{"equal", nil, "", nil},
		{"mode", []*volume.Op{{Kind: volume.OpSetAttr, Ino: 12, Mask: volume.SetMode, Mode: 0o645}}, "", []string{"ctime beta d/e/f", "mode beta d/e/f"}},
		{"xattr", []*volume.Op{set(13, "user.a")}, "", []string{"ctime beta g", "xattr beta g"}},
		{"missing", []*volume.Op{{Kind: volume.OpUnlink, Ino: 13, Parent: 1, Name: "g", Flags: volume.OpEnds}}, "", []string{"ctime beta .", "missing beta g", "mtime beta ."}},
		{"extra last", []*volume.Op{mkfile(20, 1, "zz")}, "", []string{"ctime beta .", "extra beta zz", "mtime beta ."}},
		{"extra first", []*volume.Op{mkfile(20, 1, "A")}, "", []string{"ctime beta .", "extra beta A", "mtime beta ."}},
		{"nameless", []*volume.Op{set(15, "user.a")}, "", []string{"ctime beta (without a name)/" + volume.Ino(15).String(), "xattr beta (without a name)/" + volume.Ino(15).String()}},
		{"below a path", []*volume.Op{set(12, "user.a"), set(13, "user.a")}, "d", []string{"ctime beta d/e/f", "xattr beta d/e/f"}},
		{"a path that is missing", []*volume.Op{{Kind: volume.OpUnlink, Ino: 12, Parent: 11, Name: "f", Flags: volume.OpEnds}}, "d/e/f", []string{"missing beta d/e/f"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, mine := verifyRig(t)
			_, theirs := verifyRig(t)
			enterOps(t, mine, common()...)
			enterOps(t, theirs, append(common(), tt.change...)...)
			s, err := theirs.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			v, lines := newVerifier(t, n, &fakeCopy{id: "beta", d: s.Digests(nil)})
			v.path = tt.path
			if err := v.compareNames(context.Background()); err != nil {
				t.Fatal(err)
			}
			if got := said(*lines); !slices.Equal(got, tt.want) {
				t.Errorf("said %q, want %q", got, tt.want)
			}
		})
	}
}

// TestVerifySettle: what counts, what is looked at again, and what is never passed over.
func TestVerifySettle(t *testing.T) {
	at := func(v volume.Version, sum byte) verifyHash { return verifyHash{version: v, sum: [32]byte{sum}} }
	bad := verifyHash{status: hashUnreadable, text: "damaged"}
	gone, moving := verifyHash{status: hashGone}, verifyHash{status: hashChanging}
	tests := []struct {
		name               string
		mine, beta, gamma_ verifyHash
		want               []string
		again              []int
	}{
		{"equal", at(5, 1), at(5, 1), at(5, 1), nil, nil},
		{"one differs", at(5, 1), at(5, 2), at(5, 1), []string{"content beta f"}, nil},
		{"this one differs", at(5, 1), at(5, 2), at(5, 2), []string{"content alpha f"}, nil},
		{"all differ", at(5, 1), at(5, 2), at(5, 3), []string{"content beta f", "content gamma f"}, nil},
		{"another version", at(5, 1), at(4, 2), at(5, 1), nil, []int{0}},
		{"changing there", at(5, 1), moving, at(6, 1), nil, []int{0, 1}},
		{"changing here", moving, at(5, 1), at(5, 1), nil, []int{0, 1}},
		{"gone there", at(5, 1), gone, at(5, 1), nil, []int{0}},
		{"gone here", gone, at(5, 1), gone, nil, nil},
		{"unreadable there", at(5, 1), bad, at(5, 2), []string{"content gamma f", "unreadable beta f"}, nil},
		{"unreadable here", bad, at(5, 1), bad, []string{"unreadable alpha f", "unreadable gamma f"}, nil},
		{"changing here, unreadable there", moving, bad, at(5, 1), []string{"unreadable beta f"}, []int{1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, e := verifyRig(t)
			enterOps(t, e, mkfile(12, 1, "f"))
			v, lines := newVerifier(t, n, &fakeCopy{id: "beta"}, &fakeCopy{id: "gamma"})
			left := v.settle(verifyItem{ino: 12, others: []int{0, 1}}, &tt.mine, []map[volume.Ino]*verifyHash{{12: &tt.beta}, {12: &tt.gamma_}})
			if got := said(*lines); !slices.Equal(got, tt.want) {
				t.Errorf("said %q, want %q", got, tt.want)
			}
			var again []int
			if left != nil {
				again = left.others
				if left.reason == "" && len(again) > 0 && tt.mine.status != hashGone {
					t.Error("no reason is given")
				}
			}
			if !slices.Equal(again, tt.again) {
				t.Errorf("to be looked at again: %v, want %v", again, tt.again)
			}
		})
	}
}

// TestVerifyContent: a file that changes for a while is compared in the end, one that
// changes all the time is reported, and a node that ends is given up.
func TestVerifyContent(t *testing.T) {
	var looked atomic.Int64 // at file 12 here
	mine := func(f verifyFile) verifyHash {
		if f.ino == 12 {
			return verifyHash{version: volume.Version(looked.Add(1)), size: 1}
		}
		return verifyHash{version: 1}
	}
	tests := []struct {
		name  string
		beta  func(f verifyFile) verifyHash
		err   error
		want  []string
		files uint64
	}{
		{"comes to the version that is wanted", func(f verifyFile) verifyHash {
			if f.ino == 12 && f.want < 4 {
				return verifyHash{version: 99}
			}
			return verifyHash{version: max(f.want, 1), size: map[volume.Ino]int64{12: 1}[f.ino]}
		}, nil, nil, 3},
		{"changes all the time", func(f verifyFile) verifyHash {
			if f.ino == 12 {
				return verifyHash{status: hashChanging}
			}
			return verifyHash{version: 1}
		}, nil, []string{"skipped  a"}, 2},
		{"differs in the end", func(f verifyFile) verifyHash {
			if f.ino == 12 {
				return verifyHash{version: f.want, size: 1, sum: [32]byte{1}}
			}
			return verifyHash{version: 1}
		}, nil, []string{"content beta a"}, 3},
		{"ends", nil, volume.Errorf(volume.Unavailable, "the session has ended"), []string{"skipped beta "}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			looked.Store(0)
			n, e := verifyRig(t)
			enterOps(t, e, mkfile(12, 1, "a"), mkfile(13, 1, "b"), mkdir(14, 1, "c"), mkfile(15, 14, "d"))
			beta := &fakeCopy{id: "beta", hashes: tt.beta, err: tt.err}
			v, lines := newVerifier(t, n, beta)
			v.mine = &fakeCopy{id: "alpha", hashes: mine}
			if err := v.compareContent(context.Background()); err != nil {
				t.Fatal(err)
			}
			if got := said(*lines); !slices.Equal(got, tt.want) {
				t.Errorf("said %q, want %q", got, tt.want)
			}
			if v.result.Files != tt.files {
				t.Errorf("%d files compared, want %d", v.result.Files, tt.files)
			}
			// Below a path nothing else is asked for.
			looked.Store(3)
			v.path, beta.asked = "c", 0
			if err := v.compareContent(context.Background()); err != nil || tt.err == nil && beta.asked != 1 {
				t.Errorf("below a path %d hashes were asked for, %v", beta.asked, err)
			}
		})
	}
}

// Hashes see every byte and the size, and no holes.
func TestHasher(t *testing.T) {
	n, _ := verifyRig(t)
	h := &hasher{h: &heldCopy{n: n}, buf: make([]byte, hashBuffer)}
	sum := func(content []byte, holes bool) [32]byte {
		got := &verifyHash{size: int64(len(content))}
		err := h.read(got, func(p []byte, off int64) (int, error) { return copy(p, content[off:]), nil }, func(off int64) (int64, error) {
			if !holes {
				return off, nil
			}
			at := bytes.IndexFunc(content[off:], func(r rune) bool { return r != 0 })
			if at < 0 {
				return 0, volume.NotSeekable
			}
			return off + int64(at), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got.sum
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, zeroUnit - 1, zeroUnit, zeroUnit + 1, hashBuffer, hashBuffer + 7, 3*hashBuffer + zeroUnit/2} {
		content := make([]byte, size)
		for range size / (300 << 10) { // some data between zeros
			content[r.IntN(size)] = 'x'
		}
		want := sum(content, false)
		if sum(content, true) != want {
			t.Errorf("%d bytes: holes change the hash", size)
		}
		if sum(append(bytes.Clone(content), 0), true) == want {
			t.Errorf("%d bytes: a zero more does not change the hash", size)
		}
		for range min(size, 8) {
			at := r.IntN(size)
			content[at] ^= 1
			if sum(content, true) == want || sum(content, false) == want {
				t.Errorf("%d bytes: the byte at %d does not count", size, at)
			}
			content[at] ^= 1
		}
	}
	// Data that moved by a unit is other content.
	one, two := make([]byte, 2*zeroUnit), make([]byte, 2*zeroUnit)
	one[0], two[zeroUnit] = 1, 1
	if sum(one, true) == sum(two, true) {
		t.Error("the place of data does not count")
	}
	short := &verifyHash{size: 10}
	err := h.read(short, func(p []byte, off int64) (int, error) { return 3, nil }, func(off int64) (int64, error) { return off, nil })
	if volume.KindOf(err) != volume.Corrupt {
		t.Errorf("a file that is too short: %v", err)
	}
}

// TestCopies: a copy is held while it is used, goes when its lease ends, and there are
// never many.
func TestCopies(t *testing.T) {
	n, e := verifyRig(t)
	c := &n.verify.copies
	hold := func() *heldCopy {
		s, err := e.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		h := &heldCopy{n: n, snap: s}
		if err := c.add(h, true); err != nil {
			s.Close()
			return nil
		}
		return h
	}
	var all []*heldCopy
	for h := hold(); h != nil; h = hold() {
		all = append(all, h)
	}
	if len(all) < 1 || len(all) > maxCopies+1 {
		t.Fatalf("%d copies at once", len(all))
	}
	first := all[0]
	if _, err := c.enter(first.id, true); err != nil {
		t.Fatal(err)
	}
	c.expire(first) // in use twice
	if _, err := c.enter(first.id, true); err != nil {
		t.Errorf("a copy in use has gone: %v", err)
	}
	for range 3 {
		c.leave(first)
	}
	c.expire(first)
	if _, err := c.enter(first.id, true); volume.KindOf(err) != volume.Stale {
		t.Errorf("after its lease: %v", err)
	}
	if _, err := c.enter(first.id+1, false); volume.KindOf(err) != volume.Stale {
		t.Errorf("a copy that never was: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.dropAll(true)
	}()
	select {
	case <-done:
		t.Error("copies in use were dropped")
	case <-time.After(20 * time.Millisecond):
	}
	for _, h := range all[1:] {
		c.leave(h)
	}
	<-done
	if hold() != nil {
		t.Error("a copy was taken of a node that stops")
	}
}

func TestInVolume(t *testing.T) {
	n := &node{cfg: &config.Config{}}
	n.cfg.Mount.Dir, n.cfg.Volume.Dir = "/srv/data", "/srv/lower"
	for p, want := range map[string]string{
		"": "", "/": "", "a/b": "a/b", "/a//b/": "a/b", "/srv/data": "", "/srv/data/x": "x", "/srv/lower/x/y": "x/y", "/srv/database": "srv/database", "../x": "x",
	} {
		if got := n.inVolume(p); got != want {
			t.Errorf("%q is %q in the volume, want %q", p, got, want)
		}
	}
}

// What a peer sends is bounded and in order, or refused.
func TestVerifyWire(t *testing.T) {
	files := []verifyFile{{ino: 7, want: 9}, {ino: 1 << 50}}
	var b []byte
	for _, f := range files {
		b = appendFile(b, f)
	}
	if got, err := parseFiles(b); err != nil || !slices.Equal(got, files) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range [][]byte{b[:len(b)-1], make([]byte, fileLen*(maxVerifyFiles+1))} {
		if _, err := parseFiles(bad); volume.KindOf(err) != volume.BadFormat {
			t.Errorf("%d bytes of files: %v", len(bad), err)
		}
	}
	long := verifyHash{ino: 3, status: hashUnreadable, version: 4, size: 5, sum: [32]byte{6}, text: string(make([]byte, 3*maxVerifyText))}
	enc := appendHash(nil, &long)
	long.text = long.text[:maxVerifyText]
	var got verifyHash
	if err := readHash(bytes.NewReader(enc), &got); err != nil || got != long {
		t.Errorf("%v, %v", got, err)
	}
	for n := 1; n < len(enc); n += 97 {
		if err := readHash(bytes.NewReader(enc[:n]), &got); volume.KindOf(err) != volume.BadFormat {
			t.Errorf("a hash cut after %d bytes: %v", n, err)
		}
	}
	if err := readHash(bytes.NewReader(nil), &got); err != io.EOF {
		t.Errorf("no hash: %v", err)
	}
	entry := func(name string) []byte {
		e := (&index.Entry{Name: name}).Append(nil)
		return append([]byte{0, 0, 0, byte(len(e))}, e...)
	}
	for name, in := range map[string][]byte{
		"out of order": slices.Concat(entry("b"), entry("a")), "twice": slices.Concat(entry("a"), entry("a")), "no name": entry(""),
		"huge": {255, 255, 255, 255}, "cut": entry("abc")[:9], "cut length": {0, 0},
	} {
		if err := readEntries(bytes.NewReader(in), func(*index.Entry) error { return nil }); volume.KindOf(err) != volume.BadFormat {
			t.Errorf("entries %s: %v", name, err)
		}
	}
	if _, _, _, err := parseDigest(make([]byte, 8)); volume.KindOf(err) != volume.BadFormat {
		t.Errorf("a short request: %v", err)
	}
}

func FuzzVerifyAnswers(f *testing.F) {
	e := (&index.Entry{Name: "n", Found: true}).Append(nil)
	f.Add(append([]byte{0, 0, 0, byte(len(e))}, e...))
	f.Add(appendHash(nil, &verifyHash{text: "x"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		last := ""
		if err := readEntries(bytes.NewReader(b), func(e *index.Entry) error {
			if e.Name <= last {
				t.Errorf("%q behind %q", e.Name, last)
			}
			last = e.Name
			return nil
		}); err != nil && volume.KindOf(err) != volume.BadFormat {
			t.Errorf("entries: %v", err)
		}
		for r := bytes.NewReader(b); ; {
			var h verifyHash
			err := readHash(r, &h)
			if err == io.EOF {
				break
			}
			if err != nil {
				if volume.KindOf(err) != volume.BadFormat {
					t.Errorf("hashes: %v", err)
				}
				break
			}
			if len(h.text) > maxVerifyText || h.status > hashUnreadable {
				t.Errorf("accepted %+v", h)
			}
		}
		if files, err := parseFiles(b); err == nil && len(files) > maxVerifyFiles {
			t.Errorf("%d files", len(files))
		}
	})
}

// listed is a copy that lists some names and then fails, or not.
type listed struct {
	fakeCopy
	names []string
	err   error
}

func (l *listed) list(_ context.Context, _ volume.Ino, fn func(*index.Entry) error) error {
	for _, name := range l.names {
		if err := fn(&index.Entry{Name: name}); err != nil {
			return err
		}
	}
	return l.err
}

// Both lists are walked side by side, and an error of the other is one wherever it comes.
func TestVerifyMerge(t *testing.T) {
	gone := volume.Errorf(volume.Closed, "the session has ended")
	for _, tt := range []struct {
		mine, theirs []string
		theirsErr    error
		want         string
	}{
		{[]string{"a", "c"}, []string{"b", "c", "d"}, nil, "a- -b cc -d "},
		{nil, []string{"a"}, nil, "-a "},
		{[]string{"a"}, nil, nil, "a- "},
		{nil, nil, nil, ""},
		{nil, nil, gone, ""},
		{[]string{"a"}, nil, gone, ""},
		{[]string{"a", "b"}, []string{"a"}, gone, "aa "},
		{[]string{"a"}, []string{"a", "b"}, gone, "aa -b "},
	} {
		n, e := verifyRig(t)
		for i, name := range tt.mine {
			enterOps(t, e, mkfile(volume.Ino(2+i), volume.RootIno, name))
		}
		v, _ := newVerifier(t, n)
		w := &walker{v: v, ctx: t.Context(), other: &listed{names: tt.theirs, err: tt.theirsErr}}
		got := ""
		err := w.merge(volume.RootIno, 2, func(a, b *index.Entry) error {
			for _, e := range []*index.Entry{a, b} {
				if e == nil {
					got += "-"
				} else {
					got += e.Name
				}
			}
			got += " "
			return nil
		})
		if got != tt.want || !errors.Is(err, tt.theirsErr) {
			t.Errorf("%v and %v: %q, %v, want %q, %v", tt.mine, tt.theirs, got, err, tt.want, tt.theirsErr)
		}
	}
}
