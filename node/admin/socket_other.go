//go:build !linux

package admin

import (
	"net"
	"path/filepath"
	"time"
)

func viaDescriptor(dir, name string, _ func(string) error) error {
	return tooLong(filepath.Join(dir, name))
}

// watch is not possible here: the socket alone tells whether the daemon is gone.
type watch struct{}

func watchPeer(*net.UnixConn) *watch { return nil }

func (w *watch) ended(time.Duration) (bool, error) { return false, nil }

func (w *watch) close() error { return nil }
