package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/hostdir"
	"wolfdisk/node/config"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

// adopted checks that the index says what the directory holds, that the directory was
// not changed by it, and that nothing of it is in the log.
func (m *machine) adopted(before map[string]string) {
	m.t.Helper()
	st := m.n.storage()
	m.must(st.dir.Check(context.Background(), st.engine, func(d hostdir.Difference) error {
		m.t.Errorf("different: %s", d)
		return nil
	}))
	if first := st.log.First(); st.log.Last().Version != first-1 || first < 3 {
		m.t.Errorf("the log begins at %d and ends at %d", first, st.log.Last().Version)
	}
	if st.engine.Position() != st.log.Last() {
		m.t.Errorf("index at %s, log at %s", st.engine.Position(), st.log.Last())
	}
	if m.n.state.Get().Adopting {
		m.t.Error("the state says that the adoption goes on")
	}
	after := m.plain()
	m.sameMaps(before, after)
	m.sameAsBelow(after)
}

// plain describes all that is in the directory, as any program sees it, by path.
func (m *machine) plain() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	m.must(filepath.WalkDir(m.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(m.dir, path)
		if rel == hostdir.Reserved || rel == "lost+found" {
			return filepath.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		a := volume.Attr{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Nlink: uint32(st.Nlink), Size: st.Size, Mtime: volume.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}}
		target, text := "", ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			a.Size, a.Nlink = 0, 0
		case unix.S_IFLNK:
			target, err = os.Readlink(path)
		case unix.S_IFREG:
			text, err = ends(a.Size, func(p []byte, off int64) (int, error) {
				f, err := os.Open(path)
				if err != nil {
					return 0, err
				}
				defer f.Close()
				return f.ReadAt(p, off)
			})
		case unix.S_IFCHR, unix.S_IFBLK:
			a.Rdev = unix.Minor(st.Rdev)&0xff | unix.Major(st.Rdev)<<8
		}
		if err != nil {
			return err
		}
		buf := make([]byte, 64<<10)
		n, err := unix.Llistxattr(path, buf)
		if err != nil {
			return err
		}
		var xattrs []volume.Xattr
		for _, name := range strings.Split(string(buf[:n]), "\x00") {
			if name == "" || strings.HasPrefix(name, "security.") {
				continue
			}
			v := make([]byte, 100)
			k, err := unix.Lgetxattr(path, name, v)
			if err != nil {
				return err
			}
			xattrs = append(xattrs, volume.Xattr{Name: name, Value: v[:k]})
		}
		all[rel] = described(&a, target, text, xattrs)
		return nil
	}))
	return all
}

// ends is the beginning and the end of a file.
func ends(size int64, read func([]byte, int64) (int, error)) (string, error) {
	var out []byte
	for _, off := range []int64{0, max(size-64, 0)} {
		b := make([]byte, 64)
		n, err := read(b, off)
		if err != nil && err != io.EOF {
			return "", err
		}
		out = append(out, b[:n]...)
	}
	return string(out), nil
}

func described(a *volume.Attr, target, text string, xattrs []volume.Xattr) string {
	slices.SortFunc(xattrs, func(a, b volume.Xattr) int { return strings.Compare(a.Name, b.Name) })
	if a.IsDir() {
		a.Nlink = 0
	}
	return fmt.Sprintf("mode %o owner %d:%d nlink %d rdev %d size %d mtime %d.%09d target %q text %q xattrs %q",
		a.Mode, a.UID, a.GID, a.Nlink, a.Rdev, a.Size, a.Mtime.Sec, a.Mtime.Nsec, target, text, xattrs)
}

// fill makes one of everything.
func (m *machine) fill() {
	m.t.Helper()
	at := func(name string) string { return filepath.Join(m.dir, name) }
	m.must(os.MkdirAll(at("a/b/c"), 0o750))
	m.must(os.Mkdir(at("empty"), 0o700))
	m.must(os.Mkdir(at("lost+found"), 0o700))
	m.must(os.WriteFile(at("a/file"), []byte("content"), 0o640))
	m.must(os.WriteFile(at("a/b/c/deep"), []byte(strings.Repeat("deep", 1<<18)), 0o600))
	m.must(os.WriteFile(at("a/nothing"), nil, 0o444))
	m.must(os.Link(at("a/file"), at("a/b/second")))
	m.must(os.Link(at("a/file"), at("third")))
	m.must(os.Symlink("a/file", at("sym")))
	m.must(os.Symlink("nowhere", at("a/dangling")))
	m.must(unix.Mkfifo(at("fifo"), 0o620))
	m.must(os.WriteFile(at(strings.Repeat("n", 255)), []byte("long name"), 0o644))
	m.must(os.WriteFile(at("new\nline \xff\xfe"), []byte("odd name"), 0o644))
	f, err := os.Create(at("sparse"))
	m.must(err)
	_, err = f.WriteAt([]byte("end"), 1<<30)
	m.must(errors.Join(err, f.Truncate(3<<30), f.Close()))
	m.must(unix.Setxattr(at("a/file"), "user.k", []byte("v"), 0))
	for i := range volume.MaxOpXattrs + 3 {
		m.must(unix.Setxattr(at("third"), fmt.Sprint("user.more", i), []byte{byte(i)}, 0))
	}
	m.must(unix.Setxattr(at("a"), "user.dir", nil, 0))
	m.must(unix.Setxattr(m.dir, "user.root", []byte("r"), 0))
	if os.Getuid() == 0 {
		m.must(unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		m.must(os.Lchown(at("sym"), 1234, 5678))
		m.must(os.Chown(at("a/nothing"), 99, 98))
		m.must(os.Chmod(at("a/nothing"), 0o755|os.ModeSetuid|os.ModeSetgid))
	}
	for i, name := range []string{"a/file", "a/b/c/deep", "empty", "a/b", "a", "."} {
		ts := []unix.Timespec{{Sec: 1_000_000_000, Nsec: int64(i) + 1}, {Sec: -5 * int64(i), Nsec: 123_456_789 + int64(i)}}
		m.must(unix.UtimesNanoAt(unix.AT_FDCWD, at(name), ts, 0))
	}
}

// TestAdopt adopts a directory with one of everything.
func TestAdopt(t *testing.T) {
	m := newMachine(t)
	m.fill()
	before := m.plain()
	m.must(m.lead(context.Background()))
	m.adopted(before)
	// It is a volume like any other.
	d := m.mkdir(volume.RootIno, "made")
	m.file(d, "f", "text")
	a, err := m.n.leading().Lookup(context.Background(), volume.RootIno, "third")
	m.must(err)
	if a.Nlink != 3 {
		t.Errorf("a file with three names has %d", a.Nlink)
	}
	m.write(a.Ino, "CON")
	m.must(m.n.release())
	if b, err := os.ReadFile(m.in("a/b/second")); err != nil || string(b) != "CONtent" {
		t.Errorf("%q, %v", b, err)
	}
	m.must(m.lead(context.Background()))
	m.sameAsBelow(m.plain())
	m.kill()
	m.must(m.lead(context.Background()))
	m.sameAsBelow(m.plain())
	m.kill()
	m.boot++
	m.must(m.lead(context.Background()))
	m.sameAsBelow(m.plain())
	m.kill()
}

// sameAsBelow compares what readers of the volume see with a description of the
// directory.
func (m *machine) sameAsBelow(below map[string]string) {
	m.t.Helper()
	ctx := context.Background()
	l := m.n.leading()
	seen := map[string]string{}
	var walk func(ino volume.Ino, path string)
	walk = func(ino volume.Ino, path string) {
		a, err := l.GetAttr(ctx, ino)
		m.must(err)
		target, text := "", ""
		switch {
		case a.Type() == volume.ModeLink:
			target, err = l.ReadLink(ctx, ino)
		case a.IsFile():
			text, err = ends(a.Size, func(p []byte, off int64) (int, error) { return l.ReadAt(ctx, ino, p, off) })
		}
		m.must(err)
		xattrs, err := m.n.storage().engine.Xattrs(ino)
		m.must(err)
		seen[filepath.Clean(path)] = described(&a, target, text, slices.Clone(xattrs))
		if !a.IsDir() {
			return
		}
		var entries []volume.DirEntry
		m.must(l.ReadDir(ctx, ino, 0, func(e volume.DirEntry) bool { entries = append(entries, e); return true }))
		for _, e := range entries {
			walk(e.Ino, path+"/"+e.Name)
		}
	}
	walk(volume.RootIno, ".")
	m.sameMaps(below, seen)
}

func (m *machine) sameMaps(want, got map[string]string) {
	m.t.Helper()
	for p, d := range want {
		if got[p] != d {
			m.t.Errorf("%.300q is\n%.1000s\nnot\n%.1000s", p, got[p], d)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			m.t.Errorf("%.300q should not be there", p)
		}
	}
}

// hookedContext calls a function each time it is asked for its error, which a scan does at
// every name.
type hookedContext struct {
	context.Context
	n    int
	hook func(n int)
}

func (c *hookedContext) Err() error {
	c.n++
	c.hook(c.n)
	return c.Context.Err()
}

// TestAdoptInterrupted ends the daemon in the midst of an adoption, by kill -9, in
// peace, or with the power, and lets the next start do it anew.
func TestAdoptInterrupted(t *testing.T) {
	for _, how := range []string{"kill", "stop", "power"} {
		t.Run(how, func(t *testing.T) {
			m := newMachine(t)
			m.fill()
			for i := range 3000 {
				m.must(os.WriteFile(m.in(fmt.Sprint("many", i)), []byte{byte(i)}, 0o600))
			}
			before := m.plain()
			names := len(before) - 1
			for _, after := range []int{1, 700, 2900} {
				ctx, cancel := context.WithCancel(context.Background())
				err := m.lead(&hookedContext{ctx, 0, func(n int) {
					if n == names+after { // counted first, then scanned
						cancel()
					}
				}})
				cancel()
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("after %d names: %v", after, err)
				}
				if st := m.n.state.Get(); !st.Adopting {
					t.Fatal("the state says nothing of an adoption")
				}
				switch how {
				case "kill":
					m.must(m.n.storage().engine.Flush())
					m.kill()
				case "stop":
					m.must(m.n.release())
				case "power":
					m.powerLoss()
				}
			}
			m.must(m.lead(context.Background()))
			m.adopted(before)
			m.kill()
		})
	}
}

// TestAdoptEndsTwice: the daemon is killed when the log begins behind the adoption
// already, but the state does not say so.
func TestAdoptEndsTwice(t *testing.T) {
	m := newMachine(t)
	m.fill()
	before := m.plain()
	m.must(m.lead(context.Background()))
	m.must(m.n.state.Update(func(s *State) { s.Adopting = true }))
	at := m.n.storage().log.Last()
	m.kill()
	m.must(m.lead(context.Background()))
	m.adopted(before)
	if now := m.n.storage().log.Last(); now != at {
		t.Errorf("adopted again: %s, then %s", at, now)
	}
	m.kill()
}

// TestAdoptWhileWritten: what is changed during the scan is found behind it.
func TestAdoptWhileWritten(t *testing.T) {
	m := newMachine(t)
	for i := range 500 {
		m.must(os.WriteFile(m.in(fmt.Sprint("f", i)), []byte("before"), 0o600))
	}
	ctx := &hookedContext{context.Background(), 0, func(n int) {
		if n == 500+250 {
			for i := range 500 {
				if i%5 == 0 {
					m.must(os.WriteFile(m.in(fmt.Sprint("f", i)), []byte("behind"), 0o600))
				}
			}
			m.must(os.Remove(m.in("f7")))
			m.must(os.WriteFile(m.in("late"), []byte("late"), 0o600))
		}
	}}
	m.must(m.lead(ctx))
	st := m.n.storage()
	m.must(st.dir.Check(context.Background(), st.engine, func(d hostdir.Difference) error {
		t.Errorf("different: %s", d)
		return nil
	}))
	m.expect(plant{want: "late", text: "late"})
	m.expect(plant{want: "f5", text: "behind"})
	m.kill()
}

// TestAdoptRandom adopts random trees.
func TestAdoptRandom(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			m := newMachine(t)
			dirs, files := []string{m.dir}, []string{}
			for i := range 400 {
				p := filepath.Join(dirs[rnd.IntN(len(dirs))], fmt.Sprint("x", i))
				switch k := rnd.IntN(10); {
				case k < 3:
					m.must(os.Mkdir(p, 0o700|os.FileMode(rnd.IntN(64))))
					dirs = append(dirs, p)
				case k < 5 && len(files) > 0:
					m.must(os.Link(files[rnd.IntN(len(files))], p))
				case k < 6:
					m.must(os.Symlink(strings.Repeat("t", 1+rnd.IntN(500)), p))
				default:
					m.must(os.WriteFile(p, make([]byte, rnd.IntN(10000)), 0o600|os.FileMode(rnd.IntN(64))))
					m.must(os.Chtimes(p, time.Unix(rnd.Int64N(1e9), rnd.Int64N(1e9)), time.Unix(rnd.Int64N(1e9), rnd.Int64N(1e9))))
					files = append(files, p)
				}
			}
			before := m.plain()
			m.must(m.lead(context.Background()))
			m.adopted(before)
			m.kill()
		})
	}
}

// TestDirectoryRails: what a start does about a directory that is not the one expected.
func TestDirectoryRails(t *testing.T) {
	other := func(m *machine) { // the marker is another volume's
		o := newMachine(m.t)
		m.must(os.WriteFile(filepath.Join(o.dir, "theirs"), []byte("t"), 0o644))
		m.must(o.lead(context.Background()))
		m.must(o.n.release())
		m.must(os.RemoveAll(m.dir))
		m.must(os.Rename(o.dir, m.dir))
	}
	unmarked := func(m *machine) { m.must(os.RemoveAll(m.in(hostdir.Reserved))) }
	empty := func(m *machine) {
		m.must(os.RemoveAll(m.dir))
		m.must(os.Mkdir(m.dir, 0o755))
	}
	all := config.Insist{Adopt: true, Force: true, ConfirmDeletes: true}
	for _, tt := range []struct {
		name   string
		do     func(m *machine)
		way    string // the flag that the refusal names
		bad    []config.Insist
		good   config.Insist
		want   string // a file that is there then
		nobody string // and one that is not
	}{
		{"another volume", other, "--adopt", []config.Insist{{Force: true, ConfirmDeletes: true}}, config.Insist{Adopt: true, ConfirmDeletes: true}, "theirs", "mine"},
		{"another volume, all gone", other, "--adopt", []config.Insist{{Adopt: true}}, all, "theirs", "mine"},
		{"no marker", unmarked, "--adopt", []config.Insist{{Force: true}}, config.Insist{Adopt: true}, "mine", ""},
		{"empty", empty, "--force", []config.Insist{{Adopt: true}, {Force: true}}, config.Insist{Force: true, ConfirmDeletes: true}, "", "mine"},
		{"damaged marker", func(m *machine) {
			m.must(os.WriteFile(m.in(hostdir.Reserved+"/marker"), []byte("x"), 0o600))
		}, "adopt", []config.Insist{{Force: true}}, config.Insist{Adopt: true}, "mine", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.must(m.lead(context.Background()))
			m.file(volume.RootIno, "mine", "m")
			m.file(volume.RootIno, "more", "m")
			m.must(m.n.release())
			tt.do(m)
			for i, insist := range append([]config.Insist{{}}, tt.bad...) {
				m.insist = insist
				err := m.lead(context.Background())
				if exit.Of(err) != exit.Unsafe && volume.KindOf(err) != volume.Corrupt {
					t.Fatalf("%+v: %v", insist, err)
				}
				if i == 0 && !strings.Contains(err.Error(), tt.way) {
					t.Errorf("the way out is not in %v", err)
				}
				m.must(m.n.release())
			}
			m.insist = tt.good
			m.must(m.lead(context.Background()))
			if tt.want != "" {
				if _, err := m.n.leading().Lookup(context.Background(), volume.RootIno, tt.want); err != nil {
					t.Errorf("%s: %v", tt.want, err)
				}
			}
			if tt.nobody != "" {
				if _, err := m.n.leading().Lookup(context.Background(), volume.RootIno, tt.nobody); volume.KindOf(err) != volume.NotFound {
					t.Errorf("%s: %v", tt.nobody, err)
				}
			}
			m.insist = config.Insist{}
			m.must(m.n.release())
			m.must(m.lead(context.Background()))
			m.kill()
		})
	}
}
