package index

import (
	"context"

	"wolfdisk/volume"
)

// Tree is a volume as a replica: an index and the backing that holds its content. It
// knows no log; whoever drives it has recorded the ops before.
type Tree struct {
	*Engine
	Backing volume.Backing
	enc     *volume.Encoder
}

var (
	_ volume.Replica    = (*Tree)(nil)
	_ volume.NameReader = (*Tree)(nil)
	_ volume.KeptReader = (*Tree)(nil)
)

// NewTree joins an index and a backing.
func NewTree(e *Engine, b volume.Backing) *Tree {
	return &Tree{Engine: e, Backing: b, enc: volume.NewEncoder()}
}

// Apply makes one op part of the volume, content first. It is not called
// concurrently.
func (t *Tree) Apply(ctx context.Context, op *volume.Op) error {
	t.enc.Reset()
	raw, err := t.enc.Add(op)
	if err != nil {
		return err
	}
	pos := t.Position()
	pos.Version++
	pos.Digest = pos.Digest.Next(raw)
	if op.Kind == volume.OpReign {
		pos.Epoch = op.Epoch
	}
	return t.ApplyBatch(ctx, Batch{Ops: []*volume.Op{op}, After: pos})
}

// ApplyBatch is Apply for the ops of a frame that has been recorded at b.Frame.
//
// A backing that keeps a shape needs the index before each op, so ops enter singly
// there; for chunks all of a frame enter at once.
func (t *Tree) ApplyBatch(ctx context.Context, b Batch) error {
	if t.opt.Extents {
		for _, op := range b.Ops {
			if op.Kind == volume.OpCopyChunks {
				if _, err := t.Backing.Apply(ctx, op, t.Engine); err != nil {
					return volume.Wrapf(err, "apply op %d (%s)", op.Version, op.Kind)
				}
			}
		}
		return t.Enter(b)
	}
	resumer, _ := t.Backing.(volume.Resumer)
	for i, op := range b.Ops {
		one := Batch{Ops: b.Ops[i : i+1], Frame: b.Frame, After: b.After}
		if i < len(b.Ops)-1 {
			// The digest inside a frame is not known; zeros say so.
			one.After = volume.Position{Version: op.Version, Epoch: t.Position().Epoch}
			if op.Kind == volume.OpReign {
				one.After.Epoch = op.Epoch
			}
		}
		if resumer != nil {
			if err := resumer.Applying(op, b.After, t.Engine); err != nil {
				return err
			}
		}
		if err := t.EnterWith(one, func() ([]volume.LowerRecord, error) { return t.applyLower(ctx, op) }); err != nil {
			return err
		}
		if resumer != nil {
			resumer.Applied(op)
		}
	}
	return nil
}

// applyLower brings the backing to what an op says.
func (t *Tree) applyLower(ctx context.Context, op *volume.Op) ([]volume.LowerRecord, error) {
	done, err := t.Backing.Apply(ctx, op, t.Engine)
	if err == nil && op.Kind == volume.OpWrite && done.N != len(op.Data) {
		err = volume.Errorf(volume.NoSpace, "wrote %d of %d bytes", done.N, len(op.Data))
	}
	return done.Lower, volume.Wrapf(err, "apply op %d (%s)", op.Version, op.Kind)
}

// Sync makes the content and the index durable through Position.
func (t *Tree) Sync(ctx context.Context) error {
	if err := t.Backing.SyncAll(ctx); err != nil {
		return err
	}
	return t.Flush()
}

// The rest makes a Tree a volume.Reader.

// Lookup implements volume.Reader.
func (t *Tree) Lookup(_ context.Context, parent volume.Ino, name string) (volume.Attr, error) {
	return t.Engine.Lookup(parent, name)
}

// GetAttr implements volume.Reader.
func (t *Tree) GetAttr(_ context.Context, ino volume.Ino) (volume.Attr, error) {
	return t.Engine.GetAttr(ino)
}

// ReadLink implements volume.Reader.
func (t *Tree) ReadLink(_ context.Context, ino volume.Ino) (string, error) {
	return t.Engine.ReadLink(ino)
}

// ReadDir implements volume.Reader.
func (t *Tree) ReadDir(_ context.Context, dir volume.Ino, after uint64, fn func(volume.DirEntry) bool) error {
	return t.Engine.ReadDir(dir, after, fn)
}

// ReadNames implements volume.NameReader.
func (t *Tree) ReadNames(_ context.Context, dir volume.Ino, from string, fn func(volume.DirEntry) bool) error {
	return t.Engine.ReadNames(dir, from, fn)
}

// ReadKept implements volume.KeptReader.
func (t *Tree) ReadKept(_ context.Context, after volume.Ino, fn func(volume.Ino) bool) error {
	return t.Engine.ReadKept(after, fn)
}

// ParentOf implements volume.Reader.
func (t *Tree) ParentOf(_ context.Context, dir volume.Ino) (volume.Ino, error) {
	return t.Engine.ParentOf(dir)
}

// GetXattr implements volume.Reader.
func (t *Tree) GetXattr(_ context.Context, ino volume.Ino, name string) ([]byte, error) {
	return t.Engine.GetXattr(ino, name)
}

// ListXattr implements volume.Reader.
func (t *Tree) ListXattr(_ context.Context, ino volume.Ino) ([]string, error) {
	return t.Engine.ListXattr(ino)
}

// Pin is Engine.Pin, which also retains the content of a file.
func (t *Tree) Pin(ino volume.Ino) error {
	if err := t.Engine.Pin(ino); err != nil {
		return err
	}
	a, err := t.Engine.GetAttr(ino)
	if err == nil && a.IsFile() {
		err = t.Backing.Retain(ino, t.Engine)
	}
	if err != nil {
		_ = t.Engine.Unpin(ino) // the reason for failing is the other error
	}
	return err
}

// Unpin ends a Pin.
func (t *Tree) Unpin(ino volume.Ino) error {
	t.Backing.Release(ino)
	return t.Engine.Unpin(ino)
}

// regular is the attributes of a regular file, for access to its content.
func (t *Tree) regular(ino volume.Ino) (*volume.Attr, error) {
	n, err := t.live(ino)
	if err == nil && n.IsDir() {
		err = volume.IsDir
	}
	if err == nil && !n.IsFile() {
		err = volume.Invalid
	}
	return &n.Attr, err
}

// MayPass reports whether an error of reading content, which looks like damage, may come from an op
// on its way: content is applied before the index shows it.
func MayPass(err error) bool {
	k := volume.KindOf(err)
	return k == volume.Corrupt || k == volume.Missing
}

// ReadAt implements volume.Reader.
func (t *Tree) ReadAt(ctx context.Context, ino volume.Ino, p []byte, off int64) (int, error) {
	a, err := t.regular(ino)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, volume.Invalid
	}
	if off >= a.Size {
		return 0, nil
	}
	p = p[:min(int64(len(p)), a.Size-off)]
	return t.Backing.ReadAt(ctx, a, p, off, t.Engine)
}

// Seek implements volume.Reader.
func (t *Tree) Seek(ctx context.Context, ino volume.Ino, off int64, hole bool) (int64, error) {
	a, err := t.regular(ino)
	if err != nil {
		return 0, err
	}
	if off < 0 || off >= a.Size {
		return 0, volume.NotSeekable
	}
	return t.Backing.Seek(ctx, a, off, hole, t.Engine)
}

// StatFS implements volume.Reader.
func (t *Tree) StatFS(ctx context.Context) (volume.StatFS, error) {
	s, err := t.Backing.StatFS(ctx)
	s.Files, s.Bytes = t.Counts()
	return s, err
}
