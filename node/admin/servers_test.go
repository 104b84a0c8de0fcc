package admin

import "testing"

// A follower's own row says how far it is behind its leader, and how far a copy is that it makes.
func TestOwnRow(t *testing.T) {
	s := Status{NodeID: "b", Role: "follower", LeaderID: "a", Position: Position{Version: 50}, Oplog: Oplog{Last: 60},
		Peers: []Peer{{ID: "a", Role: "leader", Received: 200, Applied: 200}, {ID: "c", Role: "follower", Received: 300}}}
	own := func() ServerInfo {
		for _, row := range ServersOf(s).Servers {
			if row.Self {
				return row
			}
		}
		t.Fatal("no row of its own")
		return ServerInfo{}
	}
	if r := own(); r.LagOps != 150 || r.SyncPercent != 25 || r.Received != 60 || r.Applied != 50 || r.Leader {
		t.Errorf("behind: %+v", r)
	}
	s.Progress = &Progress{Percent: 40}
	if r := own(); r.SyncPercent != 40 {
		t.Errorf("with a copy: %+v", r)
	}
	s.Progress, s.Position.Version = nil, 200
	if r := own(); r.LagOps != 0 || r.SyncPercent != 100 {
		t.Errorf("with everything: %+v", r)
	}
	s.Role, s.LeaderID, s.Position.Version = "leader", "b", 50
	if r := own(); r.LagOps != 0 || r.SyncPercent != 100 || !r.Leader {
		t.Errorf("of a leader: %+v", r)
	}
}
