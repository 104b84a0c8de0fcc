package admin

// ReconcileLine is one line of the answer of /v1/reconcile: one of the fields is set. The
// last line of a reconcile that came to its end is its result.
type ReconcileLine struct {
	Progress   *Progress            `json:"progress,omitempty"`
	Difference *ReconcileDifference `json:"difference,omitempty"`
	Result     *ReconcileResult     `json:"result,omitempty"`
}

// ReconcileDifference is something that the real directory had otherwise than the index,
// and that was recorded.
type ReconcileDifference struct {
	// Path is relative to the root of the volume, which itself is "."; RawPath its
	// bytes where they are no UTF-8.
	Path    string `json:"path"`
	RawPath []byte `json:"raw_path,omitempty"`
	Kind    string `json:"kind"`             // missing, extra, other type, replaced, changed
	Fields  string `json:"fields,omitempty"` // of a changed one
}

// ReconcileResult is the end of a reconcile.
type ReconcileResult struct {
	Path        string  `json:"path"` // what was compared; "." is everything
	Seconds     float64 `json:"seconds"`
	Names       uint64  `json:"names"` // compared, those of later rounds again
	Differences uint64  `json:"differences"`
	Ops         uint64  `json:"ops"` // recorded
}
