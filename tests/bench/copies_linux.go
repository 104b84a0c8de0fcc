package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"wolfdisk/tests/cluster"
)

// copies measures what it takes to have data that lie in a directory on a second node:
// the leader adopts the directory, and a new follower takes a snapshot, until it is
// ready; against rsync -a and cp -a of the same data on the same disk.
func (b *bench) copies(base, bin string) error {
	for _, input := range []struct {
		name string
		fill func(dir string) error
	}{
		{"tree", func(dir string) error { return cluster.Run("tar", "-C", dir, "-xf", b.archive).OK() }},
		{"file", func(dir string) error {
			script := fmt.Sprintf("head -c %d /dev/urandom >file", b.sizes.copyBytes)
			return cluster.Shell(dir, script, 5*time.Minute).OK()
		}},
	} {
		took := map[string][]float64{}
		for round := range min(b.sizes.rounds, maxCopyRounds) {
			b.note("copies: %s, round %d", input.name, round+1)
			if err := b.copyOnce(base, bin, input.fill, took); err != nil {
				return fmt.Errorf("copy of a %s: %w", input.name, err)
			}
		}
		for how, v := range took {
			b.report.Extras[how+"_"+input.name+"_seconds"] = median(v)
		}
		whole := median(took["adopt"]) + median(took["snapshot"])
		b.report.Extras["copy_"+input.name+"_to_rsync"] = whole / median(took["rsync"])
	}
	b.note("adoption of %d files", b.sizes.adoptFiles)
	if err := b.adoptMany(base, bin); err != nil {
		return fmt.Errorf("adoption of many files: %w", err)
	}
	return nil
}

// adoptMany measures how long a leader takes over a directory of small files until it is ready: at its
// first start, and when nothing was changed since the last. The kernel knows all inodes.
func (b *bench) adoptMany(base, bin string) (err error) {
	c, err := newPair(base, bin, "adoption")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	leader := c.Leader
	const perFolder = 1000
	for i := range b.sizes.adoptFiles {
		folder := filepath.Join(leader.Mount, fmt.Sprint(i/perFolder))
		if i%perFolder == 0 {
			if err := os.Mkdir(folder, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(i)), []byte("small\n"), 0o644); err != nil {
			return err
		}
	}
	millions := float64(b.sizes.adoptFiles) / 1e6
	for _, how := range []string{"adopt_many", "restart_many"} {
		if err := cluster.Run("sync").OK(); err != nil {
			return err
		}
		began := time.Now()
		if err := leader.StartReady(copyWait); err != nil {
			return err
		}
		b.report.Extras[how+"_seconds_per_million"] = time.Since(began).Seconds() / millions
		kib, err := procStatus(leader.Proc().Pid(), "VmHWM")
		if err != nil {
			return err
		}
		b.report.Extras[how+"_peak_mib"] = float64(kib) / 1024
		if err := leader.Stop(); err != nil {
			return err
		}
	}
	return nil
}

// maxCopyRounds bounds the rounds of copies: each starts a cluster.
const maxCopyRounds = 3

func (b *bench) copyOnce(base, bin string, fill func(string) error, took map[string][]float64) (err error) {
	c, err := newPair(base, bin, "copies")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	dir, leader, follower := c.dir, c.Leader, c.Followers[0]
	source := leader.Mount // the directory that the leader is going to adopt
	if err := fill(source); err != nil {
		return err
	}
	timed := func(how string, fn func() error) error {
		if err := cluster.Run("sync").OK(); err != nil {
			return err
		}
		began := time.Now()
		if err := fn(); err != nil {
			return fmt.Errorf("%s: %w", how, err)
		}
		took[how] = append(took[how], time.Since(began).Seconds())
		return nil
	}
	shell := func(script string) func() error {
		return func() error { return cluster.Shell(dir, script, copyWait).OK() }
	}
	for _, step := range []struct {
		how   string
		run   func() error
		after func() error
	}{
		{"cp", shell("cp -a '" + source + "' cp"), shell("rm -rf cp")},
		{"rsync", shell("rsync -a '" + source + "/' rsync/"), shell("rm -rf rsync")},
		{"adopt", func() error { return leader.StartReady(copyWait) }, nothing},
		{"snapshot", func() error { return follower.StartReady(copyWait) }, nothing},
	} {
		if err := timed(step.how, step.run); err != nil {
			return err
		}
		if err := step.after(); err != nil {
			return err
		}
	}
	return nil
}

// copyWait bounds how long a node may take to become ready.
const copyWait = 10 * time.Minute

// pair is a leader and a follower that is to connect to it.
type pair struct {
	*cluster.Cluster
	dir string
}

// newPair prepares a pair in a folder of its own, and starts neither.
func newPair(base, bin, name string) (*pair, error) {
	dir, err := os.MkdirTemp(base, name)
	if err != nil {
		return nil, err
	}
	c, err := cluster.NewIn(bin, filepath.Join(dir, "cluster"))
	if err != nil {
		return nil, errors.Join(err, cluster.RemoveTemp(dir))
	}
	p := &pair{c, dir}
	leader, err := c.AddLeader("leader")
	if err != nil {
		return nil, errors.Join(err, p.remove())
	}
	follower, err := c.AddFollower("follower")
	if err != nil {
		return nil, errors.Join(err, p.remove())
	}
	follower.Connect = []string{leader.Addr}
	return p, nil
}

// remove ends and removes both.
func (p *pair) remove() error { return errors.Join(p.Close(), cluster.RemoveTemp(p.dir)) }
