package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Node is one daemon with everything that belongs to it. Fields may be changed
// while it does not run.
type Node struct {
	ID        string
	Leader    bool
	Dir       string // the leader's real directory
	Mount     string // the mount point; equal to Dir when mounted over it
	State     string
	Addr      string   // --bind
	Advertise string   // --advertise
	Connect   []string // -c
	Role      string   // --role; empty: a node that follows never leads
	Witness   bool     // it has no copy and no mount
	Extra     []string // more flags
	Env       []string
	Detach    bool     // outlive this process
	Wrap      []string // a command to run it under, e.g. strace and its flags

	Front  *Proxy // before Addr; what others are told to dial
	Uplink *Proxy // of a follower: before the leader's Addr

	c     *Cluster
	admin *http.Client
	proc  *Proc
	log   string
	began int64 // length of the log when the daemon was last started
}

// Args is the command line.
func (n *Node) Args() []string {
	args := append([]string{}, n.Wrap...)
	if n.Leader {
		args = append(args, filepath.Join(n.c.Bin, "wolfdisk-master"), "-m", n.Dir)
		if n.Mount != n.Dir {
			args = append(args, "--mount", n.Mount)
		}
	} else {
		args = append(args, filepath.Join(n.c.Bin, "wolfdisk-slave"))
		if n.Witness {
			args = append(args, "--witness")
		} else {
			args = append(args, "-m", n.Mount)
		}
	}
	args = append(args, "--id", n.ID, "--state-dir", n.State, "--bind", n.Addr, "--advertise", n.Advertise, "--key-file", n.c.Key)
	for _, c := range n.Connect {
		args = append(args, "-c", c)
	}
	switch {
	case n.Witness:
	case n.Role != "":
		args = append(args, "--role", n.Role)
	case !n.Leader:
		args = append(args, "--role", "follower")
	}
	return append(args, n.Extra...)
}

// Start starts the daemon and does not wait for it to be ready.
func (n *Node) Start() error {
	if n.Running() {
		return fmt.Errorf("%s runs already", n.ID)
	}
	n.began = int64(len(n.Log()))
	p, err := StartProc(n.log, append(n.c.Env, n.Env...), n.Detach, n.Args()...)
	if err != nil {
		return err
	}
	n.proc = p
	return nil
}

// StartReady starts the daemon and waits until it is ready.
func (n *Node) StartReady(timeout time.Duration) error {
	if err := n.Start(); err != nil {
		return err
	}
	return n.WaitReady(timeout)
}

// WaitReady asks `wolfdiskctl status --wait`, a second at a time, so that the end of
// the daemon is noticed. The socket may not be there yet (exit code 3).
func (n *Node) WaitReady(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		r := n.Ctl(10*time.Second, "--timeout", "1s", "status", "--wait", "--max-lag", "0")
		if r.OK() == nil {
			return nil
		}
		if !n.Running() {
			return fmt.Errorf("%s ended while it should become ready\n%s", n.ID, n.LogTail())
		}
		if r.Code != 3 && r.Code != 7 || time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready: %w\n%s", n.ID, r.OK(), n.LogTail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Running tells whether the daemon was started and has not ended.
func (n *Node) Running() bool { return n.proc != nil && n.proc.Running() }

// Proc is the process last started; nil before.
func (n *Node) Proc() *Proc { return n.proc }

// Kill9 ends the daemon as a crash does and leaves the dead mount for the next
// start.
func (n *Node) Kill9() error {
	if n.proc == nil {
		return errors.New(n.ID + " was never started")
	}
	return n.proc.Kill9()
}

// Stop asks the daemon to end by SIGTERM; it must do so with exit code 0 and take
// its mount away.
func (n *Node) Stop() error {
	if n.proc == nil {
		return errors.New(n.ID + " was never started")
	}
	if err := n.proc.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	code, err := n.proc.Wait(30 * time.Second)
	if err != nil {
		return fmt.Errorf("stop %s: %w\n%s", n.ID, err, n.LogTail())
	}
	if code != 0 {
		return fmt.Errorf("stop %s: exit code %d\n%s", n.ID, code, n.LogTail())
	}
	if m, ok, err := MountAt(n.Mount); err != nil || ok {
		return fmt.Errorf("stop %s: still mounted: %+v, %v", n.ID, m, err)
	}
	return nil
}

// WaitExit waits for the daemon to end by itself.
func (n *Node) WaitExit(timeout time.Duration) (int, error) {
	code, err := n.proc.Wait(timeout)
	if err != nil {
		return code, fmt.Errorf("%w\n%s", err, n.LogTail())
	}
	return code, nil
}

// Gate shuts or opens every way between this follower and its leader.
func (n *Node) Gate(shut bool) {
	n.Front.Shut(shut)
	n.Uplink.Shut(shut)
	n.c.Leader.Front.Shut(shut)
}

// Received counts the bytes that came to this follower, TLS included.
func (n *Node) Received() int64 {
	to, _ := n.Front.Bytes()
	_, down := n.Uplink.Bytes()
	_, front := n.c.Leader.Front.Bytes()
	return to + down + front
}

// Log is what the daemon has written so far, in all its starts.
func (n *Node) Log() string {
	text, err := os.ReadFile(n.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

// LastLog is what it has written since it was last started.
func (n *Node) LastLog() string {
	text := n.Log()
	return text[min(n.began, int64(len(text))):]
}

// LogTail is the end of the log, with a title.
func (n *Node) LogTail() string {
	return fmt.Sprintf("--- end of the log of %s (%s)\n%s---", n.ID, n.log, tail(n.Log(), 6000))
}
