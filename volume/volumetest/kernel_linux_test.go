package volumetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// kernel is a directory of this machine's file system, driven with the requests that
// the Model gets, by path.
type kernel struct {
	t     *testing.T
	dir   string
	model *Model
	acls  bool // the file system has POSIX ACLs
	links bool // it counts subdirectories in nlink
}

// path finds a path to an inode through the model, whose tree is the same.
func (k *kernel) path(ino volume.Ino) string {
	if ino == volume.RootIno {
		return k.dir
	}
	refs, err := k.model.Names(ino)
	if err != nil || len(refs) == 0 {
		k.t.Fatalf("names of inode %s: %v, %v", ino, refs, err)
	}
	return filepath.Join(k.path(refs[0].Parent), refs[0].Name)
}

// do does what a request says with system calls.
func (k *kernel) do(r *volume.Request) error {
	switch r.Kind {
	case volume.OpCreate:
		p := filepath.Join(k.path(r.Parent), r.Name)
		old := unix.Umask(int(r.Umask))
		defer unix.Umask(old)
		var err error
		switch r.Mode & volume.ModeType {
		case volume.ModeDir:
			err = unix.Mkdir(p, r.Mode&0o1777)
		case volume.ModeLink:
			err = unix.Symlink(r.Target, p)
		default:
			err = unix.Mknod(p, r.Mode, int(r.Rdev))
		}
		return err
	case volume.OpLink:
		return unix.Linkat(unix.AT_FDCWD, k.path(r.Ino), unix.AT_FDCWD, filepath.Join(k.path(r.NewParent), r.NewName), 0)
	case volume.OpUnlink:
		return unix.Unlink(filepath.Join(k.path(r.Parent), r.Name))
	case volume.OpRmdir:
		return unix.Rmdir(filepath.Join(k.path(r.Parent), r.Name))
	case volume.OpRename:
		flags := uint(0)
		if r.Exclusive {
			flags |= unix.RENAME_NOREPLACE
		}
		if r.Exchange {
			flags |= unix.RENAME_EXCHANGE
		}
		return unix.Renameat2(unix.AT_FDCWD, filepath.Join(k.path(r.Parent), r.Name), unix.AT_FDCWD, filepath.Join(k.path(r.NewParent), r.NewName), flags)
	case volume.OpSetAttr:
		return k.setAttr(r)
	case volume.OpSetXattr:
		flags := 0
		if r.Exclusive {
			flags |= unix.XATTR_CREATE
		}
		if r.Replace {
			flags |= unix.XATTR_REPLACE
		}
		return unix.Lsetxattr(k.path(r.Ino), r.Name, r.Data, flags)
	case volume.OpRemoveXattr:
		return unix.Lremovexattr(k.path(r.Ino), r.Name)
	}
	k.t.Fatalf("no system call for %s", describeReq(r))
	return nil
}

func (k *kernel) setAttr(r *volume.Request) error {
	p := k.path(r.Ino)
	switch {
	case r.Set == volume.SetMode:
		return unix.Fchmodat(unix.AT_FDCWD, p, r.Mode, unix.AT_SYMLINK_NOFOLLOW)
	case r.Set == volume.SetSize:
		if fi, err := os.Lstat(p); err != nil || fi.Mode()&os.ModeSymlink != 0 {
			return unix.EINVAL // the kernel would follow it
		}
		return unix.Truncate(p, r.Size)
	}
	uid, gid := -1, -1
	if r.Set&volume.SetUID != 0 {
		uid = int(r.UID)
	}
	if r.Set&volume.SetGID != 0 {
		gid = int(r.GID)
	}
	return unix.Lchown(p, uid, gid)
}

// kernelReq is a random request that can be said with paths.
func kernelReq(rnd *rand.Rand, m *Model, acls bool) volume.Request {
	var dirs, all []volume.Ino
	for _, ino := range m.Inos() {
		a, _ := m.Inode(ino)
		if a.IsDir() {
			dirs = append(dirs, ino)
		}
		all = append(all, ino)
	}
	dir := func() volume.Ino { return dirs[rnd.IntN(len(dirs))] }
	ino := func() volume.Ino { return all[rnd.IntN(len(all))] }
	name := func() string {
		if rnd.IntN(60) == 0 {
			return strings.Repeat("n", 256)
		}
		return string(rune('a' + rnd.IntN(5)))
	}
	perm := func() uint32 { return []uint32{0o644, 0o755, 0o4755, 0o2755, 0o2644, 0o1777, 0o600, 0}[rnd.IntN(8)] }
	switch n := rnd.IntN(20); {
	case n < 4:
		typ := []uint32{volume.ModeFile, volume.ModeFile, volume.ModeLink, volume.ModeFIFO, volume.ModeSocket}[rnd.IntN(5)]
		r := createReq(dir(), name(), typ|perm())
		r.Umask = []uint32{0, 0o022, 0o077}[rnd.IntN(3)]
		return r
	case n < 7:
		r := createReq(dir(), name(), volume.ModeDir|perm()&0o1777)
		r.Umask = []uint32{0, 0o022, 0o077}[rnd.IntN(3)]
		return r
	case n < 8:
		return linkReq(ino(), dir(), name())
	case n < 10:
		return removeReq(volume.OpUnlink, dir(), name())
	case n < 11:
		return removeReq(volume.OpRmdir, dir(), name())
	case n < 15:
		r := renameReq(dir(), name(), dir(), name())
		r.Exclusive, r.Exchange = rnd.IntN(6) == 0, rnd.IntN(4) == 0
		return r
	case n < 16:
		return setReq(ino(), volume.SetMode, func(r *volume.Request) { r.Mode = perm() })
	case n < 17:
		set := []volume.SetMask{volume.SetUID, volume.SetGID, volume.SetUID | volume.SetGID}[rnd.IntN(3)]
		return setReq(ino(), set, func(r *volume.Request) { r.UID, r.GID, r.KillPriv = uint32(rnd.IntN(3)), uint32(rnd.IntN(3)), true })
	case n < 18 || !acls:
		return setReq(ino(), volume.SetSize, func(r *volume.Request) { r.Size = int64(rnd.IntN(5)) })
	case n < 19:
		r := removeXattrReq(ino(), []string{volume.XattrACLAccess, volume.XattrACLDefault, "user.a", "trusted.b"}[rnd.IntN(4)])
		if rnd.IntN(2) == 0 {
			r = xattrReq(r.Ino, []string{"user.a", "trusted.b", "none", "trusted.", "system.x"}[rnd.IntN(5)], "v")
			r.Exclusive, r.Replace = rnd.IntN(4) == 0, rnd.IntN(4) == 0
		}
		return r
	}
	bits := func() uint16 { return uint16(rnd.IntN(8)) }
	a := MakeACL(uint32(rnd.IntN(0o1000)))
	if rnd.IntN(4) > 0 {
		a = MakeACL(uint32(rnd.IntN(0o1000)), ACLEntry{ACLUser, bits(), 1000}, ACLEntry{ACLMask, bits(), noID})
	}
	which := []string{volume.XattrACLAccess, volume.XattrACLDefault}[rnd.IntN(2)]
	switch rnd.IntN(10) {
	case 0:
		// a default ACL in the wrong order, on a file, is one thing too many wrong:
		// Linux names the other one first
		a, which = a[1:], volume.XattrACLAccess
	case 1:
		a = nil
	}
	return aclReq(ino(), which, a)
}

// TestModelIsLikeLinux sends random requests to the Model and to the file system of
// the machine, by system calls, and compares errors, and now and then every
// name's type, mode, owner, links, target and attributes. It needs root, as the
// kernel checks rights and the Model does not.
func TestModelIsLikeLinux(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, seed := range seeds(t, 2, 10) {
		k := &kernel{t: t, dir: t.TempDir(), model: NewModel(Options{})}
		if err := unix.Chmod(k.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		k.probe()
		rnd := rand.New(rand.NewPCG(seed, 5))
		for i := range 800 {
			r := kernelReq(rnd, k.model, k.acls)
			text := describeReq(&r)
			got := k.do(&r)
			_, err := k.model.Do(t.Context(), &r)
			if w, g := volume.ErrnoOf(err), volume.ErrnoOf(got); w != g {
				t.Fatalf("seed %d, step %d: %s: the model says %v, Linux %v", seed, i, text, w, g)
			}
			if i%20 != 19 {
				continue
			}
			if diffs := k.compare(); len(diffs) > 0 {
				t.Fatalf("seed %d, step %d: at the latest after %s (%v), model and Linux:\n%s", seed, i, text, err, strings.Join(diffs, "\n"))
			}
		}
	}
}

// probe finds out what the file system can do.
func (k *kernel) probe() {
	p := filepath.Join(k.dir, "probe")
	if err := os.MkdirAll(filepath.Join(p, "sub"), 0o755); err != nil {
		k.t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		k.t.Fatal(err)
	}
	k.links = st.Nlink == 3
	k.acls = unix.Lsetxattr(p, volume.XattrACLDefault, MakeACL(0o755).Bytes(), 0) == nil &&
		unix.Lsetxattr(p, "user.a", nil, 0) == nil && unix.Lsetxattr(p, "trusted.b", nil, 0) == nil
	if err := os.RemoveAll(p); err != nil {
		k.t.Fatal(err)
	}
}

// compare compares the whole trees.
func (k *kernel) compare() (diffs []string) {
	want, err := Tree(k.t.Context(), k.model)
	if err != nil {
		k.t.Fatal(err)
	}
	seen := 0
	err = filepath.WalkDir(k.dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		seen++
		rel, err := filepath.Rel(k.dir, p)
		if err != nil {
			return err
		}
		n := want[rel]
		if n == nil {
			diffs = append(diffs, rel+": only in Linux")
			return nil
		}
		for _, d := range k.compareNode(p, n) {
			diffs = append(diffs, rel+": "+d)
		}
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
	if seen != len(want) {
		diffs = append(diffs, fmt.Sprintf("%d names, Linux %d", len(want), seen))
	}
	return diffs
}

func (k *kernel) compareNode(p string, n *Node) (diffs []string) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		k.t.Fatal(err)
	}
	d := differ{&diffs}
	d.cmp("mode", octal(n.Attr.Mode), octal(st.Mode))
	d.cmp("uid", n.Attr.UID, st.Uid)
	d.cmp("gid", n.Attr.GID, st.Gid)
	if k.links || !n.Attr.IsDir() {
		d.cmp("nlink", uint64(n.Attr.Nlink), uint64(st.Nlink))
	}
	if !n.Attr.IsDir() {
		d.cmp("size", n.Attr.Size, st.Size)
	}
	if n.Target != "" {
		target, err := os.Readlink(p)
		d.cmp("target", n.Target, target)
		d.cmp("read link", err, nil)
	}
	if !k.acls {
		return diffs
	}
	for _, name := range []string{volume.XattrACLAccess, volume.XattrACLDefault, "user.a", "trusted.b"} {
		buf := make([]byte, 1024)
		size, err := unix.Lgetxattr(p, name, buf)
		i := slices.IndexFunc(n.Xattrs, func(x volume.Xattr) bool { return x.Name == name })
		switch {
		case err == nil && i >= 0:
			d.cmp(name, fmt.Sprintf("%x", n.Xattrs[i].Value), fmt.Sprintf("%x", buf[:size]))
		case err == nil || i >= 0:
			d.cmp("has "+name, i >= 0, err == nil)
		}
	}
	return diffs
}
