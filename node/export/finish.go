package export

import (
	"errors"
	"path/filepath"
	"strings"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// finish gives directories their attributes, now that nothing in them changes any more,
// and ends the export: it is on disk before the record says so.
func (e *exporter) finish() error {
	var next *record
	if e.Keep && e.res.Failed == 0 {
		var err error
		if next, err = e.newRecord(); err != nil {
			return err
		}
		defer func() {
			if next != nil {
				next.close() // it is of no use any more
			}
		}()
	}
	if err := e.dressBelow(e.root, volume.RootIno, "", next); err != nil {
		return err
	}
	if err := e.sync(); err != nil {
		return err
	}
	if e.res.Failed > 0 {
		if err := e.dressRoot(); err != nil {
			return err
		}
		return errors.Join(e.sync(), volume.Errorf(volume.IO, "%d files could not be written, as listed; all else is in place: the same command tries them again", e.res.Failed))
	}
	e.rec.put(entryEnd, pathKey{}, uint64(e.Version), 0)
	if err := e.rec.flush(true); err != nil {
		return err
	}
	err := e.endOwn(next)
	next = nil
	if err == nil {
		err = e.dressRoot()
	}
	return errors.Join(err, e.sync())
}

// dressRoot opens the directory to others again. It comes last but for a sync.
func (e *exporter) dressRoot() error { return e.dress(e.root, volume.RootIno, "") }

// endOwn removes the folder of the export, or leaves nothing in it but a record of what
// is there now.
func (e *exporter) endOwn(next *record) error {
	if err := e.own.Remove(tmpName, true); err != nil {
		return at(err, "remove", Own+"/"+tmpName)
	}
	if next != nil {
		next.put(entryEnd, pathKey{}, uint64(e.Version), 0)
		if err := errors.Join(next.flush(true), next.close()); err != nil {
			return err
		}
		return at(e.own.Rename(newName, e.own, recordName), "publish", Own+"/"+recordName)
	}
	// The attributes before the folder goes: without it nobody could finish the job, and
	// only the times of the root may then be wrong.
	if err := e.dressRoot(); err != nil {
		return err
	}
	if err := e.own.Remove(recordName, false); err != nil {
		return at(err, "remove", Own+"/"+recordName)
	}
	return at(e.root.Remove(Own, true), "remove", Own)
}

const newName = "record.new"

// newRecord begins the record that is to stay.
func (e *exporter) newRecord() (*record, error) {
	if err := e.own.Remove(newName, false); err != nil && volume.KindOf(err) != volume.NotFound {
		return nil, at(err, "remove", Own+"/"+newName)
	}
	r, err := openRecord(filepath.Join(e.Dir, Own, newName), e.Volume)
	if err == nil {
		r.put(entryBegin, pathKey{}, uint64(e.Version), 0)
	}
	return r, err
}

// dressBelow dresses all directories below one, the deepest first, and records all
// names if there is a record to be made.
func (e *exporter) dressBelow(f *hostdir.PlainFolder, ino volume.Ino, path string, next *record) error {
	var subdirs []volume.DirEntry
	err := e.Tree.ByName(ino, func(d volume.DirEntry) error {
		if err := e.pause(); err != nil {
			return err
		}
		if d.Type == volume.ModeDir {
			subdirs = append(subdirs, d)
		}
		return e.again(d, inner(path, d.Name), next)
	})
	if err != nil {
		return err
	}
	for _, d := range subdirs {
		below := inner(path, d.Name)
		sub, err := f.Folder(d.Name)
		if err != nil {
			return at(err, "open directory", below)
		}
		err = e.dressBelow(sub, d.Ino, below, next)
		if err == nil {
			err = e.dress(sub, d.Ino, below)
		}
		if err = errors.Join(err, sub.Close()); err != nil {
			return err
		}
		e.Progress(1, 0, below)
	}
	return nil
}

// recordBatch is how much of a record is gathered before it is written, in bytes.
const recordBatch = 1 << 20

// again records a name in the record that is to stay.
func (e *exporter) again(d volume.DirEntry, path string, next *record) error {
	key := keyOf(path)
	if next == nil {
		return nil
	}
	if e.unsure[key] {
		next.put(entryIntent, key, 0, 0) // ours, and to be written again
	} else {
		a, err := e.Tree.Inode(d.Ino)
		if err != nil {
			return at(err, "look up", path)
		}
		next.put(entryDone, key, uint64(d.Ino), uint64(a.Version))
	}
	if len(next.buf) < recordBatch {
		return nil
	}
	return next.flush(false)
}

func (e *exporter) dress(f *hostdir.PlainFolder, ino volume.Ino, path string) error {
	attr, err := e.Tree.Inode(ino)
	if err != nil {
		return at(err, "look up", path)
	}
	refused, err := f.Dress(".", &attr, e.Tree)
	if err != nil {
		return at(err, "set attributes of", path)
	}
	if ino == volume.RootIno { // dressed more than once
		if e.rootRefused {
			return nil
		}
		e.rootRefused = len(refused) > 0
	}
	if len(refused) > 0 {
		return e.note(Refused, path, strings.Join(refused, ", "))
	}
	return nil
}
