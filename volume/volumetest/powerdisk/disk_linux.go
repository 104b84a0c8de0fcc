package powerdisk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is a small ext4 in a file.
type Disk struct {
	Root   string
	t      testing.TB
	base   string
	images int
}

// New makes one and mounts it for as long as the test lasts. Whoever has files of it open
// closes them in a cleanup of his own.
func New(t testing.TB) *Disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	d := &Disk{t: t, base: t.TempDir()}
	d.Root = filepath.Join(d.base, "disk")
	if err := os.Mkdir(d.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	d.run("truncate", "-s", "64M", d.image())
	d.run("mkfs.ext4", "-q", "-N", "4096", d.image())
	t.Cleanup(func() { unix.Unmount(d.Root, unix.MNT_DETACH) })
	d.mount()
	return d
}

func (d *Disk) image() string { return filepath.Join(d.base, fmt.Sprint("image", d.images)) }

func (d *Disk) run(args ...string) {
	d.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func (d *Disk) mount() {
	d.t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", d.image(), d.Root).CombinedOutput(); err != nil {
		d.t.Skipf("no loop device can be mounted: %v\n%s", err, out)
	}
}

// Commit makes the file system write down names and sizes, with content still in memory.
func (d *Disk) Commit() {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.Root, "commit"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("x")); err != nil {
		d.t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		d.t.Fatal(err)
	}
}

// Cut takes the power away: nothing gets to the disk any more, and every call that needs
// it fails.
func (d *Disk) Cut() {
	d.t.Helper()
	fd, err := unix.Open(d.Root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer unix.Close(fd)
	const (
		ext4Shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush   = 2
	)
	how := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ext4Shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		d.t.Skip("this file system cannot be shut down: ", errno)
	}
}

// Boot mounts what is left. It is a copy: what the test could not close any more, or a mount
// namespace that some process made meanwhile, may hold the old one, which goes on without
// power.
func (d *Disk) Boot() {
	d.t.Helper()
	if err := unix.Unmount(d.Root, 0); err != nil {
		if err := unix.Unmount(d.Root, unix.MNT_DETACH); err != nil {
			d.t.Fatal("unmount the disk: ", err)
		}
	}
	old := d.image()
	d.images++
	d.run("cp", "--sparse=always", old, d.image())
	if err := os.Remove(old); err != nil {
		d.t.Fatal(err)
	}
	d.mount()
}
