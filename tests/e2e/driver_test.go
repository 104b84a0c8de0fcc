//go:build linux

package e2e

import (
	"testing"

	"wolfdisk/tests/cluster"
)

// TestSecondDriver runs tests of the tree over the FUSE driver that is not the
// automatic choice here; WDTEST_DRIVER=gofuse runs all of them so.
func TestSecondDriver(t *testing.T) {
	const driver = "gofuse"
	t.Setenv(cluster.DriverEnv, driver)
	steps := []string{"sqlite-wal"}
	if !testing.Short() {
		steps = append(steps, "tar", "cp", "git", "big", "writers", "remove-tree")
	}
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"InUse", func(t *testing.T) { driverInUse(t, driver, driver) }},
		{"Ops", func(t *testing.T) { everyOp(t, !testing.Short()) }},
		{"FollowerRefusesChanges", TestFollowerRefusesChanges},
		{"MountOptions", TestMountOptions},
		{"LiveView", TestLiveView},
		{"StaleMount", TestStaleMount},
		{"StopWithOpenFiles", TestStopWithOpenFiles},
		{"RealInput", func(t *testing.T) { realInput(t, steps...) }},
	} {
		t.Run(c.name, c.test)
	}
}

// TestDriverByDefault: without a choice it is the automatic one, and the key may differ
// from node to node.
func TestDriverByDefault(t *testing.T) {
	t.Setenv(cluster.DriverEnv, "")
	driverInUse(t, "bazil", "gofuse")
}

// driverInUse starts a leader as told by the environment, and a follower with a driver
// of its own, and asks what they mount with.
func driverInUse(t *testing.T, leader, follower string) {
	b := newBed(t, "beta")
	b.follower().Env = append(b.follower().Env, "WOLFDISK_MOUNT_DRIVER="+follower)
	b.must(b.Start(readyTimeout))
	want := map[*cluster.Node]string{b.Leader: leader, b.follower(): follower}
	for n, driver := range want {
		s, err := n.Status()
		b.must(err)
		if s.Mount.Driver != driver || s.Mount.Path != n.Mount {
			t.Errorf("%s: mounted on %q by %q, want %q by %q", n.ID, s.Mount.Path, s.Mount.Driver, n.Mount, driver)
		}
	}
	b.shell("seq 100000 >numbers; mkdir folder; ln numbers folder/hard; chmod 1777 folder")
	b.equal()
}
