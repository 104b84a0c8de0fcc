package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

// roleTimeout is how long a change of role may take unless --timeout says otherwise.
const roleTimeout = 30 * time.Second

func (a *app) promoteCommand() *cobra.Command {
	var loss bool
	cmd := &cobra.Command{
		Use: "promote", Short: "have this node lead", Args: cobra.NoArgs,
		Long: "promote has this node lead. If another node leads, that one hands over, and no operation\n" +
			"is lost. If nobody leads, and members that may hold more operations were not seen since\n" +
			"this node started, it is refused (exit code 6), unless --allow-data-loss: then what only\n" +
			"they hold becomes a conflict when they return, and the answer names them. A node that is\n" +
			"making a copy anew, with no leader to go on with, gives that up and leads with the older one.",
		Example: "  wolfdiskctl promote\n  wolfdiskctl promote --allow-data-loss",
		RunE:    func(*cobra.Command, []string) error { return a.changeRole("promote", lossQuery(loss)) },
	}
	cmd.Flags().BoolVar(&loss, "allow-data-loss", false, "lead also without members that may hold more")
	return cmd
}

func (a *app) demoteCommand() *cobra.Command {
	var loss bool
	cmd := &cobra.Command{
		Use: "demote", Short: "have this node follow, and not ask for the lead again", Args: cobra.NoArgs,
		Long: "demote has the first node in the order that can lead take over from this one, which does\n" +
			"not take the lead back until promote or its next start. If nobody can take over it is refused\n" +
			"(exit code 6), unless --allow-data-loss: then the volume is read-only until somebody leads.",
		RunE: func(*cobra.Command, []string) error { return a.changeRole("demote", lossQuery(loss)) },
	}
	cmd.Flags().BoolVar(&loss, "allow-data-loss", false, "stop leading even if nobody can take over")
	return cmd
}

func (a *app) handoverCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "handover", Short: "have another node lead", Args: cobra.NoArgs,
		Long: "handover has another node lead, without an error for any application and without losing\n" +
			"an operation. It is asked of the node that leads. Without --to the first node in the order\n" +
			"that can takes over. A node that was chosen by --to keeps the lead; without, a node that\n" +
			"comes before it takes it back.",
		Example: "  wolfdiskctl handover --to node-b",
		RunE: func(*cobra.Command, []string) error {
			query := url.Values{}
			if to != "" {
				query.Set("to", to)
			}
			return a.changeRole("handover", query)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "ID of the node that is to lead")
	return cmd
}

func lossQuery(loss bool) url.Values {
	query := url.Values{}
	if loss {
		query.Set("allow_data_loss", "1")
	}
	return query
}

// ask has the daemon do a verb, with one or more lines as the answer.
func (a *app) ask(method, verb string, query url.Values, line func([]byte) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.limited(roleTimeout)
	defer cancel()
	err = c.Verb(ctx, method, verb, query, line)
	var refused *admin.Error
	if errors.As(err, &refused) && (refused.Code == "WD-1342" || refused.Code == "WD-1344") {
		return exit.With(exit.Unsafe, err)
	}
	if ctx.Err() != nil && a.ctx.Err() == nil {
		return exit.Errorf(exit.TimedOut, "%s was not done in time: see wolfdiskctl status, or give a longer --timeout (%w)", verb, err)
	}
	return err
}

func (a *app) changeRole(verb string, query url.Values) error {
	return a.ask(http.MethodPost, verb, query, func(line []byte) error {
		var r admin.RoleLine
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if a.json() {
			return cli.JSONLine(a.out, r)
		}
		leader := r.LeaderID
		if leader == "" {
			leader = "nobody"
		}
		fmt.Fprintf(a.out, "%s is %s (%s), at version %d; %s leads", cli.Clean(r.NodeID), cli.Clean(r.Role), cli.Clean(r.Phase), r.Version, cli.Clean(leader))
		if r.Epoch != "" {
			fmt.Fprintf(a.out, " in epoch %s", cli.Clean(r.Epoch))
		}
		fmt.Fprintln(a.out)
		for _, m := range r.Unseen {
			if m.Version == 0 {
				fmt.Fprintf(a.out, "left behind: what only %s holds; it was not seen since this node started\n", cli.Clean(m.ID))
				continue
			}
			fmt.Fprintf(a.out, "left behind: what only %s holds; it was last seen at version %d\n", cli.Clean(m.ID), m.Version)
		}
		if r.GivenUp > 0 {
			fmt.Fprintf(a.out, "given up: an unfinished copy of version %d, for the whole one that it was to replace\n", r.GivenUp)
		}
		return nil
	})
}

func (a *app) memberCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "member", Short: "list, add, remove members; accept a new store", RunE: cli.Group}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "list whom the cluster remembers", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.listMembers() },
	})
	var address string
	add := &cobra.Command{
		Use: "add ID", Short: "remember a node before it comes, or take up again one that was removed", Args: cobra.ExactArgs(1),
		Long: "add has the cluster remember a node, and dial it if an address is given. Nodes that come with\n" +
			"the cluster key are remembered by themselves. It is asked of the node that leads.",
		RunE: func(_ *cobra.Command, args []string) error { return a.changeMember("add", args[0], address) },
	}
	add.Flags().StringVar(&address, "address", "", "HOST:PORT to dial it at")
	cmd.AddCommand(add, &cobra.Command{
		Use: "remove ID", Short: "forget a node: it counts no more and is refused", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.changeMember("remove", args[0], "") },
	}, &cobra.Command{
		Use: "accept-store ID", Short: "say that a node was wiped or replaced on purpose", Args: cobra.ExactArgs(1),
		Long: "accept-store has the cluster remember the state directory that a connected node has now. Until\n" +
			"then a node with another one than remembered does not count for a majority, and does not lead.",
		RunE: func(_ *cobra.Command, args []string) error { return a.changeMember("accept-store", args[0], "") },
	})
	return cmd
}

func (a *app) listMembers() error {
	var list []admin.MemberLine
	err := a.ask(http.MethodGet, "members", nil, func(line []byte) error {
		var m admin.MemberLine
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		list = append(list, m)
		return nil
	})
	if err != nil {
		return err
	}
	if a.json() {
		if list == nil {
			list = []admin.MemberLine{}
		}
		return cli.JSON(a.out, list)
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  MEMBER\tROLE\tSTATE\tCOUNTS\tADDRESS\tSTORE")
	for _, m := range list {
		mark, state := " ", "away"
		switch {
		case m.Removed:
			state = "removed"
		case m.Self:
			mark, state = "*", "this node"
		case m.Connected:
			state = "connected"
		}
		counts := "no"
		if m.Counts {
			counts = "yes"
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\t%s\t%s\n", mark, cli.Clean(m.ID), cli.Clean(m.Role), state, counts, dash(cli.Clean(m.Address)), dash(cli.Clean(m.StoreID)))
	}
	return t.Flush()
}

func (a *app) changeMember(do, id, address string) error {
	query := url.Values{"do": {do}, "id": {id}}
	if address != "" {
		query.Set("address", address)
	}
	return a.ask(http.MethodPost, "member", query, func(line []byte) error {
		var m admin.MemberLine
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if a.json() {
			return cli.JSONLine(a.out, m)
		}
		state := "is a member"
		if m.Removed {
			state = "was removed"
		}
		_, err := fmt.Fprintf(a.out, "%s %s\n", cli.Clean(m.ID), state)
		return err
	})
}
