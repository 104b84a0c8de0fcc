package volumetest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"wolfdisk/volume"
)

// reservedName is the directory of a real root that no front end may reach.
const reservedName = ".wolfdisk"

// Options of a Model. The zero value is good.
type Options struct {
	// Clock is asked once per request; nil is the wall clock.
	Clock func() volume.Time
	// NewIno makes the next inode ID of an epoch with the given tag; nil counts,
	// in the first epoch from 2.
	NewIno func(tag uint32) volume.Ino
	// Chunks are what OpCopyChunks can find.
	Chunks map[volume.ChunkID][]byte
	// MaxNlink and MaxDirNlink replace those of volume if they are not 0.
	MaxNlink, MaxDirNlink uint32
	// Ending is told of each inode that ends, as a volume.EndObserver is; it must not call back.
	Ending func(*volume.Attr)
}

// Model is a volume in memory: a volume.Volume and a volume.View, and through
// Replica a volume.Replica. All methods may be called concurrently.
type Model struct {
	opt Options

	mu       sync.Mutex // guards all below
	inodes   map[volume.Ino]*inode
	ops      []*volume.Op // ops[i] has version i+1, after skipTo a higher one
	pos      volume.Position
	last     volume.Time // of the last op
	pending  *volume.Reign
	lineage  volume.Lineage
	members  map[string]volume.Member
	counts   map[uint32]uint32 // by epoch tag: the last inode ID made
	readOnly bool
	answers  map[asked]volume.Result // to forwarded requests
}

// asked names a forwarded request.
type asked struct {
	client string
	seq    uint64
}

var (
	_ volume.Volume     = (*Model)(nil)
	_ volume.NameReader = (*Model)(nil)
	_ volume.KeptReader = (*Model)(nil)
	_ volume.View       = (*Model)(nil)
	_ volume.Replica    = replica{}
)

type inode struct {
	attr     volume.Attr
	linkable bool // created nameless, and never had a name
	target   string
	xattrs   map[string][]byte
	entries  map[string]entry // of a directory
	parent   volume.Ino       // of a directory
	data     content
	opens    int
	lowerKey []byte
	lower    []byte
}

type entry struct {
	ino    volume.Ino
	cookie uint64
}

// NewModel returns an empty volume, led by node "model" in epoch 1.
func NewModel(opt Options) *Model {
	if opt.Clock == nil {
		opt.Clock = func() volume.Time { return volume.TimeOf(time.Now()) }
	}
	if opt.MaxNlink == 0 {
		opt.MaxNlink = volume.MaxNlink
	}
	if opt.MaxDirNlink == 0 {
		opt.MaxDirNlink = volume.MaxDirNlink
	}
	m := &Model{
		opt:     opt,
		inodes:  map[volume.Ino]*inode{},
		members: map[string]volume.Member{},
		counts:  map[uint32]uint32{0: uint32(volume.RootIno)},
		answers: map[asked]volume.Result{},
	}
	m.inodes[volume.RootIno] = &inode{
		attr:    volume.Attr{Ino: volume.RootIno, Mode: volume.ModeDir | 0o755, Nlink: 2},
		xattrs:  map[string][]byte{},
		entries: map[string]entry{},
		parent:  volume.RootIno,
	}
	m.Reign(volume.Epoch{Number: 1, Leader: "model"}, "model")
	return m
}

// Reign makes the Model the leader of an epoch, which its next change opens.
func (m *Model) Reign(epoch volume.Epoch, participants ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = &volume.Reign{Epoch: epoch, Participants: participants}
}

// SetReadOnly makes Do and opening for writing answer ReadOnly, as a follower does.
func (m *Model) SetReadOnly(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readOnly = on
}

// Clone is an independent copy, with the same history and open files.
func (m *Model) Clone() *Model {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Model{
		opt: m.opt, pos: m.pos, last: m.last, readOnly: m.readOnly,
		inodes:  make(map[volume.Ino]*inode, len(m.inodes)),
		ops:     slices.Clone(m.ops),
		lineage: slices.Clone(m.lineage),
		members: maps.Clone(m.members),
		counts:  maps.Clone(m.counts),
		answers: maps.Clone(m.answers),
	}
	if m.pending != nil {
		p := *m.pending
		c.pending = &p
	}
	for ino, n := range m.inodes {
		d := *n
		d.entries = maps.Clone(n.entries)
		d.xattrs = maps.Clone(n.xattrs) // values are never changed in place
		d.data = n.data.clone()
		c.inodes[ino] = &d
	}
	return c
}

// Ops are the recorded ops after a version. They are shared: do not change them.
func (m *Model) Ops(after volume.Version) []*volume.Op {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, _ := slices.BinarySearchFunc(m.ops, after+1, func(op *volume.Op, v volume.Version) int {
		return int(int64(op.Version) - int64(v))
	})
	return slices.Clone(m.ops[i:])
}

// Lineage lists the epochs that wrote.
func (m *Model) Lineage() volume.Lineage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.lineage)
}

// Members are the members that the ops said, by node ID.
func (m *Model) Members() map[string]volume.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.members)
}

// Inos lists all inodes, those without a name too, in order.
func (m *Model) Inos() []volume.Ino {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.inodes))
}

// Open implements volume.Volume.
func (m *Model) Open(_ context.Context, ino volume.Ino, write bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.live(ino)
	if err != nil {
		return err
	}
	if write && m.readOnly {
		return volume.ReadOnly
	}
	n.opens++
	return nil
}

// Close implements volume.Volume.
func (m *Model) Close(_ context.Context, ino volume.Ino) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.live(ino)
	if err != nil {
		return err
	}
	if n.opens == 0 {
		return volume.Errorf(volume.Invalid, "close inode %s: it is not open", ino)
	}
	n.opens--
	if n.opens > 0 || n.attr.Nlink > 0 || m.readOnly {
		return nil
	}
	if _, kept := n.xattrs[volume.XattrKeep]; kept {
		return nil
	}
	return m.record(m.now(), &volume.Op{Kind: volume.OpEnd, Ino: ino})
}

// Sync implements volume.Volume: memory is as durable as it gets.
func (m *Model) Sync(_ context.Context, ino volume.Ino, _ bool) error {
	if ino == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.live(ino)
	return err
}

// Apply makes one op part of the volume; see volume.Replica.
func (m *Model) Apply(_ context.Context, op *volume.Op) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.apply(op)
}

// Replica is the Model seen as a volume.Replica, whose Sync differs from a Volume's.
func (m *Model) Replica() volume.Replica { return replica{m} }

type replica struct{ *Model }

func (r replica) Sync(context.Context) error { return nil }

// now is the time of the next op.
func (m *Model) now() volume.Time {
	t := m.opt.Clock()
	if t.Compare(m.last) < 0 {
		return m.last
	}
	return t
}

// record numbers and applies decided ops, after the reign if the epoch is new.
func (m *Model) record(now volume.Time, ops ...*volume.Op) error {
	if p := m.pending; p != nil {
		reign := &volume.Op{Kind: volume.OpReign, Epoch: p.Epoch, Participants: p.Participants}
		ops = append([]*volume.Op{reign}, ops...)
	}
	for _, op := range ops {
		op.Time = now
		op.Version = m.pos.Version + 1
		if err := m.apply(op); err != nil {
			return volume.Errorf(volume.Fault, "apply an own %s op: %w", op.Kind, err)
		}
	}
	return nil
}

// newIno allocates in the epoch that writes the next op.
func (m *Model) newIno() volume.Ino {
	tag := m.pos.Epoch.Tag
	if m.pending != nil {
		tag = m.pending.Epoch.Tag
	}
	if m.opt.NewIno != nil {
		return m.opt.NewIno(tag)
	}
	return volume.MakeIno(tag, m.counts[tag]+1)
}

// skipTo makes the next op have a version, as if ops unknown here came before. The
// digest is worth nothing afterwards.
func (m *Model) skipTo(next volume.Version) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending != nil {
		m.pos.Epoch = m.pending.Epoch
		m.lineage = append(m.lineage, *m.pending)
		m.pending = nil
	}
	m.pos.Version = next - 1
}

// live finds an inode, with or without names.
func (m *Model) live(ino volume.Ino) (*inode, error) {
	n := m.inodes[ino]
	if n == nil {
		return nil, volume.Stale
	}
	return n, nil
}

func (m *Model) dir(ino volume.Ino) (*inode, error) {
	n, err := m.live(ino)
	if err != nil {
		return nil, err
	}
	if !n.attr.IsDir() {
		return nil, volume.NotDir
	}
	return n, nil
}
