//go:build linux

package posix

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// fill makes empty files and returns how their names are formed.
func (b *box) fill(dir string, n int) func(i int) string {
	name := func(i int) string { return fmt.Sprintf("%s/entry-%05d", dir, i) }
	for i := range n {
		b.ok("mknod", unix.Mknod(b.at(name(i)), unix.S_IFREG|0o644, 0))
	}
	return name
}

var readdirTable = table{
	{name: "readdir/inodes-and-types", run: func(b *box) {
		b.mkdir("d")
		b.put("d/file", "x")
		b.mkdir("d/dir")
		b.symlink("t", "d/link")
		b.ok("mkfifo", unix.Mkfifo(b.at("d/fifo"), 0o600))
		b.ok("mknod", unix.Mknod(b.at("d/sock"), unix.S_IFSOCK|0o600, 0))
		for range 2 {
			list := b.list("d")
			eq(b, "entries", len(b.names(list)), 5)
			for _, d := range list {
				st := b.stat("d/" + d.name)
				eq(b, d.name+": inode", d.ino, st.Ino)
				eq(b, d.name+": type", uint32(d.typ), st.Mode>>12)
			}
		}
	}},
	{name: "readdir/every-entry-once-whatever-the-buffer", run: func(b *box) {
		b.mkdir("d")
		b.fill("d", 1000)
		for _, size := range []int{280, 1000, 4096, 32 << 10, 1 << 20} {
			fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
			list, err := listAll(fd, size)
			b.ok("getdents", err)
			eq(b, fmt.Sprint("entries with ", size, " bytes"), len(b.names(list)), 1000)
			b.close(fd)
		}
	}},
	{name: "readdir/names-of-255-bytes", run: func(b *box) {
		b.mkdir("d")
		for i := range 200 {
			b.put(fmt.Sprintf("d/%03d%s", i, strings.Repeat("n", 252)), "")
		}
		eq(b, "entries", len(b.names(b.list("d"))), 200)
	}},
	{name: "readdir/too-small-a-buffer-is-einval", run: func(b *box) {
		fd := b.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
		_, err := getdents(fd, 16)
		b.is("getdents", err, unix.EINVAL)
		b.close(fd)
		b.put("f", "x")
		fd = b.open("f", unix.O_RDONLY)
		_, err = getdents(fd, 4096)
		b.is("getdents of a file", err, unix.ENOTDIR)
		b.close(fd)
	}},
	{name: "readdir/shows-changes-at-once", run: func(b *box) {
		b.mkdir("d")
		for i := range 10 {
			b.put(fmt.Sprint("d/", i), "")
			eq(b, "entries", len(b.names(b.list("d"))), i+1)
		}
		b.rename("d/3", "d/x")
		names := b.names(b.list("d"))
		_, old := names["3"]
		_, now := names["x"]
		if old || !now || len(names) != 10 {
			b.fail("after the rename: %v", names)
		}
		b.rename("d/4", "d/x")
		eq(b, "inode of the one renamed over", b.names(b.list("d"))["x"].ino, b.stat("d/x").Ino)
		for i := range 10 {
			if i != 3 && i != 4 {
				b.unlink(fmt.Sprint("d/", i))
			}
		}
		b.unlink("d/x")
		eq(b, "entries", len(b.names(b.list("d"))), 0)
	}},
	{name: "readdir/ends-for-who-renames-what-is-listed", run: func(b *box) {
		const count = 2000
		b.mkdir("d")
		b.fill("d", count)
		for _, size := range []int{2000, 32 << 10} {
			fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
			seen := 0
			for {
				list, err := getdents(fd, size)
				b.ok("getdents", err)
				if len(list) == 0 {
					break
				}
				for _, d := range list {
					if d.name != "." && d.name != ".." {
						b.rename("d/"+d.name, "d/"+d.name+"x")
						seen++
					}
				}
				if seen > 4*count {
					b.fail("%d entries seen in a directory of %d", seen, count)
				}
			}
			if seen < count {
				b.fail("%d of %d entries seen", seen, count)
			}
			b.close(fd)
			eq(b, "entries", len(b.names(b.list("d"))), count)
		}
	}},
	{name: "readdir/lists-what-is-replaced-meanwhile", run: func(b *box) {
		const count = 500
		b.mkdir("d")
		name := b.fill("d", count)
		seen := map[string]bool{}
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		for {
			list, err := getdents(fd, 2000)
			b.ok("getdents", err)
			if len(list) == 0 {
				break
			}
			for _, d := range list {
				seen["d/"+d.name] = true
			}
			// All the time there is a file of each of these names.
			for _, i := range []int{count / 2, count - 1} {
				b.put("new", "")
				b.rename("new", name(i))
			}
		}
		for i := range count {
			if !seen[name(i)] {
				b.fail("%s is not listed", name(i))
			}
		}
		b.close(fd)
	}},
	{name: "rewinddir/reads-anew", run: func(b *box) {
		b.mkdir("d")
		b.fill("d", 500)
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		for i := range 3 {
			list, err := listAll(fd, 4096)
			b.ok("getdents", err)
			eq(b, "entries", len(b.names(list)), 500+i)
			b.put(fmt.Sprint("d/new-", i), "")
			_, err = unix.Seek(fd, 0, 0)
			b.ok("rewind", err)
		}
		b.close(fd)
	}},
	{name: "rewinddir/in-the-middle", run: func(b *box) {
		b.mkdir("d")
		b.fill("d", 500)
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		_, err := getdents(fd, 2000)
		b.ok("getdents", err)
		b.put("d/new", "")
		_, err = unix.Seek(fd, 0, 0)
		b.ok("rewind", err)
		list, err := listAll(fd, 2000)
		b.ok("getdents", err)
		eq(b, "entries", len(b.names(list)), 501)
		b.close(fd)
	}},
	{name: "seekdir/goes-on-behind-every-entry", run: func(b *box) {
		b.mkdir("d")
		b.fill("d", 60)
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		all, err := listAll(fd, 32<<10)
		b.ok("getdents", err)
		for i := len(all) - 1; i >= 0; i -= 3 {
			_, err := unix.Seek(fd, all[i].off, 0)
			b.ok("seek", err)
			rest, err := listAll(fd, 700)
			b.ok("getdents", err)
			eq(b, fmt.Sprint("entries behind the one at ", i), len(rest), len(all)-1-i)
			for j, d := range rest {
				eq(b, "entry", d.name, all[i+1+j].name)
			}
		}
		b.close(fd)
	}},
	{name: "seekdir/place-stays-when-entries-go", run: func(b *box) {
		b.mkdir("d")
		b.fill("d", 300)
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		all, err := listAll(fd, 32<<10)
		b.ok("getdents", err)
		// the place is behind an entry that goes, as do all before it
		const at = 150
		for _, d := range all[:at+1] {
			if d.name != "." && d.name != ".." {
				b.unlink("d/" + d.name)
			}
		}
		_, err = unix.Seek(fd, all[at].off, 0)
		b.ok("seek", err)
		rest, err := listAll(fd, 2000)
		b.ok("getdents", err)
		eq(b, "entries left", len(rest), len(all)-1-at)
		for j, d := range rest {
			eq(b, "entry", d.name, all[at+1+j].name)
		}
		b.close(fd)
	}},
	{name: "readdir/while-removing-what-was-listed", run: func(b *box) {
		b.mkdir("d")
		b.fill("d", 800)
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		seen := 0
		for {
			some, err := getdents(fd, 2000)
			b.ok("getdents", err)
			if len(some) == 0 {
				break
			}
			for _, d := range some {
				if d.name != "." && d.name != ".." {
					seen++
					b.unlink("d/" + d.name)
				}
			}
		}
		b.close(fd)
		eq(b, "listed", seen, 800)
		b.ok("rmdir", unix.Rmdir(b.at("d")))
	}},
	{name: "readdir/what-stays-is-listed-once-while-others-come-and-go", run: func(b *box) {
		const stay, rounds = 300, 12
		b.mkdir("d")
		b.fill("d", stay)
		var stop atomic.Bool
		var wg sync.WaitGroup
		var failed error
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				name := b.at(fmt.Sprintf("d/guest-%d", i%50))
				if err := unix.Mknod(name, unix.S_IFREG|0o644, 0); err != nil && err != unix.EEXIST {
					failed = err
					return
				}
				if i%2 == 0 {
					unix.Rename(name, name+"-renamed")
				} else {
					unix.Unlink(name)
				}
			}
		})
		defer func() { stop.Store(true); wg.Wait() }()
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		for range rounds {
			list, err := listAll(fd, 1500)
			b.ok("getdents", err)
			count := map[string]int{}
			for _, d := range list {
				count[d.name]++
			}
			for i := range stay {
				if n := count[fmt.Sprintf("entry-%05d", i)]; n != 1 {
					b.fail("entry-%05d was listed %d times", i, n)
				}
			}
			_, err = unix.Seek(fd, 0, 0)
			b.ok("rewind", err)
		}
		stop.Store(true)
		wg.Wait()
		b.ok("come and go", failed)
		b.close(fd)
		b.names(b.list("d"))
	}},
	{name: "readdir/two-descriptors-have-two-places", run: func(b *box) {
		b.mkdir("d")
		b.fill("d", 300)
		x, y := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY), b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		var lx, ly []dirent
		for range 1000 {
			px, err := getdents(x, 600)
			b.ok("getdents", err)
			py, err := getdents(y, 1100)
			b.ok("getdents", err)
			if len(px)+len(py) == 0 {
				break
			}
			lx, ly = append(lx, px...), append(ly, py...)
		}
		eq(b, "entries", len(b.names(lx)), 300)
		eq(b, "entries", len(b.names(ly)), 300)
		b.close(x)
		b.close(y)
	}},
}

var statfsTable = table{
	{name: "statfs/is-plausible-and-equal-everywhere", run: func(b *box) {
		b.put("f", "x")
		var root, file, fd unix.Statfs_t
		b.ok("statfs", unix.Statfs(b.at("."), &root))
		b.ok("statfs", unix.Statfs(b.at("f"), &file))
		d := b.open("f", unix.O_RDONLY)
		b.ok("fstatfs", unix.Fstatfs(d, &fd))
		b.close(d)
		for _, s := range []unix.Statfs_t{root, file, fd} {
			if s.Namelen != 255 || s.Bsize < 512 || s.Blocks == 0 || s.Bfree > s.Blocks || s.Bavail > s.Bfree || s.Ffree > s.Files {
				b.fail("%+v", s)
			}
			eq(b, "block size", s.Bsize, root.Bsize)
			eq(b, "blocks", s.Blocks, root.Blocks)
		}
	}},
	{name: "stat/blksize-and-blocks", run: func(b *box) {
		b.put("f", string(pattern(1, 100000)))
		fd := b.open("f", unix.O_RDONLY)
		b.ok("fsync", unix.Fsync(fd))
		b.close(fd)
		st := b.stat("f")
		if st.Blksize < 512 || st.Blocks*512 < 100000 {
			b.fail("blksize %d, blocks %d", st.Blksize, st.Blocks)
		}
	}},
}

var deepTable = table{
	{name: "path-max/deeper-by-chdir", run: func(b *box) {
		const depth = 40
		name := strings.Repeat("d", 200)
		b.alone(func() {
			b.ok("chdir", unix.Chdir(b.dir))
			for range depth {
				b.ok("mkdir", unix.Mkdir(name, 0o755))
				b.ok("chdir", unix.Chdir(name))
			}
			here := &box{}
			here.put("bottom", "deep")
			here.holds("bottom", "deep")
			here.rename("bottom", "bottom2")
			here.link("bottom2", "bottom3")
			here.symlink("bottom2", "link")
			here.ok("setxattr", unix.Setxattr("bottom2", "user.a", []byte("v"), 0))
			here.chmod("bottom2", 0o600)
			eq(b, "entries", len(here.names(here.list("."))), 3)
			// the kernel's path of the working directory may not fit its buffer
			if _, err := unix.Getcwd(make([]byte, 1<<16)); err != nil && err != unix.ENAMETOOLONG {
				b.fail("getcwd: %w", err)
			}
			for range depth {
				b.ok("chdir ..", unix.Chdir(".."))
			}
			var st unix.Stat_t
			b.ok("stat", unix.Stat(".", &st))
			eq(b, "back at", st.Ino, b.stat(".").Ino)
		})
		b.is("by a path", b.try(strings.Repeat(name+"/", depth)+"bottom2", unix.O_RDONLY, 0), unix.ENAMETOOLONG)
		b.rename(name, "top")
		b.mkdir("elsewhere")
		b.rename("top", "elsewhere/top")
	}},
	{name: "path-max/working-directory-moves-and-goes", run: func(b *box) {
		b.mkdir("a")
		b.mkdir("a/b")
		b.mkdir("c")
		b.alone(func() {
			b.ok("chdir", unix.Chdir(b.at("a/b")))
			b.rename("a/b", "c/b")
			here := &box{}
			here.put("f", "x")
			b.holds("c/b/f", "x")
			var st unix.Stat_t
			b.ok("stat", unix.Stat("..", &st))
			eq(b, "parent", st.Ino, b.stat("c").Ino)
			b.unlink("c/b/f")
			b.ok("rmdir", unix.Rmdir(b.at("c/b")))
			b.is("create", here.try("g", unix.O_CREAT|unix.O_WRONLY, 0o644), unix.ENOENT)
			_, err := unix.Getcwd(make([]byte, 4096))
			b.is("getcwd", err, unix.ENOENT)
			b.ok("chdir", unix.Chdir(b.dir))
		})
	}},
}

var inodeTable = table{
	{name: "inode/same-by-every-way", run: func(b *box) {
		b.put("f", "x")
		fd := b.open("f", unix.O_RDONLY)
		var x unix.Statx_t
		b.ok("statx", unix.Statx(unix.AT_FDCWD, b.at("f"), 0, unix.STATX_INO, &x))
		ino := b.stat("f").Ino
		eq(b, "by descriptor", b.fstat(fd).Ino, ino)
		eq(b, "by statx", x.Ino, ino)
		eq(b, "listed", b.names(b.list("."))["f"].ino, ino)
		b.rename("f", "g")
		eq(b, "after a rename", b.stat("g").Ino, ino)
		b.close(fd)
	}},
	{name: "inode/never-used-again", mountOnly: "ext4 gives numbers out again", run: func(b *box) {
		seen := map[uint64]bool{}
		for i := range 200 {
			switch i % 4 {
			case 0:
				b.put("x", "x")
			case 1:
				b.mkdir("x")
			case 2:
				b.symlink("t", "x")
			default:
				b.ok("mkfifo", unix.Mkfifo(b.at("x"), 0o600))
			}
			ino := b.stat("x").Ino
			if seen[ino] {
				b.fail("inode %d came again", ino)
			}
			seen[ino] = true
			if i%4 == 1 {
				b.ok("rmdir", unix.Rmdir(b.at("x")))
			} else {
				b.unlink("x")
			}
		}
	}},
}
