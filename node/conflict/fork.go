package conflict

import (
	"encoding/binary"
	"errors"

	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// blockFrame is a block of the file of ops: a frame of the log, byte for byte. The first may
// begin with ops of the common history.
const blockFrame = 'F'

// fork finds what the losing suffix has changed.
type fork struct {
	*writer
	o     *Options
	paths *paths
	touch *toucher

	names, inodes *sorter
	transient     uint64
}

func (f *fork) collect() (err error) {
	f.names = newSorter(f.fs, f.path("sort-names"), f.sortMemory)
	f.inodes = newSorter(f.fs, f.path("sort-inodes"), f.sortMemory)
	defer func() { err = errors.Join(err, f.names.close(), f.inodes.close()) }()
	f.touch = newToucher(f.names, f.inodes, func(ino volume.Ino) (uint32, bool, error) {
		a, err := f.o.Copy.GetAttr(f.ctx, ino)
		if errors.Is(err, volume.Stale) {
			return 0, false, nil
		}
		return a.Type(), err == nil, err
	})
	f.paths = newPaths(f.o.Copy, f.above)
	if err := f.log(); err != nil {
		return err
	}
	if !f.rec.OpsComplete() {
		if err := f.index(); err != nil {
			return err
		}
	}
	if err := f.before(); err != nil {
		return err
	}
	if err := f.above(volume.RootIno, "."); err != nil {
		return err
	}
	if err := f.objects(); err != nil {
		return err
	}
	f.rec.Ops, f.rec.Transient = f.touch.count, f.transient
	return nil
}

// above notes a directory above something. If it was changed itself, there is another draft
// of it, which counts.
func (f *fork) above(ino volume.Ino, path string) error {
	d := draft{Entry: Entry{Ino: ino, Paths: []string{path}, What: Above}, source: uint64(ino)}
	return f.add(&d)
}

// log copies the frames of the suffix and notes what their ops did.
func (f *fork) log() error {
	if f.o.Log == nil {
		return nil
	}
	from := max(f.o.Common+1, f.o.Log.First())
	if from > f.o.Mine.Version || f.o.Log.Last().Version < f.o.Mine.Version {
		return nil // an empty log, or one that is behind its index
	}
	if err := f.fits(f.o.Log.BytesAfter(from - 1)); err != nil {
		return err
	}
	r, err := f.o.Log.Reader(from)
	if err != nil {
		return volume.Wrap(err, "read the log")
	}
	defer r.Close()
	f.rec.OpsFrom = from
	for from <= f.o.Mine.Version {
		fr, err := r.Next(f.ctx)
		if err != nil {
			return volume.Wrap(err, "read the log")
		}
		_, ops, err := oplog.DecodeFrame(fr.Bytes)
		if err != nil {
			return volume.Wrap(err, "read the log")
		}
		if err := f.ops.block(blockFrame, fr.Bytes); err != nil {
			return err
		}
		for _, op := range ops {
			if op.Version < from || op.Version > f.o.Mine.Version {
				continue
			}
			if err := f.touch.op(op); err != nil {
				return err
			}
		}
		from = fr.Last + 1
	}
	return f.touch.flush()
}

// index finds what was changed by ops that the log no longer has: inodes with later versions,
// and names that later ops made.
func (f *fork) index() error {
	if f.o.Inodes == nil {
		return volume.Errorf(volume.TooOld, "the log does not reach back to version %d, and there is no index to ask", f.o.Common+1)
	}
	var failed error
	err := f.o.Inodes.Inodes(0, func(a volume.Attr) bool {
		if a.Version > f.o.Common {
			failed = f.touch.touch(a.Ino, touch{what: Found, version: a.Version})
		}
		if failed == nil && a.Version > f.o.Common && a.IsDir() {
			failed = f.entriesOf(a.Ino)
		}
		if failed == nil {
			failed = f.ctx.Err()
		}
		return failed == nil
	})
	return errors.Join(err, failed, f.touch.flush())
}

// entriesOf notes the names in a directory that are newer than the common version.
func (f *fork) entriesOf(dir volume.Ino) error {
	var failed error
	after := volume.EntryCookie(f.o.Common, true)
	err := f.o.Copy.ReadDir(f.ctx, dir, after, func(d volume.DirEntry) bool {
		failed = first(f.touch.got(d.Ino, dir, d.Name), f.touch.touch(d.Ino, touch{what: Names}))
		return failed == nil
	})
	if errors.Is(err, volume.NotFound) || errors.Is(err, volume.Stale) {
		err = nil // it has no names any more
	}
	return errors.Join(err, failed)
}

// before turns the stream of names into what each inode was called.
func (f *fork) before() error {
	return f.touch.had(func(dir volume.Ino, name string, ino volume.Ino) error {
		was, err := f.touch.wasDir(ino)
		if err != nil {
			return err
		}
		if was {
			f.paths.before[ino] = volume.NameRef{Parent: dir, Name: name}
		}
		return f.inodes.add(append(be64(append(be64(nil, uint64(ino)), tagHad), uint64(dir)), name...))
	})
}

// object is what the stream of inodes says of one.
type object struct {
	draft
	had, got []volume.NameRef
	set      rangeSet
}

// objects turns the stream of inodes into drafts.
func (f *fork) objects() error {
	var x *object
	err := f.inodes.each(func(rec []byte) error {
		ino := volume.Ino(binary.BigEndian.Uint64(rec))
		if x == nil || x.Ino != ino {
			if err := f.object(x); err != nil {
				return err
			}
			x = &object{}
			x.Ino, x.source = ino, uint64(ino)
		}
		if !x.take(rec[8], rec[9:]) {
			return volume.Errorf(volume.Corrupt, "a file of the unfinished record was changed while it was written")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.object(x)
}

// take adds one record of the stream.
func (x *object) take(tag byte, b []byte) bool {
	if tag == tagTouch {
		t, ok := decodeTouch(b[8:])
		x.What |= t.what
		x.Ops += t.ops
		if t.what&Content != 0 {
			x.set.add(t.off, t.len)
		}
		if t.ops > 0 {
			if x.First == 0 || t.version < x.First {
				x.First = t.version
			}
			x.Last = max(x.Last, t.version)
		}
		return ok
	}
	ref := volume.NameRef{Parent: volume.Ino(binary.BigEndian.Uint64(b)), Name: string(b[8:])}
	if tag == tagHad {
		x.had = append(x.had, ref)
	} else {
		x.got = append(x.got, ref)
	}
	return true
}

// object makes the draft of one inode.
func (f *fork) object(x *object) error {
	if x == nil {
		return nil
	}
	if err := f.ctx.Err(); err != nil {
		return err
	}
	if err := f.src.fill(f.ctx, &x.draft); err != nil {
		return volume.Wrap(err, "read inode "+x.Ino.String())
	}
	if err := f.called(x); err != nil {
		return err
	}
	if !x.Known && len(x.Before) == 0 {
		f.transient++
		return nil
	}
	x.ranges = x.set.settle()
	x.all = x.What&(Created|Found) != 0
	return f.add(&x.draft)
}

// called finds the names of an inode, now and before.
func (f *fork) called(x *object) (err error) {
	if x.Ino == volume.RootIno {
		x.Paths, x.Before = []string{"."}, []string{"."}
		return nil
	}
	refs, err := f.o.Copy.Names(x.Ino)
	if err != nil {
		return err
	}
	if x.Paths, err = f.paths.names(refs, false); err != nil {
		return err
	}
	if !f.rec.OpsComplete() {
		// Which of the present names are old is not known; those that known ops took are.
		x.Before, err = f.paths.names(x.had, true)
		return err
	}
	fresh := make(map[volume.NameRef]bool, len(x.got))
	for _, r := range x.got {
		fresh[r] = true
	}
	old := x.had
	for _, r := range refs {
		if !fresh[r] {
			old = append(old, r)
		}
	}
	x.Before, err = f.paths.names(old, true)
	return err
}
