package s3

import (
	"context"
	"io"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// blockLen is how much of a body is read, summed up and written at a time, bytes: the
// largest write op. A request has at most two such buffers.
const blockLen = volume.MaxWrite

// staged is a nameless inode that content goes into: part of the volume and its log, but
// to be seen nowhere. It ends with drop unless it was published.
type staged struct {
	s    *Server
	ino  volume.Ino
	open bool
}

// stage makes a nameless file with the owner, group and ACL of one in the last of some
// directories, or of the one before if that is removed meanwhile.
func (s *Server) stage(ctx context.Context, above ...volume.Ino) (*staged, error) {
	var res volume.Result
	var err error
	for i := len(above) - 1; i >= 0; i-- {
		res, err = s.do(ctx, &volume.Request{Kind: volume.OpCreate, Parent: above[i], Mode: volume.ModeFile | s.cfg.FileMode})
		if err == nil || volume.KindOf(err) != volume.Stale {
			break
		}
	}
	if volume.KindOf(err) == volume.Stale && err != nil {
		return nil, errf("NoSuchBucket", "the bucket was removed meanwhile")
	}
	if err != nil {
		return nil, err
	}
	st := &staged{s: s, ino: res.Attr.Ino}
	if err := s.vol.Open(context.WithoutCancel(ctx), st.ino, true); err != nil {
		return nil, err
	}
	st.open = true
	return st, nil
}

// drop lets go of the inode; the life of one that has no name ends.
func (st *staged) drop(ctx context.Context) {
	if !st.open {
		return
	}
	st.open = false
	err := st.s.vol.Close(context.WithoutCancel(ctx), st.ino)
	if kind := volume.KindOf(err); err != nil && kind != volume.Stale && kind != volume.Closed {
		st.s.cfg.Log.Warn().Err(err).Stringer("ino", st.ino).Msg("s3: close a staged file; the next leader ends it")
	}
}

// sink is where the blocks of a body go.
type sink func(p []byte, off int64) error

// into writes to an inode.
func (s *Server) into(ctx context.Context, ino volume.Ino) sink {
	return func(p []byte, off int64) error {
		res, err := s.do(ctx, &volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: p})
		if err == nil && res.N < len(p) {
			err = errf("InsufficientStorage", "the disk is full")
		}
		return err
	}
}

// inlineHash is up to which length a block is summed up by the handler itself, bytes.
const inlineHash = 64 << 10

// pour moves a body into a sink, from an offset on. If there is a hasher, it sums it up
// on the way, beside the writing. It reads to the end, so that whatever the body verifies
// is verified.
func (s *Server) pour(body io.Reader, h *sig.Hasher, off int64, to sink) (n int64, err error) {
	buf := s.buffer()
	defer s.buffers.Put(buf)
	summed := make(chan struct{}, 1)
	for {
		k, rerr := io.ReadFull(body, *buf)
		if k > 0 {
			if n > maxObject-int64(k) {
				return n, errf("EntityTooLarge", "an object can have %d bytes", int64(maxObject))
			}
			p := (*buf)[:k]
			switch {
			case h == nil:
				err = to(p, off+n)
			case k > inlineHash:
				go func() {
					h.Write(p)
					summed <- struct{}{}
				}()
				err = to(p, off+n)
				<-summed
			default:
				h.Write(p)
				err = to(p, off+n)
			}
			if err != nil {
				return n, err
			}
			n += int64(k)
		}
		switch rerr {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			// ReadFull says ErrUnexpectedEOF of a clean end and of one that the body reports
			// so itself; another read tells.
			if _, err := body.Read((*buf)[:1]); err != io.EOF {
				return n, bodyError(err)
			}
			return n, nil
		default:
			return n, bodyError(rerr)
		}
	}
}

// maxObject is S3's limit of an object, bytes.
const maxObject = 5 << 40

// maxPut is S3's limit of one request, bytes.
const maxPut = 5 << 30

// copyRange moves a range of one inode, which must not change meanwhile, to a sink.
func (s *Server) copyRange(ctx context.Context, src *object, off, length int64, asked algo, at int64, to sink) (received, error) {
	rec := received{size: length}
	h, err := sig.NewHasher(s.algorithms(asked)...)
	if err != nil {
		return rec, err
	}
	r := &reading{s: s, ctx: ctx, o: src, off: off, end: off + length}
	n, err := s.pour(r, h, at, to)
	if err == nil && n != length {
		err = errf("InternalError", "%d of %d bytes were read", n, length)
	}
	if err != nil {
		return rec, err
	}
	rec.md5, rec.sums = h.Sum("MD5"), sums(h, nil, asked)
	return rec, nil
}

// reading reads a range of an object, and fails if its content changes meanwhile.
type reading struct {
	s        *Server
	ctx      context.Context
	o        *object
	off, end int64
}

func (r *reading) Read(p []byte) (int, error) {
	if r.off >= r.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.end-r.off)]
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.s.vol.ReadAt(r.ctx, r.o.attr.Ino, p, r.off)
	if err != nil {
		return 0, err
	}
	if err := r.s.sameContent(r.ctx, r.o); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errChanged
	}
	r.off += int64(n)
	return n, nil
}

var errChanged = errf("OperationAborted", "the object was changed in place while it was read")

// sameContent says whether an object's content is still what it was. The version tells
// of every change; one that left size and mtime, and of what was put here the metadata,
// was no change of content.
func (s *Server) sameContent(ctx context.Context, o *object) error {
	a, err := s.vol.GetAttr(ctx, o.attr.Ino)
	if err != nil || a.Version == o.attr.Version {
		return err
	}
	if a.Size != o.attr.Size || a.Mtime != o.attr.Mtime {
		return errChanged
	}
	if o.meta != nil {
		m, err := s.readMeta(ctx, o.attr.Ino)
		if err != nil {
			return err
		}
		if m == nil {
			return errChanged
		}
	}
	o.attr.Version = a.Version
	return nil
}
