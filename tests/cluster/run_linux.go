package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// helperEnv carries the name of the helper that a re-executed program shall run.
// It must not look like a variable of the product, which refuses those it does not
// know.
const helperEnv = "WDTEST_HELPER"

// Helper is what a child does; its arguments follow the program name.
type Helper func(args []string) error

// Dispatch runs a helper and exits if this process was started as one. It is to be
// the first call of main or TestMain.
func Dispatch(helpers map[string]Helper) {
	name := os.Getenv(helperEnv)
	if name == "" {
		return
	}
	os.Unsetenv(helperEnv)
	f, ok := helpers[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no helper %q\n", name)
		os.Exit(64)
	}
	if err := f(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Result is how a child ended.
type Result struct {
	Args           []string
	Stdout, Stderr string
	Code           int // exit code; -1 if it was killed
	Took           time.Duration
	Err            error // could not be started, or ran out of time
}

// OK is nil if the child exited with 0.
func (r Result) OK() error {
	if r.Err == nil && r.Code == 0 {
		return nil
	}
	err := r.Err
	if err == nil {
		err = fmt.Errorf("exit code %d", r.Code)
	}
	return fmt.Errorf("%s: %w after %v\n%s", strings.Join(r.Args, " "), err, r.Took.Round(time.Millisecond), tail(r.Stdout+r.Stderr, 4000))
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "..." + s[len(s)-n:]
}

// Cmd is a command to run with a deadline.
type Cmd struct {
	Args    []string
	Dir     string
	Env     []string // in addition to the environment
	Stdin   string
	Timeout time.Duration // default 1 minute
	helper  bool
}

// Run runs a command with a deadline of a minute.
func Run(args ...string) Result { return Cmd{Args: args}.Run() }

// Shell runs a script with sh -eu in a folder.
func Shell(dir, script string, timeout time.Duration) Result {
	return Cmd{Args: []string{"sh", "-euc", script}, Dir: dir, Timeout: timeout}.Run()
}

// RunHelper runs a registered helper in a child.
func RunHelper(timeout time.Duration, name string, args ...string) Result {
	return HelperCmd(timeout, name, args...).Run()
}

// HelperCmd is the command of a registered helper.
func HelperCmd(timeout time.Duration, name string, args ...string) Cmd {
	return Cmd{
		Args:    append([]string{"/proc/self/exe"}, args...),
		Env:     []string{helperEnv + "=" + name},
		Timeout: timeout,
		helper:  true,
	}
}

// Run starts the command in its own process group, waits, and kills the group when
// the time is over. A child that is stuck in the kernel is given up, not waited for.
func (c Cmd) Run() Result {
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	var out, errOut bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	cmd := c.command(ctx)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	began := time.Now()
	r := Result{Args: c.Args, Code: -1}
	if c.helper {
		r.Args = append([]string{c.Env[0]}, c.Args[1:]...)
	}
	if err := cmd.Start(); err != nil {
		r.Err = fmt.Errorf("start: %w", err)
		return r
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		r.Took = time.Since(began)
		r.Stdout, r.Stderr = out.String(), errOut.String()
		var exit *exec.ExitError
		switch {
		case ctx.Err() != nil:
			r.Err = fmt.Errorf("not done after %v", c.Timeout)
		case err == nil:
			r.Code = 0
		case errors.As(err, &exit):
			r.Code = exit.ExitCode()
		default:
			r.Err = err
		}
	case <-time.After(c.Timeout + 10*time.Second):
		r.Took = time.Since(began)
		r.Err = fmt.Errorf("stuck in the kernel: still there 10 s after SIGKILL")
	}
	return r
}

// cleanEnv is the environment without what configures the product: tests say
// themselves what daemons and tools are told.
func cleanEnv() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "WOLFDISK_") {
			out = append(out, kv)
		}
	}
	return out
}

func (c Cmd) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(cleanEnv(), c.Env...)
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}
