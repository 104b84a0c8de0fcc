package conflict

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/oplog"
	"wolfdisk/volume"
)

const (
	// DefaultWholeBytes is up to how much data a file that was changed in part is kept whole.
	DefaultWholeBytes = 64 << 20
	// DefaultReserve is what a record leaves free on the disk, bytes.
	DefaultReserve = 64 << 20
	// entryCost is about what the state of one inode takes, with its share of what is sorted,
	// bytes.
	entryCost = 512
	// baseCost is the hash of a unit.
	baseCost = blockHeadLen + 8 + 4 + 32
)

// Options say what is recorded. The copy must not change meanwhile: its op gate is closed, and
// every handler has ended.
type Options struct {
	Store  *Store
	Volume volume.ID
	Node   string // whose copy it is
	Winner string // whose history is taken instead
	Why    string // for people
	Common volume.Version
	// Mine and Theirs are the ends of the two branches.
	Mine, Theirs               volume.Position
	MineLineage, TheirsLineage volume.Lineage
	Copy                       Copy
	// Log is the log of the copy; nil if there is none.
	Log *oplog.Log
	// Inodes walks all inodes of the copy. It is needed only if the log does not reach back to
	// Common+1, and may be nil otherwise.
	Inodes Inodes
	// WholeBytes and Reserve replace the defaults if they are not 0.
	WholeBytes, Reserve int64
	// Progress is told of each entry and its content; it may be nil.
	Progress func(entries, bytes uint64, path string)
	Log0     zerolog.Logger

	sortMemory int // for tests
}

// Write records what a losing copy holds beyond the common version. When it has returned,
// the record is complete and durable, was read back, and the copy may be changed; on an
// error nothing is left of it, and the copy is to be kept as it is. A fork that was recorded
// before is not recorded again. NoSpace if there is no room.
func Write(ctx context.Context, o Options) (Record, error) {
	if o.Mine.Version <= o.Common {
		return Record{}, volume.Errorf(volume.Invalid, "record a conflict: the copy ends at version %d, which is not behind the common version %d", o.Mine.Version, o.Common)
	}
	rec := Record{
		ID: fmt.Sprintf("%d-%.8s", o.Mine.Version, o.Mine.Digest), Kind: KindFork, Created: now(), Volume: o.Volume,
		Node: o.Node, Winner: o.Winner, Why: o.Why, Common: o.Common, Mine: o.Mine, Theirs: o.Theirs,
		MineLineage: o.MineLineage, TheirsLineage: o.TheirsLineage,
	}
	w, have, err := o.Store.begin(ctx, rec, o.writeOptions())
	if err != nil || have != nil {
		return recordOf(have), err
	}
	w.src = copySource{o.Copy}
	f := &fork{writer: w, o: &o}
	return w.run(f.collect)
}

func recordOf(r *Record) Record {
	if r == nil {
		return Record{}
	}
	return *r
}

// writeOptions are those that forks and edits share.
type writeOptions struct {
	whole, reserve int64
	progress       func(entries, bytes uint64, path string)
	log            zerolog.Logger
	sortMemory     int
}

func (o *Options) writeOptions() writeOptions {
	return writeOptions{o.WholeBytes, o.Reserve, o.Progress, o.Log0, o.sortMemory}
}

// writer makes one record. The store's writing mutex is held as long as it lives.
type writer struct {
	writeOptions
	ctx    context.Context
	store  *Store
	fs     vfs.FS
	rec    Record
	tmp    string // where it is made
	nonce  nonce
	src    source
	drafts *sorter

	manifest, ops, contents *blockWriter
	sums                    sums

	need, needLean int64 // bytes that are still to be written, all told
}

// begin makes the place for a record; have is one that exists already.
func (s *Store) begin(ctx context.Context, rec Record, o writeOptions) (w *writer, have *Record, err error) {
	if o.whole == 0 {
		o.whole = DefaultWholeBytes
	}
	if o.reserve == 0 {
		o.reserve = DefaultReserve
	}
	if o.progress == nil {
		o.progress = func(uint64, uint64, string) {}
	}
	s.writing.Lock()
	defer func() {
		if w == nil {
			s.writing.Unlock()
		}
	}()
	if have, err = s.standing(ctx, rec.ID); err != nil || have != nil {
		return nil, have, err
	}
	w = &writer{writeOptions: o, ctx: ctx, store: s, fs: s.fs, rec: rec, tmp: s.fs.PathJoin(s.dir, tmpPrefix+rec.ID)}
	if _, err := rand.Read(w.nonce[:]); err != nil {
		return nil, nil, volume.Wrap(err, "record a conflict")
	}
	if err = s.makeDir(); err == nil {
		err = errors.Join(s.fs.RemoveAll(w.tmp), s.fs.MkdirAll(w.tmp, 0o700))
	}
	if err != nil {
		return nil, nil, w.explain(err)
	}
	w.drafts = newSorter(s.fs, w.path("sort-drafts"), o.sortMemory)
	return w, nil, nil
}

func (w *writer) path(name string) string { return w.fs.PathJoin(w.tmp, name) }

// run makes the record: collect finds what has changed, and writes the ops.
func (w *writer) run(collect func() error) (rec Record, err error) {
	defer w.store.writing.Unlock()
	published := ""
	defer func() {
		if err == nil {
			return
		}
		err = errors.Join(err, w.abandon())
		if published != "" {
			err = errors.Join(err, w.fs.RemoveAll(published), syncDir(w.fs, w.store.dir))
		}
		err = w.explain(err)
	}()
	if err := w.open(); err != nil {
		return rec, err
	}
	if err := collect(); err != nil {
		return rec, err
	}
	if err := w.room(); err != nil {
		return rec, err
	}
	if err := w.entries(); err != nil {
		return rec, err
	}
	if err := w.finish(); err != nil {
		return rec, err
	}
	to := w.fs.PathJoin(w.store.dir, w.rec.ID)
	if err := w.verify(w.tmp); err != nil {
		return rec, err
	}
	if err := syncDir(w.fs, w.tmp); err != nil {
		return rec, err
	}
	published = to
	if err := w.fs.Rename(w.tmp, to); err != nil {
		return rec, err
	}
	if err := syncDir(w.fs, w.store.dir); err != nil {
		return rec, err
	}
	if err := writeComplete(w.fs, to, w.nonce, &w.rec, w.sums); err != nil {
		return rec, err
	}
	if err := w.verifyComplete(to); err != nil {
		return rec, err
	}
	w.store.recount()
	return w.rec, nil
}

func (w *writer) open() (err error) {
	for _, f := range []struct {
		w    **blockWriter
		name string
		kind byte
	}{{&w.manifest, nameManifest, fileManifest}, {&w.ops, nameOps, fileOps}, {&w.contents, nameContents, fileContents}} {
		if *f.w, err = newBlockWriter(w.fs, w.path(f.name), f.kind, w.nonce); err != nil {
			return err
		}
	}
	return nil
}

// abandon removes what there is.
func (w *writer) abandon() error {
	return errors.Join(w.manifest.close(), w.ops.close(), w.contents.close(), w.drafts.close(), w.fs.RemoveAll(w.tmp))
}

// explain says what an error is about, and the way out.
func (w *writer) explain(err error) error {
	text := "conflict record " + w.rec.ID + " in " + w.store.dir
	switch volume.KindOf(err) {
	case volume.NoSpace, volume.Quota:
		return volume.Errorf(volume.NoSpace, "no room for %s: make room there and let the node try again; nothing has been lost or changed (%w)", text, err)
	}
	return volume.Wrap(err, "write "+text)
}

// fits says whether so many bytes, and the reserve, fit on the disk.
func (w *writer) fits(bytes int64) error {
	u, err := w.fs.GetDiskUsage(w.store.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil // then writing will tell
	}
	if err != nil {
		return volume.Wrap(err, "ask for the space on the disk")
	}
	if uint64(bytes+w.reserve) > u.AvailBytes {
		return volume.Errorf(volume.NoSpace, "it takes %d bytes, and of %d free ones %d are to stay", bytes, u.AvailBytes, w.reserve)
	}
	return nil
}

// room decides, before any content is written, how much of it is.
func (w *writer) room() error {
	err := w.fits(w.need)
	if err == nil || !errors.Is(err, volume.NoSpace) || w.needLean >= w.need {
		return err
	}
	if lean := w.fits(w.needLean); lean != nil {
		return lean
	}
	w.rec.Lean = true
	w.log.Warn().Str("code", "WD-1431").Str("record", w.rec.ID).Err(err).Msg("conflict record: of files that were changed in part only these parts are kept")
	return nil
}

// keepsAll says whether the content of a file is kept whole.
func (w *writer) keepsAll(d *draft, lean bool) bool {
	return d.all || !lean && d.data <= w.whole
}

// add takes a draft whose state is filled in: it counts what it will take and goes to the
// sorter. Its state is read again when it is written.
func (w *writer) add(d *draft) error {
	cost, lean := int64(entryCost), int64(entryCost)
	for _, p := range d.Paths {
		cost += int64(2*len(p) + 16)
	}
	for _, x := range d.Xattrs {
		cost += int64(len(x.Name) + len(x.Value) + 16)
	}
	if d.Known && d.Attr.IsFile() && d.counts() {
		if err := w.measure(d); err != nil {
			return err
		}
		whole := d.data + (d.data/unit+1)*(blockHeadLen+8)
		part := total(cut(d.ranges, d.Attr.Size)) + (d.data/unit+1)*baseCost
		for _, x := range []struct {
			sum  *int64
			lean bool
		}{{&cost, false}, {&lean, true}} {
			if w.keepsAll(d, x.lean) {
				*x.sum += whole
			} else {
				*x.sum += min(part, whole)
			}
		}
	}
	w.need += cost
	w.needLean += lean
	return w.drafts.add(d.record())
}

// measure finds out how much data a file has. What cannot be found out counts as all of it.
func (w *writer) measure(d *draft) error {
	d.data = d.Attr.Size
	if d.data <= unit {
		return nil
	}
	c, err := w.src.open(d)
	if err != nil {
		return err
	}
	if n, err := dataBytes(w.ctx, c, d.Attr.Size); err == nil {
		d.data = n
	}
	return c.Close()
}

// entries writes manifest and contents.
func (w *writer) entries() error {
	if err := w.manifest.block(blockHead, w.rec.encode()); err != nil {
		return err
	}
	buf := make([]byte, unit)
	last := ""
	return w.drafts.each(func(b []byte) error {
		if err := w.ctx.Err(); err != nil {
			return volume.Errorf(volume.Interrupted, "interrupted: %w", context.Cause(w.ctx))
		}
		d, same, err := decodeDraft(b)
		if err != nil || same == last && last != "" {
			return err
		}
		last = same
		if err := w.src.fill(w.ctx, &d); err != nil {
			return volume.Wrap(err, "read the state of "+d.Path())
		}
		if err := w.content(&d, buf); err != nil {
			return volume.Wrap(err, "record the content of "+d.Path())
		}
		w.count(&d.Entry)
		return d.Entry.put(w.manifest)
	})
}

// content writes the content of a file, unless nothing happened to it.
func (w *writer) content(d *draft, buf []byte) error {
	if !d.Known || !d.Attr.IsFile() || !d.counts() {
		return nil
	}
	c, err := w.src.open(d)
	if err != nil {
		return err
	}
	d.at = w.contents.off
	cw := contentsWriter{ctx: w.ctx, w: w.contents, c: c, e: &d.Entry, buf: buf}
	if w.keepsAll(d, w.rec.Lean) {
		d.Form = Whole
		err = cw.whole()
	} else {
		d.Form = Ranges
		err = cw.parts(d.ranges)
	}
	d.end = w.contents.off
	return errors.Join(err, c.Close())
}

func (w *writer) count(e *Entry) {
	s := &w.rec.Summary
	if e.counts() {
		s.Entries++
	}
	if len(e.Removed()) > 0 {
		s.Removed++
	}
	s.Bytes += e.Bytes
	s.BaseBytes += e.BaseBytes
	s.Unreadable += e.Unreadable
	w.progress(1, e.Bytes, e.Path())
}

// finish makes the files durable.
func (w *writer) finish() (err error) {
	if err := w.drafts.close(); err != nil {
		return err
	}
	for i, f := range []*blockWriter{w.manifest, w.ops, w.contents} {
		if w.sums[i], err = f.finish(); err != nil {
			return err
		}
	}
	return nil
}

// CheckID says whether a text can be the ID of a record.
func CheckID(id string) error {
	ok := id != "" && len(id) <= maxIDLen && !strings.HasPrefix(id, ".")
	for i := 0; i < len(id); i++ {
		c := id[i]
		ok = ok && (c == '-' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z')
	}
	if !ok {
		return volume.Errorf(volume.Invalid, "%.80q is no ID of a conflict record: wolfdiskctl conflicts list shows them", id)
	}
	return nil
}

// maxIDLen leaves room for most of a name in NAME.conflict-ID.
const maxIDLen = 64
