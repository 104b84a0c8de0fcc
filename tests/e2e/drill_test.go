//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/tests/cluster"
)

// TestDrill runs the drill of docs/operations.md: the blocks "sh NODE" of its section, line by line.
// The service manager's commands are done by the test, and /srv/data is the node's mount. It runs
// alone: its commands have the times of machines that are not starved.
func TestDrill(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repoDir, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "### A drill\n")
	if !found {
		t.Fatal("docs/operations.md has no drill")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	b := newBedOf(t, "node-a", "node-b", "node-c")
	for _, n := range b.Followers {
		n.Role = "auto"
	}
	b.must(b.Start(readyTimeout))
	b.agree("node-a", 20*time.Second)
	nodes := map[string]*cluster.Node{}
	for _, n := range b.Nodes() {
		nodes[n.ID] = n
		dir := filepath.Join(b.Dir, n.ID+".bin")
		b.must(os.Mkdir(dir, 0o755))
		shim := fmt.Sprintf("#!/bin/sh\nexec %q --state-dir %q \"$@\"\n", filepath.Join(b.Bin, "wolfdiskctl"), n.State)
		b.must(os.WriteFile(filepath.Join(dir, "wolfdiskctl"), []byte(shim), 0o755))
	}
	ran := 0
	for i, block := range strings.Split(section, "```") {
		if i%2 == 0 {
			continue // what is between the blocks
		}
		head, lines, _ := strings.Cut(block, "\n")
		where, ok := strings.CutPrefix(head, "sh ")
		if !ok {
			t.Fatalf("a block of the drill without a place to run it: %q", head)
		}
		on := []*cluster.Node{nodes[where]}
		if where == "all" {
			on = b.Nodes()
		} else if on[0] == nil {
			t.Fatalf("the drill names node %q", where)
		}
		for _, n := range on {
			for line := range strings.Lines(lines) {
				b.drill(n, strings.TrimSpace(line))
				ran++
			}
		}
	}
	if ran < 10 {
		t.Errorf("only %d commands were found", ran)
	}
}

// drill runs one command on a node.
func (b *bed) drill(n *cluster.Node, line string) {
	b.t.Helper()
	switch {
	case strings.HasPrefix(line, "systemctl kill --signal=KILL"):
		b.must(n.Kill9())
		// Nobody types the next line before the others have seen the connection end: until then a
		// follower answers EROFS, as it must.
		time.Sleep(200 * time.Millisecond)
	case strings.HasPrefix(line, "systemctl start"):
		b.must(n.Start())
	default:
		script := fmt.Sprintf("PATH=%s:$PATH; %s", filepath.Join(b.Dir, n.ID+".bin"), strings.ReplaceAll(line, "/srv/data", n.Mount))
		if err := cluster.Shell(b.Dir, script, time.Minute).OK(); err != nil {
			b.t.Fatalf("%s# %s: %v", n.ID, line, err)
		}
	}
}
