package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
)

func (a *app) resyncCommand() *cobra.Command {
	var full, dry bool
	cmd := &cobra.Command{
		Use: "resync", Short: "have this follower copy the volume anew", Args: cobra.NoArgs,
		Long: "resync has this follower make a new copy of the leader's volume, whatever it holds. The\n" +
			"copy it has is served until the new one is whole. Content that is here already does not\n" +
			"travel, unless --full says that it is not to be trusted. status shows how far it is.",
		Example: "  wolfdiskctl resync --dry-run\n  wolfdiskctl resync --full",
		RunE: func(*cobra.Command, []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.limited(defaultTimeout)
			defer cancel()
			query := url.Values{}
			if full {
				query.Set("full", "1")
			}
			if dry {
				query.Set("dry_run", "1")
			}
			return c.Verb(ctx, http.MethodPost, "resync", query, func(line []byte) error {
				var r admin.Resync
				if err := json.Unmarshal(line, &r); err != nil {
					return fmt.Errorf("read the answer: %w", err)
				}
				if a.json() {
					return cli.JSONLine(a.out, r)
				}
				what := "copies the volume anew from " + cli.Clean(r.Leader)
				if r.DryRun {
					what = fmt.Sprintf("would copy %d files, %s from %s at version %d", r.LeaderFiles, cli.Bytes(r.LeaderBytes), cli.Clean(r.Leader), r.LeaderVersion)
					if !r.Full {
						what += ", at most: content that is here already does not travel"
					}
				}
				_, err := fmt.Fprintf(a.out, "%s; this copy is at version %d with %d files, %s\n", what, r.Version, r.Files, cli.Bytes(r.Bytes))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&full, "full", false, "take all content from others, also what is here")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	return cmd
}
