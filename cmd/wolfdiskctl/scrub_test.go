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

// scrubbing serves a daemon whose scrub answers with lines.
func scrubbing(t *testing.T, lines ...admin.ScrubLine) (dir string, asked *url.Values) {
	t.Helper()
	dir, asked = stateDir(t), &url.Values{}
	s, err := admin.Start(admin.Options{
		StateDir: dir, Source: newFake(), Log: zerolog.Nop(), Program: "wolfdisk-master",
		Verbs: map[string]admin.Verb{"scrub": {
			Method: http.MethodPost, Params: []string{"repair", "read_files", "rate"},
			Run: func(_ context.Context, q url.Values, emit func(any) error) error {
				*asked = q
				for _, l := range lines {
					if err := emit(l); err != nil {
						return err
					}
				}
				return nil
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return dir, asked
}

func TestScrub(t *testing.T) {
	bad := admin.ScrubLine{Damage: &admin.ScrubDamage{
		Kind: "chunk", What: "chunk 00ff", Where: "pack 00000001 at 24", Paths: []string{"a/b", "esc\x1b"}, Error: "damaged data",
	}}
	healed := admin.ScrubLine{Damage: &admin.ScrubDamage{Kind: "log", What: "frame 5 to 7", Where: "segment 0000000000000001, 90 bytes at 256", Repaired: true, Error: "damaged data"}}
	tests := []struct {
		name  string
		args  []string
		lines []admin.ScrubLine
		code  exit.Code
		want  []string
	}{
		{"clean", nil, []admin.ScrubLine{{Progress: &admin.Progress{}}, {Result: &admin.ScrubResult{Frames: 3, Notes: []string{"no hashes"}}}}, exit.OK,
			[]string{"checked 3 frames", "no hashes", "\nclean\n"}},
		{"damage left", nil, []admin.ScrubLine{bad, {Result: &admin.ScrubResult{Damaged: 1, Left: 1}}}, exit.Differences,
			[]string{"damaged: chunk, chunk 00ff, pack 00000001 at 24: damaged data (used by a/b, esc", "1 damaged, 0 repaired, 1 left", "scrub --repair"}},
		{"all repaired", []string{"--repair", "--rate", "1MiB", "--read-files"}, []admin.ScrubLine{healed, {Result: &admin.ScrubResult{Repair: true, Damaged: 1, Repaired: 1, Files: 2}}}, exit.OK,
			[]string{"repaired: log, frame 5 to 7", "1 damaged, all repaired", "2 files"}},
		{"json", []string{"-o", "json"}, []admin.ScrubLine{healed, {Result: &admin.ScrubResult{}}}, exit.OK, []string{`{"damage":{"kind":"log"`, `{"result":{`}},
		{"no result", nil, nil, exit.Failed, nil},
		{"a rate that is none", []string{"--rate", "fast"}, nil, exit.Usage, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, asked := scrubbing(t, tt.lines...)
			code, out, errs := ctl(t, dir, append([]string{"scrub"}, tt.args...)...)
			if code != tt.code {
				t.Errorf("code %d, want %d: %s%s", code, tt.code, out, errs)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in %s", want, out)
				}
			}
			if strings.Contains(out, "\x1b") {
				t.Errorf("%q would reach a terminal", out)
			}
			if tt.name == "all repaired" && (asked.Get("repair") != "true" || asked.Get("read_files") != "true" || asked.Get("rate") != "1MiB") {
				t.Errorf("asked for %v", asked)
			}
		})
	}
}
