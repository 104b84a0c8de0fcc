package exit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"wolfdisk/volume"
)

func TestOf(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want Code
	}{
		{"nil", nil, OK},
		{"plain", errors.New("x"), Failed},
		{"given", Errorf(Usage, "x"), Usage},
		{"given inside", fmt.Errorf("load: %w", Errorf(Config, "x")), Config},
		{"outermost wins", With(Unsafe, Errorf(Config, "x")), Unsafe},
		{"given before kind", With(Unsafe, volume.Errorf(volume.Busy, "x")), Unsafe},
		{"nil with code", With(Usage, nil), OK},
		{"deadline", fmt.Errorf("wait: %w", context.DeadlineExceeded), TimedOut},
		{"socket deadline", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, TimedOut},
		{"port in use", &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}, Unavailable},
		{"busy", volume.Errorf(volume.Busy, "locked"), Unavailable},
		{"busy wrapped", volume.Wrap(volume.Errorf(volume.Busy, "locked"), "start"), Unavailable},
		{"history", volume.WrongHistory, Unsafe},
		{"volume", volume.WrongVolume, Unsafe},
		{"cluster", volume.WrongCluster, Config},
		{"key", volume.Unauthorized, Config},
		{"corrupt", volume.Corrupt, Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Of(tt.err); got != tt.want {
				t.Errorf("Of(%v) = %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

// The numbers are a promise to scripts.
func TestNumbers(t *testing.T) {
	want := []int{0, 1, 2, 3, 4, 5, 6, 7, 64, 69, 78}
	table := Table()
	if len(table) != len(want) {
		t.Fatalf("%d codes, want %d", len(table), len(want))
	}
	for i, e := range table {
		if int(e.Code) != want[i] || e.Code.String() != e.Text || e.Text == "" {
			t.Errorf("row %d is %d %q, want %d", i, e.Code, e.Text, want[i])
		}
	}
	if got := Code(99).String(); got != "exit code 99" {
		t.Errorf("unknown code prints %q", got)
	}
}

func TestErrorKeepsCause(t *testing.T) {
	cause := errors.New("cause")
	err := Errorf(Unsafe, "verb: %w", cause)
	if !errors.Is(err, cause) || err.Error() != "verb: cause" {
		t.Errorf("%v does not carry its cause", err)
	}
}
