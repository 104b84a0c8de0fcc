package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/node/admin"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

// lockName is the file in the state directory that a running daemon holds locked. Its
// mtime is when the daemon last set times in the real directory.
const lockName = "lock"

const (
	// lockEvery is how often a daemon that waits for the one before looks again, and quietFor how
	// long that may say nothing: it does so before it serves its socket, and at its very end.
	lockEvery = 50 * time.Millisecond
	quietFor  = 3 * time.Second
)

// lockState keeps a second daemon off the state directory. One that is stopping is waited for: its
// mount may be gone, and with it all that people see of it.
func (n *node) lockState(ctx context.Context) error {
	path := filepath.Join(n.cfg.Node.DataDir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return volume.Wrap(err, "open lock")
	}
	other := admin.Dial(n.cfg.Node.DataDir)
	defer other.Close()
	heard := time.Now()
	for waits := false; ; waits = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			n.lock = f
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return errors.Join(volume.Errorf(volume.IO, "lock %s: %w", path, err), f.Close())
		}
		asked, cancel := context.WithTimeout(ctx, quietFor)
		s, err := other.Status(asked)
		cancel()
		if err == nil && s.State == string(phaseStopping) {
			heard = time.Now()
		} else if err == nil || time.Since(heard) > quietFor {
			f.Close()
			return exit.Errorf(exit.Unavailable, "state directory %s is in use by another daemon: stop it, or give this one another with --state-dir", n.cfg.Node.DataDir)
		}
		if !waits {
			n.log.Info().Msg("the state directory is in use by a daemon that seems to be stopping: waiting for its end")
		}
		select {
		case <-ctx.Done():
			return errors.Join(volume.Errorf(volume.Interrupted, "wait for the daemon before: %w", ctx.Err()), f.Close())
		case <-time.After(lockEvery):
		}
	}
}
