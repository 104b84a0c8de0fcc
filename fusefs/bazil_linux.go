package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"bazil.org/fuse"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// bazil mounts and negotiates through bazil.org/fuse, then reads and writes the
// device itself: the library's own messages cannot carry what the kernel and this
// package have to say to each other (docs/decisions/0002-fuse-driver.md).
type bazil struct {
	mountPointOps
	conn *fuse.Conn // owns the device; nothing but Close is called
	fd   int
	opt  *Options

	k         *core
	total     atomic.Int32   // readers
	idle      atomic.Int32   // readers in, or on their way to, read(2)
	long      atomic.Int32   // readers that handle what takes long
	taken     atomic.Uint64  // messages read
	wg        sync.WaitGroup // readers and the watch
	over      sync.Once
	ended     chan struct{} // closed by over: the device gives nothing any more
	gone      chan struct{} // closed when nobody works for the mount any more
	watched   atomic.Bool   // the watch is awake, or wakeWatch holds a signal
	wakeWatch chan struct{} // of one place
	buffers   sync.Pool     // of *buffers, for readers that come and go
	parked    parked

	notices sync.RWMutex // held for reading while the kernel takes a notice
	closed  bool         // guarded by notices
}

// maxData is the largest content of a request or reply: what the library offers the
// kernel, bytes.
const maxData = 128 << 10

// initFlags are what the kernel is asked for beyond the library's options.
const initFlags = initAtomicTrunc | initExportSupport | initDontMask | initReaddirplus | initReaddirplusAuto

func mountBazil(o *Options) (driver, features, error) {
	dir := o.Dir
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
		return nil, features{}, errors.Join(err, detach(dir), conn.Close())
	}
	d := &bazil{mountPointOps: newMountPointOps(dir, o.Log), conn: conn, fd: fd, opt: o, gone: make(chan struct{}),
		ended: make(chan struct{}), wakeWatch: make(chan struct{}, 1)}
	d.buffers.New = func() any { return newBuffers() }
	d.tuneReadAhead(o.ReadAhead)
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
	d.notices.Lock()
	d.closed = true
	d.notices.Unlock()
	if err := d.conn.Close(); err != nil {
		return volume.Errorf(volume.IO, "close the FUSE device: %w", err)
	}
	return nil
}
