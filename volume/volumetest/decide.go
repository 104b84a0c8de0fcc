package volumetest

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"wolfdisk/volume"
)

// decision is what becomes of a request: the ops to record (none: nothing has to
// change), the inode that is the answer, what it displaces, and where content goes.
type decision struct {
	ops      []*volume.Op
	n        *inode // nil for a create: it is not there yet
	replaced *inode
	count    int
	offset   int64
}

// Do implements volume.Volume.
func (m *Model) Do(_ context.Context, req *volume.Request) (volume.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readOnly {
		return volume.Result{}, volume.ReadOnly
	}
	key := asked{req.Caller.Client, req.Caller.Seq}
	if res, ok := m.answers[key]; ok {
		return m.again(res), nil
	}
	now := m.now()
	d, err := m.decide(req, now)
	if err != nil {
		return volume.Result{}, err
	}
	res := volume.Result{N: d.count, Offset: d.offset}
	if len(d.ops) > 0 {
		if err := m.record(now, d.ops...); err != nil {
			return volume.Result{}, err
		}
		res.Version = m.pos.Version
		if d.n == nil {
			d.n = m.inodes[d.ops[0].Ino]
		}
	}
	res.Attr = d.n.attr
	if d.replaced != nil {
		res.Replaced = d.replaced.attr
	}
	if key.client != "" && key.seq != 0 && len(d.ops) > 0 {
		m.answers[key] = res
	}
	return res, nil
}

// again is the answer to a repeat: the same op, and what became of its inodes.
func (m *Model) again(res volume.Result) volume.Result {
	now := func(was volume.Attr) volume.Attr {
		if n := m.inodes[was.Ino]; n != nil {
			return n.attr
		}
		was.Nlink = 0
		return was
	}
	if res.Attr = now(res.Attr); res.Replaced.Ino != 0 {
		res.Replaced = now(res.Replaced)
	}
	return res
}

func (m *Model) decide(req *volume.Request, now volume.Time) (decision, error) {
	switch req.Kind {
	case volume.OpCreate:
		return m.decideCreate(req)
	case volume.OpLink:
		return m.decideLink(req)
	case volume.OpUnlink, volume.OpRmdir:
		return m.decideRemove(req)
	case volume.OpRename:
		return m.decideRename(req)
	case volume.OpPublish:
		return m.decidePublish(req)
	case volume.OpSetAttr:
		return m.decideSetAttr(req, now)
	case volume.OpWrite:
		return m.decideWrite(req)
	case volume.OpFallocate:
		return m.decideFallocate(req)
	case volume.OpCopyChunks:
		return m.decideCopyChunks(req)
	case volume.OpSetXattr:
		return m.decideSetXattr(req)
	case volume.OpRemoveXattr:
		return m.decideRemoveXattr(req)
	}
	return decision{}, volume.Invalid
}

// newOp begins the op of a request.
func newOp(req *volume.Request, kind volume.OpKind) *volume.Op {
	op := &volume.Op{Kind: kind, Caller: req.Caller}
	op.Caller.PID = 0
	return op
}

// newName checks a name that is going to be made; taken is what has it now.
func (m *Model) newName(parent volume.Ino, name string) (dir, taken *inode, err error) {
	if dir, err = m.dir(parent); err != nil {
		return nil, nil, err
	}
	if err = volume.CheckName(name); err != nil {
		return nil, nil, err
	}
	if dir.attr.Nlink == 0 {
		return nil, nil, volume.NotFound
	}
	if parent == volume.RootIno && name == reservedName {
		return nil, nil, volume.NotPermitted
	}
	if e, ok := dir.entries[name]; ok {
		taken = m.inodes[e.ino]
	}
	return dir, taken, nil
}

// ends is OpEnds if losing a name ends the inode's life.
func ends(n *inode) uint32 {
	if n.opens == 0 && (n.attr.IsDir() || n.attr.Nlink == 1) {
		return volume.OpEnds
	}
	return 0
}

func (m *Model) decideCreate(req *volume.Request) (decision, error) {
	typ := req.Mode & volume.ModeType
	perm := req.Mode & volume.ModePerm
	switch typ {
	case volume.ModeFile, volume.ModeDir, volume.ModeLink, volume.ModeFIFO, volume.ModeSocket, volume.ModeBlock, volume.ModeChar:
	default:
		return decision{}, volume.Invalid
	}
	op := newOp(req, volume.OpCreate)
	op.UID, op.GID = req.Caller.UID, req.Caller.GID

	var dir *inode
	var err error
	if req.Parent != 0 && req.Name != "" {
		var taken *inode
		dir, taken, err = m.newName(req.Parent, req.Name)
		if err == nil && taken != nil {
			err = volume.Exists
		}
		op.Parent, op.Name = req.Parent, req.Name
	} else {
		if req.Parent != 0 {
			dir, err = m.dir(req.Parent)
		}
		if err == nil && typ == volume.ModeDir {
			err = volume.Invalid
		}
	}
	if err != nil {
		return decision{}, err
	}

	if typ == volume.ModeLink {
		if err := checkTarget(req.Target); err != nil {
			return decision{}, err
		}
		op.Target = req.Target
		perm = 0o777
	}
	if dir != nil && dir.attr.Mode&volume.ModeSetGID != 0 {
		op.GID = dir.attr.GID
		if typ == volume.ModeDir {
			perm |= volume.ModeSetGID
		}
	}
	if typ != volume.ModeLink {
		if dir != nil && dir.xattrs[volume.XattrACLDefault] != nil {
			perm, op.Xattrs = inherit(dir.xattrs[volume.XattrACLDefault], perm, typ == volume.ModeDir)
		} else {
			perm &^= req.Umask & 0o777
		}
	}
	if typ == volume.ModeBlock || typ == volume.ModeChar {
		op.Rdev = req.Rdev
	}
	if typ == volume.ModeDir && dir.attr.Nlink >= m.opt.MaxDirNlink {
		return decision{}, volume.TooManyLinks
	}
	op.Mode = typ | perm
	if err := createdXattrs(req, op); err != nil {
		return decision{}, err
	}
	op.Ino = m.newIno()
	return decision{ops: []*volume.Op{op}}, nil
}

// createdXattrs adds the attributes of ours that an inode is created with.
func createdXattrs(req *volume.Request, op *volume.Op) error {
	if len(req.Xattrs) > 0 && len(req.Xattrs)+len(op.Xattrs) > volume.MaxOpXattrs {
		return volume.XattrTooBig
	}
	seen := map[string]bool{}
	for _, x := range req.Xattrs {
		if !volume.IsReservedXattr(x.Name) || req.Caller.Front == volume.FrontFUSE {
			return volume.Unsupported
		}
		if err := checkXattr(&inode{attr: volume.Attr{Mode: op.Mode}}, x.Name, x.Value); err != nil {
			return err
		}
		if seen[x.Name] || x.Name == volume.XattrKeep && req.Name != "" {
			return volume.Invalid
		}
		seen[x.Name] = true
		op.Xattrs = append(op.Xattrs, volume.Xattr{Name: x.Name, Value: bytes.Clone(x.Value)})
	}
	slices.SortFunc(op.Xattrs, func(a, b volume.Xattr) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

func checkTarget(target string) error {
	switch {
	case target == "":
		return volume.NotFound
	case len(target) > volume.MaxTargetLen:
		return volume.NameTooLong
	case slices.Contains([]byte(target), 0):
		return volume.Invalid
	}
	return nil
}

func (m *Model) decideLink(req *volume.Request) (decision, error) {
	n, err := m.live(req.Ino)
	if err != nil {
		return decision{}, err
	}
	_, taken, err := m.newName(req.NewParent, req.NewName)
	switch {
	case err != nil:
		return decision{}, err
	case taken != nil:
		return decision{}, volume.Exists
	case n.attr.IsDir():
		return decision{}, volume.NotPermitted
	case n.attr.Nlink == 0 && !n.linkable:
		return decision{}, volume.NotFound
	case n.attr.Nlink >= m.opt.MaxNlink:
		return decision{}, volume.TooManyLinks
	}
	op := newOp(req, volume.OpLink)
	op.Ino, op.Parent, op.Name = req.Ino, req.NewParent, req.NewName
	return decision{ops: []*volume.Op{op}, n: n}, nil
}

func (m *Model) decideRemove(req *volume.Request) (decision, error) {
	_, n, err := m.find(req.Parent, req.Name)
	switch {
	case err != nil:
		return decision{}, err
	case req.Kind == volume.OpUnlink && n.attr.IsDir():
		return decision{}, volume.IsDir
	case req.Kind == volume.OpRmdir && !n.attr.IsDir():
		return decision{}, volume.NotDir
	case req.Kind == volume.OpRmdir && len(n.entries) > 0:
		return decision{}, volume.NotEmpty
	case !unchanged(req, n):
		return decision{}, volume.Precondition
	}
	op := newOp(req, req.Kind)
	op.Ino, op.Parent, op.Name, op.Flags = n.attr.Ino, req.Parent, req.Name, ends(n)
	return decision{ops: []*volume.Op{op}, n: n}, nil
}

func (m *Model) decideRename(req *volume.Request) (decision, error) {
	if req.Exclusive && req.Exchange {
		return decision{}, volume.Invalid
	}
	_, n, err := m.find(req.Parent, req.Name)
	if err != nil {
		return decision{}, err
	}
	dir, taken, err := m.newName(req.NewParent, req.NewName)
	if err != nil {
		return decision{}, err
	}
	switch {
	case req.Exclusive && taken != nil:
		return decision{}, volume.Exists
	case req.Exchange && taken == nil:
		return decision{}, volume.NotFound
	case n.attr.IsDir() && m.within(req.NewParent, n.attr.Ino):
		return decision{}, volume.Invalid
	}
	if taken != nil && taken.attr.IsDir() && m.within(req.Parent, taken.attr.Ino) {
		if req.Exchange {
			return decision{}, volume.Invalid
		}
		return decision{}, volume.NotEmpty
	}
	if n == taken {
		return decision{n: n}, nil
	}
	if taken != nil && !req.Exchange {
		switch {
		case n.attr.IsDir() && !taken.attr.IsDir():
			return decision{}, volume.NotDir
		case !n.attr.IsDir() && taken.attr.IsDir():
			return decision{}, volume.IsDir
		case len(taken.entries) > 0:
			return decision{}, volume.NotEmpty
		}
	}
	if req.Parent != req.NewParent && n.attr.IsDir() && (taken == nil || !taken.attr.IsDir()) && dir.attr.Nlink >= m.opt.MaxDirNlink {
		return decision{}, volume.TooManyLinks
	}
	op := newOp(req, volume.OpRename)
	op.Ino, op.Parent, op.Name, op.NewParent, op.NewName = n.attr.Ino, req.Parent, req.Name, req.NewParent, req.NewName
	if taken != nil {
		op.Replaced = taken.attr.Ino
		if req.Exchange {
			op.Flags = volume.OpExchange
		} else {
			op.Flags = ends(taken)
		}
	}
	return decision{ops: []*volume.Op{op}, n: n, replaced: taken}, nil
}

// within reports whether a directory is top or lies below it.
func (m *Model) within(dir, top volume.Ino) bool {
	for dir != top {
		n := m.inodes[dir]
		if n == nil || dir == volume.RootIno {
			return false
		}
		dir = n.parent
	}
	return true
}

func (m *Model) decidePublish(req *volume.Request) (decision, error) {
	n, err := m.live(req.Ino)
	if err != nil {
		return decision{}, err
	}
	if !n.attr.IsFile() || n.attr.Nlink > 0 || !n.linkable {
		return decision{}, volume.Invalid
	}
	_, taken, err := m.newName(req.Parent, req.Name)
	if err != nil {
		return decision{}, err
	}
	if !matches(req.Match, taken) {
		return decision{}, volume.Precondition
	}
	if taken != nil && taken.attr.IsDir() {
		return decision{}, volume.IsDir
	}
	xattrs, err := publishedXattrs(n, req.Xattrs)
	if err != nil {
		return decision{}, err
	}
	op := newOp(req, volume.OpPublish)
	op.Ino, op.Parent, op.Name, op.Xattrs = req.Ino, req.Parent, req.Name, xattrs
	if req.Set&volume.SetMode != 0 {
		op.Mask, op.Mode = volume.SetMode, req.Mode&volume.ModePerm
	}
	if taken != nil {
		op.Replaced, op.Flags = taken.attr.Ino, ends(taken)
	}
	return decision{ops: []*volume.Op{op}, n: n, replaced: taken}, nil
}

// unchanged reports whether an inode is what a request's Match says.
func unchanged(req *volume.Request, n *inode) bool {
	return req.Match.Version == 0 || req.Match.Version == n.attr.Version
}

func matches(want volume.Match, taken *inode) bool {
	if taken == nil {
		return !want.Present && want.Version == 0
	}
	return !want.Absent && (want.Version == 0 || want.Version == taken.attr.Version)
}
