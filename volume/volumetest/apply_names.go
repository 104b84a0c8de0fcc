package volumetest

import "wolfdisk/volume"

// fitDir finds a directory in which an op changes names.
func (m *Model) fitDir(op *volume.Op, ino volume.Ino) (*inode, error) {
	n := m.inodes[ino]
	if n == nil || !n.attr.IsDir() || n.attr.Nlink == 0 {
		return nil, misfit(op, "%s is no directory with a name", ino)
	}
	return n, nil
}

// fitName checks that a directory holds a name of the given inode, or, for 0, that
// the name is free.
func (m *Model) fitName(op *volume.Op, parent volume.Ino, name string, ino volume.Ino) (dir, n *inode, err error) {
	if dir, err = m.fitDir(op, parent); err != nil {
		return nil, nil, err
	}
	if has := dir.entries[name].ino; has != ino {
		return nil, nil, misfit(op, "name %q in %s is of inode %s, not %s", name, parent, has, ino)
	}
	return dir, m.inodes[ino], nil
}

// fitEnds checks that OpEnds is only told of an inode that loses its last name.
func fitEnds(op *volume.Op, n *inode) error {
	if op.Flags&volume.OpEnds != 0 && (n == nil || !n.attr.IsDir() && n.attr.Nlink > 1) {
		return misfit(op, "ends an inode that keeps a name")
	}
	return nil
}

// put gives an inode a name.
func (m *Model) put(op *volume.Op, dir *inode, name string, n *inode, second bool) {
	dir.entries[name] = entry{n.attr.Ino, volume.EntryCookie(op.Version, second)}
	if n.linkable {
		n.linkable = false
		delete(n.xattrs, volume.XattrKeep)
	}
	if !n.attr.IsDir() {
		n.attr.Nlink++
		return
	}
	n.parent = dir.attr.Ino
	n.attr.Nlink = 2
	for _, e := range n.entries {
		if m.inodes[e.ino].attr.IsDir() {
			n.attr.Nlink++
		}
	}
	dir.attr.Nlink++
}

// drop takes a name from an inode.
func (m *Model) drop(dir *inode, name string, n *inode) {
	delete(dir.entries, name)
	if !n.attr.IsDir() {
		n.attr.Nlink--
		return
	}
	n.attr.Nlink = 0
	dir.attr.Nlink--
}

// finish ends what an op with OpEnds has taken the last name from.
func (m *Model) finish(op *volume.Op, n *inode) {
	if op.Flags&volume.OpEnds != 0 {
		m.end(n)
	}
}

func (m *Model) end(n *inode) {
	if m.opt.Ending != nil {
		a := n.attr
		m.opt.Ending(&a)
	}
	delete(m.inodes, n.attr.Ino)
}

func (m *Model) fitCreate(op *volume.Op) (func(), error) {
	if m.inodes[op.Ino] != nil {
		return nil, misfit(op, "inode %s is there already", op.Ino)
	}
	var dir *inode
	if op.Parent != 0 {
		var err error
		if dir, _, err = m.fitName(op, op.Parent, op.Name, 0); err != nil {
			return nil, err
		}
	}
	return func() {
		n := &inode{
			attr: volume.Attr{
				Ino: op.Ino, Mode: op.Mode, UID: op.UID, GID: op.GID, Rdev: op.Rdev, Size: int64(len(op.Target)),
				Atime: op.Time, Mtime: op.Time, Btime: op.Time,
			},
			linkable: dir == nil,
			target:   op.Target,
			xattrs:   map[string][]byte{},
		}
		if n.attr.IsDir() {
			n.entries = map[string]entry{}
		}
		for _, x := range op.Xattrs {
			n.xattrs[x.Name] = append([]byte{}, x.Value...)
		}
		touch(op, n)
		m.inodes[op.Ino] = n
		tag := op.Ino.Tag()
		m.counts[tag] = max(m.counts[tag], op.Ino.Count())
		if dir != nil {
			m.put(op, dir, op.Name, n, false)
			touchDir(op, dir)
		}
	}, nil
}

func (m *Model) fitLink(op *volume.Op) (func(), error) {
	n := m.inodes[op.Ino]
	if n == nil || n.attr.IsDir() || n.attr.Nlink == 0 && !n.linkable {
		return nil, misfit(op, "inode %s cannot get a name", op.Ino)
	}
	dir, _, err := m.fitName(op, op.Parent, op.Name, 0)
	if err != nil {
		return nil, err
	}
	return func() {
		m.put(op, dir, op.Name, n, false)
		touch(op, n)
		touchDir(op, dir)
	}, nil
}

func (m *Model) fitRemove(op *volume.Op) (func(), error) {
	dir, n, err := m.fitName(op, op.Parent, op.Name, op.Ino)
	if err != nil {
		return nil, err
	}
	if n.attr.IsDir() != (op.Kind == volume.OpRmdir) || len(n.entries) > 0 {
		return nil, misfit(op, "inode %s is not of that type, or not empty", op.Ino)
	}
	if err := fitEnds(op, n); err != nil {
		return nil, err
	}
	return func() {
		m.drop(dir, op.Name, n)
		touch(op, n)
		touchDir(op, dir)
		m.finish(op, n)
	}, nil
}

func (m *Model) fitRename(op *volume.Op) (func(), error) {
	from, n, err := m.fitName(op, op.Parent, op.Name, op.Ino)
	if err != nil {
		return nil, err
	}
	to, old, err := m.fitName(op, op.NewParent, op.NewName, op.Replaced)
	if err != nil {
		return nil, err
	}
	exchange := op.Flags&volume.OpExchange != 0
	if n == old {
		return nil, misfit(op, "both names are of inode %s", op.Ino)
	}
	if n.attr.IsDir() && m.within(op.NewParent, op.Ino) || old != nil && old.attr.IsDir() && m.within(op.Parent, op.Replaced) {
		return nil, misfit(op, "makes a loop")
	}
	if old != nil && !exchange && (n.attr.IsDir() != old.attr.IsDir() || len(old.entries) > 0) {
		return nil, misfit(op, "inode %s cannot be displaced", op.Replaced)
	}
	if exchange && op.Flags&volume.OpEnds != 0 {
		return nil, misfit(op, "an exchange ends nothing")
	}
	if err := fitEnds(op, old); err != nil {
		return nil, err
	}
	return func() {
		m.drop(from, op.Name, n)
		if old != nil {
			m.drop(to, op.NewName, old)
			touch(op, old)
		}
		m.put(op, to, op.NewName, n, false)
		if exchange {
			m.put(op, from, op.Name, old, true)
		}
		touch(op, n)
		touchDir(op, from)
		touchDir(op, to)
		m.finish(op, old)
	}, nil
}

func (m *Model) fitPublish(op *volume.Op) (func(), error) {
	n := m.inodes[op.Ino]
	if n == nil || !n.attr.IsFile() || n.attr.Nlink > 0 || !n.linkable {
		return nil, misfit(op, "inode %s is no staged file", op.Ino)
	}
	dir, old, err := m.fitName(op, op.Parent, op.Name, op.Replaced)
	if err != nil {
		return nil, err
	}
	if old != nil && old.attr.IsDir() {
		return nil, misfit(op, "inode %s is a directory", op.Replaced)
	}
	if err := fitEnds(op, old); err != nil {
		return nil, err
	}
	return func() {
		if old != nil {
			m.drop(dir, op.Name, old)
			touch(op, old)
		}
		m.put(op, dir, op.Name, n, false)
		for _, x := range op.Xattrs {
			n.xattrs[x.Name] = append([]byte{}, x.Value...)
		}
		sideEffects(op, n)
		touch(op, n)
		touchDir(op, dir)
		m.finish(op, old)
	}, nil
}
