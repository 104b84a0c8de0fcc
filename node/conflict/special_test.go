package conflict

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// TestEveryKind has one of everything: types, links, attributes, names that are no text, and
// what the winner did to it.
func TestEveryKind(t *testing.T) {
	r := newRig(t, 1)
	root := volume.RootIno
	old := r.mkdir(r.leader, root, "old")
	deleted := r.file(r.leader, old, "deleted by the winner", "text")
	moved := r.file(r.leader, root, "moved by the winner", "text")
	open := r.file(r.leader, root, "open", "still read")
	if err := r.leader.Open(ctx, open, false); err != nil {
		t.Fatal(err)
	}
	r.fork()
	r.do(r.winner, volume.Request{Kind: volume.OpUnlink, Parent: old, Name: "deleted by the winner"})
	r.do(r.winner, volume.Request{Kind: volume.OpRmdir, Parent: root, Name: "old"})
	r.do(r.winner, volume.Request{Kind: volume.OpRename, Parent: root, Name: "moved by the winner", NewParent: root, NewName: "elsewhere"})

	r.write(r.leader, deleted, 0, "loser")
	r.write(r.leader, moved, 0, "loser")
	r.do(r.leader, volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "open"})
	dir := r.mkdir(r.leader, root, "dir\xff")
	f := r.file(r.leader, dir, "f\x80\n", "odd")
	r.do(r.leader, volume.Request{Kind: volume.OpLink, Ino: f, NewParent: old, NewName: "hard"})
	r.do(r.leader, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: "sym", Mode: volume.ModeLink, Target: "to\xfe/no/where"})
	r.do(r.leader, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: "fifo", Mode: volume.ModeFIFO | 0o620})
	r.do(r.leader, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: "socket", Mode: volume.ModeSocket | 0o600})
	if os.Geteuid() == 0 {
		r.do(r.leader, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: "null", Mode: volume.ModeChar | 0o666, Rdev: 1<<8 | 3})
		r.do(r.leader, volume.Request{Kind: volume.OpCreate, Parent: dir, Name: "disk", Mode: volume.ModeBlock | 0o660, Rdev: 8<<8 | 1 | 0x300<<12})
	}
	acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	r.do(r.leader, volume.Request{Kind: volume.OpSetXattr, Ino: f, Name: volume.XattrACLAccess, Data: acl})
	r.do(r.leader, volume.Request{Kind: volume.OpSetXattr, Ino: dir, Name: volume.XattrACLDefault, Data: acl})
	r.do(r.leader, volume.Request{Kind: volume.OpSetXattr, Ino: f, Name: "user.empty"})
	sparse := r.file(r.leader, dir, "sparse", "")
	r.write(r.leader, sparse, 6<<30, "far")
	r.do(r.leader, volume.Request{Kind: volume.OpSetAttr, Ino: sparse, Set: volume.SetSize, Size: 7 << 30})
	r.do(r.leader, volume.Request{Kind: volume.OpSetAttr, Ino: dir, Set: volume.SetMode | volume.SetMtime, Mode: 0o500, Mtime: volume.Time{Sec: -5, Nsec: 7}})

	o := r.options(openStore(t, vfs.NewMem()))
	rec := r.mustWrite(o)
	rd := openRecord(t, o.Store, rec.ID)
	dirPath, notes := restored(t, rd, r.winner)
	for p, n := range notes {
		t.Errorf("%q: %+v", p, n)
	}
	for path, want := range map[string]string{"old/deleted by the winner": "loser", "moved by the winner": "loser", "dir\xff/f\x80\n": "odd", "old/hard": "odd",
		".wolfdisk/nameless/" + strings.TrimLeft(open.String(), "0"): "still read"} {
		if b, err := os.ReadFile(filepath.Join(dirPath, path)); err != nil || string(b) != want {
			t.Errorf("%q: %q, %v", path, b, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(dirPath+"/dir\xff", &st); err != nil || st.Mode&0o777 != 0o500 || st.Mtim.Sec != -5 || st.Mtim.Nsec != 7 {
		t.Errorf("%+v, %v", st, err)
	}
	compareXattrs(t, dirPath+"/dir\xff/f\x80\n", "f", []volume.Xattr{{Name: volume.XattrACLAccess, Value: acl}, {Name: "user.empty"}})
	if target, err := os.Readlink(dirPath + "/dir\xff/sym"); err != nil || target != "to\xfe/no/where" {
		t.Errorf("%q, %v", target, err)
	}
	modes := map[string]uint32{"fifo": unix.S_IFIFO | 0o620, "socket": unix.S_IFSOCK | 0o600}
	if os.Geteuid() == 0 {
		modes["null"], modes["disk"] = unix.S_IFCHR|0o666, unix.S_IFBLK|0o660
	}
	for name, mode := range modes {
		if err := unix.Lstat(dirPath+"/dir\xff/"+name, &st); err != nil || uint32(st.Mode) != mode {
			t.Errorf("%s: mode %o, %v", name, st.Mode, err)
		}
		if name == "disk" && (unix.Major(st.Rdev) != 8 || unix.Minor(st.Rdev) != 0x301) {
			t.Errorf("device %d:%x", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
	}
	if err := unix.Lstat(dirPath+"/dir\xff/sparse", &st); err != nil || st.Size != 7<<30 || st.Blocks > 64 {
		t.Errorf("%+v, %v", st, err)
	}

	// Chosen paths, and nothing else.
	some := t.TempDir()
	if _, err := rd.RestoreTo(ctx, DirOptions{Dir: some, RestoreOptions: RestoreOptions{Paths: []string{"/old/hard"}}}); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(some + "/*/*")
	if err != nil || len(names) != 1 || names[0] != some+"/old/hard" {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := rd.RestoreTo(ctx, DirOptions{Dir: some}); volume.KindOf(err) != volume.NotEmpty {
		t.Errorf("into a full directory: %v", err)
	}
	for _, p := range []string{"none", "../x", "a//b"} {
		if _, err := rd.RestoreTo(ctx, DirOptions{Dir: t.TempDir(), RestoreOptions: RestoreOptions{Paths: []string{p}}}); err == nil {
			t.Errorf("%q is restored", p)
		}
	}
}

// shortLog is the rig's log from a version on.
func (r *rig) shortLog(from volume.Version) *oplog.Log {
	r.t.Helper()
	opt := oplog.DefaultOptions("oplog", testVolume)
	opt.FS, opt.SyncEvery = vfs.NewMem(), 0
	log, _, err := oplog.Open(opt)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { log.Close() })
	rd, err := r.log.Reader(from)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rd.Close()
	begun := false
	for {
		f, ok, err := rd.TryNext()
		if err != nil {
			r.t.Fatal(err)
		}
		if !ok {
			return log
		}
		if !begun {
			begun = true
			at, err := r.log.PositionAt(f.First - 1)
			if err == nil {
				err = log.Reset(at)
			}
			if err != nil {
				r.t.Fatal(err)
			}
		}
		if _, _, err := log.AppendFrame(f.Bytes); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestShortLog: where the log does not reach back the index tells what was changed.
func TestShortLog(t *testing.T) {
	for _, part := range []bool{false, true} {
		r := forked(t, 21, 400)
		snap, err := r.engine.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		o := r.options(openStore(t, vfs.NewMem()))
		o.Log = nil
		if _, err := Write(ctx, o); volume.KindOf(err) != volume.TooOld {
			t.Errorf("with nothing to ask: %v", err)
		}
		o.Inodes = snap
		if part {
			o.Log = r.shortLog((r.common + o.Mine.Version) / 2)
		}
		rec := r.mustWrite(o)
		if rec.OpsComplete() || (rec.OpsFrom > 0) != part || rec.BaseBytes > 0 {
			t.Errorf("%+v", rec)
		}
		rd := openRecord(t, o.Store, rec.ID)
		n := uint64(0)
		err = rd.Frames(ctx, func(_ oplog.Frame, ops []*volume.Op) error { n += uint64(len(ops)); return nil })
		if err != nil || n < rec.Ops || (n > 0) != part {
			t.Errorf("%d ops of %d, %v", n, rec.Ops, err)
		}
		dir, notes := restored(t, rd, nil)
		r.eachChanged(func(path string) {
			if note, ok := notes[path]; ok && note.Kind == Partial {
				t.Errorf("%+v", note)
			}
			if _, err := os.Lstat(filepath.Join(dir, path)); err != nil && len(notes) == 0 {
				t.Errorf("%q: %v", path, err)
			}
		})
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	}
}
