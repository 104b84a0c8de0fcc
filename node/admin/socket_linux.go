package admin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// viaDescriptor names a file in a directory by a descriptor of the directory,
// which is short however deep the directory lies.
func viaDescriptor(dir, name string, fn func(string) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	short := fmt.Sprintf("/proc/self/fd/%d", fd)
	if _, err := os.Stat(short); err != nil {
		return errors.Join(tooLong(filepath.Join(dir, name)), unix.Close(fd)) // no /proc here
	}
	return errors.Join(fn(short+"/"+name), unix.Close(fd))
}

// watch tells when the process at the other end of a connection has ended. A
// process ID could be somebody else's by then; a descriptor of the process cannot.
type watch struct{ fd int }

// watchPeer returns nil if the process cannot be watched: it lives in another
// process namespace, or the kernel is too old.
func watchPeer(conn *net.UnixConn) *watch {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || credErr != nil || cred.Pid <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil {
		return nil
	}
	return &watch{fd}
}

// ended waits for a while and reports whether the process has ended.
func (w *watch) ended(wait time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(wait.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("watch the daemon: %w", err)
	}
	return n > 0, nil
}

func (w *watch) close() error { return unix.Close(w.fd) }
