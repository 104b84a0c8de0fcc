//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

func (b box) mode(name string, want uint32) {
	if st := b.stat(name); st.Mode&0o7777 != want {
		b.fail("%s has mode %04o, want %04o", name, st.Mode&0o7777, want)
	}
}

func chmodOp(b box) {
	b.put("f", "x")
	b.mkdir("d")
	for _, mode := range []uint32{0, 0o400, 0o777, 0o4755, 0o2711, 0o6755, 0o1777, 0o644} {
		b.ok("chmod", unix.Chmod(b.at("d"), mode))
		b.mode("d", mode)
		b.ok("chmod", unix.Chmod(b.at("f"), mode))
		b.mode("f", mode)
	}
	before := b.stat("f")
	b.ok("chmod to the same", unix.Chmod(b.at("f"), 0o644))
	if after := b.stat("f"); after.Ctim == before.Ctim || after.Mtim != before.Mtim {
		b.fail("ctime %v then %v, mtime %v then %v", before.Ctim, after.Ctim, before.Mtim, after.Mtim)
	}
	old := unix.Umask(0o077)
	b.put("private", "x")
	b.mkdir("private-dir")
	unix.Umask(old)
	b.mode("private", 0o600)
	b.mode("private-dir", 0o700)
}

func chownOp(b box) {
	b.put("f", "x")
	b.mkdir("d")
	b.ok("symlink", unix.Symlink("f", b.at("s")))
	for i, name := range []string{"f", "d", "s"} {
		b.ok("lchown", unix.Lchown(b.at(name), 1000+i, 2000+i))
		if st := b.stat(name); st.Uid != uint32(1000+i) || st.Gid != uint32(2000+i) {
			b.fail("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
	}
	b.ok("chown of the group alone", unix.Chown(b.at("f"), -1, 77))
	if st := b.stat("f"); st.Uid != 1000 || st.Gid != 77 {
		b.fail("f belongs to %d:%d", st.Uid, st.Gid)
	}
	b.ok("chown to the largest IDs", unix.Chown(b.at("d"), 1<<32-2, 1<<32-2))
}

func suidCleared(b box) {
	for _, how := range []string{"write", "truncate", "chown"} {
		b.put(how, "content")
		b.ok("chmod", unix.Chmod(b.at(how), 0o6755))
		b.ok("chown", unix.Chown(b.at(how), 1000, 1000))
		b.ok("chmod", unix.Chmod(b.at(how), 0o6755))
		b.mode(how, 0o6755)
	}
	// As another user, which must be a process of its own.
	script := `cd "$1"; id -u >/dev/null; printf x >>write; : >truncate`
	r := cluster.Run("chmod", "0777", b.dir)
	b.ok("chmod", r.OK())
	r = cluster.Cmd{Args: []string{"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "sh", "-euc", script, "sh", b.dir}}.Run()
	b.ok("write as user 1000", r.OK())
	b.ok("chown", unix.Chown(b.at("chown"), 1001, -1))
	for _, how := range []string{"write", "truncate", "chown"} {
		b.mode(how, 0o755)
	}
}

func setgidDirectory(b box) {
	b.mkdir("d")
	b.ok("chown", unix.Chown(b.at("d"), 0, 4242))
	b.ok("chmod", unix.Chmod(b.at("d"), 0o2775))
	b.put("d/f", "x")
	b.mkdir("d/sub")
	b.ok("symlink", unix.Symlink("f", b.at("d/s")))
	for _, name := range []string{"d/f", "d/sub", "d/s"} {
		if st := b.stat(name); st.Gid != 4242 {
			b.fail("%s has group %d", name, st.Gid)
		}
	}
	b.mode("d/sub", 0o2755)
	b.mode("d/f", 0o644)
}

// stickyDirectory: only the owner may remove.
func stickyDirectory(b box) {
	b.mkdir("tmp")
	b.ok("chmod", unix.Chmod(b.at("tmp"), 0o1777))
	b.mode("tmp", 0o1777)
	b.ok("chmod", unix.Chmod(b.dir, 0o755))
	b.put("tmp/roots", "x")
	b.put("tmp/theirs", "x")
	b.ok("chown", unix.Chown(b.at("tmp/theirs"), 1000, 1000))
	as := func(script string) cluster.Result {
		return cluster.Cmd{Args: []string{"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "sh", "-c", script, "sh", b.at("tmp")}}.Run()
	}
	b.ok("remove their own", as(`rm "$1/theirs"`).OK())
	if r := as(`rm -f "$1/roots"`); r.Code == 0 || !strings.Contains(r.Stderr, "not permitted") {
		b.fail("removing another's file: code %d, %s", r.Code, r.Stderr)
	}
	b.holds("tmp/roots", "x")
}

func timesOp(b box) {
	b.put("f", "x")
	b.mkdir("d")
	b.ok("symlink", unix.Symlink("f", b.at("s")))
	times := []unix.Timespec{{Sec: 1, Nsec: 1}, {Sec: 1234567890, Nsec: 123456789}, {Sec: 0, Nsec: 0}, {Sec: -1001, Nsec: 500000000}, {Sec: 4102444800, Nsec: 999999999}}
	for i, ts := range times {
		for _, name := range []string{"f", "d", "s"} {
			set := []unix.Timespec{{Sec: int64(i), Nsec: 5}, ts}
			b.ok("utimensat", unix.UtimesNanoAt(unix.AT_FDCWD, b.at(name), set, unix.AT_SYMLINK_NOFOLLOW))
			if st := b.stat(name); st.Mtim != ts || st.Atim != set[0] {
				b.fail("%s: atime %v, mtime %v, want %v, %v", name, st.Atim, st.Mtim, set[0], ts)
			}
		}
		b.put(fmt.Sprintf("kept-%d", i), "x")
		b.ok("utimensat", unix.UtimesNanoAt(unix.AT_FDCWD, b.at(fmt.Sprintf("kept-%d", i)), []unix.Timespec{ts, ts}, 0))
	}
	before := b.stat("f")
	b.ok("mtime only", unix.UtimesNanoAt(unix.AT_FDCWD, b.at("f"), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: 99, Nsec: 9}}, 0))
	if after := b.stat("f"); after.Atim != before.Atim || after.Mtim.Sec != 99 || after.Ctim == before.Ctim {
		b.fail("before %+v, after %+v", before, after)
	}
	b.ok("now", unix.UtimesNanoAt(unix.AT_FDCWD, b.at("f"), []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}, 0))
	if after := b.stat("f"); after.Mtim.Sec < before.Ctim.Sec {
		b.fail("mtime %v is before %v", after.Mtim, before.Ctim)
	}
	// A change of entries is a change of the directory.
	b.ok("old mtime", unix.UtimesNanoAt(unix.AT_FDCWD, b.at("d"), []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0))
	b.put("d/x", "x")
	if st := b.stat("d"); st.Mtim.Sec == 1 {
		b.fail("the directory kept its mtime")
	}
}

func xattrsOp(b box) {
	b.put("f", "x")
	b.mkdir("d")
	big := pattern(6, 3000)
	for _, name := range []string{"f", "d"} {
		p := b.at(name)
		b.ok("setxattr", unix.Setxattr(p, "user.small", []byte("v"), 0))
		b.ok("setxattr", unix.Setxattr(p, "user.empty", nil, 0))
		b.ok("setxattr", unix.Setxattr(p, "user.big", big, unix.XATTR_CREATE))
		b.is("create what is there", unix.Setxattr(p, "user.big", nil, unix.XATTR_CREATE), unix.EEXIST)
		b.is("replace what is not", unix.Setxattr(p, "user.none", nil, unix.XATTR_REPLACE), unix.ENODATA)
		b.ok("replace", unix.Setxattr(p, "user.small", []byte{0, 255, '\n'}, unix.XATTR_REPLACE))
		buf := make([]byte, 4096)
		n, err := unix.Getxattr(p, "user.big", buf)
		b.ok("getxattr", err)
		if !bytes.Equal(buf[:n], big) {
			b.fail("user.big has %d other bytes", n)
		}
		_, err = unix.Getxattr(p, "user.big", buf[:10])
		b.is("getxattr into too little", err, unix.ERANGE)
		b.ok("setxattr", unix.Setxattr(p, "user.gone", []byte("x"), 0))
		b.ok("removexattr", unix.Removexattr(p, "user.gone"))
		_, err = unix.Getxattr(p, "user.gone", buf)
		b.is("getxattr of what was removed", err, unix.ENODATA)
		b.is("removexattr again", unix.Removexattr(p, "user.gone"), unix.ENODATA)
		n, err = unix.Listxattr(p, buf)
		b.ok("listxattr", err)
		for _, want := range []string{"user.small", "user.empty", "user.big"} {
			if !bytes.Contains(buf[:n], []byte(want+"\x00")) {
				b.fail("%s is not listed in %q", want, buf[:n])
			}
		}
	}
	b.ok("symlink", unix.Symlink("f", b.at("s")))
	b.is("user xattr on a symlink", unix.Lsetxattr(b.at("s"), "user.x", nil, 0), unix.EPERM)
}

// aclsOp uses the ordinary tools.
func aclsOp(b box) {
	b.put("f", "x")
	b.mkdir("d")
	script := `setfacl -m u:1234:rw,g:99:r f
		setfacl -d -m u:1234:rwx,g::r-x,o::--- d
		: >d/inherits; mkdir d/sub; : >d/sub/below
		getfacl -cpn f d d/inherits d/sub d/sub/below`
	r := cluster.Shell(b.dir, script, 0)
	if r.Code != 0 && strings.Contains(r.Stderr, "Operation not supported") {
		b.fail("ACLs are refused: %s", r.Stderr)
	}
	b.ok("setfacl", r.OK())
	for _, want := range []string{"user:1234:rw-", "group:99:r--", "default:user:1234:rwx", "user:1234:rwx"} {
		if !strings.Contains(r.Stdout, want) {
			b.fail("no %s in\n%s", want, r.Stdout)
		}
	}
	b.mode("d/inherits", 0o660)
	b.ok("chmod", unix.Chmod(b.at("f"), 0o600))
	r = cluster.Shell(b.dir, "getfacl -cpn f", 0)
	b.ok("getfacl", r.OK())
	if !strings.Contains(r.Stdout, "mask::---") {
		b.fail("chmod left the mask:\n%s", r.Stdout)
	}
	b.ok("setfacl -b", cluster.Shell(b.dir, "setfacl -b f", 0).OK())
}
