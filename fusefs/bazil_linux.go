package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"bazil.org/fuse"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// bazil mounts and negotiates through bazil.org/fuse, then reads and writes the
// device itself: the library's own messages cannot carry what the kernel and this
// package have to say to each other (docs/decisions/0002-fuse-driver.md).
type bazil struct {
	conn *fuse.Conn // owns the device; nothing but Close is called
	fd   int
	opt  *Options
	log  zerolog.Logger
	id   string // "major:minor" of the mount, empty if unknown

	k       *core
	total   atomic.Int32 // readers
	idle    atomic.Int32 // readers in, or on their way to, read(2)
	wg      sync.WaitGroup
	gone    chan struct{}
	buffers sync.Pool // of *buffers, for readers that come and go
}

// maxData is the largest content of a request or reply: what the library offers the
// kernel, bytes.
const maxData = 128 << 10

// initFlags are what the kernel is asked for beyond the library's options.
const initFlags = initAtomicTrunc | initDontMask | initReaddirplus | initReaddirplusAuto

func mountDriver(o *Options) (driver, features, error) {
	if o.Driver != DriverAuto && o.Driver != DriverBazil {
		return nil, features{}, volume.Errorf(volume.Unsupported, "mount driver %q: known are %q and %q", o.Driver, DriverAuto, DriverBazil)
	}
	if err := Available(); err != nil {
		return nil, features{}, err
	}
	dir, err := resolveMountPoint(o.Dir)
	if err != nil {
		return nil, features{}, volume.Wrap(err, "mount "+o.Dir)
	}
	o.Dir = dir
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, features{}, volume.Errorf(volume.KindOf(err), "mount point %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, features{}, volume.Errorf(volume.NotDir, "mount point %s: not a directory", dir)
	}
	flags := uint32(initFlags)
	if !o.NoACL {
		flags |= initPosixACL
	}
	conn, err := bazilMount(dir, o, flags)
	if err != nil {
		return nil, features{}, err
	}
	fd, err := deviceOf(conn)
	if err != nil {
		// The mount is ours, and nobody can serve it.
		return nil, features{}, errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH), conn.Close())
	}
	d := &bazil{conn: conn, fd: fd, opt: o, log: o.Log, gone: make(chan struct{})}
	d.buffers.New = func() any { return newBuffers() }
	d.id = mountID(dir)
	d.tuneReadAhead()
	got := uint32(conn.Features())
	o.Log.Info().Str("dir", dir).Str("driver", d.name()).Stringer("protocol", conn.Protocol()).
		Str("flags", fmt.Sprintf("%#x", got)).Str("device", d.id).Msg("mounted")
	return d, features{
		dontMask: got&initDontMask != 0, posixACL: got&initPosixACL != 0, setxattrExt: got&initSetxattrExt != 0,
	}, nil
}

// stdlog guards the standard logger's output while the library mounts: it says only
// there why the mount helper failed.
var stdlog sync.Mutex

func bazilMount(dir string, o *Options, flags uint32) (*fuse.Conn, error) {
	opts := []fuse.MountOption{
		fuse.FSName(o.FSName), fuse.Subtype(fsSubtype), fuse.DefaultPermissions(),
		fuse.AsyncRead(), fuse.MaxReadahead(uint32(o.ReadAhead)), fuse.CacheSymlinks(), fuse.ExplicitInvalidateData(),
		fuse.HandleKillPriv(), fuse.MaxBackground(uint16(o.MaxBackground)),
		fuse.CongestionThreshold(uint16(max(1, o.MaxBackground*3/4))),
		withInitFlags(flags),
	}
	for _, x := range []struct {
		on  bool
		opt fuse.MountOption
	}{{o.AllowOther, fuse.AllowOther()}, {o.ReadOnly, fuse.ReadOnly()}, {o.SUID, fuse.AllowSUID()}, {o.Dev, fuse.AllowDev()}} {
		if x.on {
			opts = append(opts, x.opt)
		}
	}
	stdlog.Lock()
	defer stdlog.Unlock()
	var said bytes.Buffer
	old := log.Writer()
	log.SetOutput(&said)
	conn, err := fuse.Mount(dir, opts...)
	log.SetOutput(old)
	if err != nil {
		return nil, volume.Errorf(volume.Unavailable, "mount %s: %w%s", dir, err, helperSaid(said.String()))
	}
	return conn, nil
}

// helperSaid is the mount helper's own explanation, taken out of the library's log.
func helperSaid(out string) string {
	var lines []string
	for line := range strings.Lines(out) {
		if _, text, ok := strings.Cut(line, "fusermount3: "); ok {
			lines = append(lines, strings.TrimSpace(text))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return " (" + strings.Join(lines, "; ") + ")"
}

// withInitFlags makes a mount option for bits of the INIT exchange that the library
// knows but has no option for. Its type is func(*mountConfig) error with a private
// mountConfig, so the function is made by reflection.
func withInitFlags(bits uint32) fuse.MountOption {
	t := reflect.TypeFor[fuse.MountOption]()
	fn := reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
		f := args[0].Elem().FieldByName("initFlags")
		if !f.IsValid() || f.Kind() != reflect.Uint32 {
			err := error(volume.Errorf(volume.Unsupported, "bazil.org/fuse has changed: its mountConfig has no initFlags"))
			return []reflect.Value{reflect.ValueOf(&err).Elem()}
		}
		*(*uint32)(unsafe.Pointer(f.UnsafeAddr())) |= bits
		return []reflect.Value{reflect.Zero(reflect.TypeFor[error]())}
	})
	return fn.Interface().(fuse.MountOption)
}

// deviceOf is the descriptor of /dev/fuse that a connection reads from. It stays
// the connection's.
func deviceOf(conn *fuse.Conn) (int, error) {
	f := reflect.ValueOf(conn).Elem().FieldByName("dev")
	if !f.IsValid() || f.Type() != reflect.TypeFor[*os.File]() {
		return -1, volume.Errorf(volume.Unsupported, "bazil.org/fuse has changed: its Conn has no dev")
	}
	fd := int((*os.File)(f.UnsafePointer()).Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, volume.Errorf(volume.IO, "stat the FUSE device: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return -1, volume.Errorf(volume.Unsupported, "bazil.org/fuse has changed: its dev is no device")
	}
	return fd, nil
}

func (d *bazil) name() string { return DriverBazil }

func (d *bazil) done() <-chan struct{} { return d.gone }

// close gives the device back. No reader is left, so the library's locks are free.
func (d *bazil) close() error {
	if err := d.conn.Close(); err != nil {
		return volume.Errorf(volume.IO, "close the FUSE device: %w", err)
	}
	return nil
}

func (d *bazil) unmount(lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(d.opt.Dir, flags)
	if errors.Is(err, unix.EPERM) {
		err = helperUnmount(d.opt.Dir, lazy)
	}
	if err == nil {
		return nil
	}
	return volume.Errorf(volume.KindOf(err), "unmount %s: %w", d.opt.Dir, err)
}

// helperUnmount unmounts with the rights of fusermount3, for users who are not root.
func helperUnmount(dir string, lazy bool) error {
	args := []string{"-u", "--", dir}
	if lazy {
		args = []string{"-u", "-z", "--", dir}
	}
	out, err := exec.Command("fusermount3", args...).CombinedOutput()
	if err == nil {
		return nil
	}
	if strings.Contains(string(out), "busy") {
		return syscall.EBUSY
	}
	return volume.Errorf(volume.IO, "fusermount3: %w: %s", err, bytes.TrimSpace(out))
}

// abort breaks the connection through the kernel's control file system, where that
// is mounted or else where only this call sees it.
func (d *bazil) abort() error {
	_, minor, ok := strings.Cut(d.id, ":")
	if !ok {
		return volume.Errorf(volume.NotFound, "the number of its connection is not known")
	}
	file := minor + "/abort"
	err := os.WriteFile("/sys/fs/fuse/connections/"+file, []byte("1"), 0)
	if errors.Is(err, unix.ENOENT) {
		err = abortPrivately(file)
	}
	if err != nil {
		return volume.Errorf(volume.KindOf(err), "break the connection: %w", err)
	}
	return nil
}

func abortPrivately(file string) error {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open the control file system: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("configure the control file system: %w", err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount the control file system: %w", err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat(root, file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("1")); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// tuneReadAhead widens the window: INIT can only narrow it.
func (d *bazil) tuneReadAhead() {
	if d.id == "" {
		return
	}
	path := "/sys/class/bdi/" + d.id + "/read_ahead_kb"
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d", d.opt.ReadAhead>>10), 0); err != nil {
		d.log.Debug().Err(err).Msg("widen the read-ahead window; it stays at the kernel's default")
	}
}
