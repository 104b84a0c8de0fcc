package volumetest

import (
	"bytes"
	"maps"
	"slices"

	"wolfdisk/volume"
)

// misfit is an op that is no change of this tree.
func misfit(op *volume.Op, format string, args ...any) error {
	return volume.Errorf(volume.WrongHistory, "%s op %d: "+format, append([]any{op.Kind, op.Version}, args...)...)
}

// apply makes an op part of the volume. It first checks everything, so that a
// refusal changes nothing.
func (m *Model) apply(op *volume.Op) error {
	if err := op.Validate(); err != nil {
		return err
	}
	if op.Version != m.pos.Version+1 {
		return misfit(op, "the next version is %d", m.pos.Version+1)
	}
	if op.Time.Compare(m.last) < 0 {
		return misfit(op, "its time is before that of the op before")
	}
	if m.pos.Epoch.IsZero() && op.Kind != volume.OpReign {
		return misfit(op, "no epoch has begun")
	}
	effect, err := m.fit(op)
	if err != nil {
		return err
	}
	own := copyOp(op)
	enc := volume.NewEncoder()
	raw, err := enc.Add(own)
	if err != nil {
		return err
	}
	effect()
	m.pos.Version, m.pos.Digest = op.Version, m.pos.Digest.Next(raw)
	m.last = op.Time
	m.ops = append(m.ops, own)
	return nil
}

// copyOp is an op that shares no memory with the caller's.
func copyOp(op *volume.Op) *volume.Op {
	own := *op
	own.Caller.PID = 0
	own.Data = bytes.Clone(op.Data)
	own.Chunks = slices.Clone(op.Chunks)
	own.Participants = slices.Clone(op.Participants)
	own.Xattrs = slices.Clone(op.Xattrs)
	for i := range own.Xattrs {
		own.Xattrs[i].Value = bytes.Clone(own.Xattrs[i].Value)
	}
	return &own
}

// fit checks an op against the tree and returns what it does.
func (m *Model) fit(op *volume.Op) (effect func(), err error) {
	switch op.Kind {
	case volume.OpReign:
		return m.fitReign(op)
	case volume.OpMember:
		return func() { m.setMember(op.Member) }, nil
	case volume.OpCreate:
		return m.fitCreate(op)
	case volume.OpLink:
		return m.fitLink(op)
	case volume.OpUnlink, volume.OpRmdir:
		return m.fitRemove(op)
	case volume.OpRename:
		return m.fitRename(op)
	case volume.OpPublish:
		return m.fitPublish(op)
	}
	n := m.inodes[op.Ino]
	if n == nil {
		return nil, misfit(op, "no inode %s", op.Ino)
	}
	switch op.Kind {
	case volume.OpEnd:
		if n.attr.Nlink > 0 {
			return nil, misfit(op, "inode %s has names", op.Ino)
		}
		return func() { m.end(n) }, nil
	case volume.OpSetAttr:
		return func() { m.setAttr(op, n) }, nil
	case volume.OpSetXattr:
		return func() {
			n.xattrs[op.Name] = append([]byte{}, op.Data...)
			m.xattrMode(op, n)
		}, nil
	case volume.OpRemoveXattr:
		if _, ok := n.xattrs[op.Name]; !ok {
			return nil, misfit(op, "inode %s has no attribute %q", op.Ino, op.Name)
		}
		return func() {
			delete(n.xattrs, op.Name)
			m.xattrMode(op, n)
		}, nil
	}
	return m.fitContent(op, n)
}

func (m *Model) fitReign(op *volume.Op) (func(), error) {
	if op.Epoch.Number <= m.pos.Epoch.Number {
		return nil, misfit(op, "epoch %s after %s", op.Epoch, m.pos.Epoch)
	}
	return func() {
		m.pos.Epoch = op.Epoch
		m.lineage = append(m.lineage, volume.Reign{Epoch: op.Epoch, First: op.Version, Participants: slices.Clone(op.Participants)})
		m.pending = nil
	}, nil
}

func (m *Model) setMember(mem volume.Member) { m.members[mem.ID] = mem }

// touch is what every op does to an inode that it names.
func touch(op *volume.Op, n *inode) {
	n.attr.Ctime, n.attr.Version = op.Time, op.Version
}

// touchDir is what an op does to a directory whose entries it changes.
func touchDir(op *volume.Op, n *inode) {
	touch(op, n)
	n.attr.Mtime = op.Time
}

// setMode is what SetMode does outside of attributes: an access ACL follows.
func setMode(n *inode, perm uint32) {
	n.attr.Mode = n.attr.Mode&volume.ModeType | perm
	if a, ok := parseACL(n.xattrs[volume.XattrACLAccess]); ok && len(a) > 0 {
		n.xattrs[volume.XattrACLAccess] = a.chmod(perm)
	}
}

func (m *Model) setAttr(op *volume.Op, n *inode) {
	touch(op, n)
	if op.Mask&volume.SetUID != 0 {
		n.attr.UID = op.UID
	}
	if op.Mask&volume.SetGID != 0 {
		n.attr.GID = op.GID
	}
	if op.Mask&volume.SetAtime != 0 {
		n.attr.Atime = op.Atime
	}
	if op.Mask&volume.SetMtime != 0 {
		n.attr.Mtime = op.Mtime
	}
	sideEffects(op, n)
}

// sideEffects are the mode and the capabilities that ops carry along.
func sideEffects(op *volume.Op, n *inode) {
	if op.Mask&volume.SetMode != 0 {
		setMode(n, op.Mode)
	}
	if op.Flags&volume.OpDropCaps != 0 {
		delete(n.xattrs, volume.XattrCapability)
	}
}

// xattrMode is the rest of a change of attributes; the ACL and its mode agree.
func (m *Model) xattrMode(op *volume.Op, n *inode) {
	touch(op, n)
	if op.Mask&volume.SetMode != 0 {
		n.attr.Mode = n.attr.Mode&volume.ModeType | op.Mode
	}
}

func (m *Model) fitContent(op *volume.Op, n *inode) (func(), error) {
	if !n.attr.IsFile() {
		return nil, misfit(op, "inode %s is no file", op.Ino)
	}
	if err := m.haveChunks(op.Chunks); err != nil {
		return nil, err
	}
	return func() {
		switch op.Kind {
		case volume.OpWrite:
			n.data.write(op.Data, op.Offset)
			n.attr.Size = max(n.attr.Size, op.Offset+int64(len(op.Data)))
		case volume.OpTruncate:
			n.data.zero(op.Size, volume.MaxFileSize)
			n.attr.Size = op.Size
		case volume.OpFallocate:
			if op.Alloc&(volume.FallocPunchHole|volume.FallocZeroRange) != 0 {
				n.data.zero(op.Offset, op.Offset+op.Length)
			}
			if op.Alloc&volume.FallocKeepSize == 0 {
				n.attr.Size = max(n.attr.Size, op.Offset+op.Length)
			}
		case volume.OpCopyChunks:
			off := op.Offset
			for _, c := range op.Chunks {
				n.data.zero(off, off+c.Length)
				if !c.IsHole() {
					n.data.write(m.opt.Chunks[c.ID][c.Offset:c.Offset+c.Length], off)
				}
				off += c.Length
			}
			n.attr.Size = max(n.attr.Size, off)
		}
		touch(op, n)
		n.attr.Mtime = op.Time
		maps.DeleteFunc(n.xattrs, func(name string, _ []byte) bool { return volume.IsObjectXattr(name) })
		sideEffects(op, n)
	}, nil
}
