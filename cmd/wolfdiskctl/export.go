package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

type exportFlags struct {
	jobs        int
	incremental bool
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use: "export DIR", Short: "write the volume, as it is now, into a plain directory", Args: cobra.ExactArgs(1),
		Long: "export has the daemon write the whole volume, as it is at this moment, into DIR: files,\n" +
			"links, attributes, times, holes. DIR must be empty or absent, and stays closed to\n" +
			"others until all is there. It works on nodes that keep their content in chunks.\n\n" +
			"What is interrupted goes on where it stopped when the same command is given again, on\n" +
			"this node or another. With --incremental, DIR keeps a record of what was written, and\n" +
			"a later export only writes what has changed and removes what is gone.\n\n" +
			"It ends with code 4 if the file system of DIR did not take everything, and with 1 if\n" +
			"files could not be read; each is named.",
		Example: "  wolfdiskctl export /backup/today\n  wolfdiskctl export /backup/latest --incremental --jobs 8",
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.export(c, args[0], f)
		},
	}
	cmd.Flags().IntVar(&f.jobs, "jobs", 4, "how many files are written at a time")
	cmd.Flags().BoolVar(&f.incremental, "incremental", false, "leave a record in DIR, for a later export to go by")
	return cmd
}

func (a *app) export(c *admin.Client, dir string, f exportFlags) error {
	full, err := filepath.Abs(dir)
	if err != nil {
		return exit.Errorf(exit.Usage, "%s: %w", dir, err)
	}
	ctx := a.ctx
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = a.limited(a.timeout)
		defer cancel()
	}
	query := url.Values{"dir": {full}, "jobs": {strconv.Itoa(f.jobs)}}
	if f.incremental {
		query.Set("incremental", "1")
	}
	show := exportView{a: a, terminal: isTerminal(a.out)}
	if err := c.Verb(ctx, http.MethodPost, "export", query, show.line); err != nil {
		show.wipe()
		return unsafeExport(err)
	}
	switch {
	case show.result == nil:
		return exit.Errorf(exit.Failed, "the daemon ended its answer without a result: see its log")
	case show.result.Refused > 0:
		return cli.Quiet(exit.Degraded)
	}
	return nil
}

// unsafeExport gives the exit code for a refusal to errors that say that DIR, or the node, is
// not one to export into, or from.
func unsafeExport(err error) error {
	var e *admin.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Code == "WD-1421" || e.Code == "WD-1424" || errors.Is(err, volume.NotEmpty) || errors.Is(err, volume.Exists) {
		return exit.With(exit.Unsafe, err)
	}
	return err
}

// exportView shows the lines of an export.
type exportView struct {
	a        *app
	terminal bool // progress is shown, in place
	shown    bool
	result   *admin.ExportResult
}

func (v *exportView) line(text []byte) error {
	var l admin.ExportLine
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("read the answer of export: %w", err)
	}
	if l.Result != nil {
		v.result = l.Result
	}
	if v.a.json() {
		return cli.JSONLine(v.a.out, l)
	}
	switch {
	case l.Progress != nil:
		return v.progress(l.Progress)
	case l.Note != nil:
		v.wipe()
		_, err := fmt.Fprintf(v.a.out, "%s: %s: %s\n", cli.Clean(l.Note.Kind), notePath(l.Note), cli.Clean(l.Note.Text))
		return err
	case l.Result != nil:
		v.wipe()
		r := l.Result
		_, err := fmt.Fprintf(v.a.out, "version %d is in %s: %d written (%s), %d already there, %d removed, %d directories, in %s\n",
			r.Version, cli.Name(r.Dir), r.Written, cli.Bytes(r.Bytes), r.Kept, r.Removed, r.Folders, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
		return err
	}
	return nil
}

func notePath(n *admin.ExportNote) string {
	if n.RawPath != nil {
		return cli.Clean(n.Path) // quoted already
	}
	return cli.Name(n.Path)
}

func (v *exportView) progress(p *admin.Progress) error {
	if !v.terminal {
		return nil
	}
	v.shown = true
	_, err := fmt.Fprintf(v.a.out, "\r\x1b[K%5.1f %%  %d files, %s, %s/s, %s left  %.60s", p.Percent, p.Files, cli.Bytes(p.Bytes), cli.Bytes(uint64(p.BytesPerSecond)),
		time.Duration(p.ETASeconds*float64(time.Second)).Round(time.Second), cli.Clean(p.Path))
	return err
}

// wipe removes the progress from the terminal.
func (v *exportView) wipe() {
	if v.shown {
		v.shown = false
		io.WriteString(v.a.out, "\r\x1b[K") // a terminal that is gone is noticed by the next line
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
