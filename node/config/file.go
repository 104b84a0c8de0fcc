package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// given is a value as a source has it, before the key's type is applied.
type given struct {
	origin Origin
	texts  []string
	table  any // of keys that are tables
}

// place is where a name stands in a file.
type place struct {
	path []string
	line int
	leaf bool // a value, not a table
}

// readTOML returns what a file gives for each key, and all that is wrong with its
// names and types. Values are not checked.
func readTOML(name string, data []byte) (map[*Key]given, []*Problem) {
	at := func(line int, format string, args ...any) *Problem {
		return &Problem{Origin: Origin{Source: FromFile, Name: name, Line: line}, Text: fmt.Sprintf(format, args...)}
	}
	if len(data) > maxFile {
		return nil, []*Problem{at(1, "has more than %d bytes", maxFile)}
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		line := 1
		var d *toml.DecodeError
		if errors.As(err, &d) {
			line, _ = d.Position()
		}
		return nil, []*Problem{at(line, "%s", strings.TrimPrefix(err.Error(), "toml: "))}
	}
	places, err := placesOf(data)
	if err != nil {
		return nil, []*Problem{at(1, "%v", err)}
	}
	values := make(map[*Key]given)
	var problems []*Problem
	for _, p := range places {
		key, text := find(p)
		if text != "" {
			problems = append(problems, at(p.line, "%s", text))
			continue
		}
		if key == nil {
			continue // the head of a section
		}
		section, ok := tree[key.Section].(map[string]any)
		if !ok {
			problems = append(problems, at(p.line, "[%s] is one section: write it once, as [%s]", key.Section, key.Section))
			continue
		}
		if key.decode != nil {
			if _, seen := values[key]; !seen {
				values[key] = given{origin: Origin{FromFile, name, p.line}, table: section[key.Name]}
			}
			continue
		}
		texts, wrong := key.textsOf(section[key.Name])
		if wrong != "" {
			problem := at(p.line, "%s", wrong)
			problem.Key = key
			problems = append(problems, problem)
			continue
		}
		values[key] = given{origin: Origin{FromFile, name, p.line}, texts: texts}
	}
	return values, problems
}

// placesOf lists the sections and values of a document that has been parsed
// without error before, in its order.
func placesOf(data []byte) ([]place, error) {
	var (
		p      unstable.Parser
		places []place
		table  []string
	)
	p.Reset(data)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			path, line := keyOf(&p, e)
			table = path
			places = append(places, place{path: path, line: line})
		case unstable.KeyValue:
			places = addValue(&p, places, table, e)
		}
	}
	return places, p.Error()
}

func addValue(p *unstable.Parser, places []place, table []string, e *unstable.Node) []place {
	path, line := keyOf(p, e)
	path = append(append([]string(nil), table...), path...)
	value := e.Value()
	if value.Kind != unstable.InlineTable {
		return append(places, place{path, line, true})
	}
	places = append(places, place{path: path, line: line})
	for it := value.Children(); it.Next(); {
		places = addValue(p, places, path, it.Node())
	}
	return places
}

func keyOf(p *unstable.Parser, e *unstable.Node) (path []string, line int) {
	for it := e.Key(); it.Next(); {
		if line == 0 {
			line = p.Shape(it.Node().Raw).Start.Line
		}
		path = append(path, string(it.Node().Data))
	}
	return path, line
}

// find looks a place up in the table. Text says what is wrong with its name.
func find(p place) (key *Key, text string) {
	name := strings.Join(p.path[1:], ".")
	if !knownSection(p.path[0]) {
		if p.leaf && len(p.path) == 1 {
			return nil, fmt.Sprintf("unknown key %q outside of a section%s", p.path[0], meantKey("", p.path[0]))
		}
		return nil, fmt.Sprintf("unknown section [%s]%s", p.path[0], didYouMean(p.path[0], sections()))
	}
	if len(p.path) == 1 {
		if p.leaf {
			return nil, fmt.Sprintf("%q is a section: write [%s] on a line of its own", p.path[0], p.path[0])
		}
		return nil, ""
	}
	for _, k := range keys {
		if k.decode != nil && k.Section == p.path[0] && k.Name == p.path[1] {
			return k, "" // with all that is in it
		}
		if k.Section != p.path[0] || k.Name != name {
			continue
		}
		if !p.leaf {
			return nil, fmt.Sprintf("%s is a %s, not a section", k, k.typeName())
		}
		return k, ""
	}
	return nil, fmt.Sprintf("unknown key [%s] %s%s", p.path[0], name, meantKey(p.path[0], name))
}

func sections() []string {
	var list []string
	for _, k := range keys {
		if len(list) == 0 || list[len(list)-1] != k.Section {
			list = append(list, k.Section)
		}
	}
	return list
}

func knownSection(name string) bool { return contains(sections(), name) }

// meantKey proposes a key: the same name in another section, or one that is
// spelled alike, rather in the same section.
func meantKey(section, name string) string {
	var same, all []string
	for _, k := range keys {
		if k.Name == name {
			return fmt.Sprintf(" (did you mean %s?)", k)
		}
		if k.Section == section {
			same = append(same, k.String())
		}
		all = append(all, k.String())
	}
	if section != "" {
		if meant := nearKey(name, same); meant != "" {
			return meant
		}
	}
	return nearKey(name, all)
}

// nearKey compares names without their sections.
func nearKey(name string, candidates []string) string {
	names := make([]string, len(candidates))
	for i, c := range candidates {
		names[i] = c[strings.IndexByte(c, ' ')+1:]
	}
	meant := didYouMean(name, names)
	for i, n := range names {
		if meant == fmt.Sprintf(" (did you mean %s?)", n) {
			return fmt.Sprintf(" (did you mean %s?)", candidates[i])
		}
	}
	return ""
}

// textsOf gives a value of the file the form that variables and flags have, if its
// TOML type is the right one.
func (k *Key) textsOf(value any) (texts []string, wrong string) {
	want := ""
	switch typ := k.typeName(); typ {
	case "boolean":
		if b, ok := value.(bool); ok {
			return []string{strconv.FormatBool(b)}, ""
		}
		want = "true or false, without quotes"
	case "integer":
		if n, ok := value.(int64); ok {
			return []string{strconv.FormatInt(n, 10)}, ""
		}
		want = "a number, without quotes"
	case "ratio":
		switch n := value.(type) {
		case int64:
			return []string{strconv.FormatInt(n, 10)}, ""
		case float64:
			return []string{strconv.FormatFloat(n, 'g', -1, 64)}, ""
		}
		want = "a number, without quotes"
	case "list":
		return listOf(value)
	default:
		if s, ok := value.(string); ok {
			return []string{s}, ""
		}
		if n, ok := value.(int64); ok && typ == "size" {
			return []string{strconv.FormatInt(n, 10)}, ""
		}
		want = "a text in quotes"
		if typ == "size" {
			want = "a size in quotes like \"64MiB\", or a number of bytes"
		}
	}
	return nil, fmt.Sprintf("is %s, must be %s", kindOf(value), want)
}

func listOf(value any) (texts []string, wrong string) {
	items, ok := value.([]any)
	if !ok {
		return nil, fmt.Sprintf("is %s, must be a list like [\"a\", \"b\"]", kindOf(value))
	}
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, fmt.Sprintf("has %s in the list, must have texts in quotes", kindOf(item))
		}
		if s == "" {
			return nil, "has an empty text in the list"
		}
		texts = append(texts, s)
	}
	return texts, ""
}

func kindOf(value any) string {
	switch value.(type) {
	case bool:
		return "a boolean"
	case int64:
		return "a number"
	case float64:
		return "a number with a fraction"
	case string:
		return "a text"
	case []any:
		return "a list"
	case map[string]any:
		return "a section"
	}
	return "a date or time"
}
