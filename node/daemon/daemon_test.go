package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/config"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

// buffer is a writer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newProcess(args ...string) (*process, *buffer, *buffer) {
	out, err := &buffer{}, &buffer{}
	return &process{program: "wolfdisk-slave", args: args, environ: []string{"HOME=/home/u"}, stdout: out, stderr: err,
		force: func(int) { panic("forced") }}, out, err
}

func daemonArgs(t *testing.T, more ...string) []string {
	dir := t.TempDir()
	return append([]string{"--mount", "none", "--id", "n1", "--state-dir", dir + "/s", "--key-file", dir + "/key", "--config", emptyFile(t, dir)}, more...)
}

func emptyFile(t *testing.T, dir string) string {
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name string
		args []string
		err  error
		want exit.Code
		text string
	}{
		{"ok", nil, nil, exit.OK, "stopped"},
		{"failure", nil, errors.New("the disk is on fire"), exit.Failed, "wolfdisk-slave: the disk is on fire\n"},
		{"two lines", nil, errors.New("a\nb"), exit.Failed, "wolfdisk-slave: a\nwolfdisk-slave: b\n"},
		{"kind", nil, volume.Errorf(volume.WrongHistory, "other history"), exit.Unsafe, "wolfdisk-slave: other history"},
		{"canceled by nobody", nil, context.Canceled, exit.Failed, "context canceled"},
		{"usage", []string{"--nonsense"}, nil, exit.Usage, "wolfdisk-slave: unknown flag: --nonsense"},
		{"configuration", []string{"--config", "/none/x.toml"}, nil, exit.Config, "wolfdisk-slave: read configuration file"},
		{"json", []string{"--log-format", "json"}, exit.Errorf(exit.Unavailable, "port"), exit.Unavailable, `"error":"port","exit_code":69`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _, stderr := newProcess(daemonArgs(t, tt.args...)...)
			code := p.main(func(context.Context, *config.Config, zerolog.Logger, *Manager) error { return tt.err })
			if code != tt.want || !strings.Contains(stderr.String(), tt.text) {
				t.Errorf("code %d, want %d; output\n%s", code, tt.want, stderr)
			}
		})
	}
}

func TestShown(t *testing.T) {
	for flag, want := range map[string]string{"--help": "Usage:", "--version": "wolfdisk-slave "} {
		p, stdout, stderr := newProcess(flag)
		code := p.main(func(context.Context, *config.Config, zerolog.Logger, *Manager) error { t.Error("it runs"); return nil })
		if code != exit.OK || !strings.Contains(stdout.String(), want) || stderr.String() != "" {
			t.Errorf("%s: code %d\n%s\n%s", flag, code, stdout, stderr)
		}
	}
}

// running starts a daemon that waits for its end, and feeds it signals.
type running struct {
	signals chan os.Signal
	code    chan exit.Code
	forced  chan int
	stderr  *buffer
	cfg     *config.Config
	p       *process
	cancel  chan struct{} // lets the daemon end after it was told to
}

func startDaemon(t *testing.T, args ...string) *running {
	t.Helper()
	p, _, stderr := newProcess(daemonArgs(t, args...)...)
	r := &running{make(chan os.Signal), make(chan exit.Code, 1), make(chan int, 1), stderr, nil, p, make(chan struct{})}
	p.force = func(code int) { r.forced <- code }
	cfg, err := p.load()
	if err != nil {
		t.Fatal(err)
	}
	r.cfg = cfg
	log := newLogger(cfg, stderr)
	go func() {
		r.code <- p.run(func(ctx context.Context, _ *config.Config, log zerolog.Logger, _ *Manager) error {
			<-ctx.Done()
			log.Debug().Msg("a debug message")
			<-r.cancel
			return ctx.Err()
		}, cfg, log, r.signals)
	}()
	return r
}

func (r *running) wait(t *testing.T) exit.Code {
	t.Helper()
	select {
	case c := <-r.code:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
		return 0
	}
}

func TestStopBySignal(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		r := startDaemon(t)
		r.signals <- s
		close(r.cancel)
		if code := r.wait(t); code != exit.OK {
			t.Errorf("%v: code %d\n%s", s, code, r.stderr)
		}
	}
}

func TestSecondSignalForces(t *testing.T) {
	r := startDaemon(t)
	r.signals <- syscall.SIGTERM
	r.signals <- syscall.SIGINT
	if code := <-r.forced; code != int(exit.Failed) {
		t.Errorf("forced with %d", code)
	}
	close(r.cancel)
	r.wait(t)
}

func TestReload(t *testing.T) {
	r := startDaemon(t, "--log-format", "json")
	file := r.p.args[len(r.p.args)-3]
	var seen []string
	r.cfg.OnReload(func(next *config.Config) { seen = append(seen, next.Log.Level) })
	replaceFile(t, file, []byte("[log]\nlevel = \"debug\"\n[volume]\ncompress = 5\n"))
	r.signals <- syscall.SIGHUP
	r.signals <- syscall.SIGHUP // the first has been dealt with when this one is taken
	replaceFile(t, file, []byte("[log]\nlevel = 5\n"))
	r.signals <- syscall.SIGHUP
	r.signals <- syscall.SIGTERM
	close(r.cancel)
	if code := r.wait(t); code != exit.OK {
		t.Errorf("code %d", code)
	}
	if len(seen) < 1 || seen[0] != "debug" {
		t.Errorf("hooks saw %v", seen)
	}
	text := r.stderr.String()
	for _, want := range []string{`"pending":["[volume] compress"]`, "has errors: nothing has changed", "[log] level: is a number", "a debug message"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s:\n%s", want, text)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

// replaceFile gives a file new content at once: a reader never sees half of it.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestLevels(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		cfg := &config.Config{Log: config.Log{Level: level, Format: "text"}}
		var out bytes.Buffer
		log := newLogger(cfg, &out)
		log.Debug().Msg("x")
		log.Info().Msg("x")
		log.Warn().Msg("x")
		log.Error().Msg("x")
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("%s writes %d of 4 messages", level, got)
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Error("colours in the log")
		}
	}
	zerolog.SetGlobalLevel(zerolog.InfoLevel)
}
