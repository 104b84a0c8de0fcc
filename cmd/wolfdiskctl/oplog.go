package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/volume"
)

// defaultTail is how many ops are shown unless something else is asked for.
const defaultTail = 10

type tailFlags struct {
	follow bool
	from   uint64
	n      uint64
	// Whether they were given.
	hasFrom, hasN bool
}

func (a *app) oplogCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "oplog", Short: "look into the log of ops", RunE: cli.Group}
	var f tailFlags
	tail := &cobra.Command{
		Use: "tail", Short: "show ops of the log, one per line", Args: cobra.NoArgs,
		Long: "tail shows the last ops of the log, or those from a version on. With -f it goes on\n" +
			"as new ones come. Content is not shown.",
		Example: "  wolfdiskctl oplog tail -n 100\n  wolfdiskctl oplog tail -f -o json\n  wolfdiskctl oplog tail --from 4000 -n 50",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.hasFrom, f.hasN = cmd.Flags().Changed("from"), cmd.Flags().Changed("lines")
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.until(a.tail(c, f))
		},
	}
	tail.Flags().BoolVarP(&f.follow, "follow", "f", false, "wait for more ops, until interrupted")
	tail.Flags().Uint64Var(&f.from, "from", 0, "version to begin with (default: the last ops)")
	tail.Flags().Uint64VarP(&f.n, "lines", "n", defaultTail, "how many ops; with --from all unless given; with -f how many old ones")
	cmd.AddCommand(tail)
	return cmd
}

func (a *app) tail(c *admin.Client, f tailFlags) error {
	q, err := a.query(c, f)
	if err != nil || f.hasN && f.n == 0 && !f.follow {
		return err
	}
	ctx := a.ctx
	if !f.follow {
		var cancel context.CancelFunc
		ctx, cancel = a.limited(waitTimeout)
		defer cancel()
	}
	return c.Ops(ctx, q, func(l admin.OpLine) error {
		if a.json() {
			return cli.JSONLine(a.out, l)
		}
		_, err := io.WriteString(a.out, opText(l))
		return err
	})
}

// query says which ops the flags mean.
func (a *app) query(c *admin.Client, f tailFlags) (admin.OpsQuery, error) {
	q := admin.OpsQuery{From: volume.Version(f.from), Follow: f.follow}
	if f.hasFrom {
		if f.hasN && !f.follow {
			q.Limit = f.n
		}
		return q, nil
	}
	ctx, cancel := a.limited(defaultTimeout)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		return q, err
	}
	q.From = volume.Version(s.Oplog.First)
	if f.n <= s.Oplog.Last {
		q.From = max(q.From, volume.Version(s.Oplog.Last-f.n+1))
	}
	if !f.follow {
		q.Limit = f.n // ops that came since the question are not "last"
	}
	return q, nil
}

// opText is one line about an op: what, on what, by whom.
func opText(l admin.OpLine) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%10d  %s  %-11s", l.Version, cli.Clean(l.Time), cli.Clean(l.Kind))
	field := func(name, format string, args ...any) { fmt.Fprintf(&b, " "+name+"="+format, args...) }
	if l.Ino != 0 {
		field("ino", "%d", l.Ino)
	}
	if l.Name != "" {
		field("name", "%s", place(l.Parent, l.Name, l.RawName))
	}
	if l.NewName != "" {
		field("to", "%s", place(l.NewParent, l.NewName, l.RawNewName))
	}
	if l.Target != "" {
		field("target", "%s", place(0, l.Target, l.RawTarget))
	}
	if l.Replaced != 0 {
		field("replaced", "%d", l.Replaced)
	}
	switch {
	case l.Offset != nil && l.Length != nil:
		field("range", "%d+%d", *l.Offset, *l.Length)
	case l.Length != nil:
		field("length", "%d", *l.Length)
	}
	if l.Size != nil {
		field("size", "%d", *l.Size)
	}
	if l.Mode != "" {
		field("mode", "%s", cli.Clean(l.Mode))
	}
	if l.Detail != "" {
		field("detail", "%s", cli.Name(l.Detail))
	}
	field("by", "%d:%d,%s", l.UID, l.GID, cli.Clean(l.Front))
	if l.Client != "" {
		field("client", "%s", cli.Name(l.Client))
	}
	b.WriteByte('\n')
	return b.String()
}

// place is a name with the directory it is in. Of bytes that are no text, name is
// already the quoted form.
func place(dir uint64, name string, raw []byte) string {
	if raw == nil {
		name = cli.Name(name)
	} else {
		name = cli.Clean(name)
	}
	if dir == 0 {
		return name
	}
	return fmt.Sprintf("%d:%s", dir, name)
}
