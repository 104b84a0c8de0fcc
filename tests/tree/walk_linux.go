package tree

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

type entry struct {
	path   string
	st     unix.Stat_t
	target string
	xattrs string
	sum    string
}

// Write walks root and writes its description. Names are read relative to open
// directories, so depth is not bounded by the length of a path. An object that
// changes while it is read is an error: trees are described at rest.
func Write(w io.Writer, root string) error {
	entries, err := walk(root)
	if err != nil {
		return err
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].path < entries[j].path })
	bw := bufio.NewWriterSize(w, 1<<20)
	for _, e := range entries {
		bw.WriteString(e.line()) // the error is kept for Flush
	}
	return bw.Flush()
}

func (e *entry) line() string {
	var b strings.Builder
	field := func(name, value string) {
		b.WriteString("\t")
		b.WriteString(name)
		b.WriteString("=")
		b.WriteString(value)
	}
	b.WriteString(strconv.Quote(e.path))
	field("type", typeName(e.st.Mode))
	field("ino", strconv.FormatUint(e.st.Ino, 10))
	field("mode", fmt.Sprintf("%04o", e.st.Mode&0o7777))
	field("uid", strconv.Itoa(int(e.st.Uid)))
	field("gid", strconv.Itoa(int(e.st.Gid)))
	field("rdev", strconv.FormatUint(e.st.Rdev, 10))
	field("nlink", strconv.FormatUint(uint64(e.st.Nlink), 10))
	if e.st.Mode&unix.S_IFMT != unix.S_IFDIR {
		field("size", strconv.FormatInt(e.st.Size, 10))
	}
	field("mtime", stamp(e.st.Mtim))
	field("ctime", stamp(e.st.Ctim))
	if e.st.Mode&unix.S_IFMT == unix.S_IFLNK {
		field("target", strconv.Quote(e.target))
	}
	if e.xattrs != "" {
		field("xattrs", e.xattrs)
	}
	if e.sum != "" {
		field("sha256", e.sum)
	}
	b.WriteString("\n")
	return b.String()
}

func stamp(t unix.Timespec) string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }

func typeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "dir"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR:
		return "char"
	case unix.S_IFBLK:
		return "block"
	}
	return fmt.Sprintf("unknown-%o", mode&unix.S_IFMT)
}

type walker struct {
	entries []*entry
	hashes  chan hashJob
	byIno   map[uint64]*entry // hard links are read once
	linked  []*entry          // the other names of those

	mu  sync.Mutex
	err error
}

type hashJob struct {
	fd int
	e  *entry
}

func walk(root string) ([]*entry, error) {
	w := &walker{hashes: make(chan hashJob, 64), byIno: make(map[uint64]*entry)}
	var workers sync.WaitGroup
	for range max(2, runtime.NumCPU()) {
		workers.Go(func() {
			for job := range w.hashes {
				w.hash(job)
			}
		})
	}
	err := w.root(root)
	close(w.hashes)
	workers.Wait()
	if err = errors.Join(err, w.err); err != nil {
		return nil, err
	}
	for _, e := range w.linked {
		e.sum = w.byIno[e.st.Ino].sum
	}
	return w.entries, nil
}

func (w *walker) root(root string) error {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(fd)
	e := &entry{path: "."}
	if err := unix.Fstat(fd, &e.st); err != nil {
		return fmt.Errorf("stat %s: %w", root, err)
	}
	if e.xattrs, err = xattrsOf(procPath(fd, "."), unix.Listxattr, unix.Getxattr); err != nil {
		return fmt.Errorf("xattrs of %s: %w", root, err)
	}
	w.entries = append(w.entries, e)
	return w.dir(fd, "")
}

func (w *walker) dir(fd int, prefix string) error {
	names, err := readDir(fd)
	if err != nil {
		return fmt.Errorf("readdir %q: %w", prefix, err)
	}
	for _, d := range names {
		if err := w.name(fd, prefix, d); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) name(dir int, prefix string, d dirent) error {
	e := &entry{path: prefix + d.name}
	if err := unix.Fstatat(dir, d.name, &e.st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat %q: %w", e.path, err)
	}
	if d.ino != e.st.Ino {
		return fmt.Errorf("%q: the directory lists inode %d, stat says %d", e.path, d.ino, e.st.Ino)
	}
	if d.typ != unix.DT_UNKNOWN && uint32(d.typ) != e.st.Mode>>12&0xf {
		return fmt.Errorf("%q: the directory lists type %d, stat says %s", e.path, d.typ, typeName(e.st.Mode))
	}
	var err error
	if e.xattrs, err = xattrsOf(procPath(dir, d.name), unix.Llistxattr, unix.Lgetxattr); err != nil {
		return fmt.Errorf("xattrs of %q: %w", e.path, err)
	}
	w.entries = append(w.entries, e)
	switch e.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return w.subdir(dir, d.name, e.path)
	case unix.S_IFLNK:
		e.target, err = readLink(dir, d.name)
		if err != nil {
			return fmt.Errorf("readlink %q: %w", e.path, err)
		}
	case unix.S_IFREG:
		return w.file(dir, d.name, e)
	}
	return nil
}

func (w *walker) subdir(dir int, name, path string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", path, err)
	}
	defer unix.Close(fd)
	return w.dir(fd, path+"/")
}

func (w *walker) file(dir int, name string, e *entry) error {
	if e.st.Nlink > 1 {
		if _, seen := w.byIno[e.st.Ino]; seen {
			w.linked = append(w.linked, e)
			return nil
		}
		w.byIno[e.st.Ino] = e
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if err == unix.EPERM { // O_NOATIME is for owners
		fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return fmt.Errorf("open %q: %w", e.path, err)
	}
	w.hashes <- hashJob{fd, e}
	return nil
}

// hash reads with plain system calls: the files of package os would be registered
// with the poller, which asks the daemon below about every one of them.
func (w *walker) hash(job hashJob) {
	defer unix.Close(job.fd)
	h := sha256.New()
	buf := make([]byte, 256<<10)
	var size int64
	for {
		n, err := unix.Read(job.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			w.fail(fmt.Errorf("read %q at %d: %w", job.e.path, size, err))
			return
		}
		if n == 0 {
			break
		}
		size += int64(n)
		h.Write(buf[:n])
	}
	if size != job.e.st.Size {
		w.fail(fmt.Errorf("%q: stat says %d bytes, %d were read", job.e.path, job.e.st.Size, size))
		return
	}
	job.e.sum = hex.EncodeToString(h.Sum(nil))
}

func (w *walker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

type dirent struct {
	ino  uint64
	typ  uint8
	name string
}

func readDir(fd int) ([]dirent, error) {
	var out []dirent
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return out, nil
		}
		// struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name with NUL
		for rest := buf[:n]; len(rest) > 0; {
			d := dirent{ino: binary.NativeEndian.Uint64(rest), typ: rest[18]}
			reclen := binary.NativeEndian.Uint16(rest[16:])
			d.name = unix.ByteSliceToString(rest[19:reclen])
			rest = rest[reclen:]
			if d.name != "." && d.name != ".." {
				out = append(out, d)
			}
		}
	}
}

func readLink(dir int, name string) (string, error) {
	buf := make([]byte, 4097)
	n, err := unix.Readlinkat(dir, name, buf)
	return string(buf[:max(n, 0)]), err
}

func procPath(dir int, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir, name) }

// xattrsOf gives the attributes as "name:hex,name:hex", sorted by name.
func xattrsOf(path string, list func(string, []byte) (int, error), get func(string, string, []byte) (int, error)) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := list(path, buf)
	if err == unix.EOPNOTSUPP || n == 0 && err == nil {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("list: %w", err)
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	sort.Strings(names)
	for i, name := range names {
		value := make([]byte, 64<<10)
		n, err := get(path, name, value)
		if err != nil {
			return "", fmt.Errorf("get %s: %w", name, err)
		}
		names[i] = strconv.QuoteToASCII(name) + ":" + hex.EncodeToString(value[:n])
	}
	return strings.Join(names, ","), nil
}
