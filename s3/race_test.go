package s3

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// together sends n requests at once, and returns how often each status came.
func (r *rig) together(n int, send func(i int) *reply) map[int]int {
	codes := map[int]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			w := send(i)
			mu.Lock()
			defer mu.Unlock()
			codes[w.Code]++
		})
	}
	close(start)
	wg.Wait()
	return codes
}

const racers = 32

// Of 32 conditional writers exactly one wins, whatever directories have to be made.
func TestRaces(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	for round := range 20 {
		key := fmt.Sprintf("/b/d%d/e/k", round)
		codes := r.together(racers, func(i int) *reply {
			return r.send("PUT", key, fmt.Sprintf("writer %d", i), "If-None-Match: *")
		})
		r.same("If-None-Match", codes, map[int]int{200: 1, 412: racers - 1})
		etag := r.ok("HEAD", key, "").Header().Get("ETag")
		codes = r.together(racers, func(i int) *reply {
			return r.send("PUT", key, fmt.Sprintf("second %d", i), "If-Match: "+etag)
		})
		r.same("If-Match", codes, map[int]int{200: 1, 412: racers - 1})
		etag = r.ok("HEAD", key, "").Header().Get("ETag")
		codes = r.together(racers, func(i int) *reply {
			if i%2 == 0 {
				return r.send("DELETE", key, "", "If-Match: "+etag)
			}
			return r.send("PUT", key, fmt.Sprintf("third %d", i), "If-Match: "+etag)
		})
		if codes[200]+codes[204] != 1 || codes[412]+codes[404] != racers-1 {
			t.Fatalf("delete and put: %v", codes)
		}
		r.ok("DELETE", key, "")
	}
	left(r, 2)
}

// Puts and deletes in the same directories: what was put is there, and no directory is left.
func TestPruneAgainstPut(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	for range 20 {
		codes := r.together(racers, func(i int) *reply {
			key := fmt.Sprintf("/b/a/b/k%d", i)
			if w := r.send("PUT", key, "x"); w.Code != 200 {
				return w
			}
			if w := r.send("GET", key, ""); w.Code != 200 {
				return w
			}
			return r.send("DELETE", key, "")
		})
		r.same("answers", codes, map[int]int{204: racers})
		left(r, 2)
	}
}

// Tags are of the content they were given to, or of none.
func TestTagsAgainstPut(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	r.ok("PUT", "/b/k", "v0")
	codes := r.together(racers, func(i int) *reply {
		if i%4 == 0 {
			return r.send("PUT", "/b/k", fmt.Sprint("v", i))
		}
		return r.send("PUT", "/b/k?tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>"+strings.Repeat("x", i)+"</Value></Tag></TagSet></Tagging>")
	})
	r.same("answers", codes, map[int]int{200: racers})
	if w := r.ok("GET", "/b/k", ""); w.Header().Get("ETag") != quoteTag(md5Of(w.body)) {
		t.Errorf("%q has the ETag %s", w.body, w.Header().Get("ETag"))
	}
	left(r, 3)
}
