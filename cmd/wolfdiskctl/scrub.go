package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
	"wolfdisk/node/exit"
)

// scrubFlags are what scrub is asked for.
type scrubFlags struct {
	repair, readFiles bool
	rate              string
}

func (a *app) scrubCommand() *cobra.Command {
	var f scrubFlags
	cmd := &cobra.Command{
		Use: "scrub", Short: "check all that this node keeps against its hashes", Args: cobra.NoArgs,
		Long: "scrub reads every frame of the log, every chunk and every record of the index of this\n" +
			"node from its disk and checks it. With --repair, what is damaged is fetched from the\n" +
			"nodes that are connected. It prints a line for each damaged place and a summary, and\n" +
			"ends with code 5 if damage is left.\n\n" +
			"The files of a real directory have no hashes; --read-files reads them all, so that\n" +
			"those are found that the disk does not give any more.",
		Example: "  wolfdiskctl scrub\n  wolfdiskctl scrub --repair --rate 50MiB\n  wolfdiskctl scrub --read-files -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.scrub(c, &f)
		},
	}
	cmd.Flags().BoolVar(&f.repair, "repair", false, "fetch what is damaged from other nodes")
	cmd.Flags().BoolVar(&f.readFiles, "read-files", false, "also read every file whole")
	cmd.Flags().StringVar(&f.rate, "rate", "", "bytes per second at most, such as 50MiB (default: no bound)")
	return cmd
}

func (a *app) scrub(c *admin.Client, f *scrubFlags) error {
	q := url.Values{}
	if f.repair {
		q.Set("repair", "true")
	}
	if f.readFiles {
		q.Set("read_files", "true")
	}
	if f.rate != "" {
		if _, err := config.ParseSize(f.rate); err != nil {
			return exit.Errorf(exit.Usage, "--rate %q %w", f.rate, err)
		}
		q.Set("rate", f.rate)
	}
	ctx := a.ctx
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	var result *admin.ScrubResult
	err := c.Verb(ctx, http.MethodPost, "scrub", q, func(b []byte) error {
		var l admin.ScrubLine
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("read the answer of scrub: %w", err)
		}
		if l.Result != nil {
			result = l.Result
		}
		if a.json() {
			return cli.JSONLine(a.out, l)
		}
		_, err := io.WriteString(a.out, scrubText(&l))
		return err
	})
	switch {
	case err != nil:
		return err
	case result == nil:
		return exit.Errorf(exit.Failed, "the daemon ended the scrub without a result")
	case result.Left > 0:
		return cli.Quiet(exit.Differences)
	}
	return nil
}

// scrubText is a line for people; progress is not shown, status has it.
func scrubText(l *admin.ScrubLine) string {
	switch {
	case l.Damage != nil:
		d := l.Damage
		state := "damaged"
		if d.Repaired {
			state = "repaired"
		}
		s := fmt.Sprintf("%s: %s, %s, %s: %s", state, d.Kind, d.What, d.Where, d.Error)
		if len(d.Paths) > 0 {
			s += " (used by " + strings.Join(d.Paths, ", ") + ")"
		}
		return cli.Clean(s) + "\n"
	case l.Result != nil:
		return scrubSummary(l.Result)
	}
	return ""
}

func scrubSummary(r *admin.ScrubResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "checked %d frames of the log (%s), %d chunks (%s), %d records of the index, %d extents",
		r.Frames, cli.Bytes(r.LogBytes), r.Chunks, cli.Bytes(r.ChunkBytes), r.Records, r.Extents)
	if r.Files > 0 {
		fmt.Fprintf(&b, ", %d files (%s)", r.Files, cli.Bytes(r.FileBytes))
	}
	fmt.Fprintf(&b, " in %.1f s\n", r.Seconds)
	for _, note := range r.Notes {
		b.WriteString(cli.Clean(note) + "\n")
	}
	switch {
	case r.Damaged == 0:
		b.WriteString("clean\n")
	case r.Left == 0:
		fmt.Fprintf(&b, "%d damaged, all repaired\n", r.Damaged)
	default:
		fmt.Fprintf(&b, "%d damaged, %d repaired, %d left\n", r.Damaged, r.Repaired, r.Left)
		if !r.Repair {
			b.WriteString("run scrub --repair to fetch them from the nodes that are connected\n")
		}
	}
	return b.String()
}
