package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"wolfdisk/cmd/internal/cli"
	"wolfdisk/node/admin"
)

// conflictView shows the lines about conflicts.
type conflictView struct {
	a       *app
	show    bool // of one record, with all about it
	diff    bool
	dropped bool
	records int
	table   strings.Builder
	result  *admin.ConflictResult
}

func (v *conflictView) line(l *admin.ConflictLine) error {
	if l.Result != nil {
		v.result = l.Result
	}
	if l.Record != nil {
		v.records++
	}
	if v.a.json() {
		return cli.JSONLine(v.a.out, l)
	}
	text := ""
	switch {
	case l.Record != nil && v.show:
		text = recordText(l.Record)
	case l.Record != nil:
		v.row(l.Record)
	case l.Entry != nil:
		text = entryText(l.Entry)
	case l.Compared != nil:
		text = comparedText(l.Compared)
	case l.Note != nil:
		text = fmt.Sprintf("%s: %s: %s\n", cli.Clean(l.Note.Kind), pathText(l.Note.ConflictPath), cli.Clean(l.Note.Text))
	case l.Result != nil && v.dropped:
		text = fmt.Sprintf("dropped %s; %d left\n", cli.Clean(l.Result.ID), l.Result.Open)
	case l.Result != nil:
		text = v.resultText(l.Result)
	}
	_, err := io.WriteString(v.a.out, text)
	return err
}

func (v *conflictView) row(r *admin.ConflictRecord) {
	if v.records == 1 {
		v.table.WriteString("ID\tKIND\tWHEN\tNODE\tWINNER\tFROM\tTO\tCHANGED\tREMOVED\tBYTES\tSTATE\n")
	}
	state := "open"
	if r.Error != "" {
		state = r.Error
	}
	fmt.Fprintf(&v.table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", cli.Clean(r.ID), dash(cli.Clean(r.Kind)), when(r.Created), dash(cli.Clean(r.Node)), dash(cli.Clean(r.Winner)),
		r.Common+1, r.Mine.Version, r.Entries, r.Removed, cli.Bytes(r.Bytes), cli.Clean(state))
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// endList writes the table, when all its rows are known.
func (v *conflictView) endList() error {
	if v.a.json() {
		return nil
	}
	if v.records == 0 {
		_, err := io.WriteString(v.a.out, "no conflict records\n")
		return err
	}
	t := tabwriter.NewWriter(v.a.out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(t, v.table.String()); err != nil {
		return err
	}
	return t.Flush()
}

func recordText(r *admin.ConflictRecord) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, cli.Clean(fmt.Sprintf(format, args...)))
	}
	row("record", "%s (%s), made %s", r.ID, r.Kind, when(r.Created))
	row("lost by", "%s", r.Node)
	row("won by", "%s", orNone(r.Winner))
	if r.Why != "" {
		row("why", "%s", r.Why)
	}
	row("common", "version %d", r.Common)
	row("lost", "through version %d, epoch %d of %s", r.Mine.Version, r.Mine.Epoch, orNone(r.Mine.EpochLeader))
	if r.Theirs.Version > 0 { // with edits it is not known
		row("won", "version %d, epoch %d of %s", r.Theirs.Version, r.Theirs.Epoch, orNone(r.Theirs.EpochLeader))
	}
	switch {
	case r.OpsFrom == 0:
		row("ops", "none: the log no longer had them")
	case !r.OpsComplete:
		row("ops", "%d, from version %d: the log no longer had those before; what was removed by them is not known", r.Ops, r.OpsFrom)
	default:
		row("ops", "%d, all", r.Ops)
	}
	row("holds", "%d changed, %d of them lost names, %d came and went; %s of content", r.Entries, r.Removed, r.Transient, cli.Bytes(r.Bytes))
	if r.BaseBytes > 0 {
		row("unchanged", "%s of content are known by their hashes only, and taken from the volume", cli.Bytes(r.BaseBytes))
	}
	if r.Unreadable > 0 {
		row("unreadable", "%s could not be read when the record was made", cli.Bytes(r.Unreadable))
	}
	t.Flush() // into memory: cannot fail
	return b.String() + "\n"
}

func pathText(p admin.ConflictPath) string {
	if p.Raw != nil {
		return cli.Clean(p.Path) // quoted already
	}
	return cli.Name(p.Path)
}

func pathsText(list []admin.ConflictPath) string {
	var words []string
	for _, p := range list {
		words = append(words, pathText(p))
	}
	return strings.Join(words, " ")
}

func entryText(e *admin.ConflictEntry) string {
	var b strings.Builder
	name := pathsText(e.Paths)
	if name == "" {
		name = fmt.Sprintf("(no name, inode %d)", e.Ino)
	}
	fmt.Fprintf(&b, "%s: %s, %s", name, cli.Clean(e.Kind), cli.Clean(strings.Join(e.What, " ")))
	if e.Known {
		fmt.Fprintf(&b, ", mode %s, %d:%d", cli.Clean(e.Mode), e.UID, e.GID)
		if e.Kind == "file" {
			fmt.Fprintf(&b, ", %d bytes", e.Size)
		}
		if e.Mtime != nil {
			fmt.Fprintf(&b, ", mtime %s", e.Mtime.UTC().Format(time.RFC3339Nano))
		}
	}
	if e.Target != nil {
		fmt.Fprintf(&b, ", leads to %s", pathText(*e.Target))
	}
	if e.Content == "ranges" {
		fmt.Fprintf(&b, ", %s of its content kept", cli.Bytes(e.Bytes))
	}
	if e.Ops > 0 {
		fmt.Fprintf(&b, ", ops %d to %d", e.First, e.Last)
	}
	b.WriteByte('\n')
	if len(e.Removed) > 0 {
		fmt.Fprintf(&b, "  no longer: %s\n", pathsText(e.Removed))
	}
	if e.Unreadable > 0 {
		fmt.Fprintf(&b, "  %d bytes could not be read\n", e.Unreadable)
	}
	return b.String()
}

func comparedText(c *admin.ConflictCompared) string {
	state := cli.Clean(c.State)
	switch {
	case c.Removed && c.State == "same":
		state = "removed there too"
	case c.Removed:
		state = "removed by the fork, and still there"
	}
	s := fmt.Sprintf("%s: %s", pathText(c.ConflictPath), state)
	if len(c.Fields) > 0 {
		s += " (" + cli.Clean(strings.Join(c.Fields, ", ")) + ")"
	}
	if c.Now != nil {
		s += ", now " + pathText(*c.Now)
	}
	return s + "\n"
}

func (v *conflictView) resultText(r *admin.ConflictResult) string {
	if v.diff {
		return fmt.Sprintf("%d paths: %d same, %d differ, %d missing, %d displaced\n", r.Same+r.Differs+r.Missing+r.Displaced, r.Same, r.Differs, r.Missing, r.Displaced)
	}
	where := "the volume"
	if r.Dir != "" {
		where = cli.Name(r.Dir)
	}
	return fmt.Sprintf("restored into %s: %d written (%s), %d of them beside their places, %d there already, %d directories made, %d not whole, %d refused\n",
		where, r.Written, cli.Bytes(r.Bytes), r.Beside, r.Kept, r.Folders, r.Partial, r.Refused)
}
