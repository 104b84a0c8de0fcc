package config

import (
	"math"
	"time"

	"wolfdisk/node/discovery"
	"wolfdisk/volume"
)

// Key is one row of the table.
type Key struct {
	Section, Name string
	Programs      Program // who has it
	Default       string
	Defaults      map[Program]string // where a program differs from Default
	DefaultText   string             // for the documents, where the default depends on the machine
	Flags         []Flag             // the first that is given counts
	Min, Max      int64              // of numbers, sizes (bytes) and durations (ns)
	PowerOfTwo    bool
	OneOf         []string
	Reload        bool   // takes effect on SIGHUP
	Doc           string // sentences for the documents

	field   func(*Config) any                  // pointer into a Config: fixes the type
	format  string                             // of texts, for the documents
	check   func(string) (string, error)       // of texts and of each item of a list
	compute func(*environment) (string, error) // of defaults that depend on the machine
	path    bool                               // made absolute; in a file it must be
	none    bool                               // the word "none" is allowed and stands for empty
	secret  bool                               // not shown, and in no variable
	decode  func(*Config, any) error           // of values that only a file can have: tables
}

// fileOnly reports whether the key has no variable.
func (k *Key) fileOnly() bool { return k.secret || k.decode != nil }

// Flag is a way to set a key on the command line.
type Flag struct {
	Name, Short string
	Arg         string // placeholder; empty for switches
	Programs    Program
	Invert      bool   // a switch that turns the key off
	Value       string // what a switch sets the key to
	Help        string
}

func (k *Key) String() string { return "[" + k.Section + "] " + k.Name }

// Env is the name of the key's environment variable.
func (k *Key) Env() string { return envName(k.Section, k.Name) }

const (
	defaultPort      = "9500"
	defaultAdminPort = "9502"
	defaultS3Port    = "9878"
)

// keys is the table, in the order of the documents.
var keys = []*Key{
	// [node]
	{
		Section: "node", Name: "id", Programs: Daemons | Tool,
		DefaultText: "the host name",
		Flags:       []Flag{{Name: "id", Arg: "ID", Programs: Daemons | Tool, Help: "node ID, unique in the cluster (default: the host name)"}},
		Doc: "Name of this node, unique in the cluster. IDs are ordered naturally (`node-9` before `node-10`), and the lowest takes over first. " +
			"Two daemons on one machine need different IDs.",
		format: "1 to 64 letters, digits, `.`, `_`, `-`",
		field:  func(c *Config) any { return &c.Node.ID }, check: checkNodeID, compute: defaultID,
	},
	{
		Section: "node", Name: "role", Programs: Daemons,
		Default: "auto", Defaults: map[Program]string{Master: "leader"}, OneOf: []string{"auto", "leader", "follower", "witness"},
		Flags: []Flag{
			{Name: "witness", Programs: Slave, Value: "witness", Help: "store what was promised and no data: a vote for two nodes that have data"},
			{Name: "role", Arg: "ROLE", Programs: Daemons, Help: "auto, leader, follower or witness"},
		},
		Doc: "What this node may become. `auto`: it leads when it is the first in the order of IDs among those that can. `leader`: it goes before all that are `auto`, whatever its ID. " +
			"`follower`: it never leads. `wolfdisk-master` does not start as `follower`, so that a node marked like that is never started as leader by mistake. " +
			"`witness` (`wolfdisk-slave --witness`): it has no copy and no mount, and counts for a majority (`[elect] safety`).",
		field: func(c *Config) any { return &c.Node.Role },
	},
	{
		Section: "node", Name: "data_dir", Programs: All,
		DefaultText: "`/var/lib/wolfdisk`; non-root `$XDG_STATE_HOME/wolfdisk`",
		Flags: []Flag{
			{Name: "state-dir", Arg: "DIR", Programs: All, Help: "state directory of the daemon (default /var/lib/wolfdisk, non-root $XDG_STATE_HOME/wolfdisk)"},
			{Name: "dir", Short: "d", Arg: "PATH", Programs: Tool, Help: "the same as --state-dir"},
		},
		Doc: "State directory, mode 0700: log, index, chunks, conflicts, `admin.sock`. One daemon and one volume each. " +
			"It must lie outside of the mirrored directory and of the mount point.",
		field: func(c *Config) any { return &c.Node.DataDir }, path: true, compute: defaultDataDir,
	},
	{
		Section: "node", Name: "bind", Programs: Daemons,
		Default: "0.0.0.0:" + defaultPort,
		Flags:   []Flag{{Name: "bind", Arg: "ADDR", Programs: Daemons, Help: "address to listen on, HOST[:PORT]"}},
		Doc:     "Address on which other nodes are accepted. Without a port: " + defaultPort + ".",
		format:  "`HOST[:PORT]`, IPv6 in brackets",
		field:   func(c *Config) any { return &c.Node.Bind }, check: checkBind,
	},
	{
		Section: "node", Name: "advertise", Programs: Daemons,
		DefaultText: "as others see it",
		Flags:       []Flag{{Name: "advertise", Arg: "ADDR", Programs: Daemons, Help: "address other nodes are told to use, HOST[:PORT]"}},
		Doc:         "Address that other nodes are told to use for this one, where it is not the one they see (NAT, several networks). Without a port: that of `bind`.",
		format:      "`HOST[:PORT]`, IPv6 in brackets",
		field:       func(c *Config) any { return &c.Node.Advertise }, check: checkAdvertise,
	},
	{
		Section: "node", Name: "key_file", Programs: Daemons | Tool,
		DefaultText: "`/etc/wolfdisk/cluster.key`; non-root `$XDG_CONFIG_HOME/wolfdisk/cluster.key`",
		Flags:       []Flag{{Name: "key-file", Arg: "FILE", Programs: Daemons | Tool, Help: "file of the cluster key (default /etc/wolfdisk/cluster.key, non-root $XDG_CONFIG_HOME/wolfdisk/cluster.key)"}},
		Doc: "File of the cluster key, mode 0600. `wolfdisk init` or the first start makes it when it is absent; all nodes of a cluster need the same file. " +
			"The key itself is never given on a command line or in a variable.",
		field: func(c *Config) any { return &c.Node.KeyFile }, path: true, compute: defaultKeyFile,
	},
	{
		Section: "node", Name: "stop_timeout", Programs: Daemons,
		Default: "10s", Min: int64(100 * time.Millisecond), Max: int64(time.Hour),
		Doc:   "How long a clean stop may take: waits for requests over S3 (half of it at most), ships and syncs what is left, and waits for open files of the mount.",
		field: func(c *Config) any { return &c.Node.StopTimeout },
	},

	// [cluster]
	{
		Section: "cluster", Name: "peers", Programs: Daemons,
		DefaultText: "none",
		Flags:       []Flag{{Name: "connect", Short: "c", Arg: "HOST[:PORT]", Programs: Daemons, Help: "other node to connect to; repeat, or separate by commas"}},
		Doc: "Nodes to connect to. Either side that knows an address dials; addresses that are learnt are remembered. Without a port: " + defaultPort + ". " +
			"The flag may be repeated; it and the variable take several, separated by commas. A node's own address may be among them, so one list can serve all nodes.",
		format: "a list of `HOST[:PORT]`, IPv6 in brackets",
		field:  func(c *Config) any { return &c.Cluster.Peers }, check: checkPeer,
	},
	{
		Section: "cluster", Name: "discovery", Programs: Daemons,
		Default: discovery.ModeMulticast,
		Doc: "How nodes find each other without `peers`. `multicast`: by beacons to the group 239.255.0.1, UDP port 9501, on every interface, and to its broadcast address where that does not work; they reach the local networks only. " +
			"`udp://GROUP:PORT`: the same with another IPv4 group. `broadcast`: by broadcast alone. `none`: not at all. A beacon says an address and is signed with the cluster key; it only makes others connect, and what they then believe is said over TLS. " +
			"Daemons of one machine share the port.",
		format: "`multicast`, `broadcast`, `none` or `udp://GROUP:PORT`",
		field:  func(c *Config) any { return &c.Cluster.Discovery }, check: checkDiscovery,
	},

	// [volume]
	{
		Section: "volume", Name: "name", Programs: Daemons,
		Default: "wolfdisk",
		Doc:     "Name of the volume, shown as the source of the mount in `df` and `mount`.",
		format:  "1 to 64 letters, digits, `.`, `_`, `-`",
		field:   func(c *Config) any { return &c.Volume.Name }, check: checkVolumeName,
	},
	{
		Section: "volume", Name: "dir", Programs: Daemons,
		Flags: []Flag{{Name: "mirror", Short: "m", Arg: "DIR", Programs: Master, Help: "directory to mirror; also the mount point unless --mount says otherwise"}},
		Doc: "The real directory that holds the content, with `storage = \"dir\"` (otherwise it has no effect). Must exist. " +
			"`-m` of `wolfdisk-master` sets it together with `[mount] dir`; to keep the mount elsewhere, add `--mount`.",
		field: func(c *Config) any { return &c.Volume.Dir }, path: true,
	},
	{
		Section: "volume", Name: "storage", Programs: Daemons,
		Default: string(StorageDir), Defaults: map[Program]string{Slave: string(StorageChunks)},
		OneOf: []string{string(StorageDir), string(StorageChunks)},
		Doc:   "Where content is kept: `dir`, as plain files in a real directory; `chunks`, deduplicated and compressed in the state directory.",
		field: func(c *Config) any { return &c.Volume.Storage },
	},
	{
		Section: "volume", Name: "chunk_size", Programs: Daemons,
		Default: "4MiB", Min: volume.MinChunkSize, Max: volume.MaxChunkSize, PowerOfTwo: true,
		Doc:   "Size of a chunk. Fixed when the volume is made by its first leader; later it has no effect, and followers adopt the leader's.",
		field: func(c *Config) any { return &c.Volume.ChunkSize },
	},
	{
		Section: "volume", Name: "fsync", Programs: Daemons,
		Default: string(FsyncFile), OneOf: []string{string(FsyncFile), string(FsyncLog)},
		Doc: "What `fsync` waits for with `storage = \"dir\"`: `file`, the log and the file itself; `log`, the log alone, which holds the content and from which " +
			"the file is redone after a power loss. `log` is faster and as safe for WolfDisk, but the plain directory may then be older than what was fsynced.",
		field: func(c *Config) any { return &c.Volume.Fsync },
	},
	{
		Section: "volume", Name: "compress", Programs: Daemons,
		Default: "1", Min: 0, Max: 9,
		Flags: []Flag{{Name: "compress", Short: "z", Arg: "LEVEL", Programs: Daemons, Help: "0 none, 1 LZ4, 2 to 9 LZ4 HC (default 1)"}},
		Doc: "Compression: 0 none, 1 LZ4, 2 to 9 LZ4 HC, slower and smaller with each step. On a leader it is that of the log and of what is sent, " +
			"on a follower that of its packs. What does not shrink is stored as it is.",
		field: func(c *Config) any { return &c.Volume.Compress },
	},

	// [mount]
	{
		Section: "mount", Name: "dir", Programs: Daemons,
		DefaultText: "leader: `[volume] dir`; follower: must be given",
		Flags: []Flag{
			{Name: "mount", Arg: "DIR", Programs: Daemons, Help: "mount point, or none"},
			{Name: "mirror", Short: "m", Arg: "DIR", Programs: Daemons, Help: "mount point of the read-only tree"},
		},
		Doc: "Mount point, or `none` for a node without a mount. On a leader it may be `[volume] dir` itself: the mount then covers the stored files while the daemon runs. " +
			"`-m` sets it too; `--mount` wins over `-m`.",
		field: func(c *Config) any { return &c.Mount.Dir }, path: true, none: true,
	},
	{
		Section: "mount", Name: "driver", Programs: Daemons,
		Default: "auto", OneOf: []string{"auto", "bazil", "gofuse"},
		Doc: "What talks FUSE to the kernel: `bazil` mounts through bazil.org/fuse (Linux only), `gofuse` through hanwen/go-fuse, with requests of up to 1 MiB instead of 128 KiB. " +
			"`auto` is `bazil` on Linux and `gofuse` on FreeBSD. `wolfdiskctl status` shows the one in use.",
		field: func(c *Config) any { return &c.Mount.Driver },
	},
	{
		Section: "mount", Name: "allow_other", Programs: Daemons,
		Default: "true",
		Doc: "Let users other than the one running the daemon into the mount; permissions are checked by the kernel either way. " +
			"Without root this needs `user_allow_other` in `/etc/fuse.conf`.",
		field: func(c *Config) any { return &c.Mount.AllowOther },
	},
	{
		Section: "mount", Name: "read_only", Programs: Daemons,
		Default: "false",
		Doc:     "Refuse all changes through a leader's mount. A follower's mount always does.",
		field:   func(c *Config) any { return &c.Mount.ReadOnly },
	},
	{
		Section: "mount", Name: "suid", Programs: Daemons,
		Default: "false",
		Doc:     "Let setuid and setgid bits have an effect in the mount (mount option `suid` instead of `nosuid`).",
		field:   func(c *Config) any { return &c.Mount.SUID },
	},
	{
		Section: "mount", Name: "dev", Programs: Daemons,
		Default: "false",
		Doc:     "Let device nodes have an effect in the mount (mount option `dev` instead of `nodev`).",
		field:   func(c *Config) any { return &c.Mount.Dev },
	},

	// [network]
	{
		Section: "network", Name: "nodelay", Programs: Daemons,
		Default: "true",
		Flags:   []Flag{{Name: "no-nodelay", Short: "n", Programs: Daemons, Invert: true, Help: "turn TCP_NODELAY off: fewer packets, more delay"}},
		Doc:     "TCP_NODELAY on connections between nodes. Off, the kernel waits to fill packets: fewer of them, but more delay.",
		field:   func(c *Config) any { return &c.Network.NoDelay },
	},

	// [log]
	{
		Section: "log", Name: "level", Programs: Daemons,
		Default: "info", OneOf: []string{"debug", "info", "warn", "error"}, Reload: true,
		Flags: []Flag{{Name: "log-level", Arg: "LEVEL", Programs: Daemons, Help: "debug, info, warn or error"}},
		Doc:   "The least severe messages that are written.",
		field: func(c *Config) any { return &c.Log.Level },
	},
	{
		Section: "log", Name: "format", Programs: Daemons,
		Default: "text", OneOf: []string{"text", "json"},
		Flags: []Flag{{Name: "log-format", Arg: "FORMAT", Programs: Daemons, Help: "text or json"}},
		Doc:   "Messages for people, or one JSON object per line. They go to standard error.",
		field: func(c *Config) any { return &c.Log.Format },
	},

	// [oplog]
	{
		Section: "oplog", Name: "segment_size", Programs: Daemons,
		Default: "64MiB", Min: 1 << 20, Max: 1 << 30,
		Doc:   "Size at which a segment of the log is closed and the next one begun.",
		field: func(c *Config) any { return &c.Oplog.SegmentSize },
	},
	{
		Section: "oplog", Name: "retain_bytes", Programs: Daemons,
		Default: "1GiB", Min: 1 << 20, Max: 1 << 50,
		Doc: "How much of the log is kept for followers that are away; one that comes back later takes a snapshot. Beyond it (and an eighth, or a segment, on top) the oldest " +
			"segments go, once this node's own volume does without them.",
		field: func(c *Config) any { return &c.Oplog.RetainBytes },
	},
	{
		Section: "oplog", Name: "retain_max", Programs: Daemons,
		Default: "8GiB", Min: 0, Max: 1 << 50,
		Doc: "Size of the log up to which a connected follower that is slow is waited for. Beyond it the log goes all the same, and the follower takes a snapshot. " +
			"0 waits for ever, at the risk of a full disk; less than `retain_bytes` counts as that.",
		field: func(c *Config) any { return &c.Oplog.RetainMax },
	},
	{
		Section: "oplog", Name: "retain_age", Programs: Daemons,
		Default: "168h", Min: 0, Max: int64(10 * 365 * 24 * time.Hour),
		Doc:   "Age at which a segment goes even if there is room. 0 keeps it.",
		field: func(c *Config) any { return &c.Oplog.RetainAge },
	},

	// [chunks]
	{
		Section: "chunks", Name: "pack_size", Programs: Daemons,
		Default: "256MiB", Min: 1 << 20, Max: 1 << 30,
		Doc:   "Size at which a pack, a file of chunks, is closed and the next one begun.",
		field: func(c *Config) any { return &c.Chunks.PackSize },
	},
	{
		Section: "chunks", Name: "gc_interval", Programs: Daemons,
		Default: "10m", Min: 0, Max: int64(30 * 24 * time.Hour),
		Doc: "How often chunks that nothing uses are looked for. When a fifth of what is in use and of `[oplog] retain_bytes` together is garbage, they are collected " +
			"without waiting for it. 0 leaves it at that.",
		field: func(c *Config) any { return &c.Chunks.GCInterval },
	},
	{
		Section: "chunks", Name: "gc_grace", Programs: Daemons,
		Default: "1h", Min: 0, Max: int64(30 * 24 * time.Hour),
		Doc:   "How long a chunk must have been unused before it is removed, unless there is too much garbage or `wolfdiskctl gc --now` asks for it.",
		field: func(c *Config) any { return &c.Chunks.GCGrace },
	},
	{
		Section: "chunks", Name: "compact_after", Programs: Daemons,
		Default: "10m", Min: 0, Max: int64(30 * 24 * time.Hour),
		Doc:   "How long a file that lies in many small pieces must have been left alone before they are put together.",
		field: func(c *Config) any { return &c.Chunks.CompactAfter },
	},

	// [safety]
	{
		Section: "safety", Name: "max_delete_ratio", Programs: Daemons,
		Default: "0.5",
		Doc: "Share of the tree that may be missing from the real directory when it is compared with the index, at a start or by `wolfdiskctl reconcile`. If more is gone, nothing is " +
			"recorded and the start is refused (exit code 6), because a disk that is not there or not whole looks the same; `--confirm-deletes` says that it was really deleted. " +
			"0 asks for every deletion, 1 never.",
		field: func(c *Config) any { return &c.Safety.MaxDeleteRatio },
	},

	// [elect]
	{
		Section: "elect", Name: "safety", Programs: Daemons,
		Default: "available", OneOf: []string{"available", "fenced", "durable"},
		Doc: "How many must agree before a node leads and a change enters. `available`: anybody alone may lead, so two nodes are enough, and a partition can leave two histories, of which one becomes a conflict. " +
			"`fenced`: a majority of the members must answer the leader's heartbeats, or changes wait. `durable`: as `fenced`, and `fsync` waits for a majority of the copies. It must be the same on all nodes.",
		field: func(c *Config) any { return &c.Elect.Safety },
	},
	{
		Section: "elect", Name: "reclaim", Programs: Daemons,
		Default: "true",
		Doc:     "Whether this node takes the lead back from one that comes after it in the order, once it has everything. `false` leaves the lead where it is.",
		field:   func(c *Config) any { return &c.Elect.Reclaim },
	},
	{
		Section: "elect", Name: "preempt_delay", Programs: Daemons,
		Default: "5s", Min: int64(100 * time.Millisecond), Max: int64(24 * time.Hour),
		Doc:   "How long this node must have been in step before it takes the lead back. It doubles while the node comes and goes.",
		field: func(c *Config) any { return &c.Elect.PreemptDelay },
	},
	{
		Section: "elect", Name: "boot_wait", Programs: Daemons,
		Default: "30s", Min: int64(time.Second), Max: int64(24 * time.Hour),
		Doc: "How long a node that was started waits for the members that could have led while it was away, or for a majority of all, before it leads alone. " +
			"For nodes that never lead, which may hold what a power loss took, it waits one second.",
		field: func(c *Config) any { return &c.Elect.BootWait },
	},
	{
		Section: "elect", Name: "on_boot_alone", Programs: Daemons,
		Default: "auto", OneOf: []string{"auto", "lead", "wait"},
		Doc: "What it does then. `auto`: on level `available` it leads, on the others it stays read-only until `wolfdiskctl promote`. `lead` and `wait` say so on every level; " +
			"above `available` a majority is needed all the same.",
		field: func(c *Config) any { return &c.Elect.OnBootAlone },
	},

	// [replication]
	{
		Section: "replication", Name: "mode", Programs: Daemons,
		Default: "shared", OneOf: []string{"shared", "replicated"},
		Doc:   "What `fsync`, and each write through a file opened with O_SYNC, waits for while this node leads. `shared`: this node's disk. `replicated`: the disks of `factor` nodes.",
		field: func(c *Config) any { return &c.Replication.Mode },
	},
	{
		Section: "replication", Name: "factor", Programs: Daemons,
		Default: "3", Min: 1, Max: 64,
		Doc:   "On how many nodes, this one among them, an operation must be durable with `mode = \"replicated\"`.",
		field: func(c *Config) any { return &c.Replication.Factor },
	},
	{
		Section: "replication", Name: "timeout", Programs: Daemons,
		Default: "10s", Min: int64(100 * time.Millisecond), Max: int64(24 * time.Hour),
		Doc:   "How long that is waited for before `on_timeout` counts.",
		field: func(c *Config) any { return &c.Replication.Timeout },
	},
	{
		Section: "replication", Name: "on_timeout", Programs: Daemons,
		Default: "block", OneOf: []string{"block", "eio", "degrade"},
		Doc: "What happens then. `block`: it goes on waiting, with a warning. `eio`: the call fails with EIO. `degrade`: it succeeds with this node's disk alone, with a warning " +
			"that stays until there are enough nodes again; on level `durable` it is as `block`.",
		field: func(c *Config) any { return &c.Replication.OnTimeout },
	},
	{
		Section: "replication", Name: "on_close", Programs: Daemons,
		Default: "false",
		Doc:     "Have the closing of a file that was written wait as `fsync` does.",
		field:   func(c *Config) any { return &c.Replication.OnClose },
	},

	// [hooks]
	{
		Section: "hooks", Name: "on_leader", Programs: Daemons,
		DefaultText: "none",
		Doc: "Program that is run when this node has begun to lead, with the node's ID and the epoch as arguments and `WOLFDISK_NODE_ID`, `WOLFDISK_ROLE`, `WOLFDISK_EPOCH`, `WOLFDISK_LEADER_ID`, `WOLFDISK_MOUNT_DIR` in its environment. " +
			"It is not waited for; it is ended after a minute. A failure is a warning.",
		field: func(c *Config) any { return &c.Hooks.OnLeader }, path: true,
	},
	{
		Section: "hooks", Name: "on_follower", Programs: Daemons,
		DefaultText: "none",
		Doc:         "The same when it leads no more, or has begun to follow another leader.",
		field:       func(c *Config) any { return &c.Hooks.OnFollower }, path: true,
	},

	// [s3]
	{
		Section: "s3", Name: "enabled", Programs: Daemons,
		Default: "false",
		Doc:     "Serve the volume over S3 ([s3.md](s3.md)).",
		field:   func(c *Config) any { return &c.S3.Enabled },
	},
	{
		Section: "s3", Name: "bind", Programs: Daemons,
		DefaultText: "`0.0.0.0:" + defaultS3Port + "`; without keys `127.0.0.1:" + defaultS3Port + "`",
		Doc: "Address of the S3 gateway. Without keys it must be one of this machine alone (127.0.0.1, ::1, localhost), unless `anonymous` says that everybody may. " +
			"Without a port: " + defaultS3Port + ".",
		format: "`HOST[:PORT]`, IPv6 in brackets",
		field:  func(c *Config) any { return &c.S3.Bind }, check: checkS3Bind,
	},
	{
		Section: "s3", Name: "access_key", Programs: Daemons, Reload: true,
		Doc:    "Access key of a pair that may do everything; its secret is `secret_key` or in `secret_key_file`. More pairs are in `keys`. Without any pair nobody is asked who he is.",
		format: "1 to 128 letters, digits, and `._-+=@`",
		field:  func(c *Config) any { return &c.S3.AccessKey }, check: checkAccessKey,
	},
	{
		Section: "s3", Name: "secret_key", Programs: Daemons, Reload: true, secret: true,
		Doc:    "Secret of `access_key`. The file that it stands in is to be readable by its owner alone (otherwise WD-1602).",
		format: "1 to 128 printable characters without spaces",
		field:  func(c *Config) any { return &c.S3.SecretKey }, check: checkSecret,
	},
	{
		Section: "s3", Name: "secret_key_file", Programs: Daemons, Reload: true,
		Doc:   "File that has the secret of `access_key` on its first line.",
		field: func(c *Config) any { return &c.S3.SecretKeyFile }, path: true,
	},
	{
		Section: "s3", Name: "keys", Programs: Daemons, Reload: true,
		Doc: "More pairs of keys, each a table `[[s3.keys]]` with `access_key`, `secret_key` or `secret_key_file`, and if wanted `buckets`, a list of the only buckets that it is good for, and `read_only = true`. " +
			"All nodes need the same pairs.",
		format: "tables `[[s3.keys]]`",
		field:  func(c *Config) any { return &c.S3.Keys }, decode: decodeS3Keys,
	},
	{
		Section: "s3", Name: "anonymous", Programs: Daemons,
		Default: "false",
		Doc:     "Let everybody who can connect read and write all of the volume, from other machines, too. Only without keys.",
		field:   func(c *Config) any { return &c.S3.Anonymous },
	},
	{
		Section: "s3", Name: "region", Programs: Daemons,
		Default: "us-east-1",
		Doc:     "Region that the gateway says it is in. Requests that are signed for another are accepted all the same.",
		format:  "1 to 63 lower-case letters, digits, `-`",
		field:   func(c *Config) any { return &c.S3.Region }, check: checkRegion,
	},
	{
		Section: "s3", Name: "domains", Programs: Daemons,
		DefaultText: "none",
		Doc:         "Names of the gateway below which buckets have names of their own: with `objects.example.org`, `https://photos.objects.example.org/a` is `a` in the bucket `photos`. Buckets in the path work always.",
		format:      "a list of host names",
		field:       func(c *Config) any { return &c.S3.Domains }, check: checkDomain,
	},
	{
		Section: "s3", Name: "buckets", Programs: Daemons,
		Doc: "Table `[s3.buckets]` of buckets that are directories elsewhere than at the root: `photos = \"media/photos\"` makes the directory `media/photos` of the volume the bucket `photos`. " +
			"What is missing of it is made by the leader. Such a bucket cannot be deleted over S3, and hides a directory of its name at the root. It must be the same on all nodes.",
		format: "a table of names and directories",
		field:  func(c *Config) any { return &c.S3.Buckets }, decode: decodeS3Buckets,
	},
	{
		Section: "s3", Name: "uid", Programs: Daemons,
		Default: "0", Min: 0, Max: math.MaxUint32 - 1,
		Doc:   "Owner of the files and directories that are made over S3.",
		field: func(c *Config) any { return &c.S3.UID },
	},
	{
		Section: "s3", Name: "gid", Programs: Daemons,
		Default: "0", Min: 0, Max: math.MaxUint32 - 1,
		Doc:   "Their group.",
		field: func(c *Config) any { return &c.S3.GID },
	},
	{
		Section: "s3", Name: "file_mode", Programs: Daemons,
		Default: "0644",
		Doc:     "Permissions of files that are made over S3.",
		field:   func(c *Config) any { return &c.S3.FileMode },
	},
	{
		Section: "s3", Name: "dir_mode", Programs: Daemons,
		Default: "0755",
		Doc:     "Permissions of buckets and directories that are made over S3.",
		field:   func(c *Config) any { return &c.S3.DirMode },
	},
	{
		Section: "s3", Name: "upload_expiry", Programs: Daemons,
		Default: "168h", Min: int64(time.Minute), Max: int64(10 * 365 * 24 * time.Hour),
		Doc:   "Age at which an upload in parts that was not completed is removed.",
		field: func(c *Config) any { return &c.S3.UploadExpiry },
	},
	{
		Section: "s3", Name: "opaque_etags", Programs: Daemons,
		Default: "false",
		Doc:     "Spare the MD5 of what is put: faster, but ETags are not the MD5 then, which some clients compare.",
		field:   func(c *Config) any { return &c.S3.OpaqueETags },
	},
	{
		Section: "s3", Name: "cors_origins", Programs: Daemons,
		DefaultText: "none",
		Doc:         "Origins whose scripts a browser lets use the gateway; `*` for all.",
		format:      "a list of `SCHEME://HOST[:PORT]`, or `*`",
		field:       func(c *Config) any { return &c.S3.CORSOrigins }, check: checkOrigin,
	},
	{
		Section: "s3", Name: "max_connections", Programs: Daemons,
		Default: "4096", Min: 1, Max: 1 << 20,
		Doc:   "Connections of clients at once; more wait.",
		field: func(c *Config) any { return &c.S3.MaxConnections },
	},
	{
		Section: "s3", Name: "max_requests", Programs: Daemons,
		Default: "256", Min: 1, Max: 1 << 16,
		Doc:   "Requests at work at once; more are answered SlowDown.",
		field: func(c *Config) any { return &c.S3.MaxRequests },
	},
	{
		Section: "s3", Name: "rate", Programs: Daemons,
		Default: "0", Min: 0, Max: 1_000_000,
		Doc:   "Requests per second from one address; more are answered SlowDown. 0: no bound.",
		field: func(c *Config) any { return &c.S3.Rate },
	},
	{
		Section: "s3", Name: "tls_cert", Programs: Daemons, Reload: true,
		DefaultText: "none",
		Doc:         "File of the gateway's certificate, PEM, with those that lead to its root. With it and `tls_key` the gateway speaks TLS 1.2 and 1.3 alone. Whether it does is fixed at the start.",
		field:       func(c *Config) any { return &c.S3.TLSCert }, path: true,
	},
	{
		Section: "s3", Name: "tls_key", Programs: Daemons, Reload: true,
		DefaultText: "none",
		Doc:         "File of its private key, PEM.",
		field:       func(c *Config) any { return &c.S3.TLSKey }, path: true,
	},

	// [admin]
	{
		Section: "admin", Name: "bind", Programs: Daemons,
		Default: "127.0.0.1:" + defaultAdminPort,
		Doc: "Address for metrics, health and the status page, over plain HTTP and without a password: keep it local, or behind a proxy. `none` for the socket in the state directory only. " +
			"If the default is in use by another daemon, there is a warning and the socket only; any other address must be free.",
		format: "`HOST[:PORT]`, IPv6 in brackets, or `none`",
		field:  func(c *Config) any { return &c.Admin.Bind }, check: checkAdminBind, none: true,
	},
}
