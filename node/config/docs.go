package config

import (
	"fmt"
	"strings"

	"wolfdisk/node/exit"
)

// Docs is docs/configuration.md, written from the table.
func Docs() []byte {
	var b strings.Builder
	b.WriteString(docsHead)
	section := ""
	for _, k := range keys {
		if k.Section != section {
			section = k.Section
			fmt.Fprintf(&b, "\n## [%s]\n\n| key | type | default | flag | variable |\n|---|---|---|---|---|\n", section)
			for _, row := range keys {
				if row.Section == section {
					fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", row.Name, row.typeName(), row.defaultDoc(), row.flagDoc(), row.envDoc())
				}
			}
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "- **%s**: %s", k.Name, k.Doc)
		if r := k.rangeDoc(); r != "" {
			fmt.Fprintf(&b, " Must be %s.", r)
		}
		if k.Reload {
			b.WriteString(" Taken anew on SIGHUP.")
		}
		b.WriteByte('\n')
	}
	b.WriteString(docsFlags)
	b.WriteString("\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, e := range exit.Table() {
		fmt.Fprintf(&b, "| %d | %s |\n", int(e.Code), e.Text)
	}
	b.WriteString(docsTail)
	return []byte(b.String())
}

func (k *Key) defaultDoc() string {
	if k.DefaultText != "" {
		return k.DefaultText
	}
	if k.Default == "" {
		return "none"
	}
	text := "`" + k.Default + "`"
	for _, p := range []Program{Master, Slave} {
		if d, ok := k.Defaults[p]; ok {
			text += fmt.Sprintf("; %s `%s`", p, d)
		}
	}
	return text
}

func (k *Key) envDoc() string {
	if k.fileOnly() {
		return "file only"
	}
	return "`" + k.Env() + "`"
}

// rangeDoc leaves out what the type says already.
func (k *Key) rangeDoc() string {
	if k.typeName() == "boolean" || k.path && !k.none {
		return ""
	}
	if len(k.OneOf) > 0 {
		quoted := make([]string, len(k.OneOf))
		for i, one := range k.OneOf {
			quoted[i] = "`" + one + "`"
		}
		return words(quoted, "or")
	}
	return k.rangeText()
}

func (k *Key) flagDoc() string {
	var list []string
	for _, f := range k.Flags {
		text := "`--" + f.Name
		if f.Arg != "" {
			text += " " + f.Arg
		}
		text += "`"
		if f.Short != "" {
			text = "`-" + f.Short + "`, " + text
		}
		if f.Programs != k.Programs {
			text += " (" + f.Programs.list() + ")"
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

// list names the programs of a set.
func (p Program) list() string {
	var names []string
	for one := Master; one <= Ctl; one <<= 1 {
		if p&one != 0 {
			names = append(names, one.String())
		}
	}
	return words(names, "and")
}

const docsHead = `# Configuration

This page is generated from the table in node/config; do not edit it (` + "`go generate ./node/config`" + `).

Every setting has a key in the configuration file and, but for ` + "`keys`, `buckets` and `secret_key` of `[s3]`" + `, an environment
variable; the common ones have a flag. A flag wins over a variable, that over the file, that over the default. A list that is given replaces the one below it. What is not
known (a key, a section, a ` + "`WOLFDISK_*`" + ` variable, a flag) is an error that names the nearest thing that is; all errors are
reported at once.

The file is TOML: ` + "`/etc/wolfdisk/config.toml`" + ` if it exists, or the one named by ` + "`--config FILE`" + ` or ` + "`WOLFDISK_CONFIG`" + `. All
programs of a machine can share it; each takes what concerns it.

` + "```toml" + `
[node]
id = "node-1"

[cluster]
peers = ["replica1", "replica2:9500", "[2001:db8::7]:9500"]

[volume]
dir = "/srv/data"
` + "```" + `

- Sizes: ` + "`\"64MiB\"`" + ` (KiB, MiB, GiB, TiB; K, M, G, T mean the same), ` + "`\"64MB\"`" + ` (millions), or a plain number of bytes.
- Durations: ` + "`\"10s\"`, `\"1m30s\"`, `\"500ms\"`" + `.
- Booleans: ` + "`true` and `false`" + `; in variables also yes, no, on, off, 1, 0.
- Paths in the file are absolute; in flags and variables they may be relative to the working directory.
- Secrets are in no variable and on no command line: a key names the file that holds the secret, and its variable ends in ` + "`_FILE`" + `. The secrets of S3 keys may stand in the configuration file itself.

` + "`wolfdisk config show`" + ` prints what is in effect, and where each value came from; ` + "`wolfdisk config validate`" + ` only checks.
`

const docsFlags = `
## -m

` + "`-m, --mirror DIR`" + ` of ` + "`wolfdisk-master`" + ` sets both ` + "`[volume] dir` and `[mount] dir`" + `: the mount is laid over the directory that
it mirrors. Of ` + "`wolfdisk-slave`" + ` it sets the mount point. ` + "`--mount`" + ` wins over it for the mount point.

State directory, mirrored directory and mount point must not lie in each other (the mount may cover the mirrored
directory exactly), and the key file must lie in none of them but the state directory. Symbolic links are followed before comparing.
`

const docsTail = `
If several things are wrong, the code is 64 as soon as one of them is on the command line.

## Signals

| signal | effect |
|---|---|
| SIGTERM, SIGINT | clean stop within ` + "`[node] stop_timeout`" + `; a second one ends the process at once |
| SIGHUP | reads the configuration again; keys marked so take effect, others are named in the log as waiting for the next start. If it has errors, they are logged and nothing changes |
`
