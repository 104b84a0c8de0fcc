package main

import (
	"fmt"
	"slices"
	"strings"
)

// Comparison is WolfDisk beside other programs for the same purpose: what the table
// of README.md is made from.
type Comparison struct {
	Software string                       `json:"software"`
	Machine  string                       `json:"machine"`
	Began    string                       `json:"began"`
	Short    bool                         `json:"short"`
	Tree     string                       `json:"tree"`     // what was unpacked
	Large    string                       `json:"large"`    // the size of the large file
	Versions []string                     `json:"versions"` // of the other programs
	Cells    map[string]map[string]string `json:"cells"`    // by column, then by the key of the row
}

// comparedColumns are all that are compared, in the order of the table.
var comparedColumns = []string{"WolfDisk, 1 follower", "WolfDisk, 2 followers", "lsyncd, delay 1 s", "lsyncd, as installed", "GlusterFS, replica 2", "ext4 alone"}

// comparedRows are the table's rows: the key of the cell, and what it says.
var comparedRows = []struct{ key, what string }{
	{"untar", "Unpack a source tree"},
	{"untar-there", "… until the other side has it, after that"},
	{"create", "Create small files"},
	{"write-4k", "Write 4 KiB at random"},
	{"write-4k-fsync", "Write 4 KiB at random, `fsync` each"},
	{"write-1m", "Write 1 MiB in sequence, `fsync` at the end"},
	{"read-cold", "Read the tree on the other side, cold cache"},
	{"read-warm", "… again, warm cache"},
	{"latency", "One new small file: until the other side shows it"},
	{"patch", "4 KiB changed in a large file: until the other side has them"},
	{"patch-bytes", "… sent between the machines"},
	{"rename", "Rename the tree: until the other side has it"},
	{"rename-bytes", "… sent between the machines"},
	{"open", "4 KiB written to a file that stays open: until the other side has them"},
	{"rm", "`rm -rf` of the tree"},
	{"rm-there", "… until it is gone on the other side, after that"},
	{"lost", "Not kept on the other side"},
	{"order", "The other side shows changes in the order they were made"},
	{"behind", "Writer's machine cut off: acknowledged files that the other side lacks"},
	{"cut-read", "… the other side serves reads after"},
	{"cut-write", "… the other side takes writes after"},
	{"split", "… the same file changed on both sides meanwhile"},
}

// What a cell says that holds no measurement.
const (
	cellNone   = "–"      // does not apply, or is not worth the time
	cellFailed = "failed" // it could not be measured; the log says why
)

// complete tells whether every cell of the table was measured.
func (c *Comparison) complete() bool {
	for _, column := range comparedColumns {
		for _, row := range comparedRows {
			if cell := c.Cells[column][row.key]; cell == "" || cell == cellFailed {
				return false
			}
		}
	}
	return true
}

func (c *Comparison) set(column, key, cell string) {
	if c.Cells == nil {
		c.Cells = make(map[string]map[string]string)
	}
	if c.Cells[column] == nil {
		c.Cells[column] = make(map[string]string)
	}
	c.Cells[column][key] = cell
}

// markdown is the table with a sentence about where it comes from.
func (c *Comparison) markdown() string {
	var b strings.Builder
	day, _, _ := strings.Cut(c.Began, "T")
	fmt.Fprintf(&b, "Measured by `make compare` on %s: %s; Debian's %s; %s. ", day, c.Software, strings.Join(c.Versions, ", "), c.Machine)
	fmt.Fprintf(&b, "The machines are network namespaces of one computer, on one disk; the tree is %s, the large file %s.\n\n", c.Tree, c.Large)
	row := func(first string, cells []string) {
		fmt.Fprintf(&b, "| %s | %s |\n", first, strings.Join(cells, " | "))
	}
	row("", comparedColumns)
	row("---", slices.Repeat([]string{"---"}, len(comparedColumns)))
	for _, r := range comparedRows {
		cells := make([]string, len(comparedColumns))
		for i, column := range comparedColumns {
			if cells[i] = c.Cells[column][r.key]; cells[i] == "" {
				cells[i] = cellFailed
			}
		}
		row(r.what, cells)
	}
	return b.String()
}

// The table's place in README.md.
const (
	tableBegin = "<!-- made by make compare: begin -->\n"
	tableEnd   = "<!-- made by make compare: end -->\n"
)

// betweenMarks is what a text holds between the marks.
func betweenMarks(text string) (before, inside, after string, err error) {
	before, rest, ok := strings.Cut(text, tableBegin)
	inside, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 || strings.Contains(after, tableBegin) {
		return "", "", "", fmt.Errorf("the lines %q and %q are not there, once and in this order", tableBegin, tableEnd)
	}
	return before, inside, after, nil
}

// replaceTable puts a new table between the marks of a text.
func replaceTable(text, table string) (string, error) {
	before, _, after, err := betweenMarks(text)
	return before + tableBegin + table + tableEnd + after, err
}
