package volumetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wolfdisk/volume"
)

// Node is one name of a tree with all that must be equal about its inode: what
// promise 2 of the design lists. Atime, Btime and Version are kept for those who
// compare more.
type Node struct {
	Attr   volume.Attr
	Target string
	Xattrs []volume.Xattr // sorted by name, ACLs among them
	// Content is a hash of size and bytes of a regular file; holes count as zeros.
	Content [sha256.Size]byte
	// Order are the names in a directory in listing order.
	Order []string
}

// Snapshot is a whole tree by path: "." the root, "a/b" what lies below, and "/ID"
// an inode without a name.
type Snapshot map[string]*Node

// Tree reads a whole tree, and inodes without a name if they are told. Nobody may
// change the volume meanwhile.
func Tree(ctx context.Context, r volume.Reader, nameless ...volume.Ino) (Snapshot, error) {
	w := walker{ctx: ctx, r: r, snap: Snapshot{}, seen: map[volume.Ino]*Node{}}
	if err := w.visit(".", volume.RootIno); err != nil {
		return nil, err
	}
	for _, ino := range nameless {
		if w.seen[ino] != nil {
			continue
		}
		if err := w.visit("/"+ino.String(), ino); err != nil && !errors.Is(err, volume.Stale) {
			return nil, err
		}
	}
	return w.snap, nil
}

type walker struct {
	ctx  context.Context
	r    volume.Reader
	snap Snapshot
	seen map[volume.Ino]*Node // hard links are read once
}

func (w *walker) visit(path string, ino volume.Ino) error {
	if n := w.seen[ino]; n != nil {
		if n.Attr.IsDir() {
			return volume.Errorf(volume.Corrupt, "directory %s: inode %s is in the tree twice", path, ino)
		}
		w.snap[path] = n
		return nil
	}
	n, err := readNode(w.ctx, w.r, ino)
	if err != nil {
		return volume.Wrapf(err, "read %s (inode %s)", path, ino)
	}
	w.snap[path], w.seen[ino] = n, n
	if !n.Attr.IsDir() {
		return nil
	}
	return w.visitEntries(path, n)
}

func (w *walker) visitEntries(path string, n *Node) error {
	entries, err := listing(w.ctx, w.r, n.Attr.Ino)
	if err != nil {
		return volume.Wrap(err, "list "+path)
	}
	for _, e := range entries {
		child := strings.TrimPrefix(path+"/"+e.Name, "./")
		if w.snap[child] != nil {
			return volume.Errorf(volume.Corrupt, "list %s: name %q comes twice", path, e.Name)
		}
		n.Order = append(n.Order, e.Name)
		a, err := w.r.Lookup(w.ctx, n.Attr.Ino, e.Name)
		if err != nil {
			return volume.Wrap(err, "look up "+child)
		}
		if a.Ino != e.Ino || a.Type() != e.Type {
			return volume.Errorf(volume.Corrupt, "%s: listed as inode %s of type %o, but looked up as %s of type %o", child, e.Ino, e.Type, a.Ino, a.Type())
		}
		if err := w.visit(child, e.Ino); err != nil {
			return err
		}
		if a.IsDir() {
			if p, err := w.r.ParentOf(w.ctx, e.Ino); err != nil || p != n.Attr.Ino {
				return volume.Errorf(volume.Corrupt, "%s: parent is %s (%v), not %s", child, p, err, n.Attr.Ino)
			}
		}
	}
	return nil
}

// listing is a whole directory in listing order.
func listing(ctx context.Context, r volume.Reader, dir volume.Ino) (list []volume.DirEntry, err error) {
	err = r.ReadDir(ctx, dir, 0, func(e volume.DirEntry) bool {
		list = append(list, e)
		return true
	})
	return list, err
}

func readNode(ctx context.Context, r volume.Reader, ino volume.Ino) (*Node, error) {
	a, err := r.GetAttr(ctx, ino)
	if err != nil {
		return nil, err
	}
	n := &Node{Attr: a}
	names, err := r.ListXattr(ctx, ino)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		v, err := r.GetXattr(ctx, ino, name)
		if err != nil {
			return nil, volume.Wrap(err, "attribute "+name)
		}
		n.Xattrs = append(n.Xattrs, volume.Xattr{Name: name, Value: v})
	}
	switch a.Type() {
	case volume.ModeLink:
		n.Target, err = r.ReadLink(ctx, ino)
	case volume.ModeFile:
		n.Content, err = hashContent(ctx, r, ino, a.Size)
	}
	return n, err
}

// hashContent hashes the blocks that are not all zeros, each with its offset, so
// that it takes no notice of what is a hole, and jumps over large ones.
func hashContent(ctx context.Context, r volume.Reader, ino volume.Ino, size int64) (sum [sha256.Size]byte, err error) {
	const blockSize = 4096
	h := sha256.New()
	var num [8]byte
	put := func(v int64) {
		binary.BigEndian.PutUint64(num[:], uint64(v))
		h.Write(num[:])
	}
	put(size)
	buf := make([]byte, min(size, 64<<10))
	for off := int64(0); off < size; {
		data, err := r.Seek(ctx, ino, off, false)
		if errors.Is(err, volume.NotSeekable) {
			break
		}
		if err != nil {
			return sum, volume.Wrap(err, "seek data")
		}
		if data < off {
			return sum, volume.Errorf(volume.Corrupt, "seek data from %d went back to %d", off, data)
		}
		off = data &^ (blockSize - 1)
		p := buf[:min(int64(len(buf)), size-off)]
		n, err := r.ReadAt(ctx, ino, p, off)
		if err != nil {
			return sum, volume.Wrapf(err, "read %d bytes at %d", len(p), off)
		}
		if n != len(p) {
			return sum, volume.Errorf(volume.Corrupt, "read %d bytes at %d of %d: got only %d", len(p), off, size, n)
		}
		for b := range slices.Chunk(p, blockSize) {
			if len(bytes.Trim(b, "\x00")) > 0 {
				put(off)
				h.Write(b)
			}
			off += int64(len(b))
		}
	}
	copy(sum[:], h.Sum(nil))
	return sum, nil
}

// Diff says where two trees differ, a line per difference, sorted by path; nil if
// they are equal.
func Diff(a, b Snapshot) []string {
	paths := slices.Collect(maps.Keys(a))
	for p := range b {
		if a[p] == nil {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	var diffs []string
	for _, p := range paths {
		x, y := a[p], b[p]
		switch {
		case x == nil:
			diffs = append(diffs, fmt.Sprintf("%s: only in the second", p))
		case y == nil:
			diffs = append(diffs, fmt.Sprintf("%s: only in the first", p))
		default:
			for _, d := range diffNode(x, y) {
				diffs = append(diffs, p+": "+d)
			}
		}
	}
	return diffs
}

func diffNode(x, y *Node) (diffs []string) {
	d := differ{&diffs}
	diffAttr(d, &x.Attr, &y.Attr)
	d.cmp("target", x.Target, y.Target)
	if x.Content != y.Content {
		d.cmp("content", fmt.Sprintf("%.8x", x.Content), fmt.Sprintf("%.8x", y.Content))
	}
	xattrs := func(n *Node) map[string]string {
		m := map[string]string{}
		for _, a := range n.Xattrs {
			m[a.Name] = fmt.Sprintf("%q", a.Value)
		}
		return m
	}
	mx, my := xattrs(x), xattrs(y)
	for _, name := range slices.Sorted(maps.Keys(mx)) {
		if v, ok := my[name]; !ok {
			d.cmp("attribute "+name, mx[name], "none")
		} else {
			d.cmp("attribute "+name, mx[name], v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(my)) {
		if _, ok := mx[name]; !ok {
			d.cmp("attribute "+name, "none", my[name])
		}
	}
	return diffs
}

// diffAttr compares what promise 2 lists.
func diffAttr(d differ, x, y *volume.Attr) {
	d.cmp("inode", x.Ino, y.Ino)
	d.cmp("mode", octal(x.Mode), octal(y.Mode))
	d.cmp("uid", x.UID, y.UID)
	d.cmp("gid", x.GID, y.GID)
	d.cmp("rdev", x.Rdev, y.Rdev)
	d.cmp("nlink", x.Nlink, y.Nlink)
	if !x.IsDir() {
		d.cmp("size", x.Size, y.Size)
	}
	d.cmp("mtime", x.Mtime, y.Mtime)
	d.cmp("ctime", x.Ctime, y.Ctime)
}

// diffRest compares what is beyond promise 2 but decided alike on every node.
func diffRest(d differ, x, y *volume.Attr, versions bool) {
	d.cmp("size", x.Size, y.Size)
	d.cmp("atime", x.Atime, y.Atime)
	d.cmp("btime", x.Btime, y.Btime)
	if versions {
		d.cmp("version", x.Version, y.Version)
	}
}

type octal uint32

func (o octal) String() string { return fmt.Sprintf("0%o", uint32(o)) }

type differ struct{ diffs *[]string }

func (d differ) cmp(what string, x, y any) {
	if x != y {
		*d.diffs = append(*d.diffs, fmt.Sprintf("%s %v != %v", what, x, y))
	}
}

// Check says what is wrong with a tree in itself: link counts that are not those of
// its names, sizes and times that cannot be. With all inodes' names in view it needs
// no second tree. nil if all is well.
func Check(s Snapshot) (wrong []string) {
	names, subdirs := map[volume.Ino]uint32{}, map[string]uint32{}
	for path, n := range s {
		if path == "." || strings.HasPrefix(path, "/") {
			continue
		}
		names[n.Attr.Ino]++
		if n.Attr.IsDir() {
			subdirs[parentPath(path)]++
		}
	}
	for _, path := range slices.Sorted(maps.Keys(s)) {
		n := s[path]
		want := names[n.Attr.Ino]
		if n.Attr.IsDir() && !strings.HasPrefix(path, "/") {
			want = 2 + subdirs[path]
		}
		d := differ{&[]string{}}
		d.cmp("nlink", n.Attr.Nlink, want)
		if n.Attr.Type() == volume.ModeLink {
			d.cmp("size", n.Attr.Size, int64(len(n.Target)))
		} else if !n.Attr.IsFile() {
			d.cmp("size", n.Attr.Size, int64(0))
		}
		d.cmp("valid inode ID", n.Attr.Ino.Valid(), true)
		d.cmp("unknown mode bits", n.Attr.Mode&^(volume.ModeType|volume.ModePerm), uint32(0))
		for _, x := range n.Xattrs {
			if a, ok := parseACL(x.Value); x.Name == volume.XattrACLAccess && ok && len(a) > 0 {
				d.cmp("mode of the ACL", octal(n.Attr.Mode&0o777), octal(a.mode()))
			}
		}
		for _, what := range *d.diffs {
			wrong = append(wrong, path+": "+what)
		}
	}
	return wrong
}

func parentPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}
