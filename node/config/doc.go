// Package config turns the command line, the environment and a TOML file into one
// checked, typed [Config]. It opens nothing but the configuration file and files with the
// secrets of S3 keys, and starts nothing.
//
// # One table
//
// keys.go lists every key once: section, name, type, default, range, flags, who
// has it, what it does. From this table come the strict file reader (file.go), the
// environment (env.go), the flags and their help (flags.go), the reference manual
// docs/configuration.md (docs.go; a test compares) and what "wolfdisk config show"
// prints (show.go). A key is added by adding a row and a field, nothing else, and
// only when it has an effect.
//
// # Precedence
//
// A flag wins over an environment variable, that over the file, that over the
// default. A list that is given replaces the one below it. Where a value came from
// is remembered ([Config.Origin]) and named in every message about it.
//
// # Errors
//
// What is not known is an error, with the nearest thing that is: keys and sections
// of the file with file name and line, WOLFDISK_* variables, flags. All problems
// are reported at once ([Problems]). The exit code is that of usage if the command
// line is at fault, otherwise that of configuration. Keys of other programs are
// known everywhere, so that all daemons of a machine can share one file.
//
// # Invariants
//
//   - Paths in a Config are absolute and clean, addresses have a port.
//   - A secret is in no variable and on no command line: a key names the file that holds it, or,
//     for S3 alone, the configuration file has it. It is in no message and not shown.
//   - A Config does not change after Load, except for hooks that are added to it.
package config

//go:generate go test -run TestDocs -update
