package fusefs

import (
	"syscall"

	"wolfdisk/volume"
)

// dispatch decodes a request, lets the core answer it, and encodes the answer.
func (k *core) dispatch(c *call, r *request, p *reply, d *direntBuf) {
	if p.errno = k.disowned(r); p.errno != 0 {
		return
	}
	switch r.opcode {
	case opLookup:
		name := r.name()
		if k.ok(r, p) {
			p.entry(c, k.lookup(c, r.ino(), name))
		}
	case opGetattr:
		p.attr(c, k.getattr(c, r.ino()))
	case opRead:
		k.dispatchRead(c, r, p)
	case opWrite:
		k.dispatchWrite(c, r, p)
	case opReaddir, opReaddirplus:
		k.dispatchReaddir(c, r, p, d)
	case opOpen, opOpendir:
		k.dispatchOpen(c, r, p)
	case opRelease:
		p.errno = k.release(c, r.ino())
	case opReleasedir:
		b := r.take(8)
		if k.ok(r, p) {
			p.errno = k.releasedir(c, r.ino(), native.Uint64(b))
		}
	case opFlush:
		p.errno = k.flush(c, r.ino())
	case opDestroy:
		// Nothing to do, but an answer.
	case opFsync, opFsyncdir:
		b := r.take(16)
		if k.ok(r, p) {
			p.errno = k.fsync(c, r.ino(), native.Uint32(b[8:])&fsyncDataOnly != 0)
		}
	case opSyncfs:
		p.errno = k.fsync(c, 0, false)
	case opSetattr, opReadlink, opStatfs, opStatx, opGetxattr, opListxattr, opSetxattr, opRemovexattr:
		k.dispatchAttr(c, r, p)
	case opFallocate, opLseek, opCopyRange, opCopyRange64:
		k.dispatchContent(c, r, p)
	case opIoctl:
		p.errno = syscall.ENOTTY
	default:
		if !k.dispatchName(c, r, p) {
			p.errno = syscall.ENOSYS // remembered by the kernel: ACCESS, POLL, BMAP, locks
		}
	}
}

// ok refuses a request that is too short.
func (k *core) ok(r *request, p *reply) bool {
	if !r.bad {
		return true
	}
	k.log.Error().Uint32("opcode", r.opcode).Uint32("len", r.len).Msg("malformed request from the kernel")
	p.errno = syscall.EIO
	return false
}

func (k *core) dispatchRead(c *call, r *request, p *reply) {
	b := r.take(40)
	size := min(int(native.Uint32(b[16:])), len(p.body()))
	if k.ok(r, p) {
		p.n, p.errno = k.read(c, r.ino(), p.body()[:size], native.Uint64(b[8:]))
	}
}

func (k *core) dispatchWrite(c *call, r *request, p *reply) {
	b := r.take(40)
	data := r.data(native.Uint32(b[16:]))
	if !k.ok(r, p) {
		return
	}
	n, errno := k.writeFile(c, r.ino(), data, native.Uint64(b[8:]), native.Uint32(b[32:]), native.Uint32(b[20:]))
	p.count(uint32(n), errno)
}

func (k *core) dispatchReaddir(c *call, r *request, p *reply, d *direntBuf) {
	b := r.take(40)
	if !k.ok(r, p) {
		return
	}
	size := min(int(native.Uint32(b[16:])), len(p.body()))
	plus := r.opcode == opReaddirplus
	d.reset(p.body()[:size], plus)
	c.sink = d
	p.errno = k.readdir(c, r.ino(), native.Uint64(b), native.Uint64(b[8:]), plus)
	p.n = d.n
	if p.errno != 0 {
		k.undo(c)
	}
}

func (k *core) dispatchOpen(c *call, r *request, p *reply) {
	b := r.take(8)
	if !k.ok(r, p) {
		return
	}
	if r.opcode == opOpendir {
		handle, errno := k.opendir(c, r.ino())
		p.opened(handle, fopenKeepCache|fopenCacheDir, errno)
		return
	}
	flags, kill := native.Uint32(b), native.Uint32(b[4:])&openKillSUIDGID != 0
	errno := k.open(c, r.ino(), flags, kill)
	p.opened(c.handle, k.openFlags(flags), errno)
}

// openFlags answers an open: what is cached stays. Only a file that is open for both
// reading and writing needs a FLUSH when it is closed, before which the kernel writes what
// was stored through mappings; what was written otherwise has been written through.
func (k *core) openFlags(flags uint32) uint32 {
	mode := flags & uint32(syscall.O_ACCMODE)
	if mode != uint32(syscall.O_RDWR) && (!k.onClose || mode == uint32(syscall.O_RDONLY)) {
		return fopenKeepCache | fopenNoFlush
	}
	return fopenKeepCache
}

// dispatchName handles requests about names; false if it is none.
func (k *core) dispatchName(c *call, r *request, p *reply) bool {
	dir := r.ino()
	switch r.opcode {
	case opCreate, opTmpfile:
		b := r.take(16)
		name := r.name()
		if !k.ok(r, p) {
			break
		}
		flags, mode, umask := native.Uint32(b), native.Uint32(b[4:]), native.Uint32(b[8:])
		var errno syscall.Errno
		if r.opcode == opCreate {
			errno = k.create(c, dir, name, flags, mode, umask, native.Uint32(b[12:])&openKillSUIDGID != 0)
		} else {
			errno = k.tmpfile(c, dir, flags, mode, umask)
		}
		p.entry(c, errno)
		p.opened(c.handle, k.openFlags(flags), errno)
	case opMkdir:
		b := r.take(8)
		name := r.name()
		if k.ok(r, p) {
			p.entry(c, k.mkdir(c, dir, name, native.Uint32(b), native.Uint32(b[4:])))
		}
	case opMknod:
		b := r.take(16)
		name := r.name()
		if k.ok(r, p) {
			p.entry(c, k.mknod(c, dir, name, native.Uint32(b), native.Uint32(b[8:]), native.Uint32(b[4:])))
		}
	case opSymlink:
		name := r.name()
		target := r.name()
		if k.ok(r, p) {
			p.entry(c, k.symlink(c, dir, name, target))
		}
	case opLink:
		ino := volume.Ino(native.Uint64(r.take(8)))
		name := r.name()
		if k.ok(r, p) {
			p.entry(c, k.link(c, ino, dir, name))
		}
	case opUnlink, opRmdir:
		name := r.name()
		if !k.ok(r, p) {
			break
		}
		if r.opcode == opUnlink {
			p.errno = k.unlink(c, dir, name)
		} else {
			p.errno = k.rmdir(c, dir, name)
		}
	case opRename, opRename2:
		newDir := volume.Ino(native.Uint64(r.take(8)))
		var flags uint32
		if r.opcode == opRename2 {
			flags = native.Uint32(r.take(8))
		}
		name := r.name()
		newName := r.name()
		if k.ok(r, p) {
			p.errno = k.rename(c, dir, name, newDir, newName, flags)
		}
	default:
		return false
	}
	return true
}

// dispatchAttr handles requests about an inode's attributes.
func (k *core) dispatchAttr(c *call, r *request, p *reply) {
	switch r.opcode {
	case opSetattr:
		b := r.take(88)
		if k.ok(r, p) {
			p.attr(c, k.setattr(c, r.ino(), &setattrIn{
				valid: native.Uint32(b), size: native.Uint64(b[16:]),
				atime: int64(native.Uint64(b[32:])), mtime: int64(native.Uint64(b[40:])),
				atimeNsec: native.Uint32(b[56:]), mtimeNsec: native.Uint32(b[60:]),
				mode: native.Uint32(b[68:]), uid: native.Uint32(b[76:]), gid: native.Uint32(b[80:]),
			}))
		}
	case opReadlink:
		target, errno := k.readlink(c, r.ino())
		p.n, p.errno = copy(p.body(), target), errno
	case opStatfs:
		s, errno := k.statfs(c)
		if p.errno = errno; errno == 0 {
			putStatFS(p.body(), &s)
			p.n = statfsLen
		}
	case opStatx:
		if p.errno = k.getattr(c, r.ino()); p.errno == 0 {
			putStatx(p.body(), &c.attr)
			p.n = statxOutLen
		}
	case opGetxattr:
		size := native.Uint32(r.take(8))
		name := r.name()
		if k.ok(r, p) {
			value, errno := k.getxattr(c, r.ino(), name)
			p.xattr(value, size, errno)
		}
	case opListxattr:
		size := native.Uint32(r.take(8))
		if k.ok(r, p) {
			names, errno := k.listxattr(c, r.ino(), p.body()[:0])
			p.xattr(names, size, errno)
		}
	case opSetxattr:
		b := r.take(8)
		var ext []byte
		if k.features.setxattrExt {
			ext = r.take(8)
		}
		name := r.name()
		value := r.data(native.Uint32(b))
		if k.ok(r, p) {
			p.errno = k.setxattr(c, r.ino(), name, value, native.Uint32(b[4:]), ext != nil && native.Uint32(ext)&setxattrKillSGID != 0)
		}
	case opRemovexattr:
		name := r.name()
		if k.ok(r, p) {
			p.errno = k.removexattr(c, r.ino(), name)
		}
	}
}

// xattr answers with a value, or with its size if the caller asks with size 0.
func (p *reply) xattr(value []byte, size uint32, errno syscall.Errno) {
	switch {
	case errno != 0:
		p.errno = errno
	case size == 0:
		p.count(uint32(len(value)), 0)
	case uint64(len(value)) > uint64(size):
		p.errno = syscall.ERANGE
	default:
		p.n = copy(p.body(), value)
	}
}

// dispatchContent handles the rarer requests about content.
func (k *core) dispatchContent(c *call, r *request, p *reply) {
	switch r.opcode {
	case opFallocate:
		b := r.take(32)
		if k.ok(r, p) {
			p.errno = k.fallocate(c, r.ino(), native.Uint32(b[24:]), native.Uint64(b[8:]), native.Uint64(b[16:]))
		}
	case opLseek:
		b := r.take(24)
		if k.ok(r, p) {
			p.count64(k.lseek(c, r.ino(), native.Uint64(b[8:]), native.Uint32(b[16:])))
		}
	case opCopyRange, opCopyRange64:
		b := r.take(56)
		if !k.ok(r, p) {
			break
		}
		n, errno := k.copyRange(c, r.ino(), native.Uint64(b[8:]), volume.Ino(native.Uint64(b[16:])), native.Uint64(b[32:]), native.Uint64(b[40:]), p.body())
		if r.opcode == opCopyRange64 {
			p.count64(n, errno)
		} else {
			p.count(uint32(n), errno)
		}
	}
}
