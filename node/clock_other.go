//go:build !linux

package node

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootClock is the time since the machine started. CLOCK_MONOTONIC of FreeBSD is its uptime,
// which goes on over a suspend.
func bootClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("node: the kernel has no CLOCK_MONOTONIC: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
