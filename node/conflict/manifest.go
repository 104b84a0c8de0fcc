package conflict

import (
	"io"
	"slices"
	"strings"
	"time"

	"wolfdisk/volume"
)

// The manifest is a block H, and for each entry, in the order of their first paths (see
// treeKey), a block E and behind it its lists, one element a block: P a path, B a path before
// the fork, X an extended attribute. Lists are in order.
const (
	blockHead   = 'H'
	blockEntry  = 'E'
	blockPath   = 'P'
	blockBefore = 'B'
	blockXattr  = 'X'
)

func (r *Record) encode() []byte {
	var e encoder
	e.string(r.ID)
	e.string(r.Kind)
	e.time(volume.TimeOf(r.Created))
	e.fixed(r.Volume[:])
	e.string(r.Node)
	e.string(r.Winner)
	e.string(r.Why)
	e.uint(uint64(r.Common))
	e.position(r.Mine)
	e.position(r.Theirs)
	e.lineage(r.MineLineage)
	e.lineage(r.TheirsLineage)
	e.uint(uint64(r.OpsFrom))
	e.bool(r.Lean)
	return e.b
}

func decodeHead(b []byte) (*Record, bool) {
	d := decoder{b: b}
	r := &Record{ID: d.string(), Kind: d.string()}
	r.Created = d.time().Std()
	r.Volume = volume.ID(d.fixed(len(r.Volume)))
	r.Node, r.Winner, r.Why = d.string(), d.string(), d.string()
	r.Common = volume.Version(d.uint())
	r.Mine, r.Theirs = d.position(), d.position()
	r.MineLineage, r.TheirsLineage = d.lineage(), d.lineage()
	r.OpsFrom = volume.Version(d.uint())
	r.Lean = d.bool()
	return r, d.end() && CheckID(r.ID) == nil && (r.Kind == KindFork || r.Kind == KindEdits)
}

// now is the time to the precision that the format keeps.
func now() time.Time { return volume.TimeOf(time.Now()).Std() }

// put writes an entry. Its own block says how many follow it.
func (e *Entry) put(w *blockWriter) error {
	var c encoder
	c.uint(uint64(len(e.Paths)))
	c.uint(uint64(len(e.Before)))
	c.uint(uint64(len(e.Xattrs)))
	c.uint(uint64(e.Ino))
	c.uint(uint64(e.What))
	for _, v := range [...]uint64{uint64(e.First), uint64(e.Last), e.Ops} {
		c.uint(v)
	}
	c.bool(e.Known)
	if e.Known {
		c.attr(&e.Attr)
		c.string(e.Target)
	}
	c.uint(uint64(e.Form))
	if e.Form != NoContent {
		for _, v := range [...]uint64{e.Bytes, e.BaseBytes, e.Unreadable, uint64(e.at), uint64(e.end)} {
			c.uint(v)
		}
	}
	if err := w.block(blockEntry, c.b); err != nil {
		return err
	}
	for _, p := range e.Paths {
		w.block(blockPath, []byte(p))
	}
	for _, p := range e.Before {
		w.block(blockBefore, []byte(p))
	}
	for _, x := range e.Xattrs {
		var c encoder
		c.string(x.Name)
		c.bytes(x.Value)
		w.block(blockXattr, c.b)
	}
	return w.err // that of any of them
}

// decodeEntry reads an entry's own block, and how many paths, paths before and attributes
// follow.
func decodeEntry(b []byte) (e *Entry, lists [3]uint64, ok bool) {
	d := decoder{b: b}
	e = &Entry{}
	for i := range lists {
		lists[i] = d.uint()
	}
	e.Ino = volume.Ino(d.uint())
	e.What = What(d.most(uint64(whatAll)))
	e.First, e.Last, e.Ops = volume.Version(d.uint()), volume.Version(d.uint()), d.uint()
	if e.Known = d.bool(); e.Known {
		d.attr(&e.Attr)
		e.Attr.Ino = e.Ino
		e.Target = d.string()
	}
	e.Form = Form(d.most(uint64(Ranges)))
	if e.Form != NoContent {
		e.Bytes, e.BaseBytes, e.Unreadable = d.uint(), d.uint(), d.uint()
		e.at, e.end = d.size(), d.size()
	}
	ok = d.end() && e.at <= e.end && (e.Form == NoContent || e.Known && e.Attr.IsFile()) && (e.Attr.Type() != volume.ModeLink || e.Target != "")
	return e, lists, ok
}

// checkPath says whether a path of a record can be one: restoring never leaves the place it
// restores to.
func checkPath(p string) bool {
	if p == "." {
		return true
	}
	for name := range strings.SplitSeq(p, "/") {
		if volume.CheckName(name) != nil {
			return false
		}
	}
	return true
}

// readEntry reads the next entry with all that belongs to it; io.EOF behind the last.
func readEntry(r *blockReader) (*Entry, error) {
	at := r.off
	kind, b, err := r.next()
	if err != nil {
		return nil, err
	}
	bad := func() (*Entry, error) { return nil, damage(r.name, "the entry at %d makes no sense", at) }
	if kind != blockEntry {
		return bad()
	}
	e, lists, ok := decodeEntry(b)
	if !ok {
		return bad()
	}
	for i, kind := range []byte{blockPath, blockBefore, blockXattr} {
		for range lists[i] {
			k, b, err := r.next()
			switch {
			case err == io.EOF:
				return bad()
			case err != nil:
				return nil, err
			case k != kind || !e.add(k, b):
				return bad()
			}
		}
	}
	return e, nil
}

// add adds an element of a list, which comes behind those before it.
func (e *Entry) add(kind byte, b []byte) bool {
	if kind == blockXattr {
		d := decoder{b: b}
		x := volume.Xattr{Name: d.string(), Value: slices.Clone(d.bytes())}
		n := len(e.Xattrs)
		e.Xattrs = append(e.Xattrs, x)
		return d.end() && e.Known && x.Name != "" && (n == 0 || e.Xattrs[n-1].Name < x.Name)
	}
	list := &e.Paths
	if kind == blockBefore {
		list = &e.Before
	}
	n := len(*list)
	*list = append(*list, string(b))
	return checkPath(string(b)) && (n == 0 || (*list)[n-1] < string(b))
}

// treeKey orders paths so that a directory comes right before all that is in it. Names
// hold neither '/' nor NUL.
func treeKey(path string) string {
	if path == "." {
		return ""
	}
	return strings.ReplaceAll(path, "/", "\x00")
}
