package admin

// RoleLine is the answer to the verbs promote, demote and handover: what the node is now.
type RoleLine struct {
	NodeID   string `json:"node_id"`
	Role     string `json:"role"`
	Phase    string `json:"phase"`
	LeaderID string `json:"leader_id"`
	Epoch    string `json:"epoch,omitempty"`
	Version  uint64 `json:"version"`
	// Unseen are the members that were away when data loss was allowed: what only they hold
	// is left behind, and becomes a conflict when they return.
	Unseen []AbsentMember `json:"unseen,omitempty"`
	// GivenUp is the version of an unfinished copy that was given up for an older, whole one, when
	// data loss was allowed; 0 if there was none.
	GivenUp uint64 `json:"given_up,omitempty"`
}

// AbsentMember is a member that cannot be reached, and the version it was last known to hold; 0 if
// it was not heard since the start.
type AbsentMember struct {
	ID      string `json:"id"`
	Version uint64 `json:"version"`
}

// MemberLine is a line of the answer to the verb members, and the answer to member.
type MemberLine struct {
	ID        string `json:"id"`
	Role      string `json:"role"`
	Address   string `json:"address"`
	StoreID   string `json:"store_id,omitempty"`
	Self      bool   `json:"self"`
	Connected bool   `json:"connected"`
	Counts    bool   `json:"counts"` // for a majority
	Removed   bool   `json:"removed"`
}
