package s3

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/s3"
	"wolfdisk/volume"
)

// counting counts what a gateway reads of a volume's index.
type counting struct {
	s3.Volume
	n *atomic.Int64
}

func (c counting) Lookup(ctx context.Context, dir volume.Ino, name string) (volume.Attr, error) {
	c.n.Add(1)
	return c.Volume.Lookup(ctx, dir, name)
}

func (c counting) GetAttr(ctx context.Context, ino volume.Ino) (volume.Attr, error) {
	c.n.Add(1)
	return c.Volume.GetAttr(ctx, ino)
}

func (c counting) GetXattr(ctx context.Context, ino volume.Ino, name string) ([]byte, error) {
	c.n.Add(1)
	return c.Volume.GetXattr(ctx, ino, name)
}

func (c counting) ReadNames(ctx context.Context, dir volume.Ino, from string, fn func(volume.DirEntry) bool) error {
	c.n.Add(1)
	return c.Volume.ReadNames(ctx, dir, from, func(e volume.DirEntry) bool {
		c.n.Add(1)
		return fn(e)
	})
}

// fill makes empty files in a bucket, as a mount would.
func (r *rig) fill(bucket string, count int) {
	r.t.Helper()
	r.send(200, "PUT", "/"+bucket, "")
	dir := r.lookup(bucket)
	for i := range count {
		req := &volume.Request{Kind: volume.OpCreate, Caller: volume.Caller{Front: volume.FrontFUSE}, Parent: dir.Ino, Name: fmt.Sprintf("key-%07d", i), Mode: volume.ModeFile | 0o644}
		if _, err := r.lead.Do(r.t.Context(), req); err != nil {
			r.t.Fatal(err)
		}
	}
}

// nextPage gets a page of 1000 keys and returns the token of the one after.
func (r *rig) nextPage(token, first string) string {
	r.t.Helper()
	path := "/big?list-type=2"
	if token != "" {
		path += "&continuation-token=" + token
	}
	doc, _ := r.send(200, "GET", path, "")
	if !strings.Contains(doc, "<KeyCount>1000</KeyCount>") || !strings.Contains(doc, "<Key>"+first+"</Key>") {
		r.t.Fatalf("the page that begins with %s: %.600s", first, doc)
	}
	_, rest, _ := strings.Cut(doc, "<NextContinuationToken>")
	token, _, _ = strings.Cut(rest, "<")
	return token
}

func pageKey(page int) string { return fmt.Sprintf("key-%07d", page*1000) }

// A page costs what is on it, wherever it is: the index is read as often for the last as
// for the first, and not once for each key before.
func TestPageCost(t *testing.T) {
	var n atomic.Int64
	r := newRig(t, "chunks")
	r.stop()
	r.wrap = func(v s3.Volume) s3.Volume { return counting{v, &n} }
	r.start()
	const pages = 20
	r.fill("big", pages*1000)
	var costs []int64
	token := ""
	for page := range pages {
		n.Store(0)
		token = r.nextPage(token, pageKey(page))
		costs = append(costs, n.Load())
	}
	if token != "" {
		t.Error("the last page is not the last")
	}
	// The last page need not look for one more.
	if low, high := slices.Min(costs[:pages-1]), slices.Max(costs); high > low+low/100 || high > 5000 {
		t.Errorf("pages of 1000 keys read the index so many times: %v", costs)
	}
}

// Of a million keys, the 500th page comes as fast as the first.
func TestMillionKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("long form only; TestPageCost counts reads in the short form")
	}
	r := openRig(t, "chunks", diskFS{vfs.NewMem()}, "", 64<<20)
	r.fill("big", 1000000)
	tokens := []string{""}
	for page := range 500 {
		tokens = append(tokens, r.nextPage(tokens[page], pageKey(page)))
	}
	median := func(page int) time.Duration {
		var list []time.Duration
		for range 9 {
			began := time.Now()
			r.nextPage(tokens[page], pageKey(page))
			list = append(list, time.Since(began))
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	first, late := median(0), median(499)
	t.Logf("first page %v, 500th %v", first, late)
	if late > 2*first {
		t.Errorf("the 500th page takes %v, the first %v", late, first)
	}
}
