package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

func (a *app) reconcileCommand() *cobra.Command {
	var confirm bool
	cmd := &cobra.Command{
		Use: "reconcile [PATH]", Short: "record what was changed in the real directory behind the daemon", Args: cobra.MaximumNArgs(1),
		Long: "reconcile compares the leader's real directory with what the volume holds, whole or\n" +
			"below PATH, which is relative to the root of the volume, and records what differs\n" +
			"as it is in the directory: followers get it. Each change waits only while one\n" +
			"file is recorded. It prints a line for each difference and a summary.\n\n" +
			"If more is missing than [safety] max_delete_ratio allows, nothing is removed and it\n" +
			"ends with code 6; --confirm-deletes says that it was really deleted.",
		Example: "  wolfdiskctl reconcile\n  wolfdiskctl reconcile projects/old --confirm-deletes\n  wolfdiskctl reconcile -o json",
		RunE: func(_ *cobra.Command, args []string) error {
			q := url.Values{}
			if len(args) > 0 {
				q.Set("path", args[0])
			}
			if confirm {
				q.Set("confirm_deletes", "true")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.reconcile(c, q)
		},
	}
	cmd.Flags().BoolVar(&confirm, "confirm-deletes", false, "record deletions however many there are")
	return cmd
}

func (a *app) reconcile(c *admin.Client, q url.Values) error {
	ctx := a.ctx
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	ended := false
	err := c.Verb(ctx, http.MethodPost, "reconcile", q, func(b []byte) error {
		var l admin.ReconcileLine
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("read the answer of reconcile: %w", err)
		}
		ended = ended || l.Result != nil
		if a.json() {
			return cli.JSONLine(a.out, l)
		}
		_, err := io.WriteString(a.out, reconcileText(&l))
		return err
	})
	if err == nil && !ended {
		err = exit.Errorf(exit.Failed, "the daemon ended the reconcile without a result")
	}
	return err
}

// reconcileText is a line for people; progress is not shown, status has it.
func reconcileText(l *admin.ReconcileLine) string {
	switch {
	case l.Difference != nil:
		d := l.Difference
		name := d.Path
		if d.RawPath != nil {
			name = string(d.RawPath)
		}
		s := fmt.Sprintf("%-10s  %s", d.Kind, cli.Name(name))
		if d.Fields != "" {
			s += " (" + d.Fields + ")"
		}
		return cli.Clean(s) + "\n"
	case l.Result != nil:
		r := l.Result
		return fmt.Sprintf("compared %d names in %.1f s: %d differences, recorded as %d ops\n", r.Names, r.Seconds, r.Differences, r.Ops)
	}
	return ""
}
