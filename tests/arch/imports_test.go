package arch

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "wolfdisk"

// levels are the components, each named by its top directory: one may import those
// of the levels before its own, and nothing else of ours. Components on one level do
// not know each other.
var levels = [][]string{
	{"volume"},
	{"oplog", "wire", "index", "hostdir", "chunkstore", "elect", "fusefs", "s3"},
	{"master", "slave"},
	{"node"},
	{"cmd"},
}

// outside are top directories that are no components: nothing imports them.
var outside = []string{"tests", "internal", "contrib", "bench"}

// testHelpers are packages that only tests import, from any level.
var testHelpers = []string{"volume/volumetest", "volume/volumetest/powerdisk"}

// source is one Go file of the module.
type source struct {
	name    string // from the root of the module, with slashes
	dir     string
	test    bool
	imports []string // paths within the module if they are ours
	file    *ast.File
}

// component is the top directory of a path within the module.
func component(dir string) string {
	top, _, _ := strings.Cut(dir, "/")
	return top
}

func levelOf(component string) (int, bool) {
	for i, names := range levels {
		if slices.Contains(names, component) {
			return i, true
		}
	}
	return 0, false
}

// root is the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// walk calls fn for every file of the module, by its path with slashes. What git
// does not keep (bin, hidden directories) is left out.
func walk(t *testing.T, fn func(name, full string)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, full)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && name != "." && name != ".ci"
			if hidden || name == "bin" || d.Name() == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() && name != ".git" { // a file in a worktree
			fn(name, full)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources parses every Go file, whatever its build tags say.
func sources(t *testing.T) (list []source) {
	t.Helper()
	set := token.NewFileSet()
	walk(t, func(name, full string) {
		if !strings.HasSuffix(name, ".go") || strings.Contains("/"+name, "/testdata/") {
			return
		}
		file, err := parser.ParseFile(set, full, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		s := source{name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), file: file}
		for _, spec := range file.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Errorf("%s: import %s: %v", name, spec.Path.Value, err)
				continue
			}
			s.imports = append(s.imports, p)
		}
		list = append(list, s)
	})
	if len(list) < 20 {
		t.Fatalf("only %d Go files found: the test looks in the wrong place", len(list))
	}
	return list
}

// ours is an import's path within the module.
func ours(imported string) (dir string, ok bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

const sameLevel = "they are on one level"

// breaks says why a file in dir may not import a package of ours; "" if it may.
func breaks(dir string, test bool, imported string) string {
	from, to := component(dir), component(imported)
	if test && slices.Contains(testHelpers, imported) {
		return ""
	}
	if from == to && !slices.Contains(testHelpers, imported) {
		return ""
	}
	if slices.Contains(testHelpers, imported) {
		return "only tests import it"
	}
	toLevel, known := levelOf(to)
	switch {
	case slices.Contains(outside, to):
		return "nothing imports " + to
	case !known:
		return to + " is in no level of the list"
	case slices.Contains(outside, from):
		return "" // tests of everything may know everything
	}
	fromLevel, known := levelOf(from)
	switch {
	case !known:
		return from + " is in no level of the list"
	case fromLevel == toLevel:
		return sameLevel
	case fromLevel < toLevel:
		return to + " is above it"
	}
	return ""
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		for _, p := range s.imports {
			dir, ok := ours(p)
			if !ok {
				continue
			}
			why := breaks(s.dir, s.test, dir)
			if why == sameLevel && strings.HasSuffix(s.file.Name.Name, "_test") {
				continue // a test from outside may put neighbours together
			}
			if why != "" {
				t.Errorf("%s imports %s: %s", s.name, p, why)
			}
		}
	}
}

// TestRule holds the rule itself against examples.
func TestRule(t *testing.T) {
	for _, row := range []struct {
		from string
		test bool
		to   string
		ok   bool
	}{
		{"index", false, "volume", true},
		{"master", false, "volume", true},
		{"master", false, "oplog", true},
		{"node", false, "wire", true},
		{"cmd/wolfdisk", false, "node", true},
		{"cmd/wolfdisk", false, "node/config", true},
		{"fusefs/bazil", false, "fusefs", true},
		{"index", true, "volume/volumetest", true},
		{"volume", true, "volume/volumetest", true},
		{"tests/cluster", true, "node", true},
		{"index", false, "volume/volumetest", false},
		{"volume", false, "volume/volumetest", false},
		{"volume", false, "index", false},
		{"oplog", false, "wire", false},
		{"oplog", true, "wire", false},
		{"master", false, "slave", false},
		{"fusefs", false, "node", false},
		{"wire", false, "master", false},
		{"node", false, "cmd/wolfdisk", false},
		{"node", false, "unheard", false},
		{"unheard", false, "volume", false},
		{"index", false, "internal/deps", false},
		{"index", true, "tests/cluster", false},
	} {
		if why := breaks(row.from, row.test, row.to); (why == "") != row.ok {
			t.Errorf("%s (test %t) imports %s: %q, want allowed %t", row.from, row.test, row.to, why, row.ok)
		}
	}
}

// TestElectIsPure: the election reads no clock and opens no socket; time and
// messages come to it from outside. Its tests may do as they like.
func TestElectIsPure(t *testing.T) {
	packages := []string{"net", "os", "syscall", "runtime", "golang.org/x/sys", "crypto/rand", "math/rand"}
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep"}
	for _, s := range sources(t) {
		if component(s.dir) != "elect" || s.test {
			continue
		}
		for _, p := range s.imports {
			for _, bad := range packages {
				if p == bad || strings.HasPrefix(p, bad+"/") {
					t.Errorf("%s imports %s", s.name, p)
				}
			}
		}
		timeName := ""
		for _, spec := range s.file.Imports {
			if spec.Path.Value == `"time"` {
				timeName = "time"
				if spec.Name != nil {
					timeName = spec.Name.Name
				}
			}
		}
		if timeName == "." {
			t.Errorf("%s imports time with a dot", s.name)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || timeName == "" {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == timeName && slices.Contains(clock, sel.Sel.Name) {
				t.Errorf("%s uses time.%s", s.name, sel.Sel.Name)
			}
			return true
		})
	}
}

// TestVolumeIsVocabulary: volume imports nothing of ours.
func TestVolumeIsVocabulary(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir != "volume" || s.test {
			continue
		}
		for _, p := range s.imports {
			if _, ok := ours(p); ok {
				t.Errorf("%s imports %s", s.name, p)
			}
		}
	}
}

// TestNobodyPlantsBugs: what makes a machine err is for tests.
func TestNobodyPlantsBugs(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Plant" {
				t.Errorf("%s uses Plant", s.name)
			}
			return true
		})
	}
}
