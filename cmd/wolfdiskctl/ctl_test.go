package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

func TestTables(t *testing.T) {
	f, dir := newFake(), stateDir(t)
	serve(t, f, dir)
	degraded := func() {
		f.status.ConflictsOpen = 2
		f.status.Warnings = []admin.Warning{{Code: "WD-1001", Text: "the disk is nearly full", Hint: "free some space"}, {Code: "WD-1002", Text: "bell\a"}}
	}
	tests := []struct {
		name   string
		args   []string
		change func()
		code   exit.Code
	}{
		{"status.golden", []string{"status"}, nil, exit.OK},
		{"status-json.golden", []string{"status", "-o", "json"}, nil, exit.OK},
		{"servers.golden", []string{"list", "servers"}, nil, exit.OK},
		{"servers-json.golden", []string{"-o", "json", "list", "servers"}, nil, exit.OK},
		{"tail.golden", []string{"oplog", "tail", "-n", "4"}, nil, exit.OK},
		{"tail-json.golden", []string{"oplog", "tail", "-n", "4", "-o", "json"}, nil, exit.OK},
		{"status-degraded.golden", []string{"status"}, degraded, exit.Degraded},
		{"status-unknown.golden", []string{"status"}, func() { f.status = admin.Status{NodeID: "n1", State: "starting"} }, exit.OK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				f.set(tt.change)
			}
			code, out, errs := ctl(t, dir, tt.args...)
			if code != tt.code || errs != "" {
				t.Errorf("code %d, want %d; %s", code, tt.code, errs)
			}
			if strings.ContainsAny(out, "\x1b\a") && !strings.Contains(tt.name, "json") {
				t.Error("control characters reach the terminal")
			}
			golden(t, tt.name, out)
		})
	}
}

func TestTailRanges(t *testing.T) {
	f, dir := newFake(), stateDir(t)
	serve(t, f, dir)
	tests := []struct {
		args        string
		first, last uint64 // 0: nothing
	}{
		{"", 16, 25}, {"-n 3", 23, 25}, {"-n 100", 1, 25}, {"-n 0", 0, 0}, {"--from 24", 24, 25}, {"--from 5 -n 3", 5, 7}, {"--from 26", 0, 0}, {"--from 0", 1, 25},
	}
	for _, tt := range tests {
		code, out, errs := ctl(t, dir, append([]string{"oplog", "tail", "-o", "json"}, strings.Fields(tt.args)...)...)
		if code != exit.OK {
			t.Errorf("%s: code %d, %s", tt.args, code, errs)
		}
		var got []uint64
		for dec := json.NewDecoder(strings.NewReader(out)); ; {
			var l admin.OpLine
			if err := dec.Decode(&l); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			got = append(got, l.Version)
		}
		if tt.first == 0 && len(got) > 0 || tt.first > 0 && (uint64(len(got)) != tt.last-tt.first+1 || got[0] != tt.first || got[len(got)-1] != tt.last) {
			t.Errorf("%q shows %v", tt.args, got)
		}
	}
	// A log whose beginning was trimmed, and one that is empty.
	f.set(func() { f.status.Oplog.First = 24 })
	if _, out, _ := ctl(t, dir, "oplog", "tail"); strings.Count(out, "\n") != 2 {
		t.Errorf("trimmed:\n%s", out)
	}
	f.set(func() { f.status.Oplog, f.ops = admin.Oplog{}, nil })
	if code, out, errs := ctl(t, dir, "oplog", "tail"); code != exit.OK || out != "" {
		t.Errorf("empty: %d %s %s", code, out, errs)
	}
}

// lineWriter hands on lines as they are written.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

func TestTailFollow(t *testing.T) {
	f, dir := newFake(), stateDir(t)
	serve(t, f, dir)
	for _, tt := range []struct{ args, first string }{{"-n 0", " 26 "}, {"-n 1", " 25 "}, {"--from 25 -n 1", " 25 "}} {
		f.set(func() { f.ops = f.ops[:25] })
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		lines, code := make(lineWriter), make(chan exit.Code, 1)
		go func() {
			code <- run(ctx, append([]string{"--state-dir", dir, "oplog", "tail", "-f"}, strings.Fields(tt.args)...), nil, lines, io.Discard)
		}()
		if tt.first == " 25 " {
			if l := <-lines; !strings.Contains(l, " 25 ") {
				t.Errorf("%s begins with %s", tt.args, l)
			}
		}
		// With -n 0 the question about the end of the log must have been answered.
		time.Sleep(50 * time.Millisecond)
		f.set(func() { f.ops = append(f.ops, admin.OpLine{Version: 26, Kind: "mkdir"}) })
		if l := <-lines; !strings.Contains(l, " 26 ") {
			t.Errorf("%s goes on with %s", tt.args, l)
		}
		cancel()
		if c := <-code; c != exit.OK {
			t.Errorf("interrupted: code %d", c)
		}
	}
}

func TestWait(t *testing.T) {
	f, dir := newFake(), stateDir(t)
	code, _, errs := ctl(t, dir, "status", "--wait", "--timeout", "150ms")
	if code != exit.TimedOut || !strings.Contains(errs, "not ready in time: no daemon answers on "+admin.SocketPath(dir)) {
		t.Errorf("no daemon: %d %s", code, errs)
	}
	f.mounted = false
	time.AfterFunc(100*time.Millisecond, func() { serve(t, f, dir) })
	time.AfterFunc(200*time.Millisecond, func() { f.set(func() { f.mounted = true }) })
	if code, out, errs := ctl(t, dir, "status", "--wait", "--timeout", "20s"); code != exit.OK || out != "ready\n" {
		t.Errorf("started meanwhile: %d %s %s", code, out, errs)
	}
	f.set(func() { f.lag = 3 })
	code, _, errs = ctl(t, dir, "status", "--wait", "--timeout", "1s")
	if code != exit.TimedOut || errs != "wolfdiskctl: not ready in time: 3 ops behind\n" {
		t.Errorf("behind: %d %q", code, errs)
	}
	for lag, want := range map[string]exit.Code{"2": exit.TimedOut, "3": exit.OK, "1000": exit.OK} {
		timeout := "20s"
		if want == exit.TimedOut {
			timeout = "200ms"
		}
		if code, _, errs := ctl(t, dir, "status", "--wait", "--timeout", timeout, "--max-lag", lag); code != want {
			t.Errorf("--max-lag %s: %d %s", lag, code, errs)
		}
	}
	// Warnings do not keep a node from being ready.
	f.set(func() { f.status.ConflictsOpen = 1 })
	if code, out, _ := ctl(t, dir, "status", "--wait", "--max-lag", "3", "-o", "json"); code != exit.OK || !json.Valid([]byte(out)) {
		t.Errorf("with a conflict: %d %s", code, out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	var out bytes.Buffer
	if code := run(ctx, []string{"--state-dir", dir, "status", "--wait"}, nil, &out, &out); code != exit.Failed || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("interrupted: %d %s", code, &out)
	}
}

func TestStats(t *testing.T) {
	f, dir := newFake(), stateDir(t)
	serve(t, f, dir)
	code, out, errs := ctl(t, dir, "stats")
	if code != exit.OK || !strings.Contains(out, "version      25 (durable 24)\n") || !strings.Contains(out, "largest lag  7 ops, 68.4 KiB, 1.2 s\n") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	code, out, _ = ctl(t, dir, "stats", "--watch", "-n", "2")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != exit.OK || len(lines) != 3 || !strings.HasPrefix(lines[0], "TIME") || !strings.Contains(lines[2], " 0 ") {
		t.Errorf("%d\n%s", code, out)
	}
	code, out, _ = ctl(t, dir, "stats", "--watch", "-n", "1", "-o", "json")
	var s admin.Stats
	if err := json.Unmarshal([]byte(out), &s); code != exit.OK || err != nil || s.Version != 25 {
		t.Errorf("%d %v %s", code, err, out)
	}
}

func TestWatchLine(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := admin.Stats{Time: at, UptimeSeconds: 10, Version: 100, OplogBytes: 1 << 20}
	b := admin.Stats{Time: at.Add(2 * time.Second), UptimeSeconds: 12, Version: 300, OplogBytes: 3 << 20}
	var out strings.Builder
	if err := watchLine(&out, 1, a, b); err != nil || !strings.Contains(out.String(), " 300       100    1.00 MiB ") {
		t.Errorf("%q, %v", out.String(), err)
	}
	// A restart, and a log that was cut, give no negative rates.
	out.Reset()
	if err := watchLine(&out, 1, b, admin.Stats{Time: b.Time.Add(time.Second), Version: 300, UptimeSeconds: 1}); err != nil || !strings.Contains(out.String(), " -           - ") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// The codes that scripts see, from the program itself.
func TestExitCodes(t *testing.T) {
	dir := stateDir(t)
	f := newFake()
	serve(t, f, dir)
	sick := stateDir(t)
	g := newFake()
	g.status.Warnings = []admin.Warning{{Code: "WD-1"}}
	serve(t, g, sick)
	empty := stateDir(t)
	if err := os.WriteFile(empty+"/bad.toml", []byte("[nodes]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args string
		want exit.Code
		text string
	}{
		{"--state-dir " + dir + " status", exit.OK, "node-2 (leader, live)"},
		{"--state-dir " + sick + " status", exit.Degraded, "warning WD-1"},
		{"--state-dir " + sick + " status --wait", exit.OK, "ready"},
		{"--state-dir " + empty + " status", exit.NotRunning, "wolfdiskctl: no daemon answers on " + empty + "/admin.sock: start one with wolfdisk-master"},
		{"--state-dir " + empty + " stop", exit.NotRunning, "no daemon answers"},
		{"--state-dir " + empty + " list servers", exit.NotRunning, "no daemon answers"},
		{"--state-dir " + empty + " stats", exit.NotRunning, "no daemon answers"},
		{"--state-dir " + empty + " oplog tail", exit.NotRunning, "no daemon answers"},
		{"--state-dir " + empty + " version", exit.OK, "no daemon answers"},
		{"--state-dir " + dir + " version", exit.OK, "wolfdisk-master "},
		{"--state-dir " + empty + " status --wait --timeout 50ms", exit.TimedOut, "not ready in time"},
		{"--state-dir " + dir + " stop --timeout 100ms", exit.TimedOut, "has not ended in time"}, // the test itself is the daemon
		{"--config " + empty + "/bad.toml status", exit.Config, "unknown section [nodes]"},
		{"--state-dir " + dir + " status -o yaml", exit.Usage, `--output "yaml": must be table or json`},
		{"--state-dir " + dir + " --timeout -1s status", exit.Usage, "must not be negative"},
		{"--state-dir " + dir + " status --max-lag 5", exit.Usage, "--max-lag belongs to --wait"},
		{"--state-dir " + dir + " stats -n 5", exit.Usage, "--count belongs to --watch"},
		{"--state-dir " + dir + " status x", exit.Usage, "unknown command"},
		{"statsu", exit.Usage, "unknown command"},
		{"", exit.Usage, "say what to do"},
		{"list", exit.Usage, "say what to do: servers"},
		{"--nonsense", exit.Usage, "unknown flag"},
		{"--help", exit.OK, "wolfdiskctl oplog tail -f"},
		{"status --help", exit.OK, "--max-lag"},
		{"--version", exit.OK, "wolfdiskctl "},
		{"completion bash", exit.OK, "wolfdiskctl"},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.args, "/", "_"), func(t *testing.T) {
			cmd := exec.Command(binary, strings.Fields(tt.args)...)
			cmd.Env = []string{"HOME=/nonexistent"}
			out, err := cmd.CombinedOutput()
			var failed *exec.ExitError
			if err != nil && !errors.As(err, &failed) {
				t.Fatal(err)
			}
			if code := exit.Code(cmd.ProcessState.ExitCode()); code != tt.want || !strings.Contains(string(out), tt.text) {
				t.Errorf("code %d, want %d\n%s", code, tt.want, out)
			}
		})
	}
}

func TestStopWaits(t *testing.T) {
	dir := stateDir(t)
	daemon := exec.Command(os.Args[0])
	daemon.Env = append(os.Environ(), helperDir+"="+dir)
	daemon.Stderr = os.Stderr
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := ctl(t, dir, "status", "--wait", "--timeout", "20s"); code != exit.OK {
		t.Fatalf("%d %s", code, errs)
	}
	code, out, errs := ctl(t, dir, "stop")
	if code != exit.OK || out != "stopped\n" {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "ended")); err != nil {
		t.Errorf("stop returned before the process had ended: %v", err)
	}
	if code, _, _ := ctl(t, dir, "stop"); code != exit.NotRunning {
		t.Errorf("a second stop: %d", code)
	}
	if err := daemon.Wait(); err != nil {
		t.Error(err)
	}
}
