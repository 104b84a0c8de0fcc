package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/fusefs"
	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
	"wolfdisk/node/conflict"
	"wolfdisk/node/daemon"
	"wolfdisk/node/exit"
	"wolfdisk/node/gateway"
	"wolfdisk/node/version"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// phase is what the node is doing, as status shows it.
type phase string

const (
	phaseStarting  phase = "starting"
	phaseWaiting   phase = "waiting" // for a leader to bring the volume
	phaseLeading   phase = "leading"
	phaseFollowing phase = "following"
	phaseSyncing   phase = "syncing" // a copy of the leader's volume is being made
	phaseStopping  phase = "stopping"
)

// node is one running daemon.
type node struct {
	cfg     *config.Config
	log     zerolog.Logger
	manager *daemon.Manager
	role    volume.Role // what it was started for
	version string
	boot    string
	started time.Time
	prev    State // what the last run left

	recovery *recovery     // of the directory after a power loss
	machine  *hostdir.Boot // replaces what the system says of this boot, for tests
	lock     *os.File
	admin    *admin.Server
	state    *stateFile
	wire     *wire.Config
	listener *wire.Listener // until release
	peers    *peers
	control  *control
	dials    *dials
	elector  *elector
	gate     *master.Gate  // of every leader of this run
	forwards atomic.Uint64 // the number of the last request that was forwarded; see firstForward
	vacancy  *vacancy
	observer *observers
	handle   *Handle
	gateway  *gateway.Gateway // S3
	// conflicts are the records of what this node lost.
	conflicts *conflict.Store
	roster    *roster

	ctx    context.Context // of everything that runs; ends when the node has stopped
	cancel context.CancelCauseFunc
	stop   context.Context // ends when the node is to stop; the cause says why
	halt   context.CancelCauseFunc

	scrubbing atomic.Bool // one scrub at a time
	degraded  atomic.Bool // fsync succeeds with too few nodes
	unfit     atomic.Bool // a leader of this run stopped by itself: none leads before a restart

	followMu sync.Mutex // adopting a volume

	reconciling atomic.Bool // one reconcile at a time
	// wantSnapshot says that the next session is to bring a snapshot whatever the log
	// holds, fullSync that all content is to travel.
	wantSnapshot, fullSync atomic.Bool
	// between says that the real directory is between two versions; see between.go.
	between atomic.Bool
	sources sources // of the content of copies
	holds   holds
	verify  verifying
	served  chan struct{} // slots for serving content
	pace    *pace         // of serving it while this node is written
	// life is held by whoever moves content between the log and chunks, or removes chunks.
	life sync.Mutex
	// checkpointMu is held while a checkpoint is made.
	checkpointMu   sync.Mutex
	checkpointAt   time.Time // when the last one was complete
	checkpointTook time.Duration

	mu       sync.Mutex
	phase    phase
	store    *storage
	leader   *master.Leader
	starting *master.Leader // that is not in charge yet
	follower *slave.Follower
	shown    *slave.Follower // what the front ends see
	reign    reign           // that is followed
	followed *followSession  // on which it is; nil while there is none
	// agreed says that directory and index were brought together in this run, spoilt that
	// they agree but for these inodes.
	agreed   bool
	spoilt   []volume.Ino
	sync     *slave.Sync // a copy that is being made; nil if there is none
	syncOpt  slave.SyncOptions
	mount    *fusefs.Server
	progress *progress // of a scan or a sync; nil if there is none
	warnings warnings
	hooks    hooks
	group    sync.WaitGroup // what ends with ctx
}

// Run runs a daemon until ctx ends, its mount is unmounted, or it cannot go on. Its
// error has an exit code (package exit).
func Run(ctx context.Context, cfg *config.Config, log zerolog.Logger, manager *daemon.Manager) error {
	n := &node{
		cfg: cfg, log: log, manager: manager, version: version.String(), started: time.Now(),
		role: cfg.Node.Role, peers: newPeers(), vacancy: newVacancy(), gate: master.NewGate(bootClock), observer: &observers{}, phase: phaseStarting,
		served: make(chan struct{}, maxServed), pace: newPace(),
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.stop, n.halt = context.WithCancelCause(n.ctx)
	n.control, n.dials = newControl(n), newDials(n)
	n.forwards.Store(firstForward())
	defer n.cancel(nil)
	unix.Umask(0)
	roomForReaders()
	err := n.prepare(ctx)
	if err == nil {
		err = n.run(ctx)
	}
	return errors.Join(err, n.release())
}

// firstForward is the number behind which a run counts the requests that it forwards. Leaders keep the
// answers of earlier runs, and would give one of these to a request that has its number: it is
// drawn anew for each run, since a clock may be set back. There is room above it to count.
func firstForward() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:]) >> 1
}

// mountReaders is how many of the mount's goroutines may sit in a system call at once
// without keeping others from running.
const mountReaders = 2

// roomForReaders lets that many more run than there are processors, unless the
// environment says how many there are to be.
func roomForReaders() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + mountReaders)
	}
}

// prepare checks what can be checked, and opens what the whole run needs.
func (n *node) prepare(ctx context.Context) error {
	if err := makeStateDir(n.cfg.Node.DataDir); err != nil {
		return err
	}
	if err := n.lockState(ctx); err != nil {
		return err
	}
	keys, created, err := wire.LoadOrCreate(n.cfg.Node.KeyFile)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	if created {
		n.log.Warn().Str("file", n.cfg.Node.KeyFile).Str("code", "WD-1010").Msg("made a new cluster key: copy this file to the same place on every other node of the cluster")
	}
	if n.boot, err = hostdir.BootID(); err != nil {
		return volume.Wrap(err, "read the boot ID")
	}
	if err := n.openOwnState(keys.ClusterID()); err != nil {
		return err
	}
	if err := n.openConflicts(); err != nil {
		return err
	}
	if n.roster, err = openRoster(n.cfg.Node.DataDir); err != nil {
		return err
	}
	n.wire = &wire.Config{
		Keys: keys, NodeID: n.cfg.Node.ID, Role: n.role, Store: n.state.Get().Store,
		NoDelay: n.cfg.Network.NoDelay, Log: n.log,
	}
	return n.checkMountPoint()
}

func (n *node) openOwnState(cluster volume.ID) error {
	s, _, err := openState(n.cfg.Node.DataDir)
	if err != nil {
		return err
	}
	n.state, n.prev = s, s.Get()
	if !n.prev.Cluster.IsZero() && n.prev.Cluster != cluster {
		return exit.Errorf(exit.Config, "state directory %s belongs to cluster %s, but the key file %s is that of cluster %s: use the key file of the cluster, or another state directory",
			n.cfg.Node.DataDir, n.prev.Cluster, n.cfg.Node.KeyFile, cluster)
	}
	if n.prev.NodeID != "" && n.prev.NodeID != n.cfg.Node.ID {
		n.log.Warn().Str("was", n.prev.NodeID).Str("is", n.cfg.Node.ID).Str("code", "WD-1011").Msg("the node ID has changed; give it with --id to keep it when the host name changes")
	}
	if n.recovery, err = openRecovery(n.cfg.Node.DataDir); err != nil {
		return err
	}
	// Before the state says that this boot has been seen. What a redo has brought to an end
	// is on disk, and the ops made since say what is there.
	if (n.recovery.Stage < recoveryDone || n.recovery.Stage == recoveryEdits) && !n.prev.Adopting && !n.prev.Clean && n.prev.Boot != "" && n.prev.Boot != n.boot && n.cfg.Volume.Storage == config.StorageDir {
		if err := n.recovery.reach(recoveryLost); err != nil {
			return err
		}
	}
	return s.Update(func(st *State) {
		st.Cluster, st.NodeID, st.Boot, st.Clean = cluster, n.cfg.Node.ID, n.boot, false
	})
}

// checkMountPoint cleans up after a crashed run and refuses a mount point that would
// hide files, or none at all. A mount over the volume's own directory is laid after
// that has been opened.
func (n *node) checkMountPoint() error {
	dir := n.cfg.Mount.Dir
	if dir == "" {
		return nil
	}
	if err := fusefs.Available(); err != nil {
		return exit.With(exit.Unavailable, err)
	}
	cleaned, err := fusefs.CleanStale(dir, n.log)
	if err != nil {
		return err
	}
	if cleaned {
		n.log.Info().Str("dir", dir).Msg("unmounted what a crashed run had left")
	}
	if n.cfg.Volume.Dir != "" && dir == n.cfg.Volume.Dir {
		return nil
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return exit.Errorf(exit.Unavailable, "mount point %s does not exist: make it (mkdir %s), or choose another", dir, dir)
	case err != nil:
		return volume.Errorf(volume.KindOf(err), "mount point: %w", err)
	case len(entries) > 0:
		return exit.Errorf(exit.Unsafe, "mount point %s is not empty (%q is in it): the mount would hide it; move it away or choose another mount point", dir, entries[0].Name())
	}
	return nil
}

// run is the node's life.
func (n *node) run(ctx context.Context) error {
	if err := n.startGateway(); err != nil {
		return err
	}
	adm, err := n.startAdmin()
	if err != nil {
		return err
	}
	n.admin = adm
	if n.manager.Listens() {
		n.background(n.tellManager)
	}
	// The port comes first: without it nothing else is begun.
	listener, err := wire.Listen(n.wire, n.cfg.Node.Bind, n)
	if err != nil {
		return exit.With(exit.Unavailable, err)
	}
	n.listener = listener
	if err := n.openVolume(ctx); err != nil {
		return err
	}
	n.setElector(newElector(n))
	n.background(n.elector.run)
	n.background(n.elector.work)
	n.dialAll()
	n.background(n.dials.run)
	n.background(n.discover)
	n.background(n.checkpoint)
	n.background(n.idleWork)
	n.background(n.retain)
	n.background(n.collect)
	select {
	case <-ctx.Done():
		n.log.Info().Msg("stopping")
		return nil
	case <-n.stop.Done():
		if cause := context.Cause(n.stop); !inPeace(cause) {
			return cause
		}
		return nil
	}
}

func (n *node) startAdmin() (*admin.Server, error) {
	return admin.Start(admin.Options{
		Program: n.cfg.Program.String(), StateDir: n.cfg.Node.DataDir, Source: n, Log: n.log,
		Bind: n.cfg.Admin.Bind, BindIsDefault: n.cfg.IsDefault("admin.bind"), Verbs: n.verbs(), Collectors: n.gateway.Metrics(),
	})
}

func (n *node) storageOptions() storageOptions {
	return storageOptions{cfg: n.cfg, state: n.state.Get(), prev: n.prev, leads: n.founds(), recovery: n.recovery, zlog: n.log, foreign: n.foreign, ending: n.observer.Ending, machine: n.machine}
}

// dialAll dials every address this node knows.
func (n *node) dialAll() {
	n.dials.static(n.cfg.Cluster.Peers)
	n.dials.members(n.members())
}

// background runs fn until the node stops.
func (n *node) background(fn func(context.Context)) {
	n.group.Add(1)
	go func() {
		defer n.group.Done()
		fn(n.ctx)
	}()
}

// attach puts a volume in charge of the front ends.
func (n *node) attach(v volume.Volume) {
	n.mu.Lock()
	h := n.handle
	if h == nil {
		n.handle = newHandle(v, n.vacancy)
		n.handle.late = n.syncLimit()
	}
	n.mu.Unlock()
	if h == nil {
		if n.gateway != nil {
			n.gateway.Open(n.handle)
		}
		return
	}
	stale := h.Switch(v)
	n.mu.Lock()
	mount := n.mount
	n.mu.Unlock()
	if mount != nil {
		mount.InvalidateAll()
	}
	for _, ino := range stale {
		n.log.Warn().Str("inode", ino.String()).Msg("an open file is not in this volume any more: its users get ESTALE")
	}
}

// mountNow lays the mount, if there is to be one and there is none yet.
func (n *node) mountNow(ctx context.Context) error {
	m := n.cfg.Mount
	n.mu.Lock()
	done := n.mount != nil || m.Dir == ""
	n.mu.Unlock()
	if done {
		return nil
	}
	if err := n.checkMountPoint(); err != nil {
		return err
	}
	srv, err := fusefs.Mount(ctx, n.handle, fusefs.Options{
		Dir: m.Dir, FSName: n.cfg.Volume.Name, Driver: m.Driver, AllowOther: m.AllowOther,
		ReadOnly: m.ReadOnly, SUID: m.SUID, Dev: m.Dev, SyncOnClose: n.cfg.Replication.OnClose, Log: n.log,
	})
	if err != nil {
		return exit.With(exit.Unavailable, err)
	}
	n.observer.add(srv.Observer())
	srv.InvalidateAll() // what was applied between the two
	n.mu.Lock()
	n.mount = srv
	n.mu.Unlock()
	n.group.Add(1)
	go func() {
		defer n.group.Done()
		if err := srv.Wait(); err != nil {
			n.stopWith(volume.Wrap(err, "serve the mount "+m.Dir))
			return
		}
		n.stopWith(errUnmounted)
	}()
	n.log.Info().Str("dir", m.Dir).Msg("mounted")
	return nil
}

func (n *node) storage() *storage {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.store
}

func (n *node) leading() *master.Leader {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader
}

func (n *node) following() *slave.Follower {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.follower
}

// settledNow reports whether directory and index were brought together in this run.
func (n *node) settledNow() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.agreed && len(n.spoilt) == 0
}

func (n *node) setSettled() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.agreed, n.spoilt = true, nil
}

// setElector publishes the elector: sessions may ask for it before.
func (n *node) setElector(e *elector) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.elector = e
}

func (n *node) setPhase(p phase) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.phase = p
}

// foreign is told of a file that somebody changed behind the running daemon.
func (n *node) foreign(ino volume.Ino) {
	if !n.settledNow() {
		return // the comparison at the start finds it
	}
	what := "inode " + ino.String()
	if st := n.storage(); st != nil {
		if path, ok := index.PathOf(st.engine.Names, ino); ok {
			what = strconv.Quote("/" + path)
		}
	}
	n.warn("WD-1401", what+" was changed in the real directory behind the running daemon",
		"change files only through the mount; wolfdiskctl reconcile records what was changed")
}

// observers passes ops on to every front end.
type observers struct {
	mu   sync.RWMutex
	list []volume.Observer
}

func (o *observers) add(v volume.Observer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, v)
}

// Applied implements volume.Observer.
func (o *observers) Applied(ops []*volume.Op) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, v := range o.list {
		v.Applied(ops)
	}
}
