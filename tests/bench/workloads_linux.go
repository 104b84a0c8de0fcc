package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"wolfdisk/tests/cluster"
)

// sizes are what differs between the short and the long form.
type sizes struct {
	rounds      int
	fioSize     string // of files written with 4 KiB
	bigSize     string // of files written with 1 MiB, and read
	seconds     int    // of workloads that are bounded by time
	lagSeconds  int
	replayFiles int
	metaFiles   int // of workloads on names and attributes
	idleFiles   int
	copyBytes   int64
	adoptFiles  int
	wholeTree   bool

	// of the comparison with other programs
	peerTree    string // part of the source tree
	peerFile    string // the size of the large file
	peerSmall   string // of files written with 4 KiB
	peerSeconds int    // of workloads that are bounded by time
	peerRounds  int    // of writes
	peerOrder   int    // seconds of looking at the order
	peerStream  int    // seconds of making files before the cable is pulled
}

var (
	shortSizes = sizes{rounds: 1, fioSize: "32M", bigSize: "256M", seconds: 2, lagSeconds: 5, replayFiles: 4000, metaFiles: 4000, idleFiles: 20000, copyBytes: 128 << 20, adoptFiles: 50_000,
		peerTree: "crypto/tls", peerFile: "16M", peerSmall: "4M", peerSeconds: 1, peerRounds: 1, peerOrder: 3, peerStream: 2}
	longSizes = sizes{rounds: 5, fioSize: "128M", bigSize: "1G", seconds: 6, lagSeconds: 20, replayFiles: 20000, metaFiles: 20000, idleFiles: 100000, copyBytes: 2 << 30, adoptFiles: 1_000_000, wholeTree: true,
		peerTree: "runtime", peerFile: "256M", peerSmall: "64M", peerSeconds: 1, peerRounds: 3, peerOrder: 6, peerStream: 3}
)

// workload runs in a fresh folder of a system and gives one figure.
type workload struct {
	name, unit string
	run        func(b *bench, s *system, folder string) (float64, error)
}

var workloads = []workload{
	{"untar", "s", (*bench).untar},
	{"write-4k-seq", "1/s", fioWrite("iops", "--rw=write", "--bs=4k", "--size=SMALL")},
	{"write-4k-rand", "1/s", fioWrite("iops", "--rw=randwrite", "--bs=4k", "--size=SMALL", "--overwrite=1", "--time_based", "--runtime=SECONDS")},
	{"write-4k-fsync", "1/s", fioWrite("iops", "--rw=randwrite", "--bs=4k", "--size=SMALL", "--overwrite=1", "--fsync=1", "--time_based", "--runtime=SECONDS")},
	{"write-1m", "MB/s", fioWrite("bw", "--rw=write", "--bs=1m", "--size=BIG")},
	{"write-1m-fsync", "MB/s", fioWrite("bw", "--rw=write", "--bs=1m", "--size=BIG", "--end_fsync=1")},
	{"read-warm", "MB/s", (*bench).readWarm},
	{"create", "1/s", (*bench).create},
	{"stat-cold", "1/s", onTree(true, stat)},
	{"rename", "1/s", onTree(false, rename)},
	{"unlink", "1/s", onTree(false, os.Remove)},
	{"ls-cold", "1/s", list(true)},
	{"ls-warm", "1/s", list(false)},
	{"read-leader-cold", "MB/s", readLeader(true)},
	{"read-leader-warm", "MB/s", readLeader(false)},
}

func (b *bench) untar(s *system, folder string) (float64, error) {
	began := time.Now()
	r := cluster.Cmd{Args: []string{"tar", "-C", filepath.Join(s.dir, folder), "-xf", b.archive}, Timeout: 10 * time.Minute}.Run()
	took := time.Since(began)
	if err := r.OK(); err != nil || !s.leads {
		return took.Seconds(), err
	}
	if err := s.settle(); err != nil {
		return 0, err
	}
	b.convergence[s.name] = append(b.convergence[s.name], time.Since(began).Seconds()-took.Seconds())
	return took.Seconds(), nil
}

func fioWrite(figure string, args ...string) func(*bench, *system, string) (float64, error) {
	return func(b *bench, s *system, folder string) (float64, error) {
		return b.fio(filepath.Join(s.dir, folder), "write", figure, args...)
	}
}

// readWarm reads what was written before, three times; the last one counts. The first
// open after a change may drop what the kernel has, so that only the second fills the
// cache for good.
func (b *bench) readWarm(s *system, folder string) (float64, error) {
	dir := filepath.Join(s.dir, folder)
	if _, err := b.fio(dir, "write", "bw", "--rw=write", "--bs=1m", "--size=BIG"); err != nil {
		return 0, err
	}
	if err := s.settle(); err != nil {
		return 0, err
	}
	dir = filepath.Join(s.read, folder)
	args := []string{"--rw=read", "--bs=128k", "--size=BIG", "--invalidate=0", "--readonly", "--allow_file_create=0"}
	for range 2 {
		if _, err := b.fio(dir, "read", "bw", args...); err != nil {
			return 0, err
		}
	}
	return b.fio(dir, "read", "bw", args...)
}

// fio runs one job and returns its iops, or its bandwidth in MB/s.
func (b *bench) fio(dir, side, figure string, args ...string) (float64, error) {
	full := []string{"fio", "--name=job", "--filename=" + filepath.Join(dir, "file"), "--ioengine=psync", "--fallocate=none", "--output-format=json"}
	for _, a := range args {
		switch a {
		case "--size=SMALL":
			a = "--size=" + b.sizes.fioSize
		case "--size=BIG":
			a = "--size=" + b.sizes.bigSize
		case "--runtime=SECONDS":
			a = "--runtime=" + strconv.Itoa(b.sizes.seconds)
		}
		full = append(full, a)
	}
	r := cluster.Cmd{Args: full, Timeout: 10 * time.Minute}.Run()
	if err := r.OK(); err != nil {
		return 0, err
	}
	return parseFio(r.Stdout, side, figure)
}

func parseFio(text, side, figure string) (float64, error) {
	type stats struct {
		IOPS    float64 `json:"iops"`
		BWBytes float64 `json:"bw_bytes"`
	}
	var out struct {
		Jobs []struct {
			Error int   `json:"error"`
			Read  stats `json:"read"`
			Write stats `json:"write"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return 0, fmt.Errorf("fio: %w in %q", err, text)
	}
	if len(out.Jobs) != 1 || out.Jobs[0].Error != 0 {
		return 0, fmt.Errorf("fio: a failed job in %s", text)
	}
	s := out.Jobs[0].Write
	if side == "read" {
		s = out.Jobs[0].Read
	}
	if figure == "bw" {
		s.IOPS = s.BWBytes / 1e6
	}
	if s.IOPS <= 0 {
		return 0, fmt.Errorf("fio: no %s figure in %s", side, text)
	}
	return s.IOPS, nil
}
