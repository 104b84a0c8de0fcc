package fusefs

import (
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// Names of drivers, as configured.
const (
	DriverAuto   = "auto"
	DriverBazil  = "bazil"
	DriverGofuse = "gofuse"
)

// Options say how to mount. Zero values mean the defaults.
type Options struct {
	Dir    string // the mount point, an existing directory
	FSName string // shown as the source of the mount: the volume's name
	Driver string // DriverAuto (default), DriverBazil or DriverGofuse
	// AllowOther lets all users in; the kernel checks permissions in any case. Only
	// the superuser, or anybody if /etc/fuse.conf says so, may ask for it.
	AllowOther bool
	ReadOnly   bool // mount read-only; a volume that takes no changes needs no such mount
	SUID, Dev  bool // honour setuid and setgid bits, and device nodes
	NoACL      bool // the kernel does not check POSIX ACLs, only modes
	// SyncOnClose has the closing of a file that was open for writing wait as fsync does.
	SyncOnClose bool
	// MaxBackground is how many readahead and background requests the kernel sends
	// at once. Default 128.
	MaxBackground int
	// ReadAhead is the kernel's window for sequential reads, bytes. Default 1 MiB.
	ReadAhead int
	Log       zerolog.Logger
}

const (
	defaultMaxBackground = 128
	defaultReadAhead     = 1 << 20

	fsSubtype = "wolfdisk"
)

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Dir == "":
		return o, volume.Errorf(volume.Invalid, "mount: no directory given")
	case o.MaxBackground < 0 || o.MaxBackground > 1<<16-1:
		return o, volume.Errorf(volume.Invalid, "mount: max_background must be 1 to 65535, not %d", o.MaxBackground)
	case o.ReadAhead < 0 || o.ReadAhead > 1<<30:
		return o, volume.Errorf(volume.Invalid, "mount: read-ahead must be at most 1 GiB, not %d bytes", o.ReadAhead)
	}
	if o.FSName == "" {
		o.FSName = fsSubtype
	}
	if o.Driver == "" {
		o.Driver = DriverAuto
	}
	if o.MaxBackground == 0 {
		o.MaxBackground = defaultMaxBackground
	}
	if o.ReadAhead == 0 {
		o.ReadAhead = defaultReadAhead
	}
	return o, nil
}
