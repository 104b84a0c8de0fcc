package arch

import (
	"bytes"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPackageComments: every package with code says in doc.go, and nowhere else,
// what it is for.
func TestPackageComments(t *testing.T) {
	type pkg struct {
		name     string
		code     bool // something but imports
		comments []string
		doc      string
	}
	packages := map[string]*pkg{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		p := packages[s.dir]
		if p == nil {
			p = &pkg{}
			packages[s.dir] = p
		}
		p.name = s.file.Name.Name
		p.code = p.code || hasCode(s.file)
		if s.file.Doc == nil || strings.TrimSpace(s.file.Doc.Text()) == "" {
			continue
		}
		if path.Base(s.name) == "doc.go" {
			p.doc = s.file.Doc.Text()
		} else {
			p.comments = append(p.comments, s.name)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		p := packages[dir]
		begin := "Package " + p.name + " "
		if p.name == "main" {
			begin = "Command " + path.Base(dir) + " "
		}
		switch {
		case !p.code && p.doc == "":
			// blank imports that keep a library in go.mod are no package to document
		case p.doc == "":
			t.Errorf("%s: no doc.go with a package comment", dir)
		case !strings.HasPrefix(p.doc, begin):
			t.Errorf("%s/doc.go: the comment does not begin with %q", dir, begin)
		}
		if p.doc != "" && len(p.comments) > 0 {
			t.Errorf("%s: package comments outside of doc.go: %q", dir, p.comments)
		}
	}
}

// hasCode reports whether a file declares anything.
func hasCode(f *ast.File) bool {
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); !ok || g.Tok != token.IMPORT {
			return true
		}
	}
	return false
}

// machinePath is a path that exists on one machine only: somebody's home, or the
// place where this was written. A home of one letter is an example. The pattern is
// put together from pieces, so that this file does not match it.
var machinePath = regexp.MustCompile(`(^|[^\w./-])/(` + strings.Join([]string{
	"ho" + `me/[a-z]\w+`, "ro" + "ot/", "Us" + "ers/[a-z]", "wo" + `rk/(main|shared|\.)`, "tmp/w" + "d/",
}, "|") + `)`)

func TestMachinePathRule(t *testing.T) {
	home, work := "/ho"+"me/", "/wo"+"rk/"
	for text, want := range map[string]bool{
		`dir = "` + home + `alice/x"`: true, "see " + work + "main": true, "/ro" + "ot/x": true, `"/Us` + `ers/bob"`: true, "/tmp/w" + "d/x": true,
		work + "shared/x": true, "HOME=" + home + "u": false, "net" + work + "main": false, "a/ro" + "ot/b": false, "/tmp/x": false,
		"/var/lib/wolfdisk": false, "/srv/data": false, "/ro" + "ots": false,
	} {
		if got := machinePath.MatchString(text); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}

// TestNoMachinePaths: no text file knows the machine it was written on.
func TestNoMachinePaths(t *testing.T) {
	seen := 0
	walk(t, func(name, full string) {
		info, err := os.Stat(full)
		if err != nil {
			t.Error(err)
			return
		}
		if info.Size() > 4<<20 {
			return
		}
		b, err := os.ReadFile(full)
		if err != nil {
			t.Error(err)
			return
		}
		if bytes.IndexByte(b[:min(len(b), 8000)], 0) >= 0 {
			return // not text
		}
		seen++
		for i, line := range strings.Split(string(b), "\n") {
			if machinePath.MatchString(line) {
				t.Errorf("%s:%d: a path of one machine: %.200s", name, i+1, strings.TrimSpace(line))
			}
		}
	})
	if seen < 20 {
		t.Fatalf("only %d files seen: the test looks in the wrong place", seen)
	}
}
