package fusefs

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// An agent is a child process that uses the mount on behalf of a test: the process
// that serves a mount must never use it itself. It is the test binary, run again.

// cmd is one system call for the agent; reply what came of it.
type cmd struct {
	Op           string
	Path, Path2  string
	FD, FD2      int
	Flags        int
	Mode         uint32
	Off, Len     int64
	Data         []byte
	Name         string
	UID, GID     int
	Atime, Mtime volume.Time
}

type result struct {
	Errno string // empty: success
	N     int64
	Data  []byte
	Names []string
	Inos  map[string]uint64
	Stat  unix.Stat_t
	Btime unix.StatxTimestamp
}

const (
	agentEnv = "WOLFDISK_FUSEFS_TEST"
	agentUID = "WOLFDISK_FUSEFS_TEST_UID"
)

func TestMain(m *testing.M) {
	switch os.Getenv(agentEnv) {
	case "agent":
		runAgent()
	case "serve":
		runServer()
	default:
		time.AfterFunc(4*time.Minute, abortTestMounts) // before the test binary's own timeout
		code := m.Run()
		abortTestMounts()
		os.Exit(code)
	}
}

func runAgent() {
	unix.Umask(0o22)
	if uid, err := strconv.Atoi(os.Getenv(agentUID)); err == nil {
		if err := errors.Join(syscall.Setgroups([]int{uid}), syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
			panic(err)
		}
	}
	in, out := gob.NewDecoder(bufio.NewReader(os.Stdin)), gob.NewEncoder(os.Stdout)
	for {
		var c cmd
		if err := in.Decode(&c); err != nil {
			os.Exit(0)
		}
		r, err := agentDo(&c)
		var errno syscall.Errno
		if errors.As(err, &errno) {
			r.Errno = unix.ErrnoName(errno)
		} else if err != nil {
			r.Errno = err.Error()
		}
		if err := out.Encode(r); err != nil {
			os.Exit(1)
		}
	}
}

func agentDo(c *cmd) (r result, err error) {
	buf := func() []byte { return make([]byte, c.Len) }
	n := 0
	switch c.Op {
	case "stat":
		err = unix.Lstat(c.Path, &r.Stat)
	case "fstat":
		err = unix.Fstat(c.FD, &r.Stat)
	case "statx":
		var x unix.Statx_t
		err = unix.Statx(unix.AT_FDCWD, c.Path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x)
		r.Btime, n = x.Btime, int(x.Mask)
	case "mode": // asks for nothing else, so what the kernel keeps will do
		var x unix.Statx_t
		err = unix.Statx(unix.AT_FDCWD, c.Path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MODE|unix.STATX_TYPE, &x)
		n = int(x.Mode)
	case "open":
		n, err = unix.Open(c.Path, c.Flags|unix.O_CLOEXEC, c.Mode)
	case "close":
		err = unix.Close(c.FD)
	case "pread":
		b := buf()
		n, err = unix.Pread(c.FD, b, c.Off)
		r.Data = b[:max(n, 0)]
	case "pwrite":
		n, err = unix.Pwrite(c.FD, c.Data, c.Off)
	case "write":
		n, err = unix.Write(c.FD, c.Data)
	case "read":
		r.Data, err = os.ReadFile(c.Path)
	case "put":
		err = os.WriteFile(c.Path, c.Data, os.FileMode(c.Mode))
	case "ftruncate":
		err = unix.Ftruncate(c.FD, c.Len)
	case "truncate":
		err = unix.Truncate(c.Path, c.Len)
	case "fallocate":
		err = unix.Fallocate(c.FD, c.Mode, c.Off, c.Len)
	case "seek":
		r.N, err = unix.Seek(c.FD, c.Off, c.Flags)
		return r, err
	case "fsync":
		err = unix.Fsync(c.FD)
	case "fdatasync":
		err = unix.Fdatasync(c.FD)
	case "copy":
		in, out := c.Off, c.Len
		n, err = unix.CopyFileRange(c.FD, &in, c.FD2, &out, c.Flags, 0)
	case "mmapstore":
		err = mmapStore(c)
	case "list":
		err = listDir(c.Path, int(c.Len), &r)
	case "getdents": // from the start
		if _, err = unix.Seek(c.FD, 0, io.SeekStart); err == nil {
			n, err = unix.Getdents(c.FD, make([]byte, 4096))
		}
	case "listtwice":
		err = listTwice(c.Path, &r)
	default:
		n, err = agentName(c, &r)
	}
	r.N = int64(n)
	return r, err
}

func agentName(c *cmd, r *result) (n int, err error) {
	switch c.Op {
	case "mkdir":
		err = unix.Mkdir(c.Path, c.Mode)
	case "rmdir":
		err = unix.Rmdir(c.Path)
	case "unlink":
		err = unix.Unlink(c.Path)
	case "rename":
		err = unix.Renameat2(unix.AT_FDCWD, c.Path, unix.AT_FDCWD, c.Path2, uint(c.Flags))
	case "link":
		err = unix.Link(c.Path, c.Path2)
	case "linkfd":
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", c.FD), unix.AT_FDCWD, c.Path2, unix.AT_SYMLINK_FOLLOW)
	case "symlink":
		err = unix.Symlink(c.Path, c.Path2)
	case "readlink":
		b := make([]byte, 5000)
		n, err = unix.Readlink(c.Path, b)
		r.Data = b[:max(n, 0)]
	case "mknod":
		err = unix.Mknod(c.Path, c.Mode, int(c.Len))
	case "chmod":
		err = unix.Chmod(c.Path, c.Mode)
	case "fchmod":
		err = unix.Fchmod(c.FD, c.Mode)
	case "chown":
		err = unix.Lchown(c.Path, c.UID, c.GID)
	case "utimes":
		ts := []unix.Timespec{{Sec: c.Atime.Sec, Nsec: int64(c.Atime.Nsec)}, {Sec: c.Mtime.Sec, Nsec: int64(c.Mtime.Nsec)}}
		err = unix.UtimesNanoAt(unix.AT_FDCWD, c.Path, ts, unix.AT_SYMLINK_NOFOLLOW)
	case "touch":
		now := unix.Timespec{Nsec: unix.UTIME_NOW}
		err = unix.UtimesNanoAt(unix.AT_FDCWD, c.Path, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, now}, 0)
	case "setxattr":
		err = unix.Lsetxattr(c.Path, c.Name, c.Data, c.Flags)
	case "getxattr":
		b := make([]byte, c.Len)
		n, err = unix.Lgetxattr(c.Path, c.Name, b)
		r.Data = b[:max(0, min(n, len(b)))]
	case "listxattr":
		b := make([]byte, c.Len)
		n, err = unix.Llistxattr(c.Path, b)
		r.Data = b[:max(0, min(n, len(b)))]
	case "removexattr":
		err = unix.Lremovexattr(c.Path, c.Name)
	case "statfs":
		var s unix.Statfs_t
		err = unix.Statfs(c.Path, &s)
		r.N, n = int64(s.Bsize), int(s.Namelen)
	case "umask":
		unix.Umask(int(c.Mode))
	case "chdir":
		err = unix.Chdir(c.Path)
	case "access":
		err = unix.Access(c.Path, c.Mode)
	case "stress":
		err = stress(c)
	case "bench-write", "bench-create", "bench-stat":
		err = bench(c)
	default:
		err = fmt.Errorf("unknown command %q", c.Op)
	}
	return n, err
}

// mmapStore writes through a shared mapping.
func mmapStore(c *cmd) error {
	m, err := unix.Mmap(c.FD, 0, int(c.Len), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m[c.Off:], c.Data)
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return err
	}
	return unix.Munmap(m)
}

// listDir reads a directory with buffers of a given size.
func listDir(path string, size int, r *result) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return listFD(fd, size, r)
}

func listFD(fd, size int, r *result) error {
	r.Names, r.Inos = nil, map[string]uint64{}
	buf := make([]byte, max(size, 4096))
	for {
		n, err := unix.Getdents(fd, buf)
		if n <= 0 || err != nil {
			return err
		}
		for b := buf[:n]; len(b) > 0; {
			ino, reclen, typ := native.Uint64(b), native.Uint16(b[16:]), b[18]
			name := string(b[19:reclen])
			name, _, _ = strings.Cut(name, "\x00")
			r.Names = append(r.Names, fmt.Sprintf("%s:%d", name, typ))
			r.Inos[name] = ino
			b = b[reclen:]
		}
	}
}

// listTwice lists a directory, rewinds it, and lists it again; it returns the second
// listing if the first was the same.
func listTwice(path string, r *result) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := listFD(fd, 0, r); err != nil {
		return err
	}
	first := slices.Clone(r.Names)
	if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
		return err
	}
	if err := listFD(fd, 32<<10, r); err != nil {
		return err
	}
	if !slices.Equal(first, r.Names) {
		return fmt.Errorf("listings differ: %d and %d entries", len(first), len(r.Names))
	}
	return nil
}

// stress makes, renames, writes, reads and removes files in a directory of its own
// and in one shared with others, until its time is up. It checks its own files.
func stress(c *cmd) error {
	own := filepath.Join(c.Path, c.Name)
	if err := os.MkdirAll(own, 0o755); err != nil {
		return err
	}
	shared := filepath.Join(c.Path, "shared")
	if err := os.MkdirAll(shared, 0o777); err != nil {
		return err
	}
	end := time.Now().Add(time.Duration(c.Len) * time.Millisecond)
	for i := 0; time.Now().Before(end); i++ {
		a, b := filepath.Join(own, fmt.Sprint("a", i%7)), filepath.Join(own, fmt.Sprint("b", i%5))
		data := []byte(strings.Repeat(fmt.Sprintf("%s-%d ", c.Name, i), 1+i%900))
		if err := os.WriteFile(a, data, 0o644); err != nil {
			return err
		}
		if err := os.Rename(a, b); err != nil {
			return err
		}
		if got, err := os.ReadFile(b); err != nil || string(got) != string(data) {
			return fmt.Errorf("round %d: read back %d bytes of %d, %v", i, len(got), len(data), err)
		}
		if fi, err := os.Stat(b); err != nil || fi.Size() != int64(len(data)) {
			return fmt.Errorf("round %d: stat: %v %v", i, fi, err)
		}
		s := filepath.Join(shared, fmt.Sprint("s", i%3))
		os.WriteFile(s, data, 0o644) // others remove it at any time
		os.ReadFile(s)
		os.ReadDir(shared)
		os.Remove(s)
	}
	return nil
}

// agent drives a child from a test.
type agent struct {
	t    testing.TB
	proc *exec.Cmd
	in   *gob.Encoder
	out  *gob.Decoder
	dir  string
}

func startAgent(t testing.TB, dir string, uid uint32) *agent {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := exec.Command(exe)
	p.Dir = "/"
	p.Env = append(os.Environ(), agentEnv+"=agent")
	p.Stderr = os.Stderr
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != 0 {
		p.Env = append(p.Env, fmt.Sprintf("%s=%d", agentUID, uid))
	}
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		p.Process.Kill()
		p.Wait()
	})
	return &agent{t: t, proc: p, in: gob.NewEncoder(stdin), out: gob.NewDecoder(bufio.NewReader(stdout)), dir: dir}
}

// start sends a command; its answer comes from the returned function.
func (a *agent) start(c cmd) func() result {
	a.t.Helper()
	for _, p := range []*string{&c.Path, &c.Path2} {
		if *p != "" && !(c.Op == "symlink" && p == &c.Path) && !strings.HasPrefix(*p, "./") {
			*p = filepath.Join(a.dir, *p)
		}
	}
	if err := a.in.Encode(c); err != nil {
		a.t.Fatalf("%s: %v", c.Op, err)
	}
	answer := make(chan result, 1)
	go func() {
		var r result
		if err := a.out.Decode(&r); err != nil {
			r.Errno = "agent: " + err.Error()
		}
		answer <- r
	}()
	return func() result {
		a.t.Helper()
		select {
		case r := <-answer:
			return r
		case <-time.After(60 * time.Second):
			abortTestMounts()
			a.t.Fatalf("%s %s: no answer", c.Op, c.Path)
			return result{}
		}
	}
}

func (a *agent) try(c cmd) result { a.t.Helper(); return a.start(c)() }

// do runs a command that must succeed.
func (a *agent) do(c cmd) result {
	a.t.Helper()
	r := a.try(c)
	if r.Errno != "" {
		a.t.Fatalf("%s %s %s: %s", c.Op, c.Path, c.Path2, r.Errno)
	}
	return r
}

// fails runs a command that must fail with an errno.
func (a *agent) fails(errno string, c cmd) {
	a.t.Helper()
	if r := a.try(c); r.Errno != errno {
		a.t.Errorf("%s %s %s: got %q, want %s", c.Op, c.Path, c.Path2, r.Errno, errno)
	}
}

func (a *agent) stat(path string) unix.Stat_t {
	a.t.Helper()
	return a.do(cmd{Op: "stat", Path: path}).Stat
}

func (a *agent) put(path, data string) {
	a.t.Helper()
	a.do(cmd{Op: "put", Path: path, Data: []byte(data), Mode: 0o644})
}

func (a *agent) content(path string) string {
	a.t.Helper()
	return string(a.do(cmd{Op: "read", Path: path}).Data)
}

func (a *agent) open(path string, flags int) int {
	a.t.Helper()
	return int(a.do(cmd{Op: "open", Path: path, Flags: flags, Mode: 0o644}).N)
}

// names lists a directory without "." and "..".
func (a *agent) names(path string) []string {
	a.t.Helper()
	var names []string
	for _, n := range a.do(cmd{Op: "list", Path: path}).Names {
		name, _, _ := strings.Cut(n, ":")
		if name != "." && name != ".." {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
