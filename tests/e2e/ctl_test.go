//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

func TestStatus(t *testing.T) {
	b := startBed(t)
	b.shell("mkdir d; for i in 1 2 3; do echo $i >d/$i; done")
	b.equal()
	for _, n := range b.Nodes() {
		r := b.ok(n.Ctl(time.Minute, "-o", "json", "status"))
		var s cluster.Status
		if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
			t.Fatalf("%v in %s", err, r.Stdout)
		}
		wantRole := map[bool]string{true: "leader", false: "follower"}[n.Leader]
		switch {
		case s.SchemaVersion < 1, s.ClusterID == "", s.VolumeID == "", s.Software == "", s.State == "":
			t.Errorf("%s: something is empty in %s", n.ID, r.Stdout)
		case s.NodeID != n.ID, s.Role != wantRole, s.LeaderID != "alpha":
			t.Errorf("%s: node %q, role %q, leader %q", n.ID, s.NodeID, s.Role, s.LeaderID)
		case s.Position.Version == 0, s.Position.EpochLeader != "alpha", s.Position.Digest == "":
			t.Errorf("%s: position %+v", n.ID, s.Position)
		case s.Oplog.First != 1, s.Oplog.Last != s.Position.Version, s.Oplog.Bytes <= 0:
			t.Errorf("%s: oplog %+v at version %d", n.ID, s.Oplog, s.Position.Version)
		case s.Mount.Path != n.Mount, s.Mount.Driver == "":
			t.Errorf("%s: mount %+v", n.ID, s.Mount)
		case len(s.Warnings) != 0:
			t.Errorf("%s: warnings %+v", n.ID, s.Warnings)
		}
		table := b.ok(n.Ctl(time.Minute, "status")).Stdout
		for _, want := range []string{n.ID, wantRole} {
			if !strings.Contains(table, want) {
				t.Errorf("%s: no %q in the table\n%s", n.ID, want, table)
			}
		}
	}
	s, err := b.Leader.Status()
	b.must(err)
	if len(s.Peers) != 1 || s.Peers[0].ID != "beta" || s.Peers[0].Applied != s.Position.Version || s.Peers[0].LagOps != 0 {
		t.Errorf("the leader's peers are %+v", s.Peers)
	}
	// Durable within a second or so, without anybody asking.
	_, err = b.Leader.WaitStatus(5*time.Second, "durable", func(s cluster.Status) bool { return s.DurableVersion == s.Position.Version })
	b.must(err)
}

func TestStatusWaits(t *testing.T) {
	b := startBed(t)
	b.shell("echo x >f")
	b.ok(b.follower().Ctl(time.Minute, "--timeout", "10s", "status", "--wait"))
	for _, n := range b.Nodes() { // a probe that asks for no lag in particular
		_, err := n.Get("/readyz")
		b.must(err)
	}
	b.must(b.Leader.Kill9())
	// A follower that has lost its leader cannot know that it is within N ops.
	b.follower().Gate(true)
	deadline := time.Now().Add(20 * time.Second)
	for {
		r := b.follower().Ctl(time.Minute, "--timeout", "300ms", "status", "--wait", "--max-lag", "0")
		if r.Code == 7 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("exit code %d, want 7\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	}
	r := b.Leader.Ctl(time.Minute, "status")
	if r.Code != 3 || !strings.Contains(r.Stderr, b.Leader.State) {
		t.Errorf("status of a dead daemon: exit code %d, %q", r.Code, r.Stderr)
	}
}

func TestCtlStop(t *testing.T) {
	b := startBed(t)
	b.shell("echo x >f")
	for _, n := range b.Nodes() {
		b.ok(n.Ctl(time.Minute, "--timeout", "20s", "stop"))
		code, err := n.WaitExit(20 * time.Second)
		b.must(err)
		if code != 0 {
			t.Errorf("%s: exit code %d\n%s", n.ID, code, n.LogTail())
		}
		if r := n.Ctl(time.Minute, "stop"); r.Code != 3 {
			t.Errorf("%s: a second stop ends with %d, want 3", n.ID, r.Code)
		}
	}
}

func TestOplogTail(t *testing.T) {
	t.Parallel()
	b := startBed(t)
	b.shell("mkdir seen; echo content >seen/file; mv seen/file seen/moved")
	b.equal()
	for _, n := range b.Nodes() {
		table := b.ok(n.Ctl(time.Minute, "oplog", "tail", "--from", "1")).Stdout
		for _, want := range []string{"seen", "moved"} {
			if !strings.Contains(table, want) {
				t.Errorf("%s: no %q in\n%s", n.ID, want, table)
			}
		}
		lines := strings.Split(strings.TrimSpace(b.ok(n.Ctl(time.Minute, "-o", "json", "oplog", "tail", "--from", "1")).Stdout), "\n")
		s, err := n.Status()
		b.must(err)
		if uint64(len(lines)) != s.Position.Version {
			t.Errorf("%s: %d lines at version %d", n.ID, len(lines), s.Position.Version)
		}
		for _, line := range lines {
			var op map[string]any
			if err := json.Unmarshal([]byte(line), &op); err != nil {
				t.Fatalf("%s: %v in %q", n.ID, err, line)
			}
		}
	}
	// -f goes on until it is killed, and shows what comes.
	log := filepath.Join(b.Dir, "tail.log")
	tail, err := cluster.StartProc(log, nil, false, filepath.Join(b.Bin, "wolfdiskctl"), "--state-dir", b.Leader.State, "oplog", "tail", "-f")
	b.must(err)
	defer tail.Kill9()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		b.shell("rm -f arrives; echo x >arrives")
		text, err := os.ReadFile(log)
		b.must(err)
		if strings.Contains(string(text), "arrives") {
			break
		}
		if time.Now().After(deadline) || !tail.Running() {
			t.Fatalf("running %v, output %q", tail.Running(), text)
		}
	}
}

func TestInit(t *testing.T) {
	dir := t.TempDir()
	state, key := filepath.Join(dir, "state"), filepath.Join(dir, "etc", "cluster.key")
	initCmd := []string{filepath.Join(binDir, "wolfdisk"), "init", "-d", state, "--key-file", key}
	r := cluster.Run(initCmd...)
	if err := r.OK(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Stdout, key) {
		t.Errorf("what to copy is not named in %q", r.Stdout)
	}
	for path, want := range map[string]os.FileMode{state: 0o700, key: 0o600} {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, fi.Mode().Perm(), want)
		}
	}
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	cluster.Run(initCmd...) // whatever it says, the key stays
	after, err := os.ReadFile(key)
	if err != nil || string(before) != string(after) {
		t.Fatalf("a second init changed the key: %v", err)
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, name := range []string{"wolfdisk", "wolfdisk-master", "wolfdisk-slave", "wolfdiskctl"} {
		path := filepath.Join(binDir, name)
		if r := cluster.Run(path, "--version"); r.OK() != nil || !strings.Contains(r.Stdout, name) {
			t.Errorf("%s --version: %v, %q", name, r.OK(), r.Stdout)
		}
		for _, flag := range []string{"-h", "--help"} {
			if r := cluster.Run(path, flag); r.OK() != nil || !strings.Contains(r.Stdout, "Usage:") {
				t.Errorf("%s %s: %v, %q", name, flag, r.OK(), r.Stdout)
			}
		}
	}
}
