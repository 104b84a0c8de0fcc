package admin

// Resync is the answer to the verb resync.
type Resync struct {
	Leader  string `json:"leader"`
	Version uint64 `json:"version"` // of the copy that is replaced, as are the next two
	Files   uint64 `json:"files"`
	Bytes   uint64 `json:"bytes"`
	Full    bool   `json:"full"`
	DryRun  bool   `json:"dry_run"`
	// Of a dry run: what the leader has, which is what would be copied; without Full at most, since
	// content that is here already does not travel.
	LeaderVersion uint64 `json:"leader_version,omitempty"`
	LeaderFiles   uint64 `json:"leader_files,omitempty"`
	LeaderBytes   uint64 `json:"leader_bytes,omitempty"`
}
