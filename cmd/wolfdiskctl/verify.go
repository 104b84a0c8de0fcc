package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

type verifyFlags struct {
	namesOnly bool
	connected bool
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use: "verify [PATH]", Short: "compare the copies of all nodes", Args: cobra.MaximumNArgs(1),
		Long: "verify has the leader compare its copy with that of every other node while writes go\n" +
			"on: names and attributes of all at one version, content file by file at the same\n" +
			"version of each, read from the disks, and real directories with what they should hold.\n" +
			"PATH limits it: from the root of the volume, or below the mount.\n\n" +
			"It shows a line for each difference, with kind, node and path, and a summary. It ends\n" +
			"with code 0 if all was compared and is equal, 5 if there are differences, 69 if there\n" +
			"are none but a node or a file could not be compared.",
		Example: "  wolfdiskctl verify\n  wolfdiskctl verify --names-only\n  wolfdiskctl verify projects/2026 -o json",
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			path := ""
			if len(args) == 1 {
				if path, err = volumePath(args[0]); err != nil {
					return err
				}
			}
			return a.verify(c, path, f)
		},
	}
	cmd.Flags().BoolVar(&f.namesOnly, "names-only", false, "leave out content")
	cmd.Flags().BoolVar(&f.connected, "connected", false, "do not mind members that are not connected")
	return cmd
}

// volumePath makes a path that begins with a dot, and so is one from here, absolute: the
// daemon sees whether it is below its mount. Any other is one from the root of the volume.
func volumePath(path string) (string, error) {
	if path == "" {
		return "", exit.Errorf(exit.Usage, "PATH is empty: leave it out to compare everything")
	}
	if strings.HasPrefix(path, ".") {
		full, err := filepath.Abs(path)
		if err != nil {
			return "", exit.Errorf(exit.Usage, "%s: %w", path, err)
		}
		return full, nil
	}
	return path, nil
}

func (a *app) verify(c *admin.Client, path string, f verifyFlags) error {
	ctx := a.ctx
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = a.limited(a.timeout)
		defer cancel()
	}
	query := url.Values{}
	if path != "" {
		query.Set("path", path)
	}
	if f.namesOnly {
		query.Set("names_only", "true")
	}
	if f.connected {
		query.Set("connected", "true")
	}
	view := verifyView{a: a, terminal: isTerminal(a.out)}
	if err := c.Verb(ctx, http.MethodGet, "verify", query, view.line); err != nil {
		view.wipe()
		return err
	}
	switch r := view.result; {
	case r == nil:
		return exit.Errorf(exit.Failed, "the daemon ended its answer without a result: see its log")
	case r.Differences > 0:
		return cli.Quiet(exit.Differences)
	case r.NotCompared > 0:
		return cli.Quiet(exit.Unavailable)
	}
	return nil
}

// verifyView shows the lines of a comparison.
type verifyView struct {
	a        *app
	terminal bool // progress is shown, in place
	shown    bool
	result   *admin.VerifyResult
}

func (v *verifyView) line(text []byte) error {
	var l admin.VerifyLine
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("read the answer of verify: %w", err)
	}
	if l.Result != nil {
		v.result = l.Result
	}
	if v.a.json() {
		return cli.JSONLine(v.a.out, l)
	}
	if l.Progress != nil {
		return v.progress(l.Progress)
	}
	v.wipe()
	var out string
	switch {
	case l.Difference != nil:
		d := l.Difference
		out = fmt.Sprintf("%-10s %s  %s  (%s)\n", cli.Clean(d.Kind), cli.Clean(d.Node), verifyPath(d.Path, d.RawPath), cli.Clean(d.Detail))
	case l.Skipped != nil:
		s := l.Skipped
		what := verifyPath(s.Path, s.RawPath)
		if s.Path == "" {
			what = "node " + cli.Clean(s.Node)
		}
		out = fmt.Sprintf("not compared: %s  (%s)\n", what, cli.Clean(s.Reason))
	case l.Result != nil:
		out = verifySummary(l.Result)
	}
	_, err := io.WriteString(v.a.out, out)
	return err
}

func verifyPath(text string, raw []byte) string {
	if raw != nil {
		return cli.Clean(text) // quoted already
	}
	return cli.Name(text)
}

// verifySummary is the last line.
func verifySummary(r *admin.VerifyResult) string {
	var b strings.Builder
	what := "equal"
	switch {
	case r.Differences == 1:
		what = "1 difference"
	case r.Differences > 1:
		what = fmt.Sprintf("%d differences", r.Differences)
	case r.NotCompared > 0:
		what = "no differences, but not everything was compared"
	}
	compared := 0
	for _, n := range r.Nodes {
		if n.Compared {
			compared++
		}
	}
	fmt.Fprintf(&b, "%s: %d of %d nodes", what, compared, len(r.Nodes))
	if r.Path != "" {
		fmt.Fprintf(&b, ", below %s", cli.Name(r.Path))
	}
	fmt.Fprintf(&b, ", names and attributes at version %d", r.Version)
	if r.NamesOnly {
		b.WriteString(", no content")
	} else {
		fmt.Fprintf(&b, ", content of %d files (%s)", r.Files, cli.Bytes(r.Bytes))
	}
	if r.NotCompared > 0 {
		fmt.Fprintf(&b, ", %d not compared", r.NotCompared)
	}
	fmt.Fprintf(&b, ", in %s\n", time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
	return b.String()
}

// verifyRow is what status says of the last comparison.
func verifyRow(r *admin.VerifyResult) string {
	text := r.Time.UTC().Format(time.RFC3339) + ", " + strings.TrimSuffix(verifySummary(r), "\n")
	if r.Differences > 0 {
		text += ": wolfdiskctl -o json status names the first ones"
	}
	return text
}

func (v *verifyView) progress(p *admin.Progress) error {
	if !v.terminal {
		return nil
	}
	v.shown = true
	_, err := fmt.Fprintf(v.a.out, "\r\x1b[K%s  %5.1f %%  %d files, %s, %s/s, %s left", cli.Clean(p.Phase), p.Percent, p.Files, cli.Bytes(p.Bytes),
		cli.Bytes(uint64(p.BytesPerSecond)), time.Duration(p.ETASeconds*float64(time.Second)).Round(time.Second))
	return err
}

// wipe removes the progress from the terminal.
func (v *verifyView) wipe() {
	if v.shown {
		v.shown = false
		io.WriteString(v.a.out, "\r\x1b[K") // a terminal that is gone is noticed by the next line
	}
}
