package node

import (
	"context"
	"os"
	"os/exec"
	"time"
)

// hookTime bounds a hook's run.
const hookTime = time.Minute

// runHook runs the program for a role that this node has taken. Nobody waits for it.
func (n *node) runHook(role string) {
	path := n.cfg.Hooks.OnLeader
	if role == "follower" {
		path = n.cfg.Hooks.OnFollower
	}
	if path == "" {
		return
	}
	s := n.elector.status.Load()
	n.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, n.cfg.Node.ID, s.Epoch.String())
		cmd.Env = append(os.Environ(), "WOLFDISK_NODE_ID="+n.cfg.Node.ID, "WOLFDISK_ROLE="+role, "WOLFDISK_EPOCH="+s.Epoch.String(),
			"WOLFDISK_LEADER_ID="+s.Leader, "WOLFDISK_MOUNT_DIR="+n.cfg.Mount.Dir, "WOLFDISK_NODE_DATA_DIR="+n.cfg.Node.DataDir) // the last for wolfdiskctl
		out, err := cmd.CombinedOutput()
		if err != nil {
			n.warn("WD-1345", "the hook "+path+" for the role "+role+" failed: "+err.Error()+": "+firstLine(out), "run it by hand; nothing depends on it")
			return
		}
		n.unwarn("WD-1345")
		n.log.Info().Str("hook", path).Str("role", role).Msg("the hook has run")
	})
}

func firstLine(b []byte) string {
	for i, c := range b {
		if c == '\n' || i == 200 {
			return string(b[:i])
		}
	}
	return string(b)
}
