package admin

import (
	"math"
	"slices"
	"time"

	"wolfdisk/volume"
)

// SchemaVersion is that of every answer under /v1. Fields are added without a new
// one; a new one means that something changed its meaning.
const SchemaVersion = 1

// Status is what a node says about itself. The names are a promise to scripts.
// IDs and digests are hex, and empty until they are known; versions are numbers.
type Status struct {
	SchemaVersion  int      `json:"schema_version"`
	ClusterID      string   `json:"cluster_id"`
	VolumeID       string   `json:"volume_id"`
	NodeID         string   `json:"node_id"`
	Software       string   `json:"software"`
	Role           string   `json:"role"`  // leader, follower; empty until known
	State          string   `json:"state"` // a word for people and scripts: starting, syncing, live, ...
	LeaderID       string   `json:"leader_id"`
	Position       Position `json:"position"`
	DurableVersion uint64   `json:"durable_version"`
	Oplog          Oplog    `json:"oplog"`
	// Chunks is null on a node with storage = "dir".
	Chunks *Chunks `json:"chunks"`
	Files  uint64  `json:"files"`
	Bytes  uint64  `json:"bytes"`
	Mount  Mount   `json:"mount"`
	// S3 is the gateway that serves clients; null if there is none.
	S3            *S3       `json:"s3"`
	ConflictsOpen int       `json:"conflicts_open"`
	Warnings      []Warning `json:"warnings"`
	Peers         []Peer    `json:"peers"`
	// Progress is that of a scan or a sync; null if there is none.
	Progress *Progress `json:"progress"`
	// Verify is the result of the last comparison since the daemon's start; null if
	// there was none.
	Verify *VerifyResult `json:"verify"`
}

// Progress is how far something long has come. All* are 0 while they are not known.
type Progress struct {
	Phase          string  `json:"phase"`
	Path           string  `json:"path"` // worked at now
	Files          uint64  `json:"files"`
	AllFiles       uint64  `json:"all_files"`
	Bytes          uint64  `json:"bytes"`
	AllBytes       uint64  `json:"all_bytes"`
	Percent        float64 `json:"percent"`
	Seconds        float64 `json:"seconds"`
	ETASeconds     float64 `json:"eta_seconds"`
	FilesPerSecond float64 `json:"files_per_second"`
	BytesPerSecond float64 `json:"bytes_per_second"`
}

// Position is a volume.Position as JSON.
type Position struct {
	Epoch       uint64 `json:"epoch"`
	EpochLeader string `json:"epoch_leader"`
	Version     uint64 `json:"version"`
	Digest      string `json:"digest"`
}

// PositionOf converts a position.
func PositionOf(p volume.Position) Position {
	return Position{Epoch: p.Epoch.Number, EpochLeader: p.Epoch.Leader, Version: uint64(p.Version), Digest: p.Digest.String()}
}

// HexID is an ID's hex form; empty if the ID was never set.
func HexID(id volume.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// Oplog is what the log holds. First and Last are 0 if it is empty.
type Oplog struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Bytes uint64 `json:"bytes"` // on disk
}

// Chunks is what a chunk store holds. Without dedup_hits it would have put as many chunks
// more since the daemon was started.
type Chunks struct {
	Count       uint64 `json:"count"`
	Bytes       uint64 `json:"bytes"`        // of content
	StoredBytes uint64 `json:"stored_bytes"` // what it takes, compressed
	DedupHits   uint64 `json:"dedup_hits"`
	Marked      uint64 `json:"marked"` // found unused, to be removed after the grace time
	Packs       uint64 `json:"packs"`
	PackBytes   uint64 `json:"pack_bytes"` // of the files
	DeadBytes   uint64 `json:"dead_bytes"` // of them, that hold nothing any more
}

// Mount is the node's mount; both are empty without one.
type Mount struct {
	Path   string `json:"path"`
	Driver string `json:"driver"`
}

// S3 is the S3 gateway.
type S3 struct {
	Address string `json:"address"`
	TLS     bool   `json:"tls"`
}

// Warning is a state that is not as it should be and wants somebody's attention;
// it goes away by itself when the state does. Warnings make `wolfdiskctl status`
// end with exit code 4, so what only deserves to be mentioned goes to the log.
type Warning struct {
	Code string `json:"code"` // stable: WD- and four digits
	Text string `json:"text"`
	Hint string `json:"hint"` // what to do next
}

// PeerDisconnected is the state of a peer without a session. Its lag goes on growing.
const PeerDisconnected = "disconnected"

// Peer is another node as this one sees it. Lag is how far it is behind the
// leader; of the leader itself it is 0. What a leader says of its followers is how they are now; of
// others received and applied are as last heard, a moment ago, and durable as it was when they met.
type Peer struct {
	ID          string  `json:"id"`
	Address     string  `json:"address"`
	Role        string  `json:"role"`
	State       string  `json:"state"`
	Software    string  `json:"software"`
	Received    uint64  `json:"received"`
	Applied     uint64  `json:"applied"`
	Durable     uint64  `json:"durable"`
	LagOps      uint64  `json:"lag_ops"`
	LagBytes    uint64  `json:"lag_bytes"`
	LagSeconds  float64 `json:"lag_seconds"`
	SyncPercent float64 `json:"sync_percent"`
	// ContentBytes is what the peer has sent of the content of copies that this node makes,
	// since the node's start.
	ContentBytes uint64 `json:"content_bytes"`
	// Progress is that of a snapshot which the peer takes from this node; absent
	// otherwise.
	Progress *Progress `json:"progress,omitempty"`
}

// complete makes the status one that can be encoded and that scripts can index.
func (s *Status) complete() {
	s.SchemaVersion = SchemaVersion
	if s.Warnings == nil {
		s.Warnings = []Warning{}
	}
	s.Peers = slices.Clone(s.Peers)
	if s.Peers == nil {
		s.Peers = []Peer{}
	}
	for i := range s.Peers {
		s.Peers[i].LagSeconds = finite(s.Peers[i].LagSeconds)
		s.Peers[i].SyncPercent = finite(s.Peers[i].SyncPercent)
	}
	slices.SortFunc(s.Peers, func(a, b Peer) int { return volume.CompareNodeIDs(a.ID, b.ID) })
}

// finite keeps a ratio of two zeros from making the whole answer impossible.
func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// Degraded reports whether somebody should look.
func (s *Status) Degraded() bool { return s.ConflictsOpen > 0 || len(s.Warnings) > 0 }

// Servers lists the nodes of the cluster as one of them sees it.
type Servers struct {
	SchemaVersion int          `json:"schema_version"`
	Servers       []ServerInfo `json:"servers"`
}

// ServerInfo is one node.
type ServerInfo struct {
	Peer
	Self   bool `json:"self"`
	Leader bool `json:"leader"`
}

// ServersOf lists the node itself and its peers, in the order of their IDs.
func ServersOf(s Status) Servers {
	s.complete()
	self := Peer{ID: s.NodeID, Role: s.Role, State: s.State, Software: s.Software,
		Received: s.Oplog.Last, Applied: s.Position.Version, Durable: s.DurableVersion, SyncPercent: 100}
	for i := range s.Peers {
		if p := &s.Peers[i]; p.ID == s.LeaderID && p.Received > self.Applied {
			self.LagOps = p.Received - self.Applied
			self.SyncPercent = 100 * float64(self.Applied) / float64(p.Received)
		}
	}
	if s.Progress != nil && s.Role != "leader" { // of a copy that is being made
		self.SyncPercent = finite(s.Progress.Percent)
	}
	list := []ServerInfo{{Peer: self, Self: true, Leader: s.NodeID != "" && s.NodeID == s.LeaderID}}
	for _, p := range s.Peers {
		list = append(list, ServerInfo{Peer: p, Leader: p.ID == s.LeaderID})
	}
	slices.SortStableFunc(list, func(a, b ServerInfo) int { return volume.CompareNodeIDs(a.ID, b.ID) })
	return Servers{SchemaVersion, list}
}

// Stats are the numbers to watch. Rates are the reader's business: take two.
type Stats struct {
	SchemaVersion  int       `json:"schema_version"`
	Time           time.Time `json:"time"`
	UptimeSeconds  float64   `json:"uptime_seconds"`
	NodeID         string    `json:"node_id"`
	Role           string    `json:"role"`
	State          string    `json:"state"`
	Version        uint64    `json:"version"`
	DurableVersion uint64    `json:"durable_version"`
	OplogBytes     uint64    `json:"oplog_bytes"`
	Files          uint64    `json:"files"`
	Bytes          uint64    `json:"bytes"`
	Peers          int       `json:"peers"`
	MaxLagOps      uint64    `json:"max_lag_ops"`
	MaxLagBytes    uint64    `json:"max_lag_bytes"`
	MaxLagSeconds  float64   `json:"max_lag_seconds"`
	Goroutines     uint64    `json:"goroutines"`
	HeapBytes      uint64    `json:"heap_bytes"`
	MemoryBytes    uint64    `json:"memory_bytes"` // all that the process got from the system
}

func statsOf(s Status, now time.Time, uptime time.Duration) Stats {
	s.complete()
	st := Stats{SchemaVersion: SchemaVersion, Time: now.UTC(), UptimeSeconds: uptime.Seconds(), NodeID: s.NodeID, Role: s.Role, State: s.State,
		Version: s.Position.Version, DurableVersion: s.DurableVersion, OplogBytes: s.Oplog.Bytes, Files: s.Files, Bytes: s.Bytes, Peers: len(s.Peers)}
	for _, p := range s.Peers {
		st.MaxLagOps = max(st.MaxLagOps, p.LagOps)
		st.MaxLagBytes = max(st.MaxLagBytes, p.LagBytes)
		st.MaxLagSeconds = max(st.MaxLagSeconds, p.LagSeconds)
	}
	return st
}

// Readiness is the answer of /readyz.
type Readiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason"` // what is missing; empty if ready
}

// Stopping is the answer of /v1/stop.
type Stopping struct {
	Stopping bool `json:"stopping"`
	PID      int  `json:"pid"` // as the daemon sees itself
}
