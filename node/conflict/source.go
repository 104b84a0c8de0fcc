package conflict

import (
	"context"
	"errors"

	"wolfdisk/volume"
)

// source is where the states of objects come from: a copy, or a real directory.
type source interface {
	// fill fills in Known, Attr, Target and Xattrs. Known stays false if the object is gone.
	fill(ctx context.Context, d *draft) error
	// open opens the content of a regular file.
	open(d *draft) (content, error)
}

// content is that of one file.
type content interface {
	// ReadAt reads as volume.Reader does.
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	// Seek is as that of volume.Reader.
	Seek(ctx context.Context, off int64, hole bool) (int64, error)
	Close() error
}

// copySource is a losing copy.
type copySource struct{ c Copy }

func (s copySource) fill(ctx context.Context, d *draft) (err error) {
	d.Attr, err = s.c.GetAttr(ctx, d.Ino)
	if err != nil {
		if errors.Is(err, volume.Stale) || errors.Is(err, volume.NotFound) {
			d.Attr, err = volume.Attr{}, nil
		}
		return err
	}
	d.Known = true
	if d.Attr.Type() == volume.ModeLink {
		if d.Target, err = s.c.ReadLink(ctx, d.Ino); err != nil {
			return err
		}
	}
	d.Xattrs, err = s.c.Xattrs(d.Ino)
	return err
}

func (s copySource) open(d *draft) (content, error) { return readerContent{s.c, d.Ino}, nil }

// readerContent is a file of a volume.
type readerContent struct {
	r   volume.Reader
	ino volume.Ino
}

func (c readerContent) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	return volume.ReadFullAt(ctx, c.r, c.ino, p, off)
}

func (c readerContent) Seek(ctx context.Context, off int64, hole bool) (int64, error) {
	return c.r.Seek(ctx, c.ino, off, hole)
}

func (c readerContent) Close() error { return nil }

// nextData is the next data of a file of a size in [at, end); from is end if there is none.
func nextData(ctx context.Context, c content, at, end int64) (from, to int64, err error) {
	if at >= end {
		return end, end, nil
	}
	from, err = c.Seek(ctx, at, false)
	if errors.Is(err, volume.NotSeekable) || err == nil && from >= end {
		return end, end, nil
	}
	if err != nil {
		return 0, 0, err
	}
	to, err = c.Seek(ctx, from, true)
	if errors.Is(err, volume.NotSeekable) {
		to, err = end, nil
	}
	if err == nil && (from < at || to <= from) {
		err = volume.Errorf(volume.Corrupt, "data from %d to %d behind %d", from, to, at)
	}
	return from, min(to, end), err
}

// dataBytes is how much of a file is data.
func dataBytes(ctx context.Context, c content, size int64) (n int64, err error) {
	for at := int64(0); at < size; {
		from, to, err := nextData(ctx, c, at, size)
		if err != nil {
			return n, err
		}
		n += to - from
		at = to
	}
	return n, nil
}
