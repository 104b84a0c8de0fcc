package config

import (
	"fmt"
	"io"
	"strings"
)

// Show writes the effective configuration as TOML, with the origin of each value
// as a comment.
func (c *Config) Show(w io.Writer) error {
	type line struct{ text, origin string }
	var (
		lines   []line
		section string
		width   int
	)
	for _, k := range keys {
		if k.Programs&c.Program == 0 {
			continue
		}
		if k.Section != section {
			if section != "" {
				lines = append(lines, line{})
			}
			section = k.Section
			lines = append(lines, line{text: "[" + section + "]"})
		}
		l := line{k.Name + " = " + k.valueText(c), c.origins[k].String()}
		if k.value(c) == "" || k.decode != nil && c.origins[k].Source == FromDefault {
			l.text = "# " + k.Name + " is not set"
		}
		lines = append(lines, l)
		width = max(width, len(l.text))
	}
	var b strings.Builder
	file := c.File
	if file == "" {
		file = "no file"
	}
	fmt.Fprintf(&b, "# %s, %s\n", c.Program, file)
	for _, l := range lines {
		if l.origin == "" {
			fmt.Fprintln(&b, l.text)
			continue
		}
		fmt.Fprintf(&b, "%-*s  # %s\n", width, l.text, l.origin)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
