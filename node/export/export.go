package export

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"

	"github.com/rs/zerolog"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// Own is the folder of an unfinished export, or of one that leaves its record.
const Own = ".wolfdisk-export"

const (
	recordName = "record"
	tmpName    = "tmp"
	// lostFound is in the root of every new ext4.
	lostFound = "lost+found"
)

// Tree is the volume at one version.
type Tree interface {
	volume.View
	// ByName walks a directory in the order of names.
	ByName(dir volume.Ino, fn func(volume.DirEntry) error) error
}

// Content reads regular files as of the tree's version.
type Content interface {
	ReadAt(ctx context.Context, attr *volume.Attr, p []byte, off int64, view volume.View) (int, error)
	Seek(ctx context.Context, attr *volume.Attr, off int64, hole bool, view volume.View) (int64, error)
}

// Options say what is exported, and where to.
type Options struct {
	Dir     string // exists
	Volume  volume.ID
	Version volume.Version
	Tree    Tree
	Content Content
	Jobs    int  // files written at a time
	Keep    bool // leave the record, for a later export to go by
	NoSync  bool // make nothing durable, for tests that export very often
	Log     zerolog.Logger
	// Check is asked whether the open directory may be written to.
	Check func(*hostdir.Plain) error
	// Progress is told of what was done. It is called concurrently.
	Progress func(files, bytes uint64, path string)
	// Tell is told of every note, by the goroutine that runs the export.
	Tell func(Note) error
	// Tick is called now and then by the same goroutine.
	Tick func() error
}

// Kinds of notes.
const (
	Failed  = "failed"  // could not be read, and is absent or older in the export
	Refused = "refused" // the file system does not take it, or something of it
	Left    = "left"    // was not made by the export and is left alone
)

// Note is something about one path that somebody should know.
type Note struct {
	Kind, Path, Text string
}

// Result counts what an export did.
type Result struct {
	Version volume.Version
	// Written and Kept are names other than of directories: made now, or in place already.
	Folders, Written, Kept, Removed uint64
	Bytes                           uint64 // of content, written now
	Failed, Refused, Left           uint64 // notes
}

// exporter is one run.
type exporter struct {
	Options
	ctx   context.Context
	plain *hostdir.Plain
	root  *hostdir.PlainFolder
	own   *hostdir.PlainFolder
	tmp   *hostdir.PlainFolder
	rec   *record
	res   Result

	batch      []*object
	batchBytes int64
	// first is where an inode with several names has its first one, until all are seen.
	first map[volume.Ino]*firstName
	// unsure are paths that must not be recorded as done.
	unsure map[pathKey]bool
	// lost are inodes with several names that could not be written; true if the file
	// system does not have what they are.
	lost map[volume.Ino]bool
	// rootRefused says that it was told what the file system does not take of the root.
	rootRefused bool
}

// Run exports until it is done, fails, or ctx ends. What it has done by then is kept for
// the next run.
func Run(ctx context.Context, o Options) (res Result, err error) {
	e := &exporter{Options: o, ctx: ctx, first: map[volume.Ino]*firstName{}, unsure: map[pathKey]bool{}, lost: map[volume.Ino]bool{}}
	e.res.Version = o.Version
	defer func() {
		err = e.explain(errors.Join(err, e.close()))
		res = e.res
	}()
	if err := e.open(); err != nil {
		return e.res, err
	}
	e.rec.put(entryBegin, pathKey{}, uint64(o.Version), 0)
	if err := e.rec.flush(true); err != nil {
		return e.res, err
	}
	err = e.write()
	if err == nil {
		err = e.finish()
	}
	return e.res, err
}

func (e *exporter) write() error {
	err := e.walk(e.root, volume.RootIno, "")
	if err == nil {
		err = e.flush()
	}
	// What was finished is noted whatever happened to the rest.
	return errors.Join(err, e.rec.flush(true))
}

// open takes the directory, which must be empty or hold an export of this volume.
func (e *exporter) open() (err error) {
	if _, err := e.Tree.Entry(volume.RootIno, Own); err == nil || volume.KindOf(err) != volume.NotFound {
		if err == nil {
			err = volume.Errorf(volume.Exists, "the volume holds %s at its root, which an export needs for itself: rename it", Own)
		}
		return err
	}
	if e.plain, err = hostdir.OpenPlain(e.Dir, e.Log); err != nil {
		return err
	}
	if e.Check != nil {
		if err := e.Check(e.plain); err != nil {
			return err
		}
	}
	if e.root, err = e.plain.Root(); err != nil {
		return volume.Wrap(err, "open "+e.Dir)
	}
	if err := e.takeOwn(); err != nil {
		return err
	}
	return volume.Wrap(e.root.Shut(), "close "+e.Dir+" to others")
}

// takeOwn opens the folder with the record, or makes it in an empty directory.
func (e *exporter) takeOwn() (err error) {
	_, _, err = e.root.Stat(Own)
	if volume.KindOf(err) == volume.NotFound && err != nil {
		err = e.root.Names(func(name string) error {
			if name == lostFound {
				return nil
			}
			return volume.Errorf(volume.NotEmpty, "%s is not empty (%q is in it) and holds no unfinished export: choose an empty directory", e.Dir, name)
		})
		if err == nil {
			err = at(e.root.Mkdir(Own), "make", Own)
		}
	} else {
		err = at(err, "look at", Own)
	}
	if err != nil {
		return err
	}
	if e.own, err = e.root.Folder(Own); err != nil {
		return volume.Wrap(err, "open "+Own)
	}
	if e.rec, err = openRecord(filepath.Join(e.Dir, Own, recordName), e.Volume); err != nil {
		return err
	}
	e.rec.noSync = e.NoSync
	if err := e.own.Mkdir(tmpName); err != nil && volume.KindOf(err) != volume.Exists {
		return volume.Wrap(err, "make "+Own+"/"+tmpName)
	}
	if e.tmp, err = e.own.Folder(tmpName); err != nil {
		return volume.Wrap(err, "open "+Own+"/"+tmpName)
	}
	return e.emptyTmp()
}

func (e *exporter) emptyTmp() error {
	var names []string
	err := e.tmp.Names(func(name string) error {
		names = append(names, name)
		return nil
	})
	for _, name := range names {
		if err == nil {
			err = e.tmp.Remove(name, false)
		}
	}
	return volume.Wrap(err, "empty "+Own+"/"+tmpName)
}

// sync makes what was written durable.
func (e *exporter) sync() error {
	if e.NoSync {
		return nil
	}
	return e.plain.Sync()
}

func (e *exporter) close() error {
	var errs []error
	for _, o := range e.batch {
		errs = append(errs, o.folder.release())
	}
	if e.rec != nil {
		errs = append(errs, e.rec.close())
	}
	for _, f := range []*hostdir.PlainFolder{e.tmp, e.own, e.root} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if e.plain != nil {
		errs = append(errs, e.plain.Close())
	}
	return errors.Join(errs...)
}

// explain adds the way out.
func (e *exporter) explain(err error) error {
	if err == nil {
		return nil
	}
	if e.ctx.Err() != nil {
		return volume.Errorf(volume.Interrupted, "interrupted: the same command goes on where this one stopped (%w)", err)
	}
	switch volume.KindOf(err) {
	case volume.NoSpace, volume.Quota:
		return volume.Errorf(volume.KindOf(err), "no space left for %s: make room and give the same command again, it goes on where this one stopped (%w)", e.Dir, err)
	}
	return err
}

// note passes a note on and counts it.
func (e *exporter) note(kind, path, text string) error {
	switch kind {
	case Failed:
		e.res.Failed++
	case Refused:
		e.res.Refused++
	case Left:
		e.res.Left++
	}
	return e.Tell(Note{kind, path, text})
}

// at names what an error is about.
func at(err error, verb, path string) error {
	return volume.Wrap(err, verb+" "+strconv.Quote(path))
}
