package volumetest

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	"wolfdisk/volume"
)

// find is an existing name.
func (m *Model) find(parent volume.Ino, name string) (dir, n *inode, err error) {
	if dir, err = m.dir(parent); err != nil {
		return nil, nil, err
	}
	if err = volume.CheckName(name); err != nil {
		return nil, nil, err
	}
	e, ok := dir.entries[name]
	if !ok {
		return nil, nil, volume.NotFound
	}
	return dir, m.inodes[e.ino], nil
}

// Lookup implements volume.Reader.
func (m *Model) Lookup(_ context.Context, parent volume.Ino, name string) (volume.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, n, err := m.find(parent, name)
	if err != nil {
		return volume.Attr{}, err
	}
	return n.attr, nil
}

// GetAttr implements volume.Reader.
func (m *Model) GetAttr(_ context.Context, ino volume.Ino) (volume.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.live(ino)
	if err != nil {
		return volume.Attr{}, err
	}
	return n.attr, nil
}

// ReadLink implements volume.Reader.
func (m *Model) ReadLink(_ context.Context, ino volume.Ino) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.live(ino)
	if err != nil {
		return "", err
	}
	if n.attr.Type() != volume.ModeLink {
		return "", volume.Invalid
	}
	return n.target, nil
}

// ReadDir implements volume.Reader. It calls fn on a copy, holding no lock.
func (m *Model) ReadDir(_ context.Context, ino volume.Ino, after uint64, fn func(volume.DirEntry) bool) error {
	m.mu.Lock()
	n, err := m.dir(ino)
	if err != nil {
		m.mu.Unlock()
		return err
	}
	var list []volume.DirEntry
	for name, e := range n.entries {
		if e.cookie > after {
			list = append(list, volume.DirEntry{Name: name, Ino: e.ino, Type: m.inodes[e.ino].attr.Type(), Cookie: e.cookie})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(list, func(a, b volume.DirEntry) int { return cmp.Compare(a.Cookie, b.Cookie) })
	for _, e := range list {
		if !fn(e) {
			break
		}
	}
	return nil
}

// ReadNames implements volume.NameReader. It calls fn on a copy, holding no lock.
func (m *Model) ReadNames(ctx context.Context, ino volume.Ino, from string, fn func(volume.DirEntry) bool) error {
	var list []volume.DirEntry
	err := m.ReadDir(ctx, ino, 0, func(e volume.DirEntry) bool {
		if e.Name >= from {
			list = append(list, e)
		}
		return true
	})
	slices.SortFunc(list, func(a, b volume.DirEntry) int { return cmp.Compare(a.Name, b.Name) })
	for _, e := range list {
		if !fn(e) {
			break
		}
	}
	return err
}

// ReadKept implements volume.KeptReader. It calls fn on a copy, holding no lock.
func (m *Model) ReadKept(_ context.Context, after volume.Ino, fn func(volume.Ino) bool) error {
	var list []volume.Ino
	m.mu.Lock()
	for ino, n := range m.inodes {
		if _, kept := n.xattrs[volume.XattrKeep]; kept && n.attr.Nlink == 0 && ino > after {
			list = append(list, ino)
		}
	}
	m.mu.Unlock()
	slices.Sort(list)
	for _, ino := range list {
		if !fn(ino) {
			break
		}
	}
	return nil
}

// ParentOf implements volume.Reader.
func (m *Model) ParentOf(_ context.Context, ino volume.Ino) (volume.Ino, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.dir(ino)
	if err != nil {
		return 0, err
	}
	return n.parent, nil
}

// GetXattr implements volume.Reader.
func (m *Model) GetXattr(_ context.Context, ino volume.Ino, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.live(ino)
	if err != nil {
		return nil, err
	}
	v, ok := n.xattrs[name]
	if !ok {
		if err := checkXattr(n, name, nil); err != nil && err != volume.NotPermitted && !isACL(name) {
			return nil, err
		}
		return nil, volume.NoXattr
	}
	return bytes.Clone(v), nil
}

// ListXattr implements volume.Reader.
func (m *Model) ListXattr(_ context.Context, ino volume.Ino) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.live(ino)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.xattrs)), nil
}

// file finds an inode whose content is asked for.
func (m *Model) file(ino volume.Ino) (*inode, error) {
	n, err := m.live(ino)
	switch {
	case err != nil:
		return nil, err
	case n.attr.IsDir():
		return nil, volume.IsDir
	case !n.attr.IsFile():
		return nil, volume.Invalid
	}
	return n, nil
}

// ReadAt implements volume.Reader.
func (m *Model) ReadAt(_ context.Context, ino volume.Ino, p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.file(ino)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, volume.Invalid
	}
	if off >= n.attr.Size {
		return 0, nil
	}
	p = p[:min(int64(len(p)), n.attr.Size-off)]
	n.data.read(p, off)
	return len(p), nil
}

// Seek implements volume.Reader.
func (m *Model) Seek(_ context.Context, ino volume.Ino, off int64, hole bool) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.file(ino)
	if err != nil {
		return 0, err
	}
	if off < 0 || off >= n.attr.Size {
		return 0, volume.NotSeekable
	}
	at, ok := n.data.seek(off, n.attr.Size, hole)
	if !ok {
		return 0, volume.NotSeekable
	}
	return at, nil
}

// StatFS implements volume.Reader. There is no disk below.
func (m *Model) StatFS(context.Context) (volume.StatFS, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := volume.StatFS{BlockSize: pageSize, Files: uint64(len(m.inodes))}
	for _, n := range m.inodes {
		if n.attr.IsFile() {
			s.Bytes += uint64(n.attr.Size)
		}
	}
	return s, nil
}

// Position implements volume.Reader.
func (m *Model) Position() volume.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pos
}
