//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// network gives each node of a bed a network of its own, all of which hang on one bridge. The nodes
// find each other by multicast alone.
type network struct {
	b      *bed
	bridge int            // whose network the bridge is in, a process ID
	pid    map[string]int // the same of each node
	host   map[string]int // its number
}

// newNetwork moves the nodes of a bed that has not been started.
func newNetwork(b *bed) *network {
	b.t.Helper()
	needRoot(b.t)
	w := &network{b: b, pid: map[string]int{}, host: map[string]int{}}
	w.bridge = w.hold("bridge", "ip link add br0 type bridge; ip link set br0 up")
	for i, n := range b.Nodes() {
		w.host[n.ID] = i + 1
		w.pid[n.ID] = w.hold(n.ID, "true")
		b.ok(w.in(w.bridge, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d; ip link set %s master br0; ip link set %[1]s up", w.port(n), w.pid[n.ID], w.port(n))))
		b.ok(w.in(w.pid[n.ID], fmt.Sprintf("ip addr add %s/24 dev eth0; ip link set eth0 up; ip route add 224.0.0.0/4 dev eth0", w.address(n))))
		n.Wrap = []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", w.pid[n.ID])}
		n.Addr = w.address(n) + ":9500"
		n.Advertise, n.Connect = n.Addr, nil
		n.Env = append(n.Env, "WOLFDISK_CLUSTER_DISCOVERY=udp://239.255.0.1:9501")
	}
	return w
}

// hold starts a process with a network of its own that lasts as long as the test.
func (w *network) hold(name, setup string) int {
	w.b.t.Helper()
	log := filepath.Join(w.b.Dir, name+".net")
	p, err := cluster.StartProc(log, nil, false, "unshare", "--net", "sh", "-euc", "ip link set lo up; "+setup+"; echo ready; exec sleep 3600")
	w.b.must(err)
	w.b.t.Cleanup(func() { p.Kill9() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text := w.b.ok(cluster.Run("cat", log)).Stdout
		if strings.Contains(text, "ready") {
			return p.Pid()
		}
		if !p.Running() || time.Now().After(deadline) {
			w.b.t.Skipf("no networks of their own here: %s", text)
		}
	}
}

func (w *network) in(pid int, script string) cluster.Result {
	return cluster.Cmd{Args: []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid), "sh", "-euc", script}, Timeout: time.Minute}.Run()
}

func (w *network) port(n *cluster.Node) string    { return fmt.Sprint("p", w.host[n.ID]) }
func (w *network) address(n *cluster.Node) string { return fmt.Sprint("10.98.77.", w.host[n.ID]) }

// cut unplugs a node, or plugs it in again.
func (w *network) cut(n *cluster.Node, on bool) {
	state := "up"
	if on {
		state = "down"
	}
	w.b.ok(w.in(w.bridge, "ip link set "+w.port(n)+" "+state))
}

// lose has what one node sends to another get lost, or not any more.
func (w *network) lose(from, to *cluster.Node, on bool) {
	do := "del"
	if on {
		do = "add"
	}
	w.b.ok(w.in(w.pid[from.ID], "ip route "+do+" blackhole "+w.address(to)+"/32"))
}

// netFault is something that happens to one node, and passes.
type netFault struct {
	name  string
	apart bool // the node cannot have a majority
	do    func(w *network, n *cluster.Node, on bool)
}

// leaseTime is after how long a node that is cut off takes no changes above level available: 1.2 s, and
// what a writer's clock and a loaded machine add.
const leaseTime = 1500 * time.Millisecond

var netFaults = []netFault{
	{"cut", true, func(w *network, n *cluster.Node, on bool) { w.cut(n, on) }},
	{"mute", true, func(w *network, n *cluster.Node, on bool) { // it hears, and is not heard
		for _, o := range w.b.Nodes() {
			if o != n {
				w.lose(n, o, on)
			}
		}
	}},
	{"deaf", true, func(w *network, n *cluster.Node, on bool) { // it is heard, and hears nobody
		for _, o := range w.b.Nodes() {
			if o != n {
				w.lose(o, n, on)
			}
		}
	}},
	{"pause", false, func(w *network, n *cluster.Node, on bool) {
		signal := unix.SIGCONT
		if on {
			signal = unix.SIGSTOP
		}
		w.b.must(n.Proc().Signal(signal))
	}},
	{"reset", false, func(w *network, n *cluster.Node, on bool) { // again and again until it passes
		w.b.ok(w.in(w.pid[n.ID], "ss -K 'dport = 9500' >/dev/null; ss -K 'sport = 9500' >/dev/null"))
	}},
	{"kill", false, func(w *network, n *cluster.Node, on bool) {
		if on {
			w.b.must(n.Kill9())
		} else {
			w.b.must(n.Start())
		}
	}},
}

// TestNetwork: three nodes on a network of their own, which find each other by multicast. While
// all three mounts are written to, something happens to one of the nodes for five seconds. After
// it all agree, within ten seconds, and what was acknowledged is in the tree or in a conflict; above
// level available who is cut off takes no changes.
func TestNetwork(t *testing.T) {
	t.Parallel()
	short := map[string]bool{"available/leader/kill": true, "fenced/leader/deaf": true, "available/leader/pause": true}
	for _, level := range []string{"available", "fenced"} {
		for _, who := range []string{"leader", "follower"} {
			for _, f := range netFaults {
				name := level + "/" + who + "/" + f.name
				if testing.Short() && !short[name] {
					continue
				}
				t.Run(name, func(t *testing.T) { networkRound(t, level, who, f) })
			}
		}
	}
}

func networkRound(t *testing.T, level, who string, f netFault) {
	b := newTrio(t)
	w := newNetwork(b)
	for _, n := range b.Nodes() {
		n.Env = append(n.Env, "WOLFDISK_ELECT_SAFETY="+level, soon)
	}
	b.must(b.Start(readyTimeout))
	b.agree("alpha", 20*time.Second)
	b.shell("mkdir work")
	b.equal()
	target := b.Leader
	if who == "follower" {
		target = b.Followers[0]
	}
	writers := map[*cluster.Node]<-chan cluster.Result{}
	for _, n := range b.Nodes() {
		writers[n] = inBackground(func() cluster.Result {
			return cluster.RunHelper(time.Minute, "stamps", filepath.Join(n.Mount, "work"), n.ID, "8s", "keep")
		})
	}
	time.Sleep(time.Second)
	f.do(w, target, true)
	began := time.Now()
	time.Sleep(5 * time.Second)
	f.do(w, target, false)
	healed := time.Now()
	var acked []string
	for n, c := range writers {
		r := <-c
		acked = append(acked, stampNames(t, r)...)
		if level == "available" || n != target || !f.apart {
			continue
		}
		for _, s := range stampsOf(r) {
			if at := time.Unix(0, int64(s.began+s.took)); s.failed == "" && at.After(began.Add(leaseTime)) && at.Before(healed) {
				t.Errorf("%s took %s %s after it was cut off", n.ID, s.name, at.Sub(began))
			}
		}
	}
	b.settled(time.Until(healed.Add(10 * time.Second)))
	t.Logf("settled %s after the end of it; %d writes acknowledged", time.Since(healed).Round(time.Millisecond), len(acked))
	b.waitLeads(b.Leader, 30*time.Second)
	b.agree("alpha", 20*time.Second)
	b.accountedFor(acked, "work")
	b.equal()
}

// settled waits until all running nodes name the same leader and are at the same position.
func (b *bed) settled(timeout time.Duration) {
	b.t.Helper()
	b.await(timeout, "agree on a leader", func(said []string) bool { return len(said) == 1 && !strings.HasPrefix(said[0], " at ") })
}
