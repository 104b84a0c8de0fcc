package hostdir

import (
	"context"
	"iter"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Redo brings the directory to what the index says wherever ops after the last
// checkpoint touched it, after a power loss that may have kept any of their effects
// below and lost others. The index must stand at the end of the log; ops are those
// after the checkpoint, in order, and touched has seen each of them.
//
//  1. What is found under a touched name and does not belong there is moved to staging,
//     if it is known which inode it is; else it is dead if the op that
//     removed it was lost below, or somebody's work since this boot.
//  2. Every touched inode is put at its names: from staging, by its handle, or anew.
//  3. Content ops are applied again, in order, to what the inode is now; files created
//     after the checkpoint begin empty. Bytes that no op touched since are as they were
//     durable then.
//  4. Owner, mode, attributes, size and times are set from the index.
//
// With home, the time since when the log may have lost ops, everything that the index knows is brought
// back to where the index has it, also where no op has touched it, and what the
// index does not know and was changed since then is kept aside: on a node that gets what the log lost once more.
// Without, the directory may stay ahead of the log, for the caller to make ops of that.
//
// A file that was changed since this boot is somebody's edit: it keeps its content and
// is reported. Nothing that is not known is deleted: it goes to kept. All steps may be
// interrupted and repeated; a journal in the state directory (journal.go) remembers
// what was somebody's edit before the first change of our own. Afterwards the caller
// stores PendingLower, runs Tidy, and makes a checkpoint.
func (d *Dir) Redo(ctx context.Context, view volume.View, touched *Touched, home *volume.Time, ops iter.Seq2[*volume.Op, error], report func(Difference)) error {
	r := d.newRedo(ctx, view, touched, report)
	r.home = home
	return volume.Wrap(r.run(ops, r.findEdits, d.endJournal), "redo after a power loss")
}

// Reapply is Redo for ops that were recorded in this boot, but perhaps not applied, because the
// daemon died in between: nothing is taken for somebody's edit. No op was applied
// after them. before is what was known of the files then. Afterwards the caller runs Tidy.
func (d *Dir) Reapply(ctx context.Context, view volume.View, touched *Touched, before *Before, ops iter.Seq2[*volume.Op, error], report func(Difference)) error {
	r := d.newRedo(ctx, view, touched, report)
	r.repeat, r.before = true, before
	for key, ino := range before.keys {
		r.keys[key] = ino
	}
	return volume.Wrap(r.run(ops, r.begin, func() error { return nil }), "apply again after a crash")
}

func (d *Dir) newRedo(ctx context.Context, view volume.View, touched *Touched, report func(Difference)) *redo {
	return &redo{d: d, ctx: ctx, view: view, t: touched, report: report,
		edited: map[volume.Ino]bool{}, lost: map[volume.Ino]bool{}, placed: map[volume.Ino]bool{}, keys: map[string]volume.Ino{}, guests: map[volume.NameRef]bool{}, leased: map[volume.Ino]bool{}}
}

func (r *redo) run(ops iter.Seq2[*volume.Op, error], begin, end func() error) error {
	defer r.endLeases()
	for _, step := range []struct {
		text string
		run  func() error
	}{
		{"find edits", begin},
		{"find what was moved", r.strays},
		{"collect misplaced files", r.collect},
		{"place files", r.place},
		{"undo what the log has lost", r.lostOps},
		{"redo content", func() error { return r.content(ops) }},
		{"set attributes", r.attributes},
		{"remove what is over", r.bury},
		{"sync", func() error { return r.d.SyncAll(r.ctx) }},
		{"end the journal", end},
	} {
		if err := step.run(); err != nil {
			return volume.Wrap(err, step.text)
		}
	}
	return nil
}

type redo struct {
	d      *Dir
	ctx    context.Context
	view   volume.View
	t      *Touched
	report func(Difference)

	repeat bool                    // an earlier redo of this boot was interrupted
	before *Before                 // see Reapply; nil in a Redo
	home   *volume.Time            // see Redo
	edited map[volume.Ino]bool     // changed by somebody since this boot
	lost   map[volume.Ino]bool     // to be found nowhere
	placed map[volume.Ino]bool     // done by place
	keys   map[string]volume.Ino   // files identified in this run
	queue  []volume.NameRef        // names still to be looked at
	guests map[volume.NameRef]bool // names that no op has touched, of what strays has moved away
	dead   int
	leased map[volume.Ino]bool // directories with a lease, which lasts until the end
	ends   []func()
}

func (r *redo) endLeases() {
	for _, end := range r.ends {
		end()
	}
}

// inode is the index's inode; ok is false if its life has ended.
func (r *redo) inode(ino volume.Ino) (attr volume.Attr, ok bool, err error) {
	return inodeOf(r.view, ino)
}

// who finds out which inode a lower file is: 0 if it is not known. It may be one whose life has
// ended (over) only where an earlier one is remembered.
func (r *redo) who(p place) (ino volume.Ino, st lowerStat, key string, err error) {
	fd, err := r.d.openAt(p.dir, p.name, oPath)
	if err != nil {
		return 0, st, "", err
	}
	defer unix.Close(fd)
	return r.whoIs(fd)
}

func (r *redo) whoIs(fd int) (ino volume.Ino, st lowerStat, key string, err error) {
	if st, err = fstat(fd); err != nil {
		return 0, st, "", err
	}
	if key, err = r.d.keyOf(fd, &st); err != nil {
		return 0, st, "", err
	}
	ino = r.keys[key]
	if ino == 0 {
		if ino, err = r.view.LowerIno([]byte(key)); err != nil {
			if volume.KindOf(err) != volume.NotFound {
				return 0, st, "", err
			}
			ino = 0
		}
	}
	if ino != 0 {
		attr, ok, err := r.inode(ino)
		if err == nil && !ok && r.before != nil && r.before.keys[key] == ino {
			return ino, st, key, nil
		}
		if err != nil || !ok || !fits(&attr, &st) {
			return 0, st, key, err
		}
	}
	return ino, st, key, nil
}

// displace takes a known file from a name that is not its own. One that is over waits in
// staging for Tidy, a directory after what is in it.
func (r *redo) displace(p place, ref volume.NameRef, is volume.Ino, st *lowerStat) error {
	if st.typ() == volume.ModeDir {
		if _, ok, err := r.inode(is); err != nil {
			return err
		} else if !ok {
			return r.salvage(p, ref)
		}
	}
	return r.toStaging(p, is, st)
}

// fits reports whether a lower file may be the inode by its type: an empty file can
// stand for a device node.
func fits(attr *volume.Attr, st *lowerStat) bool {
	return attr.Type() == st.typ() || st.typ() == volume.ModeFile && st.Size == 0 &&
		(attr.Type() == volume.ModeBlock || attr.Type() == volume.ModeChar)
}

// unrecorded reports whether an inode has no record, so that an unknown file may be it.
func (r *redo) unrecorded(ino volume.Ino) (bool, error) {
	rec, err := r.d.recordOf(ino, r.view)
	return rec == nil, err
}

// isNow notes that a lower file is the inode.
func (r *redo) isNow(ino volume.Ino, st *lowerStat, key string) {
	r.keys[key] = ino
	rec := &record{ino: st.Ino, ctime: st.Ctime, size: st.Size, key: key}
	if attr, ok, err := r.inode(ino); err == nil && ok && attr.Type() != st.typ() {
		rec.flags |= flagStandIn
	}
	r.d.pending.put(ino, rec)
	r.d.files.drop(ino)
	r.d.dirs.drop(ino)
}

// locate opens a directory wherever it is now: by handle, in staging, or at its name in
// the index; ok is false if it is at none of these.
func (r *redo) locate(ino volume.Ino, depth int) (fd int, ok bool, err error) {
	fd, ok, err = r.find(ino, depth)
	if err != nil || !ok || r.d.uid == 0 || r.leased[ino] {
		return fd, ok, err
	}
	end, err := r.d.lease(fd, 0o700)
	if err != nil {
		unix.Close(fd)
		return -1, false, err
	}
	r.leased[ino] = true
	r.ends = append(r.ends, end)
	return fd, true, nil
}

func (r *redo) find(ino volume.Ino, depth int) (fd int, ok bool, err error) {
	if ino == volume.RootIno {
		fd, err = again2(func() (int, error) { return unix.Dup(r.d.root) })
		return fd, err == nil, err
	}
	if depth > maxDepth {
		return -1, false, volume.Errorf(volume.Corrupt, "directory %s is not below the root in the index", ino)
	}
	rec, err := r.d.recordOf(ino, r.view)
	if err != nil {
		return -1, false, err
	}
	if fd, ok, err := r.d.openRecorded(rec, oPath|unix.O_DIRECTORY); err != nil || ok {
		return fd, ok, err
	}
	fd, err = r.d.sys.open(r.d.staging, ino.String(), oPath|unix.O_DIRECTORY, 0)
	if err == nil {
		return fd, true, nil
	}
	if err != unix.ENOENT && err != unix.ENOTDIR {
		return -1, false, err
	}
	names, err := r.view.Names(ino)
	if err != nil || len(names) == 0 {
		return -1, false, err
	}
	parent, ok, err := r.locate(names[0].Parent, depth+1)
	if err != nil || !ok {
		return -1, false, err
	}
	defer unix.Close(parent)
	fd, err = r.d.openAt(parent, names[0].Name, oPath|unix.O_DIRECTORY)
	if err != nil {
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
			err = nil
		}
		return -1, false, err
	}
	is, _, _, err := r.whoIs(fd)
	if err == nil && (is == ino || is == 0 && rec == nil) {
		return fd, true, nil
	}
	unix.Close(fd)
	return -1, false, err
}

// since reports whether a lower file was changed since this boot, by somebody else.
func (r *redo) since(st *lowerStat) bool {
	return !r.repeat && st.Ctime.Compare(r.d.boot.Start) >= 0
}

// findEdits looks at everything touched before anything is changed, and writes the
// journal.
func (r *redo) findEdits() error {
	inos, found, err := r.d.readJournal()
	if err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	if found {
		r.repeat = true
		for _, ino := range inos {
			r.edited[ino] = true
		}
		return nil
	}
	for ino := range r.t.Inodes {
		if err := r.findEdit(ino); err != nil {
			return err
		}
	}
	return r.d.writeJournal(r.edited)
}

// begin marks what was touched as to be settled, and queues the names.
func (r *redo) begin() error {
	for ino := range r.t.Inodes {
		if attr, ok, err := r.inode(ino); err != nil {
			return err
		} else if ok {
			r.d.dirty.mark(ino, attr.Ctime)
		}
	}
	r.queue = slices.SortedFunc(mapKeys(r.t.Names), compareRefs)
	return nil
}

func (r *redo) findEdit(ino volume.Ino) error {
	attr, ok, err := r.inode(ino)
	if err != nil || !ok || !attr.IsFile() {
		return err
	}
	rec, err := r.d.recordOf(ino, r.view)
	if err != nil {
		return err
	}
	fd, ok, err := r.d.openRecorded(rec, oPath)
	if err != nil {
		return err
	}
	if ok {
		defer unix.Close(fd)
		st, err := fstat(fd)
		if err == nil && r.since(&st) {
			r.edited[ino] = true
		}
		return err
	}
	names, err := r.view.Names(ino)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := r.findEditAt(n, ino, rec); err != nil {
			return err
		}
	}
	return nil
}

func (r *redo) findEditAt(n volume.NameRef, ino volume.Ino, rec *record) error {
	dir, ok, err := r.locate(n.Parent, 0)
	if err != nil || !ok {
		return err
	}
	defer unix.Close(dir)
	is, st, _, err := r.who(place{dir, n.Name})
	if err != nil {
		return notThere(err)
	}
	if (is == ino || is == 0 && rec == nil && st.typ() == volume.ModeFile) && r.since(&st) {
		r.edited[ino] = true
	}
	return nil
}

func mapKeys[K comparable, V any](m map[K]V) iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func compareRefs(a, b volume.NameRef) int {
	switch {
	case a.Parent != b.Parent && a.Parent < b.Parent:
		return -1
	case a.Parent != b.Parent:
		return 1
	case a.Name < b.Name:
		return -1
	case a.Name > b.Name:
		return 1
	}
	return 0
}

// sorted returns the touched inodes in order, so that runs are alike.
func (r *redo) sorted() []volume.Ino {
	all := slices.Collect(mapKeys(r.t.Inodes))
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all
}
