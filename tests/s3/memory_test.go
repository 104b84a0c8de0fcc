package s3

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rss is the memory of this process that is no file's, bytes.
func rss(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, is := strings.CutPrefix(line, "RssAnon:"); is {
			var kib int64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Skip("this system does not tell the memory of a process")
	return 0
}

// pieces is content that costs no memory.
type pieces struct {
	piece []byte
	left  int64
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(int64(len(b)), p.left)], p.piece)
	p.left -= int64(n)
	return n, nil
}

// An object of 2 GiB goes through the gateway, both ways, in a bounded memory: client,
// gateway and volume together stay below 64 MiB over what they need idle.
func TestMemoryOfLargeObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("long form only")
	}
	const size, most = int64(2 << 30), int64(64 << 20)
	r := newDiskRig(t, "dir")
	r.send(200, "PUT", "/bucket", "")
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	move := func(key string, n int64) {
		req, err := http.NewRequest("PUT", r.url+"/bucket/"+key, &pieces{piece, n})
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = n
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
		if res, err = http.Get(r.url + "/bucket/" + key); err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if k, err := io.Copy(io.Discard, res.Body); err != nil || k != n {
			t.Fatalf("%d of %d bytes came back: %v", k, n, err)
		}
	}
	move("small", 32<<20) // fills the pools and caches
	debug.FreeOSMemory()
	idle := rss(t)
	var high atomic.Int64
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			high.Store(max(high.Load(), rss(t)))
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	move("large", size)
	close(done)
	<-watched
	t.Logf("idle %d MiB, at most %d MiB", idle>>20, high.Load()>>20)
	if high.Load()-idle > most {
		t.Errorf("2 GiB took %d MiB over the %d MiB of an idle gateway", (high.Load()-idle)>>20, idle>>20)
	}
}
