//go:build linux

package posix

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func (b *box) setx(name, attr, value string) {
	b.ok("setxattr "+attr, unix.Lsetxattr(b.at(name), attr, []byte(value), 0))
}

func (b *box) getx(name, attr string) string {
	buf := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(b.at(name), attr, buf)
	b.ok("getxattr "+attr, err)
	return string(buf[:n])
}

// listx is sorted, without what the system adds.
func (b *box) listx(name string) (list []string) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(b.at(name), buf)
	b.ok("listxattr", err)
	for _, s := range strings.Split(string(buf[:n]), "\x00") {
		if s != "" && s != "security.selinux" {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

var xattrTable = table{
	{name: "xattr/namespaces", run: func(b *box) {
		b.put("f", "x")
		b.mkdir("d")
		for _, name := range []string{"f", "d"} {
			for _, attr := range []string{"user.a", "trusted.a", "security.a"} {
				b.setx(name, attr, "value of "+attr)
				eq(b, attr, b.getx(name, attr), "value of "+attr)
			}
			eq(b, "list", strings.Join(b.listx(name), " "), "security.a trusted.a user.a")
		}
		b.is("unknown", unix.Lsetxattr(b.at("f"), "unknown.a", []byte("v"), 0), unix.EOPNOTSUPP)
		b.isOne("no namespace", unix.Lsetxattr(b.at("f"), "a", []byte("v"), 0), unix.EOPNOTSUPP)
	}},
	{name: "xattr/create-and-replace", run: func(b *box) {
		b.put("f", "x")
		set := func(flags int) error { return unix.Setxattr(b.at("f"), "user.a", []byte("v"), flags) }
		b.is("replace what is not there", set(unix.XATTR_REPLACE), unix.ENODATA)
		b.ok("create", set(unix.XATTR_CREATE))
		b.is("create what is there", set(unix.XATTR_CREATE), unix.EEXIST)
		b.ok("replace", set(unix.XATTR_REPLACE))
		b.is("unknown flag", set(8), unix.EINVAL)
	}},
	{name: "xattr/sizes-and-erange", run: func(b *box) {
		b.put("f", "x")
		b.setx("f", "user.a", "12345")
		b.setx("f", "user.empty", "")
		n, err := unix.Getxattr(b.at("f"), "user.a", nil)
		b.ok("size", err)
		eq(b, "size", n, 5)
		_, err = unix.Getxattr(b.at("f"), "user.a", make([]byte, 4))
		b.is("getxattr", err, unix.ERANGE)
		eq(b, "empty", b.getx("f", "user.empty"), "")
		n, err = unix.Listxattr(b.at("f"), nil)
		b.ok("size of the list", err)
		if n < len("user.a\x00user.empty\x00") {
			b.fail("list needs %d bytes", n)
		}
		_, err = unix.Listxattr(b.at("f"), make([]byte, 5))
		b.is("listxattr", err, unix.ERANGE)
	}},
	{name: "xattr/any-bytes", run: func(b *box) {
		b.put("f", "x")
		value := string([]byte{0, 255, '\n', 0, 1})
		b.setx("f", "user.\xff\xfe odd=name", value)
		eq(b, "value", b.getx("f", "user.\xff\xfe odd=name"), value)
	}},
	{name: "xattr/removed-is-enodata", run: func(b *box) {
		b.put("f", "x")
		b.setx("f", "user.a", "v")
		eq(b, "value", b.getx("f", "user.a"), "v")
		b.ok("remove", unix.Removexattr(b.at("f"), "user.a"))
		_, err := unix.Getxattr(b.at("f"), "user.a", nil)
		b.is("getxattr", err, unix.ENODATA)
		b.is("remove again", unix.Removexattr(b.at("f"), "user.a"), unix.ENODATA)
		eq(b, "list", len(b.listx("f")), 0)
	}},
	{name: "xattr/name-of-255-bytes-and-no-more", run: func(b *box) {
		b.put("f", "x")
		b.setx("f", "user."+strings.Repeat("n", 250), "v")
		b.is("256", unix.Setxattr(b.at("f"), "user."+strings.Repeat("n", 251), []byte("v"), 0), unix.ERANGE)
		b.isOne("empty name", unix.Setxattr(b.at("f"), "user.", []byte("v"), 0), unix.EINVAL, unix.EOPNOTSUPP)
	}},
	{name: "xattr/value-of-64-kib-and-no-more", mountOnly: "ext4 keeps 4 KiB in all", run: func(b *box) {
		b.put("f", "x")
		for _, ns := range []string{"user.", "trusted.", "security."} {
			big := string(pattern(1, 64<<10))
			b.setx("f", ns+"big", big)
			eq(b, "value", b.getx("f", ns+"big") == big, true)
		}
		b.is("one more", unix.Setxattr(b.at("f"), "user.b", make([]byte, 64<<10+1), 0), unix.E2BIG)
	}},
	{name: "xattr/a-hundred", mountOnly: "ext4 keeps 4 KiB in all", run: func(b *box) {
		b.put("f", "x")
		for i := range 100 {
			b.setx("f", fmt.Sprintf("user.%03d", i), string(pattern(i, 500)))
		}
		eq(b, "listed", len(b.listx("f")), 100)
		for i := range 100 {
			eq(b, "value", b.getx("f", fmt.Sprintf("user.%03d", i)), string(pattern(i, 500)))
		}
	}},
	{name: "xattr/user-is-for-files-and-directories", run: func(b *box) {
		b.symlink("none", "s")
		b.ok("mkfifo", unix.Mkfifo(b.at("p"), 0o600))
		for _, name := range []string{"s", "p"} {
			b.is("setxattr on "+name, unix.Lsetxattr(b.at(name), "user.a", []byte("v"), 0), unix.EPERM)
			b.setx(name, "trusted.a", "v")
			eq(b, "trusted", b.getx(name, "trusted.a"), "v")
		}
	}},
	{name: "xattr/rights-of-others", run: func(b *box) {
		b.put("f", "x")
		b.setx("f", "user.a", "v")
		b.setx("f", "trusted.a", "v")
		b.put("closed", "x")
		b.setx("closed", "user.a", "v")
		b.chmod("closed", 0)
		b.mkdir("sticky")
		b.chmod("sticky", 0o1777)
		b.as(1000, 1000, func(b *box) {
			eq(b, "user", b.getx("f", "user.a"), "v")
			b.is("set", unix.Setxattr(b.at("f"), "user.a", []byte("w"), 0), unix.EACCES)
			b.is("remove", unix.Removexattr(b.at("f"), "user.a"), unix.EACCES)
			_, err := unix.Getxattr(b.at("f"), "trusted.a", nil)
			b.is("get trusted", err, unix.ENODATA)
			b.is("set trusted", unix.Setxattr(b.at("f"), "trusted.a", nil, 0), unix.EPERM)
			eq(b, "list", strings.Join(b.listx("f"), " "), "user.a")
			_, err = unix.Getxattr(b.at("closed"), "user.a", nil)
			b.is("get from what cannot be read", err, unix.EACCES)
			b.is("set on a sticky directory", unix.Setxattr(b.at("sticky"), "user.a", nil, 0), unix.EPERM)
		})
	}},
	{name: "xattr/belong-to-the-inode", run: func(b *box) {
		b.put("f", "x")
		b.link("f", "g")
		b.setx("f", "user.a", "v")
		eq(b, "value", b.getx("g", "user.a"), "v")
		b.unlink("f")
		b.put("f", "y")
		eq(b, "list of the new file", len(b.listx("f")), 0)
		b.rename("g", "f")
		eq(b, "value", b.getx("f", "user.a"), "v")
	}},
}

// ACLs as the kernel keeps them: version 2, then entries of tag, permissions, ID.
const (
	aclUserObj  = 1
	aclUser     = 2
	aclGroupObj = 4
	aclGroup    = 8
	aclMask     = 0x10
	aclOther    = 0x20
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

func acl(entries ...aclEntry) []byte {
	p := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		if e.tag != aclUser && e.tag != aclGroup {
			e.id = 1<<32 - 1
		}
		p = binary.LittleEndian.AppendUint16(p, e.tag)
		p = binary.LittleEndian.AppendUint16(p, e.perm)
		p = binary.LittleEndian.AppendUint32(p, e.id)
	}
	return p
}

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

func (b *box) setACL(name, attr string, entries ...aclEntry) {
	b.ok("set "+attr, unix.Setxattr(b.at(name), attr, acl(entries...), 0))
}

func (b *box) hasACL(name, attr string, entries ...aclEntry) {
	buf := make([]byte, 1000)
	n, err := unix.Getxattr(b.at(name), attr, buf)
	b.ok("get "+attr, err)
	if !bytes.Equal(buf[:n], acl(entries...)) {
		b.fail("%s of %s is %x, want %x", attr, name, buf[:n], acl(entries...))
	}
}

var aclTable = table{
	{name: "acl/named-user-and-group-are-let-in", run: func(b *box) {
		b.put("f", "x")
		b.setACL("f", aclAccess, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 6, 1000}, aclEntry{aclGroupObj, 0, 0}, aclEntry{aclGroup, 4, 2000}, aclEntry{aclMask, 6, 0}, aclEntry{aclOther, 0, 0})
		b.mode("f", 0o660)
		b.as(1000, 1000, func(b *box) { b.ok("named user", b.try("f", unix.O_RDWR, 0)) })
		b.as(1001, 2000, func(b *box) {
			b.ok("named group reads", b.try("f", unix.O_RDONLY, 0))
			b.is("named group writes", b.try("f", unix.O_RDWR, 0), unix.EACCES)
		})
		b.as(1001, 1001, func(b *box) { b.ok("supplementary group", b.try("f", unix.O_RDONLY, 0)) }, 2000)
		b.as(1001, 1001, func(b *box) { b.is("others", b.try("f", unix.O_RDONLY, 0), unix.EACCES) })
		b.as(1001, 0, func(b *box) { b.is("owning group, whose bits are the mask", b.try("f", unix.O_RDONLY, 0), unix.EACCES) })
	}},
	{name: "acl/mask-bounds-the-named", run: func(b *box) {
		b.put("f", "x")
		b.setACL("f", aclAccess, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 6, 1000}, aclEntry{aclGroupObj, 6, 0}, aclEntry{aclMask, 4, 0}, aclEntry{aclOther, 0, 0})
		b.mode("f", 0o640)
		b.as(1000, 1000, func(b *box) {
			b.ok("read", b.try("f", unix.O_RDONLY, 0))
			b.is("write", b.try("f", unix.O_WRONLY, 0), unix.EACCES)
		})
	}},
	{name: "acl/chmod-changes-the-mask", run: func(b *box) {
		b.put("f", "x")
		b.setACL("f", aclAccess, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 7, 1000}, aclEntry{aclGroupObj, 5, 0}, aclEntry{aclMask, 7, 0}, aclEntry{aclOther, 0, 0})
		b.mode("f", 0o670)
		b.chmod("f", 0o600)
		b.hasACL("f", aclAccess, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 7, 1000}, aclEntry{aclGroupObj, 5, 0}, aclEntry{aclMask, 0, 0}, aclEntry{aclOther, 0, 0})
		b.as(1000, 1000, func(b *box) { b.is("named user", b.try("f", unix.O_RDONLY, 0), unix.EACCES) })
	}},
	{name: "acl/minimal-one-is-the-mode", run: func(b *box) {
		b.put("f", "x")
		b.setACL("f", aclAccess, aclEntry{aclUserObj, 7, 0}, aclEntry{aclGroupObj, 5, 0}, aclEntry{aclOther, 1, 0})
		b.mode("f", 0o751)
		_, err := unix.Getxattr(b.at("f"), aclAccess, nil)
		b.is("get", err, unix.ENODATA)
	}},
	{name: "acl/removed", run: func(b *box) {
		b.put("f", "x")
		b.setACL("f", aclAccess, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 4, 1000}, aclEntry{aclGroupObj, 0, 0}, aclEntry{aclMask, 4, 0}, aclEntry{aclOther, 0, 0})
		b.as(1000, 1000, func(b *box) { b.ok("read", b.try("f", unix.O_RDONLY, 0)) })
		b.ok("remove", unix.Removexattr(b.at("f"), aclAccess))
		b.as(1000, 1000, func(b *box) { b.is("read", b.try("f", unix.O_RDONLY, 0), unix.EACCES) })
	}},
	{name: "acl/default-is-inherited-without-umask", run: func(b *box) {
		b.mkdir("d")
		entries := []aclEntry{{aclUserObj, 7, 0}, {aclUser, 7, 1000}, {aclGroupObj, 5, 0}, {aclMask, 7, 0}, {aclOther, 0, 0}}
		b.setACL("d", aclDefault, entries...)
		b.masked(0o077, func() {
			b.put("d/f", "x") // mode 0644
			b.ok("mkdir", unix.Mkdir(b.at("d/s"), 0o777))
			b.ok("mkfifo", unix.Mkfifo(b.at("d/p"), 0o666))
			b.symlink("t", "d/l")
		})
		b.mode("d/f", 0o640)
		b.hasACL("d/f", aclAccess, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 7, 1000}, aclEntry{aclGroupObj, 5, 0}, aclEntry{aclMask, 4, 0}, aclEntry{aclOther, 0, 0})
		b.mode("d/s", 0o770)
		b.hasACL("d/s", aclDefault, entries...)
		b.hasACL("d/s", aclAccess, entries...)
		b.mode("d/p", 0o660)
		b.mode("d/l", 0o777)
		b.as(1000, 1000, func(b *box) {
			b.put("d/s/theirs", "x")
			b.is("write", b.try("d/f", unix.O_WRONLY, 0), unix.EACCES)
			b.ok("read", b.try("d/f", unix.O_RDONLY, 0))
		})
	}},
	{name: "acl/tmpfile-inherits", run: func(b *box) {
		b.setACL(".", aclDefault, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 6, 1000}, aclEntry{aclGroupObj, 4, 0}, aclEntry{aclMask, 6, 0}, aclEntry{aclOther, 0, 0})
		fd, err := unix.Open(b.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
		b.ok("open", err)
		b.ok("linkat", unix.Linkat(fd, "", unix.AT_FDCWD, b.at("f"), unix.AT_EMPTY_PATH))
		b.close(fd)
		b.mode("f", 0o660)
		b.as(1000, 1000, func(b *box) { b.ok("open", b.try("f", unix.O_RDWR, 0)) })
	}},
	{name: "acl/errors", run: func(b *box) {
		b.put("f", "x")
		b.symlink("f", "s")
		good := acl(aclEntry{aclUserObj, 6, 0}, aclEntry{aclGroupObj, 4, 0}, aclEntry{aclOther, 4, 0})
		b.isOne("default on a file", unix.Setxattr(b.at("f"), aclDefault, good, 0), unix.EACCES)
		b.is("on a symlink", unix.Lsetxattr(b.at("s"), aclAccess, good, 0), unix.EOPNOTSUPP)
		b.is("damaged", unix.Setxattr(b.at("f"), aclAccess, good[:9], 0), unix.EINVAL)
		b.is("incomplete", unix.Setxattr(b.at("f"), aclAccess, acl(aclEntry{aclUserObj, 6, 0}), 0), unix.EINVAL)
		b.is("named without a mask", unix.Setxattr(b.at("f"), aclAccess,
			acl(aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 6, 7}, aclEntry{aclGroupObj, 4, 0}, aclEntry{aclOther, 4, 0}), 0), unix.EINVAL)
		b.as(1000, 1000, func(b *box) { b.is("by another", unix.Setxattr(b.at("f"), aclAccess, good, 0), unix.EPERM) })
		b.mode("f", 0o644)
	}},
	{name: "acl/set-by-one-not-in-the-group-clears-sgid", run: func(b *box) {
		b.put("f", "x")
		b.chown("f", 1000, 2000)
		b.chmod("f", 0o2755)
		b.as(1000, 1000, func(b *box) {
			b.setACL("f", aclAccess, aclEntry{aclUserObj, 7, 0}, aclEntry{aclUser, 4, 7}, aclEntry{aclGroupObj, 5, 0}, aclEntry{aclMask, 5, 0}, aclEntry{aclOther, 5, 0})
		})
		b.mode("f", 0o755)
	}},
	{name: "acl/moves-ctime", run: func(b *box) {
		b.put("f", "x")
		b.moves(map[string]string{"f": "c"}, func() {
			b.setACL("f", aclAccess, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 4, 7}, aclEntry{aclGroupObj, 4, 0}, aclEntry{aclMask, 4, 0}, aclEntry{aclOther, 4, 0})
		})
	}},
}
