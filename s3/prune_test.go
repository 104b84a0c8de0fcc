package s3

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"wolfdisk/volume"
)

// leaving ends a request's context after a change of a kind and name, as a client does that goes away then.
type leaving struct {
	Volume
	kind   volume.OpKind
	name   string
	cancel context.CancelFunc
}

func (l *leaving) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	res, err := l.Volume.Do(ctx, req)
	if l.cancel != nil && req.Kind == l.kind && req.Name == l.name {
		l.cancel()
	}
	return res, err
}

// Directories that were made for an object do not stay without it because its client has gone.
func TestPruneWithoutClient(t *testing.T) {
	var l *leaving
	r := newRig(t, func(cfg *Config) {
		l = &leaving{Volume: cfg.Volume}
		cfg.Volume = l
	})
	r.path("b/", "")
	r.path("b/mine/", "")
	for _, row := range []struct {
		method, path string
		after        volume.OpKind
		name, header string
	}{
		{"PUT", "/b/a/b/c", volume.OpCreate, "b", ""},
		{"PUT", "/b/a/b/c", volume.OpCreate, "a", ""},
		{"PUT", "/b/mine/a/b/c/", volume.OpCreate, "b", ""},
		{"PUT", "/b/a/b/c", volume.OpCreate, "b", "x-amz-copy-source: b/src"},
		{"PUT", "/b/a/b/c/", volume.OpCreate, "b", "x-amz-copy-source: b/src"},
		{"DELETE", "/b/a/b/c", volume.OpUnlink, "c", ""},
		{"DELETE", "/b/a/b/c", volume.OpRmdir, "b", ""},
		{"DELETE", "/b/a/b/c/", volume.OpRmdir, "c", ""},
	} {
		r.ok("PUT", "/b/src", "")
		if row.method == "DELETE" {
			r.ok("PUT", row.path, "")
		}
		ctx, cancel := context.WithCancel(t.Context())
		body := "x"
		if strings.HasSuffix(row.path, "/") || row.header != "" || row.method == "DELETE" {
			body = ""
		}
		var extra []string
		if row.header != "" {
			extra = []string{row.header}
		}
		l.kind, l.name, l.cancel = row.after, row.name, cancel
		r.s.ServeHTTP(httptest.NewRecorder(), request(ctx, row.method, row.path, body, extra...))
		l.cancel = nil
		cancel()
		what := row.method + " " + row.path
		r.same(what+": directories", r.find("b/a").Ino+r.find("b/mine/a").Ino, volume.Ino(0))
		if r.find("b/mine").Ino == 0 {
			t.Error(what, "has removed a directory of a user")
		}
		r.ok("DELETE", "/b/src", "")
		left(r, 3)
	}
}

// What a daemon that was killed has left of directories goes with the next DELETE below it, which a client sends that
// missed the answer, and is not in the way of DeleteBucket.
func TestPruneLeftBehind(t *testing.T) {
	r := newRig(t)
	b := r.path("b/", "")
	leave := func(dirs ...string) {
		if _, _, err := r.s.mkdirs(t.Context(), b, dirs); err != nil {
			t.Fatal(err)
		}
	}
	leave("a", "b", "c")
	r.ok("DELETE", "/b/a/b/c/k", "")
	r.same("directories", r.find("b/a").Ino, volume.Ino(0))
	leave("a", "b")
	r.ok("DELETE", "/b/a/b/c/k", "")
	r.same("directories", r.find("b/a").Ino, volume.Ino(0))
	leave("a", "b", "c")
	r.ok("PUT", "/b/a/k", "x")
	r.ok("DELETE", "/b/a/b/c/none", "")
	r.same("what is empty", r.find("b/a/b").Ino, volume.Ino(0))
	r.same("what is not", r.ok("GET", "/b/a/k", "").body, "x")
	r.path("b/a/mine/", "")
	r.ok("DELETE", "/b/a/mine/none", "")
	if r.find("b/a/mine").Ino == 0 {
		t.Error("a directory of a user was removed")
	}

	leave("d", "e")
	r.fails("BucketNotEmpty", "DELETE", "/b", "")
	r.ok("DELETE", "/b/a/k", "")
	r.fails("BucketNotEmpty", "DELETE", "/b", "") // a/mine
	r.ok("DELETE", "/b/a/mine/", "")
	r.ok("PUT", "/b/d/f/", "")
	r.fails("BucketNotEmpty", "DELETE", "/b", "")
	r.ok("DELETE", "/b/d/f/", "")
	leave("a", "b", "c")
	leave("a", "b2")
	leave("x")
	r.ok("DELETE", "/b", "")
	left(r, 1)
}
