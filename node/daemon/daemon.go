package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/config"
	"wolfdisk/node/exit"
	"wolfdisk/node/version"
)

// Func is what a daemon does until ctx ends. It tells the manager when it is ready and
// when it stops.
type Func func(ctx context.Context, cfg *config.Config, log zerolog.Logger, manager *Manager) error

// Main runs a program and ends the process.
func Main(program string, run Func) {
	p := process{program: program, args: os.Args[1:], environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr, force: os.Exit}
	for _, name := range managerVars {
		os.Unsetenv(name) // what this process starts does not speak for it
	}
	os.Exit(int(p.main(run)))
}

// process is what Main takes from the operating system.
type process struct {
	program        string
	args, environ  []string
	stdout, stderr io.Writer
	force          func(code int) // ends the process without any ado
	manager        *Manager       // nil if nobody wants to hear
}

func (p *process) main(run Func) exit.Code {
	cfg, err := p.load()
	var shown *config.Shown
	if errors.As(err, &shown) {
		if _, err := io.WriteString(p.stdout, shown.Text); err != nil {
			return exit.Failed
		}
		return exit.OK
	}
	if err != nil {
		p.complain(err)
		return exit.Of(err)
	}
	log := newLogger(cfg, p.stderr)
	p.meetManager(log)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Stop(signals)
	return p.run(run, cfg, log, signals)
}

// meetManager finds out who wants to hear how the process is. A daemon that cannot tell
// still does its work.
func (p *process) meetManager(log zerolog.Logger) {
	m, err := newManager(p.environ, os.Getpid())
	if err != nil {
		log.Warn().Err(err).Msg("the service manager is told less than it wants to know")
	}
	if m != nil {
		m.log = log
	}
	p.manager = m
}

func (p *process) load() (*config.Config, error) {
	return config.Load(p.program, p.args, p.environ, nil)
}

// complain writes an error for people, each line with the program's name.
func (p *process) complain(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(p.stderr, "%s: %s\n", p.program, line)
	}
}

func (p *process) run(run Func, cfg *config.Config, log zerolog.Logger, signals <-chan os.Signal) exit.Code {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { p.handle(signals, done, cancel, cfg, log) })
	defer wg.Wait()
	defer close(done)
	log.Info().Str("version", version.Get(p.program).String()).Str("node", cfg.Node.ID).Str("state_dir", cfg.Node.DataDir).Msg("starting")
	err := run(ctx, cfg, log, p.manager)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // it says no more than that it was told to stop
	}
	code := exit.Of(err)
	if err == nil {
		log.Info().Msg("stopped")
		return code
	}
	if cfg.Log.Format == "json" {
		log.Error().Err(err).Int("exit_code", int(code)).Msg("stopped")
	} else {
		p.complain(err)
	}
	return code
}

// handle acts on signals until the run is over.
func (p *process) handle(signals <-chan os.Signal, done <-chan struct{}, cancel context.CancelCauseFunc, cfg *config.Config, log zerolog.Logger) {
	stopping := false
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				p.manager.reloading(func() { p.reload(cfg, log) })
			case stopping:
				log.Error().Str("signal", s.String()).Msg("told to stop a second time: ending at once")
				p.force(int(exit.Failed))
			default:
				stopping = true
				p.manager.Stopping()
				log.Info().Str("signal", s.String()).Dur("stop_timeout", cfg.Node.StopTimeout).Msg("told to stop")
				cancel(fmt.Errorf("stopped by signal %s", s))
			}
		}
	}
}

// reload takes what can change while running from a new configuration. What is
// pending is told against the one that the daemon was started with.
func (p *process) reload(started *config.Config, log zerolog.Logger) {
	next, err := p.load()
	if err != nil {
		log.Error().Err(err).Msg("the configuration was not read again, because it has errors: nothing has changed")
		return
	}
	setLevel(next)
	pending := started.Reloaded(next)
	if len(pending) > 0 {
		log.Warn().Strs("pending", pending).Msg("read the configuration again; what is pending takes effect at the next start")
		return
	}
	log.Info().Msg("read the configuration again")
}

// newLogger writes to w. Its level is zerolog's global one, the only one that can be
// changed under loggers that were handed out; nothing else of the process uses it.
func newLogger(cfg *config.Config, w io.Writer) zerolog.Logger {
	setLevel(cfg)
	zerolog.TimeFieldFormat = time.RFC3339Nano
	if cfg.Log.Format == "text" {
		w = zerolog.ConsoleWriter{Out: w, NoColor: true, TimeFormat: "2006-01-02T15:04:05.000Z07:00"}
	}
	return zerolog.New(w).With().Timestamp().Logger()
}

func setLevel(cfg *config.Config) {
	level, err := zerolog.ParseLevel(cfg.Log.Level)
	if err != nil {
		level = zerolog.InfoLevel // the table of keys allows only levels that are known
	}
	zerolog.SetGlobalLevel(level)
}
