package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"wolfdisk/tests/cluster"
)

// What happens to names and attributes, and what is read, on the leader's own mount.
// Each is a rate; what is made beforehand is not measured.

// filesPerFolder is how many files metadata workloads put into one folder.
const filesPerFolder = 500

// metaNames are the folders and files of a metadata workload.
func (b *bench) metaNames(dir string) (folders, files []string) {
	for i := range b.sizes.metaFiles {
		if i%filesPerFolder == 0 {
			folders = append(folders, filepath.Join(dir, fmt.Sprintf("folder-%03d", i/filesPerFolder)))
		}
		files = append(files, filepath.Join(folders[len(folders)-1], fmt.Sprintf("file-%05d", i)))
	}
	return folders, files
}

// makeTree makes the files of a metadata workload, with a few bytes each.
func (b *bench) makeTree(s *system, folder string) (files []string, err error) {
	folders, files := b.metaNames(filepath.Join(s.dir, folder))
	for _, f := range folders {
		if err := os.Mkdir(f, 0o755); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("some bytes\n"), 0o644); err != nil {
			return nil, err
		}
	}
	return files, s.settle()
}

// rate times fn for each of the names and returns how many a second that were.
func rate(names []string, fn func(string) error) (float64, error) {
	began := time.Now()
	for _, name := range names {
		if err := fn(name); err != nil {
			return 0, err
		}
	}
	return float64(len(names)) / time.Since(began).Seconds(), nil
}

func (b *bench) create(s *system, folder string) (float64, error) {
	folders, files := b.metaNames(filepath.Join(s.dir, folder))
	for _, f := range folders {
		if err := os.Mkdir(f, 0o755); err != nil {
			return 0, err
		}
	}
	return rate(files, func(name string) error {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

// onTree measures a call on each file of a tree, whose names the kernel has forgotten
// if cold.
func onTree(cold bool, fn func(string) error) func(*bench, *system, string) (float64, error) {
	return func(b *bench, s *system, folder string) (float64, error) {
		files, err := b.makeTree(s, folder)
		if err != nil {
			return 0, err
		}
		if cold {
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(files), func(i, k int) { files[i], files[k] = files[k], files[i] })
			if err := forget(forgetNames); err != nil {
				return 0, err
			}
		}
		return rate(files, fn)
	}
}

func stat(name string) error {
	_, err := os.Lstat(name)
	return err
}

func rename(name string) error { return os.Rename(name, name+".new") }

// list measures ls -lR of a tree, in entries a second.
func list(cold bool) func(*bench, *system, string) (float64, error) {
	return func(b *bench, s *system, folder string) (float64, error) {
		files, err := b.makeTree(s, folder)
		if err != nil {
			return 0, err
		}
		ls := func() (time.Duration, error) {
			began := time.Now()
			r := cluster.Cmd{Args: []string{"ls", "-lR", filepath.Join(s.dir, folder)}, Timeout: wait}.Run()
			return time.Since(began), r.OK()
		}
		if cold {
			err = forget(forgetNames)
		} else {
			_, err = ls()
		}
		if err != nil {
			return 0, err
		}
		took, err := ls()
		return float64(len(files)) / took.Seconds(), err
	}
}

// readLeader reads a large file where it was written: from the disk if cold.
func readLeader(cold bool) func(*bench, *system, string) (float64, error) {
	return func(b *bench, s *system, folder string) (float64, error) {
		dir := filepath.Join(s.dir, folder)
		if _, err := b.fio(dir, "write", "bw", "--rw=write", "--bs=1m", "--size=BIG", "--end_fsync=1"); err != nil {
			return 0, err
		}
		args := []string{"--rw=read", "--bs=128k", "--size=BIG", "--invalidate=0", "--readonly", "--allow_file_create=0"}
		err := s.settle()
		if cold {
			err = errors.Join(err, forget(forgetAll))
		} else if err == nil {
			_, err = b.fio(dir, "read", "bw", args...)
		}
		if err != nil {
			return 0, err
		}
		return b.fio(dir, "read", "bw", args...)
	}
}

// What forget has the kernel drop, see proc_sys_vm(5), drop_caches.
const (
	forgetNames = "2"
	forgetAll   = "3"
)

func forget(what string) error {
	if err := cluster.Run("sync").OK(); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte(what), 0)
}
