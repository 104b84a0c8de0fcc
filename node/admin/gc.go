package admin

// GCLine is a line of the answer of the verb gc: a phase that begins, or the result, which
// is the last.
type GCLine struct {
	Phase  string    `json:"phase,omitempty"`
	Result *GCResult `json:"result,omitempty"`
}

// GCResult says what a collection of chunks did, or with DryRun what it would do.
type GCResult struct {
	DryRun       bool  `json:"dry_run"`
	Files        int   `json:"files"`         // whose scattered content was put together
	MovedBytes   int64 `json:"moved_bytes"`   // of content, by that and out of chunks that are mostly unused
	Chunks       int   `json:"chunks"`        // looked at
	Live         int   `json:"live"`          // of them in use
	Kept         int   `json:"kept"`          // not in use, but too young, or pinned
	Marked       int   `json:"marked"`        // found unused for the first time
	Removed      int   `json:"removed"`       // forgotten
	RemovedBytes int64 `json:"removed_bytes"` // of their records
	Packs        int   `json:"packs"`         // removed
	CopiedBytes  int64 `json:"copied_bytes"`  // out of them
	FreedBytes   int64 `json:"freed_bytes"`   // of files
	DeadBytes    int64 `json:"dead_bytes"`    // in packs that stay
}
