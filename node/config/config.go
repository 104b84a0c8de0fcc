package config

import (
	"slices"
	"sync"
	"time"

	"wolfdisk/volume"
)

// Config is what a program was told, checked and complete.
type Config struct {
	Program Program
	File    string // the configuration file that was read; empty if none

	Node        Node
	Cluster     Cluster
	Volume      Volume
	Mount       Mount
	Network     Network
	Log         Log
	Oplog       Oplog
	Chunks      Chunks
	Safety      Safety
	Elect       Elect
	Replication Replication
	Hooks       Hooks
	S3          S3
	Admin       Admin
	Insist      Insist

	origins map[*Key]Origin
	hooks   *hooks
}

// Node is the [node] section: this daemon.
type Node struct {
	ID          string
	Role        volume.Role // RoleAuto, RoleLeader (goes before all others) or RoleFollower (never leads)
	DataDir     string      // the state directory
	Bind        string      // host:port; the host may be empty
	Advertise   string      // host:port; empty: what others see
	KeyFile     string
	StopTimeout time.Duration
}

// Cluster is the [cluster] section: the others.
type Cluster struct {
	Peers     []string // host:port each
	Discovery string   // what discovery.Parse reads: "multicast", "broadcast", "none" or "udp://GROUP:PORT"
}

// Storage says where a volume's content lies.
type Storage string

// The kinds of storage.
const (
	StorageDir    Storage = "dir"    // a real directory
	StorageChunks Storage = "chunks" // packs in the state directory
)

// Fsync says what an fsync waits for.
type Fsync string

// The modes of fsync.
const (
	FsyncFile Fsync = "file" // the log and the file
	FsyncLog  Fsync = "log"  // the log, from which the file can be redone
)

// Volume is the [volume] section: the tree and its content.
type Volume struct {
	Name      string
	Dir       string // empty unless Storage is StorageDir
	Storage   Storage
	ChunkSize Size
	Fsync     Fsync
	Compress  int // 0 none, 1 LZ4, 2 to 9 LZ4 HC
}

// Mount is the [mount] section.
type Mount struct {
	Dir        string // empty: no mount
	Driver     string
	AllowOther bool
	ReadOnly   bool
	SUID       bool
	Dev        bool
}

// Elect is the [elect] section: who leads.
type Elect struct {
	Safety       string // "available", "fenced", "durable"
	OnBootAlone  string // "auto", "lead", "wait"
	BootWait     time.Duration
	Reclaim      bool
	PreemptDelay time.Duration
}

// Replication is the [replication] section: what fsync waits for on other nodes.
type Replication struct {
	Mode      string // "shared": for none; "replicated": for Factor nodes, this one among them
	Factor    int
	Timeout   time.Duration
	OnTimeout string // "block", "eio", "degrade"
	OnClose   bool   // close after write waits as fsync does
}

// Hooks is the [hooks] section: programs that are run when the role has changed.
type Hooks struct {
	OnLeader, OnFollower string // paths; empty: none
}

// Network is the [network] section.
type Network struct {
	NoDelay bool // TCP_NODELAY
}

// Log is the [log] section.
type Log struct {
	Level  string
	Format string
}

// Oplog is the [oplog] section.
type Oplog struct {
	SegmentSize Size
	RetainBytes Size          // kept for followers
	RetainMax   Size          // at most, for connected ones; 0: no bound
	RetainAge   time.Duration // after which a segment goes; 0: never
}

// Chunks is the [chunks] section.
type Chunks struct {
	PackSize     Size
	GCInterval   time.Duration // 0: only when there is too much garbage
	GCGrace      time.Duration
	CompactAfter time.Duration // without a change of the file
}

// Safety is the [safety] section.
type Safety struct {
	// MaxDeleteRatio is how much of the tree a reconcile may find gone before it
	// asks, from 0 to 1.
	MaxDeleteRatio float64
}

// Insist is what a start is told to do although it looks unsafe. It comes from the
// command line only: what is right once must not be in force for ever.
type Insist struct {
	Adopt          bool // take the directory although its marker is missing or another's
	Force          bool // although it is empty, or on another file system than before
	ConfirmDeletes bool // although more of it is gone than Safety allows
}

// Admin is the [admin] section.
type Admin struct {
	Bind string // host:port; empty: the socket only
}

// hooks are kept behind a pointer so that a Config can be copied.
type hooks struct {
	mu  sync.Mutex
	fns []func(*Config)
}

// OnReload adds a function that is called with the new configuration when the
// process is told to read it again. Only keys marked as reloadable may be taken
// from it. The function is called from the goroutine that handles signals.
func (c *Config) OnReload(fn func(*Config)) {
	c.hooks.mu.Lock()
	defer c.hooks.mu.Unlock()
	c.hooks.fns = append(c.hooks.fns, fn)
}

// Reloaded calls the hooks of c with the new configuration and returns the keys
// that differ and take effect only at the next start.
func (c *Config) Reloaded(next *Config) (pending []string) {
	c.hooks.mu.Lock()
	fns := slices.Clone(c.hooks.fns)
	c.hooks.mu.Unlock()
	for _, fn := range fns {
		fn(next)
	}
	for _, k := range keys {
		if k.Programs&c.Program != 0 && !k.Reload && k.valueText(c) != k.valueText(next) {
			pending = append(pending, k.String())
		}
	}
	return pending
}

// IsDefault reports whether nobody set the key, given as section.name.
func (c *Config) IsDefault(key string) bool { return c.Origin(key).Source == FromDefault }

// Origin says where the value of a key, given as section.name, came from.
func (c *Config) Origin(key string) Origin {
	for _, k := range keys {
		if k.Section+"."+k.Name == key {
			return c.origins[k]
		}
	}
	return Origin{}
}
