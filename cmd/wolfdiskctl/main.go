package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
	"wolfdisk/node/exit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(int(code))
}

const (
	defaultTimeout = 10 * time.Second
	// waitTimeout is for what waits for something to happen, not for an answer.
	waitTimeout = time.Minute
)

// app is what all commands share.
type app struct {
	ctx     context.Context // ends when the user interrupts
	environ []string
	out     io.Writer
	flags   *config.Flags
	timeout time.Duration // 0: the command's own default
	output  string
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) exit.Code {
	a := &app{ctx: ctx, environ: environ, out: stdout}
	root := &cobra.Command{
		Use:   "wolfdiskctl",
		Short: "ask and control the WolfDisk daemon of this machine",
		Long: "wolfdiskctl asks and controls the WolfDisk daemon of this machine, over the\n" +
			"socket in the daemon's state directory.",
		Example: "  wolfdiskctl status\n" +
			"  wolfdiskctl status --wait --max-lag 100 --timeout 30s\n" +
			"  wolfdiskctl --state-dir /tmp/b.state list servers -o json\n" +
			"  wolfdiskctl oplog tail -f",
	}
	cli.Root(root)
	flags := root.PersistentFlags()
	flags.SortFlags = false
	a.flags = config.AddFlags(flags, config.Ctl)
	flags.DurationVar(&a.timeout, "timeout", 0, "how long to wait for the daemon (default 10s; 1m for status --wait and stop)")
	flags.StringVarP(&a.output, "output", "o", "table", "table or json")
	root.AddCommand(
		a.statusCommand(),
		a.scrubCommand(),
		a.listCommand(),
		a.statsCommand(),
		a.verifyCommand(),
		a.oplogCommand(),
		a.exportCommand(),
		a.conflictsCommand(),
		a.gcCommand(),
		a.resyncCommand(),
		a.promoteCommand(),
		a.demoteCommand(),
		a.handoverCommand(),
		a.memberCommand(),
		a.reconcileCommand(),
		a.stopCommand(),
		a.versionCommand(),
	)
	return cli.Execute(root, args, stdout, stderr)
}

// client checks the common flags and returns a client for the daemon.
func (a *app) client() (*admin.Client, error) {
	if a.output != "table" && a.output != "json" {
		return nil, exit.Errorf(exit.Usage, "--output %q: must be table or json", a.output)
	}
	if a.timeout < 0 {
		return nil, exit.Errorf(exit.Usage, "--timeout %s: must not be negative", a.timeout)
	}
	cfg, err := a.flags.Load(a.environ, nil)
	if err != nil {
		return nil, err
	}
	return admin.Dial(cfg.Node.DataDir), nil
}

// limited is a context for one question; def is how long it may take unless
// --timeout says otherwise.
func (a *app) limited(def time.Duration) (context.Context, context.CancelFunc) {
	if a.timeout > 0 {
		def = a.timeout
	}
	return context.WithTimeout(a.ctx, def)
}

func (a *app) json() bool { return a.output == "json" }

// until is the error of a command that runs until the user has enough.
func (a *app) until(err error) error {
	if a.ctx.Err() != nil {
		return nil
	}
	return err
}
