package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// otherNames are what the leader is compared with, in the order of the report.
var otherNames = []string{"bare", "overlay", "bindfs"}

// leaderName is the system that is a leader with so many followers.
func leaderName(followers int) string {
	if followers == 1 {
		return "leader"
	}
	return fmt.Sprintf("leader-%d", followers)
}

// extraName is the name of a figure of a cluster with so many followers.
func extraName(name string, followers int) string {
	if followers == 1 {
		return name
	}
	return fmt.Sprintf("%s_%d_followers", name, followers)
}

// parseFollowers reads a list of numbers of followers, each once.
func parseFollowers(list string) (counts []int, err error) {
	for _, word := range strings.Split(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > 8 || slices.Contains(counts, n) {
			return nil, fmt.Errorf("followers %q: want different numbers from 1 to 8 with commas between", list)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// Report is the outcome, as it is written to the JSON file.
type Report struct {
	Software  string             `json:"software"`
	Machine   string             `json:"machine"`
	Began     string             `json:"began"`
	Short     bool               `json:"short"`
	Rounds    int                `json:"rounds"`
	Followers []int              `json:"followers"` // of each cluster
	Results   []Result           `json:"results"`
	Extras    map[string]float64 `json:"extras"` // measured on the clusters alone
	S3        []Result           `json:"s3"`     // over S3, by gateway
	Skipped   []string           `json:"skipped"`
	Rows      []Row              `json:"rows"`
}

// Result is one workload on all systems.
type Result struct {
	Workload string               `json:"workload"`
	Unit     string               `json:"unit"`
	Samples  map[string][]float64 `json:"samples"` // by system
}

// Row is one required figure.
type Row struct {
	What     string  `json:"what"`
	Required string  `json:"required"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit"`
	Known    bool    `json:"known"` // false: it could not be measured
	Pass     bool    `json:"pass"`
}

func (r *Report) add(workload, unit, system string, value float64) {
	r.Results = addTo(r.Results, workload, unit, system, value)
}

// addS3 is add for what goes over S3.
func (r *Report) addS3(workload, unit, gateway string, value float64) {
	r.S3 = addTo(r.S3, workload, unit, gateway, value)
}

func addTo(list []Result, workload, unit, system string, value float64) []Result {
	for i := range list {
		if list[i].Workload == workload {
			s := list[i].Samples
			s[system] = append(s[system], value)
			return list
		}
	}
	return append(list, Result{workload, unit, map[string][]float64{system: {value}}})
}

// s3Systems are the columns of the table of S3.
var s3Systems = []string{"leader", "versitygw on the mount", "versitygw"}

// writeS3 prints what was measured over S3, with the leader's ratio to the others.
func (r *Report) writeS3(w io.Writer) {
	if len(r.S3) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "S3\tunit\t%s\tleader to %s\tleader to %s\t\n", strings.Join(s3Systems, "\t"), s3Systems[1], s3Systems[2])
	for _, res := range r.S3 {
		fmt.Fprintf(t, "%s\t%s\t", res.Workload, res.Unit)
		at := func(system string) (float64, bool) {
			if v := res.Samples[system]; len(v) > 0 {
				return median(v), true
			}
			return 0, false
		}
		for _, s := range s3Systems {
			fmt.Fprintf(t, "%s\t", number(at(s)))
		}
		leader, ok := at(s3Systems[0])
		for _, s := range s3Systems[1:] {
			other, has := at(s)
			fmt.Fprintf(t, "%s\t", number(leader/other, ok && has && other > 0))
		}
		fmt.Fprintln(t)
	}
	t.Flush() // into memory
	fmt.Fprintln(w)
}

// median of the samples of a workload on a system.
func (r *Report) median(workload, system string) (float64, bool) {
	for _, res := range r.Results {
		if res.Workload == workload && len(res.Samples[system]) > 0 {
			return median(res.Samples[system]), true
		}
	}
	return 0, false
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// ratio is leader / other of the medians.
func (r *Report) ratio(workload, leader, other string) (float64, bool) {
	a, okA := r.median(workload, leader)
	b, okB := r.median(workload, other)
	if !okA || !okB || b == 0 {
		return 0, false
	}
	return a / b, true
}

// requirement is a row of the table before it is measured.
type requirement struct {
	what   string
	atMost bool
	bound  float64
	unit   string
	value  func(r *Report, followers int) (float64, bool)
	once   bool // not for every number of followers, but for the first
}

func vs(workload, other string) func(*Report, int) (float64, bool) {
	return func(r *Report, followers int) (float64, bool) {
		return r.ratio(workload, leaderName(followers), other)
	}
}

func extra(name string) func(*Report, int) (float64, bool) {
	return func(r *Report, followers int) (float64, bool) {
		v, ok := r.Extras[extraName(name, followers)]
		return v, ok
	}
}

// alone is a figure that has nothing to do with the number of followers.
func alone(name string) func(*Report, int) (float64, bool) {
	return func(r *Report, _ int) (float64, bool) {
		v, ok := r.Extras[name]
		return v, ok
	}
}

const (
	atMost  = true
	atLeast = false
)

var requirements = []requirement{
	{"untar of a source tree, time, against the overlay", atMost, 1.5, "x", vs("untar", "overlay"), false},
	{"untar of a source tree, time, against bindfs", atMost, 1.0, "x", vs("untar", "bindfs"), false},
	{"4 KiB sequential writes, against the overlay", atLeast, 0.6, "x", vs("write-4k-seq", "overlay"), false},
	{"4 KiB sequential writes, against bindfs", atLeast, 1.0, "x", vs("write-4k-seq", "bindfs"), false},
	{"4 KiB random writes, against the overlay", atLeast, 0.6, "x", vs("write-4k-rand", "overlay"), false},
	{"4 KiB random writes, against bindfs", atLeast, 1.0, "x", vs("write-4k-rand", "bindfs"), false},
	{"1 MiB sequential writes into the page cache, against the overlay", atLeast, 0.5, "x", vs("write-1m", "overlay"), false},
	{"1 MiB sequential writes with end_fsync, against the overlay", atLeast, 0.3, "x", vs("write-1m-fsync", "overlay"), false},
	{"fsync'd 4 KiB writes, against the overlay", atLeast, 0.6, "x", vs("write-4k-fsync", "overlay"), false},
	{"follower equal after the untar ends", atMost, 1, "s", extra("convergence_seconds"), false},
	{"lag at 500 mixed ops/s, 99th percentile", atMost, 10, "ms", extra("lag_p99_ms"), false},
	{"follower's replay of small creates, against the leader's mount", atLeast, 3, "x", extra("replay_ratio"), false},
	{"follower reads with a warm page cache, against the overlay", atLeast, 0.9, "x", vs("read-warm", "overlay"), false},
	{"1 MiB sequential writes, against bindfs", atLeast, 1.0, "x", vs("write-1m", "bindfs"), false},
	{"creating files, against bindfs", atLeast, 1.0, "x", vs("create", "bindfs"), false},
	{"stat of files the kernel has forgotten, against bindfs", atLeast, 1.0, "x", vs("stat-cold", "bindfs"), false},
	{"renaming files, against bindfs", atLeast, 1.0, "x", vs("rename", "bindfs"), false},
	{"unlinking files, against bindfs", atLeast, 1.0, "x", vs("unlink", "bindfs"), false},
	{"ls -lR, cold, against bindfs", atLeast, 1.0, "x", vs("ls-cold", "bindfs"), false},
	{"ls -lR, warm, against bindfs", atLeast, 1.0, "x", vs("ls-warm", "bindfs"), false},
	{"leader reads from the disk, against bindfs", atLeast, 1.0, "x", vs("read-leader-cold", "bindfs"), false},
	{"leader reads with a warm page cache, against bindfs", atLeast, 1.0, "x", vs("read-leader-warm", "bindfs"), false},
	{"leader reads with a warm page cache, against the overlay", atLeast, 0.9, "x", vs("read-leader-warm", "overlay"), false},
	{"follower's disk bytes per byte of 4 KiB random overwrites", atMost, 2.5, "x", extra("follower_written_per_byte"), false},
	{"idle leader with many files, resident", atMost, 100, "MiB", extra("leader_idle_rss_mib"), false},
	{"idle follower with many files, resident", atMost, 100, "MiB", extra("follower_idle_rss_mib"), false},
	{"adoption and snapshot of a source tree, time, against rsync -a", atMost, 1.0, "x", alone("copy_tree_to_rsync"), true},
	{"adoption and snapshot of one large file, time, against rsync -a", atMost, 1.0, "x", alone("copy_file_to_rsync"), true},
	{"adoption of small files until the leader is ready, for each million", atMost, 60, "s", alone("adopt_many_seconds_per_million"), true},
	{"adoption of small files, resident at most", atMost, 300, "MiB", alone("adopt_many_peak_mib"), true},
	{"start over small files of which none was changed, for each million", atMost, 20, "s", alone("restart_many_seconds_per_million"), true},
	{"64 KiB writes while a follower makes a copy, against writing alone", atLeast, 0.7, "x", alone("during_copy_pieces_ratio"), true},
	{"creating files while a follower makes a copy, against creating alone", atLeast, 0.7, "x", alone("during_copy_files_ratio"), true},
	// "No CPU" is what a clock tick of 10 ms can still tell from none over the time.
	{"idle leader with many files, CPU", atMost, 1, "%", extra("leader_idle_cpu_percent"), false},
	{"idle follower with many files, CPU", atMost, 1, "%", extra("follower_idle_cpu_percent"), false},
}

// judge fills in the table and tells whether everything passed.
func (r *Report) judge() bool {
	all := true
	r.Rows = nil
	for i, followers := range r.Followers {
		for _, q := range requirements {
			if q.once && i > 0 {
				continue
			}
			row := q.judge(r, followers)
			if followers > 1 && !q.once {
				row.What += fmt.Sprintf("; %d followers", followers)
			}
			all = all && row.Pass
			r.Rows = append(r.Rows, row)
		}
	}
	return all && len(r.Rows) > 0
}

func (q requirement) judge(r *Report, followers int) Row {
	sign := ">="
	if q.atMost {
		sign = "<="
	}
	v, ok := q.value(r, followers)
	row := Row{What: q.what, Required: fmt.Sprintf("%s %g %s", sign, q.bound, q.unit), Measured: v, Unit: q.unit, Known: ok}
	row.Pass = ok && (q.atMost && v <= q.bound || !q.atMost && v >= q.bound)
	return row
}

// writeText prints the report for people.
func (r *Report) writeText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "WolfDisk %s, %s, %s, %d rounds, medians\n\n", r.Software, r.Machine, r.Began, r.Rounds)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	var leaders []string
	for _, n := range r.Followers {
		leaders = append(leaders, leaderName(n))
	}
	systems := slices.Concat(otherNames, leaders)
	fmt.Fprintf(t, "workload\tunit\t%s\t", strings.Join(systems, "\t"))
	for _, leader := range leaders {
		for _, other := range otherNames {
			fmt.Fprintf(t, "%s to %s\t", leader, other)
		}
	}
	fmt.Fprintln(t)
	for _, res := range r.Results {
		fmt.Fprintf(t, "%s\t%s\t", res.Workload, res.Unit)
		for _, s := range systems {
			fmt.Fprintf(t, "%s\t", number(r.median(res.Workload, s)))
		}
		for _, leader := range leaders {
			for _, other := range otherNames {
				fmt.Fprintf(t, "%s\t", number(r.ratio(res.Workload, leader, other)))
			}
		}
		fmt.Fprintln(t)
	}
	t.Flush() // into memory
	b.WriteString("\n")
	r.writeS3(&b)
	for _, what := range r.Skipped {
		fmt.Fprintf(&b, "skipped: %s\n", what)
	}
	names := make([]string, 0, len(r.Extras))
	for name := range r.Extras {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%-36s %s\n", name, number(r.Extras[name], true))
	}
	b.WriteString("\n")
	t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "required\tat\tmeasured\tverdict")
	for _, row := range r.Rows {
		verdict := "FAIL"
		if row.Pass {
			verdict = "pass"
		}
		measured := "not measured"
		if row.Known {
			measured = number(row.Measured, true) + " " + row.Unit
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", row.What, row.Required, measured, verdict)
	}
	t.Flush()
	_, err := io.WriteString(w, b.String())
	return err
}

func number(v float64, ok bool) string {
	switch {
	case !ok:
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

func (r *Report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
