package volumetest

import (
	"context"
	"strings"
	"testing"

	"wolfdisk/volume"
)

// spoilt is a volume that does one thing wrong.
type spoilt struct {
	*Model
	request func(req *volume.Request)
	result  func(res *volume.Result)
	err     func(err error) error
	after   func(m *Model, res volume.Result) // changes the tree behind the model's back
}

func (s *spoilt) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	r := *req
	if s.request != nil {
		s.request(&r)
	}
	res, err := s.Model.Do(ctx, &r)
	if err == nil && s.result != nil {
		s.result(&res)
	}
	if s.after != nil && err == nil {
		s.after(s.Model, res)
	}
	if s.err != nil {
		err = s.err(err)
	}
	return res, err
}

// TestPairDisagrees: whatever a volume does wrong is noticed.
func TestPairDisagrees(t *testing.T) {
	for _, row := range []struct {
		what string
		bad  spoilt
		ops  bool // noticed only with ops
		tree bool // noticed when trees are compared
		want string
	}{
		{what: "another error", bad: spoilt{err: func(error) error { return volume.Busy }}, want: "busy != none"},
		{what: "another attribute", bad: spoilt{result: func(r *volume.Result) { r.Attr.Mtime.Nsec ^= 1 }}, want: "result's attributes"},
		{what: "another displaced inode", bad: spoilt{result: func(r *volume.Result) { r.Replaced.Ino = 9 }}, want: "result's displaced"},
		{what: "another version", bad: spoilt{result: func(r *volume.Result) { r.Version++ }}, ops: true, want: "result's version"},
		{what: "another offset", bad: spoilt{result: func(r *volume.Result) { r.Offset++ }}, want: "result's offset"},
		{what: "another count", bad: spoilt{result: func(r *volume.Result) { r.N++ }}, want: "result's N"},
		{what: "another mode", bad: spoilt{request: func(r *volume.Request) { r.Mode ^= 1 }}, want: "result's attributes"},
		{what: "another caller", bad: spoilt{request: func(r *volume.Request) { r.Caller.Seq = 7 }}, ops: true, want: "op create"},
		{what: "an attribute more", bad: spoilt{after: func(m *Model, r volume.Result) {
			m.inodes[r.Attr.Ino].xattrs["user.more"] = []byte("v")
		}}, tree: true, want: "user.more"},
		{what: "other content", bad: spoilt{after: func(m *Model, r volume.Result) {
			m.inodes[r.Attr.Ino].data.write([]byte("x"), 0)
			m.inodes[r.Attr.Ino].attr.Size = 1
		}}, tree: true, want: "content"},
		{what: "another order", bad: spoilt{after: func(m *Model, r volume.Result) {
			e := m.inodes[volume.RootIno].entries["n"]
			m.inodes[volume.RootIno].entries["n"] = entry{e.ino, 3}
		}}, tree: true, want: "listing order"},
		{what: "an op more", bad: spoilt{after: func(m *Model, r volume.Result) {
			_, _ = m.Do(context.Background(), &volume.Request{Kind: volume.OpSetAttr, Ino: volume.RootIno, Set: volume.SetUID})
		}}, ops: true, want: "op too many"},
		{what: "atime", bad: spoilt{after: func(m *Model, r volume.Result) {
			m.inodes[r.Attr.Ino].attr.Atime.Sec = 5
		}}, tree: true, want: "atime"},
	} {
		t.Run(row.what, func(t *testing.T) {
			m := NewModel(Options{})
			first := createReq(volume.RootIno, "first", volume.ModeFile)
			row.bad.Model = m
			sys := System{Vol: &row.bad}
			if row.ops || row.tree {
				sys.Ops = m.Ops
				if _, err := m.Do(t.Context(), &first); err != nil {
					t.Fatal(err)
				}
			}
			p := start(t, sys)
			req := createReq(volume.RootIno, "n", volume.ModeFile|0o644)
			_, _, disagree := p.Do(t.Context(), &req)
			if row.tree {
				if disagree != nil {
					t.Fatalf("noticed too early: %v", disagree)
				}
				disagree = p.Compare(t.Context())
			}
			if disagree == nil || !strings.Contains(disagree.Error(), row.want) {
				t.Errorf("noticed %v, want %q", disagree, row.want)
			}
		})
	}
}

// TestPairCatchesUp: ops that nobody asked for are followed, not blamed.
func TestPairCatchesUp(t *testing.T) {
	m := NewModel(Options{})
	p := start(t, System{Vol: m, Ops: m.Ops})
	for i, req := range []volume.Request{createReq(1, "a", volume.ModeFile), createReq(1, "b", volume.ModeDir), createReq(1, "a", volume.ModeFile)} {
		if _, _, disagree := p.Do(t.Context(), &req); disagree != nil {
			t.Fatal(disagree)
		}
		op := &volume.Op{Kind: volume.OpMember, Member: volume.Member{ID: "n"}, Version: m.Position().Version + 1, Time: m.last}
		if err := m.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		m.Reign(volume.Epoch{Number: uint64(5 + i), Leader: "x", Tag: uint32(i + 1)})
	}
	if err := p.Compare(t.Context()); err != nil {
		t.Error(err)
	}
}
