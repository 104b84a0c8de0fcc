package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"wolfdisk/node/config"
	"wolfdisk/node/exit"
	"wolfdisk/node/version"
)

// Root prepares a root command: no usage text behind every error, our version line,
// our codes.
func Root(root *cobra.Command) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Version = version.Get(root.Name()).String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().Bool("version", false, "print the version and end") // before cobra adds its own, with -v
	root.SetFlagErrorFunc(config.UsageError)
	root.RunE = Group
}

// Group is what a command does that only holds others.
func Group(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if len(args) > 0 {
		return exit.Errorf(exit.Usage, "unknown command %q: %s knows %s; see %s --help", args[0], cmd.CommandPath(), strings.Join(names, ", "), cmd.CommandPath())
	}
	return exit.Errorf(exit.Usage, "say what to do: %s; see %s --help", strings.Join(names, ", "), cmd.CommandPath())
}

// Execute runs a command line and returns the code to end with. Errors from before
// the command itself ran are about the command line.
func Execute(root *cobra.Command, args []string, stdout, stderr io.Writer) exit.Code {
	root.SetArgs(append([]string{}, args...))
	root.SetOut(stdout)
	root.SetErr(stderr)
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	err := root.Execute()
	if err == nil {
		return exit.OK
	}
	if text := err.Error(); text != "" {
		for line := range strings.SplitSeq(text, "\n") {
			fmt.Fprintf(stderr, "%s: %s\n", root.Name(), Clean(line))
		}
	}
	if !started {
		return exit.Usage
	}
	return exit.Of(err)
}

// Quiet is an error that only carries a code: everything has been said.
func Quiet(code exit.Code) error { return exit.Errorf(code, "") }

// JSON writes a value for people and scripts.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// JSONLine writes a value on one line.
func JSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Clean replaces what could move the cursor, or is no text, in what others sent.
func Clean(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// Name shows a file name: as it is if it is one plain word, otherwise quoted.
func Name(s string) string {
	for _, r := range s {
		if r == '"' || r == '\\' || r == '\'' || r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return strconv.Quote(s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}

// Shell quotes a word for a shell where that is needed.
func Shell(s string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-+:@,=%", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Bytes shows a number of bytes with three digits.
func Bytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	f, i := float64(n)/1024, 0
	for f >= 999.5 && i < len(units)-1 {
		f /= 1024
		i++
	}
	digits := 0
	switch {
	case f < 9.995:
		digits = 2
	case f < 99.95:
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, f, units[i])
}
