//go:build linux

package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Dispatch(Helpers(nil))
	os.Exit(m.Run())
}

func TestTokensOnAPlainDirectory(t *testing.T) {
	tok := &Tokens{Dir: t.TempDir(), ID: "w"}
	for range 2 { // the second run goes on where the first ended
		if failed, err := tok.RunSteps(60, time.Minute); err != nil || failed != "" {
			t.Fatal(failed, err)
		}
	}
	if tok.Count() != 120 {
		t.Fatalf("%d tokens, want 120", tok.Count())
	}
	if err := tok.Check(tok.Dir); err != nil {
		t.Fatal(err)
	}
}

func TestTokenLossIsFound(t *testing.T) {
	tests := []struct {
		want string
		harm func(dir string) error
	}{
		{"was acknowledged, but lost", func(d string) error { return os.Remove(d + "/log") }},
		{"acknowledged, but lost", func(d string) error { return os.Truncate(d+"/log", 0) }},
		{"acknowledged, but lost", func(d string) error { return os.Remove(d + "/1") }},
		{"old and its new name", func(d string) error { return os.Link(d+"/3.r", d+"/3") }},
		{"under its old name", func(d string) error { return os.Rename(d+"/3.r", d+"/3") }},
		{"under the new name", func(d string) error { return os.Rename(d+"/1", d+"/1.r") }},
		{"removed, but there", func(d string) error { return os.WriteFile(d+"/5", nil, 0o600) }},
		{"content", func(d string) error { return os.WriteFile(d+"/1", []byte("w 1 2\n"), 0o600) }},
		{"line 39 was acknowledged", func(d string) error { return cutLog(d+"/log", 3) }},
		{"middle of a line", func(d string) error { return cutLog(d+"/log", 1) }},
		{"log: line", func(d string) error { return os.WriteFile(d+"/log", []byte("0\n1\n\x00\n"), 0o600) }},
		{"after line", func(d string) error { return os.WriteFile(d+"/log", []byte("0\n2\n1\n"), 0o600) }},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			tok := &Tokens{Dir: t.TempDir(), ID: "w"}
			if failed, err := tok.RunSteps(40, time.Minute); err != nil || failed != "" {
				t.Fatal(failed, err)
			}
			if err := tt.harm(filepath.Join(tok.Dir, "w")); err != nil {
				t.Fatal(err)
			}
			if err := tok.Check(tok.Dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func cutLog(path string, n int64) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, fi.Size()-n)
}

func TestRunEndsWithItsTime(t *testing.T) {
	began := time.Now()
	r := Cmd{Args: []string{"sh", "-c", "sleep 60 & sleep 60"}, Timeout: 100 * time.Millisecond}.Run()
	if r.Err == nil || time.Since(began) > 5*time.Second {
		t.Fatalf("%v after %v", r.Err, time.Since(began))
	}
	if r := Run("sh", "-c", "echo out; echo err >&2; exit 7"); r.Code != 7 || r.Stdout != "out\n" || r.Stderr != "err\n" {
		t.Fatalf("%+v", r)
	}
}

func TestCleanStale(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	mine, err := TempDir()
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(tmp, tempPrefix+"4194300-1") // the highest IDs are hardly ever in use
	other := filepath.Join(tmp, tempPrefix+"mine")
	kept := filepath.Join(tmp, tempPrefix+"4194301-1")
	for _, dir := range []string{stale + "/below", other, kept} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := (&Cluster{Dir: kept}).Keep(); err != nil {
		t.Fatal(err)
	}
	got, err := CleanStale()
	if err != nil || len(got) != 1 || got[0] != stale {
		t.Fatalf("cleaned %q, %v", got, err)
	}
	for dir, want := range map[string]bool{mine: true, other: true, kept: true, stale: false} {
		if _, err := os.Lstat(dir); (err == nil) != want {
			t.Errorf("%s: there = %v, want %v", dir, err == nil, want)
		}
	}
}

func TestMountsAreRead(t *testing.T) {
	if m, ok, err := MountAt("/proc"); err != nil || !ok || m.Type != "proc" {
		t.Fatalf("%+v, %v, %v", m, ok, err)
	}
	if got := unescape(`/a\040b\134c`); got != `/a b\c` {
		t.Fatalf("%q", got)
	}
}
