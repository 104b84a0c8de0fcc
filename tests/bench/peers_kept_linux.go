package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// attribute is something that a copy of a tree may keep or lose: how it is made in a
// folder, and whether another folder has it as well.
type attribute struct {
	name string
	make func(dir string) error
	kept func(dir, other string) bool
}

func file(dir, name string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte("text\n"), 0o644)
}

// stats of a name in both folders.
func stats(dir, other, name string) (a, b unix.Stat_t, ok bool) {
	err1, err2 := unix.Lstat(filepath.Join(dir, name), &a), unix.Lstat(filepath.Join(other, name), &b)
	return a, b, err1 == nil && err2 == nil
}

func sameStat(name string, same func(a, b *unix.Stat_t) bool) func(dir, other string) bool {
	return func(dir, other string) bool {
		a, b, ok := stats(dir, other, name)
		return ok && same(&a, &b)
	}
}

func sameXattr(name, attr string) func(dir, other string) bool {
	return func(dir, other string) bool {
		a, b := make([]byte, 1000), make([]byte, 1000)
		n, err1 := unix.Lgetxattr(filepath.Join(dir, name), attr, a)
		m, err2 := unix.Lgetxattr(filepath.Join(other, name), attr, b)
		return err1 == nil && err2 == nil && bytes.Equal(a[:n], b[:m])
	}
}

// hasHole asks as cp and tar do: not every program counts blocks.
func hasHole(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	hole, err := unix.Seek(fd, 0, unix.SEEK_HOLE)
	return err == nil && hole < holeEnd/2
}

const (
	holeEnd = 64 << 20 // where the only data of the sparse file are
	oddName = "odd \n\xff name"
)

var attributes = []attribute{
	{"owners",
		func(d string) error { return errors.Join(file(d, "owned"), os.Chown(d+"/owned", 1234, 2345)) },
		sameStat("owned", func(a, b *unix.Stat_t) bool { return a.Uid == b.Uid && a.Gid == b.Gid && a.Uid == 1234 })},
	{"modes",
		func(d string) error { return errors.Join(file(d, "mode"), os.Chmod(d+"/mode", 0o640|os.ModeSetgid)) },
		sameStat("mode", func(a, b *unix.Stat_t) bool { return a.Mode == b.Mode && a.Mode&0o7777 == 0o2640 })},
	{"times to the nanosecond",
		func(d string) error {
			return errors.Join(file(d, "time"), os.Chtimes(d+"/time", time.Unix(1e9, 0), time.Unix(1e9, 123456789)))
		},
		sameStat("time", func(a, b *unix.Stat_t) bool { return a.Mtim == b.Mtim && a.Mtim.Nsec == 123456789 })},
	{"hard links",
		func(d string) error { return errors.Join(file(d, "link1"), os.Link(d+"/link1", d+"/link2")) },
		func(d, o string) bool {
			a, b, ok := stats(o, o, "link1")
			c, _, ok2 := stats(o, o, "link2")
			return ok && ok2 && a.Ino == c.Ino && b.Nlink == 2
		}},
	{"symbolic links",
		func(d string) error { return os.Symlink("somewhere else", d+"/symlink") },
		func(_, o string) bool {
			target, err := os.Readlink(o + "/symlink")
			return err == nil && target == "somewhere else"
		}},
	{"extended attributes",
		func(d string) error {
			return errors.Join(file(d, "xattr"), unix.Lsetxattr(d+"/xattr", "user.key", []byte("value"), 0))
		},
		sameXattr("xattr", "user.key")},
	{"ACLs",
		func(d string) error {
			return errors.Join(file(d, "acl"), cluster.Run("setfacl", "-m", "u:1234:rwx", d+"/acl").OK())
		},
		sameXattr("acl", "system.posix_acl_access")},
	{"device nodes",
		func(d string) error { return unix.Mknod(d+"/device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
		sameStat("device", func(a, b *unix.Stat_t) bool { return a.Mode == b.Mode && a.Rdev == b.Rdev })},
	{"FIFOs",
		func(d string) error { return unix.Mkfifo(d+"/fifo", 0o600) },
		sameStat("fifo", func(a, b *unix.Stat_t) bool { return a.Mode == b.Mode })},
	{"holes",
		func(d string) error {
			f, err := os.Create(d + "/sparse")
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("end"), holeEnd)
			return errors.Join(err, f.Close())
		},
		func(_, o string) bool { return hasHole(o + "/sparse") }},
	{"empty folders",
		func(d string) error { return os.Mkdir(d+"/folder", 0o755) },
		sameStat("folder", func(a, b *unix.Stat_t) bool { return a.Mode&unix.S_IFMT == b.Mode&unix.S_IFMT })},
	{"names with any byte",
		func(d string) error { return file(d, oddName) },
		sameStat(oddName, func(a, b *unix.Stat_t) bool { return a.Size == b.Size })},
	{"inode numbers",
		func(d string) error { return file(d, "inode") },
		sameStat("inode", func(a, b *unix.Stat_t) bool { return a.Ino == b.Ino })},
}

// keptMakeChild makes in DIR what may be lost and prints what DIR does not take.
func keptMakeChild(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	refused := []string{}
	for _, a := range attributes {
		if err := a.make(args[0]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", a.name, err)
			refused = append(refused, a.name)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(refused)
}

// keptChild prints what OTHER does not have as DIR does, after at most PATIENCE.
func keptChild(args []string) error {
	if err := need(args, 3); err != nil {
		return err
	}
	patience, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		lost := []string{}
		for _, a := range attributes {
			if !a.kept(args[1], args[2]) {
				lost = append(lost, a.name)
			}
		}
		if len(lost) == 0 || time.Now().After(deadline) {
			return json.NewEncoder(os.Stdout).Encode(lost)
		}
	}
}

// peerKept fills in what is lost, on the last of the other sides.
func (b *bench) peerKept(p *peer) error {
	if _, err := p.shell("mkdir kept"); err != nil {
		return err
	}
	dir, other := filepath.Join(p.dir, "kept"), filepath.Join(p.others[len(p.others)-1], "kept")
	var refused, lost []string
	if err := childJSON(&refused, "peer-make", dir); err != nil {
		return err
	}
	patience := "5s"
	if p.slow {
		patience = "18s"
	}
	if err := childJSON(&lost, "peer-kept", patience, dir, other); err != nil {
		return err
	}
	cell := "nothing"
	if len(lost) > 0 {
		cell = strings.Join(lost, ", ")
	}
	if len(refused) > 0 {
		cell += " (refused: " + strings.Join(refused, ", ") + ")"
	}
	b.set(p, "lost", "%s", cell)
	return nil
}

// childJSON runs a helper that prints JSON.
func childJSON(v any, name string, args ...string) error {
	r := cluster.RunHelper(peerWait+20*time.Second, name, args...)
	if err := r.OK(); err != nil {
		return err
	}
	if r.Stderr != "" {
		fmt.Fprint(os.Stderr, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), v); err != nil {
		return fmt.Errorf("%s: %w in %q", name, err, r.Stdout)
	}
	return nil
}
