package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/exit"
	"wolfdisk/node/version"
)

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stop", Short: "stop the daemon and wait until it is gone", Args: cobra.NoArgs,
		Long: "stop asks the daemon to stop cleanly and waits until its process has ended. It ends\n" +
			"with code 3 if no daemon runs, and with 7 if it is still there after --timeout.",
		RunE: func(*cobra.Command, []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.limited(waitTimeout)
			defer cancel()
			if err := c.Stop(ctx); err != nil {
				return err
			}
			if a.json() {
				return cli.JSON(a.out, map[string]bool{"stopped": true})
			}
			_, err = fmt.Fprintln(a.out, "stopped")
			return err
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "show the versions of this tool and of the daemon", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.limited(defaultTimeout)
			defer cancel()
			both := struct {
				Tool   version.Info  `json:"tool"`
				Daemon *version.Info `json:"daemon"`
			}{Tool: version.Get("wolfdiskctl")}
			daemon, err := c.Version(ctx)
			switch {
			case err == nil:
				both.Daemon = &daemon
			case exit.Of(err) != exit.NotRunning:
				return err
			}
			if a.json() {
				return cli.JSON(a.out, both)
			}
			text := both.Tool.String() + "\n"
			if both.Daemon == nil {
				text += "no daemon answers\n"
			} else {
				text += cli.Clean(both.Daemon.String()) + "\n"
			}
			_, err = fmt.Fprint(a.out, text)
			return err
		},
	}
}
