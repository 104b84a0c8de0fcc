package node

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"time"

	"wolfdisk/volume"
)

// hookTime bounds a hook's run.
const hookTime = time.Minute

// hooks are the programs that are to be run, one at a time and in the order in which this node took
// the roles: one that is slow would else undo what a later one has done. Of those that wait only the
// newest is run, the role of the others being over. What waits when the daemon stops is run all the same, and has
// [node] stop_timeout left, as has what runs then.
type hooks struct {
	mu      sync.Mutex
	waiting *hook
	running bool
	last    hook // that was asked for
}

// hook is a role that this node has taken.
type hook struct {
	role   string // leader, follower
	leader string // "" while there is none
	epoch  volume.Epoch
}

// runHook has the program run for a role that this node has taken. Nobody waits for it. Who follows one
// leader in one epoch begins to do so once, however often the connection is lost.
func (n *node) runHook(role, leader string, epoch volume.Epoch) {
	h := hook{role, leader, epoch}
	q := &n.hooks
	q.mu.Lock()
	defer q.mu.Unlock()
	if h == q.last {
		return
	}
	q.last = h
	if n.hookPath(role) == "" {
		return
	}
	q.waiting = &h
	if !q.running {
		q.running = true
		n.background(n.runHooks)
	}
}

func (n *node) hookPath(role string) string {
	if role == "follower" {
		return n.cfg.Hooks.OnFollower
	}
	return n.cfg.Hooks.OnLeader
}

func (n *node) runHooks(ctx context.Context) {
	q := &n.hooks
	for {
		q.mu.Lock()
		if q.waiting == nil {
			q.running = false
			q.mu.Unlock()
			return
		}
		h := *q.waiting
		q.waiting = nil
		q.mu.Unlock()
		n.runOne(ctx, h)
	}
}

func (n *node) runOne(stopping context.Context, h hook) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(stopping), hookTime)
	defer cancel()
	defer context.AfterFunc(stopping, func() { time.AfterFunc(n.cfg.Node.StopTimeout, cancel) })()
	path, epoch := n.hookPath(h.role), h.epoch.String()
	cmd := exec.CommandContext(ctx, path, n.cfg.Node.ID, epoch)
	cmd.Env = append(os.Environ(), "WOLFDISK_NODE_ID="+n.cfg.Node.ID, "WOLFDISK_ROLE="+h.role, "WOLFDISK_EPOCH="+epoch,
		"WOLFDISK_LEADER_ID="+h.leader, "WOLFDISK_MOUNT_DIR="+n.cfg.Mount.Dir, "WOLFDISK_NODE_DATA_DIR="+n.cfg.Node.DataDir) // the last for wolfdiskctl
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.warn("WD-1345", "the hook "+path+" for the role "+h.role+" failed: "+err.Error()+": "+firstLine(out), "run it by hand; nothing depends on it")
		return
	}
	n.unwarn("WD-1345")
	n.log.Info().Str("hook", path).Str("role", h.role).Msg("the hook has run")
}

func firstLine(b []byte) string {
	for i, c := range b {
		if c == '\n' || i == 200 {
			return string(b[:i])
		}
	}
	return string(b)
}
