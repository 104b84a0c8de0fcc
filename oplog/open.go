package oplog

import (
	"errors"
	"sort"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// Recovery says what Open found.
type Recovery struct {
	Last    volume.Position
	First   volume.Version
	Created bool // there was no log
	Cut     *Cut // nil if the log ended cleanly
}

// Cut describes what recovery took off the end of the log.
type Cut struct {
	Segment uint64          // where the damage is: the segment's first version
	Offset  int64           // in its file, bytes
	Bytes   int64           // what was taken off, without the zeros at its end
	Kept    volume.Position // the last op before it
	Durable volume.Version  // what was known to have been durable; beyond Kept only with AllowCut
	Err     error           // what is wrong there: Corrupt, with a DamageError
	Paths   []string        // the files that the bytes were kept in
}

const (
	resetName = "reset"
	tmpSuffix = ".tmp"
	cutPrefix = "cut-"
)

// Open opens the log in a directory, or begins one. It cuts a torn tail and says
// so; it refuses (Corrupt) to cut what was acknowledged as durable.
func Open(opts Options) (*Log, *Recovery, error) {
	if err := opts.fill(); err != nil {
		return nil, nil, err
	}
	comp, err := newCompressor(opts.Compress)
	if err != nil {
		return nil, nil, volume.Wrap(err, "oplog "+opts.Dir)
	}
	l := &Log{
		opts: opts, fs: opts.FS, log: opts.Log, comp: comp, enc: volume.NewEncoder(),
		mending: mending{slot: make(chan struct{}, 1)},
		cache:   newPayloadCache(opts.CacheBytes), ring: ring{max: opts.TailBytes}, cachedTail: defaultCachedTail,
	}
	o := &opener{l: l}
	if err := o.open(); err != nil {
		err = volume.Wrap(err, "open oplog "+opts.Dir)
		return nil, nil, errors.Join(err, o.abandon())
	}
	if opts.SyncEvery > 0 {
		l.wake, l.stop, l.stopped = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
		go l.run()
	}
	rec := &Recovery{Last: l.last, First: l.segs[0].head.first, Created: o.created, Cut: o.cut}
	if o.cut != nil {
		l.log.Warn().Err(o.cut.Err).Int64("bytes", o.cut.Bytes).Strs("kept_in", o.cut.Paths).Stringer("last", o.cut.Kept).
			Msg("oplog: cut a torn tail that nobody was told was durable")
	}
	return l, rec, nil
}

// opener is the state of one Open.
type opener struct {
	l       *Log
	segs    []*found
	created bool
	cut     *Cut
	marked  durableMark
}

// found is a segment file that was found.
type found struct {
	*segment
	name    volume.Version // by its file name
	headErr error          // damage of the header
	scanned bool           // every frame was read and checked
	length  int64          // of the file, bytes
}

func (o *opener) open() error {
	l := o.l
	if err := o.makeDir(); err != nil {
		return err
	}
	var err error
	if l.dir, err = l.fs.OpenDir(l.opts.Dir); err != nil {
		return volume.Errorf(ioKind(err), "open directory: %w", err)
	}
	if err := l.openMark(); err != nil {
		return err
	}
	if err := o.clean(); err != nil {
		return err
	}
	o.marked, l.own = l.marked, l.marked.own
	if err := o.readHeads(); err != nil {
		return err
	}
	if len(o.segs) == 0 {
		if err := o.begin(); err != nil {
			return err
		}
	} else if err := o.recover(); err != nil {
		return err
	}
	return o.settle()
}

// makeDir makes the directory, and its name durable: also if it is there, for an
// earlier attempt may have failed in between.
func (o *opener) makeDir() error {
	l := o.l
	if err := l.fs.MkdirAll(l.opts.Dir, 0o700); err != nil {
		return volume.Errorf(ioKind(err), "make directory: %w", err)
	}
	return syncDir(l.fs, l.fs.PathDir(l.opts.Dir))
}

func syncDir(in vfs.FS, path string) error {
	d, err := in.OpenDir(path)
	if err != nil {
		return volume.Errorf(ioKind(err), "open directory %s: %w", path, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return volume.Errorf(ioKind(err), "sync directory %s: %w", path, err)
	}
	return nil
}

// clean removes what a crash left half made, and ends a reset that was begun.
func (o *opener) clean() error {
	l := o.l
	names, err := l.fs.List(l.opts.Dir)
	if err != nil {
		return volume.Errorf(ioKind(err), "list: %w", err)
	}
	sort.Strings(names)
	reset := false
	for _, name := range names {
		_, isSegment := parseSegmentName(name)
		switch {
		case name == resetName:
			reset = true
		case name == spareName, strings.HasSuffix(name, tmpSuffix):
			if err := l.fs.Remove(l.fs.PathJoin(l.opts.Dir, name)); err != nil {
				return volume.Errorf(ioKind(err), "remove %s: %w", name, err)
			}
		case isSegment, name == markName, strings.HasPrefix(name, cutPrefix):
		default:
			l.log.Warn().Str("file", name).Str("dir", l.opts.Dir).Msg("oplog: a file that does not belong here is left alone")
		}
	}
	if reset {
		return l.finishReset()
	}
	return nil
}

// readHeads reads the header of every segment.
func (o *opener) readHeads() error {
	l := o.l
	names, err := l.fs.List(l.opts.Dir)
	if err != nil {
		return volume.Errorf(ioKind(err), "list: %w", err)
	}
	for _, name := range names {
		if v, ok := parseSegmentName(name); ok {
			o.segs = append(o.segs, &found{name: v, segment: &segment{path: l.fs.PathJoin(l.opts.Dir, name)}})
		}
	}
	sort.Slice(o.segs, func(i, j int) bool { return o.segs[i].name < o.segs[j].name })
	for _, s := range o.segs {
		if err := o.readHead(s); err != nil {
			return volume.Wrap(err, "segment "+s.path)
		}
	}
	return nil
}

func (o *opener) readHead(s *found) error {
	f, err := o.l.fs.Open(s.path)
	if err != nil {
		return volume.Errorf(ioKind(err), "open: %w", err)
	}
	defer o.l.closeRead(f)
	info, err := f.Stat()
	if err != nil {
		return volume.Errorf(ioKind(err), "stat: %w", err)
	}
	s.length = info.Size()
	var b [segmentHeaderLen]byte
	if err := readFull(f, b[:], 0); err != nil {
		if volume.KindOf(err) != volume.Corrupt {
			return err
		}
		s.headErr = err
		return nil
	}
	s.head, err = parseSegmentHeader(b[:])
	switch {
	case volume.KindOf(err) == volume.WrongVersion:
		return err
	case err != nil:
		s.headErr = err
	case s.head.volume != o.l.opts.Volume:
		return volume.Errorf(volume.WrongVolume, "belongs to volume %s, not to %s", s.head.volume, o.l.opts.Volume)
	case s.head.first != s.name:
		s.headErr = volume.Errorf(volume.BadFormat, "segment header: begins with version %d", s.head.first)
	}
	return nil
}

// begin makes the first segment of a new log.
func (o *opener) begin() error {
	l := o.l
	if o.marked.version > 0 && !l.opts.AllowCut {
		return volume.Errorf(volume.Corrupt, "ops through version %d were durable, but there are no segments: restore them, or fetch a snapshot from another node", o.marked.version)
	}
	s, err := l.newSegment(segmentHeader{volume: l.opts.Volume, first: 1}, segmentHeaderLen, true)
	if err != nil {
		return err
	}
	l.openFiles++
	o.created = true
	o.segs = []*found{{segment: s, name: 1, scanned: true}}
	return nil
}

// settle makes durable what was found, and the log ready.
func (o *opener) settle() error {
	l := o.l
	for i, s := range o.segs {
		l.segs = append(l.segs, s.segment)
		l.bytes += s.end
		if i < len(o.segs)-2 {
			s.synced = s.end // all but the last two always are
			s.dropped = s.end
		} else {
			s.synced = 0
		}
	}
	l.active = l.segs[len(l.segs)-1]
	l.last = l.active.tail
	if err := o.reopenActive(); err != nil {
		return err
	}
	// A process that was killed may have left frames that are in the kernel's
	// memory only, and names.
	l.dirDirty = true
	if err := l.syncFiles(); err != nil {
		return err
	}
	if o.marked.version > l.last.Version { // with AllowCut only
		l.markDurable(l.last)
		return l.syncMark()
	}
	return nil
}

// reopenActive gets a handle for appending, and the space that was set aside.
func (o *opener) reopenActive() error {
	l, s := o.l, o.l.active
	if s.file != nil {
		return nil
	}
	f, err := l.fs.OpenReadWrite(s.path, writeCategory)
	if err != nil {
		return volume.Errorf(ioKind(err), "open segment %s: %w", s.path, err)
	}
	s.file = f
	l.openFiles++
	s.size = max(l.opts.SegmentSize, s.end)
	exact, err := setAside(f, s.size)
	if err != nil && volume.KindOf(err) != volume.NoSpace {
		return volume.Errorf(ioKind(err), "set aside space in segment %s: %w", s.path, err)
	}
	if err != nil { // a full disk is read from; appending says NoSpace
		s.size = s.end
		l.log.Warn().Err(err).Str("segment", s.path).Msg("oplog: no space to append")
	}
	if err == nil && !exact {
		l.inexact.Store(true)
	}
	return nil
}

// abandon closes what a failed Open has opened.
func (o *opener) abandon() error {
	l := o.l
	var errs []error
	closeFile := func(f vfs.File) {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	for _, s := range o.segs {
		closeFile(s.file)
	}
	closeFile(l.markFile)
	closeFile(l.dir)
	errs = append(errs, l.dropSpare())
	return errors.Join(errs...)
}
