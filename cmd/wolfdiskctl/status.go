package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

func (a *app) statusCommand() *cobra.Command {
	var wait bool
	var maxLag uint64
	cmd := &cobra.Command{
		Use: "status", Short: "show this node, or wait until it is ready", Args: cobra.NoArgs,
		Long: "status shows this node, its peers and what wants attention. It ends with code 4\n" +
			"if there are warnings or open conflicts.\n\n" +
			"status --wait waits until the node is mounted, its role is known, and it (or, on a\n" +
			"leader, every connected follower) is within --max-lag ops of the leader. It ends\n" +
			"with code 7 if that does not happen in time; a daemon that is not running yet is\n" +
			"waited for, too.",
		Example: "  wolfdiskctl status -o json\n  wolfdiskctl status --wait --max-lag 0 --timeout 30s",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if wait {
				return a.wait(c, maxLag)
			}
			if cmd.Flags().Changed("max-lag") {
				return exit.Errorf(exit.Usage, "--max-lag belongs to --wait")
			}
			return a.status(c)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the node is ready")
	cmd.Flags().Uint64Var(&maxLag, "max-lag", 0, "ops that may be missing, with --wait")
	return cmd
}

func (a *app) status(c *admin.Client) error {
	ctx, cancel := a.limited(defaultTimeout)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if a.json() {
		err = cli.JSON(a.out, s)
	} else {
		err = showStatus(a.out, s)
	}
	if err == nil && s.Degraded() {
		err = cli.Quiet(exit.Degraded)
	}
	return err
}

// wait asks again and again, each time letting the daemon wait for a while. A daemon
// that is not there, or goes away, may come (back).
func (a *app) wait(c *admin.Client, maxLag uint64) error {
	const pause, slice = 50 * time.Millisecond, 5 * time.Second
	ctx, cancel := a.limited(waitTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	reason := "the daemon does not answer"
	for ctx.Err() == nil {
		// The daemon answers a little before the end, so that the reason is known.
		left := max(time.Until(deadline)-pause, 0)
		r, err := c.Ready(ctx, maxLag, min(left, slice))
		switch {
		case err == nil && r.Ready:
			if a.json() {
				return cli.JSON(a.out, r)
			}
			_, err := fmt.Fprintln(a.out, "ready")
			return err
		case err == nil:
			reason = r.Reason
		case ctx.Err() != nil:
		case passing(err):
			reason = err.Error()
		default:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	if a.ctx.Err() != nil {
		return exit.Errorf(exit.Failed, "interrupted; not ready: %s", reason)
	}
	return exit.Errorf(exit.TimedOut, "not ready in time: %s", reason)
}

// passing reports whether an error may go away when the daemon starts, or has less
// to do.
func passing(err error) bool {
	code := exit.Of(err)
	return code == exit.NotRunning || code == exit.Unavailable || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, context.DeadlineExceeded)
}

func showStatus(w io.Writer, s admin.Status) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		for i, arg := range args {
			if text, ok := arg.(string); ok {
				args[i] = cli.Clean(text)
			}
		}
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("node", "%s (%s)", s.NodeID, words(s.Role, s.State))
	row("cluster", "%s", orNone(s.ClusterID))
	row("volume", "%s", orNone(s.VolumeID))
	row("leader", "%s", orNone(s.LeaderID))
	row("version", "%d (durable %d)", s.Position.Version, s.DurableVersion)
	row("epoch", "%d of %s", s.Position.Epoch, orNone(s.Position.EpochLeader))
	row("digest", "%s", orNone(s.Position.Digest))
	row("log", "%d to %d, %s", s.Oplog.First, s.Oplog.Last, cli.Bytes(s.Oplog.Bytes))
	row("holds", "%d files, %s", s.Files, cli.Bytes(s.Bytes))
	if c := s.Chunks; c != nil {
		row("chunks", "%d, %s stored as %s; %d deduplicated since the start", c.Count, cli.Bytes(c.Bytes), cli.Bytes(c.StoredBytes), c.DedupHits)
		row("packs", "%d, %s, %s of it unused", c.Packs, cli.Bytes(c.PackBytes), cli.Bytes(c.DeadBytes))
	}
	if p := s.Progress; p != nil {
		row(p.Phase, "%.1f %%, %d files (%.0f/s), %s (%s/s), about %s left, at %s", p.Percent, p.Files, p.FilesPerSecond,
			cli.Bytes(p.Bytes), cli.Bytes(uint64(p.BytesPerSecond)), time.Duration(p.ETASeconds*float64(time.Second)).Round(time.Second).String(), orNone(p.Path))
	}
	if s.Mount.Path == "" {
		row("mount", "none")
	} else {
		row("mount", "%s (%s)", s.Mount.Path, s.Mount.Driver)
	}
	if s.S3 != nil {
		scheme := "http"
		if s.S3.TLS {
			scheme = "https"
		}
		row("s3", "%s://%s", scheme, s.S3.Address)
	}
	row("conflicts", "%d open", s.ConflictsOpen)
	if s.Verify != nil {
		row("verified", "%s", verifyRow(s.Verify))
	}
	row("software", "%s", s.Software)
	if err := t.Flush(); err != nil {
		return err
	}
	if len(s.Peers) > 0 {
		b.WriteByte('\n')
		rows := make([]admin.ServerInfo, len(s.Peers))
		for i, p := range s.Peers {
			rows[i] = admin.ServerInfo{Peer: p, Leader: p.ID == s.LeaderID}
		}
		writeServers(&b, rows)
	}
	for i, warning := range s.Warnings {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "warning %s: %s\n", cli.Clean(warning.Code), cli.Clean(warning.Text))
		if warning.Hint != "" {
			fmt.Fprintf(&b, "  %s\n", cli.Clean(warning.Hint))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// words joins what is known.
func words(list ...string) string {
	var known []string
	for _, s := range list {
		if s != "" {
			known = append(known, s)
		}
	}
	if len(known) == 0 {
		return "role not known yet"
	}
	return strings.Join(known, ", ")
}
