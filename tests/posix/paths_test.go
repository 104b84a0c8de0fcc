//go:build linux

package posix

import (
	"strings"

	"golang.org/x/sys/unix"
)

// pathOp is a call that takes a path; object is what must be there for it to succeed:
// "file", "dir", "link", or "" if it makes the name.
type pathOp struct {
	name   string
	object string
	call   func(b *box, path string) error
}

var pathOps = []pathOp{
	{"open", "file", func(b *box, p string) error { return b.try(p, unix.O_RDONLY, 0) }},
	{"open-rdwr", "file", func(b *box, p string) error { return b.try(p, unix.O_RDWR, 0) }},
	{"open-path", "file", func(b *box, p string) error { return b.try(p, unix.O_PATH, 0) }},
	{"creat", "", func(b *box, p string) error { return b.try(p, unix.O_CREAT|unix.O_WRONLY, 0o644) }},
	{"creat-excl", "", func(b *box, p string) error { return b.try(p, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o644) }},
	{"opendir", "dir", func(b *box, p string) error { return b.try(p, unix.O_RDONLY|unix.O_DIRECTORY, 0) }},
	{"tmpfile", "dir", func(b *box, p string) error { return b.try(p, unix.O_TMPFILE|unix.O_RDWR, 0o600) }},
	{"mkdir", "", func(b *box, p string) error { return unix.Mkdir(b.at(p), 0o755) }},
	{"mkfifo", "", func(b *box, p string) error { return unix.Mkfifo(b.at(p), 0o644) }},
	{"mknod", "", func(b *box, p string) error { return unix.Mknod(b.at(p), unix.S_IFREG|0o644, 0) }},
	{"symlink", "", func(b *box, p string) error { return unix.Symlink("t", b.at(p)) }},
	{"link-old", "file", func(b *box, p string) error {
		err := unix.Link(b.at(p), b.at("another"))
		if err == nil {
			b.unlink("another")
		}
		return err
	}},
	{"link-new", "", func(b *box, p string) error { return unix.Link(b.at("file"), b.at(p)) }},
	{"unlink", "file", func(b *box, p string) error { return unix.Unlink(b.at(p)) }},
	{"rmdir", "dir", func(b *box, p string) error { return unix.Rmdir(b.at(p)) }},
	{"rename-old", "file", func(b *box, p string) error { return unix.Rename(b.at(p), b.at("another")) }},
	{"rename-new", "", func(b *box, p string) error { return unix.Rename(b.at("file"), b.at(p)) }},
	{"truncate", "file", func(b *box, p string) error { return unix.Truncate(b.at(p), 3) }},
	{"chmod", "file", func(b *box, p string) error { return unix.Chmod(b.at(p), 0o600) }},
	{"chown", "file", func(b *box, p string) error { return unix.Chown(b.at(p), 1, 1) }},
	{"lchown", "link", func(b *box, p string) error { return unix.Lchown(b.at(p), 1, 1) }},
	{"utimensat", "file", func(b *box, p string) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, b.at(p), []unix.Timespec{{Sec: 1}, {Sec: 2}}, 0)
	}},
	{"stat", "file", func(b *box, p string) error { var st unix.Stat_t; return unix.Stat(b.at(p), &st) }},
	{"lstat", "link", func(b *box, p string) error { var st unix.Stat_t; return unix.Lstat(b.at(p), &st) }},
	{"statx", "file", func(b *box, p string) error {
		var st unix.Statx_t
		return unix.Statx(unix.AT_FDCWD, b.at(p), 0, unix.STATX_BASIC_STATS, &st)
	}},
	{"access", "file", func(b *box, p string) error { return unix.Access(b.at(p), unix.R_OK) }},
	{"readlink", "link", func(b *box, p string) error { _, err := unix.Readlink(b.at(p), make([]byte, 10)); return err }},
	{"statfs", "dir", func(b *box, p string) error { var st unix.Statfs_t; return unix.Statfs(b.at(p), &st) }},
	{"setxattr", "file", func(b *box, p string) error { return unix.Setxattr(b.at(p), "user.a", []byte("v"), 0) }},
	{"getxattr", "file", func(b *box, p string) error {
		_, err := unix.Getxattr(b.at(p), "user.there", make([]byte, 10))
		return err
	}},
	{"listxattr", "file", func(b *box, p string) error { _, err := unix.Listxattr(b.at(p), make([]byte, 1000)); return err }},
	{"removexattr", "file", func(b *box, p string) error { return unix.Removexattr(b.at(p), "user.there") }},
}

// pathErrors are the errnos that every call with a path has in common.
var pathErrors = []struct {
	clause, path string
	want         unix.Errno
}{
	{"missing-component-is-enoent", "none/x", unix.ENOENT},
	{"file-as-component-is-enotdir", "file/x", unix.ENOTDIR},
	{"file-with-slash-dot-is-enotdir", "file/.", unix.ENOTDIR},
	{"name-of-256-bytes-is-enametoolong", strings.Repeat("n", 256), unix.ENAMETOOLONG},
	{"component-of-256-bytes-is-enametoolong", strings.Repeat("n", 256) + "/x", unix.ENAMETOOLONG},
	{"path-of-4096-bytes-is-enametoolong", "", unix.ENAMETOOLONG},
	{"loop-is-eloop", "loop/x", unix.ELOOP},
	{"dangling-component-is-enoent", "dangling/x", unix.ENOENT},
	{"empty-path-is-enoent", "", unix.ENOENT},
}

// pathBox has a file, and one of each other kind of object that is asked for.
func pathBox(b *box, others ...string) {
	b.put("file", "content")
	b.ok("setxattr", unix.Setxattr(b.at("file"), "user.there", []byte("v"), 0))
	b.chmod("file", 0o666)
	for _, what := range others {
		switch what {
		case "dir":
			b.mkdir("dir")
		case "link":
			b.symlink("file", "link")
		case "loop":
			b.symlink("loop", "loop")
		case "dangling":
			b.symlink("none", "dangling")
		case "locked":
			b.mkdir("locked")
			b.put("locked/x", "x")
			b.chmod("locked", 0o644)
		}
	}
}

func pathTable() (all table) {
	for _, op := range pathOps {
		for _, e := range pathErrors {
			all = append(all, test{name: op.name + "/" + e.clause, run: func(b *box) {
				kind, _, _ := strings.Cut(e.clause, "-")
				pathBox(b, kind)
				path := e.path
				switch {
				case strings.HasPrefix(e.clause, "path-of"):
					path = padded(b, "file", 4096)
				case strings.HasPrefix(e.clause, "empty"):
					b.alone(func() {
						b.ok("chdir", unix.Chdir(b.dir))
						b.is(op.name, op.call(&box{}, ""), unix.ENOENT) // a box without a folder: the working directory
					})
					return
				}
				b.is(op.name, op.call(b, path), e.want)
			}})
		}
		all = append(all, test{name: op.name + "/search-permission-is-needed", run: func(b *box) {
			pathBox(b, "locked")
			b.as(65534, 65534, func(b *box) { b.is(op.name, op.call(b, "locked/x"), unix.EACCES) })
		}}, test{name: op.name + "/path-of-4095-bytes", run: func(b *box) {
			pathBox(b, op.object)
			name := op.object
			if name == "" {
				name = "made"
			}
			b.ok(op.name, op.call(b, padded(b, name, 4095)))
		}}, test{name: op.name + "/name-of-255-bytes", run: func(b *box) {
			pathBox(b, op.object)
			name := strings.Repeat("m", 255)
			if op.object != "" {
				b.rename(op.object, name)
			}
			b.ok(op.name, op.call(b, name))
		}})
		if op.object == "" {
			all = append(all, test{name: op.name + "/needs-write-permission-for-the-directory", run: func(b *box) {
				pathBox(b, "dir")
				b.as(65534, 65534, func(b *box) {
					b.isOne(op.name, op.call(b, "dir/new"), unix.EACCES, unix.EPERM) // EPERM: link to what is not one's own
				})
				b.absent("dir/new")
			}}, test{name: op.name + "/moves-times-of-the-directory", run: func(b *box) {
				pathBox(b, "dir")
				b.moves(map[string]string{"dir": "mc", ".": dirMoved(op)}, func() { b.ok(op.name, op.call(b, "dir/new")) })
			}}, test{name: op.name + "/negative-entry-is-forgotten", run: func(b *box) {
				pathBox(b, "dir")
				for range 3 {
					b.absent("dir/new")
				}
				b.ok(op.name, op.call(b, "dir/new"))
				if !b.exists("dir/new") {
					b.fail("dir/new is not there")
				}
				if _, ok := b.names(b.list("dir"))["new"]; !ok {
					b.fail("dir/new is not listed")
				}
			}})
		}
	}
	return all
}

// dirMoved: a rename takes a name out of the box itself.
func dirMoved(op pathOp) string {
	if op.name == "rename-new" {
		return "mc"
	}
	return ""
}

// padded is a path of n bytes, absolute, to a name in the box.
func padded(b *box, name string, n int) string {
	p := b.dir + "/"
	rest := n - len(p) - len(name)
	return p + strings.Repeat("./", rest/2) + strings.Repeat("/", rest%2) + name
}
