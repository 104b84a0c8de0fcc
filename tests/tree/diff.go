package tree

import (
	"bufio"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
)

// Tree maps a path, relative to the root "." of the tree, to its fields.
type Tree map[string]map[string]string

// Parse reads what Write wrote.
func Parse(r io.Reader) (Tree, error) {
	t := make(Tree)
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), 16<<20)
	for line := 1; sc.Scan(); line++ {
		parts := strings.Split(sc.Text(), "\t")
		path, err := strconv.Unquote(parts[0])
		if err != nil {
			return nil, fmt.Errorf("line %d: path %s: %w", line, parts[0], err)
		}
		fields := make(map[string]string, len(parts)-1)
		for _, p := range parts[1:] {
			name, value, ok := strings.Cut(p, "=")
			if !ok {
				return nil, fmt.Errorf("line %d: field %q has no value", line, p)
			}
			fields[name] = value
		}
		if _, twice := t[path]; twice {
			return nil, fmt.Errorf("line %d: path %q occurs twice", line, path)
		}
		t[path] = fields
	}
	return t, sc.Err()
}

// Rules say what a comparison leaves out.
type Rules struct {
	Ignore     []string // fields, in every entry
	IgnoreRoot []string // fields, in the root only
	Skip       []string // paths, with everything below them
}

// Plain compares a mount with the plain directory that is left when its daemon has
// stopped: inode numbers and ctimes belong to the lower file system, and the
// reserved folder counts in the link count of the root.
var Plain = Rules{
	Ignore:     []string{"ino", "ctime"},
	IgnoreRoot: []string{"nlink"},
	Skip:       []string{".wolfdisk"},
}

func (r Rules) skips(path string) bool {
	for _, s := range r.Skip {
		if path == s || strings.HasPrefix(path, s+"/") {
			return true
		}
	}
	return false
}

func (r Rules) ignores(path, field string) bool {
	for _, f := range r.Ignore {
		if f == field {
			return true
		}
	}
	if path != "." {
		return false
	}
	for _, f := range r.IgnoreRoot {
		if f == field {
			return true
		}
	}
	return false
}

// Diff lists the differences of two trees, one per line, sorted; none if they are
// equal by the rules.
func Diff(a, b Tree, rules Rules) []string {
	var out []string
	for path, fa := range a {
		if rules.skips(path) {
			continue
		}
		fb, ok := b[path]
		if !ok {
			out = append(out, fmt.Sprintf("%q: only in the first", path))
			continue
		}
		out = append(out, diffFields(path, fa, fb, rules)...)
	}
	for path := range b {
		if _, ok := a[path]; !ok && !rules.skips(path) {
			out = append(out, fmt.Sprintf("%q: only in the second", path))
		}
	}
	sort.Strings(out)
	return out
}

func diffFields(path string, a, b map[string]string, rules Rules) []string {
	var out []string
	report := func(field string) {
		if a[field] != b[field] && !rules.ignores(path, field) {
			out = append(out, fmt.Sprintf("%q: %s %s, %s", path, field, shown(a, field), shown(b, field)))
		}
	}
	for field := range a {
		report(field)
	}
	for field := range b {
		if _, ok := a[field]; !ok {
			report(field)
		}
	}
	return out
}

func shown(f map[string]string, field string) string {
	v, ok := f[field]
	if !ok {
		return "(absent)"
	}
	return v
}
