package volume

// Every limit of the formats and of the tree, with its reason. Lengths read from
// disk or network are compared with these before anything is allocated.
const (
	// MaxNameLen is NAME_MAX of Linux and FreeBSD, in bytes.
	MaxNameLen = 255
	// MaxTargetLen is PATH_MAX less its NUL: symlink(2) refuses more.
	MaxTargetLen = 4095
	// MaxXattrNameLen is XATTR_NAME_MAX of Linux, in bytes.
	MaxXattrNameLen = 255
	// MaxXattrLen is XATTR_SIZE_MAX of Linux, in bytes.
	MaxXattrLen = 64 << 10
	// MaxXattrsLen is XATTR_LIST_MAX of Linux: the names of one inode's
	// attributes, each with a NUL, in bytes.
	MaxXattrsLen = 64 << 10
	// MaxOpXattrs bounds the attributes one op carries: ACLs at creation, S3
	// metadata at publishing.
	MaxOpXattrs = 16
	// MaxFileSize is the largest off_t, in bytes.
	MaxFileSize = 1<<63 - 1
	// MaxNewSize is the size up to which files grow, in bytes: the largest file of ext4 with
	// blocks of 4 KiB. What one node takes, every other has to be able to keep, also
	// in a real directory. A write across it is cut.
	MaxNewSize = (1<<32 - 1) * 4096
	// MaxNlink bounds the names of anything but a directory: ext4 takes no more. What one
	// node takes, every other has to be able to keep, also in a real directory.
	MaxNlink = 65_000
	// MaxDirNlink bounds the links of a directory, which come with its subdirectories; ext4
	// stops to count them, and the lower file system may say EMLINK earlier.
	MaxDirNlink = 1 << 31
	// MaxWrite is the content of one write op: the largest request of a front
	// end (1 MiB over FUSE), so that a request is one op and never torn.
	MaxWrite = 1 << 20
	// MaxCopyChunks bounds the chunks of one range copy or publish.
	MaxCopyChunks = 4096
	// MaxNodeIDLen bounds node, leader and client IDs, in bytes.
	MaxNodeIDLen = 64
	// MaxAnswers bounds the answers to forwarded requests that are kept of a client: many
	// more than it can have under way at once.
	MaxAnswers = 1024
	// MaxClients bounds the clients whose answers are kept.
	MaxClients = 1024
	// MaxParticipants bounds the members that a reign lists.
	MaxParticipants = 1024
	// MaxAddressLen bounds an address in a member record, in bytes.
	MaxAddressLen = 300
	// MaxFrameRaw is what a frame holds before compression unless a single op is
	// larger, in bytes.
	MaxFrameRaw = 256 << 10
	// MaxOpLen bounds one encoded op, in bytes: the largest content, names,
	// attributes and room for the rest.
	MaxOpLen = MaxWrite + MaxOpXattrs*(MaxXattrLen+MaxXattrNameLen) + 64<<10
	// MaxFrameOps bounds the ops of a frame; the smallest op has well over 8 bytes.
	MaxFrameOps = MaxFrameRaw / 8
	// MinChunkSize, MaxChunkSize and DefaultChunkSize bound and set the chunk
	// size of a volume, fixed when it is made; a power of two, in bytes.
	MinChunkSize     = 64 << 10
	MaxChunkSize     = 64 << 20
	DefaultChunkSize = 4 << 20
)
