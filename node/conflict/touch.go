package conflict

import (
	"encoding/binary"

	"wolfdisk/volume"
)

// From the ops two streams are made and sorted. One is of names:
//
//	directory 8, name, 0, number of the op 8 | inode that had the name before the op, 0 if none; 8
//
// (the first record of each name tells who had it at the common version), the other of inodes:
//
//	inode 8, tag 1, ...
//
// with, behind the tag, for tagHad and tagGot directory (8) and name, for tagTouch number (8)
// and a touch. big-endian, so that order is numeric order.
const (
	tagHad   = 1 // had this name at the common version
	tagGot   = 2 // got this name by an op
	tagTouch = 3
)

func be64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// touch is what one op did to one inode.
type touch struct {
	what     What
	version  volume.Version
	off, len int64 // with Content
	ops      uint64
}

// toucher turns ops into the two streams.
type toucher struct {
	names, inodes *sorter
	seq           uint64
	// gone are directories that were removed: the index no longer knows that they were
	// directories. over are inodes that were displaced by what is gone itself: if that was a
	// directory, so were they.
	gone map[volume.Ino]bool
	over map[volume.Ino]volume.Ino
	// typeOf is the type of an inode that the copy still has; false if it is gone.
	typeOf func(volume.Ino) (typ uint32, ok bool, err error)

	// last is kept back, since what follows often belongs to it: writes of one file.
	last    touch
	lastIno volume.Ino

	count uint64
}

func newToucher(names, inodes *sorter, typeOf func(volume.Ino) (uint32, bool, error)) *toucher {
	return &toucher{names: names, inodes: inodes, typeOf: typeOf, gone: map[volume.Ino]bool{}, over: map[volume.Ino]volume.Ino{}}
}

// wasDir reports whether an inode is a directory, or was one.
func (t *toucher) wasDir(ino volume.Ino) (bool, error) {
	for range maxDepth {
		if t.gone[ino] {
			return true, nil
		}
		typ, ok, err := t.typeOf(ino)
		if err != nil || ok {
			return typ == volume.ModeDir, err
		}
		if ino = t.over[ino]; ino == 0 {
			break
		}
	}
	return false, nil
}

// op notes one op.
func (t *toucher) op(op *volume.Op) error {
	t.count++
	v := op.Version
	at := func(ino volume.Ino, what What) error { return t.touch(ino, touch{what: what, version: v, ops: 1}) }
	switch op.Kind {
	case volume.OpCreate:
		return first(at(op.Ino, Created), t.given(op.Ino, op.Parent, op.Name, 0), at(op.Parent, Entries))
	case volume.OpLink:
		return first(at(op.Ino, Names), t.given(op.Ino, op.Parent, op.Name, 0), at(op.Parent, Entries))
	case volume.OpUnlink, volume.OpRmdir:
		if op.Kind == volume.OpRmdir {
			t.gone[op.Ino] = true
		}
		return first(at(op.Ino, Names|ends(op, true)), t.name(op.Parent, op.Name, op.Ino), at(op.Parent, Entries))
	case volume.OpRename:
		return t.rename(op)
	case volume.OpPublish:
		err := first(at(op.Ino, Names|Attributes|Xattrs), t.given(op.Ino, op.Parent, op.Name, op.Replaced), at(op.Parent, Entries))
		return first(err, at(op.Replaced, Names|ends(op, true)))
	case volume.OpSetAttr:
		return at(op.Ino, Attributes)
	case volume.OpSetXattr, volume.OpRemoveXattr:
		return at(op.Ino, Xattrs)
	case volume.OpEnd:
		return at(op.Ino, Ended)
	}
	if off, length, ok := op.ContentRange(); ok {
		return t.touch(op.Ino, touch{what: Content, version: v, off: off, len: length, ops: 1})
	}
	return nil // reigns and members
}

func (t *toucher) rename(op *volume.Op) error {
	exchange := op.Flags&volume.OpExchange != 0
	at := func(ino volume.Ino, what What) error {
		return t.touch(ino, touch{what: what, version: op.Version, ops: 1})
	}
	err := first(at(op.Ino, Names), t.name(op.Parent, op.Name, op.Ino), t.given(op.Ino, op.NewParent, op.NewName, op.Replaced))
	if op.Replaced != 0 {
		err = first(err, at(op.Replaced, Names|ends(op, !exchange)))
		if exchange {
			err = first(err, t.got(op.Replaced, op.Parent, op.Name))
		} else {
			if _, there, terr := t.typeOf(op.Ino); terr != nil || there {
				err = first(err, terr, t.displaced(op))
			} else {
				t.over[op.Replaced] = op.Ino
			}
		}
	}
	return first(err, at(op.Parent, Entries), at(op.NewParent, Entries))
}

// displaced notes that what was displaced by a directory was one.
func (t *toucher) displaced(op *volume.Op) error {
	dir, err := t.wasDir(op.Ino)
	if dir {
		t.gone[op.Replaced] = true
	}
	return err
}

func ends(op *volume.Op, may bool) What {
	if may && op.Flags&volume.OpEnds != 0 {
		return Ended
	}
	return 0
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// given notes that an inode got a name, which another may have had.
func (t *toucher) given(ino, dir volume.Ino, name string, had volume.Ino) error {
	if dir == 0 {
		return nil // it has none yet
	}
	return first(t.name(dir, name, had), t.got(ino, dir, name))
}

func (t *toucher) got(ino, dir volume.Ino, name string) error {
	return t.inodes.add(append(be64(append(be64(nil, uint64(ino)), tagGot), uint64(dir)), name...))
}

// name notes who had a name before an op.
func (t *toucher) name(dir volume.Ino, name string, had volume.Ino) error {
	t.seq++
	b := append(append(be64(make([]byte, 0, 25+len(name)), uint64(dir)), name...), 0)
	return t.names.add(be64(be64(b, t.seq), uint64(had)))
}

func (t *toucher) touch(ino volume.Ino, x touch) error {
	if ino == 0 {
		return nil
	}
	l := &t.last
	if ino == t.lastIno && l.what == Content && x.what == Content && x.off >= l.off && x.off <= l.off+l.len {
		l.len = max(l.len, x.off+x.len-l.off)
		l.version, l.ops = x.version, l.ops+1
		return nil
	}
	err := t.flush()
	t.last, t.lastIno = x, ino
	return err
}

func (t *toucher) flush() error {
	if t.lastIno == 0 {
		return nil
	}
	t.seq++
	e := encoder{be64(append(be64(make([]byte, 0, 40), uint64(t.lastIno)), tagTouch), t.seq)}
	e.uint(uint64(t.last.what))
	e.uint(uint64(t.last.version))
	e.uint(uint64(t.last.off))
	e.uint(uint64(t.last.len))
	e.uint(t.last.ops)
	t.lastIno = 0
	return t.inodes.add(e.b)
}

func decodeTouch(b []byte) (x touch, ok bool) {
	d := decoder{b: b}
	x = touch{what: What(d.uint()), version: volume.Version(d.uint()), off: d.size(), len: d.size(), ops: d.uint()}
	return x, d.end()
}

// had is called with each name that an op touched and the inode that had it before.
func (t *toucher) had(fn func(dir volume.Ino, name string, ino volume.Ino) error) error {
	var last []byte
	return t.names.each(func(rec []byte) error {
		key := rec[:len(rec)-16]
		if string(key) == string(last) {
			return nil
		}
		last = key
		ino := volume.Ino(binary.BigEndian.Uint64(rec[len(rec)-8:]))
		if ino == 0 {
			return nil
		}
		return fn(volume.Ino(binary.BigEndian.Uint64(key)), string(key[8:len(key)-1]), ino)
	})
}
