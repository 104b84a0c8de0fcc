package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"wolfdisk/node/exit"
	"wolfdisk/node/version"
)

// Flags are the flags of the table that one program has, within a flag set.
type Flags struct {
	program Program
	values  map[string]*flagValue
	config  flagValue
	insist  Insist
}

// flagValue collects what was given and leaves the judgement to the table, so
// that a message reads the same wherever a value came from.
type flagValue struct {
	texts  []string
	typ    string
	repeat bool
}

func (v *flagValue) String() string { return "" }
func (v *flagValue) Type() string   { return v.typ }

func (v *flagValue) Set(text string) error {
	if !v.repeat {
		v.texts = v.texts[:0] // the last one counts
	}
	v.texts = append(v.texts, text)
	return nil
}

// AddFlags adds the flags of a program to fs.
func AddFlags(fs *pflag.FlagSet, p Program) *Flags {
	f := &Flags{program: p, values: make(map[string]*flagValue), config: flagValue{typ: "FILE"}}
	for _, k := range keys {
		for _, flag := range k.Flags {
			if flag.Programs&p == 0 || f.values[flag.Name] != nil {
				continue
			}
			v := &flagValue{typ: flag.Arg, repeat: k.typeName() == "list"}
			f.values[flag.Name] = v
			if flag.Arg != "" {
				fs.VarP(v, flag.Name, flag.Short, flag.Help)
				continue
			}
			v.typ = "bool" // pflag's word for "takes no argument"
			fs.VarP(v, flag.Name, flag.Short, flag.Help)
			fs.Lookup(flag.Name).NoOptDefVal = "true"
		}
	}
	if p == Master {
		fs.BoolVar(&f.insist.Adopt, "adopt", false, "take the directory although its marker is missing, or names another volume or state directory")
		fs.BoolVar(&f.insist.Force, "force", false, "take the directory although it is empty, or on another file system than before")
		fs.BoolVar(&f.insist.ConfirmDeletes, "confirm-deletes", false, "record deletions however many there are ([safety] max_delete_ratio)")
	}
	fs.Var(&f.config, "config", "configuration file (default "+defaultFile+" if present)")
	return f
}

// given is what the command line says about a key.
func (f *Flags) given(k *Key) (given, *Problem) {
	for _, flag := range k.Flags {
		v := f.values[flag.Name]
		if v == nil || len(v.texts) == 0 || flag.Programs&f.program == 0 {
			continue
		}
		g := given{origin: Origin{Source: FromFlag, Name: flag.Name}, texts: v.texts}
		if flag.Value != "" {
			var on bool
			if err := setBool(&on, v.texts[0]); err != nil {
				return given{}, &Problem{Origin: g.origin, Text: fmt.Sprintf("%q %v", v.texts[0], err)}
			}
			if !on {
				continue
			}
			g.texts = []string{flag.Value}
		}
		if flag.Invert {
			var off bool
			if err := setBool(&off, v.texts[0]); err != nil {
				return given{}, &Problem{Origin: g.origin, Text: fmt.Sprintf("%q %v", v.texts[0], err)}
			}
			g.texts = []string{fmt.Sprint(!off)}
		}
		return g, nil
	}
	return given{}, nil
}

// Shown is the error that stands for "the user asked for help or the version,
// here it is": not a failure, but nothing is to be started either.
type Shown struct{ Text string }

func (s *Shown) Error() string { return s.Text }

var about = map[Program]struct{ short, long, example string }{
	Master: {"leader: mirrors a directory to the nodes that follow",
		"wolfdisk-master leads: it mounts the directory given by -m over itself, records\nevery change made through the mount, and sends it to the nodes that follow.",
		"  wolfdisk-master -m /srv/data\n" +
			"  wolfdisk-master -m /srv/data -c replica1 -c replica2:9500\n" +
			"  wolfdisk-master -m /srv/data --mount /mnt/data   # keep the mount elsewhere\n" +
			"  wolfdisk-master -m /tmp/a --id a --state-dir /tmp/a.state --bind 127.0.0.1:9600"},
	Slave: {"follower: keeps a live, read-only copy",
		"wolfdisk-slave follows: it receives every change from the leader, keeps its own\ncopy in the state directory, and shows it read-only at the mount point.",
		"  wolfdisk-slave -m /srv/data -c leader1\n" +
			"  wolfdisk-slave --witness -c leader1              # a vote without a copy\n" +
			"  wolfdisk-slave --mount none -c leader1           # a copy without a mount\n" +
			"  wolfdisk-slave -m /tmp/b --id b --state-dir /tmp/b.state --bind 127.0.0.1:9601 -c 127.0.0.1:9600"},
}

// Load reads a program's configuration. Args are those behind the program's name,
// environ is as os.Environ gives it; readFile is os.ReadFile if nil. An error has
// the exit code to end with (exit.Of), which is OK for [Shown].
func Load(program string, args, environ []string, readFile func(string) ([]byte, error)) (*Config, error) {
	p, ok := programOf(program)
	if !ok {
		return nil, exit.Errorf(exit.Usage, "%q is no program of WolfDisk", program)
	}
	return load(p, args, newEnvironment(environ, readFile))
}

func load(p Program, args []string, env *environment) (*Config, error) {
	var (
		c     *Config
		flags *Flags
		out   bytes.Buffer
	)
	cmd := &cobra.Command{
		Use: p.String(), Short: about[p].short, Long: about[p].long, Example: about[p].example,
		SilenceErrors: true, SilenceUsage: true, DisableFlagsInUseLine: true,
		Version: version.Get(p.String()).String(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit.Errorf(exit.Usage, "unexpected argument %q: a directory is given with -m", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) (err error) {
			c, err = flags.load(env)
			return err
		},
	}
	cmd.Use += " [flags]"
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.Flags().SortFlags = false
	flags = AddFlags(cmd.Flags(), p)
	cmd.Flags().Bool("version", false, "print the version and end") // before cobra adds its own, with -v
	cmd.SetFlagErrorFunc(UsageError)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{}, args...))
	if err := cmd.Execute(); err != nil {
		return nil, err
	}
	if c == nil {
		return nil, exit.With(exit.OK, &Shown{out.String()})
	}
	return c, nil
}

// UsageError gives an error about flags its exit code and the nearest flag there
// is; it fits cobra's SetFlagErrorFunc.
func UsageError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if word, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		text += didYouMean("--"+word, names)
	}
	return exit.Errorf(exit.Usage, "%s; see %s --help", text, cmd.CommandPath())
}
