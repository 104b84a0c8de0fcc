package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(tt.in); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

// good fills a report so that every requirement is met with nothing to spare.
func good() *Report {
	r := &Report{Followers: []int{1}, Extras: map[string]float64{
		"convergence_seconds": 1, "lag_p99_ms": 10, "replay_ratio": 3, "follower_written_per_byte": 2.5,
		"leader_idle_rss_mib": 100, "follower_idle_rss_mib": 100, "copy_tree_to_rsync": 1, "copy_file_to_rsync": 1, "adopt_many_seconds_per_million": 60, "adopt_many_peak_mib": 300, "restart_many_seconds_per_million": 20, "during_copy_pieces_ratio": 0.7, "during_copy_files_ratio": 0.7, "leader_idle_cpu_percent": 1, "follower_idle_cpu_percent": 1,
	}}
	r.add("untar", "s", "leader", 3)
	r.add("untar", "s", "overlay", 2)
	r.add("untar", "s", "bindfs", 3)
	for _, w := range []string{"write-4k-seq", "write-4k-rand", "write-1m", "write-1m-fsync", "write-4k-fsync", "read-warm",
		"create", "stat-cold", "rename", "unlink", "ls-cold", "ls-warm", "read-leader-cold", "read-leader-warm"} {
		for _, v := range []float64{900, 1000, 1100} { // the median counts
			r.add(w, "1/s", "leader", v)
			r.add(w, "1/s", "overlay", 1000)
			r.add(w, "1/s", "bindfs", 1000)
		}
	}
	return r
}

func TestJudge(t *testing.T) {
	if r := good(); !r.judge() {
		t.Fatalf("what just passes fails: %+v", r.Rows)
	}
	if r := (&Report{}); r.judge() {
		t.Fatal("nothing measured passes")
	}
	if len(good().Rows) != 0 {
		t.Fatal("rows before judging")
	}
	bad := map[string]func(*Report){
		"untar of a source tree, time, against bindfs":    func(r *Report) { r.add("untar", "s", "bindfs", 2.9) },
		"4 KiB random writes, against bindfs":             func(r *Report) { r.add("write-4k-rand", "1/s", "leader", 100) },
		"lag at 500 mixed ops/s, 99th percentile":         func(r *Report) { r.Extras["lag_p99_ms"] = 10.1 },
		"idle follower with many files, resident":         func(r *Report) { delete(r.Extras, "follower_idle_rss_mib") },
		"fsync'd 4 KiB writes, against the overlay":       func(r *Report) { r.drop("write-4k-fsync", "overlay") },
		"follower's replay of small creates, against the": func(r *Report) { r.Extras["replay_ratio"] = 2.9 },
	}
	for what, harm := range bad {
		r := good()
		harm(r)
		if r.judge() {
			t.Errorf("%s: passes", what)
		}
		for _, row := range r.Rows {
			if row.Pass == strings.HasPrefix(row.What, what) {
				t.Errorf("harm to %q: row %+v", what, row)
			}
		}
	}
}

// TestJudgeFollowers: each number of followers has rows of its own, of its own figures.
func TestJudgeFollowers(t *testing.T) {
	r := good()
	r.Followers = []int{1, 2}
	for name, v := range good().Extras {
		if !strings.HasPrefix(name, "copy_") && !strings.HasPrefix(name, "during_") && !strings.Contains(name, "_many_") {
			r.Extras[extraName(name, 2)] = v
		}
	}
	for _, res := range good().Results {
		for _, v := range res.Samples["leader"] {
			r.add(res.Workload, res.Unit, leaderName(2), v)
		}
	}
	if !r.judge() || len(r.Rows) != 2*len(requirements)-7 {
		t.Fatalf("%d rows, want all but the copies twice and passed: %+v", len(r.Rows), r.Rows)
	}
	r.Extras[extraName("lag_p99_ms", 2)] = 11
	if r.judge() {
		t.Fatal("what two followers miss passes")
	}
	for _, row := range r.Rows {
		if row.Pass == (row.What == "lag at 500 mixed ops/s, 99th percentile; 2 followers") {
			t.Errorf("row %+v", row)
		}
	}
	var text bytes.Buffer
	if err := r.writeText(&text); err != nil || !strings.Contains(text.String(), "leader-2 to bindfs") {
		t.Errorf("%v in\n%s", err, text.String())
	}
}

func TestParseFollowers(t *testing.T) {
	if got, err := parseFollowers("2,1,8"); err != nil || !slices.Equal(got, []int{2, 1, 8}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "0", "9", "1,1", "x", "1,"} {
		if got, err := parseFollowers(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func (r *Report) drop(workload, system string) {
	for _, res := range r.Results {
		if res.Workload == workload {
			delete(res.Samples, system)
		}
	}
}

func TestReportIsReadable(t *testing.T) {
	r := good()
	r.drop("write-4k-fsync", "overlay")
	r.judge()
	var text, encoded bytes.Buffer
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not measured", "FAIL", "pass", "write-4k-rand", "lag_p99_ms"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if err := r.writeJSON(&encoded); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(encoded.Bytes(), &back); err != nil || len(back.Rows) != len(requirements) {
		t.Fatalf("%v, %d rows", err, len(back.Rows))
	}
}
