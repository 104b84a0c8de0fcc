package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// page is one document.
type page struct {
	name string // from the root of the module, with slashes
	text string // without fenced code
}

var fence = regexp.MustCompile("(?ms)^```.*?^```")

// pages are README.md and everything below docs.
func pages(t *testing.T) (list []page) {
	t.Helper()
	walk(t, func(name, full string) {
		if name != "README.md" && !(strings.HasPrefix(name, "docs/") && strings.HasSuffix(name, ".md")) {
			return
		}
		b, err := os.ReadFile(full)
		if err != nil {
			t.Error(err)
			return
		}
		list = append(list, page{name, fence.ReplaceAllString(string(b), "")})
	})
	if len(list) < 5 {
		t.Fatalf("only %d pages found: the test looks in the wrong place", len(list))
	}
	return list
}

var (
	mdLink  = regexp.MustCompile(`\]\(([^()\s]*(?:\([^()\s]*\))?[^()\s]*)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *#*$`)
	scheme  = regexp.MustCompile(`^[a-z][a-z+.-]*:`)
)

// anchor is what a heading is linked by: lower case, letters, digits, '-' and '_', with
// '-' for each space.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

func anchors(text string) (list []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		list = append(list, anchor(m[1]))
	}
	return list
}

// badLink says why a link of a page leads nowhere; "" if it is well, or leads outside.
func badLink(p page, link string, exists func(string) bool, anchorsOf func(string) []string) string {
	if scheme.MatchString(link) {
		return ""
	}
	file, part, has := strings.Cut(link, "#")
	target := p.name
	if file != "" {
		if strings.HasPrefix(file, "/") {
			return "not relative"
		}
		target = path.Join(path.Dir(p.name), file)
	}
	switch {
	case target == ".." || strings.HasPrefix(target, "../"):
		return "leads out of the repository"
	case !exists(target):
		return target + " does not exist"
	case has && strings.HasSuffix(target, ".md") && !slices.Contains(anchorsOf(target), part):
		return target + " has no heading #" + part
	}
	return ""
}

func TestLinks(t *testing.T) {
	top := root(t)
	all := pages(t)
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(top, filepath.FromSlash(name)))
		return err == nil
	}
	anchorsOf := func(name string) []string {
		for _, p := range all {
			if p.name == name {
				return anchors(p.text)
			}
		}
		return nil
	}
	seen := 0
	for _, p := range all {
		for _, m := range mdLink.FindAllStringSubmatch(p.text, -1) {
			seen++
			if why := badLink(p, m[1], exists, anchorsOf); why != "" {
				t.Errorf("%s: link %q: %s", p.name, m[1], why)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("only %d links found: the pattern is wrong", seen)
	}
}

// filePath is a Go file, golden file or script named with its folder.
var filePath = regexp.MustCompile("`((?:[\\w-]+/)+[\\w.-]+\\.(?:go|golden|hex|sh))`")

func TestFilesNamedInDocsExist(t *testing.T) {
	top := root(t)
	seen := 0
	for _, p := range pages(t) {
		for _, m := range filePath.FindAllStringSubmatch(p.text, -1) {
			seen++
			if _, err := os.Stat(filepath.Join(top, filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names %s: %v", p.name, m[1], err)
			}
		}
	}
	if seen < 20 {
		t.Fatalf("only %d files named: the pattern is wrong", seen)
	}
}

// symbols knows what the source declares: "pkg.Name" for everything at the top level of
// a package, "Type.Name" and "pkg.Type.Name" for methods and fields, and "Name".
type symbols struct {
	all   map[string]bool
	first map[string]bool // names of packages and types
}

func newSymbols() *symbols { return &symbols{map[string]bool{}, map[string]bool{}} }

func (s *symbols) add(pkg string, file *ast.File) {
	s.first[pkg] = true
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				s.top(pkg, d.Name.Name)
			} else {
				s.member(pkg, typeName(d.Recv.List[0].Type), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						s.top(pkg, n.Name)
					}
				case *ast.TypeSpec:
					s.top(pkg, spec.Name.Name)
					s.first[spec.Name.Name] = true
					s.members(pkg, spec.Name.Name, spec.Type)
				}
			}
		}
	}
}

func (s *symbols) top(pkg, name string) { s.all[pkg+"."+name], s.all[name] = true, true }

func (s *symbols) member(pkg, typ, name string) {
	s.all[typ+"."+name], s.all[pkg+"."+typ+"."+name] = true, true
}

func (s *symbols) members(pkg, typ string, x ast.Expr) {
	var fields *ast.FieldList
	switch x := x.(type) {
	case *ast.StructType:
		fields = x.Fields
	case *ast.InterfaceType:
		fields = x.Methods
	default:
		return
	}
	for _, f := range fields.List {
		for _, n := range f.Names {
			s.member(pkg, typ, n.Name)
		}
		if len(f.Names) == 0 {
			s.member(pkg, typ, typeName(f.Type))
		}
	}
}

// dotted is a name in backticks that looks like code of ours: two or three words with
// dots between, perhaps with parentheses.
var dotted = regexp.MustCompile("`([A-Za-z]\\w*(?:\\.[A-Za-z]\\w*){1,2})(?:\\(\\))?`")

// unknown lists the dotted names of a text that nothing declares. With strict, also
// those whose first word is neither a package nor a type of ours.
func (s *symbols) unknown(text string, strict bool) (bad []string) {
	for _, m := range dotted.FindAllStringSubmatch(text, -1) {
		name := m[1]
		first, _, _ := strings.Cut(name, ".")
		switch {
		case s.all[name], fileNames.MatchString(name):
		case strict, s.first[first] && !slices.Contains(keySections, first):
			bad = append(bad, name)
		}
	}
	return bad
}

// fileNames end like files, keySections begin keys of the configuration.
var (
	fileNames   = regexp.MustCompile(`\.(go|mod|md|key|toml|sock|seg|pack|new|tmp|golden|wolfdisk|service)$`)
	keySections = []string{"node", "volume", "oplog", "admin", "log", "mount", "cluster", "network", "replication", "elect"}
	// strictPages may name nothing but code of ours.
	strictPages = []string{"docs/architecture.md", "docs/goroutines.md", "docs/formats.md"}
	// notOurs are names of others in strict pages.
	notOurs = []string{"security.capability"}
)

// TestNamesInDocsExist: a function, method or type that a page names is declared.
func TestNamesInDocsExist(t *testing.T) {
	sym := newSymbols()
	for _, s := range sources(t) {
		if !s.test {
			sym.add(s.file.Name.Name, s.file)
		}
	}
	seen := 0
	for _, p := range pages(t) {
		strict := slices.Contains(strictPages, p.name)
		seen += len(dotted.FindAllString(p.text, -1))
		for _, name := range sym.unknown(p.text, strict) {
			if !slices.Contains(notOurs, name) {
				t.Errorf("%s names %s, which nothing declares", p.name, name)
			}
		}
	}
	if seen < 50 {
		t.Fatalf("only %d names found: the pattern is wrong", seen)
	}
}

// TestDecisions: decisions are numbered in their file's name and heading, each number
// once.
func TestDecisions(t *testing.T) {
	form := regexp.MustCompile(`^docs/decisions/(\d{4})-[a-z0-9-]+\.md$`)
	byNumber := map[string]string{}
	for _, p := range pages(t) {
		if !strings.HasPrefix(p.name, "docs/decisions/") {
			continue
		}
		m := form.FindStringSubmatch(p.name)
		if m == nil {
			t.Errorf("%s: not named like docs/decisions/0001-word.md", p.name)
			continue
		}
		if other := byNumber[m[1]]; other != "" {
			t.Errorf("%s and %s have one number", other, p.name)
		}
		byNumber[m[1]] = p.name
		if want := fmt.Sprintf("# %s. ", strings.TrimLeft(m[1], "0")); !strings.HasPrefix(p.text, want) {
			t.Errorf("%s does not begin with %q", p.name, want)
		}
	}
	if len(byNumber) == 0 {
		t.Fatal("no decisions found")
	}
}

func parse(t *testing.T, code string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", code, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestDocRules holds the rules of this file against examples.
func TestDocRules(t *testing.T) {
	p := page{name: "docs/a.md"}
	exists := func(name string) bool {
		return name == "docs/b.md" || name == "README.md" || name == "docs/a.md" || name == "docs"
	}
	anchorsOf := func(string) []string { return anchors("# Start after kill -9\n## `a_b` and c(d)\n") }
	for link, ok := range map[string]bool{
		"b.md": true, "../README.md": true, "https://x.org/y": true, "#start-after-kill--9": true, "b.md#a_b-and-cd": true, ".": true,
		"c.md": false, "../../x": false, "/b.md": false, "#start": false, "b.md#": false, "README.md": false,
	} {
		if why := badLink(p, link, exists, anchorsOf); (why == "") != ok {
			t.Errorf("link %q: %q, want allowed %t", link, why, ok)
		}
	}
	if got := mdLink.FindAllStringSubmatch("[a](b) and [c](d(e).md), (f)", -1); len(got) != 2 || got[0][1] != "b" || got[1][1] != "d(e).md" {
		t.Errorf("links %q", got)
	}
	sym := newSymbols()
	sym.add("pkg", parse(t, "package pkg\ntype T struct { *E; F int }\nfunc (t *T) M() {}\nfunc f() {}\nconst C = 1\ntype I interface { N() }"))
	for name, want := range map[string]string{
		"pkg.f": "", "pkg.T": "", "T.M()": "", "pkg.T.M": "", "T.F": "", "T.E": "", "I.N": "", "pkg.C": "", "x.go": "",
		"pkg.g": "pkg.g", "T.Gone": "T.Gone", "I.M": "I.M", "pkg.T.N": "pkg.T.N",
	} {
		if got := strings.Join(sym.unknown("see `"+name+"` there", false), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := sym.unknown("`other.thing`", false); got != nil {
		t.Errorf("not strict: %q", got)
	}
	if got := sym.unknown("`other.thing`", true); len(got) != 1 {
		t.Errorf("strict: %q", got)
	}
	if got := fence.ReplaceAllString("a\n```sh\n[x](y)\n```\nb", ""); strings.Contains(got, "x") {
		t.Errorf("fenced code stays: %q", got)
	}
}
