//go:build linux

package posix

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// treeWork does one random history of names and attributes in several folders in step:
// all must answer alike. With one folder among others who work in it too, only errnos
// that no history can bring are failures.
type treeWork struct {
	r     *rand.Rand
	dirs  []string
	pool  []openPair
	last  []string
	crowd bool
}

// openPair is one open file in each folder.
type openPair struct {
	fds  []int
	path string
	dir  bool
}

// runTree: SEED OPS DIR [DIR...].
func runTree(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("want SEED OPS DIR [DIR...], got %q", args)
	}
	seed, err1 := strconv.ParseUint(args[0], 10, 64)
	ops, err2 := strconv.Atoi(args[1])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	runtime.LockOSThread() // steps act as several users
	unix.Umask(0o022)
	if err := setGroups([]uint32{2000}); err != nil {
		return err
	}
	w := &treeWork{r: rand.New(rand.NewPCG(seed, 3)), dirs: args[2:], crowd: len(args) == 3}
	for i := range ops {
		if err := w.step(); err != nil {
			return fmt.Errorf("seed %d, step %d: %w\nsteps before: %q", seed, i, err, w.last)
		}
	}
	for len(w.pool) > 0 {
		w.drop(0)
	}
	return nil
}

func setGroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), ptr(&groups[0]), 0)
	runtime.KeepAlive(groups)
	if errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	return nil
}

// act makes the kernel check permissions of this thread as those of another user.
func act(uid int) {
	unix.RawSyscall(unix.SYS_SETFSGID, uintptr(uid), 0, 0)
	unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
}

// path is one of few, up to four levels deep.
func (w *treeWork) path() string {
	var p []string
	for range 1 + w.r.IntN(4) {
		p = append(p, string(rune('a'+w.r.IntN(5))))
	}
	return strings.Join(p, "/")
}

// call is a step: what it does in one folder, and what came of it beyond the errno.
type call struct {
	text string
	run  func(i int, at func(string) string) (string, error)
}

func (w *treeWork) step() error {
	c := w.choose()
	uid := []int{0, 0, 0, 1000, 1001}[w.r.IntN(5)]
	text := fmt.Sprintf("%s as %d", c.text, uid)
	if len(w.last) == 25 {
		w.last = append(w.last[:0], w.last[1:]...)
	}
	var first string
	for i, dir := range w.dirs {
		act(uid)
		out, err := c.run(i, func(p string) string { return dir + "/" + p })
		act(0)
		answer := out
		if err != nil {
			answer = err.Error()
		}
		switch {
		case w.crowd && impossible(err):
			return fmt.Errorf("%s: %w", text, err)
		case i == 0:
			first = answer
		case answer != first:
			return fmt.Errorf("%s: %s in %s, %s in %s", text, first, w.dirs[0], answer, dir)
		}
	}
	w.last = append(w.last, text+": "+first)
	return nil
}

// impossible errnos: nothing that others do can bring them.
func impossible(err error) bool {
	return slices.Contains([]error{unix.EIO, unix.ENOSYS, unix.ENOTCONN, unix.ECONNABORTED, unix.ESTALE, unix.EPROTO, unix.EDEADLK, unix.EOVERFLOW, unix.EUCLEAN}, err)
}

func (w *treeWork) choose() call {
	switch k := w.r.IntN(100); {
	case k < 45:
		return w.naming()
	case k < 60:
		return w.attributes()
	case k < 75:
		return w.looking()
	}
	return w.opened()
}

func (w *treeWork) naming() call {
	p, q := w.path(), w.path()
	mode := uint32([]int{0o777, 0o755, 0o700, 0o1777, 0o2775, 0o644, 0o555}[w.r.IntN(7)])
	flags := []uint{0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[w.r.IntN(5)]
	special := w.r.IntN(3)
	data := string(pattern(w.r.IntN(50), w.r.IntN(9000)))
	only := func(text string, f func(at func(string) string) error) call {
		return call{text, func(_ int, at func(string) string) (string, error) { return "", f(at) }}
	}
	switch w.r.IntN(11) {
	case 0, 1:
		return only(fmt.Sprintf("mkdir %s %o", p, mode), func(at func(string) string) error { return unix.Mkdir(at(p), mode) })
	case 2, 3:
		return only(fmt.Sprintf("rename %s %s %d", p, q, flags), func(at func(string) string) error {
			return unix.Renameat2(unix.AT_FDCWD, at(p), unix.AT_FDCWD, at(q), flags)
		})
	case 4:
		return only("unlink "+p, func(at func(string) string) error { return unix.Unlink(at(p)) })
	case 5:
		return only("rmdir "+p, func(at func(string) string) error { return unix.Rmdir(at(p)) })
	case 6:
		return only(fmt.Sprintf("link %s %s", p, q), func(at func(string) string) error { return unix.Link(at(p), at(q)) })
	case 7:
		return only(fmt.Sprintf("symlink %s %s", q, p), func(at func(string) string) error { return unix.Symlink(q, at(p)) })
	case 8:
		// no devices: a mount does not let them be opened
		return only(fmt.Sprintf("mknod %s %d", p, special), func(at func(string) string) error {
			return unix.Mknod(at(p), []uint32{unix.S_IFIFO, unix.S_IFREG, unix.S_IFSOCK}[special]|0o660, 0)
		})
	case 9:
		return only(fmt.Sprintf("put %s %d", p, len(data)), func(at func(string) string) error {
			fd, err := unix.Open(at(p), unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, mode&0o777)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if !regular(fd) {
				return nil
			}
			_, err = unix.Write(fd, []byte(data))
			return err
		})
	}
	return w.open(p)
}

func regular(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// open opens a file or directory and keeps it; only if all could be opened.
func (w *treeWork) open(p string) call {
	if len(w.pool) >= 6 {
		w.drop(w.r.IntN(len(w.pool)))
	}
	flags := []int{unix.O_RDONLY, unix.O_RDWR, unix.O_RDWR | unix.O_CREAT, unix.O_RDWR | unix.O_CREAT | unix.O_EXCL,
		unix.O_WRONLY | unix.O_TRUNC, unix.O_RDONLY | unix.O_DIRECTORY, unix.O_RDWR | unix.O_TMPFILE, unix.O_RDONLY | unix.O_NOFOLLOW}[w.r.IntN(8)]
	pair := openPair{path: p}
	return call{fmt.Sprintf("open %s %#x", p, flags), func(i int, at func(string) string) (string, error) {
		fd, err := unix.Open(at(p), flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o664)
		if err != nil {
			return "", err
		}
		pair.fds = append(pair.fds, fd)
		if i == len(w.dirs)-1 {
			w.pool = append(w.pool, pair)
		}
		return "", nil
	}}
}

func (w *treeWork) drop(i int) {
	for _, fd := range w.pool[i].fds {
		unix.Close(fd)
	}
	w.pool = slices.Delete(w.pool, i, i+1)
}

func (w *treeWork) attributes() call {
	p := w.path()
	only := func(text string, f func(at func(string) string) error) call {
		return call{text, func(_ int, at func(string) string) (string, error) { return "", f(at) }}
	}
	switch w.r.IntN(6) {
	case 0, 1:
		mode := []uint32{0o777, 0o755, 0o644, 0o4755, 0o6777, 0o2770, 0o1777, 0o500, 0}[w.r.IntN(9)]
		return only(fmt.Sprintf("chmod %s %o", p, mode), func(at func(string) string) error { return unix.Chmod(at(p), mode) })
	case 2:
		uid, gid := []int{0, 1000, 1001, -1}[w.r.IntN(4)], []int{0, 1000, 2000, -1}[w.r.IntN(4)]
		if uid+gid == -2 {
			uid = 1000 // neither: a mount cannot tell what comes of it from a write, and forbids nothing
		}
		return only(fmt.Sprintf("lchown %s %d %d", p, uid, gid), func(at func(string) string) error { return unix.Lchown(at(p), uid, gid) })
	case 3:
		size := w.r.Int64N(20000)
		return only(fmt.Sprintf("truncate %s %d", p, size), func(at func(string) string) error { return unix.Truncate(at(p), size) })
	case 4:
		ts := []unix.Timespec{{Sec: w.r.Int64N(1<<33) - 1<<30, Nsec: w.r.Int64N(1e9)}, {Sec: w.r.Int64N(1 << 31), Nsec: 1}}
		if w.r.IntN(3) == 0 {
			ts = []unix.Timespec{now, now}
		}
		return only("utimes "+p, func(at func(string) string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, at(p), ts, unix.AT_SYMLINK_NOFOLLOW)
		})
	}
	attr := "user." + string(rune('a'+w.r.IntN(3)))
	if w.r.IntN(3) == 0 {
		return only("removexattr "+p+" "+attr, func(at func(string) string) error { return unix.Lremovexattr(at(p), attr) })
	}
	value, flags := pattern(w.r.IntN(9), w.r.IntN(100)), w.r.IntN(3)
	return only(fmt.Sprintf("setxattr %s %s %d", p, attr, flags), func(at func(string) string) error {
		return unix.Lsetxattr(at(p), attr, value, flags)
	})
}

func (w *treeWork) looking() call {
	p := w.path()
	switch w.r.IntN(6) {
	case 0:
		return call{"readlink " + p, func(_ int, at func(string) string) (string, error) {
			buf := make([]byte, 100)
			n, err := unix.Readlink(at(p), buf)
			return string(buf[:max(n, 0)]), err
		}}
	case 1:
		attr := "user." + string(rune('a'+w.r.IntN(3)))
		return call{"getxattr " + p + " " + attr, func(_ int, at func(string) string) (string, error) {
			buf := make([]byte, 200)
			n, err := unix.Lgetxattr(at(p), attr, buf)
			return hex.EncodeToString(buf[:max(n, 0)]), err
		}}
	case 2:
		return call{"list " + p, func(_ int, at func(string) string) (string, error) {
			fd, err := unix.Open(at(p), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return "", err
			}
			defer unix.Close(fd)
			return listing(fd)
		}}
	case 3:
		mode := uint32(w.r.IntN(8))
		return call{fmt.Sprintf("access %s %d", p, mode), func(_ int, at func(string) string) (string, error) {
			return "", unix.Faccessat2(unix.AT_FDCWD, at(p), mode, unix.AT_EACCESS)
		}}
	}
	return call{"stat " + p, func(_ int, at func(string) string) (string, error) {
		var st unix.Stat_t
		err := unix.Lstat(at(p), &st)
		return describe(&st), err
	}}
}

func listing(fd int) (string, error) {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return "", err
	}
	list, err := listAll(fd, 1000)
	var names []string
	for _, d := range list {
		names = append(names, fmt.Sprint(d.name, ":", d.typ))
	}
	slices.Sort(names)
	return strings.Join(names, " "), err
}

// describe leaves out what differs between file systems.
func describe(st *unix.Stat_t) string {
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0
	}
	return fmt.Sprintf("mode %o, %d links, %d:%d, rdev %x, %d bytes", st.Mode, st.Nlink, st.Uid, st.Gid, st.Rdev, size)
}

// opened does something with what is open, whatever has become of its name.
func (w *treeWork) opened() call {
	if len(w.pool) == 0 {
		return w.open(w.path())
	}
	k := w.r.IntN(len(w.pool))
	o := w.pool[k]
	off, n := w.r.Int64N(20000), w.r.IntN(5000)
	text := func(what string) string { return fmt.Sprintf("%s (opened as %s) %d %d", what, o.path, off, n) }
	switch w.r.IntN(9) {
	case 0, 1:
		return call{text("fstat"), func(i int, _ func(string) string) (string, error) {
			var st unix.Stat_t
			err := unix.Fstat(o.fds[i], &st)
			return describe(&st), err
		}}
	case 2:
		p := pattern(w.r.IntN(50), n)
		return call{text("pwrite"), func(i int, _ func(string) string) (string, error) {
			if !regular(o.fds[i]) {
				return "", nil
			}
			m, err := unix.Pwrite(o.fds[i], p, off)
			return strconv.Itoa(m), err
		}}
	case 3:
		return call{text("pread"), func(i int, _ func(string) string) (string, error) {
			if !regular(o.fds[i]) {
				return "", nil
			}
			p := make([]byte, n)
			m, err := unix.Pread(o.fds[i], p, off)
			return fmt.Sprint(m, bytes.Count(p, []byte{0}), string(p[:min(8, max(m, 0))])), err
		}}
	case 4:
		return call{text("fchmod"), func(i int, _ func(string) string) (string, error) {
			return "", unix.Fchmod(o.fds[i], uint32(0o600+n%0o200))
		}}
	case 5:
		return call{text("ftruncate"), func(i int, _ func(string) string) (string, error) { return "", unix.Ftruncate(o.fds[i], off) }}
	case 6:
		name := w.path()
		return call{text("linkat " + name), func(i int, at func(string) string) (string, error) {
			return "", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", o.fds[i]), unix.AT_FDCWD, at(name), unix.AT_SYMLINK_FOLLOW)
		}}
	case 7:
		name := string(rune('a' + w.r.IntN(5)))
		return call{text("at " + name), func(i int, _ func(string) string) (string, error) {
			if n%2 == 0 {
				return "", unix.Mkdirat(o.fds[i], name, 0o775)
			}
			var st unix.Stat_t
			err := unix.Fstatat(o.fds[i], name, &st, unix.AT_SYMLINK_NOFOLLOW)
			return describe(&st), err
		}}
	}
	return call{text("list"), func(i int, _ func(string) string) (string, error) {
		var st unix.Stat_t
		if err := unix.Fstat(o.fds[i], &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return "", err
		}
		if st.Nlink == 0 {
			return "", nil // what a removed directory lists is nobody's business
		}
		return listing(o.fds[i])
	}}
}

// runCrowd runs several runTree in one folder at once: SEED OPS COUNT DIR.
func runCrowd(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("want SEED OPS COUNT DIR, got %q", args)
	}
	seed, err1 := strconv.ParseUint(args[0], 10, 64)
	count, err2 := strconv.ParseUint(args[2], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	procs := make([]*os.Process, count)
	for i := range procs {
		var err error
		env := append(os.Environ(), "WDTEST_HELPER=tree")
		argv := []string{"tree", strconv.FormatUint(seed+uint64(i), 10), args[1], args[3]}
		procs[i], err = os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{Env: env, Files: []*os.File{nil, os.Stdout, os.Stderr}})
		if err != nil {
			return err
		}
	}
	var errs []error
	for i, p := range procs {
		st, err := p.Wait()
		if err == nil && !st.Success() {
			err = fmt.Errorf("process %d of %d from seed %d: %s", i, count, seed, st)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
