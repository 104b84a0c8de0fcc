package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/config"
	"wolfdisk/node/exit"
)

// Exit codes of mount(8).
const (
	mountUsage  exit.Code = 1  // incorrect invocation or permissions
	mountSystem exit.Code = 2  // system error: cannot fork, no such program, ...
	mountFailed exit.Code = 32 // mount failure
)

const mountHelp = `mount is what mount(8) calls for file systems of type wolfdisk, through
/sbin/mount.wolfdisk. It starts a daemon in the background and returns when the mount is
usable.

  wolfdisk mount SOURCE DIR [-fnrsvw] [-t TYPE] [-o OPTIONS]

SOURCE is for a leader the real directory (it may be DIR itself), and for a follower the
addresses of other nodes, HOST[:PORT], separated by commas. "none" leaves it to the
configuration. In /etc/fstab:

  /srv/data  /srv/data  wolfdisk  connect=server2,_netdev,nofail  0 0
  server1    /srv/data  wolfdisk  _netdev,nofail                  0 0

Options of its own:
  role=ROLE          leader (master) or follower (slave); a SOURCE that begins with /
                     makes a leader, any other a follower
  connect=ADDR       other node to connect to; may be repeated
  config=FILE, state-dir=DIR, key-file=FILE, id=ID, bind=ADDR, advertise=ADDR,
  compress=LEVEL, log-level=LEVEL, log-format=FORMAT
                     the flags of the daemon
  SECTION.KEY=VALUE  any key of the configuration, as admin.bind=none
  log=FILE           where the daemon writes its messages (default: a file below
                     /var/log/wolfdisk, non-root in the state directory's parent)
  timeout=TIME       how long it may take, as 90s or 5m; 0 for ever (default 1m)

ro, suid, dev, noexec and their opposites do what they say. What concerns only fstab and
mount(8) (defaults, auto, user, nofail, _netdev, x-..., atime and the like) is accepted.
Anything else is an error unless -s is given.

It ends with 0, 1 (usage), 2 (system error) or 32 (not mounted; nothing is left behind).
`

func mountCommand(environ []string, out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "mount SOURCE DIR [-o OPTIONS]", Short: "the helper of mount(8)", Long: mountHelp,
		DisableFlagParsing: true, // mount(8) has its own ideas of flags and codes
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := parseMount(args, environ)
			if errors.Is(err, pflag.ErrHelp) {
				_, err := io.WriteString(out, mountHelp)
				return err
			}
			if err != nil {
				return exit.With(mountUsage, err)
			}
			return p.run(out)
		},
	}
}

// mountPlan is what a command line of mount(8) comes to.
type mountPlan struct {
	program string   // of the daemon
	args    []string // for it
	environ []string
	dir     string // the mount point
	cfg     *config.Config
	log     string // file for its messages
	timeout time.Duration
	noexec  bool
	fake    bool // -f: everything but the mount
	verbose bool // -v
}

// parseMount reads what mount(8) passes on: SOURCE DIR [-sfnv] [-N NS] [-o OPTIONS] [-t TYPE].
func parseMount(args, environ []string) (*mountPlan, error) {
	fs := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var p mountPlan
	var opts mountOptions
	texts := fs.StringArrayP("options", "o", nil, "")
	fs.BoolVarP(&p.fake, "fake", "f", false, "")
	fs.BoolVarP(&p.verbose, "verbose", "v", false, "")
	fs.BoolVarP(&opts.sloppy, "sloppy", "s", false, "")
	fs.BoolP("no-mtab", "n", false, "")
	ro := fs.BoolP("read-only", "r", false, "")
	fs.BoolP("rw", "w", false, "")
	kind := fs.StringP("types", "t", "wolfdisk", "")
	namespace := fs.StringP("namespace", "N", "", "")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case fs.NArg() != 2:
		return nil, fmt.Errorf("mount takes a source and a mount point, not %d arguments; see wolfdisk mount --help", fs.NArg())
	case *kind != "wolfdisk" && *kind != "fuse.wolfdisk":
		return nil, fmt.Errorf("type %q: must be wolfdisk", *kind)
	case *namespace != "":
		return nil, errors.New("another mount namespace (-N) is not supported: enter it first, with nsenter --mount")
	}
	for _, text := range *texts {
		if err := opts.parse(text); err != nil {
			return nil, err
		}
	}
	if *ro {
		opts.set("mount.read_only", "true")
	}
	return p.complete(fs.Arg(0), fs.Arg(1), &opts, environ)
}

// complete puts the command line of the daemon together, and has it checked before
// anything is started.
func (p *mountPlan) complete(source, dir string, opts *mountOptions, environ []string) (*mountPlan, error) {
	leads, err := opts.leads(source)
	if err != nil {
		return nil, err
	}
	if p.dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	p.program = "wolfdisk-slave"
	switch {
	case leads && source != "none":
		p.args = []string{"-m", source, "--mount", p.dir}
	default:
		p.args = []string{"--mount", p.dir}
		if source != "none" {
			p.args = append(p.args, "--connect", source)
		}
	}
	if leads {
		p.program = "wolfdisk-master"
	}
	p.args = append(p.args, opts.flags...)
	p.environ = append(append([]string{}, environ...), opts.vars...)
	p.timeout, p.noexec, p.log = opts.timeout(), opts.noexec, opts.log
	if p.cfg, err = config.Load(p.program, p.args, p.environ, nil); err != nil {
		return nil, err
	}
	if p.log == "" {
		p.log = defaultMountLog(p.dir, p.cfg.Node.DataDir, os.Geteuid() == 0)
	}
	return p, nil
}

// defaultMountLog is a file for the messages of the daemon of a mount point.
func defaultMountLog(dir, state string, root bool) string {
	name := strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-") + ".log"
	if root {
		return filepath.Join("/var/log/wolfdisk", name)
	}
	return filepath.Join(filepath.Dir(state), "wolfdisk-"+name)
}

// command is the daemon's command line for people.
func (p *mountPlan) command() string {
	words := []string{p.program}
	for _, a := range p.args {
		words = append(words, cli.Shell(a))
	}
	return strings.Join(words, " ")
}
