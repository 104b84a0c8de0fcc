package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

// headEvery repeats the head of the table before it scrolls away.
const headEvery = 20

func (a *app) statsCommand() *cobra.Command {
	var watch bool
	var count int
	cmd := &cobra.Command{
		Use: "stats", Short: "show numbers, once or every second", Args: cobra.NoArgs,
		Example: "  wolfdiskctl stats\n  wolfdiskctl stats --watch -n 10",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if watch {
				return a.until(a.watch(c, count, time.Second))
			}
			if cmd.Flags().Changed("count") {
				return exit.Errorf(exit.Usage, "--count belongs to --watch")
			}
			s, err := a.stats(c)
			if err != nil {
				return err
			}
			if a.json() {
				return cli.JSON(a.out, s)
			}
			return showStats(a.out, s)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "a line every second, until interrupted")
	cmd.Flags().IntVarP(&count, "count", "n", 0, "end after this many lines, with --watch (default: never)")
	return cmd
}

func (a *app) stats(c *admin.Client) (admin.Stats, error) {
	ctx, cancel := a.limited(defaultTimeout)
	defer cancel()
	return c.Stats(ctx)
}

// watch shows a line per interval; rates are those since the line before.
func (a *app) watch(c *admin.Client, count int, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before admin.Stats
	for i := 0; ; i++ {
		s, err := a.stats(c)
		if err != nil {
			return err
		}
		if a.json() {
			err = cli.JSONLine(a.out, s)
		} else {
			err = watchLine(a.out, i, before, s)
		}
		if err != nil || count > 0 && i+1 >= count {
			return err
		}
		before = s
		select {
		case <-a.ctx.Done():
			return context.Cause(a.ctx)
		case <-tick.C:
		}
	}
}

func watchLine(w io.Writer, i int, before, s admin.Stats) error {
	var b strings.Builder
	if i%headEvery == 0 {
		fmt.Fprintf(&b, "%-8s  %-9s %-12s %12s %9s %11s %5s %9s %9s %10s\n", "TIME", "ROLE", "STATE", "VERSION", "OPS/S", "LOG/S", "PEERS", "LAG OPS", "LAG S", "MEMORY")
	}
	ops, log := "-", "-"
	// After a restart of the daemon, or a cut of its log, a difference says nothing.
	if d := s.Time.Sub(before.Time).Seconds(); i > 0 && d > 0 && s.Version >= before.Version && s.UptimeSeconds >= before.UptimeSeconds {
		ops = fmt.Sprintf("%.0f", float64(s.Version-before.Version)/d)
		if s.OplogBytes >= before.OplogBytes {
			log = cli.Bytes(uint64(float64(s.OplogBytes-before.OplogBytes) / d))
		}
	}
	fmt.Fprintf(&b, "%-8s  %-9s %-12s %12d %9s %11s %5d %9d %9.1f %10s\n", s.Time.Local().Format(time.TimeOnly), cli.Clean(s.Role), cli.Clean(s.State),
		s.Version, ops, log, s.Peers, s.MaxLagOps, s.MaxLagSeconds, cli.Bytes(s.MemoryBytes))
	_, err := io.WriteString(w, b.String())
	return err
}

func showStats(w io.Writer, s admin.Stats) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("node", "%s (%s)", cli.Clean(s.NodeID), cli.Clean(words(s.Role, s.State)))
	row("up", "%s", (time.Duration(s.UptimeSeconds) * time.Second).String())
	row("version", "%d (durable %d)", s.Version, s.DurableVersion)
	row("log", "%s", cli.Bytes(s.OplogBytes))
	row("holds", "%d files, %s", s.Files, cli.Bytes(s.Bytes))
	row("peers", "%d", s.Peers)
	row("largest lag", "%d ops, %s, %.1f s", s.MaxLagOps, cli.Bytes(s.MaxLagBytes), s.MaxLagSeconds)
	row("memory", "%s (heap %s)", cli.Bytes(s.MemoryBytes), cli.Bytes(s.HeapBytes))
	row("goroutines", "%d", s.Goroutines)
	return t.Flush()
}
