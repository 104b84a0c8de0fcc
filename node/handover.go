package node

import (
	"context"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// handOver has another node lead before this one stops, if it leads and there is one that can.
func (n *node) handOver(ctx context.Context) {
	if n.elector == nil || n.leading() == nil || n.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Node.StopTimeout/2)
	defer cancel()
	err := n.elector.askAgain(ctx, func(id uint64) elect.Event { return elect.Handover{Request: id, For: askedFor} })
	switch {
	case err == nil:
		n.log.Info().Msg("handed over")
	case volume.KindOf(err) == volume.Precondition:
		n.log.Info().Str("why", err.Error()).Msg("nobody takes over")
	default:
		n.log.Warn().Err(err).Str("code", "WD-1341").Msg("could not hand over before the stop; another node takes over when this one is silent")
	}
}
