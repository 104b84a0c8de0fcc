package exit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"wolfdisk/volume"
)

// Code is the exit status of a process. Scripts rely on the numbers.
type Code int

const (
	OK          Code = 0
	Failed      Code = 1  // whatever has no code of its own
	Panic       Code = 2  // the Go runtime's own status after a panic
	NotRunning  Code = 3  // no daemon answers on this state directory
	Degraded    Code = 4  // it works, but open conflicts or warnings want attention
	Differences Code = 5  // a comparison found some
	Unsafe      Code = 6  // refused, because going on could destroy data
	TimedOut    Code = 7  // what was waited for did not happen in time
	Usage       Code = 64 // the command line (EX_USAGE)
	Unavailable Code = 69 // a port, device, program or lock that is needed (EX_UNAVAILABLE)
	Config      Code = 78 // configuration file, environment or key (EX_CONFIG)
)

// Entry is one row of the documented table.
type Entry struct {
	Code Code
	Text string
}

// Table lists all codes in order, as the documents show them.
func Table() []Entry {
	return []Entry{
		{OK, "ok"},
		{Failed, "failed"},
		{Panic, "panic"},
		{NotRunning, "not running"},
		{Degraded, "degraded, or open conflicts"},
		{Differences, "differences"},
		{Unsafe, "refused as unsafe"},
		{TimedOut, "timed out"},
		{Usage, "usage"},
		{Unavailable, "something needed is unavailable"},
		{Config, "configuration"},
	}
}

func (c Code) String() string {
	for _, e := range Table() {
		if e.Code == c {
			return e.Text
		}
	}
	return fmt.Sprintf("exit code %d", int(c))
}

// Error is an error that knows its exit code.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// With gives an error its exit code; nil stays nil. The outermost code wins.
func With(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// Errorf makes an error with an exit code; %w works as in fmt.Errorf.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

var kindCodes = map[volume.Kind]Code{
	volume.Unavailable:  Unavailable,
	volume.Busy:         Unavailable, // a lock or device another process holds
	volume.NoSpace:      Unavailable,
	volume.Unsupported:  Unavailable, // by this kernel or file system
	volume.WrongHistory: Unsafe,
	volume.WrongVolume:  Unsafe,
	volume.Fenced:       Unsafe,
	volume.WrongCluster: Config,
	volume.Unauthorized: Config,
}

// Of is the exit code of an error: the one it was given, or else that of its kind.
func Of(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EADDRNOTAVAIL):
		return Unavailable
	}
	if c, ok := kindCodes[volume.KindOf(err)]; ok {
		return c
	}
	return Failed
}
