package daemon

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the clock that managers compare a reload with.
func sinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}
