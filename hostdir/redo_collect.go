package hostdir

import (
	"fmt"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// collect looks at every touched name and takes away what does not belong there. A
// directory may be reachable only after one above it was moved, so it goes round
// until nothing changes; names in directories that the ops removed are seen when
// the directory itself is.
func (r *redo) collect() error {
	for {
		names := r.queue
		r.queue = nil
		var waiting []volume.NameRef
		for _, ref := range names {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			if _, ok, err := r.inode(ref.Parent); err != nil {
				return err
			} else if !ok {
				continue
			}
			dir, ok, err := r.locate(ref.Parent, 0)
			if err != nil {
				return err
			}
			if !ok {
				waiting = append(waiting, ref)
				continue
			}
			err = r.collectName(place{dir, ref.Name}, ref)
			unix.Close(dir)
			if err != nil {
				return volume.Wrapf(err, "%q in %s", ref.Name, ref.Parent)
			}
		}
		progress := len(waiting) < len(names) || len(r.queue) > 0
		r.queue = append(r.queue, waiting...)
		if len(r.queue) == 0 || !progress {
			return nil
		}
	}
}

// collectName decides about what has a touched name.
func (r *redo) collectName(p place, ref volume.NameRef) error {
	if IsReserved(ref.Parent, ref.Name) {
		return nil
	}
	is, st, key, err := r.whoHas(p, ref)
	if err != nil {
		return notThere(err)
	}
	want, err := r.view.Entry(ref.Parent, ref.Name)
	if err != nil && volume.KindOf(err) != volume.NotFound {
		return err
	}
	if err != nil {
		want = volume.DirEntry{}
	}
	switch {
	case is != 0 && is == want.Ino:
		return r.strangers(is, p)
	case is != 0:
		return r.displace(p, ref, is, &st)
	}
	if want.Ino != 0 {
		if yes, err := r.mayBe(want.Ino, ref, &st); err != nil {
			return err
		} else if yes {
			r.isNow(want.Ino, &st, key)
			return r.strangers(want.Ino, p)
		}
	}
	if r.since(&st) {
		return r.keep(p, ref, &st)
	}
	return r.unknown(p, ref, &st, key)
}

// whoHas is who for a touched name: an unknown file is the inode that was being made there.
func (r *redo) whoHas(p place, ref volume.NameRef) (ino volume.Ino, st lowerStat, key string, err error) {
	ino, st, key, err = r.who(p)
	if err != nil || ino != 0 || r.before == nil || r.before.born == 0 || r.before.at != ref {
		return ino, st, key, err
	}
	attr, ok, err := r.inode(r.before.born)
	if err != nil || ok && !fits(&attr, &st) {
		return 0, st, key, err
	}
	ino = r.before.born
	r.before.keys[key], r.keys[key] = ino, ino
	if ok {
		r.isNow(ino, &st, key)
	}
	return ino, st, key, nil
}

// mayBe reports whether an unknown file is the inode that the index has at its name: one
// without a record. If another inode had the name before, it is that one, unless what
// is wanted is not at its old name any more.
func (r *redo) mayBe(ino volume.Ino, ref volume.NameRef, st *lowerStat) (bool, error) {
	attr, ok, err := r.inode(ino)
	if err != nil || !ok || !fits(&attr, st) {
		return false, err
	}
	if free, err := r.unrecorded(ino); err != nil || !free {
		return false, err
	}
	held := r.t.Names[ref]
	if r.t.Inodes[ino] || held == 0 || held == ino {
		return true, nil
	}
	for old, had := range r.t.Names {
		if had != ino || old == ref {
			continue
		}
		dir, ok, err := r.locate(old.Parent, 0)
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		is, _, _, err := r.who(place{dir, old.Name})
		unix.Close(dir)
		if err == nil && is == 0 {
			return false, nil
		}
		if err != nil && err != unix.ENOENT {
			return false, err
		}
	}
	return true, nil
}

// strangers looks into a directory that was made after the checkpoint: it may be an
// earlier one of that name, with what the index does not have.
func (r *redo) strangers(ino volume.Ino, p place) error {
	if attr, ok, err := r.inode(ino); err != nil || !ok || !attr.IsDir() || !r.t.Inodes[ino] {
		return err
	}
	dir, err := r.d.openAt(p.dir, p.name, oPath|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return r.d.listDir(dir, func(name string, _ uint64, _ uint32) error {
		ref := volume.NameRef{Parent: ino, Name: name}
		if _, seen := r.t.Names[ref]; seen {
			return nil
		}
		r.t.name(ino, name, 0)
		r.queue = append(r.queue, ref)
		return nil
	})
}

// toStaging moves a known file away from where it does not belong.
func (r *redo) toStaging(p place, ino volume.Ino, st *lowerStat) error {
	err := r.d.sys.renameNoReplace(p.dir, p.name, r.d.staging, ino.String())
	if err != unix.EEXIST {
		return err
	}
	there, err := statAt(r.d.staging, ino.String())
	if err != nil {
		return err
	}
	if there.Ino == st.Ino && st.typ() != volume.ModeDir {
		return unlinkAt(p.dir, p.name, false) // a further name of the same file
	}
	return r.d.aside(p)
}

// keep moves somebody's work aside and reports it.
func (r *redo) keep(p place, ref volume.NameRef, st *lowerStat) error {
	r.report(Difference{Kind: DiffExtra, Path: r.path(ref), Parent: ref.Parent, Name: ref.Name, Lower: st.attr(), LowerIno: st.Ino,
		Why: "made since this boot where the volume has something else or nothing; moved to " + Reserved + "/" + keptName})
	return r.d.aside(p)
}

// unknown deals with a file from before this boot that has no record: the inode that
// had its name and whose record was lost, or one whose end was lost below.
func (r *redo) unknown(p place, ref volume.NameRef, st *lowerStat, key string) error {
	if held := r.t.Names[ref]; held != 0 {
		attr, ok, err := r.inode(held)
		if err != nil {
			return err
		}
		if ok && fits(&attr, st) {
			free, err := r.unrecorded(held)
			if err != nil {
				return err
			}
			if free {
				r.isNow(held, st, key)
				return r.toStaging(p, held, st)
			}
		}
	}
	if r.guests[ref] {
		return r.d.aside(p) // strays has taken out what is known
	}
	if st.typ() == volume.ModeDir {
		return r.salvage(p, ref)
	}
	return r.toDead(p)
}

// toDead moves a file to where bury finds it. In a repeated redo it cannot be told
// what is somebody's, so it is kept.
func (r *redo) toDead(p place) error {
	if r.repeat {
		return r.d.aside(p)
	}
	for {
		err := r.d.sys.renameNoReplace(p.dir, p.name, r.d.staging, fmt.Sprintf("%s%d", deadPrefix, r.dead))
		r.dead++
		if err != unix.EEXIST {
			return err
		}
	}
}

// salvage empties a directory that the index does not have: what is known in it is put
// into staging, the rest is looked at as if its name had been touched.
func (r *redo) salvage(p place, ref volume.NameRef) error {
	dir, err := r.d.openAt(p.dir, p.name, oPath|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	release, err := r.d.lease(dir, 0o700)
	if err != nil {
		return err
	}
	defer release()
	var names []string
	if err := r.d.listDir(dir, func(name string, _ uint64, _ uint32) error {
		names = append(names, name)
		return r.ctx.Err()
	}); err != nil {
		return err
	}
	self := r.t.Names[ref]
	for _, name := range names {
		child, inner := place{dir, name}, volume.NameRef{Parent: self, Name: name}
		is, st, key, err := r.whoHas(child, inner)
		switch {
		case err == unix.ENOENT:
			continue
		case err != nil:
		case is != 0:
			err = r.displace(child, inner, is, &st)
		case r.since(&st):
			err = r.keep(child, inner, &st)
		default:
			err = r.unknown(child, inner, &st, key)
		}
		if err != nil {
			return volume.Wrapf(err, "%q", name)
		}
	}
	err = unlinkAt(p.dir, p.name, true)
	if err == unix.ENOTEMPTY || err == unix.EEXIST {
		return r.d.aside(p)
	}
	return notThere(err)
}

// path is the name of a place for people.
func (r *redo) path(ref volume.NameRef) string {
	path := ref.Name
	for ino, depth := ref.Parent, 0; ino != volume.RootIno && depth < maxDepth; depth++ {
		names, err := r.view.Names(ino)
		if err != nil || len(names) == 0 {
			return ".../" + path
		}
		path, ino = names[0].Name+"/"+path, names[0].Parent
	}
	return path
}

// bury removes the dead, if everything that was looked for was found: otherwise one of
// them may be what is missing, and all are kept.
func (r *redo) bury() error {
	var dead []string
	err := r.d.listDir(r.d.staging, func(name string, _ uint64, _ uint32) error {
		if len(name) > len(deadPrefix) && name[:len(deadPrefix)] == deadPrefix {
			dead = append(dead, name)
		}
		return r.ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, name := range dead {
		p := place{r.d.staging, name}
		if len(r.lost) > 0 {
			err = r.d.aside(p)
		} else {
			err = r.d.removeTree(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
