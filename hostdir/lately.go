package hostdir

import (
	"context"
	"sort"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// ChangedSince returns the inodes of regular files whose lower files were changed at a
// time or later, by their lower ctime, in order. After a power loss these may
// hold what ops did that the log has lost, also where size and times do not tell. It
// runs before Redo, which changes files itself. What Redo makes anew from its first byte
// is left out, unless it was changed since this boot.
func (d *Dir) ChangedSince(ctx context.Context, view volume.View, touched *Touched, since volume.Time) ([]volume.Ino, error) {
	s := &changedScan{d: d, ctx: ctx, view: view, touched: touched, since: since, found: map[volume.Ino]bool{}}
	if err := s.dir(d.root, volume.RootIno); err != nil {
		return nil, volume.Wrap(err, "look for files changed lately")
	}
	out := make([]volume.Ino, 0, len(s.found))
	for ino := range s.found {
		out = append(out, ino)
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out, nil
}

type changedScan struct {
	d       *Dir
	ctx     context.Context
	view    volume.View
	touched *Touched
	since   volume.Time
	found   map[volume.Ino]bool
}

// dir looks at one directory, which is not in the index if ino is 0, then those in it.
func (s *changedScan) dir(fd int, ino volume.Ino) error {
	release, err := s.d.lease(fd, 0o700)
	if err != nil {
		return err
	}
	defer release()
	var subdirs []string
	err = s.d.listDir(fd, func(name string, _ uint64, _ uint32) error {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if IsReserved(ino, name) {
			return nil
		}
		st, err := statAt(fd, name)
		switch {
		case err != nil:
			return notThere(err)
		case st.typ() == volume.ModeDir:
			subdirs = append(subdirs, name)
		case st.typ() == volume.ModeFile && st.Ctime.Compare(s.since) >= 0:
			return s.note(place{fd, name}, ino, st.Ctime)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range subdirs {
		sub, err := s.d.openAt(fd, name, oPath|unix.O_DIRECTORY)
		if err == unix.ENOENT || err == unix.ENOTDIR {
			continue
		}
		if err != nil {
			return err
		}
		is, err := s.who(sub, ino, name)
		if err == nil {
			err = s.dir(sub, is)
		}
		unix.Close(sub)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *changedScan) note(p place, dir volume.Ino, ctime volume.Time) error {
	fd, err := s.d.openAt(p.dir, p.name, oPath)
	if err != nil {
		return notThere(err)
	}
	defer unix.Close(fd)
	ino, err := s.who(fd, dir, p.name)
	if err == nil && ino != 0 && (!s.touched.Inodes[ino] || ctime.Compare(s.d.boot.Start) >= 0) {
		s.found[ino] = true
	}
	return err
}

// who is the inode of a lower file by its identity, else by its name.
func (s *changedScan) who(fd int, dir volume.Ino, name string) (volume.Ino, error) {
	st, err := fstat(fd)
	if err != nil {
		return 0, err
	}
	key, err := s.d.keyOf(fd, &st)
	if err != nil {
		return 0, err
	}
	ino, err := s.view.LowerIno([]byte(key))
	if err == nil || volume.KindOf(err) != volume.NotFound {
		return ino, err
	}
	if dir == 0 {
		return 0, nil
	}
	e, err := s.view.Entry(dir, name)
	if err != nil && volume.KindOf(err) == volume.NotFound {
		return 0, nil
	}
	return e.Ino, err
}
