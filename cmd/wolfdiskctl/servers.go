package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
)

func (a *app) listCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "list servers", RunE: cli.Group}
	cmd.AddCommand(&cobra.Command{
		Use: "servers", Short: "list the nodes of the cluster, as this one sees them", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.limited(defaultTimeout)
			defer cancel()
			s, err := c.Servers(ctx)
			if err != nil {
				return err
			}
			if a.json() {
				return cli.JSON(a.out, s)
			}
			var b strings.Builder
			writeServers(&b, s.Servers)
			_, err = io.WriteString(a.out, b.String())
			return err
		},
	})
	return cmd
}

// writeServers writes a table of nodes. A * stands before the node that was asked.
func writeServers(b *strings.Builder, list []admin.ServerInfo) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  NODE\tROLE\tSTATE\tADDRESS\tRECEIVED\tAPPLIED\tDURABLE\tLAG\tSYNC\tSOFTWARE")
	for _, s := range list {
		mark := " "
		if s.Self {
			mark = "*"
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%.0f %%\t%s\n", mark, cli.Clean(s.ID), cli.Clean(s.Role), cli.Clean(s.State), dash(cli.Clean(s.Address)),
			s.Received, s.Applied, s.Durable, lagText(s.Peer), s.SyncPercent, dash(cli.Clean(s.Software)))
	}
	t.Flush() // into memory: cannot fail
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func lagText(p admin.Peer) string {
	if p.LagOps == 0 && p.LagBytes == 0 {
		return "none"
	}
	return fmt.Sprintf("%d ops, %s, %.1f s", p.LagOps, cli.Bytes(p.LagBytes), p.LagSeconds)
}
