package conflict

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"github.com/zeebo/xxh3"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// EditsOptions say which edits are recorded. The directory must not change meanwhile.
type EditsOptions struct {
	Store  *Store
	Volume volume.ID
	Node   string // whose directory it is
	Winner string // whose state takes the place of the edits
	Why    string // for people
	// At is where the index of the directory is, and Theirs where the winner is.
	At, Theirs               volume.Position
	AtLineage, TheirsLineage volume.Lineage
	Tree                     *hostdir.Plain // Dir.Plain
	// Each calls fn with all differences between directory and index, as Dir.Check does.
	Each func(ctx context.Context, fn func(hostdir.Difference) error) error
	// Reserve, Progress: as in Options.
	Reserve  int64
	Progress func(entries, bytes uint64, path string)
	Log0     zerolog.Logger

	sortMemory int // for tests
}

// WriteEdits records what was changed in a real directory behind a node that does not lead:
// the present states of all that was edited, whole. What it promises is as of Write. The
// result has the ID "" if there are no edits. The same edits are not recorded again.
func WriteEdits(ctx context.Context, o EditsOptions) (Record, error) {
	rec := Record{
		ID: pendingEdits, Kind: KindEdits, Created: now(), Volume: o.Volume, Node: o.Node, Winner: o.Winner, Why: o.Why,
		Common: o.At.Version, Mine: o.At, Theirs: o.Theirs, MineLineage: o.AtLineage, TheirsLineage: o.TheirsLineage,
	}
	w, _, err := o.Store.begin(ctx, rec, writeOptions{0, o.Reserve, o.Progress, o.Log0, o.sortMemory})
	if err != nil {
		return Record{}, err
	}
	root, err := o.Tree.Root()
	if err != nil {
		o.Store.writing.Unlock()
		return Record{}, errors.Join(err, w.abandon())
	}
	e := &edits{writer: w, o: &o, lower: &lowerSource{chain: chain{root: root, read: true}}, hash: xxh3.New(), above: map[string]bool{}}
	w.src = e.lower
	rec, err = w.run(e.collect)
	if errors.Is(err, errStanding) {
		rec, err = recordOf(e.have), nil
	}
	return rec, errors.Join(err, e.lower.chain.close())
}

// pendingEdits is what edits are called until it is known what they are. No record has it.
const pendingEdits = "edits"

// errStanding ends the making of a record that is there already, or of an empty one.
var errStanding = errors.New("nothing to be recorded")

// edits finds what was edited.
type edits struct {
	*writer
	o       *EditsOptions
	lower   *lowerSource
	objects *sorter // lower inode 8, inode 8, what 4, name before 1, path
	hash    *xxh3.Hasher
	any     bool
	above   map[string]bool // directories above edits that have drafts
	have    *Record
}

func (e *edits) collect() (err error) {
	e.objects = newSorter(e.fs, e.path("sort-objects"), e.sortMemory)
	defer func() { err = errors.Join(err, e.objects.close()) }()
	if err := e.o.Each(e.ctx, e.difference); err != nil {
		return err
	}
	if !e.any {
		return errStanding
	}
	if err := e.group(); err != nil {
		return err
	}
	e.rec.ID = fmt.Sprintf("edits-%d-%016x", e.rec.Common, e.hash.Sum64())
	if e.have, err = e.store.standing(e.ctx, e.rec.ID); err == nil && e.have != nil {
		err = errStanding
	}
	return err
}

// note makes the ID one of just these edits. The times of access count for nothing: reading
// may have changed them.
func (e *edits) note(kind hostdir.DiffKind, path string, a *volume.Attr, lower uint64) {
	b := *a
	b.Atime = volume.Time{}
	fmt.Fprintf(e.hash, "%d %q %d %+v\n", kind, path, lower, b)
	e.any = true
}

func (e *edits) difference(d hostdir.Difference) error {
	path := d.Path
	if path == "" {
		path = "."
	}
	e.note(d.Kind, path, &d.Lower, d.LowerIno)
	what, before := Edited, true
	switch d.Kind {
	case hostdir.DiffMissing:
		x := draft{Entry: Entry{Before: []string{path}, Ino: d.Ino, What: Edited | Names}, source: uint64(d.Ino)}
		return first(e.parents(path), e.drafts.add(x.record()))
	case hostdir.DiffExtra:
		what, before = what|Created, false
	case hostdir.DiffType, hostdir.DiffReplaced:
		what |= Created
	case hostdir.DiffChanged:
		if d.Lower.IsFile() {
			what |= Content
		}
		if d.Fields&(hostdir.FieldMode|hostdir.FieldOwner|hostdir.FieldMtime) != 0 {
			what |= Attributes
		}
		if d.Fields&hostdir.FieldXattrs != 0 {
			what |= Xattrs
		}
	}
	if err := e.object(path, d.LowerIno, d.Ino, what, before); err != nil {
		return err
	}
	if d.Lower.IsDir() && (d.Kind == hostdir.DiffExtra || d.Kind == hostdir.DiffType) {
		return e.below(path) // a comparison does not look into what the index does not have
	}
	return nil
}

// object notes one name of a lower object.
func (e *edits) object(path string, lower uint64, ino volume.Ino, what What, before bool) error {
	b := be64(be64(make([]byte, 0, 21+len(path)), lower), uint64(ino))
	b = binary.BigEndian.AppendUint32(b, uint32(what))
	if before {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return first(e.parents(path), e.objects.add(append(b, path...)))
}

// below notes all that is in a new directory.
func (e *edits) below(path string) error {
	f, err := e.lower.chain.to(path)
	if err != nil {
		return at(err, "open", path)
	}
	var names []string
	err = f.Names(func(name string) error {
		names = append(names, name)
		return e.ctx.Err()
	})
	if err != nil {
		return at(err, "list", path)
	}
	for _, name := range names {
		p := inner(path, name)
		if f, err = e.lower.chain.to(path); err != nil {
			return at(err, "open", path)
		}
		a, lower, err := f.Stat(name)
		if err != nil {
			return at(err, "look at", p)
		}
		e.note(hostdir.DiffExtra, p, &a, lower)
		if err := e.object(p, lower, 0, Edited|Created, false); err != nil {
			return err
		}
		if a.IsDir() {
			if err := e.below(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// parents notes the directories above a path.
func (e *edits) parents(path string) error {
	for path != "." {
		path, _ = split(path)
		if e.above[path] {
			return nil
		}
		if len(e.above) >= maxPathsKept {
			clear(e.above) // more drafts of one directory do no harm
		}
		e.above[path] = true
		lower, err := e.lower.number(path)
		if err != nil {
			return at(err, "look at", path)
		}
		x := draft{Entry: Entry{Paths: []string{path}, What: Above}, source: lower}
		if err := e.add(&x); err != nil {
			return err
		}
	}
	return nil
}

// group makes one draft of all names of a lower object.
func (e *edits) group() error {
	var x *draft
	done := func() error {
		if x == nil {
			return nil
		}
		x.all = true
		if err := e.lower.fill(e.ctx, x); err != nil {
			return at(err, "read", x.Paths[0])
		}
		return e.add(x)
	}
	err := e.objects.each(func(b []byte) error {
		lower, ino := binary.BigEndian.Uint64(b), volume.Ino(binary.BigEndian.Uint64(b[8:]))
		path := string(b[21:])
		if x == nil || x.source != lower {
			if err := done(); err != nil {
				return err
			}
			x = &draft{source: lower}
		}
		x.Ino = max(x.Ino, ino)
		x.What |= What(binary.BigEndian.Uint32(b[16:]))
		x.Paths = addSorted(x.Paths, path)
		if b[20] == 1 {
			x.Before = addSorted(x.Before, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return done()
}
