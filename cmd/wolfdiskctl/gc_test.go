package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

func TestGC(t *testing.T) {
	dir := stateDir(t)
	var asked url.Values
	refuse := false
	verb := admin.Verb{Method: http.MethodPost, Params: []string{"dry_run", "now"}, Run: func(_ context.Context, q url.Values, emit func(any) error) error {
		asked = q
		if refuse {
			return admin.Refused("WD-1163", "a copy is being made", "wait")
		}
		if err := emit(admin.GCLine{Phase: "sweep"}); err != nil {
			return err
		}
		return emit(admin.GCLine{Result: &admin.GCResult{
			DryRun: q.Get("dry_run") == "1", Files: 1, MovedBytes: 1 << 20, Chunks: 10, Live: 4, Kept: 1, Marked: 2, Removed: 3, RemovedBytes: 5 << 20,
			Packs: 2, CopiedBytes: 3 << 20, FreedBytes: 8 << 20, DeadBytes: 512,
		}})
	}}
	s, err := admin.Start(admin.Options{StateDir: dir, Source: newFake(), Log: zerolog.Nop(), Program: "wolfdisk-master", Verbs: map[string]admin.Verb{"gc": verb}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
	})
	for _, c := range []struct {
		args   []string
		golden string
		query  string
	}{
		{[]string{"gc"}, "gc.golden", ""},
		{[]string{"gc", "--now", "--dry-run"}, "gc-dry.golden", "dry_run=1&now=1"},
		{[]string{"-o", "json", "gc", "--now"}, "gc-json.golden", "now=1"},
	} {
		code, out, errs := ctl(t, dir, c.args...)
		if code != exit.OK || errs != "" || asked.Encode() != c.query {
			t.Errorf("%v: code %d, %s, asked %q", c.args, code, errs, asked.Encode())
		}
		golden(t, c.golden, out)
	}
	refuse = true
	if code, _, errs := ctl(t, dir, "gc"); code != exit.Unsafe || !strings.Contains(errs, "WD-1163") {
		t.Errorf("refused: code %d, %s", code, errs)
	}
	if code, _, _ := ctl(t, dir, "gc", "more"); code != exit.Usage {
		t.Errorf("an argument: code %d", code)
	}
}
