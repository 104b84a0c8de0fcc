package admin

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// ConflictLine is one line of what the verbs about conflicts answer: one of its fields is set. A
// record comes before its entries; a result is the last line, unless there is an error.
type ConflictLine struct {
	Record   *ConflictRecord   `json:"record,omitempty"`
	Entry    *ConflictEntry    `json:"entry,omitempty"`
	Compared *ConflictCompared `json:"compared,omitempty"`
	Note     *ConflictNote     `json:"note,omitempty"`
	Progress *Progress         `json:"progress,omitempty"`
	Result   *ConflictResult   `json:"result,omitempty"`
}

// ConflictRecord is what a fork, or an edit, left on the node that lost.
type ConflictRecord struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // fork, edits
	Created time.Time `json:"created"`
	Node    string    `json:"node_id"`
	Winner  string    `json:"winner_id"`
	Why     string    `json:"why"`
	// Common is the last version that both histories have.
	Common uint64   `json:"common"`
	Mine   Position `json:"mine"`
	Theirs Position `json:"theirs"`
	// OpsFrom is the version of the first op that is kept; 0 if none is.
	OpsFrom     uint64 `json:"ops_from"`
	OpsComplete bool   `json:"ops_complete"`
	Lean        bool   `json:"lean"`
	Ops         uint64 `json:"ops"`
	Entries     uint64 `json:"entries"`
	Removed     uint64 `json:"removed"`
	Transient   uint64 `json:"transient"`
	Bytes       uint64 `json:"bytes"`
	BaseBytes   uint64 `json:"base_bytes"`
	Unreadable  uint64 `json:"unreadable_bytes"`
	// Error says why the record cannot be used; empty if it can.
	Error string `json:"error"`
}

// ConflictPath is a path of the volume. Raw is set where it is no text.
type ConflictPath struct {
	Path string `json:"path"`
	Raw  []byte `json:"raw_path,omitempty"`
}

// PathOf makes a path one that JSON can carry.
func PathOf(path string) ConflictPath {
	if utf8.ValidString(path) {
		return ConflictPath{Path: path}
	}
	return ConflictPath{strconv.Quote(path), []byte(path)}
}

// ConflictEntry is one inode of the losing copy in its last state.
type ConflictEntry struct {
	Paths   []ConflictPath `json:"paths"`   // at the end
	Before  []ConflictPath `json:"before"`  // at the common version, as far as they are known
	Removed []ConflictPath `json:"removed"` // of them, those that it lost
	Ino     uint64         `json:"ino"`
	What    []string       `json:"what"` // created, content, attributes, xattrs, names, entries, ended, found, edited
	Kind    string         `json:"kind"` // file, directory, symlink, ...; unknown of what is gone
	First   uint64         `json:"first_op"`
	Last    uint64         `json:"last_op"`
	Ops     uint64         `json:"ops"`
	Known   bool           `json:"known"` // the rest is its state
	Mode    string         `json:"mode,omitempty"`
	UID     uint32         `json:"uid"`
	GID     uint32         `json:"gid"`
	Nlink   uint32         `json:"nlink"`
	Size    int64          `json:"size"`
	Mtime   *time.Time     `json:"mtime,omitempty"`
	Ctime   *time.Time     `json:"ctime,omitempty"`
	Target  *ConflictPath  `json:"target,omitempty"`
	Xattrs  []string       `json:"xattrs,omitempty"` // names
	Content string         `json:"content"`          // none, whole, ranges
	Bytes   uint64         `json:"bytes"`
	// BaseBytes are those of which only the hash is kept, since the fork did not change them.
	BaseBytes  uint64 `json:"base_bytes"`
	Unreadable uint64 `json:"unreadable_bytes"`
}

// ConflictCompared is one path of a record beside the present tree.
type ConflictCompared struct {
	ConflictPath
	Removed bool          `json:"removed"` // the fork took this name away
	State   string        `json:"state"`   // same, differs, missing, displaced
	Fields  []string      `json:"fields"`
	Now     *ConflictPath `json:"now,omitempty"` // where the inode is now
}

// ConflictNote is something about one path that somebody should know.
type ConflictNote struct {
	ConflictPath
	Kind string `json:"kind"` // partial, refused, beside
	Text string `json:"text"`
}

// ConflictResult counts what was done: of a comparison the first four, of a restore the rest.
type ConflictResult struct {
	ID        string `json:"id"`
	Same      uint64 `json:"same"`
	Differs   uint64 `json:"differs"`
	Missing   uint64 `json:"missing"`
	Displaced uint64 `json:"displaced"`
	Dir       string `json:"dir,omitempty"`
	Written   uint64 `json:"written"` // names other than of directories
	Folders   uint64 `json:"folders"`
	Kept      uint64 `json:"kept"`
	Beside    uint64 `json:"beside"`
	Bytes     uint64 `json:"bytes"`
	Partial   uint64 `json:"partial"`
	Refused   uint64 `json:"refused"`
	// Open is the number of records that are left, of a drop.
	Open int `json:"open"`
}
