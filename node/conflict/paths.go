package conflict

import (
	"slices"

	"wolfdisk/volume"
)

// Copy is the losing copy as it stands. Nobody changes it while a record is made of it. An
// index.Tree is one, and so are a leader and a follower.
type Copy interface {
	volume.Reader
	// Names are the names of an inode in no particular order.
	Names(ino volume.Ino) ([]volume.NameRef, error)
	// Xattrs are all extended attributes of an inode, sorted.
	Xattrs(ino volume.Ino) ([]volume.Xattr, error)
}

// Inodes walks all inodes of the losing copy, as index.Snapshot does.
type Inodes interface {
	Inodes(from volume.Ino, fn func(volume.Attr) bool) error
}

// paths makes paths of inode IDs.
type paths struct {
	copy Copy
	// before are the names at the common version of directories that have another now, or
	// none.
	before map[volume.Ino]volume.NameRef
	// now remembers paths of directories, old ones from the common version.
	now, old map[volume.Ino]string
	// seen is told of each directory on the way to a present path, at least once.
	seen func(ino volume.Ino, path string) error
}

const (
	// maxPathsKept bounds the paths that are remembered.
	maxPathsKept = 1 << 15
	// maxDepth is deeper than any directory: more is a loop.
	maxDepth = 1 << 20
)

func newPaths(c Copy, seen func(volume.Ino, string) error) *paths {
	return &paths{copy: c, seen: seen, before: map[volume.Ino]volume.NameRef{}, now: map[volume.Ino]string{}, old: map[volume.Ino]string{}}
}

func inner(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// dirName is the present name of a directory; false if it has none.
func (p *paths) dirName(ino volume.Ino) (volume.NameRef, bool, error) {
	refs, err := p.copy.Names(ino)
	if err != nil || len(refs) == 0 {
		return volume.NameRef{}, false, err
	}
	return refs[0], true, nil
}

// oldName is the name of a directory at the common version.
func (p *paths) oldName(ino volume.Ino) (volume.NameRef, bool, error) {
	if ref, moved := p.before[ino]; moved {
		return ref, true, nil
	}
	return p.dirName(ino)
}

// dir is the path of a directory, now or at the common version; false if it, or one above
// it, has no name.
func (p *paths) dir(ino volume.Ino, old bool) (string, bool, error) {
	cache, name := p.now, p.dirName
	if old {
		cache, name = p.old, p.oldName
	}
	type step struct {
		ino  volume.Ino
		name string
	}
	var up []step
	path := "."
	for at := ino; at != volume.RootIno; {
		if known, ok := cache[at]; ok {
			path = known
			break
		}
		ref, ok, err := name(at)
		if err != nil || !ok {
			return "", false, err
		}
		up = append(up, step{at, ref.Name})
		if at = ref.Parent; len(up) > maxDepth {
			return "", false, volume.Errorf(volume.Corrupt, "directory %s lies in itself", ino)
		}
	}
	if len(cache)+len(up) > maxPathsKept {
		clear(cache)
	}
	for _, s := range slices.Backward(up) {
		path = inner(path, s.name)
		cache[s.ino] = path
		if old {
			continue
		}
		if err := p.seen(s.ino, path); err != nil {
			return "", false, err
		}
	}
	return path, true, nil
}

// names are the paths of an inode by its names, sorted. Names in directories that cannot be
// reached are left out.
func (p *paths) names(refs []volume.NameRef, old bool) (list []string, err error) {
	for _, r := range refs {
		dir, ok, err := p.dir(r.Parent, old)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, inner(dir, r.Name))
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}
