package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"wolfdisk/tests/cluster"
)

const wait = 60 * time.Second

// system is one of the things compared.
type system struct {
	name string
	dir  string // where workloads write
	read string // where readers read what was written: the follower's mount of a cluster
	stop func() error
	// leads is true for a WolfDisk leader.
	leads bool
	// settle waits until nothing of the last workload is left to do.
	settle func() error
}

// mirror is a leader with followers.
type mirror struct {
	*cluster.Cluster
	followers int
}

// catchUp waits until every follower has what the leader has.
func (m *mirror) catchUp() error {
	for _, f := range m.Followers {
		if _, err := m.CatchUp(f, wait); err != nil {
			return err
		}
	}
	return nil
}

// startSystems starts all of them below one folder, with a cluster for each number of
// followers. An overlay that is not there is left out, which the report shows.
func startSystems(base, bin, overlay string, followers []int) ([]*system, []*mirror, error) {
	var all []*system
	plain := filepath.Join(base, "bare")
	if err := os.MkdirAll(plain, 0o755); err != nil {
		return nil, nil, err
	}
	all = append(all, &system{name: "bare", dir: plain, read: plain, stop: nothing, settle: nothing})
	if _, err := os.Stat(overlay); err == nil {
		s, err := startFuse(base, "overlay", func(mount, dir string) []string { return []string{overlay, mount, dir} })
		if err != nil {
			return all, nil, err
		}
		all = append(all, s)
	} else {
		fmt.Fprintf(os.Stderr, "bench: no overlay: %v\n", err)
	}
	s, err := startFuse(base, "bindfs", func(mount, dir string) []string { return []string{"bindfs", "-f", dir, mount} })
	if err != nil {
		return all, nil, err
	}
	all = append(all, s)
	var mirrors []*mirror
	for _, n := range followers {
		s, m, err := startCluster(base, bin, n)
		if m != nil {
			mirrors = append(mirrors, m)
		}
		if err != nil {
			return all, mirrors, err
		}
		all = append(all, s)
	}
	return all, mirrors, nil
}

func nothing() error { return nil }

func startFuse(base, name string, args func(mount, dir string) []string) (*system, error) {
	mount, dir := filepath.Join(base, name), filepath.Join(base, name+".below")
	for _, d := range []string{mount, dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	p, err := cluster.StartProc(filepath.Join(base, name+".log"), nil, false, args(mount, dir)...)
	if err != nil {
		return nil, err
	}
	if err := cluster.WaitMounted(mount, true, wait); err != nil {
		p.Kill9()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	stop := func() error {
		if err := cluster.UnmountBelow(mount); err != nil {
			return err
		}
		return p.Kill9()
	}
	return &system{name: name, dir: mount, read: mount, stop: stop, settle: nothing}, nil
}

// startCluster joins the nodes without the proxies of the tests, which cost time.
func startCluster(base, bin string, followers int) (*system, *mirror, error) {
	name := leaderName(followers)
	c, err := cluster.NewIn(bin, filepath.Join(base, name))
	if err != nil {
		return nil, nil, err
	}
	m := &mirror{c, followers}
	leader, err := c.AddLeader("leader")
	if err != nil {
		return nil, m, err
	}
	leader.Advertise = leader.Addr
	for i := range followers {
		f, err := c.AddFollower(fmt.Sprint("follower-", i+1))
		if err != nil {
			return nil, m, err
		}
		f.Advertise = f.Addr
		f.Connect = []string{leader.Addr}
	}
	if err := c.Start(wait); err != nil {
		return nil, m, err
	}
	return &system{name: name, dir: leader.Mount, read: c.Followers[0].Mount, stop: nothing, leads: true, settle: m.catchUp}, m, nil
}
