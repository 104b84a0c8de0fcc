package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

func (a *app) conflictsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "conflicts", Short: "what this node lost to another history, or to the leader", RunE: cli.Group,
		Long: "When two nodes have taken changes apart from each other, one history wins. What the other\n" +
			"node had beyond it is kept on that node, in a conflict record: the ops, and the last state\n" +
			"of every file, directory and link that they changed. So is what somebody changed in a\n" +
			"follower's directory while its daemon was stopped. Records stay until they are dropped.",
	}
	cmd.AddCommand(a.conflictsListCommand(), a.conflictsShowCommand(), a.conflictsDiffCommand(), a.conflictsRestoreCommand(), a.conflictsDropCommand())
	return cmd
}

func (a *app) conflictsListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "list the records of this node", Args: cobra.NoArgs,
		Long:    "list shows the records of this node. It ends with code 4 if there are any.",
		Example: "  wolfdiskctl conflicts list\n  wolfdiskctl conflicts list -o json",
		RunE: func(*cobra.Command, []string) error {
			v := &conflictView{a: a}
			if err := a.conflictVerb(http.MethodGet, "conflicts", nil, true, v.line); err != nil {
				return err
			}
			if err := v.endList(); err != nil {
				return err
			}
			if v.records > 0 {
				return cli.Quiet(exit.Degraded)
			}
			return nil
		},
	}
}

func (a *app) conflictsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "show all that a record holds", Args: cobra.ExactArgs(1),
		Long: "show lists everything that is in a record: what was done to each file or directory, where\n" +
			"it was, and how much of its content is kept.",
		Example: "  wolfdiskctl conflicts show 48211-9f86d081",
		RunE: func(_ *cobra.Command, args []string) error {
			v := &conflictView{a: a, show: true}
			return a.conflictVerb(http.MethodGet, "conflicts/show", url.Values{"id": args}, false, v.line)
		},
	}
}

func (a *app) conflictsDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use: "diff ID", Short: "compare a record with the volume as it is now", Args: cobra.ExactArgs(1),
		Long: "diff tells for each path of a record whether what is there now is the same, differs, is\n" +
			"missing, or has been displaced: the inode is elsewhere, or another has its place. It ends\n" +
			"with code 5 if anything is not the same.",
		Example: "  wolfdiskctl conflicts diff 48211-9f86d081",
		RunE: func(_ *cobra.Command, args []string) error {
			v := &conflictView{a: a, diff: true}
			if err := a.conflictVerb(http.MethodGet, "conflicts/diff", url.Values{"id": args}, false, v.line); err != nil {
				return err
			}
			switch r := v.result; {
			case r == nil:
				return exit.Errorf(exit.Failed, "the daemon ended its answer without a result: see its log")
			case r.Differs+r.Missing+r.Displaced > 0:
				return cli.Quiet(exit.Differences)
			}
			return nil
		},
	}
}

func (a *app) conflictsRestoreCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "restore ID [PATH...]", Short: "give back what is in a record", Args: cobra.MinimumNArgs(1),
		Long: "restore writes what is in a record, or the given paths with all below them, as plain files\n" +
			"into the directory of --to, which must be empty or absent, and lie outside of the volume.\n" +
			"Without --to it puts them back into the volume, if this node leads: each under its own\n" +
			"path if nothing is there, otherwise beside it as NAME.conflict-ID. Nothing is written\n" +
			"over, and what is there already, as recorded, stays.\n\n" +
			"It ends with code 4 if something could not be restored whole; each is named.",
		Example: "  wolfdiskctl conflicts restore 48211-9f86d081 --to /tmp/lost\n  wolfdiskctl conflicts restore 48211-9f86d081 reports/2026.ods",
		RunE: func(_ *cobra.Command, args []string) error {
			q := url.Values{"id": args[:1], "path": args[1:]}
			if to != "" {
				full, err := filepath.Abs(to)
				if err != nil {
					return exit.Errorf(exit.Usage, "%s: %w", to, err)
				}
				q.Set("dir", full)
			}
			v := &conflictView{a: a}
			err := a.conflictVerb(http.MethodPost, "conflicts/restore", q, false, v.line)
			switch {
			case err != nil:
				return unsafeConflict(err)
			case v.result == nil:
				return exit.Errorf(exit.Failed, "the daemon ended its answer without a result: see its log")
			case v.result.Partial+v.result.Refused > 0:
				return cli.Quiet(exit.Degraded)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "write plain files into this directory")
	return cmd
}

func (a *app) conflictsDropCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "drop ID --yes", Short: "remove a record for good", Args: cobra.ExactArgs(1),
		Long: "drop removes a record. What is in it, and nowhere else, is lost then. So it wants --yes.",
		RunE: func(_ *cobra.Command, args []string) error {
			if !yes {
				return exit.Errorf(exit.Unsafe, "what is in record %s, and nowhere else, is lost with it: look with wolfdiskctl conflicts diff %s, and say --yes", cli.Clean(args[0]), cli.Shell(args[0]))
			}
			v := &conflictView{a: a, dropped: true}
			return a.conflictVerb(http.MethodPost, "conflicts/drop", url.Values{"id": args}, true, v.line)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "really")
	return cmd
}

// conflictVerb asks for a verb about conflicts; short ones have a time limit of their own.
func (a *app) conflictVerb(method, name string, q url.Values, short bool, fn func(*admin.ConflictLine) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx := a.ctx
	if short || a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = a.limited(defaultTimeout)
		defer cancel()
	}
	return c.Verb(ctx, method, name, q, func(b []byte) error {
		var l admin.ConflictLine
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("read the answer of %s: %w", name, err)
		}
		return fn(&l)
	})
}

// unsafeConflict gives the exit code for a refusal to errors that say that the place is not one
// to restore to.
func unsafeConflict(err error) error {
	var e *admin.Error
	if errors.As(err, &e) && (e.Code == "WD-1424" || e.Code == "WD-1434" || errors.Is(err, volume.NotEmpty)) {
		return exit.With(exit.Unsafe, err)
	}
	return err
}
