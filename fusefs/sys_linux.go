package fusefs

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Available says whether this machine can mount, and otherwise what is missing.
func Available() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return volume.Errorf(volume.Unavailable, "FUSE is not usable: %w; load the kernel module (modprobe fuse), or give the container the device (--device /dev/fuse)", err)
	case err != nil:
		return volume.Errorf(volume.Unavailable, "FUSE is not usable: %w; the user needs read and write access to /dev/fuse, a container also CAP_SYS_ADMIN", err)
	}
	f.Close() // only opened to see whether it opens
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return volume.Errorf(volume.Unavailable, "FUSE is not usable: %w; install the package fuse3", err)
	}
	return nil
}

// mountPoint is one line of /proc/self/mountinfo.
type mountPoint struct {
	device string // "major:minor"
	path   string
	fsType string
}

// topMount is what is mounted on a directory, last and so on top.
func topMount(dir string) (mountPoint, bool, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return mountPoint{}, false, volume.Errorf(volume.IO, "list mounts: %w", err)
	}
	defer f.Close()
	top, ok, err := findMount(f, dir)
	if err != nil {
		return mountPoint{}, false, volume.Errorf(volume.IO, "list mounts: %w", err)
	}
	return top, ok, nil
}

func findMount(r io.Reader, dir string) (top mountPoint, ok bool, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(rest) < 1 || unescapeMount(fields[4]) != dir {
			continue
		}
		top, ok = mountPoint{device: fields[2], path: dir, fsType: rest[0]}, true
	}
	return top, ok, lines.Err()
}

// unescapeMount reads the octal escapes of mountinfo.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountID is the device number of the FUSE mount on a directory, which also numbers
// its connection; empty if it cannot be found.
func mountID(dir string) string {
	top, ok, err := topMount(dir)
	if err != nil || !ok || !isFuse(top.fsType) {
		return ""
	}
	return top.device
}

func isFuse(fsType string) bool { return fsType == "fuse" || strings.HasPrefix(fsType, "fuse.") }

// probeTimeout is how long a mounted file system may take to show that it lives.
const probeTimeout = 3 * time.Second

// CleanStale removes what crashed runs left mounted on a directory: FUSE mounts
// whose daemon is dead, also several on top of each other. A live one is left alone.
func CleanStale(dir string, log zerolog.Logger) (cleaned bool, err error) {
	path, err := resolveMountPoint(dir)
	if err != nil {
		return false, volume.Wrap(err, "look for a stale mount on "+dir)
	}
	for range 1000 {
		top, ok, err := topMount(path)
		if err != nil || !ok || !isFuse(top.fsType) {
			return cleaned, err
		}
		dead, err := isDead(path)
		if err != nil || !dead {
			return cleaned, err
		}
		log.Warn().Str("dir", path).Str("type", top.fsType).Msg("removing the mount of a crashed run")
		err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EPERM) {
			err = helperUnmount(path, true)
		}
		if err != nil {
			return cleaned, volume.Errorf(volume.KindOf(err), "remove the stale mount on %s: %w; try: umount -l %s", path, err, path)
		}
		cleaned = true
	}
	return cleaned, volume.Errorf(volume.Busy, "%s: mounts do not come to an end", path)
}

// isDead reports whether the daemon of the mount on a directory has gone. It asks by
// statfs, which the kernel cannot answer from its caches.
func isDead(path string) (bool, error) {
	answer := make(chan error, 1)
	go func() {
		var st unix.Statfs_t
		answer <- unix.Statfs(path, &st)
	}()
	select {
	case err := <-answer:
		if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) {
			return true, nil
		}
		return false, nil
	case <-time.After(probeTimeout):
		return false, volume.Errorf(volume.Busy, "the mount on %s does not answer: its daemon hangs; end it, or umount -l %s", path, path)
	}
}
