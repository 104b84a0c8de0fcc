//go:build linux || freebsd

package fusefs

import (
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"wolfdisk/volume"
)

// rawFS is what the library calls for each request. What is not here is answered with
// ENOSYS, once: ACCESS, locks, POLL.
type rawFS struct {
	fuse.RawFileSystem
	d *gofuse
}

func (f *rawFS) String() string { return fsSubtype }

func (f *rawFS) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		return goEntry(out, s.c, f.d.k.lookup(s.c, volume.Ino(h.NodeId), name))
	})
}

// Forget may close what the kernel knew, so it holds the gate too.
func (f *rawFS) Forget(node, n uint64) {
	f.d.gate.RLock()
	defer f.d.gate.RUnlock()
	if !f.d.ended {
		f.d.k.forget(node, n)
	}
}

func (f *rawFS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		return goAttrOut(out, s.c, f.d.k.getattr(s.c, volume.Ino(in.NodeId)))
	})
}

func (f *rawFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		if in.Valid&fattrFH != 0 {
			if errno := f.d.k.owned(volume.Ino(in.NodeId), in.Fh); errno != 0 {
				return errno
			}
		}
		return goAttrOut(out, s.c, f.d.k.setattr(s.c, volume.Ino(in.NodeId), &setattrIn{
			valid: in.Valid, size: in.Size, atime: int64(in.Atime), mtime: int64(in.Mtime),
			atimeNsec: in.Atimensec, mtimeNsec: in.Mtimensec, mode: in.Mode, uid: in.Uid, gid: in.Gid,
		}))
	})
}

func (f *rawFS) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		errno := f.d.k.getattr(s.c, volume.Ino(in.NodeId))
		if errno == 0 {
			goStatx(out, &s.c.attr)
		}
		return errno
	})
}

func (f *rawFS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		return goEntry(out, s.c, f.d.k.mknod(s.c, volume.Ino(in.NodeId), name, in.Mode, in.Umask, rdevFromKernel(in.Rdev)))
	})
}

func (f *rawFS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		return goEntry(out, s.c, f.d.k.mkdir(s.c, volume.Ino(in.NodeId), name, in.Mode, in.Umask))
	})
}

func (f *rawFS) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		return f.d.k.unlink(s.c, volume.Ino(h.NodeId), name)
	})
}

func (f *rawFS) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		return f.d.k.rmdir(s.c, volume.Ino(h.NodeId), name)
	})
}

// Rename gets RENAME too, with no flags.
func (f *rawFS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, name, newName string) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		return f.d.k.rename(s.c, volume.Ino(in.NodeId), name, volume.Ino(in.Newdir), newName, in.Flags)
	})
}

func (f *rawFS) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		return goEntry(out, s.c, f.d.k.link(s.c, volume.Ino(in.Oldnodeid), volume.Ino(in.NodeId), name))
	})
}

func (f *rawFS) Symlink(cancel <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		return goEntry(out, s.c, f.d.k.symlink(s.c, volume.Ino(h.NodeId), name, target))
	})
}

func (f *rawFS) Readlink(cancel <-chan struct{}, h *fuse.InHeader) (out []byte, status fuse.Status) {
	status = f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		target, errno := f.d.k.readlink(s.c, volume.Ino(h.NodeId))
		out = []byte(target)
		return errno
	})
	return out, status
}

func (f *rawFS) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (n uint32, status fuse.Status) {
	status = f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		value, errno := f.d.k.getxattr(s.c, volume.Ino(h.NodeId), name)
		if errno == 0 {
			n, errno = goXattr(dest, value)
		}
		return errno
	})
	return n, status
}

func (f *rawFS) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (n uint32, status fuse.Status) {
	status = f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		names, errno := f.d.k.listxattr(s.c, volume.Ino(h.NodeId), nil)
		if errno == 0 {
			n, errno = goXattr(dest, names)
		}
		return errno
	})
	return n, status
}

// goXattr answers with a value, or with its size if there is no place for one.
func goXattr(dest, value []byte) (uint32, syscall.Errno) {
	if len(dest) > 0 && len(value) > len(dest) {
		return 0, syscall.ERANGE
	}
	copy(dest, value)
	return uint32(len(value)), 0
}

func (f *rawFS) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		if uint64(len(data)) < uint64(in.Size) {
			return syscall.EIO
		}
		return f.d.k.setxattr(s.c, volume.Ino(in.NodeId), name, data[:in.Size], in.Flags, in.SetXAttrFlags&setxattrKillSGID != 0)
	})
}

func (f *rawFS) RemoveXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		return f.d.k.removexattr(s.c, volume.Ino(h.NodeId), name)
	})
}

func (f *rawFS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		errno := f.d.k.create(s.c, volume.Ino(in.NodeId), name, in.Flags, in.Mode, in.Umask, in.OpenFlags&openKillSUIDGID != 0)
		out.Fh, out.OpenFlags = s.c.handle, f.d.k.openFlags(in.Flags)
		return goEntry(&out.EntryOut, s.c, errno)
	})
}

func (f *rawFS) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		errno := f.d.k.tmpfile(s.c, volume.Ino(in.NodeId), in.Flags, in.Mode, in.Umask)
		out.Fh, out.OpenFlags = s.c.handle, f.d.k.openFlags(in.Flags)
		return goEntry(&out.EntryOut, s.c, errno)
	})
}

// Open: the field named Mode holds the protocol's open flags.
func (f *rawFS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		errno := f.d.k.open(s.c, volume.Ino(in.NodeId), in.Flags, in.Mode&openKillSUIDGID != 0)
		out.Fh, out.OpenFlags = s.c.handle, f.d.k.openFlags(in.Flags)
		return errno
	})
}

func (f *rawFS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		out.OpenFlags = fopenKeepCache | fopenCacheDir
		var errno syscall.Errno
		out.Fh, errno = f.d.k.opendir(s.c, volume.Ino(in.NodeId))
		return errno
	})
}

func (f *rawFS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno { return f.d.k.release(s.c, volume.Ino(in.NodeId)) })
}

func (f *rawFS) ReleaseDir(in *fuse.ReleaseIn) {
	f.d.handle(nil, &in.InHeader, func(s *slot) syscall.Errno {
		return f.d.k.releasedir(s.c, volume.Ino(in.NodeId), in.Fh)
	})
}

func (f *rawFS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	var n int
	status := f.d.handleOf(cancel, &in.InHeader, in.Fh, func(s *slot) (errno syscall.Errno) {
		n, errno = f.d.k.read(s.c, volume.Ino(in.NodeId), buf, in.Offset)
		return errno
	})
	if !status.Ok() {
		return nil, status
	}
	return fuse.ReadResultData(buf[:n]), status
}

func (f *rawFS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (n uint32, status fuse.Status) {
	status = f.d.handleOf(cancel, &in.InHeader, in.Fh, func(s *slot) syscall.Errno {
		if uint64(len(data)) < uint64(in.Size) {
			return syscall.EIO
		}
		took, errno := f.d.k.writeFile(s.c, volume.Ino(in.NodeId), data[:in.Size], in.Offset, in.Flags, in.WriteFlags)
		n = uint32(took)
		return errno
	})
	return n, status
}

// Writev is asked first. From the device content comes in one piece; ENOSYS to several
// makes the library join them.
func (f *rawFS) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if len(data) != 1 {
		return 0, fuse.ENOSYS
	}
	return f.Write(cancel, in, data[0])
}

// goCopyPiece is how much COPY_FILE_RANGE copies at once, bytes.
const goCopyPiece = 128 << 10

var copyBuffers = sync.Pool{New: func() any { return new([goCopyPiece]byte) }}

func (f *rawFS) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (n uint32, status fuse.Status) {
	buf := copyBuffers.Get().(*[goCopyPiece]byte)
	defer copyBuffers.Put(buf)
	status = f.d.handleOf(cancel, &in.InHeader, in.FhIn, func(s *slot) syscall.Errno {
		if errno := f.d.k.owned(volume.Ino(in.NodeIdOut), in.FhOut); errno != 0 {
			return errno
		}
		done, errno := f.d.k.copyRange(s.c, volume.Ino(in.NodeId), in.OffIn, volume.Ino(in.NodeIdOut), in.OffOut, in.Len, buf[:])
		n = uint32(done)
		return errno
	})
	return n, status
}

func (f *rawFS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	return f.d.handleOf(cancel, &in.InHeader, in.Fh, func(s *slot) (errno syscall.Errno) {
		out.Offset, errno = f.d.k.lseek(s.c, volume.Ino(in.NodeId), in.Offset, in.Whence)
		return errno
	})
}

func (f *rawFS) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return f.d.handleOf(cancel, &in.InHeader, in.Fh, func(s *slot) syscall.Errno {
		return f.d.k.fallocate(s.c, volume.Ino(in.NodeId), in.Mode, in.Offset, in.Length)
	})
}

func (f *rawFS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return f.d.handleOf(cancel, &in.InHeader, in.Fh, func(s *slot) syscall.Errno { return f.d.k.flush(s.c, volume.Ino(in.NodeId)) })
}

func (f *rawFS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.d.handleOf(cancel, &in.InHeader, in.Fh, func(s *slot) syscall.Errno {
		return f.d.k.fsync(s.c, volume.Ino(in.NodeId), in.FsyncFlags&fsyncDataOnly != 0)
	})
}

func (f *rawFS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.d.handleOf(cancel, &in.InHeader, in.Fh>>termShift, func(s *slot) syscall.Errno {
		return f.d.k.fsync(s.c, volume.Ino(in.NodeId), in.FsyncFlags&fsyncDataOnly != 0)
	})
}

func (f *rawFS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(cancel, in, out, false)
}

func (f *rawFS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(cancel, in, out, true)
}

func (f *rawFS) list(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList, plus bool) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(s *slot) syscall.Errno {
		s.dirents = goDirents{list: out, left: int(in.Size), plus: plus}
		s.c.sink = &s.dirents
		errno := f.d.k.readdir(s.c, volume.Ino(in.NodeId), in.Fh, in.Offset, plus)
		if errno != 0 {
			f.d.k.undo(s.c)
		}
		s.dirents = goDirents{}
		return errno
	})
}

func (f *rawFS) Ioctl(cancel <-chan struct{}, in *fuse.IoctlIn, _ []byte, _ *fuse.IoctlOut, _ []byte) fuse.Status {
	return f.d.handle(cancel, &in.InHeader, func(*slot) syscall.Errno { return syscall.ENOTTY })
}

func (f *rawFS) StatFs(cancel <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	return f.d.handle(cancel, h, func(s *slot) syscall.Errno {
		st, errno := f.d.k.statfs(s.c)
		if errno == 0 {
			*out = fuse.StatfsOut{Blocks: st.Blocks, Bfree: st.BlocksFree, Bavail: st.Avail, Files: st.Inodes, Ffree: st.InodesFree,
				Bsize: st.BlockSize, NameLen: volume.MaxNameLen, Frsize: st.BlockSize}
		}
		return errno
	})
}
