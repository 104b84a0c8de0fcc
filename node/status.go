package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"wolfdisk/elect"
	"wolfdisk/master"
	"wolfdisk/node/admin"
	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// codeConflict is the code of open conflicts.
const codeConflict = "WD-1347"

// Status implements admin.Source.
func (n *node) Status(context.Context) admin.Status {
	st := n.state.Get()
	n.mu.Lock()
	store, leader, ph, mount := n.store, n.leader, n.phase, n.mount
	s := admin.Status{State: string(ph), Progress: n.progress.show(), Verify: n.verify.last.Load()}
	n.mu.Unlock()
	s.Warnings = n.warnings.list(time.Now())
	s.ClusterID, s.VolumeID = admin.HexID(st.Cluster), admin.HexID(st.Volume)
	s.NodeID, s.Software = n.cfg.Node.ID, "wolfdisk "+n.version
	if s.ConflictsOpen = n.conflicts.Count(); s.ConflictsOpen > 0 {
		s.Warnings = append(s.Warnings, admin.Warning{Code: codeConflict, Text: fmt.Sprintf("%d conflicts are open: what only this node had when its copy lost a fork", s.ConflictsOpen),
			Hint: "wolfdiskctl conflicts list; restore what is wanted, then drop them"})
	}
	if n.gateway != nil && n.gateway.Address() != "" {
		s.S3 = &admin.S3{Address: n.gateway.Address(), TLS: n.gateway.TLS()}
	}
	if mount != nil {
		s.Mount = admin.Mount{Path: n.cfg.Mount.Dir, Driver: mount.Driver()}
	}
	if store != nil {
		pos, _ := store.position()
		if f := n.following(); f != nil && leader == nil {
			if _, seen, _ := f.Progress(); seen < pos.Version {
				pos = store.positionAt(seen)
			}
		}
		s.Position = admin.PositionOf(pos)
		s.DurableVersion = uint64(store.log.Durable())
		s.Oplog = admin.Oplog{First: uint64(store.log.First()), Last: uint64(store.log.Last().Version), Bytes: uint64(store.log.Bytes())}
		s.Files, s.Bytes = store.engine.Counts()
		s.Chunks = chunkStatus(store)
	}
	switch {
	case leader != nil:
		s.Role, s.LeaderID = "leader", n.cfg.Node.ID
		if err := leader.Failed(); err != nil {
			s.Warnings = append(s.Warnings, admin.Warning{Code: "WD-1001", Text: err.Error(), Hint: "free space or repair the disk, then restart the daemon"})
		}
	case n.isWitness():
		s.Role = "witness"
	default:
		s.Role = "follower"
	}
	s.Peers = n.peerStatus(&s)
	return s
}

func (n *node) peerStatus(s *admin.Status) []admin.Peer {
	var out []admin.Peer
	content := n.sources.all()
	n.mu.Lock()
	obeyed := n.reign.leader
	n.mu.Unlock()
	if obeyed != "" {
		s.LeaderID = obeyed
	}
	beats := n.heard()
	last := s.Oplog.Last // of the leader, as far as is known here
	if s.Role != "leader" {
		last = max(last, uint64(beats[obeyed].Position.Version))
	}
	for _, p := range n.peers.list() {
		beat := beats[p.hello.NodeID]
		a := admin.Peer{ID: p.hello.NodeID, Address: p.address, Role: "follower", State: admin.PeerDisconnected, Software: p.hello.Software,
			ContentBytes: content[p.hello.NodeID]}
		if p.hello.Role == volume.RoleWitness {
			a.Role = "witness"
		}
		if p.session != nil {
			a.State = "connected"
			if p.hello.NodeID == obeyed {
				a.Role = "leader"
				a.SyncPercent = 100
			}
		}
		// Where it was when the session began, by its last heartbeat, and, of a leader, what it has sent.
		at := max(uint64(p.hello.Position.Version), uint64(beat.Position.Version))
		if a.Role == "leader" && p.session != nil {
			at = max(at, s.Oplog.Last)
		}
		a.Received, a.Applied, a.Durable = at, at, uint64(p.hello.Durable)
		if !p.hello.Consistent && !beat.Consistent { // nothing of its copy is to be seen
			a.Applied = 0
		}
		if a.Role == "follower" && last > a.Applied { // unless it says more, below
			a.LagOps = last - a.Applied
		}
		if g, known := p.lag(); known {
			a.Received, a.Applied, a.Durable = uint64(g.Received), uint64(g.Applied), uint64(g.Durable)
			a.LagOps, a.LagBytes, a.LagSeconds = g.Ops, uint64(g.Bytes), g.Seconds
			if last := s.Oplog.Last; last > 0 {
				a.SyncPercent = min(100, 100*float64(a.Applied)/float64(last)) // it may have grown meanwhile
			}
			switch {
			case p.feed == nil: // away
			case g.Ops > catchingUp:
				a.State = "catching up"
			default:
				a.State = "live"
			}
		}
		if a.Progress = p.sync.show(); a.Progress != nil { // what it has is not whole, so it serves nothing of it
			a.State, a.SyncPercent = "syncing", a.Progress.Percent
			a.Applied, a.LagOps = 0, s.Oplog.Last
		}
		out = append(out, a)
	}
	return out
}

// heard is what the heartbeats of other nodes say.
func (n *node) heard() map[string]elect.PeerStatus {
	m := make(map[string]elect.PeerStatus)
	n.mu.Lock()
	e := n.elector
	n.mu.Unlock()
	if e == nil { // the volume is not open yet
		return m
	}
	if s := e.status.Load(); s != nil {
		for _, p := range s.Peers {
			m[p.ID] = p
		}
	}
	return m
}

// lag is how far a follower is behind, also one that is away: then it grows, or a dead
// follower would look like one that has everything.
func (p *peer) lag() (master.Lag, bool) {
	switch {
	case p.feed != nil:
		return p.feed.Lag(), true
	case p.session == nil && p.gone != nil:
		g := p.gone.Lag()
		if g.Ops > 0 {
			g.Seconds = p.behind + time.Since(p.lost).Seconds()
		}
		return g, true
	}
	return master.Lag{}, false
}

// askTimeout bounds the question for the leader's version.
const askTimeout = 2 * time.Second

// catchingUp is the lag in ops from which a follower is said to be catching up.
const catchingUp = 1000

// Ready implements admin.Source.
func (n *node) Ready(ctx context.Context, maxLag uint64) (bool, string) {
	n.mu.Lock()
	ph, mount := n.phase, n.mount
	n.mu.Unlock()
	switch {
	case ph == phaseStarting || ph == phaseStopping || ph == phaseWaiting || ph == phaseSyncing:
		return false, "the node is " + string(ph)
	case n.cfg.Mount.Dir != "" && mount == nil:
		return false, "the mount is not there yet"
	}
	if ph == phaseLeading {
		if err := n.leading().Failed(); err != nil {
			return false, err.Error()
		}
		for _, p := range n.peers.list() {
			switch {
			case p.session == nil || p.hello.Role == volume.RoleWitness:
			case p.feed == nil:
				return false, "follower " + p.hello.NodeID + " is joining"
			case p.sync != nil:
				return false, "follower " + p.hello.NodeID + " is making its copy"
			case p.feed.Lag().Ops > maxLag:
				return false, "follower " + p.hello.NodeID + " is behind"
			}
		}
		return true, ""
	}
	return n.followerReady(ctx, maxLag)
}

// followerReady compares this follower with its leader, which it asks.
func (n *node) followerReady(ctx context.Context, maxLag uint64) (bool, string) {
	s := n.leaderSession()
	if s == nil {
		return false, "no leader is connected"
	}
	if n.isWitness() {
		return true, ""
	}
	f := n.following()
	if f == nil {
		return false, "the volume is not open yet"
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := s.CallAll(ctx, volume.RequestPosition, nil, 8)
	if err != nil || len(answer) != 8 {
		return false, "the leader does not answer"
	}
	_, applied, _ := f.Progress()
	if at := binary.BigEndian.Uint64(answer); at > uint64(applied) && at-uint64(applied) > maxLag {
		return false, "this node is behind its leader"
	}
	return true, ""
}

// chunkStatus is what the chunk store holds; nil if there is none.
func chunkStatus(st *storage) *admin.Chunks {
	if st.chunks == nil {
		return nil
	}
	c := st.chunks.Stats()
	return &admin.Chunks{
		Count: uint64(c.Chunks), Bytes: uint64(c.RawBytes), StoredBytes: uint64(c.StoredBytes), DedupHits: c.DedupHits,
		Marked: uint64(c.Marked), Packs: uint64(c.Packs), PackBytes: uint64(c.FileBytes), DeadBytes: uint64(c.DeadBytes),
	}
}

// Ops implements admin.Source.
func (n *node) Ops(ctx context.Context, from volume.Version, follow bool, fn func(admin.OpLine) error) error {
	st := n.storage()
	if st == nil {
		return volume.Errorf(volume.Unavailable, "this node holds no volume yet")
	}
	if from == 0 {
		from = st.log.First()
	}
	if from > st.log.Last().Version+1 && !follow {
		return nil
	}
	r, err := st.log.Reader(from)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		f, ok, err := r.TryNext()
		if err == nil && !ok {
			if !follow {
				return nil
			}
			f, err = r.Next(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		_, ops, err := oplog.DecodeFrame(f.Bytes)
		if err != nil {
			return err
		}
		for _, op := range ops {
			if op.Version < from {
				continue
			}
			if err := fn(admin.OpLineOf(op)); err != nil {
				return err
			}
		}
	}
}

// Stop implements admin.Source.
func (n *node) Stop(context.Context) error {
	n.stopWith(errAskedToStop)
	return nil
}
