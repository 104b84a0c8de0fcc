//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// runMix is one of several writers in one folder: DIR SEED STEPS. It does random
// operations on few names, so that writers collide; what the others made
// impossible is no failure.
func runMix(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want DIR SEED STEPS, got %q", args)
	}
	seed, err1 := strconv.ParseUint(args[1], 10, 64)
	steps, err2 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	m := mixer{args[0], rand.New(rand.NewPCG(seed, 1))}
	for i := range steps {
		what, err := m.step()
		switch {
		case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTEMPTY),
			errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL),
			errors.Is(err, unix.EPERM), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENODATA):
		default:
			return fmt.Errorf("seed %d, step %d, %s: %w", seed, i, what, err)
		}
	}
	return nil
}

type mixer struct {
	dir string
	r   *rand.Rand
}

// name is one of few, up to three levels deep.
func (m mixer) name() string {
	p := m.dir
	for range 1 + m.r.IntN(3) {
		p = filepath.Join(p, string(rune('a'+m.r.IntN(6))))
	}
	return p
}

func (m mixer) step() (string, error) {
	a := m.name()
	switch m.r.IntN(14) {
	case 0, 1, 2:
		return "write", m.write(a, unix.O_CREAT)
	case 3:
		return "append", m.write(a, unix.O_CREAT|unix.O_APPEND)
	case 4, 5:
		return "mkdir", unix.Mkdir(a, 0o755)
	case 6:
		return "unlink", unix.Unlink(a)
	case 7:
		return "rmdir", unix.Rmdir(a)
	case 8, 9:
		return "rename", unix.Rename(a, m.name())
	case 10:
		return "link", unix.Link(a, m.name())
	case 11:
		return "symlink", unix.Symlink("b/c", a)
	case 12:
		return "truncate", unix.Truncate(a, m.r.Int64N(20000))
	}
	return "attributes", m.attributes(a)
}

func (m mixer) write(path string, flags int) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|flags, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for range 1 + m.r.IntN(4) {
		if _, err := unix.Pwrite(fd, pattern(m.r.IntN(100), 1+m.r.IntN(6000)), m.r.Int64N(30000)); err != nil {
			return err
		}
	}
	return nil
}

func (m mixer) attributes(path string) error {
	switch m.r.IntN(3) {
	case 0:
		return unix.Chmod(path, 0o600|uint32(m.r.IntN(0o200)))
	case 1:
		return unix.Lsetxattr(path, "user.mix", []byte{byte(m.r.IntN(256))}, 0)
	}
	ts := unix.Timespec{Sec: m.r.Int64N(1 << 31), Nsec: m.r.Int64N(1e9)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// runReadOnly tries to change a follower's mount: DIR, which holds "file" and
// "folder/below". Everything must be refused with EROFS.
func runReadOnly(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want DIR, got %q", args)
	}
	at := func(name string) string { return filepath.Join(args[0], name) }
	open := func(name string, flags int) error {
		fd, err := unix.Open(at(name), flags|unix.O_CLOEXEC, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	ts := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	tries := map[string]error{
		"create":       open("new", unix.O_CREAT|unix.O_WRONLY),
		"exclusive":    open("new", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR),
		"open":         open("file", unix.O_WRONLY),
		"open rw":      open("file", unix.O_RDWR),
		"open append":  open("file", unix.O_WRONLY|unix.O_APPEND),
		"open trunc":   open("file", unix.O_WRONLY|unix.O_TRUNC),
		"mkdir":        unix.Mkdir(at("new"), 0o755),
		"mkfifo":       unix.Mkfifo(at("new"), 0o644),
		"symlink":      unix.Symlink("file", at("new")),
		"link":         unix.Link(at("file"), at("new")),
		"unlink":       unix.Unlink(at("file")),
		"rmdir":        unix.Rmdir(at("folder")),
		"rename":       unix.Rename(at("file"), at("new")),
		"rename over":  unix.Rename(at("file"), at("folder/below")),
		"chmod":        unix.Chmod(at("file"), 0o600),
		"chown":        unix.Chown(at("file"), os.Getuid(), os.Getgid()),
		"utimes":       unix.UtimesNanoAt(unix.AT_FDCWD, at("file"), ts, 0),
		"truncate":     unix.Truncate(at("file"), 1),
		"setxattr":     unix.Setxattr(at("file"), "user.x", []byte("x"), 0),
		"removexattr":  unix.Removexattr(at("file"), "user.kept"),
		"chmod folder": unix.Chmod(at("folder"), 0o700),
	}
	var errs []error
	for what, err := range tries {
		if err != unix.EROFS {
			errs = append(errs, fmt.Errorf("%s: %v, want %v", what, err, unix.EROFS))
		}
	}
	return errors.Join(errs...)
}

// runBig writes a file with data in several places: PATH SIZE STRIDE. A stride of 1 MiB
// leaves no hole.
func runBig(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want PATH SIZE STRIDE, got %q", args)
	}
	size, err1 := strconv.ParseInt(args[1], 10, 64)
	stride, err2 := strconv.ParseInt(args[2], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	fd, err := unix.Open(args[0], unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	p := pattern(8, 1<<20)
	for off := int64(0); off < size; off += stride {
		copy(p, strconv.FormatInt(off, 10)) // no two pieces are equal
		n, err := unix.Pwrite(fd, p[:min(int64(len(p)), size-off)], off)
		if err != nil || n == 0 {
			return fmt.Errorf("write at %d: %d, %w", off, n, err)
		}
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		return err
	}
	return errors.Join(unix.Fsync(fd), unix.Close(fd))
}

// runMany makes small files, 500 to a folder: DIR COUNT.
func runMany(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want DIR COUNT, got %q", args)
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := range count {
		dir := fmt.Sprintf("%s/%04d", args[0], i/500)
		if i%500 == 0 {
			if err := unix.Mkdir(dir, 0o755); err != nil {
				return fmt.Errorf("mkdir %s: %w", dir, err)
			}
		}
		if err := os.WriteFile(fmt.Sprintf("%s/%06d", dir, i), pattern(i, i%3000), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// runAppender appends 4 KiB pieces to PATH for DURATION and prints how many, and
// the longest time one took, in microseconds.
func runAppender(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want PATH DURATION, got %q", args)
	}
	d, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	fd, err := unix.Open(args[0], unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	p := pattern(9, 4096)
	var count int
	var longest time.Duration
	for began := time.Now(); time.Since(began) < d; count++ {
		one := time.Now()
		if n, err := unix.Write(fd, p); err != nil || n != len(p) {
			return fmt.Errorf("append %d: %d bytes, %w", count, n, err)
		}
		longest = max(longest, time.Since(one))
	}
	fmt.Println(count, longest.Microseconds())
	return unix.Close(fd)
}
