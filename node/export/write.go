package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

const (
	// batchNames and batchBytes bound what is done between two syncs, and what an
	// interruption can make necessary to do again.
	batchNames = 4096
	batchBytes = 1 << 30
	// copyBuffer is what is read at a time, in bytes: some packs decode blocks of it.
	copyBuffer = 1 << 20
	// tickEvery is how often the asker hears how far an export is.
	tickEvery = time.Second
)

// object is one name to be made.
type object struct {
	folder *folder
	name   string
	path   string
	key    pathKey
	attr   volume.Attr
	link   string // the path of the inode's first name, if this is a further one

	refused []string
	absent  bool  // the file system does not have what this is
	unread  error // the content cannot be had, or the inode not be made
	err     error // the export cannot go on
	done    bool
}

// add puts an object into the batch, and does the batch when it is full.
func (e *exporter) add(o *object) error {
	o.folder.refs++
	e.batch = append(e.batch, o)
	e.batchBytes += size(&o.attr)
	if len(e.batch) < batchNames && e.batchBytes < batchBytes {
		return nil
	}
	return e.flush()
}

// flush does the batch. What of it was finished counts, whatever happened to the rest.
func (e *exporter) flush() error {
	batch := e.batch
	e.batch, e.batchBytes = nil, 0
	if len(batch) == 0 {
		return nil
	}
	defer func() {
		for _, o := range batch {
			o.folder.release() // opened for reading: nothing is lost with it
		}
	}()
	for _, o := range batch {
		e.rec.put(entryIntent, o.key, 0, 0)
	}
	if err := e.rec.flush(true); err != nil {
		return err
	}
	err := e.makeAll(batch)
	if serr := e.sync(); serr != nil {
		return errors.Join(err, serr)
	}
	for _, o := range batch {
		if ferr := e.finished(o); err == nil {
			err = ferr
		}
	}
	return err
}

// finished notes what became of an object.
func (e *exporter) finished(o *object) error {
	switch {
	case o.unread != nil:
		e.unsure[o.key] = true
		if o.absent {
			return e.note(Refused, o.path, o.unread.Error())
		}
		return e.note(Failed, o.path, o.unread.Error())
	case !o.done:
		return nil
	}
	e.res.Written++
	if o.link == "" {
		e.res.Bytes += uint64(size(&o.attr))
	}
	if len(o.refused) > 0 {
		// Not recorded: the reason may have been a full disk, so the next run tries again.
		e.unsure[o.key] = true
		return e.note(Refused, o.path, strings.Join(o.refused, ", "))
	}
	e.rec.put(entryDone, o.key, uint64(o.attr.Ino), uint64(o.attr.Version))
	return nil
}

// makeAll makes the objects of a batch: inodes by several workers, then further names.
func (e *exporter) makeAll(batch []*object) error {
	jobs, results := make(chan *object), make(chan *object)
	workers := max(1, min(e.Jobs, len(batch)))
	for n := range workers {
		go func() {
			buf := make([]byte, copyBuffer)
			for o := range jobs {
				o.err = e.make(o, fmt.Sprint(n), buf)
				results <- o
			}
		}()
	}
	err := e.hand(batch, jobs, results)
	close(jobs)
	for _, o := range batch {
		if o.unread != nil && o.attr.Nlink > 1 {
			e.lost[o.attr.Ino] = o.absent
		}
	}
	for _, o := range batch {
		if err == nil && o.link != "" {
			if err = e.ctx.Err(); err == nil {
				err = at(e.makeLink(o), "write", o.path)
			}
		}
	}
	return err
}

// hand gives the workers the inodes of a batch and waits until they have done what they took. After
// a failure, or when ctx ends, they get no more.
func (e *exporter) hand(batch []*object, jobs chan<- *object, results <-chan *object) (err error) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	next, busy := 0, 0
	for {
		for next < len(batch) && batch[next].link != "" {
			next++
		}
		to := jobs
		var o *object
		if err != nil || next == len(batch) {
			to = nil
		} else {
			o = batch[next]
		}
		if to == nil && busy == 0 {
			return err
		}
		done := e.ctx.Done()
		if err != nil {
			done = nil
		}
		select {
		case to <- o:
			next++
			busy++
		case r := <-results:
			busy--
			if r.err != nil && err == nil {
				err = at(r.err, "write", r.path)
			}
		case <-tick.C:
			if terr := e.Tick(); err == nil {
				err = terr
			}
		case <-done:
			err = e.ctx.Err()
		}
	}
}

// make makes one inode beside its place and renames it there.
func (e *exporter) make(o *object, tmp string, buf []byte) (err error) {
	if o.attr.IsFile() {
		err = e.makeFile(o, tmp, buf)
	} else {
		err = e.makeOther(o, tmp)
	}
	if err == nil && o.unread == nil {
		o.refused, err = e.tmp.Dress(tmp, &o.attr, e.Tree)
	}
	if err == nil && o.unread == nil {
		err = e.tmp.Rename(tmp, o.folder.PlainFolder, o.name)
	}
	if err != nil || o.unread != nil {
		rerr := e.tmp.Remove(tmp, false)
		if rerr != nil && volume.KindOf(rerr) != volume.NotFound {
			err = errors.Join(err, rerr)
		}
		return err
	}
	o.done = true
	e.Progress(1, 0, o.path)
	return nil
}

func (e *exporter) makeOther(o *object, tmp string) error {
	target := ""
	if o.attr.Type() == volume.ModeLink {
		var err error
		if target, err = e.Tree.Target(o.attr.Ino); err != nil {
			return err
		}
	}
	err := e.tmp.Make(tmp, &o.attr, target)
	if volume.KindOf(err) == volume.Unsupported && err != nil {
		o.unread, o.absent, err = err, true, nil
	}
	return err
}

func (e *exporter) makeFile(o *object, tmp string, buf []byte) error {
	f, err := e.tmp.Create(tmp)
	if err != nil {
		return err
	}
	err = e.copy(o, f, buf)
	if err == nil && o.unread == nil {
		err = f.Truncate(o.attr.Size)
	}
	if err != nil && volume.KindOf(err) == volume.TooBig {
		o.unread, o.absent, err = err, true, nil
	}
	return errors.Join(err, f.Close())
}

// copy copies content and leaves the holes.
func (e *exporter) copy(o *object, f *os.File, buf []byte) error {
	a := &o.attr
	for off := int64(0); off < a.Size; {
		from, err := e.Content.Seek(e.ctx, a, off, false, e.Tree)
		if volume.KindOf(err) == volume.NotSeekable && err != nil {
			return nil // the rest is a hole
		}
		if err == nil {
			off, err = e.Content.Seek(e.ctx, a, from, true, e.Tree)
		}
		if err == nil && (off <= from || off > a.Size) {
			err = volume.Errorf(volume.Corrupt, "data from %d to %d of %d bytes", from, off, a.Size)
		}
		if err != nil {
			return e.unreadable(o, err)
		}
		for from < off {
			p := buf[:min(int64(len(buf)), off-from)]
			n, err := e.Content.ReadAt(e.ctx, a, p, from, e.Tree)
			if err == nil && n < len(p) {
				err = volume.Errorf(volume.Corrupt, "the content ends at %d, not at %d", from+int64(n), a.Size)
			}
			if err != nil {
				return e.unreadable(o, err)
			}
			if _, err := f.WriteAt(p, from); err != nil {
				return err
			}
			from += int64(n)
			e.Progress(0, uint64(n), o.path)
		}
	}
	return nil
}

// unreadable notes that a file's content cannot be had. The rest is exported all the same:
// whoever exports from a damaged disk needs what is left.
func (e *exporter) unreadable(o *object, err error) error {
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	if volume.KindOf(err) == volume.Closed {
		return err // another copy of the volume has taken this one's place
	}
	o.unread = err
	return nil
}

// makeLink gives an inode a further name. Its first name is in place, unless its
// content could not be read.
func (e *exporter) makeLink(o *object) error {
	if absent, lost := e.lost[o.attr.Ino]; lost {
		o.absent = absent
		o.unread = volume.Errorf(volume.Missing, "a further name of %q, which could not be written", o.link)
		return nil
	}
	dir, name, err := e.reach(o.link)
	if err != nil {
		return err
	}
	defer dir.Close()
	const tmp = "link"
	err = dir.Link(name, e.tmp, tmp)
	if err == nil {
		err = e.tmp.Rename(tmp, o.folder.PlainFolder, o.name)
	}
	// Where a run that was killed has put the name already, rename(2) finds two names of one file
	// and leaves both.
	if err == nil {
		if err = e.tmp.Remove(tmp, false); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		o.done = true
		e.Progress(1, uint64(size(&o.attr)), o.path)
	}
	return err
}

// reach opens the directory of a path of the export.
func (e *exporter) reach(path string) (*hostdir.PlainFolder, string, error) {
	dir, err := e.plain.Root()
	for err == nil {
		name, rest, more := strings.Cut(path, "/")
		if !more {
			return dir, name, nil
		}
		var sub *hostdir.PlainFolder
		sub, err = dir.Folder(name)
		dir.Close() // opened for reading
		dir, path = sub, rest
	}
	return nil, "", err
}
