package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

func (a *app) gcCommand() *cobra.Command {
	var dry, now bool
	cmd := &cobra.Command{
		Use: "gc", Short: "collect chunks that nothing uses", Args: cobra.NoArgs,
		Long: "gc has this node put scattered content together, remove chunks that nothing uses, and\n" +
			"win their space back. The daemon does so by itself now and then; chunks are removed\n" +
			"when they have been unused for [chunks] gc_grace, or with --now at once. A node with\n" +
			"storage = \"dir\" has none. It is refused while a copy of the volume is being made.",
		Example: "  wolfdiskctl gc --dry-run --now\n  wolfdiskctl gc --now",
		RunE: func(*cobra.Command, []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.patient()
			defer cancel()
			query := url.Values{}
			for name, set := range map[string]bool{"dry_run": dry, "now": now} {
				if set {
					query.Set(name, "1")
				}
			}
			err = c.Verb(ctx, http.MethodPost, "gc", query, a.gcLine)
			var refused *admin.Error
			if errors.As(err, &refused) && refused.Code == "WD-1163" {
				err = exit.With(exit.Unsafe, err)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, say what would be removed")
	cmd.Flags().BoolVar(&now, "now", false, "remove at once what nothing uses, without a grace time")
	return cmd
}

// patient is a context for work of any length, unless --timeout bounds it.
func (a *app) patient() (context.Context, context.CancelFunc) {
	if a.timeout > 0 {
		return context.WithTimeout(a.ctx, a.timeout)
	}
	return context.WithCancel(a.ctx)
}

// phases are what a daemon calls the parts of a collection.
var phases = map[string]string{
	"look":  "looking at what is in use",
	"move":  "moving content that is scattered or in mostly unused chunks",
	"sweep": "looking for chunks that nothing uses",
	"packs": "rewriting packs that are mostly unused",
}

func (a *app) gcLine(line []byte) error {
	var l admin.GCLine
	if err := json.Unmarshal(line, &l); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if a.json() {
		return cli.JSONLine(a.out, l)
	}
	if l.Result != nil {
		return showGC(a.out, l.Result)
	}
	text, known := phases[l.Phase]
	if !known {
		text = cli.Clean(l.Phase)
	}
	_, err := fmt.Fprintln(a.out, text)
	return err
}

func showGC(w io.Writer, r *admin.GCResult) error {
	size := func(n int64) string { return cli.Bytes(uint64(max(n, 0))) }
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	removed := "removed"
	if r.DryRun {
		removed = "would remove"
	}
	row("chunks", "%d, %d in use, %d kept for now, %d newly found unused", r.Chunks, r.Live, r.Kept, r.Marked)
	row(removed, "%d chunks, %s", r.Removed, size(r.RemovedBytes))
	if !r.DryRun {
		row("moved", "%s, %d files put together", size(r.MovedBytes), r.Files)
		row("freed", "%s, %d packs; %s copied out of them", size(r.FreedBytes), r.Packs, size(r.CopiedBytes))
	}
	row("left in packs", "%s unused", size(r.DeadBytes))
	return t.Flush()
}
