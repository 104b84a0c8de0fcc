package admin

// ExportLine is one line of what the verb export answers: one of its fields is set. The
// last line is the result, unless there is an error.
type ExportLine struct {
	Progress *Progress     `json:"progress,omitempty"`
	Note     *ExportNote   `json:"note,omitempty"`
	Result   *ExportResult `json:"result,omitempty"`
}

// ExportNote is something about one path that somebody should know.
type ExportNote struct {
	// Kind is "failed": could not be read; "refused": the file system does not take
	// something of it; "left": was not made by the export and is left alone.
	Kind string `json:"kind"`
	Path string `json:"path"`
	Text string `json:"text"`
	// RawPath is the path where it is no text.
	RawPath []byte `json:"raw_path,omitempty"`
}

// ExportResult counts what an export did.
type ExportResult struct {
	Dir     string  `json:"dir"`
	Version uint64  `json:"version"`
	Folders uint64  `json:"folders"`
	Written uint64  `json:"written"` // names other than of directories
	Kept    uint64  `json:"kept"`
	Removed uint64  `json:"removed"`
	Bytes   uint64  `json:"bytes"` // of content, written
	Failed  uint64  `json:"failed"`
	Refused uint64  `json:"refused"`
	Left    uint64  `json:"left"`
	Seconds float64 `json:"seconds"`
}
