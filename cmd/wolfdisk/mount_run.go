package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/fusefs"
	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
)

const (
	// askMounted bounds the question whether the mount is there already.
	askMounted = 5 * time.Second
	// stopMargin is what a daemon that is told to stop gets beyond its stop_timeout.
	stopMargin = 20 * time.Second
	// shownLog is how much of the daemon's messages is shown when it fails.
	shownLog = 4096
)

// run mounts: it starts the daemon and waits until it says that it is ready, as it
// would tell a service manager.
func (p *mountPlan) run(out io.Writer) error {
	if p.verbose || p.fake {
		fmt.Fprintf(out, "%s\n", p.command())
	}
	if p.fake {
		return nil
	}
	if p.mounted() {
		// "mount -a" asks again, because the mount shows another source than fstab.
		_, err := fmt.Fprintf(out, "wolfdisk: %s is mounted already\n", p.dir)
		return err
	}
	program, err := findDaemon(p.program)
	if err != nil {
		return exit.With(mountSystem, err)
	}
	ear, err := newEar()
	if err != nil {
		return exit.With(mountSystem, err)
	}
	defer ear.close()
	d, err := p.start(program, ear.name())
	if err != nil {
		return exit.With(mountSystem, err)
	}
	err = p.wait(d, ear)
	if err == nil && p.noexec {
		err = forbidExec(p.dir)
	}
	if err != nil {
		return exit.With(mountFailed, errors.Join(err, d.stop(p.cfg.Node.StopTimeout+stopMargin, p.dir)))
	}
	return d.cmd.Process.Release()
}

// mounted reports whether the daemon of this state directory runs and has mounted here.
func (p *mountPlan) mounted() bool {
	ctx, cancel := context.WithTimeout(context.Background(), askMounted)
	defer cancel()
	c := admin.Dial(p.cfg.Node.DataDir)
	defer c.Close()
	s, err := c.Status(ctx)
	return err == nil && s.Mount.Path == p.cfg.Mount.Dir // any error says no: then the start says what is wrong
}

// findDaemon looks for a program where this one lies, then in the search path.
func findDaemon(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// background is a daemon that was started for a mount.
type background struct {
	cmd   *exec.Cmd
	log   string
	began int64 // length of the log before
	ended chan error
}

// start starts the daemon in a session of its own, with its messages in a file.
func (p *mountPlan) start(program, notify string) (*background, error) {
	if err := os.MkdirAll(filepath.Dir(p.log), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the log: %w; choose another file by the option log=FILE", err)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w; choose another file by the option log=FILE", err)
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the log: %w", err)
	}
	d := &background{log: p.log, began: info.Size(), ended: make(chan error, 1)}
	d.cmd = exec.Command(program, p.args...)
	d.cmd.Env = append(append([]string{}, p.environ...), "NOTIFY_SOCKET="+notify, "WATCHDOG_USEC=")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() { d.ended <- d.cmd.Wait() }()
	return d, nil
}

// wait returns when the mount is usable; an error says why it never will be.
func (p *mountPlan) wait(d *background, e *ear) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	var late <-chan time.Time
	if p.timeout > 0 {
		late = time.After(p.timeout)
	}
	ready := make(chan error, 1)
	go func() { ready <- e.ready() }()
	select {
	case err := <-ready:
		return err
	case err := <-d.ended:
		d.ended <- err
		return fmt.Errorf("%s did not mount %s (%s):\n%s", p.program, p.dir, d.cmd.ProcessState, d.tail())
	case s := <-signals:
		return fmt.Errorf("interrupted by signal %s before %s was mounted", s, p.dir)
	case <-late:
		return fmt.Errorf("%s is not mounted after %s, and the daemon was stopped again; the option timeout=TIME gives it longer, as a first scan or a first copy may need. It said:\n%s", p.dir, p.timeout, d.tail())
	}
}

// tail is the end of what the daemon has said since it was started.
func (d *background) tail() string {
	f, err := os.Open(d.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(d.began, info.Size()-shownLog)
	text := make([]byte, max(info.Size()-from, 0))
	n, err := f.ReadAt(text, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	text = text[:n]
	if from > d.began { // not from the middle of a line
		if _, rest, found := strings.Cut(string(text), "\n"); found {
			text = []byte(rest)
		}
	}
	return strings.TrimRight(string(text), "\n")
}

// stop ends the daemon and takes away what it may have mounted.
func (d *background) stop(patience time.Duration, dir string) error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	select {
	case <-d.ended:
	case <-time.After(patience):
		if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill the daemon: %w", err)
		}
		<-d.ended
	}
	_, err := fusefs.CleanStale(dir, zerolog.Nop())
	return err
}

// ear is a socket for what a daemon tells its service manager.
type ear struct {
	dir  string
	conn *net.UnixConn
}

func newEar() (*ear, error) {
	const name = "wolfdisk-mount-"
	dir, err := os.MkdirTemp("/run", name) // 0700: nobody else speaks here
	if err != nil {
		dir, err = os.MkdirTemp("", name) // not root, or no such place
	}
	if err != nil {
		return nil, err
	}
	e := &ear{dir: dir}
	if e.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: e.name(), Net: "unixgram"}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return e, nil
}

func (e *ear) name() string { return filepath.Join(e.dir, "notify") }

// close leaves nothing; a daemon that goes on talking does not mind.
func (e *ear) close() {
	e.conn.Close()
	os.RemoveAll(e.dir)
}

// ready returns when the daemon has said that it is.
func (e *ear) ready() error {
	buf := make([]byte, 4096)
	for {
		n, err := e.conn.Read(buf)
		if err != nil {
			return err
		}
		for line := range strings.SplitSeq(string(buf[:n]), "\n") {
			if line == "READY=1" {
				return nil
			}
		}
	}
}
