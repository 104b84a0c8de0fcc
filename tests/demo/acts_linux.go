package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
	"wolfdisk/tests/tree"
)

func (d *demo) start() error {
	leader, err := d.AddLeader("leader")
	if err != nil {
		return err
	}
	if _, err := d.AddFollower("follower"); err != nil {
		return err
	}
	if err := d.Cluster.Start(wait); err != nil {
		return err
	}
	d.say("leader on %s, follower on %s, joined over TLS", leader.Mount, d.follower().Mount)
	return nil
}

func (d *demo) follower() *cluster.Node { return d.Followers[0] }

// pack makes an archive of the tree to unpack, outside of the mounts.
func (d *demo) pack() (archive string, files int, err error) {
	archive = filepath.Join(d.Dir, "source.tar")
	parts := []string{"."}
	if d.source == "" {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return "", 0, fmt.Errorf("go env GOROOT: %w", err)
		}
		src, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(out)), "src"))
		if err != nil {
			return "", 0, err
		}
		// Some 2,600 files: enough to be real, few enough for a demo.
		d.source, parts = src, []string{"crypto", "encoding", "go", "net", "syscall"}
	}
	args := append([]string{"tar", "-C", d.source, "-cf", archive}, parts...)
	if err := cluster.Run(args...).OK(); err != nil {
		return "", 0, err
	}
	list := cluster.Run("tar", "-tf", archive)
	return archive, strings.Count(list.Stdout, "\n"), list.OK()
}

func (d *demo) unpack() error {
	archive, files, err := d.pack()
	if err != nil {
		return err
	}
	dir := filepath.Join(d.Leader.Mount, "source")
	if err := cluster.Run("mkdir", dir).OK(); err != nil {
		return err
	}
	began := time.Now()
	if err := cluster.Run("tar", "-C", dir, "-xf", archive).OK(); err != nil {
		return err
	}
	took := time.Since(began)
	ended := time.Now()
	version, err := d.CatchUp(d.follower(), wait)
	if err != nil {
		return err
	}
	d.say("unpacked %d files of %s into the leader in %.1f s", files, d.source, took.Seconds())
	d.say("follower equal %.1f ms after tar ended, at version %d", float64(time.Since(ended).Microseconds())/1000, version)
	return os.Remove(archive)
}

// compare compares both mounts by names, types, inode numbers, owners, modes, times,
// link targets, extended attributes and the SHA-256 of all content.
func (d *demo) compare() error {
	t, err := d.Equal(wait)
	if err != nil {
		return err
	}
	var bytes int64
	for _, f := range t {
		var n int64
		if _, err := fmt.Sscan(f["size"], &n); err == nil {
			bytes += n
		}
	}
	d.say("trees compared by hash: %d names, %.1f MB, equal", len(t), float64(bytes)/1e6)
	return nil
}

func (d *demo) readOnly() error {
	if err := cluster.RunHelper(wait, "refused", d.follower().Mount).OK(); err != nil {
		return err
	}
	d.say("the follower's mount refuses changes with EROFS")
	return nil
}

// refused is the child that tries.
func refused(args []string) error {
	err := unix.Mkdir(filepath.Join(args[0], "new"), 0o755)
	if err != unix.EROFS {
		return fmt.Errorf("mkdir: %v, want %v", err, unix.EROFS)
	}
	if err := unix.Chmod(filepath.Join(args[0], "source"), 0o700); err != unix.EROFS {
		return fmt.Errorf("chmod: %v, want %v", err, unix.EROFS)
	}
	return nil
}

// write runs a workload of tokens in the background; the channel gives how the mount
// failed, if it did.
func (d *demo) write(tok *cluster.Tokens, time time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() {
		failed, err := tok.Run(time)
		if err == nil && failed != "" {
			err = errMount{failed}
		}
		done <- err
	}()
	return done
}

// errMount is what a writer saw when its mount died.
type errMount struct{ what string }

func (e errMount) Error() string { return "a writer failed: " + e.what }

func (d *demo) killFollower() error {
	tok := &cluster.Tokens{Dir: d.Leader.Mount, ID: "first"}
	writing := d.write(tok, 2000*time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	f := d.follower()
	if err := f.Kill9(); err != nil {
		return err
	}
	if err := <-writing; err != nil {
		return err
	}
	// The gate stays shut until the follower has said where it stands.
	f.Gate(true)
	if err := f.Start(); err != nil {
		return err
	}
	from, err := f.WaitStatus(wait, "answering", func(s cluster.Status) bool { return s.Position.Version > 0 })
	if err != nil {
		return err
	}
	before := f.Received()
	began := time.Now()
	f.Gate(false)
	if _, err := d.CatchUp(f, wait); err != nil {
		return err
	}
	took := time.Since(began)
	to, err := f.Status()
	if err != nil {
		return err
	}
	received, missed := f.Received()-before, to.Oplog.Bytes-from.Oplog.Bytes
	if missed <= 0 {
		return fmt.Errorf("it missed nothing: from %+v to %+v", from.Oplog, to.Oplog)
	}
	ratio := float64(received) / float64(missed)
	d.say("killed the follower with -9 while %d files were written; %d ops missed", tok.Count(), to.Position.Version-from.Position.Version)
	d.say("caught up %.1f ms after it was let in: %d bytes received for %d bytes of frames missed (%.3f x)",
		float64(took.Microseconds())/1000, received, missed, ratio)
	if ratio > 1.05 {
		return fmt.Errorf("received %.3f x the missed frames, at most 1.05 x are allowed", ratio)
	}
	return d.accounted(tok)
}

func (d *demo) killLeader() error {
	tok := &cluster.Tokens{Dir: d.Leader.Mount, ID: "second"}
	writing := d.write(tok, 20*time.Second)
	time.Sleep(1200 * time.Millisecond)
	if err := d.Leader.Kill9(); err != nil {
		return err
	}
	err := <-writing
	if !errors.As(err, new(errMount)) {
		return fmt.Errorf("the writer did not notice: %w", err)
	}
	began := time.Now()
	if err := d.Leader.StartReady(wait); err != nil {
		return err
	}
	d.say("killed the leader with -9 under load; started again in %.1f s", time.Since(began).Seconds())
	return d.accounted(tok)
}

// accounted compares the trees and finds every acknowledged file on both sides.
func (d *demo) accounted(tok *cluster.Tokens) error {
	if err := d.compare(); err != nil {
		return err
	}
	for _, n := range d.Nodes() {
		if err := tok.Check(n.Mount); err != nil {
			return fmt.Errorf("on the %s: %w", n.ID, err)
		}
	}
	if tok.Count() == 0 {
		return errors.New("nothing was acknowledged")
	}
	d.say("all %d acknowledged files are there, on both sides", tok.Count())
	return nil
}

// stop ends both daemons; the leader's directory then holds plain files.
func (d *demo) stop() error {
	seen, err := d.Equal(wait)
	if err != nil {
		return err
	}
	for _, n := range d.Nodes() {
		if err := n.Stop(); err != nil {
			return err
		}
	}
	left, err := cluster.Describe(d.Leader.Dir, wait)
	if err != nil {
		return err
	}
	if diff := tree.Diff(seen, left, tree.Plain); len(diff) > 0 {
		return fmt.Errorf("the leader's directory differs from what its mount showed:\n%s", strings.Join(diff[:min(20, len(diff))], "\n"))
	}
	d.say("stopped both; the leader's directory holds the same as plain files")
	return nil
}
