package s3

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"wolfdisk/volume"
)

// meanwhile does something just before an inode is opened, asked for its attributes, or for the checksums of its
// parts, so many times: what another client does between the look at a name and the use of what was found.
type meanwhile struct {
	Volume
	opens, looks, sums int
	do                 func()
}

func (m *meanwhile) act(left *int) {
	if *left > 0 {
		*left--
		m.do()
	}
}

func (m *meanwhile) Open(ctx context.Context, ino volume.Ino, write bool) error {
	if !write { // a PUT opens what it stages
		m.act(&m.opens)
	}
	return m.Volume.Open(ctx, ino, write)
}

func (m *meanwhile) GetAttr(ctx context.Context, ino volume.Ino) (volume.Attr, error) {
	m.act(&m.looks)
	return m.Volume.GetAttr(ctx, ino)
}

func (m *meanwhile) GetXattr(ctx context.Context, ino volume.Ino, name string) ([]byte, error) {
	if name == sumsName(0) {
		m.act(&m.sums)
	}
	return m.Volume.GetXattr(ctx, ino, name)
}

// newMeanwhile is a gateway whose object b/k is replaced when it says so.
func newMeanwhile(t *testing.T, replace func(r *rig)) (*rig, *meanwhile) {
	var m *meanwhile
	r := newRig(t, func(cfg *Config) {
		m = &meanwhile{Volume: cfg.Volume}
		cfg.Volume = m
	})
	busy := false
	m.do = func() {
		if !busy {
			busy = true
			replace(r)
			busy = false
		}
	}
	r.path("b/", "")
	return r, m
}

// An object that is replaced between the look at its name and its use is there all the time.
func TestReplacedBeforeOpen(t *testing.T) {
	n := 0
	r, m := newMeanwhile(t, func(r *rig) {
		n++
		r.ok("PUT", "/b/k", fmt.Sprint("v", n))
	})
	r.ok("PUT", "/b/k", "v0")
	for _, q := range []struct{ method, path, header string }{
		{"GET", "/b/k", ""}, {"HEAD", "/b/k", ""}, {"GET", "/b/k?partNumber=1", ""},
		{"PUT", "/b/copy", "x-amz-copy-source: b/k"},
		{"PUT", "/b/up?partNumber=1&uploadId=" + r.begin("up"), "x-amz-copy-source: b/k"},
	} {
		var extra []string
		if q.header != "" {
			extra = []string{q.header}
		}
		m.opens = 3
		w := r.ok(q.method, q.path, "", extra...)
		r.same(q.method+" "+q.path+": times replaced", m.opens, 0)
		want := fmt.Sprint("v", n)
		if q.method == "GET" {
			r.same(q.path, w.body, want)
		}
		if q.method != "PUT" {
			r.same(q.path, w.Header().Get("ETag"), quoteTag(md5Of(want)))
		} else if !strings.Contains(w.body, md5Of(want)) {
			t.Errorf("%s: %s", q.path, w.body)
		}
	}
	// The condition is of what is copied, not of what it has replaced.
	etag := r.ok("HEAD", "/b/k", "").Header().Get("ETag")
	m.opens = 1
	r.fails("PreconditionFailed", "PUT", "/b/copy", "", "x-amz-copy-source: b/k", "x-amz-copy-source-if-match: "+etag)
	// One that never rests is not said to be missing.
	m.opens = 1 << 30
	r.fails("SlowDown", "GET", "/b/k", "")
	m.opens = 0
	// One that is gone is.
	m.do = func() { r.ok("DELETE", "/b/k", "") }
	m.opens = 1
	r.fails("NoSuchKey", "GET", "/b/k", "")
}

// The checksums of the parts are of the object that the rest of the answer is of.
func TestReplacedBeforeAttributes(t *testing.T) {
	put := func(r *rig) {
		id := r.begin("k", "x-amz-checksum-algorithm: CRC32")
		etag := r.part("k", id, 1, "part", sumHeader(algoCRC32, "part"))
		r.ok("POST", "/b/k?uploadId="+id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+etag+
			"</ETag><ChecksumCRC32>"+sumOf(algoCRC32, "part")+"</ChecksumCRC32></Part></CompleteMultipartUpload>")
	}
	r, m := newMeanwhile(t, put)
	put(r)
	m.opens, m.sums = 1, 1
	w := r.ok("GET", "/b/k?attributes", "", "x-amz-object-attributes: ObjectParts")
	r.same("times replaced", m.sums, 0)
	if !strings.Contains(w.body, "<ChecksumCRC32>"+sumOf(algoCRC32, "part")) {
		t.Error(w.body)
	}
}

// A page of a listing does not lose a key that is replaced while it is made.
func TestReplacedBeforeListed(t *testing.T) {
	r, m := newMeanwhile(t, func(r *rig) { r.ok("PUT", "/b/dir/k", "new") })
	r.ok("PUT", "/b/dir/k", "old")
	r.ok("PUT", "/b/dir/l", "other")
	m.looks = 1
	w := r.ok("GET", "/b?list-type=2", "")
	r.same("times replaced", m.looks, 0)
	if !strings.Contains(w.body, "<Key>dir/k</Key>") || !strings.Contains(w.body, "<KeyCount>2</KeyCount>") || !strings.Contains(w.body, md5Of("new")) {
		t.Error(w.body)
	}
}

// Readers of a key that is written again and again always find an object.
func TestReadersOfOverwrittenKey(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	r.ok("PUT", "/b/k", "v")
	var ended atomic.Bool
	written := make(chan map[int]int, 1)
	go func() {
		written <- r.together(4, func(i int) *reply {
			for !ended.Load() {
				if w := r.send("PUT", "/b/k", fmt.Sprint("writer ", i)); w.Code != 200 {
					return w
				}
			}
			return r.send("PUT", "/b/k", "last")
		})
	}()
	codes := r.together(racers, func(i int) *reply {
		var w *reply
		for n := range 60 {
			switch (i + n) % 4 {
			case 0:
				w = r.send("HEAD", "/b/k", "")
			case 1:
				w = r.send("PUT", fmt.Sprintf("/b/copy%d", i), "", "x-amz-copy-source: b/k")
			case 2:
				if w = r.send("GET", "/b?list-type=2&prefix=k", ""); !strings.Contains(w.body, "<Key>k</Key>") {
					w.Code = 404
				}
			default:
				w = r.send("GET", "/b/k", "")
			}
			if w.Code != 200 {
				return w
			}
		}
		return w
	})
	ended.Store(true)
	r.same("readers", codes, map[int]int{200: racers})
	r.same("writers", <-written, map[int]int{200: 4})
}

// What is asked of a bucket that is removed meanwhile is answered with the bucket, not with a key.
func TestBucketRemovedMeanwhile(t *testing.T) {
	for _, q := range []string{"GET /b?list-type=2", "GET /b?versions", "GET /b?tagging", "PUT /b?tagging", "POST /b/k?uploads", "PUT /b/k", "PUT /b/d/k"} {
		var v *vanishing
		r := newRig(t, func(cfg *Config) {
			v = &vanishing{Volume: cfg.Volume, name: "b"}
			cfg.Volume = v
		})
		r.path("b/", "")
		v.do = func() { r.do(volume.Request{Kind: volume.OpRmdir, Parent: volume.RootIno, Name: "b"}) }
		method, path, _ := strings.Cut(q, " ")
		r.fails("NoSuchBucket", method, path, "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>")
		left(r, 1)
	}
}

// vanishing does something once, right after a name was looked up.
type vanishing struct {
	Volume
	name string
	do   func()
}

func (v *vanishing) Lookup(ctx context.Context, dir volume.Ino, name string) (volume.Attr, error) {
	a, err := v.Volume.Lookup(ctx, dir, name)
	if do := v.do; name == v.name && do != nil {
		v.do = nil
		do()
	}
	return a, err
}
