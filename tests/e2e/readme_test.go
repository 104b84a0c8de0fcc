//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

// block is a fenced block of README.md. The words behind "sh" say where it runs
// ("server1", "server2", "build") and how ("daemon": it stays; "stop": the daemon
// of that machine has ended afterwards).
type block struct {
	line  int
	words map[string]bool
	text  string
}

// readme returns the blocks, and fails on a fence that the test would not run.
func readme(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repoDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	var open *block
	for i, line := range strings.Split(string(text), "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			words := strings.Fields(fence)
			if len(words) < 2 || words[0] != "sh" {
				t.Fatalf("README.md:%d: a block without a place to run it: %q", i+1, line)
			}
			open = &block{line: i + 1, words: map[string]bool{}}
			for _, w := range words[1:] {
				if !regexp.MustCompile(`^(build|server1|server2|daemon|stop)$`).MatchString(w) {
					t.Fatalf("README.md:%d: unknown word %q", i+1, w)
				}
				open.words[w] = true
			}
		case isFence:
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil || len(out) == 0 {
		t.Fatal("README.md: no blocks, or one without an end")
	}
	return out
}

// machine is a mount, network and host name namespace with /etc, /srv, /var/lib and
// /usr/local/bin of its own.
type machine struct {
	name   string
	holder *cluster.Proc
	daemon *cluster.Proc
	log    string
}

// machines starts two that reach each other under their names. What a
// container forbids skips the test.
func machines(t *testing.T, dir string) map[string]*machine {
	t.Helper()
	setup := `hostname "$1"; for d in srv varlib bin; do mkdir -p "$2/$1/$d"; done; cp -a /etc "$2/$1/etc"
		rm -rf "$2/$1/etc/wolfdisk"; printf '10.98.76.1 server1\n10.98.76.2 server2\n127.0.0.1 localhost\n' >"$2/$1/etc/hosts"
		cp "$2/sudo" "$2/scp" "$2/$1/bin/"
		mount --bind "$2/$1/srv" /srv; mount --bind "$2/$1/varlib" /var/lib; mount --bind "$2/$1/etc" /etc; mount --bind "$2/$1/bin" /usr/local/bin
		ip link set lo up; echo ready; exec sleep 600`
	shim := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nset -eu\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	shim("sudo", "exec \"$@\"\n")
	shim("scp", fmt.Sprintf("host=${2%%%%:*}; host=${host#*@}; exec cp \"$1\" \"/proc/$(cat %s/$host.pid)/root${2#*:}\"\n", dir))
	out := make(map[string]*machine)
	for _, name := range []string{"server1", "server2"} {
		m := &machine{name: name, log: filepath.Join(dir, name+".log")}
		var err error
		m.holder, err = cluster.StartProc(filepath.Join(dir, name+".holder"), nil, false,
			"unshare", "--mount", "--net", "--uts", "--propagation", "private", "sh", "-euc", setup, "sh", name, dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.holder.Kill9() })
		m.waitReady(t, dir)
		if err := os.WriteFile(filepath.Join(dir, name+".pid"), fmt.Appendf(nil, "%d", m.holder.Pid()), 0o644); err != nil {
			t.Fatal(err)
		}
		out[name] = m
	}
	link := fmt.Sprintf(`ip link add eth0 type veth peer name eth0 netns %d; ip addr add 10.98.76.1/24 dev eth0; ip link set eth0 up`, out["server2"].holder.Pid())
	if err := out["server1"].run(dir, link).OK(); err != nil {
		t.Skip("no virtual network here: ", err)
	}
	if err := out["server2"].run(dir, `ip addr add 10.98.76.2/24 dev eth0; ip link set eth0 up`).OK(); err != nil {
		t.Fatal(err)
	}
	return out
}

func (m *machine) waitReady(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(dir, m.name+".holder"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "ready") {
			return
		}
		if !m.holder.Running() || time.Now().After(deadline) {
			t.Skipf("no namespaces here: %s", text)
		}
	}
}

func (m *machine) enter(script string) []string {
	return []string{"nsenter", "-t", fmt.Sprint(m.holder.Pid()), "-m", "-n", "-u", "--wd=" + repoDir, "sh", "-euc", script}
}

func (m *machine) run(dir, script string) cluster.Result {
	return cluster.Cmd{Args: m.enter(script), Timeout: time.Minute}.Run()
}

// TestReadme runs every command of README.md, in order, on two machines of its own.
func TestReadme(t *testing.T) {
	blocks := readme(t)
	needFuse(t)
	needRoot(t)
	dir, err := cluster.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.RemoveTemp(dir); err != nil {
			t.Error(err)
		}
	})
	hosts := machines(t, dir)
	defer func() {
		for _, m := range hosts {
			if m.daemon != nil && m.daemon.Running() {
				m.daemon.Kill9()
			}
			if text, err := os.ReadFile(m.log); err == nil && t.Failed() {
				t.Logf("--- %s\n%s", m.name, text)
			}
		}
	}()
	for _, b := range blocks {
		b.runOn(t, dir, hosts)
	}
}

func (b block) runOn(t *testing.T, dir string, hosts map[string]*machine) {
	t.Helper()
	if b.words["build"] {
		// What make would do is done already: that the target exists is left.
		if err := cluster.Shell(repoDir, strings.ReplaceAll(b.text, "make ", "make -n "), time.Minute).OK(); err != nil {
			t.Fatalf("README.md:%d: %v", b.line, err)
		}
		return
	}
	for _, name := range []string{"server1", "server2"} {
		m := hosts[name]
		if !b.words[name] {
			continue
		}
		if b.words["daemon"] {
			var err error
			if m.daemon, err = cluster.StartProc(m.log, nil, false, m.enter("exec "+strings.TrimSpace(b.text))...); err != nil {
				t.Fatal(err)
			}
			continue
		}
		script := strings.ReplaceAll(b.text, "cp bin/", "cp "+binDir+"/")
		script = strings.ReplaceAll(script, " bin/", " "+binDir+"/")
		r := waitForDaemon(m, dir, script)
		if err := r.OK(); err != nil {
			t.Fatalf("README.md:%d on %s: %v", b.line, name, err)
		}
		if strings.Contains(b.text, "cat /srv/data/greeting") && !strings.Contains(r.Stdout, "hello\n") {
			t.Fatalf("README.md:%d on %s shows %q", b.line, name, r.Stdout)
		}
		if b.words["stop"] {
			if code, err := m.daemon.Wait(20 * time.Second); err != nil || code != 0 {
				t.Fatalf("README.md:%d on %s: the daemon ended with %d, %v", b.line, name, code, err)
			}
		}
	}
}

// waitForDaemon repeats a script that a person would have typed a second later: the
// socket of a daemon that was just started may not be there yet (exit code 3).
func waitForDaemon(m *machine, dir, script string) cluster.Result {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r := m.run(dir, script)
		if r.Code != 3 || time.Now().After(deadline) {
			return r
		}
	}
}
