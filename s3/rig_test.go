package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// trusting is a Verifier that believes everybody.
type trusting struct{ key sig.Key }

func (v trusting) Verify(r *http.Request) (*sig.Result, error) {
	res, err := (&sig.Verifier{Keys: noKeys{}}).Verify(r)
	if err == nil {
		res.Key = v.key
	}
	return res, err
}

type noKeys struct{}

func (noKeys) Find(string) (sig.Key, bool) { return sig.Key{}, false }
func (noKeys) Empty() bool                 { return true }

// rig is a gateway over a volume in memory.
type rig struct {
	t   *testing.T
	s   *Server
	m   *volumetest.Model
	now time.Time // as the test has it; the gateway reads clock

	clock atomic.Pointer[time.Time]
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, m: volumetest.NewModel(volumetest.Options{}), now: time.Now()}
	cfg := DefaultConfig()
	cfg.Volume, cfg.Auth, cfg.UID, cfg.GID = r.m, trusting{}, 12, 34
	r.pass(0)
	cfg.Now = func() time.Time { return *r.clock.Load() }
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.s = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// pass lets time go by.
func (r *rig) pass(d time.Duration) {
	now := r.now.Add(d)
	r.now = now
	r.clock.Store(&now)
}

// reply is an answer with its body.
type reply struct {
	*httptest.ResponseRecorder
	body string
}

// request is a request as net/http's server makes it; extra are headers, "name: value".
func request(ctx context.Context, method, path, body string, extra ...string) *http.Request {
	req := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	req.Header.Set("Content-Length", strconv.Itoa(len(body)))
	for _, h := range extra {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		} else {
			req.Header.Set(name, value)
		}
	}
	return req
}

// send makes a request; extra are headers, "name: value".
func (r *rig) send(method, path, body string, extra ...string) *reply {
	r.t.Helper()
	req := request(r.t.Context(), method, path, body, extra...)
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		r.s.ServeHTTP(w, req)
	}()
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return &reply{w, string(b)}
}

// ok is send for what must succeed.
func (r *rig) ok(method, path, body string, extra ...string) *reply {
	r.t.Helper()
	w := r.send(method, path, body, extra...)
	if w.Code/100 != 2 {
		r.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.body)
	}
	return w
}

// fails is send for what must be refused with a code.
func (r *rig) fails(code string, method, path, body string, extra ...string) *reply {
	r.t.Helper()
	w := r.send(method, path, body, extra...)
	var e errorBody
	if method == http.MethodHead {
		e.Code = code
		if w.Code != statuses[code] {
			e.Code = fmt.Sprint(w.Code)
		}
	} else if err := xml.Unmarshal([]byte(w.body), &e); err != nil && w.Code != http.StatusNotModified {
		r.t.Fatalf("%s %s: %d %q: %v", method, path, w.Code, w.body, err)
	}
	if w.Code == http.StatusNotModified {
		e.Code = "NotModified"
	}
	if e.Code != code || e.Code != "NotModified" && w.Code != statuses[code] {
		r.t.Fatalf("%s %s: %d %s, want %s", method, path, w.Code, w.body, code)
	}
	return w
}

func (r *rig) xml(w *reply, v any) {
	r.t.Helper()
	if err := xml.Unmarshal([]byte(w.body), v); err != nil {
		r.t.Fatalf("%q: %v", w.body, err)
	}
}

func (r *rig) same(what string, got, want any) {
	r.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// do changes the volume as a mount would.
func (r *rig) do(req volume.Request) volume.Result {
	r.t.Helper()
	req.Caller.Front = volume.FrontFUSE
	res, err := r.m.Do(r.t.Context(), &req)
	if err != nil {
		r.t.Fatalf("%s of %s %q: %v", req.Kind, req.Parent, req.Name, err)
	}
	return res
}

// path makes all of a path as a mount would; with a slash at its end a directory.
func (r *rig) path(p, content string) volume.Ino {
	r.t.Helper()
	dirs, name, isDir := splitKey(p)
	at := volume.RootIno
	if isDir {
		dirs = append(dirs, name)
	}
	for _, d := range dirs {
		a, err := r.m.Lookup(r.t.Context(), at, d)
		if err != nil {
			a = r.do(volume.Request{Kind: volume.OpCreate, Parent: at, Name: d, Mode: volume.ModeDir | 0o755}).Attr
		}
		at = a.Ino
	}
	if isDir {
		return at
	}
	ino := r.do(volume.Request{Kind: volume.OpCreate, Parent: at, Name: name, Mode: volume.ModeFile | 0o644}).Attr.Ino
	for content != "" {
		n := min(len(content), volume.MaxWrite)
		r.do(volume.Request{Kind: volume.OpWrite, Ino: ino, Append: true, Data: []byte(content[:n])})
		content = content[n:]
	}
	return ino
}

// find is the inode at a path; 0 if there is none.
func (r *rig) find(p string) volume.Attr {
	at := volume.Attr{Ino: volume.RootIno}
	for _, name := range strings.Split(p, "/") {
		var err error
		if at, err = r.m.Lookup(r.t.Context(), at.Ino, name); err != nil {
			return volume.Attr{}
		}
	}
	return at
}

func pattern(n int, seed byte) string {
	b := make([]byte, 0, n)
	for len(b) < min(n, 64<<10) {
		b = append(b, byte(len(b)>>8)^byte(len(b)*7)^seed)
	}
	for len(b) < n {
		b = append(b, b[:min(len(b), n-len(b))]...)
		b[len(b)-1]++ // no period
	}
	return string(b)
}
