package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/exit"
	"wolfdisk/node/version"
)

func main() { os.Exit(int(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))) }

func run(args, environ []string, stdout, stderr io.Writer) exit.Code {
	root := &cobra.Command{
		Use:   "wolfdisk",
		Short: "prepare a machine for WolfDisk, check its configuration",
		Long: "wolfdisk prepares a machine for WolfDisk and checks its configuration. The daemons\n" +
			"are wolfdisk-master and wolfdisk-slave; wolfdiskctl asks and controls them.",
		Example: "  wolfdisk init\n" +
			"  wolfdisk init -d /tmp/a.state --id a --key-file /tmp/key\n" +
			"  wolfdisk config show -- -m /srv/data\n" +
			"  wolfdisk config validate --for slave --config ./config.toml",
	}
	cli.Root(root)
	root.AddCommand(initCommand(environ, stdout), configCommand(environ, stdout), mountCommand(environ, stdout), &cobra.Command{
		Use: "version", Short: "show which build this is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(stdout, version.Get("wolfdisk").String()+"\n")
			return err
		},
	})
	return cli.Execute(root, args, stdout, stderr)
}
