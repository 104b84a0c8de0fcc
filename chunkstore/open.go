package chunkstore

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"wolfdisk/volume"
)

// Recovery says what Open found.
type Recovery struct {
	Packs   int
	Chunks  int
	Scanned int // packs without a usable index, whose records were walked
	// Kept is what lay whole behind the durable mark, bytes: written, never synced.
	Kept int64
	// Cut is the torn tail, never synced, that was given up; CutBytes 0 if none.
	CutPack   uint32
	CutOffset int64
	CutBytes  int64
	// Damage is what should have been there and is not. Its chunks, as far as they are
	// not found elsewhere, are Missing and come from the fetcher.
	Damage []Damage
}

// Damage is a piece of a pack that cannot be used; Pack 0 stands for the mark.
type Damage struct {
	Pack           uint32
	Offset, Length int64 // bytes
	Err            error // with kind Corrupt, Missing or IO
}

// Open opens the store in a directory, or makes one. Errors: WrongVolume,
// WrongVersion, Invalid options, and those of the file system. Damage is
// no error: it is in Recovery and in the log, and the rest can be used.
func Open(o Options) (*Store, *Recovery, error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	s := &Store{
		opts:    o,
		log:     o.Log,
		start:   o.Now(),
		files:   files{fs: o.FS, dir: o.Dir, open: make(map[uint32]*packFile)},
		cache:   newCache(o.CacheBytes),
		table:   newTable(),
		packs:   make(map[uint32]*pack),
		pins:    make(map[volume.ChunkID]int),
		flights: make(map[volume.ChunkID]*flight),
	}
	rec := &Recovery{}
	if err := s.recover(rec); err != nil {
		if s.markFile != nil {
			_ = s.markFile.Close() // nothing was written through it
		}
		s.files.close()
		return nil, nil, volume.Wrap(err, "open chunk store "+o.Dir)
	}
	rec.Packs, rec.Chunks = len(s.packs), s.table.count
	rec.log(s)
	return s, rec, nil
}

func (rec *Recovery) log(s *Store) {
	for _, d := range rec.Damage {
		s.log.Error().Err(d.Err).Str("pack", packName(d.Pack)).Int64("offset", d.Offset).Int64("bytes", d.Length).
			Msg("chunk store is damaged; chunks lost by it are fetched from other nodes when they are read")
	}
	if rec.CutBytes > 0 {
		s.log.Info().Str("pack", packName(rec.CutPack)).Int64("offset", rec.CutOffset).Int64("bytes", rec.CutBytes).
			Msg("chunk store: tail that was never synced cut after a crash")
	}
}

func (s *Store) recover(rec *Recovery) error {
	fsys, dir := s.opts.FS, s.opts.Dir
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return ioError(err, "make directory")
	}
	if err := syncDir(fsys, fsys.PathDir(dir)); err != nil {
		return err
	}
	nums, haveMark, err := s.list()
	if err != nil {
		return err
	}
	if !haveMark {
		if err := s.createMark(); err != nil {
			return err
		}
	}
	m, markErr, err := s.readMark()
	if err != nil {
		return err
	}
	if !haveMark && len(nums) > 0 {
		markErr = volume.Errorf(volume.Missing, "the mark is gone")
	}
	if markErr != nil {
		rec.damage(0, 0, markSlot+markLen, volume.Wrap(markErr, "read durable mark"))
		s.appended++ // the next Sync writes the other slot
	}
	s.mark = m
	s.next = m.pack + 1
	for i, num := range nums {
		s.next = max(s.next, num+1)
		if num == 1<<32-1 {
			s.next = 0 // used up
		}
		l := loader{store: s, rec: rec, num: num, last: i == len(nums)-1, doubt: markErr != nil}
		if num == m.pack {
			l.mark = m.length
		}
		if err := l.load(); err != nil {
			return volume.Wrap(err, "read pack "+packName(num))
		}
	}
	if m.length > 0 && !slices.Contains(nums, m.pack) {
		rec.damage(m.pack, 0, m.length, volume.Errorf(volume.Missing, "pack %s is gone", packName(m.pack)))
	}
	return nil
}

// list finds the packs, in order, and removes what was never published.
func (s *Store) list() (nums []uint32, haveMark bool, err error) {
	names, err := s.opts.FS.List(s.opts.Dir)
	if err != nil {
		return nil, false, ioError(err, "list directory")
	}
	for _, name := range names {
		num, isPack := parsePackName(name)
		switch {
		case isPack:
			nums = append(nums, num)
		case name == markName:
			haveMark = true
		case strings.HasSuffix(name, tempSuffix):
			if err := s.opts.FS.Remove(s.files.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, false, ioError(err, "remove "+name)
			}
		default:
			s.log.Warn().Str("file", s.files.path(name)).Msg("file does not belong into a chunk store; left alone")
		}
	}
	slices.Sort(nums)
	return nums, haveMark, nil
}

func (rec *Recovery) damage(pack uint32, off, length int64, err error) {
	rec.Damage = append(rec.Damage, Damage{Pack: pack, Offset: off, Length: length, Err: err})
}

// loader reads one pack at Open.
type loader struct {
	store *Store
	rec   *Recovery
	num   uint32
	last  bool
	mark  int64 // what of this pack is known to have been durable, bytes
	doubt bool  // the mark may be too low

	scanner
	pack  *pack
	items []byte
}

func (l *loader) load() error {
	f, err := l.store.files.acquire(l.num)
	if err != nil {
		return err
	}
	defer l.store.files.release(f)
	info, err := f.Stat()
	if err != nil {
		return ioError(err, "stat")
	}
	size := min(info.Size(), maxPackFile)
	l.pack = &pack{num: l.num, size: size}
	l.store.packs[l.num] = l.pack
	l.scanner = scanner{window: newWindow(f, size), salt: l.store.salt(l.num), chunkSize: l.store.opts.ChunkSize}
	if err := l.header(); err != nil {
		return err
	}
	if l.last && l.mark < size && !l.doubt {
		// Even if there is an index: the disk may have taken it before what it lists.
		return l.tail()
	}
	err = l.sealed()
	if err == nil {
		return nil
	}
	if !l.last {
		l.rec.Scanned++
		l.lost(0, size, volume.Wrap(err, "read index of sealed pack"))
		return l.salvage(headerLen)
	}
	return l.tail()
}

// sealed takes the records from the pack's index. In doubt about how much was
// durable it looks at every one.
func (l *loader) sealed() error {
	if l.last && l.doubt {
		var bad error
		err := l.index(func(off int64, r *record) {
			if bad == nil && off+r.size() > l.mark {
				bad = l.verify(off, r)
			}
		})
		if err := cmp.Or(err, bad); err != nil {
			return err
		}
	}
	if err := l.index(func(off int64, r *record) { l.add(off, r) }); err != nil {
		return err
	}
	l.pack.sealed = true
	return nil
}

// lost records damage to the pack, which is then not written to again.
func (l *loader) lost(off, length int64, err error) {
	l.pack.sealed, l.pack.damaged = true, true
	l.rec.damage(l.num, off, length, err)
}

func (l *loader) header() error {
	b, err := l.at(0, headerLen)
	switch {
	case err != nil:
		err = ioError(err, "read header")
	case len(b) < headerLen:
		err = volume.Errorf(volume.Corrupt, "header is cut off")
	default:
		err = l.salt.checkHeader(b, l.store.opts.ChunkSize)
	}
	switch volume.KindOf(err) {
	case volume.WrongVolume, volume.WrongVersion, volume.Invalid:
		return err
	}
	if err != nil {
		l.lost(0, headerLen, err)
	}
	return nil
}

func (l *loader) add(off int64, r *record) {
	l.store.insertLocked(makeEntry(l.num, off, r, 0))
}

// tail walks the unsealed pack: through the mark by headers, behind it checking every
// payload, to the first record that is not whole.
func (l *loader) tail() error {
	l.rec.Scanned++
	off := int64(headerLen)
	for {
		r, ok, err := l.next(off)
		if err != nil {
			return ioError(err, "read")
		}
		if !ok || r.kind == kindIndex { // an index without trailer was never finished
			break
		}
		if r.isChunk() {
			if off+r.size() > l.mark {
				if err := l.verify(off, &r); volume.KindOf(err) == volume.Corrupt {
					break
				} else if err != nil {
					return err
				}
			}
			l.add(off, &r)
			var item [itemLen]byte
			encodeItem(item[:], off, &r)
			l.items = append(l.items, item[:]...)
		}
		off += r.size()
	}
	if off < l.mark {
		l.lost(off, l.mark-off, volume.Errorf(volume.Corrupt, "damaged within the durable part"))
		return l.salvage(off)
	}
	if l.doubt && off < l.size {
		l.lost(off, l.size-off, volume.Errorf(volume.Corrupt, "damaged, and it is unknown how much was durable"))
		return l.salvage(off)
	}
	if l.pack.damaged { // its header
		return nil
	}
	if off < l.size {
		l.rec.CutPack, l.rec.CutOffset, l.rec.CutBytes = l.num, off, l.size-off
	}
	l.resume(off)
	return nil
}

// resume makes the pack the one that is appended to.
func (l *loader) resume(end int64) {
	a := &active{num: l.num, end: end, phys: max(l.size, end), rewrite: -1, torn: end < l.size, items: l.items, started: end, cached: end}
	if durable := max(l.mark, headerLen); end > durable {
		a.rewrite = durable
		l.rec.Kept = end - durable
	}
	if a.torn || a.rewrite >= 0 {
		l.store.appended++ // so that the next Sync has something to do
	}
	l.store.active = a
	l.pack.size = end
}

// salvage finds the records behind damage, checking every payload.
func (l *loader) salvage(off int64) error {
	for off < l.size {
		r, ok, err := l.next(off)
		if err != nil {
			return ioError(err, "read")
		}
		if !ok {
			next, err := l.search(off + 1)
			if err != nil {
				return ioError(err, "read")
			}
			off = next
			continue
		}
		if r.isChunk() {
			if err := l.verify(off, &r); err == nil {
				l.add(off, &r)
			} else {
				l.rec.damage(l.num, off, r.size(), volume.Wrap(err, "check chunk "+r.id.String()))
			}
		}
		off += r.size()
	}
	return nil
}
