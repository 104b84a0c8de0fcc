package conflict

import (
	"context"
	"slices"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// lowerSource is a real directory as it lies.
type lowerSource struct{ chain chain }

// place opens the directory of a path and says what it is called in it.
func (s *lowerSource) place(path string) (*hostdir.PlainFolder, string, error) {
	if path == "." {
		f, err := s.chain.to(".")
		return f, ".", err
	}
	dir, name := split(path)
	f, err := s.chain.to(dir)
	return f, name, err
}

// number is the number of what lies below at a path.
func (s *lowerSource) number(path string) (uint64, error) {
	f, name, err := s.place(path)
	if err != nil {
		return 0, err
	}
	_, lower, err := f.Stat(name)
	return lower, err
}

func (s *lowerSource) fill(_ context.Context, d *draft) error {
	if len(d.Paths) == 0 {
		return nil // it is gone
	}
	f, name, err := s.place(d.Paths[0])
	if err != nil {
		return err
	}
	a, lower, err := f.Stat(name)
	if err != nil {
		return err
	}
	if lower != d.source {
		return volume.Errorf(volume.Busy, "the directory is being changed: stop whoever writes to it")
	}
	d.Known, d.Attr = true, a
	d.Attr.Ino = d.Ino
	if a.IsDir() {
		d.Attr.Size = 0
	}
	if a.Type() == volume.ModeLink {
		if d.Target, err = f.ReadLink(name); err != nil {
			return err
		}
	}
	d.Xattrs, err = f.Xattrs(name)
	return err
}

func (s *lowerSource) open(d *draft) (content, error) {
	f, name, err := s.place(d.Paths[0])
	if err != nil {
		return nil, err
	}
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	return lowerContent{file}, nil
}

type lowerContent struct{ f *hostdir.PlainFile }

func (c lowerContent) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return c.f.ReadAt(p, off)
}

func (c lowerContent) Seek(_ context.Context, off int64, hole bool) (int64, error) {
	return c.f.Find(off, hole)
}

func (c lowerContent) Close() error { return c.f.Close() }

// addSorted adds to a sorted list what is not in it.
func addSorted(list []string, s string) []string {
	i, have := slices.BinarySearch(list, s)
	if have {
		return list
	}
	return slices.Insert(list, i, s)
}
