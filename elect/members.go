package elect

import (
	"slices"

	"wolfdisk/volume"
)

// Members is what the cluster remembers of its nodes.
type Members []volume.Member

// Get finds a member that is not removed.
func (l Members) Get(id string) (volume.Member, bool) {
	for _, m := range l {
		if m.ID == id && !m.Removed {
			return m, true
		}
	}
	return volume.Member{}, false
}

// removed reports whether the cluster was told to forget a node.
func (l Members) removed(id string) bool {
	return slices.ContainsFunc(l, func(m volume.Member) bool { return m.ID == id && m.Removed })
}

// others reports whether the cluster knows another node than one.
func (l Members) others(self string) bool {
	return slices.ContainsFunc(l, func(m volume.Member) bool { return !m.Removed && m.ID != self })
}

// Voters are the IDs of the members that count for a majority, in natural order: all but
// clients. A witness counts.
func (l Members) Voters() []string {
	var ids []string
	for _, m := range l {
		if !m.Removed && m.Role != volume.RoleClient {
			ids = append(ids, m.ID)
		}
	}
	slices.SortFunc(ids, volume.CompareNodeIDs)
	return ids
}

// couldLead are the members other than self that may have led while self was away.
func (l Members) couldLead(self string) []string {
	return l.ofRoles(self, volume.RoleAuto, volume.RoleLeader)
}

// neverLead are the members other than self that hold a copy and may not lead.
func (l Members) neverLead(self string) []string {
	return l.ofRoles(self, volume.RoleFollower)
}

func (l Members) ofRoles(self string, roles ...volume.Role) []string {
	var ids []string
	for _, m := range l {
		if !m.Removed && m.ID != self && slices.Contains(roles, m.Role) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// DurableQuorum is how many stores, the leader's among them, must have an op on disk
// before fsync returns on level Durable: so many that every majority of members, of
// which at least the claimant has a store, includes one of them. It is a majority of stores at
// least. Stores are members with a copy: neither witnesses nor clients.
func (l Members) DurableQuorum() int {
	voters, stores := 0, 0
	for _, m := range l {
		switch {
		case m.Removed || m.Role == volume.RoleClient:
		case m.Role == volume.RoleWitness:
			voters++
		default:
			voters++
			stores++
		}
	}
	if stores == 0 {
		return 1
	}
	claim := voters/2 + 1
	least := max(1, claim-(voters-stores)) // stores in the smallest claim
	return max(stores/2+1, stores-least+1)
}

// Before orders candidates: role leader first, then the lower ID.
func Before(aRole volume.Role, a string, bRole volume.Role, b string) bool {
	if aLeader, bLeader := aRole == volume.RoleLeader, bRole == volume.RoleLeader; aLeader != bLeader {
		return aLeader
	}
	return volume.CompareNodeIDs(a, b) < 0
}
