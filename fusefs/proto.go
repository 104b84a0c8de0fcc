package fusefs

import "encoding/binary"

// The kernel's protocol, as <linux/fuse.h> fixes it: everything is in the byte
// order of the machine, and structures are padded to 8 bytes.
var native = binary.NativeEndian

// Opcodes of requests.
const (
	opLookup        = 1
	opForget        = 2
	opGetattr       = 3
	opSetattr       = 4
	opReadlink      = 5
	opSymlink       = 6
	opMknod         = 8
	opMkdir         = 9
	opUnlink        = 10
	opRmdir         = 11
	opRename        = 12
	opLink          = 13
	opOpen          = 14
	opRead          = 15
	opWrite         = 16
	opStatfs        = 17
	opRelease       = 18
	opFsync         = 20
	opSetxattr      = 21
	opGetxattr      = 22
	opListxattr     = 23
	opRemovexattr   = 24
	opFlush         = 25
	opInit          = 26
	opOpendir       = 27
	opReaddir       = 28
	opReleasedir    = 29
	opFsyncdir      = 30
	opGetlk         = 31
	opSetlk         = 32
	opSetlkw        = 33
	opAccess        = 34
	opCreate        = 35
	opInterrupt     = 36
	opBmap          = 37
	opDestroy       = 38
	opIoctl         = 39
	opPoll          = 40
	opNotifyReply   = 41
	opBatchForget   = 42
	opFallocate     = 43
	opReaddirplus   = 44
	opRename2       = 45
	opLseek         = 46
	opCopyRange     = 47
	opSetupMapping  = 48
	opRemoveMapping = 49
	opSyncfs        = 50
	opTmpfile       = 51
	opStatx         = 52
	opCopyRange64   = 53

	opcodeEnd = 64 // counters of requests have this many places; unknown ones count in place 0
)

var opcodeNames = [opcodeEnd]string{
	0: "unknown", opLookup: "lookup", opForget: "forget", opGetattr: "getattr", opSetattr: "setattr",
	opReadlink: "readlink", opSymlink: "symlink", opMknod: "mknod", opMkdir: "mkdir", opUnlink: "unlink",
	opRmdir: "rmdir", opRename: "rename", opLink: "link", opOpen: "open", opRead: "read", opWrite: "write",
	opStatfs: "statfs", opRelease: "release", opFsync: "fsync", opSetxattr: "setxattr", opGetxattr: "getxattr",
	opListxattr: "listxattr", opRemovexattr: "removexattr", opFlush: "flush", opInit: "init",
	opOpendir: "opendir", opReaddir: "readdir", opReleasedir: "releasedir", opFsyncdir: "fsyncdir",
	opGetlk: "getlk", opSetlk: "setlk", opSetlkw: "setlkw", opAccess: "access", opCreate: "create",
	opInterrupt: "interrupt", opBmap: "bmap", opDestroy: "destroy", opIoctl: "ioctl", opPoll: "poll",
	opNotifyReply: "notify_reply", opBatchForget: "batch_forget", opFallocate: "fallocate",
	opReaddirplus: "readdirplus", opRename2: "rename2", opLseek: "lseek", opCopyRange: "copy_file_range",
	opSetupMapping: "setupmapping", opRemoveMapping: "removemapping", opSyncfs: "syncfs",
	opTmpfile: "tmpfile", opStatx: "statx", opCopyRange64: "copy_file_range_64",
}

// Codes of notifications.
const (
	notifyInvalInode = 2
	notifyInvalEntry = 3
	notifyIncEpoch   = 8
)

// Bits of the INIT exchange; those above 31 cannot be had through bazil.
const (
	initAsyncRead       = 1 << 0
	initAtomicTrunc     = 1 << 3
	initExportSupport   = 1 << 4
	initBigWrites       = 1 << 5
	initDontMask        = 1 << 6
	initReaddirplus     = 1 << 13
	initReaddirplusAuto = 1 << 14
	initAsyncDIO        = 1 << 15
	initParallelDirOps  = 1 << 18
	initPosixACL        = 1 << 20
	initMaxPages        = 1 << 22
	initCacheSymlinks   = 1 << 23
	initExplicitInval   = 1 << 25
	initKillPrivV2      = 1 << 28
	initSetxattrExt     = 1 << 29
	initExt             = 1 << 30
)

// Sizes of structures, bytes.
const (
	inHeaderLen  = 40
	outHeaderLen = 16
	attrLen      = 88
	entryLen     = 40 + attrLen
	attrOutLen   = 16 + attrLen
	openOutLen   = 16
	direntLen    = 24
	statfsLen    = 80
	statxOutLen  = 32 + 256
)

// Bits inside requests and replies.
const (
	fattrMode        = 1 << 0
	fattrUID         = 1 << 1
	fattrGID         = 1 << 2
	fattrSize        = 1 << 3
	fattrAtime       = 1 << 4
	fattrMtime       = 1 << 5
	fattrFH          = 1 << 6 // the request has a handle
	fattrAtimeNow    = 1 << 7
	fattrMtimeNow    = 1 << 8
	fattrKillSUIDGID = 1 << 11

	writeCache       = 1 << 0
	writeLockOwner   = 1 << 1
	writeKillSUIDGID = 1 << 2
	openKillSUIDGID  = 1 << 0
	setxattrKillSGID = 1 << 0
	fsyncDataOnly    = 1 << 0

	fopenKeepCache = 1 << 1
	fopenCacheDir  = 1 << 3
	fopenNoFlush   = 1 << 5

	xattrCreate  = 1
	xattrReplace = 2

	renameNoReplace = 1
	renameExchange  = 2

	seekData = 3
	seekHole = 4

	statxBasic = 0x7ff
	statxBtime = 0x800
)

// validForEver is the validity of names and attributes, seconds: they change only
// through this mount, which the kernel sees, or by ops it is told of.
const validForEver = 1 << 32

// inHeader begins every request.
type inHeader struct {
	len, opcode   uint32
	unique        uint64
	node          uint64
	uid, gid, pid uint32
}

func decodeHeader(b []byte) inHeader {
	_ = b[inHeaderLen-1]
	return inHeader{
		len: native.Uint32(b), opcode: native.Uint32(b[4:]), unique: native.Uint64(b[8:]), node: native.Uint64(b[16:]),
		uid: native.Uint32(b[24:]), gid: native.Uint32(b[28:]), pid: native.Uint32(b[32:]),
	}
}

// putOutHeader begins a reply, or a notification (unique 0 and its code for errno).
func putOutHeader(b []byte, n int, errno int32, unique uint64) {
	_ = b[outHeaderLen-1]
	native.PutUint32(b, uint32(n))
	native.PutUint32(b[4:], uint32(errno))
	native.PutUint64(b[8:], unique)
}
