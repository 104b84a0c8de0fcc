package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mountOptions are the options behind -o.
type mountOptions struct {
	sloppy bool // what is not known is ignored
	role   string
	flags  []string // for the daemon
	vars   []string // its environment, NAME=VALUE
	log    string
	noexec bool
	limit  *time.Duration
}

// mountFlags are the options that are flags of the daemons.
var mountFlags = []string{"config", "state-dir", "connect", "key-file", "id", "bind", "advertise", "compress", "log-level", "log-format"}

// mountIgnored are options for fstab and mount(8) itself, and those that say what is so
// anyway, or what has no meaning for a file system that keeps no access times.
var mountIgnored = []string{
	"defaults", "rw", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group", "comment", "loud", "silent", "uhelper", "helper",
	"async", "nomand", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
	"iversion", "noiversion", "default_permissions",
}

// mountRefused are options that would change what the mount promises, and that it
// cannot keep.
var mountRefused = map[string]string{
	"remount": "a mount is not changed while it is there: unmount it, and mount it again with other options",
	"bind":    "bind a directory of the mount by mount --bind, without a type",
	"move":    "move a mount by mount --move, without a type",
	"sync":    "every write waiting for the disk is not supported: programs that need it call fsync",
	"dirsync": "every change of a directory waiting for the disk is not supported: programs that need it call fsync",
	"mand":    "mandatory locks are not supported",
}

func (o *mountOptions) parse(text string) error {
	for _, opt := range strings.Split(text, ",") {
		if opt == "" {
			continue
		}
		name, value, has := strings.Cut(opt, "=")
		if err := o.take(name, value, has); err != nil {
			return fmt.Errorf("option %q: %w", opt, err)
		}
	}
	return nil
}

func (o *mountOptions) take(name, value string, has bool) error {
	if why, refused := mountRefused[name]; refused && !has { // bind=ADDR is another
		return fmt.Errorf("%s", why)
	}
	switch {
	case slices.Contains(mountIgnored, name), strings.HasPrefix(name, "x-"), strings.HasPrefix(name, "X-"):
		return nil
	case has && slices.Contains(mountFlags, name):
		o.flags = append(o.flags, "--"+name+"="+value)
		return nil
	case has && strings.Count(name, ".") == 1:
		o.set(name, value)
		return nil
	case has && value == "":
		return fmt.Errorf("has no value")
	}
	switch name {
	case "ro":
		o.set("mount.read_only", "true")
	case "suid", "nosuid":
		o.set("mount.suid", strconv.FormatBool(name == "suid"))
	case "dev", "nodev":
		o.set("mount.dev", strconv.FormatBool(name == "dev"))
	case "allow_other":
		o.set("mount.allow_other", "true")
	case "exec", "noexec":
		o.noexec = name == "noexec"
	case "role":
		o.role = value
	case "log":
		o.log = value
	case "timeout":
		return o.takeTimeout(value)
	default:
		if !o.sloppy {
			return fmt.Errorf("is not known; see wolfdisk mount --help")
		}
	}
	return nil
}

// set gives the daemon a key of the configuration, by its environment. The last one of
// a name counts, as with mount(8).
func (o *mountOptions) set(key, value string) {
	o.vars = append(o.vars, "WOLFDISK_"+strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))+"="+value)
}

func (o *mountOptions) takeTimeout(value string) error {
	d, err := time.ParseDuration(value)
	if seconds, numErr := strconv.ParseUint(value, 10, 31); numErr == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < 0 {
		return fmt.Errorf("must be a time, as 90s or 5m, or 0 for ever")
	}
	o.limit = &d
	return nil
}

// defaultMountTimeout is below the 90 s that systemd gives a mount of fstab.
const defaultMountTimeout = time.Minute

// timeout is how long the mount may take; 0 is for ever.
func (o *mountOptions) timeout() time.Duration {
	if o.limit == nil {
		return defaultMountTimeout
	}
	return *o.limit
}

// leads reports which daemon is meant.
func (o *mountOptions) leads(source string) (bool, error) {
	real := strings.HasPrefix(source, "/")
	switch o.role {
	case "":
		if source == "none" {
			return false, fmt.Errorf("the source none does not say what is mounted: add the option role=leader or role=follower")
		}
		return real, nil
	case "leader", "master":
		if !real && source != "none" {
			return false, fmt.Errorf("source %q: for a leader it must be the absolute path of its directory, or none", source)
		}
		return true, nil
	case "follower", "slave":
		if real {
			return false, fmt.Errorf("source %q: for a follower it must be the address of another node, or none", source)
		}
		return false, nil
	}
	return false, fmt.Errorf("role %q: must be leader or follower", o.role)
}
