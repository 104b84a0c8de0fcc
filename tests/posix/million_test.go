//go:build linux

package posix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// runFill makes entries in a folder: DIR COUNT. They are names of a few inodes, so that
// it is the directory that is large.
func runFill(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want DIR COUNT, got %q", args)
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	dir, err := unix.Open(args[0], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	const each = 30000 // names of one inode, fewer than ext4 allows
	for i := range count {
		first := fmt.Sprintf("entry-%07d", i/each*each)
		if i%each == 0 {
			err = unix.Mknodat(dir, first, unix.S_IFREG|0o644, 0)
		} else {
			err = unix.Linkat(dir, first, dir, fmt.Sprintf("entry-%07d", i), 0)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return nil
}

// runCount lists a folder that runFill made, checks that every entry is there once, and
// that a place in the middle can be found again: DIR COUNT.
func runCount(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want DIR COUNT, got %q", args)
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	seen := make([]bool, count)
	listed, middle := 0, int64(-1)
	var next string // the name behind the place in the middle
	for {
		some, err := getdents(fd, 32<<10)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			break
		}
		for _, d := range some {
			number, ok := strings.CutPrefix(d.name, "entry-")
			if !ok {
				continue
			}
			i, err := strconv.Atoi(number)
			if err != nil || i >= count || seen[i] {
				return errors.Join(err, fmt.Errorf("%q is listed twice, or was never made", d.name))
			}
			seen[i] = true
			if middle >= 0 && next == "" {
				next = d.name
			}
			if listed++; listed == count/2 {
				middle = d.off
			}
		}
	}
	if listed != count {
		return fmt.Errorf("%d entries are listed, want %d", listed, count)
	}
	if _, err := unix.Seek(fd, middle, 0); err != nil {
		return err
	}
	some, err := getdents(fd, 4096)
	if err != nil || len(some) == 0 || some[0].name != next {
		return errors.Join(err, fmt.Errorf("behind the middle are %v, want %s first", some, next))
	}
	return nil
}

// resident is the memory of a process, bytes.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0, fmt.Errorf("statm: %q", text)
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// TestHugeDirectory: a directory of 1,000,000 entries (4,000 in the short form) is listed
// on both nodes without more memory than a small one.
func TestHugeDirectory(t *testing.T) {
	count := 1000000
	if testing.Short() {
		count = 4000
	}
	t.Parallel()
	b := newBed(t, "chunks")
	dir := b.in("huge")
	n := strconv.Itoa(count)
	b.must(cluster.RunHelper(20*time.Minute, "fill", dir, n).OK())
	_, err := b.CatchUp(b.follower(), 10*time.Minute)
	b.must(err)
	const most = 96 << 20 // more than caches of fixed size grow by, less than a listing would take
	for _, node := range b.Nodes() {
		before, err := resident(node.Proc().Pid())
		b.must(err)
		for range 2 {
			b.must(cluster.RunHelper(5*time.Minute, "count", filepath.Join(node.Mount, "huge"), n).OK())
		}
		after, err := resident(node.Proc().Pid())
		b.must(err)
		t.Logf("%s: %d MiB before the listings, %d MiB after", node.ID, before>>20, after>>20)
		if after-before > most {
			t.Errorf("%s grew by %d MiB", node.ID, (after-before)>>20)
		}
	}
}
