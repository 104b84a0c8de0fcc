package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

// serveVerify is a daemon whose comparisons say these lines, and the parameters they got.
func serveVerify(t *testing.T, lines *[]admin.VerifyLine, fail *error) (dir string, got *url.Values) {
	t.Helper()
	dir, got = stateDir(t), &url.Values{}
	s, err := admin.Start(admin.Options{StateDir: dir, Source: newFake(), Log: zerolog.Nop(), Program: "wolfdisk-master", Verbs: map[string]admin.Verb{
		"verify": {Method: http.MethodGet, Params: []string{"path", "names_only", "connected"}, Run: func(_ context.Context, q url.Values, emit func(any) error) error {
			*got = q
			for _, l := range *lines {
				if err := emit(l); err != nil {
					return err
				}
			}
			return *fail
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return dir, got
}

func sampleResult(differences, skipped uint64) admin.VerifyLine {
	return admin.VerifyLine{Result: &admin.VerifyResult{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 12.3456, Version: 77, Names: 40, Files: 30, Bytes: 5 << 20,
		Nodes: []admin.VerifyNode{{ID: "alpha", Compared: true}, {ID: "beta", Compared: true}, {ID: "gamma", Reason: "not connected"}}, Differences: differences, NotCompared: skipped,
	}}
}

func TestVerify(t *testing.T) {
	var lines []admin.VerifyLine
	var fail error
	dir, got := serveVerify(t, &lines, &fail)
	difference := admin.VerifyLine{Difference: &admin.VerifyDifference{Path: "a b", Kind: "mode", Node: "beta", Detail: "100644 on alpha, 100645 here\x1b[2J"}}
	raw := admin.VerifyLine{Difference: &admin.VerifyDifference{Path: `"a\xff"`, RawPath: []byte("a\xff"), Kind: "content", Node: "alpha", Detail: "other content"}}
	file := admin.VerifyLine{Skipped: &admin.VerifySkipped{Path: "log", Reason: "it changes all the time"}}
	node := admin.VerifyLine{Skipped: &admin.VerifySkipped{Node: "gamma", Reason: "not connected"}}
	progress := admin.VerifyLine{Progress: &admin.Progress{Phase: "verifying content", Percent: 12}}
	tests := []struct {
		name  string
		args  []string
		lines []admin.VerifyLine
		fail  error
		code  exit.Code
		query string
		out   []string
		err   string
	}{
		{"equal", nil, []admin.VerifyLine{progress, sampleResult(0, 0)}, nil, exit.OK, "",
			[]string{"equal: 2 of 3 nodes, names and attributes at version 77, content of 30 files (5.00 MiB), in 12.346s"}, ""},
		{"differences", []string{"x/y", "--names-only", "--connected"}, []admin.VerifyLine{difference, raw, sampleResult(2, 0)}, nil, exit.Differences, "connected=true&names_only=true&path=x%2Fy",
			[]string{"mode       beta  \"a b\"  (100644 on alpha, 100645 here\uFFFD[2J)", "content    alpha  \"a\\xff\"  (other content)", "2 differences: 2 of 3 nodes, names"}, ""},
		{"both", nil, []admin.VerifyLine{node, difference, sampleResult(1, 1)}, nil, exit.Differences, "", []string{"not compared: node gamma  (not connected)", "1 difference: ", ", 1 not compared,"}, ""},
		{"not compared", nil, []admin.VerifyLine{file, sampleResult(0, 1)}, nil, exit.Unavailable, "",
			[]string{"not compared: log  (it changes all the time)", "no differences, but not everything was compared: 2 of 3"}, ""},
		{"json", []string{"-o", "json"}, []admin.VerifyLine{progress, difference, sampleResult(1, 0)}, nil, exit.Differences, "",
			[]string{`{"progress":{`, `{"difference":{"path":"a b","kind":"mode","node":"beta",`, `{"result":{"time":"2026-01-02T03:04:05Z",`}, ""},
		{"no leader", nil, nil, volume.Errorf(volume.Unavailable, "no leader is connected"), exit.Unavailable, "", nil, "no leader is connected"},
		{"ends half-way", nil, []admin.VerifyLine{difference}, errors.New("the disk"), exit.Failed, "", []string{"mode"}, "the disk"},
		{"no result", nil, []admin.VerifyLine{difference}, nil, exit.Failed, "", []string{"mode"}, "without a result"},
		{"no path", []string{""}, nil, nil, exit.Usage, "", nil, "PATH is empty"},
		{"two paths", []string{"a", "b"}, nil, nil, exit.Usage, "", nil, "at most 1 arg"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines, fail = tt.lines, tt.fail
			code, out, errs := ctl(t, dir, append([]string{"verify"}, tt.args...)...)
			if code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			if tt.query != "" && got.Encode() != tt.query {
				t.Errorf("asked with %q, want %q", got.Encode(), tt.query)
			}
			for _, want := range tt.out {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			if tt.err == "" && errs != "" || !strings.Contains(errs, tt.err) {
				t.Errorf("error %q, want %q", errs, tt.err)
			}
			if strings.Contains(out, "\x1b") {
				t.Error("control characters reach the terminal")
			}
		})
	}
	// What status remembers is one row of its table.
	if row := verifyRow(sampleResult(3, 0).Result); !strings.HasPrefix(row, "2026-01-02T03:04:05Z, 3 differences: 2 of 3 nodes") || strings.Contains(row, "\n") {
		t.Errorf("row %q", row)
	}
}
