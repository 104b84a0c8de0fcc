package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/node/config"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// editor changes a directory as somebody does who is no daemon, by seed.
type editor struct {
	rng  *rand.Rand
	root string
	did  []string // what it has done
}

// paths are those below the root that are not the daemon's own.
func (e *editor) paths(keep func(fs.FileMode) bool) (out []string) {
	filepath.WalkDir(e.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == e.root {
			return nil
		}
		if strings.HasPrefix(d.Name(), ".wolfdisk") && filepath.Dir(p) == e.root {
			return fs.SkipDir
		}
		if keep(d.Type()) {
			out = append(out, p)
		}
		return nil
	})
	return out
}

func (e *editor) pick(keep func(fs.FileMode) bool) string {
	if all := e.paths(keep); len(all) > 0 {
		return all[e.rng.IntN(len(all))]
	}
	return filepath.Join(e.root, "none")
}

func (e *editor) any() string  { return e.pick(func(fs.FileMode) bool { return true }) }
func (e *editor) file() string { return e.pick(fs.FileMode.IsRegular) }
func (e *editor) dir() string {
	all := e.paths(fs.FileMode.IsDir)
	if e.rng.IntN(3) == 0 || len(all) == 0 {
		return e.root
	}
	return all[e.rng.IntN(len(all))]
}

// place is a name that is free or not.
func (e *editor) place() string { return filepath.Join(e.dir(), string(rune('a'+e.rng.IntN(9)))) }

func (e *editor) text() []byte {
	b := make([]byte, e.rng.IntN(3*5000))
	for i := range b {
		b[i] = byte(e.rng.IntN(4))
	}
	return b
}

func (e *editor) write(p string, flags int) error {
	f, err := os.OpenFile(p, os.O_WRONLY|unix.O_NONBLOCK|flags, 0o640) // it may be a FIFO
	if err != nil {
		return err
	}
	_, err = f.Write(e.text())
	return errors.Join(err, f.Close())
}

// edit does one thing. That it cannot be done is part of the game.
func (e *editor) edit() {
	var what string
	var err error
	say := func(format string, args ...any) { what = fmt.Sprintf(format, args...) }
	switch e.rng.IntN(17) {
	case 0, 1:
		p := e.place()
		say("write %s", p)
		err = e.write(p, os.O_CREATE|os.O_TRUNC)
	case 2:
		p := e.file()
		say("append %s", p)
		err = e.write(p, os.O_APPEND)
	case 3:
		p := e.file()
		say("truncate %s", p)
		err = os.Truncate(p, e.rng.Int64N(9000))
	case 4, 5:
		p, to := e.any(), e.place()
		say("rename %s %s", p, to)
		err = os.Rename(p, to)
	case 6:
		p, to := e.any(), e.any()
		say("exchange %s %s", p, to)
		err = unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	case 7: // another in its place
		p, to := e.any(), e.place()
		say("move away and make anew %s %s", p, to)
		st, serr := os.Lstat(p)
		if err = os.Rename(p, to); err == nil && serr == nil {
			if st.IsDir() {
				err = os.Mkdir(p, 0o750)
			} else {
				err = e.write(p, os.O_CREATE)
			}
		}
	case 8:
		p := e.place()
		say("mkdir %s", p)
		err = os.MkdirAll(filepath.Join(p, "a", "b"), 0o755)
	case 9:
		p := e.any()
		say("remove %s", p)
		err = os.Remove(p)
	case 10:
		p := e.any()
		if e.rng.IntN(3) > 0 {
			p = e.file()
		}
		say("remove all %s", p)
		err = os.RemoveAll(p)
	case 11:
		p, to := e.file(), e.place()
		say("link %s %s", p, to)
		err = os.Link(p, to)
	case 12:
		p := e.place()
		say("symlink %s", p)
		err = os.Symlink(fmt.Sprint("to", e.rng.IntN(5)), p)
	case 13:
		p := e.any()
		say("chmod %s", p)
		if st, serr := os.Lstat(p); serr == nil && st.Mode()&fs.ModeSymlink == 0 {
			err = os.Chmod(p, fs.FileMode(e.rng.IntN(0o1000))|0o500)
		}
	case 14:
		p := e.any()
		say("chown %s", p)
		err = os.Lchown(p, e.rng.IntN(3), e.rng.IntN(3))
	case 15:
		p := e.any()
		say("attribute %s", p)
		if e.rng.IntN(2) == 0 {
			err = unix.Lsetxattr(p, "trusted.e", []byte{byte(e.rng.IntN(3))}, 0)
		} else {
			err = unix.Lremovexattr(p, "trusted.e")
		}
	case 16: // of another type
		p := e.any()
		say("another type %s", p)
		st, serr := os.Lstat(p)
		if err = os.RemoveAll(p); err == nil && serr == nil {
			switch {
			case st.IsDir():
				err = unix.Mkfifo(p, 0o600)
			case e.rng.IntN(2) == 0:
				err = os.Mkdir(p, 0o700)
			default:
				err = os.Symlink("elsewhere", p)
			}
		}
	}
	e.did = append(e.did, fmt.Sprint(strings.ReplaceAll(what, e.root+"/", ""), ": ", err))
}

// TestEdits: whatever somebody makes of a directory while nobody looks becomes ops, after which the
// directory, the index and a replica are equal, and the next start finds nothing more to do.
func TestEdits(t *testing.T) {
	eachSeed(t, 4, 150, edits)
}

// TestEditsBehind: the same while the daemon runs and makes ops of its own of what was edited,
// once the directory is reconciled.
func TestEditsBehind(t *testing.T) {
	eachSeed(t, 15, 150, editsBehind)
}

// newEdited is a leading machine, an editor of its directory, and what its applications do.
func newEdited(t *testing.T, seed, stream uint64) (*machine, *editor, *volumetest.Gen) {
	m := newMachine(t)
	m.insist = config.Insist{ConfirmDeletes: true}
	m.tune = func(c *config.Config) { c.Oplog.SegmentSize = 1 << 20 }
	ed := &editor{rng: rand.New(rand.NewPCG(seed, stream)), root: m.dir}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("edits since directory and index agreed:\n%s", strings.Join(ed.did, "\n"))
		}
	})
	m.must(m.lead(context.Background()))
	return m, ed, volumetest.Random(seed)
}

// again stops the node and starts it, which finds nothing to do.
func (m *machine) again() {
	m.t.Helper()
	at := m.n.storage().engine.Position()
	m.must(m.n.release())
	m.must(m.lead(context.Background()))
	m.agree()
	if now := m.n.storage().engine.Position(); now.Version != at.Version {
		m.t.Errorf("the next start wrote: %v, then %v", at, now)
	}
}

func editsBehind(t *testing.T, seed uint64) {
	ctx := context.Background()
	m, ed, gen := newEdited(t, seed, 8)
	st, l := m.n.storage(), m.n.leading()
	for round := range 5 {
		ed.did = nil
		for range 20 + ed.rng.IntN(100) {
			m.step(l, gen, gen.Next(), volume.Missing) // of a file that it has open and somebody removed
		}
		records, err := st.dir.SettleAll(st.engine)
		m.must(errors.Join(err, st.engine.PutLower(records)))
		time.Sleep(20 * time.Millisecond) // the clock of files goes in steps
		for range 1 + ed.rng.IntN(15) {
			ed.edit()
			if ed.rng.IntN(3) == 0 {
				s := gen.Next()
				m.step(l, gen, s, volume.Missing) // its file is gone
				ed.did = append(ed.did, fmt.Sprintf("%+v", s.Req))
			}
		}
		for pass := 0; ; pass++ {
			before := st.engine.Position().Version
			m.must(m.n.reconcileVerb(ctx, url.Values{"confirm_deletes": {"true"}}, func(any) error { return nil }))
			if st.engine.Position().Version == before {
				break
			}
			if pass == 5 {
				t.Fatalf("round %d: reconciling comes to no end", round)
			}
		}
		m.agree()
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	m.again()
	m.kill()
}

func edits(t *testing.T, seed uint64) {
	ctx := context.Background()
	m, ed, gen := newEdited(t, seed, 7)
	for round := range 4 {
		ed.did = nil
		l := m.n.leading()
		for range 20 + ed.rng.IntN(150) {
			m.step(l, gen, gen.Next())
		}
		how := ed.rng.IntN(3)
		switch how {
		case 0:
			m.must(m.n.release())
		case 1:
			m.kill()
			time.Sleep(1200 * time.Millisecond) // edits are told from what the daemon did last by their time
		case 2:
			m.powerLoss()
			m.up()
		}
		time.Sleep(20 * time.Millisecond) // the clock of files goes in steps
		for range 1 + ed.rng.IntN(25) {
			ed.edit()
		}
		m.must(m.lead(ctx))
		m.agree()
		m.again()
		if t.Failed() {
			t.Fatalf("round %d, ended in way %d", round, how)
		}
	}
	m.kill()
}

// TestEditOfManyNames: a file that was edited is recorded once, however many names it has.
func TestEditOfManyNames(t *testing.T) {
	ctx := context.Background()
	m := newMachine(t)
	m.must(m.lead(ctx))
	ino := m.file(volume.RootIno, "a", "text")
	for _, name := range []string{"b", "c"} {
		m.do(volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: volume.RootIno, NewName: name})
	}
	at := m.n.storage().engine.Position().Version
	m.must(m.n.release())
	m.must(os.WriteFile(m.in("b"), []byte("other text"), 0))
	m.must(m.lead(ctx))
	m.agree()
	writes := 0
	for op, err := range m.n.storage().ops(ctx, at+1) {
		m.must(err)
		if op.Kind == volume.OpWrite {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("its content was written %d times", writes)
	}
	m.kill()
}

// TestExchangedWhileStopped: names that were exchanged stay the inodes that they were, directories
// with all that is in them.
func TestExchangedWhileStopped(t *testing.T) {
	ctx := context.Background()
	m := newMachine(t)
	m.must(m.lead(ctx))
	old, fresh := m.mkdir(volume.RootIno, "current"), m.mkdir(m.mkdir(volume.RootIno, "next"), "release")
	inside := []volume.Ino{m.file(old, "f", "old"), m.file(fresh, "f", "new"), m.mkdir(old, "type"), m.file(fresh, "type", "file")}
	a, b := m.file(volume.RootIno, "a", "aaaa"), m.file(volume.RootIno, "b", "bbbb")
	before := m.n.storage().log.Last().Version
	m.must(m.n.release())
	for _, pair := range [][2]string{{"current", "next/release"}, {"a", "b"}} {
		m.must(unix.Renameat2(unix.AT_FDCWD, m.in(pair[0]), unix.AT_FDCWD, m.in(pair[1]), unix.RENAME_EXCHANGE))
	}
	m.must(m.lead(ctx))
	m.agree()
	l := m.n.leading()
	for name, want := range map[string]volume.Ino{"current": fresh, "a": b, "b": a} {
		if got, err := l.Lookup(ctx, volume.RootIno, name); err != nil || got.Ino != want {
			t.Errorf("%s is %s, %v, want %s", name, got.Ino, err, want)
		}
	}
	for _, ino := range inside {
		if _, err := l.GetAttr(ctx, ino); err != nil {
			t.Errorf("%s was in one of the directories: %v", ino, err)
		}
	}
	for op, err := range m.n.storage().ops(ctx, before+1) {
		m.must(err)
		if op.Kind == volume.OpWrite || op.Kind == volume.OpUnlink || op.Kind == volume.OpCreate {
			t.Errorf("recorded: %s of %s", op.Kind, op.Ino)
		}
	}
	m.kill()
}

// TestLinkedOver: a name that somebody made a hard link to another inode's file, dead or behind the
// running daemon, becomes a name of that inode: two inodes never share a file, of which one would be
// written with the other below, but not on followers.
func TestLinkedOver(t *testing.T) {
	ctx := context.Background()
	ends := map[string]func(m *machine){
		"killed": func(m *machine) {
			m.kill()
			time.Sleep(1200 * time.Millisecond) // edits are told from what the daemon did last by their time
		},
		"killed long after the records": func(m *machine) {
			m.must(m.n.release())
			m.must(m.lead(ctx))
			m.kill()
			time.Sleep(1200 * time.Millisecond)
		},
		"stopped": func(m *machine) { m.must(m.n.release()) },
		"running": nil,
	}
	for end, how := range ends {
		for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
			t.Run(end+", "+pair[0]+" as "+pair[1], func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				m.must(m.lead(ctx))
				inos := map[string]volume.Ino{"a": m.file(volume.RootIno, "a", "aaaa"), "b": m.file(volume.RootIno, "b", "bbbb")}
				over := func() {
					m.must(os.Remove(m.in(pair[1])))
					m.must(os.Link(m.in(pair[0]), m.in(pair[1])))
				}
				if how != nil {
					how(m)
					over()
					m.must(m.lead(ctx))
				} else {
					m.must(m.n.release())
					m.must(m.lead(ctx)) // it has neither open
					over()
					if _, err := m.n.leading().ReadAt(ctx, inos[pair[1]], make([]byte, 4), 0); volume.KindOf(err) != volume.Missing {
						t.Errorf("read of a file that is gone: %v", err)
					}
					m.must(m.n.reconcileVerb(ctx, url.Values{"confirm_deletes": {"true"}}, func(any) error { return nil }))
				}
				m.agree()
				for name := range inos {
					got, err := m.n.leading().Lookup(ctx, volume.RootIno, name)
					if want := inos[pair[0]]; err != nil || got.Nlink != 2 || got.Ino != want && end != "killed" { // which says nothing
						t.Errorf("%s is %s with %d links, %v, want %s with 2", name, got.Ino, got.Nlink, err, want)
					}
					m.write(got.Ino, "text by "+name)
					m.agree()
				}
				m.again()
				m.kill()
			})
		}
	}
}
