package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"wolfdisk/node/exit"
)

const (
	socketName = "admin.sock"
	// tempPrefix begins the directories in which a socket is made; one that is
	// left over by a crash is removed at the next start.
	tempPrefix = ".admin-"
	// maxSocketPath is what fits into a sockaddr_un of FreeBSD; Linux has 4 more.
	maxSocketPath = 103
)

// SocketPath is the socket of the daemon with a state directory.
func SocketPath(stateDir string) string { return filepath.Join(stateDir, socketName) }

// socket is the listening socket and what is needed to take it away again.
type socket struct {
	*net.UnixListener
	path string
	info fs.FileInfo // of our own socket, so that we remove no other's
}

// listenSocket makes the socket of a state directory. Whoever calls it holds the
// directory's lock, so that nobody else does the same at the same time.
func listenSocket(dir string) (*socket, error) {
	path := SocketPath(dir)
	if err := checkStale(path); err != nil {
		return nil, err
	}
	if err := removeTemps(dir); err != nil {
		return nil, fmt.Errorf("clean up %s: %w", dir, err)
	}
	// MkdirTemp makes it 0700; only then is there a name inside.
	temp, err := os.MkdirTemp(dir, tempPrefix)
	if err != nil {
		return nil, fmt.Errorf("make the admin socket: %w", err)
	}
	s, err := makeSocket(temp, path)
	if rmErr := os.RemoveAll(temp); err == nil && rmErr != nil {
		err = errors.Join(rmErr, s.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("make the admin socket %s: %w", path, err)
	}
	return s, nil
}

func makeSocket(temp, path string) (*socket, error) {
	var l *net.UnixListener
	err := shortPath(temp, "s", func(short string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it will have another name, and Close looks whose it is
	made := filepath.Join(temp, "s")
	var info fs.FileInfo
	if err = os.Chmod(made, 0o600); err == nil {
		info, err = os.Lstat(made)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{l, path, info}, nil
}

// Close removes the socket, then closes it.
func (s *socket) Close() error {
	var err error
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.info) {
		err = os.Remove(s.path)
	}
	if closeErr := s.UnixListener.Close(); !errors.Is(closeErr, net.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	return err
}

// checkStale says whether the place of the socket is free: nothing there, or a
// socket nobody listens on.
func checkStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the admin socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return exit.Errorf(exit.Unavailable, "%s is in the way and is no socket: move it away", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := dialSocket(ctx, filepath.Dir(path))
	if err == nil {
		err = conn.Close()
	}
	// Anything but a refusal means that somebody listens, or that nobody knows.
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return exit.Errorf(exit.Unavailable, "another daemon answers on %s: give this one a --state-dir of its own, or stop the other with wolfdiskctl --state-dir %s stop", path, filepath.Dir(path))
}

func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func dialSocket(ctx context.Context, dir string) (*net.UnixConn, error) {
	var conn net.Conn
	err := shortPath(dir, socketName, func(short string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// shortPath calls fn with a path for dir/name that fits into a socket address.
func shortPath(dir, name string, fn func(string) error) error {
	path := filepath.Join(dir, name)
	if len(path) <= maxSocketPath {
		return fn(path)
	}
	return viaDescriptor(dir, name, fn)
}

func tooLong(path string) error {
	return exit.Errorf(exit.Config, "%s has %d bytes, and a socket's path at most %d: choose a shorter --state-dir", path, len(path), maxSocketPath)
}
