package index

import (
	"context"

	"wolfdisk/volume"
)

// logExtentsBatch is how many extents are read at a time: so no view of the store is
// held while the caller moves content, which may take minutes.
const logExtentsBatch = 1024

// LogExtents calls fn for the extents that lie in segments of the log whose number is
// at most through, by inode and then by offset, until fn returns false. It holds no
// lock and no view of the store meanwhile; extents that come or go may or may not
// be seen.
func (e *Engine) LogExtents(ctx context.Context, through uint64, fn func(ino volume.Ino, e volume.Extent) bool) error {
	type found struct {
		ino volume.Ino
		x   volume.Extent
	}
	from := []byte{kExtent}
	for {
		var batch []found
		seen := 0
		var next []byte // where reading goes on; nil at the end
		err := scan(e.db, from, []byte{kExtent}, func(key, val []byte) error {
			if seen++; seen > 64*logExtentsBatch || len(batch) == logExtentsBatch {
				next = append([]byte(nil), key...)
				return errStop
			}
			if len(key) != 17 {
				return volume.Errorf(volume.Corrupt, "index: extent key of %d bytes", len(key))
			}
			x, err := decodeExtent(int64(beUint64(key[9:])), val)
			if err == nil && x.InLog && x.Log.Segment <= through {
				batch = append(batch, found{volume.Ino(beUint64(key[1:])), x})
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, f := range batch {
			if err := ctx.Err(); err != nil {
				return volume.Errorf(volume.Interrupted, "index: list extents in the log: %w", err)
			}
			if !fn(f.ino, f.x) {
				return nil
			}
		}
		if next == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return volume.Errorf(volume.Interrupted, "index: list extents in the log: %w", err)
		}
		from = next
	}
}
