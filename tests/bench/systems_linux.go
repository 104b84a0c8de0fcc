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
	// settle waits until nothing of the last workload is left to do.
	settle func() error
}

// startSystems starts all of them below one folder. An overlay that is not there is
// left out, which the report shows.
func startSystems(base, bin, overlay string) ([]*system, *cluster.Cluster, error) {
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
	s, c, err := startCluster(base, bin)
	if err != nil {
		return all, c, err
	}
	return append(all, s), c, nil
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

// startCluster joins the two without the proxies of the tests, which cost time.
func startCluster(base, bin string) (*system, *cluster.Cluster, error) {
	c, err := cluster.NewIn(bin, base)
	if err != nil {
		return nil, nil, err
	}
	leader, err := c.AddLeader("leader")
	if err != nil {
		return nil, c, err
	}
	follower, err := c.AddFollower("follower")
	if err != nil {
		return nil, c, err
	}
	leader.Advertise, follower.Advertise = leader.Addr, follower.Addr
	follower.Connect = []string{leader.Addr}
	if err := c.Start(wait); err != nil {
		return nil, c, err
	}
	settle := func() error {
		_, err := c.CatchUp(follower, wait)
		return err
	}
	return &system{name: "leader", dir: leader.Mount, read: follower.Mount, stop: nothing, settle: settle}, c, nil
}
