package fusefs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// goMountOptions has nothing to add: fusermountGo mounts.
func goMountOptions(*fuse.MountOptions, *Options) {}

// goPoint is a mount whose device the library owns. A second descriptor of it is kept
// for the notice that the library does not know.
type goPoint struct {
	mountPointOps
	device *os.File
}

// mountGofuse mounts with the helper and hands the device to the library. The library
// could run the helper itself, but then its explanations go to our standard error, and
// no descriptor is left for INC_EPOCH.
func mountGofuse(o *Options) (driver, features, error) {
	fd, err := fusermountGo(o)
	if err != nil {
		return nil, features{}, volume.Errorf(volume.Unavailable, "mount %s: %w", o.Dir, err)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, features{}, errors.Join(volume.Errorf(volume.IO, "duplicate the FUSE device: %w", err), unix.Close(fd), detach(o.Dir))
	}
	p := &goPoint{mountPointOps: newMountPointOps(o.Dir, o.Log), device: os.NewFile(uintptr(own), "/dev/fuse")}
	d, f, err := newGofuse(fmt.Sprintf("/dev/fd/%d", fd), o)
	if err != nil {
		return nil, features{}, errors.Join(err, p.device.Close(), detach(o.Dir))
	}
	d.mount = p
	p.tuneReadAhead(o.ReadAhead)
	d.mounted(o)
	return d, f, nil
}

// fusermountGo mounts through fusermount3 and returns the device.
func fusermountGo(o *Options) (fd int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make a socket for the mount helper: %w", err)
	}
	defer unix.Close(pair[0])
	remote := os.NewFile(uintptr(pair[1]), "fusermount3")
	cmd := exec.Command("fusermount3", "-o", fusermountOptions(o), "--", o.Dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{remote}
	out, err := cmd.CombinedOutput()
	remote.Close() // with it the last other end, so that receiving cannot wait for ever
	if err != nil {
		return -1, fmt.Errorf("fusermount3: %w%s", err, helperSaid(string(out)))
	}
	return receiveDevice(pair[0])
}

// fusermountOptions are the same as the other driver's, and the size of reads.
func fusermountOptions(o *Options) string {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	opts := []string{"default_permissions", "subtype=" + fsSubtype, "fsname=" + escape.Replace(o.FSName), fmt.Sprintf("max_read=%d", goMaxData)}
	for _, x := range []struct {
		on  bool
		opt string
	}{{o.AllowOther, "allow_other"}, {o.ReadOnly, "ro"}, {o.SUID, "suid"}, {o.Dev, "dev"}} {
		if x.on {
			opts = append(opts, x.opt)
		}
	}
	return strings.Join(opts, ",")
}

// receiveDevice takes the descriptor that the helper has sent.
func receiveDevice(socket int) (int, error) {
	data, control := make([]byte, 8), make([]byte, unix.CmsgSpace(4))
	for {
		_, n, _, _, err := unix.Recvmsg(socket, data, control, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, fmt.Errorf("receive the device from fusermount3: %w", err)
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) != 1 {
			return -1, fmt.Errorf("fusermount3 has sent no device (%d messages, %v)", len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return -1, fmt.Errorf("fusermount3 has sent no device (%d descriptors, %v)", len(fds), err)
		}
		return fds[0], nil
	}
}

// incEpoch writes the notice itself. The kernel of a mount that is over says so.
func (p *goPoint) incEpoch() error {
	var b [outHeaderLen]byte
	putOutHeader(b[:], len(b), notifyIncEpoch, 0)
	conn, err := p.device.SyscallConn()
	if err != nil {
		return unix.EBADF // closed
	}
	// Control keeps the descriptor from being closed, and its number from being used
	// again, meanwhile.
	if cerr := conn.Control(func(fd uintptr) {
		for {
			if _, err = unix.Write(int(fd), b[:]); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}); cerr != nil {
		return unix.EBADF
	}
	return err
}

func (p *goPoint) close() error {
	if err := p.device.Close(); err != nil {
		return volume.Errorf(volume.IO, "close the FUSE device: %w", err)
	}
	return nil
}

// rdevToKernel and rdevFromKernel: a volume keeps device numbers in the kernel's form.
func rdevToKernel(dev uint32) uint32   { return dev }
func rdevFromKernel(dev uint32) uint32 { return dev }
