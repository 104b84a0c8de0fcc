package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/config"
	"wolfdisk/node/exit"
)

func configCommand(environ []string, out io.Writer) *cobra.Command {
	var program, file string
	cmd := &cobra.Command{Use: "config", Short: "show or validate the configuration of a daemon", RunE: cli.Group}
	cmd.PersistentFlags().StringVar(&program, "for", "master", "which daemon: master or slave")
	cmd.PersistentFlags().StringVar(&file, "config", "", "configuration file (default as for the daemons)")
	const how = "Flags behind -- are taken as those of the daemon, and the environment counts as it\nwould there. "
	cmd.AddCommand(&cobra.Command{
		Use: "show [-- FLAGS OF THE DAEMON]", Short: "print what would be in effect, and where each value comes from",
		Long:    "show prints what would be in effect if the daemon were started now, as a\nconfiguration file, with the origin of each value. " + how,
		Example: "  wolfdisk config show --for slave -- -m /srv/data -c leader1",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := load(cmd, program, file, args, environ)
			if err != nil {
				return shown(out, err)
			}
			return c.Show(out)
		},
	}, &cobra.Command{
		Use: "validate [-- FLAGS OF THE DAEMON]", Short: "check the configuration without starting anything",
		Long:    "validate ends with code 0 if the daemon would accept its configuration, with 64 or\n78 and a list of all that is wrong if not. " + how,
		Example: "  wolfdisk config validate --config ./config.toml -- -m /srv/data",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := load(cmd, program, file, args, environ)
			if err != nil {
				return shown(out, err)
			}
			what := "no file"
			if c.File != "" {
				what = c.File
			}
			_, err = fmt.Fprintf(out, "ok: %s would start with this (%s)\n", c.Program, what)
			return err
		},
	})
	return cmd
}

func load(cmd *cobra.Command, program, file string, args, environ []string) (*config.Config, error) {
	if program != "master" && program != "slave" {
		return nil, exit.Errorf(exit.Usage, "--for %q: must be master or slave", program)
	}
	if n := cmd.ArgsLenAtDash(); len(args) > 0 && n != 0 {
		return nil, exit.Errorf(exit.Usage, "unexpected argument %q: flags of the daemon stand behind --", args[0])
	}
	if file != "" {
		args = append([]string{"--config", file}, args...)
	}
	return config.Load("wolfdisk-"+program, args, environ, nil)
}

// shown writes what a daemon would write instead of starting (help, version).
func shown(out io.Writer, err error) error {
	var s *config.Shown
	if !errors.As(err, &s) {
		return err
	}
	_, err = io.WriteString(out, s.Text)
	return err
}
