package s3

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wolfdisk/volume"
)

// listAll pages through a listing in one of three ways, and returns keys and common
// prefixes as they come.
func (r *rig) listAll(way, prefix, delim, after string, most int) (list []string) {
	r.t.Helper()
	next := ""
	for page := 0; ; page++ {
		q := url.Values{"prefix": {prefix}, "delimiter": {delim}, "max-keys": {strconv.Itoa(most)}, "encoding-type": {"url"}}
		switch way {
		case "v2":
			q.Set("list-type", "2")
			if page == 0 {
				q.Set("start-after", after)
			} else {
				q.Set("continuation-token", next)
			}
		case "v1":
			q.Set("marker", after)
		case "versions":
			q.Set("versions", "")
			q.Set("key-marker", after)
		}
		w := r.ok("GET", "/b?"+q.Encode(), "")
		var res struct {
			IsTruncated                                      bool
			NextMarker, NextKeyMarker, NextContinuationToken string
			Contents, Version                                []contents
			CommonPrefixes                                   []commonPrefix
		}
		r.xml(w, &res)
		var items []string
		for _, c := range append(res.Contents, res.Version...) {
			items = append(items, unescape(r.t, c.Key))
		}
		for _, p := range res.CommonPrefixes {
			items = append(items, "P:"+unescape(r.t, p.Prefix))
		}
		slices.SortFunc(items, func(a, b string) int {
			return strings.Compare(strings.TrimPrefix(a, "P:"), strings.TrimPrefix(b, "P:"))
		})
		list = append(list, items...)
		if len(items) > most {
			r.t.Fatalf("a page of %d items, %d were asked for", len(items), most)
		}
		if !res.IsTruncated {
			return list
		}
		if len(items) == 0 && r.s.pageBudget == pageBudget || page > 1000 {
			r.t.Fatalf("page %d has no items, but more are to come", page)
		}
		next = res.NextContinuationToken
		after = unescape(r.t, res.NextMarker+res.NextKeyMarker)
		if way == "v1" && after == "" {
			after = items[len(items)-1]
		}
	}
}

func unescape(t *testing.T, s string) string {
	u, err := url.PathUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// wantList is what a listing is by definition, from all keys and the directories that
// are none.
func wantList(keys, dirs []string, prefix, delim, after string) (list []string) {
	all := slices.Clone(keys)
	if delim == "/" {
		all = append(all, dirs...)
	}
	slices.Sort(all)
	for _, k := range all {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		item := k
		if delim != "" {
			if i := strings.Index(k[len(prefix):], delim); i >= 0 {
				item = k[:len(prefix)+i+len(delim)]
			}
		}
		common := item != k || delim != "" && strings.Contains(k[len(prefix):], delim)
		if item <= after || !common && !slices.Contains(keys, k) {
			continue
		}
		if common {
			item = "P:" + item
		}
		if !slices.Contains(list, item) {
			list = append(list, item)
		}
	}
	return list
}

// Every listing is the sorted list of all keys, whatever its pages, prefix and delimiter.
func TestListingIsTheSortedList(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			r := newRig(t)
			r.path("b/", "")
			alphabet := []string{"a", "b", "-", ".", "0", "~", "a-", "a.", "a0", "\xff", "é", "\x01"}
			var keys, dirs []string
			taken := map[string]bool{}
			for range 40 {
				depth, parts := 1+rng.IntN(3), []string(nil)
				for range depth {
					n := alphabet[rng.IntN(len(alphabet))]
					if rng.IntN(3) == 0 {
						n += alphabet[rng.IntN(len(alphabet))]
					}
					if n == "." || n == ".." {
						n = "x"
					}
					parts = append(parts, n)
				}
				key, clash := strings.Join(parts, "/"), false
				for i := 1; i < depth; i++ {
					clash = clash || taken[strings.Join(parts[:i], "/")]
				}
				for other := range taken {
					clash = clash || strings.HasPrefix(other, key+"/") || other == key
				}
				if clash || slices.Contains(dirs, key+"/") || slices.Contains(keys, key+"/") {
					continue
				}
				switch rng.IntN(5) {
				case 0:
					r.path("b/"+key+"/", "")
					parts = append(parts, "")
				case 1:
					r.ok("PUT", "/b/"+escapeKey(key)+"/", "")
					keys = append(keys, key+"/")
				default:
					r.ok("PUT", "/b/"+escapeKey(key), "x")
					keys = append(keys, key)
					taken[key] = true
				}
				for i := 1; i < len(parts); i++ {
					if d := strings.Join(parts[:i], "/") + "/"; !slices.Contains(dirs, d) {
						dirs = append(dirs, d)
					}
				}
			}
			slices.Sort(keys)
			keys = slices.Compact(keys)
			marks := append([]string{"", "a", "a/", "a-", "a/b", "zz", "\xff\xff"}, keys[:min(5, len(keys))]...)
			for _, prefix := range []string{"", "a", "a/", "a-", "b/a", "a/a/", keys[rng.IntN(len(keys))], "nothing"} {
				for _, delim := range []string{"", "/", "a", "-", "/a"} {
					for _, way := range []string{"v1", "v2", "versions"} {
						most := []int{1, 2, 3, 7, 1000}[rng.IntN(5)]
						after := marks[rng.IntN(len(marks))]
						got := r.listAll(way, prefix, delim, after, most)
						want := wantList(keys, dirs, prefix, delim, after)
						if !slices.Equal(got, want) {
							t.Fatalf("%s prefix %q delimiter %q after %q by %d:\ngot  %q\nwant %q\nkeys %q", way, prefix, delim, after, most, got, want, keys)
						}
					}
				}
			}
			for most := 1; most <= len(keys)+1; most++ {
				if got := r.listAll("v2", "", "", "", most); !slices.Equal(got, keys) {
					t.Fatalf("by %d:\ngot  %q\nwant %q", most, got, keys)
				}
			}
		})
	}
}

// counting counts the entries that a volume was asked for.
type counting struct {
	Volume
	entries int
}

func (c *counting) ReadNames(ctx context.Context, dir volume.Ino, from string, fn func(volume.DirEntry) bool) error {
	return c.Volume.ReadNames(ctx, dir, from, func(e volume.DirEntry) bool {
		c.entries++
		return fn(e)
	})
}

// A page costs what it shows, wherever in the bucket it lies.
func TestPageCost(t *testing.T) {
	var count *counting
	r := newRig(t, func(c *Config) {
		count = &counting{Volume: c.Volume}
		c.Volume = count
	})
	for i := range 3000 {
		r.path(fmt.Sprintf("b/k%06d", i), "")
	}
	for _, at := range []string{"", "k001500", "k002900"} {
		count.entries = 0
		r.ok("GET", "/b?list-type=2&max-keys=50&start-after="+at, "")
		if count.entries > 200 {
			t.Errorf("a page of 50 behind %q looked at %d entries", at, count.entries)
		}
	}
}

// A tree of empty directories ends a page early, and the pages come to an end.
func TestEmptyTree(t *testing.T) {
	r := newRig(t)
	for i := range 10 {
		for j := range 10 {
			r.path(fmt.Sprintf("b/%d/%d/", i, j), "")
		}
	}
	r.path("b/9/9/file", "")
	b := r.find("b")
	l := &lister{s: r.s, ctx: t.Context(), q: listing{most: 10}}
	pages, from := 0, ""
	for {
		w := &walker{s: r.s, ctx: t.Context(), from: from, budget: 20, visit: l.visit}
		_, err := w.walk(b.Ino)
		if pages++; err == nil || pages > 100 {
			break
		}
		if err != errBudget {
			t.Fatal(err)
		}
		if l.at.last < from {
			t.Fatalf("a page from %q came only to %q", from, l.at.last)
		}
		from = l.at.last + "\x00"
	}
	if pages < 5 || pages > 100 || len(l.page.items) != 1 {
		t.Errorf("%d pages, items %v", pages, l.page.items)
	}
}

// Pages that end early have all that is listed, once, in order, and come to an end.
func TestEarlyPages(t *testing.T) {
	r := newRig(t)
	var keys, dirs []string
	for i := range 60 { // what lies between "a" and "a/"
		keys = append(keys, fmt.Sprintf("a-%02d", i))
	}
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("a/%02d", i))
		dirs = append(dirs, fmt.Sprintf("c%02d/", i))
	}
	keys = append(keys, "c00/k", "c29/x/k", "d")
	dirs = append(dirs, "a/", "c29/x/")
	for _, p := range append(slices.Clone(keys), dirs...) {
		r.path("b/"+p, "")
	}
	// Names that make keys which nobody can ask for.
	long := strings.Repeat(strings.Repeat("e", 250)+"/", 4)
	for i := range 60 {
		r.path("b/"+long+fmt.Sprintf("%s%02d", strings.Repeat("f", 100), i), "")
	}
	for i := range 4 {
		dirs = append(dirs, long[:251*(i+1)])
	}
	for _, delim := range []string{"", "/", "-"} {
		for _, prefix := range []string{"", "a", "a/", "c", long} {
			want := wantList(keys, dirs, prefix, delim, "")
			for _, way := range []string{"v1", "v2", "versions"} {
				for _, budget := range []int{1100, 45} {
					r.s.pageBudget = budget
					if prefix == long {
						r.s.pageBudget = 1100 // it takes that many to get there
					}
					for _, most := range []int{1, 10, 1000} {
						if got := r.listAll(way, prefix, delim, "", most); !slices.Equal(got, want) {
							t.Fatalf("%s prefix %q delimiter %q by %d, budget %d:\ngot  %q\nwant %q", way, prefix, delim, most, budget, got, want)
						}
					}
				}
			}
		}
	}
}

// Clients of the first form go on behind NextMarker, or without a delimiter behind the last
// key. That is the same, unless a page ended early.
func TestNextMarker(t *testing.T) {
	r := newRig(t)
	for i := range 30 {
		r.path(fmt.Sprintf("b/dir%02d/", i), "")
	}
	r.path("b/a", "")
	r.path("b/b", "")
	marker := func(query string) string {
		var res struct {
			NextMarker  string
			IsTruncated bool
		}
		r.xml(r.ok("GET", "/b?"+query, ""), &res)
		r.same("more of "+query, res.IsTruncated, true)
		return res.NextMarker
	}
	r.same("without delimiter", marker("max-keys=1"), "a")
	r.same("with one", marker("max-keys=1&delimiter=/"), "a")
	r.s.pageBudget = 10
	r.same("ended early", marker("marker=b") > "dir", true)
}

func TestListingDetails(t *testing.T) {
	r := newRig(t)
	r.path("b/k", "content")
	r.path("b/dir/", "")
	r.do(volume.Request{Kind: volume.OpCreate, Parent: r.find("b").Ino, Name: "link", Mode: volume.ModeLink, Target: "/etc/passwd"})
	r.do(volume.Request{Kind: volume.OpCreate, Parent: r.find("b").Ino, Name: "pipe", Mode: volume.ModeFIFO})
	r.path("b/bad\x01", "")
	for _, q := range []string{"", "?list-type=2", "?versions"} {
		w := r.ok("GET", "/b"+q, "")
		if strings.Contains(w.body, "link") || strings.Contains(w.body, "pipe") || strings.Contains(w.body, "bad") || !strings.Contains(w.body, "<Key>k</Key>") {
			t.Errorf("%q: %s", q, w.body)
		}
	}
	r.same("hidden", r.s.HiddenKeys(), 3)
	if w := r.ok("GET", "/b?encoding-type=url", ""); !strings.Contains(w.body, "<Key>bad%01</Key>") {
		t.Error(w.body)
	}
	w := r.ok("GET", "/b?list-type=2&max-keys=0", "")
	if !strings.Contains(w.body, "<IsTruncated>false</IsTruncated>") || !strings.Contains(w.body, "<KeyCount>0</KeyCount>") {
		t.Error(w.body)
	}
	w = r.ok("GET", "/b?delimiter=/", "")
	if !strings.Contains(w.body, "<CommonPrefixes><Prefix>dir/</Prefix>") {
		t.Error(w.body)
	}
	r.fails("NoSuchBucket", "GET", "/c", "")
	for _, q := range []string{"max-keys=-1", "max-keys=x", "max-keys=99999999999", "list-type=2&continuation-token=%21", "list-type=2&continuation-token=", "list-type=3", "encoding-type=x"} {
		r.fails("InvalidArgument", "GET", "/b?"+q, "")
	}
}
