package arch

import (
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page lists every place that starts a goroutine, as the first cell of a row of a
// table: the file and the function, both in backticks.
const goroutinePage = "docs/goroutines.md"

var startRow = regexp.MustCompile("(?m)^\\| `([\\w./-]+\\.go)` `([\\w.]+)` \\|")

// start is one place: a function, named Type.Method if it is a method, or the variable
// that a function without a name belongs to.
type start struct{ file, fn string }

// starts lists the functions of a file that start goroutines: by a go statement, by
// the Go method of a group, by AfterFunc of whatever package.
func starts(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		for name, node := range named(d) {
			if startsOne(node) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// named gives the functions and variables that a declaration declares.
func named(d ast.Decl) map[string]ast.Node {
	m := map[string]ast.Node{}
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			name = typeName(d.Recv.List[0].Type) + "." + name
		}
		m[name] = d
	case *ast.GenDecl:
		for _, s := range d.Specs {
			if v, ok := s.(*ast.ValueSpec); ok {
				m[v.Names[0].Name] = v
			}
		}
	}
	return m
}

// typeName is the name of a type without pointer, package and type parameters.
func typeName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.SelectorExpr:
		return x.Sel.Name
	case *ast.IndexExpr:
		return typeName(x.X)
	case *ast.IndexListExpr:
		return typeName(x.X)
	}
	return ""
}

func startsOne(n ast.Node) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			if ok && (s.Sel.Name == "Go" && len(n.Args) == 1 || s.Sel.Name == "TryGo" || s.Sel.Name == "AfterFunc") {
				found = true
			}
		}
		return !found
	})
	return found
}

func TestGoroutinesAreListed(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(goroutinePage)))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[start]int{}
	for _, m := range startRow.FindAllStringSubmatch(string(page), -1) {
		listed[start{m[1], m[2]}]++
	}
	found := map[start]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, fn := range starts(s.file) {
			at := start{s.name, fn}
			found[at] = true
			if listed[at] == 0 {
				t.Errorf("%s: %s starts a goroutine, and %s has no row \"| `%s` `%s` |\"", s.name, fn, goroutinePage, s.name, fn)
			}
		}
	}
	byName := func(a, b start) int { return strings.Compare(a.file+a.fn, b.file+b.fn) }
	for _, at := range slices.SortedFunc(maps.Keys(listed), byName) {
		if !found[at] {
			t.Errorf("%s: %s of %s starts no goroutine", goroutinePage, at.fn, at.file)
		}
	}
	if len(found) < 10 {
		t.Fatalf("only %d places found: the test looks in the wrong place", len(found))
	}
}

// TestGoroutineRule holds the search itself against examples.
func TestGoroutineRule(t *testing.T) {
	for _, row := range []struct{ code, want string }{
		{"func f() { go g() }", "f"},
		{"func (t *T[K]) f() { for { if x { go func() {}() } } }", "T.f"},
		{"func (t T) f() { t.wg.Go(t.g) }", "T.f"},
		{"func f() { time.AfterFunc(d, g) }", "f"},
		{"func f() { stop := context.AfterFunc(ctx, g); defer stop() }", "f"},
		{"var x = sync.OnceValue(func() int { go g(); return 1 })", "x"},
		{"func f() { g(func() { go h() }) }; func k() { go h() }", "f k"},
		{"func f() { a.Go(1, 2); g(); Go(h) }", ""},
		{"// go f()\nfunc f() { s := \"go g()\"; _ = s }", ""},
	} {
		file := parse(t, "package p\n"+row.code)
		if got := strings.Join(starts(file), " "); got != row.want {
			t.Errorf("%q: %q, want %q", row.code, got, row.want)
		}
	}
	rows := startRow.FindAllStringSubmatch("| `a/b_c.go` `T.f` | x |\n| started in | y |\n`a.go` `g`\n", -1)
	if len(rows) != 1 || rows[0][1] != "a/b_c.go" || rows[0][2] != "T.f" {
		t.Errorf("rows %q", rows)
	}
}
