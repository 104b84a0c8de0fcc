package config

import (
	"fmt"
	"slices"
	"strings"

	"wolfdisk/node/exit"
)

// Source says which of the four ways a value came.
type Source uint8

// The sources, by rising precedence.
const (
	FromDefault Source = iota
	FromFile
	FromEnv
	FromFlag
)

// Origin says where a value came from.
type Origin struct {
	Source Source
	Name   string // of the file, variable or flag
	Line   int    // in the file
}

func (o Origin) String() string {
	switch o.Source {
	case FromFile:
		return fmt.Sprintf("%s:%d", o.Name, o.Line)
	case FromEnv:
		return o.Name
	case FromFlag:
		return "--" + o.Name
	}
	return "default"
}

// Problem is one thing that is wrong with what the program was told.
type Problem struct {
	Origin Origin
	Key    *Key      // nil if it is about no known key
	Code   exit.Code // 0: by the origin
	Text   string
}

func (p *Problem) Error() string {
	var b strings.Builder
	if p.Origin.Source != FromDefault {
		b.WriteString(p.Origin.String() + ": ")
	}
	if p.Key != nil {
		b.WriteString(p.Key.String() + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems are all that are wrong, so that they can be mended in one go.
type Problems []*Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// err is nil without problems, otherwise an error with the exit code that tells
// whether the command line or the configuration is at fault.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	usage := func(one *Problem) bool {
		return one.Code == exit.Usage || one.Code == exit.OK && one.Origin.Source == FromFlag
	}
	if slices.ContainsFunc(p, usage) {
		return exit.With(exit.Usage, p)
	}
	return exit.With(exit.Config, p)
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// didYouMean proposes the candidate nearest to a word, if one is near.
func didYouMean(word string, candidates []string) string {
	best, bestDist := "", 0
	for _, c := range candidates {
		d := distance(strings.ToLower(word), strings.ToLower(c))
		if best == "" || d < bestDist {
			best, bestDist = c, d
		}
	}
	// A third of the letters may be wrong: beyond that a proposal only confuses.
	if best == "" || bestDist > max(2, len(best)/3) {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to make b of a.
func distance(a, b string) int {
	// Long words are no typing errors of ours: keep the table small.
	const most = 64
	a, b = a[:min(len(a), most)], b[:min(len(b), most)]
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, prev, cur := rows[(i+2)%3], rows[i%3], rows[(i+1)%3]
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
