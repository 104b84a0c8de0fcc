package node

import (
	"context"
	"fmt"
	"time"

	"wolfdisk/node/admin"
)

const (
	// tellEvery is how often the manager hears what the node is doing, and at least
	// how often it hears that the node is not stuck.
	tellEvery = 2 * time.Second
	// usablePoll is the first pause of a starting node between two looks at whether it
	// is usable. Later ones are a tenth of the time it has taken so far, so that the
	// news is never late by more than that, and waiting for days costs nothing.
	usablePoll = 10 * time.Millisecond
)

// tellManager tells the service manager when the node has become usable, and from then
// on what it is doing. The watchdog is fed only by a status that was answered, which
// takes the locks that the node's work takes: a node that is stuck on them is silent.
func (n *node) tellManager(ctx context.Context) {
	every := tellEvery
	if w := n.manager.Watchdog(); w > 0 {
		every = min(every, w/2)
	}
	for ready := false; ; {
		pause := every
		if !ready {
			pause = min(max(usablePoll, time.Since(n.started)/10), every)
		}
		if !ready && n.usable() {
			n.manager.Ready()
			ready, pause = true, every
		}
		n.manager.Status(summary(n.Status(ctx)))
		n.manager.Alive()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// usable reports whether the node does what it was started for: it leads or follows,
// and is mounted if it is to be. Unlike Ready it asks for no lag and no leader: a
// follower serves what it has.
func (n *node) usable() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	works := n.phase == phaseLeading || n.phase == phaseFollowing
	return works && (n.cfg.Mount.Dir == "" || n.mount != nil)
}

// summary is a status in a line. It changes seldom while the node is at rest.
func summary(s admin.Status) string {
	text := s.State
	if p := s.Progress; p != nil {
		text += ": " + p.Phase
		switch {
		case p.Percent > 0:
			text += fmt.Sprintf(" %.1f %%", p.Percent)
		case p.Files > 0:
			text += fmt.Sprintf(" %d files", p.Files)
		}
		return text
	}
	connected := 0
	for _, p := range s.Peers {
		if p.State != admin.PeerDisconnected {
			connected++
		}
	}
	text += fmt.Sprintf(", version %d, %d of %d peers connected", s.Position.Version, connected, len(s.Peers))
	if len(s.Warnings) > 0 {
		text += fmt.Sprintf(", %d warnings", len(s.Warnings))
	}
	return text
}
