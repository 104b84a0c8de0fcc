package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wolfdisk/tests/cluster"
)

// peer is one of the programs compared, running.
type peer struct {
	name   string
	dir    string   // where applications on the writer's machine write
	others []string // the same on the other machines
	slow   bool     // only what waits for the other side is worth the time
	logs   []string // files to show when something fails
	// conflicts counts what the program has put aside and can show; nil if it has
	// no such thing.
	conflicts func() (int, error)
	stop      func() error
}

// peerStart starts a program below an empty folder. It returns what there is also
// when it fails.
type peerStart struct {
	column string
	start  func(b *bench, name, base string) (*peer, error)
}

var peerStarts = []peerStart{
	{"ext4 alone", startPlain},
	{"WolfDisk, 1 follower", func(b *bench, name, base string) (*peer, error) { return startWolfDisk(b, name, base, 1) }},
	{"WolfDisk, 2 followers", func(b *bench, name, base string) (*peer, error) { return startWolfDisk(b, name, base, 2) }},
	{"lsyncd, delay 1 s", func(_ *bench, name, base string) (*peer, error) {
		return startLsyncd(name, base, "delay = 1, rsync = { archive = true, hard_links = true, acls = true, xattrs = true, sparse = true },")
	}},
	{"lsyncd, as installed", func(_ *bench, name, base string) (*peer, error) {
		p, err := startLsyncd(name, base, "")
		p.slow = true
		return p, err
	}},
	{"GlusterFS, replica 2", startGluster},
}

func folders(base string, names ...string) (paths []string, err error) {
	for _, name := range names {
		path := filepath.Join(base, name)
		paths = append(paths, path)
		err = errors.Join(err, os.MkdirAll(path, 0o755))
	}
	return paths, err
}

func startPlain(_ *bench, name, base string) (*peer, error) {
	dirs, err := folders(base, "data")
	return &peer{name: name, dir: dirs[0], stop: nothing}, err
}

func startWolfDisk(b *bench, name, base string, followers int) (*peer, error) {
	p := &peer{name: name, stop: nothing}
	c, err := cluster.NewIn(b.bin, base)
	if err != nil {
		return p, err
	}
	place := func(n *cluster.Node, machine int) {
		n.Wrap = inside(machine)
		n.Addr = address(machine) + ":9500"
		n.Advertise = n.Addr
		p.logs = append(p.logs, filepath.Join(base, n.ID+".log"))
	}
	leader, err := c.AddLeader("node-1")
	if err != nil {
		return p, err
	}
	place(leader, 1)
	p.dir = leader.Mount
	for i := range followers {
		f, err := c.AddFollower(fmt.Sprint("node-", i+2))
		if err != nil {
			return p, err
		}
		place(f, i+2)
		f.Connect = []string{leader.Addr}
		p.others = append(p.others, f.Mount)
	}
	p.stop = func() error { return errors.Join(c.Close(), cluster.UnmountBelow(base)) }
	p.conflicts = func() (int, error) {
		all := 0
		for _, n := range c.Nodes() {
			s, err := n.Status()
			if err != nil {
				return 0, err
			}
			all = max(all, s.ConflictsOpen)
		}
		return all, nil
	}
	if err := c.Start(wait); err != nil {
		return p, err
	}
	s, err := leader.Status()
	b.comparison.Software = s.Software
	return p, err
}

// startLsyncd starts an rsync daemon on the second machine and lsyncd on the first.
func startLsyncd(name, base, options string) (*peer, error) {
	p := &peer{name: name, stop: nothing}
	dirs, err := folders(base, "data", "copy")
	if err != nil {
		return p, err
	}
	p.dir, p.others = dirs[0], dirs[1:]
	at := func(name string) string { return filepath.Join(base, name) }
	p.logs = []string{at("rsyncd.log"), at("lsyncd.log")}
	p.stop = killMachines
	rsyncd := fmt.Sprintf("uid = 0\ngid = 0\nuse chroot = no\nmunge symlinks = no\nlog file = %s\npid file = %s\n[copy]\npath = %s\nread only = no\n", at("rsyncd.log"), at("rsyncd.pid"), p.others[0])
	lsyncd := fmt.Sprintf("settings { nodaemon = true, logfile = %q, statusFile = %q }\nsync { default.rsync, %s source = %q, target = %q }\n",
		at("lsyncd.log"), at("lsyncd.status"), options, p.dir, "rsync://"+address(2)+"/copy/")
	if err := errors.Join(os.WriteFile(at("rsyncd.conf"), []byte(rsyncd), 0o644), os.WriteFile(at("lsyncd.lua"), []byte(lsyncd), 0o644)); err != nil {
		return p, err
	}
	if _, err := cluster.StartProc(at("rsyncd.out"), nil, false, inside(2, "rsync", "--daemon", "--no-detach", "--config="+at("rsyncd.conf"))...); err != nil {
		return p, err
	}
	if err := waitPort(2, 873); err != nil {
		return p, err
	}
	// What is there at its start it sends without delay.
	if _, err := p.shell("mkdir ready"); err != nil {
		return p, err
	}
	if _, err := cluster.StartProc(at("lsyncd.out"), nil, false, inside(1, "lsyncd", at("lsyncd.lua"))...); err != nil {
		return p, err
	}
	_, err = p.arrived("ready")
	return p, err
}

// startGluster runs two glusterd, each with its own state, a volume over both, and a
// FUSE client on each of the two machines.
func startGluster(_ *bench, name, base string) (*peer, error) {
	p := &peer{name: name, stop: func() error { return errors.Join(killMachines(), cluster.UnmountBelow(base)) }}
	var pid [3]int
	for i := 1; i <= 2; i++ {
		at := filepath.Join(base, fmt.Sprint("s", i))
		dirs, err := folders(at, "lib", "log", "brick", "mnt")
		if err != nil {
			return p, err
		}
		p.logs = append(p.logs, at+"/log/glusterd.log", at+"/client.log")
		if i == 1 {
			p.dir = dirs[3]
		} else {
			p.others = dirs[3:]
		}
		script := fmt.Sprintf("mount --bind %[1]s/lib /var/lib/glusterd; mount --bind %[1]s/log /var/log/glusterfs; mount -t tmpfs none /run; mkdir /run/gluster; exec glusterd -N --log-level WARNING", at)
		d, err := cluster.StartProc(at+"/out", nil, false, inside(i, "unshare", "--mount", "sh", "-euc", script)...)
		if err != nil {
			return p, err
		}
		pid[i] = d.Pid()
		if err := waitPort(i, 24007); err != nil {
			return p, err
		}
	}
	cli := func(args ...string) error {
		return cluster.Run(append([]string{"nsenter", "-t", fmt.Sprint(pid[1]), "-m", "-n", "gluster", "--mode=script"}, args...)...).OK()
	}
	if err := until(wait, func() error { return cli("peer", "probe", address(2)) }); err != nil {
		return p, err
	}
	bricks := []string{"volume", "create", "vol", "replica", "2", address(1) + ":" + base + "/s1/brick", address(2) + ":" + base + "/s2/brick", "force"}
	if err := until(wait, func() error { return cli(bricks...) }); err != nil {
		return p, err
	}
	if err := cli("volume", "start", "vol"); err != nil {
		return p, err
	}
	for i := 1; i <= 2; i++ {
		at := filepath.Join(base, fmt.Sprint("s", i))
		r := cluster.Run(inside(i, "glusterfs", "--acl", "--volfile-server="+address(i), "--volfile-id=vol", "--log-file="+at+"/client.log", at+"/mnt")...)
		if err := errors.Join(r.OK(), cluster.WaitMounted(at+"/mnt", true, wait)); err != nil {
			return p, err
		}
	}
	if _, err := p.shell("mkdir ready"); err != nil {
		return p, err
	}
	_, err := p.arrived("ready")
	return p, err
}

// waitPort waits until something listens on a port of a machine.
func waitPort(machine, port int) error {
	return until(wait, func() error {
		r := cluster.Run(inside(machine, "ss", "-Hltn", fmt.Sprintf("sport = :%d", port))...)
		if err := r.OK(); err != nil {
			return err
		}
		if !strings.Contains(r.Stdout, "LISTEN") {
			return fmt.Errorf("nothing listens on port %d of machine %d", port, machine)
		}
		return nil
	})
}

// until repeats what fails because something is not there yet.
func until(timeout time.Duration, try func() error) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
