package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/config"
	"wolfdisk/node/exit"
	"wolfdisk/wire"
)

func initCommand(environ []string, out io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use: "init", Short: "make the state directory and the cluster key, and say what to do next", Args: cobra.NoArgs,
		Long: "init makes the state directory and, when it is absent, the cluster key, and prints\n" +
			"what to copy to the other nodes and what to start. What is there already stays as\n" +
			"it is, so it can be run again.",
		Example: "  wolfdisk init\n  wolfdisk init -d /tmp/a.state --id a --key-file /tmp/key",
	}
	cmd.Flags().SortFlags = false
	flags := config.AddFlags(cmd.Flags(), config.Tool)
	cmd.RunE = func(*cobra.Command, []string) error {
		c, err := flags.Load(environ, nil)
		if err != nil {
			return err
		}
		return initialise(c, machineOf(environ), out)
	}
	return cmd
}

// machine is what the printed commands depend on.
type machine struct{ user, host string }

func machineOf(environ []string) machine {
	m := machine{user: "root", host: "THIS_HOST"}
	if os.Geteuid() != 0 {
		m.user = "USER"
		for _, kv := range environ {
			if user, ok := strings.CutPrefix(kv, "USER="); ok && user != "" {
				m.user = user
			}
		}
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		m.host = host
	}
	return m
}

func initialise(c *config.Config, m machine, out io.Writer) error {
	madeDir, err := makeStateDir(c.Node.DataDir, c.Node.KeyFile)
	if err != nil {
		return err
	}
	keys, madeKey, err := wire.LoadOrCreate(c.Node.KeyFile)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "state directory  %s (%s)\n", c.Node.DataDir, made(madeDir))
	fmt.Fprintf(&b, "cluster key      %s (%s)\n", c.Node.KeyFile, made(madeKey))
	fmt.Fprintf(&b, "cluster          %s\n", keys.ClusterID())
	b.WriteString(nextSteps(c, m))
	_, err = io.WriteString(out, b.String())
	return err
}

func made(now bool) string {
	if now {
		return "made"
	}
	return "was there"
}

// nextSteps are the commands to type, complete but for the names of other machines.
func nextSteps(c *config.Config, m machine) string {
	key := cli.Shell(c.Node.KeyFile)
	other := m.user + "@OTHER"
	var flags string
	for _, f := range []struct{ key, flag, value string }{
		{"node.id", "--id", c.Node.ID}, {"node.data_dir", "--state-dir", c.Node.DataDir}, {"node.key_file", "--key-file", c.Node.KeyFile},
	} {
		if !c.IsDefault(f.key) {
			flags += " " + f.flag + " " + cli.Shell(f.value)
		}
	}
	keyFlag := ""
	if !c.IsDefault("node.key_file") {
		keyFlag = " --key-file " + key
	}
	return "\nCopy the key to every other node of the cluster, and to nobody else:\n" +
		"  ssh " + other + " mkdir -p " + cli.Shell(cli.Shell(filepath.Dir(c.Node.KeyFile))) + "\n" +
		"  scp -p " + key + " " + other + ":" + cli.Shell(c.Node.KeyFile) + "\n" +
		"\nThen, if this node is to lead:\n" +
		"  wolfdisk-master -m /srv/data" + flags + "\n" +
		"and on each of the others:\n" +
		"  wolfdisk-slave -m /srv/data -c " + cli.Shell(m.host) + keyFlag + "\n" +
		"\nIf this node is to follow a leader elsewhere:\n" +
		"  wolfdisk-slave -m /srv/data -c LEADER" + flags + "\n" +
		"\nTo see how it goes:\n" +
		"  wolfdiskctl" + stateFlag(c) + " status\n"
}

func stateFlag(c *config.Config) string {
	if c.IsDefault("node.data_dir") {
		return ""
	}
	return " --state-dir " + cli.Shell(c.Node.DataDir)
}

// makeStateDir makes the directory, or checks that the one that is there is empty or
// a state directory already, and closes it to others.
func makeStateDir(dir, keyFile string) (created bool, err error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, createDir(dir)
	}
	if err != nil {
		return false, exit.Errorf(exit.Failed, "look at the state directory: %w", err)
	}
	if !info.IsDir() {
		return false, exit.Errorf(exit.Unsafe, "%s is no directory: choose another with -d", dir)
	}
	if err := checkOurs(dir, keyFile); err != nil {
		return false, err
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return false, fmt.Errorf("close the state directory to others: %w", err)
		}
	}
	return false, nil
}

func createDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	return nil
}

// stateMagic begins the file "state" of every state directory.
const stateMagic = "WOLFSTAT"

// checkOurs refuses a directory that holds somebody's files: a daemon would put its
// own among them.
func checkOurs(dir, keyFile string) error {
	ours, err := hasState(filepath.Join(dir, "state"))
	if ours || err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into the state directory: %w", err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "lost+found": // a file system of its own
		case name == "lock", name == "state.new": // left by a start that was cut short
		case filepath.Join(dir, name) == keyFile:
		default:
			return exit.Errorf(exit.Unsafe, "%s is not empty (%q is in it) and no state directory of WolfDisk: choose another with -d, or empty it", dir, name)
		}
	}
	return nil
}

func hasState(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into the state directory: %w", err)
	}
	defer f.Close()
	magic := make([]byte, len(stateMagic))
	if _, err := io.ReadFull(f, magic); err != nil {
		return false, nil // too short, or a directory: none of ours
	}
	return string(magic) == stateMagic, nil
}
