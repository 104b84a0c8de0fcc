package admin

import "time"

// VerifyLine is one line of the answer of /v1/verify: one of the fields is set. The last
// line of a comparison that came to its end is its result.
type VerifyLine struct {
	Progress   *Progress         `json:"progress,omitempty"`
	Difference *VerifyDifference `json:"difference,omitempty"`
	Skipped    *VerifySkipped    `json:"not_compared,omitempty"`
	Result     *VerifyResult     `json:"result,omitempty"`
}

// VerifyDifference is one way in which a node's copy is not equal to the leader's, or
// not what it should be by itself.
type VerifyDifference struct {
	// Path is relative to the root of the volume, which itself is "."; RawPath its
	// bytes where they are no UTF-8.
	Path    string `json:"path"`
	RawPath []byte `json:"raw_path,omitempty"`
	// Kind: missing, extra, inode, type, mode, owner, device, links, size, atime, mtime,
	// ctime, btime, version, parent, target, xattr, order, content, unreadable, directory,
	// history.
	Kind   string `json:"kind"`
	Node   string `json:"node"`
	Detail string `json:"detail"` // for people
}

// VerifySkipped is something that could not be compared: a node, or a file.
type VerifySkipped struct {
	Path    string `json:"path,omitempty"` // empty: the whole node
	RawPath []byte `json:"raw_path,omitempty"`
	Node    string `json:"node,omitempty"` // empty: on any node
	Reason  string `json:"reason"`
}

// VerifyNode is what a comparison found about one node.
type VerifyNode struct {
	ID       string `json:"id"`
	Compared bool   `json:"compared"`
	Reason   string `json:"reason,omitempty"` // why not
}

// VerifyResult is the end of a comparison, and what status remembers of the last one.
type VerifyResult struct {
	Time      time.Time    `json:"time"` // of its end
	Seconds   float64      `json:"seconds"`
	Version   uint64       `json:"version"` // at which names and attributes were compared
	Path      string       `json:"path"`    // what was compared; empty: everything
	NamesOnly bool         `json:"names_only"`
	Nodes     []VerifyNode `json:"nodes"`
	Names     uint64       `json:"names"` // seen on the leader
	Files     uint64       `json:"files"` // whose content was compared
	Bytes     uint64       `json:"bytes"` // size of these
	// Differences counts them all; Shown are the first ones, in status only.
	Differences uint64             `json:"differences"`
	Shown       []VerifyDifference `json:"shown,omitempty"`
	// NotCompared counts files and nodes that could not be.
	NotCompared uint64 `json:"not_compared"`
}

// Equal reports whether everything was compared and found equal.
func (r *VerifyResult) Equal() bool { return r.Differences == 0 && r.NotCompared == 0 }

// PathText splits a path into what JSON can carry, and its bytes if that is not all. A
// path that is longer than any system call takes is shortened.
func PathText(path string) (text string, raw []byte) {
	const longest = 16 << 10
	if path == "" {
		path = "."
	}
	if len(path) > longest {
		path = path[:longest] + "..."
	}
	return nameText(path)
}
