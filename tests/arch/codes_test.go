package arch

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	code    = regexp.MustCompile(`WD-[0-9]{4}`)
	codeRow = regexp.MustCompile(`(?m)^\| (WD-[0-9]{4}) \|`)
)

// TestCodes: each code that a program says has one line in docs/operations.md, and each line there
// is of a code that can be met.
func TestCodes(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				for _, c := range code.FindAllString(lit.Value, -1) {
					said[c] = true
				}
			}
			return true
		})
	}
	for c := range said {
		if c != "WD-1200" && strings.HasPrefix(c, "WD-12") {
			t.Errorf("%s is written out, but WD-1200 and those after it are made of the kinds of errors", c)
		}
	}
	text, err := os.ReadFile(root(t) + "/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, m := range codeRow.FindAllStringSubmatch(string(text), -1) {
		rows[m[1]]++
	}
	if len(said) < 50 {
		t.Fatalf("only %d codes found: the test looks in the wrong place", len(said))
	}
	for _, c := range slices.Sorted(maps.Keys(said)) {
		if rows[c] != 1 {
			t.Errorf("%s has %d lines in docs/operations.md", c, rows[c])
		}
	}
	for _, c := range slices.Sorted(maps.Keys(rows)) {
		if !said[c] {
			t.Errorf("docs/operations.md explains %s, which no program says", c)
		}
	}
}
