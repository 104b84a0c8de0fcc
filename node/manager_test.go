package node

import (
	"testing"

	"wolfdisk/fusefs"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
)

func TestUsable(t *testing.T) {
	tests := []struct {
		phase   phase
		dir     string
		mounted bool
		want    bool
	}{
		{phaseStarting, "", false, false},
		{phaseWaiting, "", false, false},
		{phaseStopping, "/mnt", true, false},
		{phaseLeading, "/mnt", false, false},
		{phaseLeading, "/mnt", true, true},
		{phaseLeading, "", false, true},
		{phaseFollowing, "/mnt", false, false},
		{phaseFollowing, "/mnt", true, true},
		{phaseFollowing, "", false, true},
	}
	for _, tt := range tests {
		n := &node{cfg: &config.Config{Mount: config.Mount{Dir: tt.dir}}, phase: tt.phase}
		if tt.mounted {
			n.mount = &fusefs.Server{}
		}
		if got := n.usable(); got != tt.want {
			t.Errorf("%s, mount point %q, mounted %v: %v", tt.phase, tt.dir, tt.mounted, got)
		}
	}
}

func TestSummary(t *testing.T) {
	live, gone := admin.Peer{State: "live"}, admin.Peer{State: "disconnected"}
	tests := []struct {
		status admin.Status
		want   string
	}{
		{admin.Status{State: "waiting"}, "waiting, version 0, 0 of 0 peers connected"},
		{admin.Status{State: "leading", Position: admin.Position{Version: 7}, Peers: []admin.Peer{live, gone, live}}, "leading, version 7, 2 of 3 peers connected"},
		{admin.Status{State: "leading", Warnings: make([]admin.Warning, 2)}, "leading, version 0, 0 of 0 peers connected, 2 warnings"},
		{admin.Status{State: "starting", Progress: &admin.Progress{Phase: "scan", Files: 12}}, "starting: scan 12 files"},
		{admin.Status{State: "starting", Progress: &admin.Progress{Phase: "scan", Files: 12, Percent: 34.56}}, "starting: scan 34.6 %"},
		{admin.Status{State: "starting", Progress: &admin.Progress{Phase: "scan"}}, "starting: scan"},
	}
	for _, tt := range tests {
		if got := summary(tt.status); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
