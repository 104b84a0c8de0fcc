//go:build !linux

package wire

import (
	"net"
	"time"
)

// setUserTimeout has nothing to set here: keepalive and the write timeout remain.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
