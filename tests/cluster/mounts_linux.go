package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mount is a line of /proc/self/mountinfo.
type Mount struct {
	Minor  int // of the device; for FUSE also the number of the connection
	Dir    string
	Type   string
	Source string
	Opts   string // of the mount and of the file system, comma-separated
}

// Mounts lists the mounts of this process.
func Mounts() ([]Mount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []Mount
	for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 3 {
			return nil, fmt.Errorf("mountinfo: cannot read %q", line)
		}
		_, minor, _ := strings.Cut(f[2], ":")
		m := Mount{Dir: unescape(f[4]), Type: g[0], Source: unescape(g[1]), Opts: f[5] + "," + g[2]}
		if m.Minor, err = strconv.Atoi(minor); err != nil {
			return nil, fmt.Errorf("mountinfo: device in %q: %w", line, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// MountAt finds the topmost mount of a directory, if there is one.
func MountAt(dir string) (m Mount, ok bool, err error) {
	all, err := Mounts()
	for _, each := range all {
		if each.Dir == dir {
			m, ok = each, true
		}
	}
	return m, ok, err
}

// WaitMounted waits until a FUSE mount is there, or gone.
func WaitMounted(dir string, want bool, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(5 * time.Millisecond) {
		_, ok, err := MountAt(dir)
		if err != nil {
			return err
		}
		if ok == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: mounted = %v after %v", dir, ok, timeout)
		}
	}
}

// UnmountBelow removes every mount at or below dir, whatever its daemon does.
func UnmountBelow(dir string) error {
	all, err := Mounts()
	if err != nil {
		return err
	}
	var errs []error
	for i := len(all) - 1; i >= 0; i-- { // the last mounted first
		m := all[i]
		if m.Dir != dir && !strings.HasPrefix(m.Dir, dir+"/") {
			continue
		}
		if strings.HasPrefix(m.Type, "fuse") {
			abort(m.Minor)
		}
		if err := unmountDetached(m.Dir); err != nil && err != unix.EINVAL {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.Dir, err))
		}
	}
	return errors.Join(errs...)
}

// abort frees those who wait for a daemon that answers no more. Without fusectl,
// or if the connection is gone, there is nothing to do.
func abort(minor int) {
	os.WriteFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", minor), []byte("1"), 0)
}

func unmountDetached(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == unix.EPERM {
		return Run("fusermount3", "-uz", dir).OK()
	}
	return err
}

// CleanStale removes what killed runs left: folders made by TempDir whose owner is
// gone, with their mounts. It returns the folders.
func CleanStale() ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*"))
	if err != nil {
		return nil, err
	}
	var cleaned []string
	var errs []error
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.Split(strings.TrimPrefix(filepath.Base(dir), tempPrefix), "-")[0])
		if err != nil || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, keepMark)); err == nil {
			continue
		}
		errs = append(errs, RemoveTemp(dir))
		cleaned = append(cleaned, dir)
	}
	return cleaned, errors.Join(errs...)
}

const (
	tempPrefix = "wolfdisk-" // followed by the process ID; short, because socket paths are
	keepMark   = "KEEP"      // a file that protects a folder from CleanStale
)

// TempDir makes a folder that CleanStale finds when this process dies. Everybody may
// enter it: some tests act as other users.
func TempDir() (string, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", tempPrefix, os.Getpid()))
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// RemoveTemp unmounts before it removes: what lies below a mount is somebody's data
// until the mount is gone.
func RemoveTemp(dir string) error {
	if err := UnmountBelow(dir); err != nil {
		return err
	}
	all, err := Mounts()
	if err != nil {
		return err
	}
	for _, m := range all {
		if strings.HasPrefix(m.Dir, dir+"/") {
			return fmt.Errorf("remove %s: %s is still mounted", dir, m.Dir)
		}
	}
	return os.RemoveAll(dir)
}
