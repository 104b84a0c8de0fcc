package volumetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"wolfdisk/volume"
)

// known is live with a view's error.
func (m *Model) known(ino volume.Ino) (*inode, error) {
	n := m.inodes[ino]
	if n == nil {
		return nil, volume.NotFound
	}
	return n, nil
}

// Inode implements volume.View.
func (m *Model) Inode(ino volume.Ino) (volume.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.known(ino)
	if err != nil {
		return volume.Attr{}, err
	}
	return n.attr, nil
}

// Names implements volume.View.
func (m *Model) Names(ino volume.Ino) ([]volume.NameRef, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.known(ino); err != nil {
		return nil, err
	}
	var refs []volume.NameRef
	for dir, n := range m.inodes {
		for name, e := range n.entries {
			if e.ino == ino {
				refs = append(refs, volume.NameRef{Parent: dir, Name: name})
			}
		}
	}
	return refs, nil
}

// Entry implements volume.View.
func (m *Model) Entry(dir volume.Ino, name string) (volume.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.known(dir)
	if err != nil {
		return volume.DirEntry{}, err
	}
	e, ok := n.entries[name]
	if !ok {
		return volume.DirEntry{}, volume.NotFound
	}
	return volume.DirEntry{Name: name, Ino: e.ino, Type: m.inodes[e.ino].attr.Type(), Cookie: e.cookie}, nil
}

// Entries implements volume.View.
func (m *Model) Entries(dir volume.Ino, after uint64, fn func(volume.DirEntry) bool) error {
	err := m.ReadDir(context.Background(), dir, after, fn)
	if errors.Is(err, volume.Stale) {
		return volume.NotFound
	}
	return err
}

// Target implements volume.View.
func (m *Model) Target(ino volume.Ino) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.known(ino)
	if err != nil {
		return "", err
	}
	return n.target, nil
}

// Xattrs implements volume.View.
func (m *Model) Xattrs(ino volume.Ino) ([]volume.Xattr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.known(ino)
	if err != nil {
		return nil, err
	}
	var list []volume.Xattr
	for _, name := range slices.Sorted(maps.Keys(n.xattrs)) {
		list = append(list, volume.Xattr{Name: name, Value: bytes.Clone(n.xattrs[name])})
	}
	return list, nil
}

// PutLower keeps what a backing wants to remember, as the index does in the op's
// batch. A record of an inode that is not there (any more) counts for nothing.
func (m *Model) PutLower(records ...volume.LowerRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		n := m.inodes[r.Ino]
		if n == nil {
			continue
		}
		n.lowerKey, n.lower = nil, nil
		if r.Value != nil {
			n.lowerKey, n.lower = bytes.Clone(r.Key), append([]byte{}, r.Value...)
		}
	}
}

// Lower implements volume.View.
func (m *Model) Lower(ino volume.Ino) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.known(ino)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(n.lower), nil
}

// LowerIno implements volume.View.
func (m *Model) LowerIno(key []byte) (volume.Ino, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ino, n := range m.inodes {
		if len(key) > 0 && bytes.Equal(n.lowerKey, key) {
			return ino, nil
		}
	}
	return 0, volume.NotFound
}
