package node

import (
	"context"
	"net/http"

	"wolfdisk/node/admin"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// answer answers what other nodes ask, whatever role this one has.
func (n *node) answer(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	switch kind {
	case volume.RequestContent:
		return n.answerContent(ctx, body, w)
	case volume.RequestFrame:
		return n.answerFrame(body, w)
	case volume.RequestRanges:
		return n.answerRanges(ctx, body, w)
	case volume.RequestSync:
		return n.answerSync(ctx, body, w)
	case volume.RequestForward:
		return n.answerForward(ctx, "", body, w)
	case volume.RequestCounts:
		return n.answerCounts(w)
	case volume.RequestDigest:
		return n.answerDigest(ctx, body, w)
	default:
		return volume.Errorf(volume.Unsupported, "request kind %d is not answered here", kind)
	}
}

// verbs are what the tools can ask this node to do.
func (n *node) verbs() map[string]admin.Verb {
	return n.conflictVerbs(map[string]admin.Verb{
		"gc":        {Method: http.MethodPost, Params: []string{"dry_run", "now"}, Run: n.gcVerb},
		"export":    {Method: http.MethodPost, Params: []string{"dir", "jobs", "incremental"}, Run: n.exportVerb},
		"reconcile": {Method: http.MethodPost, Params: []string{"path", "confirm_deletes"}, Run: n.reconcileVerb},
		"scrub":     {Method: http.MethodPost, Params: []string{"repair", "read_files", "rate"}, Run: n.scrubVerb},
		"verify":    {Method: http.MethodGet, Params: []string{"path", "names_only", "connected"}, Run: n.verifyVerb},
		"promote":   {Method: http.MethodPost, Params: []string{"allow_data_loss"}, Run: n.promoteVerb},
		"demote":    {Method: http.MethodPost, Params: []string{"allow_data_loss"}, Run: n.demoteVerb},
		"handover":  {Method: http.MethodPost, Params: []string{"to"}, Run: n.handoverVerb},
		"members":   {Method: http.MethodGet, Run: n.membersVerb},
		"member":    {Method: http.MethodPost, Params: []string{"do", "id", "address"}, Run: n.memberVerb},
		"resync":    {Method: http.MethodPost, Params: []string{"full", "dry_run"}, Run: n.resyncVerb},
	})
}
