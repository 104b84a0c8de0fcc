package fusefs

import (
	"syscall"

	"wolfdisk/volume"
)

// Modes of fallocate(2).
const fallocModes = volume.FallocKeepSize | volume.FallocPunchHole | volume.FallocZeroRange

// maxCopy bounds one COPY_FILE_RANGE, bytes, so that it can be interrupted; the
// caller asks for the rest.
const maxCopy = 16 << 20

// open opens a file, and empties it with O_TRUNC. There is no handle: the volume
// counts opens by inode, and everything else the kernel says with each request.
func (k *core) open(c *call, ino volume.Ino, flags uint32, kill bool) syscall.Errno {
	trunc := flags&uint32(syscall.O_TRUNC) != 0
	write := trunc || flags&uint32(syscall.O_ACCMODE) != uint32(syscall.O_RDONLY)
	c.handle = k.handles.term.Load() // before the volume is asked: a copy given up later is that one
	if err := k.vol.Open(c.ctx, ino, write); err != nil {
		return k.fail(c, "open", ino, err)
	}
	k.nodes.open(ino, flags&uint32(syscall.O_ACCMODE) == uint32(syscall.O_RDWR))
	if !trunc {
		return 0
	}
	var err error
	if kill {
		err = k.killGroup(c, ino)
	}
	if err == nil {
		c.req = volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize, KillPriv: kill}
		_, err = k.do(c)
	}
	if err != nil {
		k.release(c, ino)
		return k.fail(c, "open", ino, err)
	}
	k.killed(c, c.attr.Mode)
	return 0
}

// release ends an open. Nobody waits for its answer.
func (k *core) release(c *call, ino volume.Ino) syscall.Errno {
	if !k.nodes.release(ino) {
		return syscall.EBADF
	}
	k.closed(ino)
	k.appends.closed(ino, k.nodes.isOpen)
	err := k.vol.Close(c.ctx, ino)
	if k.hasEnded(ino, err) {
		return 0 // see opendir
	}
	return k.fail(c, "release", ino, err)
}

func (k *core) read(c *call, ino volume.Ino, p []byte, off uint64) (int, syscall.Errno) {
	if off > volume.MaxFileSize {
		return 0, syscall.EINVAL
	}
	n, err := k.vol.ReadAt(c.ctx, ino, p, int64(off))
	return n, k.fail(c, "read", ino, err)
}

// writeFile is WRITE: fileFlags are those of open(2), writeFlags those of the request.
func (k *core) writeFile(c *call, ino volume.Ino, data []byte, off uint64, fileFlags, writeFlags uint32) (n int, errno syscall.Errno) {
	appends := fileFlags&uint32(syscall.O_APPEND) != 0 && writeFlags&writeCache == 0
	direct, kill := writeFlags&writeLockOwner != 0, writeFlags&writeKillSUIDGID != 0
	if appends && direct {
		n, errno = k.appendPiece(c, ino, data, off, kill)
	} else {
		n, errno = k.write(c, ino, data, off, appends, kill)
	}
	if n > 0 && direct {
		// A direct write: only those name the owner of locks. (The file's O_DIRECT may come and go
		// meanwhile, and a write through the cache holds its pages until it is answered.) The kernel
		// drops the pages that such a write passes by before the request; and behind it only if
		// the application waits in the call, not if the answer comes later (io_submit, io_uring).
		// Whoever has read meanwhile has put the old content there.
		k.notify.pagesNow(ino, int64(off), int64(n))
	}
	return n, errno
}

// write writes, at the end if the file is open with O_APPEND: the offset is then
// only where the kernel believes the end to be.
func (k *core) write(c *call, ino volume.Ino, data []byte, off uint64, appends, kill bool) (int, syscall.Errno) {
	if off > volume.MaxFileSize {
		return 0, syscall.EFBIG
	}
	if kill {
		if err := k.killGroup(c, ino); err != nil {
			return 0, k.fail(c, "write", ino, err)
		}
	}
	c.req = volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: int64(off), Append: appends, Data: data, KillPriv: kill}
	res, err := k.do(c)
	if err != nil {
		return 0, k.fail(c, "write", ino, err)
	}
	k.killed(c, res.Attr.Mode)
	switch {
	case res.Offset != int64(off):
		// What the kernel keeps of this write is in the wrong place.
		k.staleAttr(ino, min(res.Offset, int64(off)))
	case res.Attr.Size < res.Offset+int64(res.N):
		k.staleAttr(ino, -1)
	}
	return res.N, 0
}

// fsync makes durable. A disk that has failed is EIO, not EROFS as to changes: programs know that as
// what may have been lost.
func (k *core) fsync(c *call, ino volume.Ino, dataOnly bool) syscall.Errno {
	err := k.vol.Sync(c.ctx, ino, dataOnly)
	if err != nil && volume.KindOf(err) == volume.Fault {
		err = volume.Errorf(volume.IO, "%w: %w", err, syscall.EIO)
	}
	return k.fail(c, "fsync", ino, err)
}

// flush comes with the closing of a file that was open for writing. Without SyncOnClose there is
// nothing to do, but FLUSH must not be switched off: before it the kernel writes what was stored
// through mappings.
func (k *core) flush(c *call, ino volume.Ino) syscall.Errno {
	if !k.onClose {
		return 0
	}
	return k.fsync(c, ino, false)
}

func (k *core) fallocate(c *call, ino volume.Ino, mode uint32, off, length uint64) syscall.Errno {
	switch {
	case mode&^fallocModes != 0:
		return syscall.EOPNOTSUPP
	case off > volume.MaxFileSize || length > volume.MaxFileSize:
		return syscall.EFBIG
	}
	kill := c.caller.UID != 0 // the kernel has no bit for it here
	if err := k.killGroup(c, ino); err != nil {
		return k.fail(c, "fallocate", ino, err)
	}
	c.req = volume.Request{Kind: volume.OpFallocate, Ino: ino, Alloc: mode, Offset: int64(off), Length: int64(length), KillPriv: kill}
	res, err := k.do(c)
	if err != nil {
		return k.fail(c, "fallocate", ino, err)
	}
	k.killed(c, res.Attr.Mode)
	return 0
}

// lseek finds data or a hole; the kernel does the other kinds itself.
func (k *core) lseek(c *call, ino volume.Ino, off uint64, whence uint32) (uint64, syscall.Errno) {
	if whence != seekData && whence != seekHole {
		return 0, syscall.EINVAL
	}
	if off > volume.MaxFileSize {
		return 0, syscall.ENXIO
	}
	if k.nodes.mapped(ino) {
		k.notify.contentNow(ino)
	}
	at, err := k.vol.Seek(c.ctx, ino, int64(off), whence == seekHole)
	return uint64(at), k.fail(c, "lseek", ino, err)
}

// copyRange copies content in pieces of buf. An error after the first piece counts
// as a short copy; the caller meets it again.
func (k *core) copyRange(c *call, from volume.Ino, fromOff uint64, to volume.Ino, toOff, length uint64, buf []byte) (uint64, syscall.Errno) {
	if fromOff > volume.MaxFileSize || toOff > volume.MaxFileSize {
		return 0, syscall.EINVAL
	}
	length = min(length, maxCopy)
	var done uint64
	for done < length {
		piece := buf[:min(uint64(len(buf)), length-done)]
		n, errno := k.read(c, from, piece, fromOff+done)
		if errno == 0 && n > 0 {
			var took int
			took, errno = k.write(c, to, piece[:n], toOff+done, false, c.caller.UID != 0)
			done += uint64(took)
			if took < n {
				n = 0
			}
		}
		if errno != 0 && done == 0 {
			return 0, errno
		}
		if errno != 0 || n == 0 {
			break
		}
	}
	return done, 0
}
