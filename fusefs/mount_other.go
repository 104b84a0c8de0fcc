//go:build !linux && !freebsd

package fusefs

import (
	"runtime"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

func unsupported(what string) error {
	return volume.Errorf(volume.Unsupported, "%s: this build has no FUSE driver for %s; start with --mount none", what, runtime.GOOS)
}

func mountDriver(o *Options) (driver, features, error) {
	return nil, features{}, unsupported("mount " + o.Dir)
}

// Available says whether this machine can mount.
func Available() error { return unsupported("mount") }

// CleanStale removes what a crashed run left mounted on a directory: nothing, where
// there is no driver.
func CleanStale(dir string, log zerolog.Logger) (cleaned bool, err error) { return false, nil }
