package main

import (
	"os"
	"strings"
	"testing"
)

// cells are those of a line of a table.
func cells(line string) []string {
	list := strings.Split(strings.Trim(line, "|"), "|")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func tableLines(text string) (lines []string) {
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "|") {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestReadmeTable: the table of README.md has the columns and rows that the program
// measures, each cell with a measurement.
func TestReadmeTable(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, inside, _, err := betweenMarks(string(text))
	if err != nil {
		t.Fatal(err)
	}
	lines := tableLines(inside)
	if len(lines) != len(comparedRows)+2 {
		t.Fatalf("%d lines, want %d rows below a head", len(lines), len(comparedRows))
	}
	if got := strings.Join(cells(lines[0])[1:], "; "); got != strings.Join(comparedColumns, "; ") {
		t.Errorf("columns %s", got)
	}
	for i, row := range comparedRows {
		got := cells(lines[i+2])
		if got[0] != row.what || len(got) != len(comparedColumns)+1 {
			t.Errorf("row %d is %q with %d cells, want %q with %d", i, got[0], len(got), row.what, len(comparedColumns)+1)
		}
		for _, cell := range got[1:] {
			if cell == "" || cell == cellFailed {
				t.Errorf("%s: not measured: %q", row.what, got)
			}
		}
	}
}

func TestComparisonMarkdown(t *testing.T) {
	c := &Comparison{Software: "v1", Machine: "2 x CPU", Began: "2026-01-02T03:04:05Z", Versions: []string{"lsyncd 1", "glusterfs 2"}, Tree: "3 files", Large: "4 MiB"}
	for _, column := range comparedColumns {
		for _, row := range comparedRows {
			c.set(column, row.key, column+"/"+row.key)
		}
	}
	if !c.complete() {
		t.Error("a full table is not complete")
	}
	lines := tableLines(c.markdown())
	if len(lines) != len(comparedRows)+2 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, row := range comparedRows {
		for j, cell := range cells(lines[i+2]) {
			want := row.what
			if j > 0 {
				want = comparedColumns[j-1] + "/" + row.key
			}
			if cell != want {
				t.Errorf("row %d, cell %d: %q, want %q", i, j, cell, want)
			}
		}
	}
	for _, want := range []string{"2026-01-02: v1;", "lsyncd 1, glusterfs 2", "2 x CPU", "3 files", "4 MiB"} {
		if !strings.Contains(c.markdown(), want) {
			t.Errorf("no %q in\n%s", want, c.markdown())
		}
	}
	c.set(comparedColumns[1], "rm", cellFailed)
	if c.complete() {
		t.Error("a failed cell is complete")
	}
	delete(c.Cells[comparedColumns[1]], "rm")
	if c.complete() || !strings.Contains(c.markdown(), "| "+cellFailed+" |") {
		t.Error("a missing cell is not shown as failed")
	}
}

func TestReplaceTable(t *testing.T) {
	text, err := replaceTable("a\n"+tableBegin+"old\n"+tableEnd+"b\n", "new\n")
	if err != nil || text != "a\n"+tableBegin+"new\n"+tableEnd+"b\n" {
		t.Errorf("%q, %v", text, err)
	}
	for _, bad := range []string{"", tableBegin, tableEnd + tableBegin, tableBegin + tableEnd + tableBegin} {
		if _, err := replaceTable(bad, "new\n"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
