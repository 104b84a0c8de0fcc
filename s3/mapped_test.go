package s3

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Buckets of the configuration are where it says, beside those at the root; one hides a directory
// of its name, and stays.
func TestMappedBuckets(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Buckets = map[string]string{"photos": "media/2026/photos", "films": "media/films", "plain": "file/below"}
	})
	r.path("photos/hidden", "x")
	r.path("other/a", "y")
	r.path("media/films/f", "film")
	r.path("file", "no directory")
	r.fails("NoSuchBucket", "GET", "/photos?list-type=2", "")
	if w := r.ok("GET", "/", ""); strings.Contains(w.body, "photos") || !strings.Contains(w.body, "<Name>films</Name>") {
		t.Fatal(w.body)
	}
	if err := r.s.MakeBuckets(t.Context()); err == nil || !strings.Contains(err.Error(), "plain") {
		t.Fatal("a file in the way:", err)
	}
	r.ok("PUT", "/photos/a", "picture")
	r.same("object", r.ok("GET", "/photos/a", "").body, "picture")
	r.same("the same from above", r.ok("GET", "/media/2026/photos/a", "").body, "picture")
	r.same("film", r.ok("GET", "/films/f", "").body, "film")
	r.fails("NoSuchKey", "GET", "/photos/hidden", "")
	var names []string
	for _, part := range strings.Split(r.ok("GET", "/?max-buckets=10", "").body, "<Name>")[1:] {
		name, _, _ := strings.Cut(part, "<")
		names = append(names, name)
	}
	r.same("buckets", names, []string{"films", "media", "other", "photos"})
	var paged []string
	for token, pages := "", 0; pages == 0 || token != "" && pages < 9; pages++ {
		page := r.ok("GET", "/?max-buckets=1&continuation-token="+url.QueryEscape(token), "").body
		_, rest, _ := strings.Cut(page, "<Name>")
		name, _, _ := strings.Cut(rest, "<")
		paged = append(paged, name)
		_, rest, _ = strings.Cut(page, "<ContinuationToken>")
		token, _, _ = strings.Cut(rest, "<")
	}
	r.same("buckets, one a page", paged, names)
	if w := r.ok("GET", "/?max-buckets=3", ""); !strings.Contains(w.body, "<Name>other</Name>") || strings.Contains(w.body, "<Name>photos</Name>") || !strings.Contains(w.body, "ContinuationToken") {
		t.Fatal(w.body)
	}
	r.ok("DELETE", "/photos/a", "")
	r.ok("HEAD", "/photos", "") // does not go with its last object
	r.fails("AccessDenied", "DELETE", "/photos", "")
	r.ok("PUT", "/photos", "")
	if w := r.send("PUT", "/plain", ""); w.Code != http.StatusConflict {
		t.Fatal(w.Code, w.body)
	}
}
