//go:build linux

package posix

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// runSparse makes files with holes, each by a few random calls, and prints these: DIR SEED FILES. The
// ranges of most calls begin or end at a block or next to one.
func runSparse(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want DIR SEED FILES, got %q", args)
	}
	seed, err1 := strconv.ParseUint(args[1], 10, 64)
	files, err2 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(seed, 3))
	return inBox(args[:1], func(b *box) {
		for i := range files {
			name := fmt.Sprint(i)
			if i%2 == 1 {
				name += allocates
			}
			calls := sparse(b, r, name)
			fmt.Printf("%q %s\n", name, strings.Join(calls, ", "))
		}
	})
}

// allocates ends the names of files of which a part may be allocated and not written. To a real
// directory that is a hole, but data as soon as it has been read, until the cache lets go of it.
const allocates = ".allocates"

func sparse(b *box, r *rand.Rand, name string) (calls []string) {
	const block = 4096
	fd := b.create(name)
	defer b.close(fd)
	edge := func() int64 { return max(0, r.Int64N(6)*block+[]int64{0, 0, 0, -1, 1, 100, 2000}[r.IntN(7)]) }
	cut := func(size int64) {
		calls = append(calls, fmt.Sprint("truncate ", size))
		b.ok("truncate", unix.Ftruncate(fd, size))
	}
	if r.IntN(3) == 0 {
		cut(edge())
	}
	modes := []uint32{punch}
	if strings.HasSuffix(name, allocates) {
		modes = []uint32{punch, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, 0, unix.FALLOC_FL_KEEP_SIZE}
	}
	for range 1 + r.IntN(10) {
		off, end := edge(), edge()
		if off >= end {
			off, end = end, off+1+r.Int64N(200)
		}
		switch r.IntN(6) {
		case 0, 1:
			p := bytes.Repeat([]byte{byte(r.IntN(4))}, int(min(end-off, 1+r.Int64N(3*block)))) // zeros, too
			calls = append(calls, fmt.Sprintf("write %d at %d", len(p), off))
			b.pwrite(fd, off, p)
		case 2:
			cut(off)
		default:
			mode := modes[r.IntN(len(modes))]
			calls = append(calls, fmt.Sprintf("fallocate %#x %d at %d", mode, end-off, off))
			b.fallocate(fd, mode, off, end-off)
		}
	}
	return calls
}

// runForget has the kernel let go of the content of the files below a folder: DIR.
func runForget(args []string) error {
	return filepath.WalkDir(args[0], func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// runScribble fills the files below a folder, every other one with zeros: DIR.
func runScribble(args []string) error {
	n := 0
	return filepath.WalkDir(args[0], func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		n++
		_, err = f.Write(bytes.Repeat([]byte{byte(n % 2)}, int(i.Size())))
		return err
	})
}

// newBedApart is newBed with the leader's real directory beside the mount, not below it.
func newBedApart(t *testing.T, storage string) *bed {
	t.Helper()
	b := prepareBed(t, storage, driver)
	if storage == "dir" {
		b.Leader.Dir = filepath.Join(b.Dir, "alpha", "plain")
		b.must(os.Mkdir(b.Leader.Dir, 0o755))
	}
	b.must(b.Start(readyTimeout))
	return b
}

// forget empties the kernel's cache of what a folder has in the real directories: of what is
// allocated and not written it would make data.
func (b *bed) forget(name string) {
	b.t.Helper()
	for _, lower := range []string{b.Leader.Dir, filepath.Join(b.Dir, "beta", "plain")} {
		if _, err := os.Lstat(filepath.Join(lower, name)); err == nil && lower != b.Leader.Mount {
			b.must(cluster.RunHelper(time.Minute, "forget", filepath.Join(lower, name)).OK())
		}
	}
}

// sameHoles compares where the files of a folder have data on both nodes, but for such whose name
// ends as one of without. It returns the differences.
func (b *bed) sameHoles(name string, without ...string) (diff []string) {
	b.t.Helper()
	b.forget(name)
	maps := make([]map[string]string, 2)
	for i, n := range b.Nodes() {
		r := cluster.RunHelper(time.Minute, "holes", filepath.Join(n.Mount, name))
		b.must(r.OK())
		maps[i] = map[string]string{}
		for line := range strings.Lines(r.Stdout) {
			file, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			maps[i][file] = text
		}
	}
	if len(maps[0]) == 0 {
		b.t.Errorf("%s: no files", name)
	}
	for file, text := range maps[0] {
		skip := false
		for _, s := range without {
			skip = skip || strings.HasSuffix(file, s+`"`)
		}
		if other := maps[1][file]; !skip && text != other {
			diff = append(diff, fmt.Sprintf("%s: %s has data at %s, %s at %s", file, b.Nodes()[0].ID, text, b.Nodes()[1].ID, other))
		}
	}
	return diff
}

// TestHoles: holes are the same on every node, however they came about, and after a copy.
func TestHoles(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"dir", "chunks"} {
		t.Run(storage, func(t *testing.T) {
			b := newBedApart(t, storage)
			f := b.follower()
			made := cluster.RunHelper(5*time.Minute, "sparse", b.in("sparse"), seed(t), steps(300, 5000))
			b.must(made.OK())
			check := func(when string, without ...string) {
				b.equal()
				diff := b.sameHoles("sparse", without...)
				for _, d := range diff[:min(len(diff), 10)] {
					file, _, _ := strings.Cut(d, ":")
					_, calls, _ := strings.Cut(made.Stdout, file)
					calls, _, _ = strings.Cut(calls, "\n")
					t.Errorf("%s, %d differ: %s, by%s", when, len(diff), d, calls)
				}
			}
			check("by ops")
			for _, args := range [][]string{{"resync"}, {"resync", "--full"}} {
				if lower := filepath.Join(b.Dir, "beta", "plain", "sparse"); storage == "chunks" && len(args) > 1 {
					b.must(cluster.RunHelper(time.Minute, "scribble", lower).OK())
				}
				before := strings.Count(f.Log(), "the copy is consistent")
				b.must(f.Ctl(10*time.Second, args...).OK())
				for deadline := time.Now().Add(2 * time.Minute); strings.Count(f.Log(), "the copy is consistent") == before; time.Sleep(20 * time.Millisecond) {
					if time.Now().After(deadline) || !f.Running() {
						t.Fatal("no copy was made")
					}
				}
				b.must(f.WaitReady(readyTimeout))
				check(strings.Join(args, " "), allocates)
			}
		})
	}
}
