package index

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// asked makes an op the answer to a forwarded request.
func asked(op *volume.Op, client string, seq uint64) *volume.Op {
	op.Caller = volume.Caller{UID: 1, Front: volume.FrontFUSE, Client: client, Seq: seq}
	return op
}

// answeredTo looks an answer up as for a repeat of the op's request.
func answeredTo(t testing.TB, e *Engine, op *volume.Op) (volume.Result, bool) {
	t.Helper()
	res, ok, err := e.Answered(&volume.Request{Kind: op.Kind, Ino: op.Ino, Caller: op.Caller})
	if err != nil {
		t.Fatalf("%s: %v", op.Kind, err)
	}
	return res, ok
}

// answersOf is the part of a store that holds answers.
func answersOf(t testing.TB, e *Engine) map[string]string {
	t.Helper()
	all := dump(t, e)
	maps.DeleteFunc(all, func(k, _ string) bool { return k[0] != kAnswer && k[0] != kAsked })
	return all
}

func wantClean(t testing.TB, e *Engine) {
	t.Helper()
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Check(t.Context(), CheckOptions{Found: func(f Finding) error { t.Error(f.String()); return nil }})
	if err != nil {
		t.Error(err)
	}
}

// Every kind of op that can be asked for leaves its answer.
func TestAnswers(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Abandon()
	f := newFeeder(t, e)
	f.enter(dir(2, root, "d"), file(3, "old"), file(4, ""), file(5, "x"), file(6, "open"))
	if err := e.Pin(6); err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	do := func(op *volume.Op) volume.Result {
		t.Helper()
		seq++
		f.enter(asked(op, "n", seq))
		res, ok := answeredTo(t, e, op)
		if !ok || res.Version != op.Version || res.Attr.Ino != op.Ino {
			t.Fatalf("%s: %+v, %t", op.Kind, res, ok)
		}
		return res
	}
	do(file(10, "f"))
	do(&volume.Op{Kind: volume.OpLink, Ino: 10, Parent: 2, Name: "g"})
	if res := do(write(10, 7, []byte("data"))); res.N != 4 || res.Offset != 7 || res.Attr.Size != 11 {
		t.Errorf("write: %+v", res)
	}
	do(&volume.Op{Kind: volume.OpSetAttr, Ino: 10, Mask: volume.SetMode, Mode: 0o600})
	do(&volume.Op{Kind: volume.OpTruncate, Ino: 10, Size: 5})
	do(&volume.Op{Kind: volume.OpFallocate, Ino: 10, Offset: 3, Length: 9})
	if res := do(&volume.Op{Kind: volume.OpCopyChunks, Ino: 10, Offset: 2, Chunks: []volume.ChunkRef{{Length: 8}}}); res.N != 8 || res.Offset != 2 {
		t.Errorf("copy: %+v", res)
	}
	do(&volume.Op{Kind: volume.OpSetXattr, Ino: 10, Name: "user.a"})
	do(&volume.Op{Kind: volume.OpRemoveXattr, Ino: 10, Name: "user.a"})
	if res := do(&volume.Op{Kind: volume.OpRename, Ino: 10, Parent: root, Name: "f", NewParent: root, NewName: "old", Replaced: 3, Flags: volume.OpEnds}); res.Replaced.Ino != 3 || res.Replaced.Nlink != 0 || !res.Replaced.IsFile() {
		t.Errorf("rename: %+v", res)
	}
	if res := do(&volume.Op{Kind: volume.OpRename, Ino: 10, Parent: root, Name: "old", NewParent: root, NewName: "x", Replaced: 5, Flags: volume.OpExchange}); res.Replaced.Ino != 5 || res.Replaced.Nlink != 1 {
		t.Errorf("exchange: %+v", res)
	}
	if res := do(&volume.Op{Kind: volume.OpPublish, Ino: 4, Parent: root, Name: "x", Replaced: 10}); res.Replaced.Nlink != 1 || res.Attr.Nlink != 1 {
		t.Errorf("publish: %+v", res)
	}
	if res := do(&volume.Op{Kind: volume.OpUnlink, Ino: 5, Parent: root, Name: "old", Flags: volume.OpEnds}); res.Attr.Nlink != 0 || res.Attr.Mode != volume.ModeFile|0o644 || res.Attr.Version != res.Version {
		t.Errorf("unlink: %+v", res)
	}
	if res := do(&volume.Op{Kind: volume.OpUnlink, Ino: 6, Parent: root, Name: "open", Flags: volume.OpEnds}); res.Attr.Nlink != 0 {
		t.Errorf("unlink of what is open: %+v", res)
	}
	do(&volume.Op{Kind: volume.OpUnlink, Ino: 10, Parent: 2, Name: "g"})
	if res := do(&volume.Op{Kind: volume.OpRmdir, Ino: 2, Parent: root, Name: "d", Flags: volume.OpEnds}); res.Attr.Nlink != 0 || !res.Attr.IsDir() {
		t.Errorf("rmdir: %+v", res)
	}
	wantClean(t, e)

	// A copy by snapshot, and one by replay in other batches, in which nobody has
	// anything open, hold the same.
	copied, err := importOf(export(t, e))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	sameDump(t, "imported", answersOf(t, copied), answersOf(t, e))
	wantClean(t, copied)
	replayed := openEngine(t, Options{})
	defer replayed.Abandon()
	if err := replayed.Enter(Batch{Ops: f.ops, After: e.Position()}); err != nil {
		t.Fatal(err)
	}
	sameDump(t, "replayed", answersOf(t, replayed), answersOf(t, e))
	wantClean(t, replayed)
}

// Attributes are the present ones, and of what has ended since those of then.
func TestAnswersShowThePresent(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Abandon()
	f := newFeeder(t, e)
	op := asked(file(10, "f"), "n", 1)
	f.enter(op)
	f.enter(write(10, 0, []byte("data")))
	if res, ok := answeredTo(t, e, op); !ok || res.Attr.Size != 4 || res.Version != op.Version {
		t.Errorf("after a write: %+v, %t", res, ok)
	}
	f.enter(&volume.Op{Kind: volume.OpUnlink, Ino: 10, Parent: root, Name: "f", Flags: volume.OpEnds})
	if res, ok := answeredTo(t, e, op); !ok || res.Attr.Nlink != 0 || res.Attr.Mode != volume.ModeFile|0o644 || res.Attr.Ino != 10 {
		t.Errorf("after its end: %+v, %t", res, ok)
	}
}

// A number that a client used for something else is an error, not somebody's answer.
func TestAnswersToOtherRequests(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Abandon()
	f := newFeeder(t, e)
	f.enter(file(9, "g"), asked(file(10, "f"), "n", 1), asked(write(10, 0, []byte("d")), "n", 2))
	caller := volume.Caller{Client: "n", Seq: 2}
	for _, req := range []volume.Request{
		{Kind: volume.OpUnlink, Parent: root, Name: "f", Caller: caller}, {Kind: volume.OpWrite, Ino: 9, Caller: caller},
		{Kind: volume.OpSetAttr, Ino: 10, Caller: caller}, {Kind: volume.OpWrite, Ino: 10, Caller: volume.Caller{Client: "n", Seq: 1}},
	} {
		_, ok, err := e.Answered(&req)
		wantKind(t, fmt.Sprint(req.Kind), err, volume.Invalid)
		if ok {
			t.Errorf("%s got an answer", req.Kind)
		}
	}
	for _, caller := range []volume.Caller{{Client: "n", Seq: 3}, {Client: "m", Seq: 2}, {Client: "nn", Seq: 2}} {
		if _, ok, err := e.Answered(&volume.Request{Kind: volume.OpWrite, Ino: 10, Caller: caller}); ok || err != nil {
			t.Errorf("%+v: %t, %v", caller, ok, err)
		}
	}
}

// Ops without a number, or of nobody, leave nothing.
func TestNoAnswers(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Abandon()
	f := newFeeder(t, e)
	f.enter(asked(file(10, "f"), "", 1), asked(file(11, "g"), "n", 0), file(12, ""))
	f.enter(asked(&volume.Op{Kind: volume.OpEnd, Ino: 12}, "n", 5), asked(&volume.Op{Kind: volume.OpMember, Member: volume.Member{ID: "n"}}, "n", 6),
		asked(&volume.Op{Kind: volume.OpReign, Epoch: volume.Epoch{Number: 2, Leader: "a", Tag: 1}}, "n", 7))
	if left := answersOf(t, e); len(left) != 0 {
		t.Errorf("answers %q", left)
	}
}

// The newest of a client's answers stay, whatever the batches and whatever was open.
func TestAnswersAreBounded(t *testing.T) {
	fs := vfs.NewMem()
	one := openEngine(t, Options{FS: fs})
	f := newFeeder(t, one)
	f.enter(file(10, "f"))
	var ops []*volume.Op
	const total = volume.MaxAnswers + 300
	for i := range uint64(total) {
		ops = append(ops, asked(write(10, int64(i), []byte("x")), "n", ^i*7)) // numbers in no order
		if i%10 == 0 {
			ops = append(ops, asked(write(10, 0, []byte("y")), "m", i+1))
		}
	}
	for _, op := range ops {
		f.enter(op)
	}
	many := openEngine(t, Options{})
	defer many.Abandon()
	if err := many.Enter(Batch{Ops: f.ops, After: one.Position()}); err != nil {
		t.Fatal(err)
	}
	sameDump(t, "in one batch", answersOf(t, many), answersOf(t, one))
	look := func(what string, e *Engine) {
		t.Helper()
		n := 0
		for _, op := range ops {
			_, ok := answeredTo(t, e, op)
			if op.Caller.Client == "n" {
				n++
			}
			if want := op.Caller.Client == "m" || n > total-volume.MaxAnswers; ok != want {
				t.Fatalf("%s: answer to %s %d: %t, want %t", what, op.Caller.Client, n, ok, want)
			}
		}
		wantClean(t, e)
	}
	look("singly", one)
	look("in one batch", many)
	copied, err := importOf(export(t, one))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	again := openEngine(t, Options{FS: fs})
	defer again.Abandon()
	// All go on alike.
	for i := range uint64(50) {
		op := asked(write(10, 0, []byte("z")), "n", i+1)
		f.e = again
		f.enter(op)
		for what, e := range map[string]*Engine{"imported": copied, "in one batch": many} {
			if err := e.Enter(Batch{Ops: []*volume.Op{op}, After: again.Position()}); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	sameDump(t, "opened again and imported", answersOf(t, copied), answersOf(t, again))
	sameDump(t, "opened again and replayed", answersOf(t, many), answersOf(t, again))
}

// Should a number be used twice nevertheless, the later answer counts, and nothing is
// left over when both go.
func TestAnswersTwice(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Abandon()
	f := newFeeder(t, e)
	f.enter(file(10, "f"))
	first, second := asked(write(10, 0, []byte("1")), "n", 5), asked(write(10, 3, []byte("2")), "n", 5)
	f.enter(first)
	f.enter(second)
	if res, ok := answeredTo(t, e, first); !ok || res.Version != second.Version || res.Offset != 3 {
		t.Errorf("%+v, %t", res, ok)
	}
	for i := range uint64(volume.MaxAnswers - 2) {
		f.enter(asked(write(10, 0, []byte("x")), "n", i+100))
	}
	third := asked(write(10, 9, []byte("3")), "n", 5) // the first goes when this comes
	f.enter(third)
	if res, ok := answeredTo(t, e, first); !ok || res.Version != third.Version {
		t.Errorf("%+v, %t, want version %d", res, ok, third.Version)
	}
	wantClean(t, e)
	for i := range uint64(volume.MaxAnswers) {
		f.enter(asked(write(10, 0, []byte("x")), "n", i+5000))
	}
	if n := len(answersOf(t, e)); n != 2*volume.MaxAnswers {
		t.Errorf("%d records of %d answers", n, volume.MaxAnswers)
	}
	wantClean(t, e)
}

// Of clients those stay that asked last.
func TestClientsAreBounded(t *testing.T) {
	run := func(batch int) *Engine {
		e := openEngine(t, Options{})
		f := newFeeder(t, e)
		f.enter(file(10, "f"))
		var ops []*volume.Op
		add := func(client string, seq uint64) {
			ops = append(ops, asked(write(10, 0, []byte("x")), client, seq))
			if len(ops) >= batch {
				f.enter(ops...)
				ops = nil
			}
		}
		for i := range uint64(300) {
			add("many", i+1)
		}
		for i := range volume.MaxClients - 1 {
			add(fmt.Sprint("c", i), 1)
		}
		add("c0", 2) // no longer the one that is silent longest
		add("new", 1)
		add("newer", 1)
		if len(ops) > 0 {
			f.enter(ops...)
		}
		return e
	}
	one, many := run(1), run(100)
	defer one.Abandon()
	defer many.Abandon()
	sameDump(t, "in batches", answersOf(t, many), answersOf(t, one))
	for who, want := range map[string]bool{"many": false, "c0": true, "c1": false, "c2": true, "new": true, "newer": true} {
		res, ok := answeredTo(t, one, asked(write(10, 0, nil), who, 1))
		if ok != want {
			t.Errorf("%s: %+v, %t", who, res, ok)
		}
	}
	if n := len(answersOf(t, one)); n != 2*(volume.MaxClients+1) {
		t.Errorf("%d records", n)
	}
	wantClean(t, one)
}

// An op that does not fit leaves no answer, and no trace in what is counted.
func TestAnswerOfMisfit(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Abandon()
	f := newFeeder(t, e)
	f.enter(file(10, "f"))
	wantKind(t, "misfit", f.try(asked(write(10, 0, []byte("x")), "n", 1), write(11, 0, []byte("y"))), volume.WrongHistory)
	if left := answersOf(t, e); len(left) != 0 || len(e.tails) != 0 {
		t.Errorf("answers %q, tails %v", left, e.tails)
	}
}

// Damage of answers is found.
func TestCheckAnswers(t *testing.T) {
	for what, damage := range map[string]func(e *Engine) error{
		"one is gone":     func(e *Engine) error { return e.db.Delete(keyClient(kAnswer, "n", 2), pebble.NoSync) },
		"the way is gone": func(e *Engine) error { return e.db.Delete(keyClient(kAsked, "n", 20), pebble.NoSync) },
		"the way is wrong": func(e *Engine) error {
			return e.db.Set(keyClient(kAsked, "n", 20), bytes.Repeat([]byte{0}, 8), pebble.NoSync)
		},
		"a way too many": func(e *Engine) error {
			return e.db.Set(keyClient(kAsked, "n", 99), bytes.Repeat([]byte{0}, 8), pebble.NoSync)
		},
		"a record cut short": func(e *Engine) error { return e.db.Set(keyClient(kAnswer, "n", 2), []byte("x"), pebble.NoSync) },
		"a key cut short":    func(e *Engine) error { return e.db.Set([]byte{kAnswer, 9, 9}, nil, pebble.NoSync) },
		"another key":        func(e *Engine) error { return e.db.Set([]byte{kAsked, 0, 9}, nil, pebble.NoSync) },
		"an op yet to come": func(e *Engine) error {
			return e.db.Set(keyClient(kAnswer, "n", 3), (&answer{seq: 30, version: 99, subject: volume.Attr{Ino: 10}}).encode(), pebble.NoSync)
		},
		"ops that go back": func(e *Engine) error {
			return e.db.Set(keyClient(kAnswer, "n", 3), (&answer{seq: 30, version: 1, subject: volume.Attr{Ino: 10}}).encode(), pebble.NoSync)
		},
		"another's way": func(e *Engine) error {
			return e.db.Set(keyClient(kAsked, "n", 20), keyClient(kAsked, "", 3)[2:], pebble.NoSync)
		},
	} {
		e := openEngine(t, Options{})
		f := newFeeder(t, e)
		f.enter(file(10, "f"))
		for i := range uint64(3) {
			f.enter(asked(write(10, 0, []byte("x")), "n", 10*(i+1)))
		}
		wantClean(t, e)
		if err := damage(e); err != nil {
			t.Fatal(err)
		}
		s, err := e.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		if _, err := s.Check(t.Context(), CheckOptions{Found: func(Finding) error { found++; return nil }}); err != nil {
			t.Error(err)
		}
		if found == 0 {
			t.Errorf("%s: nothing found", what)
		}
		s.Close()
		e.Abandon()
	}
}

// Records of an export are looked at by themselves.
func TestCheckAnswerRecords(t *testing.T) {
	good := (&answer{kind: volume.OpWrite, seq: 1, version: 1, subject: volume.Attr{Ino: 10}}).encode()
	if err := checkRecord(keyClient(kAnswer, "n", 1), good); err != nil {
		t.Fatal(err)
	}
	if err := checkRecord(keyClient(kAsked, "n", 1), make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("n", volume.MaxNodeIDLen+1)
	for _, r := range [][2][]byte{
		{keyClient(kAnswer, "n", 0), good}, {keyClient(kAnswer, "", 1), good}, {keyClient(kAnswer, long, 1), good}, {keyClient(kAnswer, "n", 1)[:10], good},
		{keyClient(kAnswer, "n", 1), good[1:]}, {keyClient(kAnswer, "n", 1), append(bytes.Clone(good), 0)}, {keyClient(kAnswer, "n", 1), make([]byte, len(good))},
		{keyClient(kAsked, "n", 0), make([]byte, 8)}, {keyClient(kAsked, "n", 1), make([]byte, 7)}, {append(keyClient(kAsked, "n", 1), 1), make([]byte, 8)},
	} {
		if err := checkRecord(r[0], r[1]); err == nil {
			t.Errorf("record %x: %x", r[0], r[1])
		}
	}
}
