package conflict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

const (
	tmpPrefix  = ".tmp-"  // a record that is being made
	dropPrefix = ".drop-" // one that is being removed
	// badSuffix stands behind the ID of a record that was found damaged when the same fork
	// was to be recorded again; a number follows.
	badSuffix = ".damaged-"
)

// Store is the directory of a node's records. All methods may be called concurrently.
type Store struct {
	fs    vfs.FS
	dir   string
	count atomic.Int64

	writing sync.Mutex // held while a record is made or dropped
}

// OpenStore opens a directory, which need not exist. What a crash left of records that were
// being made or removed goes: nothing had been changed yet because of the former.
func OpenStore(in vfs.FS, dir string) (*Store, error) {
	s := &Store{fs: in, dir: dir}
	names, err := s.list()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, tmpPrefix) || strings.HasPrefix(name, dropPrefix) {
			if err := in.RemoveAll(in.PathJoin(dir, name)); err != nil {
				return nil, volume.Wrap(err, "remove an unfinished conflict record")
			}
		}
	}
	s.recount()
	return s, nil
}

// Count is the number of records, whatever state they are in: all that nobody has dropped. It
// asks no disk.
func (s *Store) Count() int {
	if s == nil { // not opened yet
		return 0
	}
	return int(s.count.Load())
}

// Dir is where the records lie.
func (s *Store) Dir() string { return s.dir }

// makeDir makes the directory, durably.
func (s *Store) makeDir() error {
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return syncDir(s.fs, s.fs.PathDir(s.dir))
}

func (s *Store) list() ([]string, error) {
	names, err := s.fs.List(s.dir)
	if err != nil && missing(err) {
		return nil, nil
	}
	return names, volume.Wrap(err, "list the conflict records in "+s.dir)
}

// missing reports whether there is no such file.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// ids are the records there are.
func (s *Store) ids() (ids []string, err error) {
	names, err := s.list()
	for _, name := range names {
		if CheckID(name) == nil {
			ids = append(ids, name)
		}
	}
	slices.Sort(ids)
	return ids, err
}

// recount counts anew; if the directory cannot be read the old number stays.
func (s *Store) recount() {
	if ids, err := s.ids(); err == nil {
		s.count.Store(int64(len(ids)))
	}
}

// Listed is a record in a list.
type Listed struct {
	Record
	// Err says why it cannot be used: it was never completed (Missing), or is damaged.
	Err error
}

// List is all records, the oldest first. Only their marks are read.
func (s *Store) List() ([]Listed, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	list := make([]Listed, 0, len(ids))
	for _, id := range ids {
		r, _, _, err := s.mark(id)
		if r == nil {
			r = &Record{ID: id}
		}
		list = append(list, Listed{*r, err})
	}
	slices.SortStableFunc(list, func(a, b Listed) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// mark reads a record's mark of completeness.
func (s *Store) mark(id string) (*Record, nonce, sums, error) {
	if err := CheckID(id); err != nil {
		return nil, nonce{}, sums{}, err
	}
	dir := s.fs.PathJoin(s.dir, id)
	r, n, files, err := readComplete(s.fs, dir)
	if err == nil {
		return r, n, files, nil
	}
	if missing(err) {
		if _, serr := s.fs.Stat(dir); serr != nil {
			return nil, n, files, volume.Errorf(volume.NotFound, "there is no conflict record %s: wolfdiskctl conflicts list shows those there are", id)
		}
		return nil, n, files, volume.Errorf(volume.Missing, "conflict record %s was never completed: the node makes it anew when it next meets the fork, or drop it", id)
	}
	return nil, n, files, volume.Wrap(err, "conflict record "+id)
}

// standing is a complete record of the same ID, which was checked. One that is not complete is
// removed, one that is damaged moved aside. Called with writing held.
func (s *Store) standing(ctx context.Context, id string) (*Record, error) {
	dir := s.fs.PathJoin(s.dir, id)
	if _, err := s.fs.Stat(dir); err != nil {
		if missing(err) {
			err = nil
		}
		return nil, volume.Wrap(err, "look for conflict record "+id)
	}
	r, err := s.checked(ctx, id)
	switch volume.KindOf(err) {
	case volume.Unknown:
		if err == nil {
			return r, nil
		}
	case volume.Missing:
		return nil, volume.Wrap(errors.Join(s.fs.RemoveAll(dir), syncDir(s.fs, s.dir)), "remove an incomplete conflict record")
	case volume.Corrupt, volume.BadFormat:
		return nil, s.setAside(id)
	}
	return nil, err
}

// setAside keeps a damaged record under another ID.
func (s *Store) setAside(id string) error {
	for n := 1; ; n++ {
		to := s.fs.PathJoin(s.dir, fmt.Sprintf("%s%s%d", id, badSuffix, n))
		_, err := s.fs.Stat(to)
		if err == nil {
			continue
		}
		if !missing(err) {
			return volume.Wrap(err, "set a damaged conflict record aside")
		}
		err = s.fs.Rename(s.fs.PathJoin(s.dir, id), to)
		return volume.Wrap(errors.Join(err, syncDir(s.fs, s.dir)), "set a damaged conflict record aside")
	}
}

// checked opens a record and reads all of it.
func (s *Store) checked(ctx context.Context, id string) (*Record, error) {
	r, n, files, err := s.mark(id)
	if err != nil {
		return nil, err
	}
	got, err := readAll(ctx, s.fs, s.fs.PathJoin(s.dir, id), &n, r)
	if err == nil && got != files {
		err = damage(id, "a file is not the one that was completed")
	}
	return r, volume.Wrap(err, "conflict record "+id)
}

// Check reads a record whole. Damage is Corrupt.
func (s *Store) Check(ctx context.Context, id string) error {
	_, err := s.checked(ctx, id)
	return err
}

// Drop removes a record for good, in whatever state it is.
func (s *Store) Drop(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	from, to := s.fs.PathJoin(s.dir, id), s.fs.PathJoin(s.dir, dropPrefix+id)
	if _, err := s.fs.Stat(from); err != nil {
		if missing(err) {
			err = volume.Errorf(volume.NotFound, "there is no conflict record %s: wolfdiskctl conflicts list shows those there are", id)
		}
		return err
	}
	// Under its other name it is no record any more, and goes at the next start at the latest.
	err := errors.Join(s.fs.RemoveAll(to), s.fs.Rename(from, to))
	if err == nil {
		err = syncDir(s.fs, s.dir)
	}
	if err == nil {
		err = s.fs.RemoveAll(to)
	}
	s.recount()
	return volume.Wrap(err, "drop conflict record "+id)
}
