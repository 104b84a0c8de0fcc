package admin

import "time"

// ScrubLine is one line of the answer of /v1/scrub: one of the fields is set. The last
// line of a scrub that came to its end is its result.
type ScrubLine struct {
	Progress *Progress    `json:"progress,omitempty"`
	Damage   *ScrubDamage `json:"damage,omitempty"`
	Result   *ScrubResult `json:"result,omitempty"`
}

// ScrubDamage is one thing that is not as it was written.
type ScrubDamage struct {
	// Kind: log, chunk, pack, index, content, file.
	Kind  string `json:"kind"`
	What  string `json:"what"`  // for people: frame 5 to 7, chunk ...
	Where string `json:"where"` // file and offset, or inode and range
	// Paths are files concerned, relative to the root of the volume, as far as that is
	// known; not all of them if there are many.
	Paths    []string `json:"paths,omitempty"`
	Repaired bool     `json:"repaired"`
	Error    string   `json:"error"` // what is wrong, and why it was not repaired
}

// ScrubResult is the end of a scrub.
type ScrubResult struct {
	Time       time.Time `json:"time"` // of its end
	Seconds    float64   `json:"seconds"`
	Repair     bool      `json:"repair"`
	Frames     uint64    `json:"frames"`
	LogBytes   uint64    `json:"log_bytes"`
	Chunks     uint64    `json:"chunks"`
	ChunkBytes uint64    `json:"chunk_bytes"`
	Records    uint64    `json:"index_records"`
	Extents    uint64    `json:"extents"`
	Files      uint64    `json:"files"` // that were read whole
	FileBytes  uint64    `json:"file_bytes"`
	Damaged    uint64    `json:"damaged"`
	Repaired   uint64    `json:"repaired"`
	Left       uint64    `json:"left"` // damage that is still there
	// Notes say what could not be checked on this node.
	Notes []string `json:"notes,omitempty"`
}
