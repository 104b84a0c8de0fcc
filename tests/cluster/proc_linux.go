package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Proc is a daemon: a child whose output goes to a file and whose end is noticed.
type Proc struct {
	Args []string
	Log  string // the file
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; valid when done is closed
}

// spawn starts commands from one thread that never ends: the parent-death signal is
// sent when the forking thread dies, not the process.
var spawn = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// StartProc starts a daemon. With detach it outlives this process.
func StartProc(log string, env []string, detach bool, args ...string) (*Proc, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	defer out.Close()
	p := &Proc{Args: args, Log: log, done: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append(cleanEnv(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: detach}
	if !detach {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	}
	started := make(chan error, 1)
	spawn() <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Pid is the process ID.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal; a process that has ended is no error.
func (p *Proc) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && err != os.ErrProcessDone {
		return err
	}
	return nil
}

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Running tells whether the process has not ended.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the end and returns the exit code, -1 after a signal.
func (p *Proc) Wait(timeout time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(timeout):
		return -1, fmt.Errorf("%s (pid %d) has not ended after %v", p.Args[0], p.Pid(), timeout)
	}
}

// Kill9 kills the process and waits until it is gone, its descriptors closed.
func (p *Proc) Kill9() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := p.Wait(20 * time.Second)
	return err
}
