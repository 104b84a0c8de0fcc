package conflict

import (
	"context"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// verify reads back what was written and compares it with what was meant.
func (w *writer) verify(dir string) error {
	got, err := readAll(w.ctx, w.fs, dir, &w.nonce, &w.rec)
	if err == nil && got != w.sums {
		err = damage(dir, "what was read back is not what was written")
	}
	return volume.Wrap(err, "read back")
}

// verifyComplete reads back the mark.
func (w *writer) verifyComplete(dir string) error {
	r, n, files, err := readComplete(w.fs, dir)
	if err == nil && (string(r.encode()) != string(w.rec.encode()) || r.Summary != w.rec.Summary || n != w.nonce || files != w.sums) {
		err = damage(dir, "what was read back is not what was written")
	}
	return volume.Wrap(err, "read back the mark of completeness")
}

// readAll reads a record from end to end: every block, every frame, every entry, and that
// they belong together.
func readAll(ctx context.Context, fs vfs.FS, dir string, n *nonce, rec *Record) (got sums, err error) {
	var open [len(recordFiles)]*blockReader
	for i, p := range recordFiles {
		b, err := openBlocks(fs, fs.PathJoin(dir, p.name), p.kind, n)
		if err != nil {
			return got, err
		}
		defer b.close()
		open[i] = b
	}
	if err := checkEntries(ctx, open[0], open[2], rec); err != nil {
		return got, err
	}
	if err := checkOps(ctx, open[1], rec); err != nil {
		return got, err
	}
	for i, b := range open {
		got[i] = b.fileSum()
	}
	return got, nil
}

// checkEntries reads the manifest, and the contents in step with it.
func checkEntries(ctx context.Context, manifest, contents *blockReader, rec *Record) error {
	if err := checkHead(manifest, rec); err != nil {
		return err
	}
	var sum Summary
	for {
		if err := ctx.Err(); err != nil {
			return volume.Errorf(volume.Interrupted, "interrupted: %w", context.Cause(ctx))
		}
		e, err := readEntry(manifest)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if e.counts() {
			sum.Entries++
		}
		if len(e.Removed()) > 0 {
			sum.Removed++
		}
		sum.Bytes += e.Bytes
		if e.Form == NoContent {
			continue
		}
		if e.at != contents.off || e.end < e.at {
			return damage(manifest.name, "content of %q begins at %d, not at %d", e.Path(), contents.off, e.at)
		}
		if err := checkContent(contents, e); err != nil {
			return err
		}
	}
	if sum.Entries != rec.Entries || sum.Removed != rec.Removed || sum.Bytes != rec.Bytes {
		return damage(manifest.name, "%d entries with %d bytes where %d with %d are due", sum.Entries, sum.Bytes, rec.Entries, rec.Bytes)
	}
	if _, _, err := contents.next(); err != io.EOF {
		if err == nil {
			err = damage(contents.name, "content that belongs to no file")
		}
		return err
	}
	return nil
}

func checkHead(manifest *blockReader, rec *Record) error {
	kind, b, err := manifest.next()
	if err == nil && (kind != blockHead || string(b) != string(rec.encode())) {
		err = damage(manifest.name, "its head is not that of the record")
	}
	if err == io.EOF {
		err = damage(manifest.name, "it is empty")
	}
	return err
}

// checkContent reads the blocks of one file.
func checkContent(r *blockReader, e *Entry) error {
	last := int64(0)
	for r.off < e.end {
		kind, b, err := r.next()
		if err == io.EOF {
			err = damage(r.name, "the content of %q is cut off", e.Path())
		}
		if err != nil {
			return err
		}
		p, err := decodePart(kind, b, e.Attr.Size)
		if err != nil || p.off < last {
			return damage(r.name, "the content of %q makes no sense", e.Path())
		}
		if last = p.off; kind != blockBase {
			last += int64(p.len)
		}
	}
	if r.off != e.end {
		return damage(r.name, "the content of %q does not end at %d", e.Path(), e.end)
	}
	return nil
}

// checkOps reads the frames.
func checkOps(ctx context.Context, r *blockReader, rec *Record) error {
	next := rec.OpsFrom
	for {
		if err := ctx.Err(); err != nil {
			return volume.Errorf(volume.Interrupted, "interrupted: %w", context.Cause(ctx))
		}
		kind, b, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		f, _, err := oplog.DecodeFrame(b)
		if kind != blockFrame || err != nil || f.First > next || f.Last < next {
			return damage(r.name, "frame %d to %d where op %d is due (%v)", f.First, f.Last, next, err)
		}
		next = f.Last + 1
	}
	if rec.OpsFrom != 0 && next <= rec.Mine.Version {
		return damage(r.name, "it ends at op %d of %d", next-1, rec.Mine.Version)
	}
	return nil
}
