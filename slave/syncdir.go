package slave

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"

	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// A copy in a real directory is the one that is not made beside the old one: the directory
// is brought from what it holds to what the index of the copy says.
//
//  1. The index inherits the records of lower files from that of the old copy, since an inode
//     is the same in both.
//  2. Reshape moves away what is not where it belongs; the shaper puts in place what is
//     known, and makes the rest, by the ops that would have made it.
//  3. Content is compared by hash and fetched where it differs. A file whose record says that
//     it was left as it is when the inode had the version that it has in the copy is not
//     looked at.
//  4. What the copy has no place for is removed when the copy is consistent, by the caller.
//
// All of it may be interrupted at any moment, also by a power loss, and is begun again at 2;
// only what is below the cursor has its content for certain, since the directory is synced
// before the cursor moves. Ops that came meanwhile leave their traces in index and directory. A run
// that ends while they are entered is taken up as a copy at the end of its log, as if the
// snapshot had been of that version.

// Left is what is known of a directory that is left by the volume in it.
type Left struct {
	// Again says that it was between two versions before.
	Again bool
	// Trust says that nobody but this copy has changed it since the old copy was
	// consistent.
	Trust bool
	// Doubted are inodes of whose content nothing is known all the same.
	Doubted []volume.Ino
}

// intoDir is what a Sync knows of its directory.
type intoDir struct {
	holds   bool // something, from before
	touched map[volume.NameRef]bool
}

// takeUpDir prepares a copy in a directory to go on, and returns the version that its index
// is at: that of its log's end, if ops behind the snapshot were entered.
func (s *Sync) takeUpDir() (volume.Position, error) {
	c, err := s.engine.Cursor()
	if err != nil {
		return volume.Position{}, err
	}
	ctx := context.Background()
	if string(c) == string(maxCursor.encode()) {
		err := EachFrame(ctx, s.log, s.engine.Position().Version+1, func(f oplog.Frame, ops []*volume.Op) error {
			return s.engine.Enter(index.Batch{Ops: ops, Frame: f.Ref, After: f.Position()})
		})
		if err == nil {
			err = s.engine.SetContent(nil, cursor{}.encode())
		}
		if err == nil {
			err = s.engine.Flush()
		}
		if err != nil {
			return volume.Position{}, err
		}
	}
	at := s.engine.Position()
	t := hostdir.NewTouched()
	first := s.log.First()
	if first == 0 || first > at.Version {
		return at, nil
	}
	err = EachFrame(ctx, s.log, first, func(_ oplog.Frame, ops []*volume.Op) error {
		for _, op := range ops {
			if op.Version <= at.Version {
				t.Add(op)
			}
		}
		return nil
	})
	s.into.touched = make(map[volume.NameRef]bool, len(t.Names))
	for ref := range t.Names {
		s.into.touched[ref] = true
	}
	return at, err
}

// shaper makes a real directory what the index of a copy says, names and attributes first:
// directories before files, and parents before children. What is there is given its
// attributes again.
type shaper struct {
	s     *Sync
	ctx   context.Context
	dir   *hostdir.Dir
	count func(files, bytes uint64, path string)
	at    volume.Ino // the directory it was in last
	path  string     // and the path of that
	dirs  bool       // this round is for them
	from  cursor     // where content has to be looked at from
}

// shape is what comes before the content of a copy in a directory. It returns where
// that goes on.
func (s *Sync) shape(ctx context.Context, fresh bool, from cursor) (cursor, error) {
	left, err := s.opt.Leave(ctx)
	if err != nil {
		return from, err
	}
	if fresh {
		if err := s.inherit(ctx, left); err != nil {
			return from, volume.Wrap(err, "take over what is known of the directory")
		}
	}
	s.into.holds = left.Again || s.opt.Old.Position().Version > 0
	files, _ := s.engine.Counts()
	if s.into.holds {
		count := s.opt.Phase("comparing names", Amount{Files: files}, Amount{})
		err := s.opt.Into.Reshape(ctx, s.engine, hostdir.Reshaping{
			Ours: s.ours, Touched: s.into.touched, Again: left.Again, Seen: func(path string) { count(1, 0, path) },
			Left: func(path string) {
				s.opt.Log0.Warn().Str("code", "WD-1406").Str("path", path).Msg("in this follower's directory, but not in the volume: left alone")
			},
		})
		if err := errors.Join(err, s.engine.PutLower(s.opt.Into.PendingLower())); err != nil {
			return from, err
		}
	}
	h := &shaper{s: s, ctx: ctx, dir: s.opt.Into, count: s.opt.Phase("making files", Amount{Files: files}, Amount{}), from: from}
	if err := h.run(); err != nil {
		return from, volume.Wrap(err, "make the files of the copy")
	}
	err = s.opt.Into.Tidy(ctx, s.engine)
	if err == nil {
		err = s.engine.PutLower(s.opt.Into.PendingLower())
	}
	if err == nil && h.from != from {
		err = s.engine.SetContent(nil, h.from.encode())
	}
	if err == nil {
		err = s.engine.Flush()
	}
	return h.from, err
}

// ours is the inode that a lower file was in the old copy; 0 if none.
func (s *Sync) ours(key []byte) (volume.Ino, error) {
	ino, err := s.opt.Old.LowerIno(key)
	if err != nil && volume.KindOf(err) == volume.NotFound {
		return 0, nil
	}
	return ino, err
}

// inherit takes the records of lower files over from the old copy.
func (s *Sync) inherit(ctx context.Context, left Left) error {
	doubted := make(map[volume.Ino]bool, len(left.Doubted))
	for _, ino := range left.Doubted {
		doubted[ino] = true
	}
	var records []volume.LowerRecord
	put := func(some int) error {
		if len(records) < some {
			return nil
		}
		err := s.engine.PutLower(records) // what is of no inode of the copy is passed over
		records = records[:0]
		return err
	}
	err := s.opt.Old.Lowers(func(ino volume.Ino, value []byte) error {
		r, err := hostdir.Inherit(ino, value, left.Trust && !doubted[ino])
		if err != nil {
			return err
		}
		records = append(records, r)
		return errors.Join(put(2048), ctx.Err())
	})
	if err != nil {
		return err
	}
	if err := put(0); err != nil {
		return err
	}
	if err := s.engine.SetContent(nil, cursor{}.encode()); err != nil {
		return err
	}
	return s.engine.Flush()
}

func (h *shaper) run() error {
	root, err := h.s.engine.Inode(volume.RootIno)
	if err != nil {
		return err
	}
	if err := h.dress(&root); err != nil {
		return err
	}
	for _, h.dirs = range []bool{true, false} {
		if err := h.below(); err != nil {
			return err
		}
	}
	orphans, err := h.s.engine.Orphans()
	if err != nil {
		return err
	}
	for _, ino := range orphans {
		if err := h.entry(0, "", ino); err != nil {
			return err
		}
	}
	return nil
}

// below makes all directories, or all that is none.
func (h *shaper) below() error {
	for todo := []volume.Ino{volume.RootIno}; len(todo) > 0; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		var failed error
		err := h.s.engine.Entries(dir, 0, func(e volume.DirEntry) bool {
			isDir := e.Type == volume.ModeDir
			if failed = h.ctx.Err(); failed == nil && isDir == h.dirs {
				failed = h.entry(dir, e.Name, e.Ino)
			}
			if isDir {
				todo = append(todo, e.Ino)
			}
			return failed == nil
		})
		if failed != nil {
			err = failed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry makes one name.
func (h *shaper) entry(parent volume.Ino, name string, ino volume.Ino) error {
	there, err := h.dir.Place(parent, name, ino, h.s.engine)
	if err != nil {
		return err
	}
	a, err := h.s.engine.Inode(ino)
	if err != nil {
		return err
	}
	if parent != h.at {
		h.at = parent
		if h.path, _ = index.PathOf(h.s.engine.Names, parent); h.path != "" {
			h.path += "/"
		}
	}
	h.count(1, 0, h.path+name)
	if there {
		return h.dress(&a)
	}
	if a.IsFile() && a.Size > 0 {
		h.content(ino)
	}
	return h.create(parent, name, &a)
}

// content notes that all content of a file has to be looked at.
func (h *shaper) content(ino volume.Ino) {
	if ino <= h.from.ino {
		h.from = cursor{ino, 0}
	}
}

func (h *shaper) create(parent volume.Ino, name string, a *volume.Attr) error {
	op := &volume.Op{Kind: volume.OpCreate, Ino: a.Ino, Parent: parent, Name: name, Mode: a.Mode, UID: a.UID, GID: a.GID, Rdev: a.Rdev}
	if a.Type() == volume.ModeLink {
		target, err := h.s.engine.Target(a.Ino)
		if err != nil {
			return err
		}
		op.Target = target
	}
	xattrs, err := h.s.engine.Xattrs(a.Ino)
	if err != nil {
		return err
	}
	n := min(len(xattrs), volume.MaxOpXattrs)
	op.Xattrs = xattrs[:n]
	if err := h.apply(op); err != nil {
		return err
	}
	for _, x := range xattrs[n:] {
		if err := h.apply(&volume.Op{Kind: volume.OpSetXattr, Ino: a.Ino, Name: x.Name, Data: x.Value}); err != nil {
			return err
		}
	}
	if !a.IsFile() || a.Size == 0 {
		return nil
	}
	return h.apply(&volume.Op{Kind: volume.OpTruncate, Ino: a.Ino, Size: a.Size})
}

// dress gives a file that is there what it should have.
func (h *shaper) dress(a *volume.Attr) error {
	was, err := h.dir.Dress(a.Ino, !h.s.opt.Full, h.s.engine)
	if err != nil || was.Same {
		return err
	}
	if a.IsFile() && was.Size != a.Size {
		h.content(a.Ino)
		return h.apply(&volume.Op{Kind: volume.OpTruncate, Ino: a.Ino, Size: a.Size})
	}
	return h.s.engine.PutLower(h.dir.PendingLower())
}

// apply brings the directory to what an op says, which the index says already.
func (h *shaper) apply(op *volume.Op) error {
	done, err := h.dir.Apply(h.ctx, op, h.s.engine)
	if err != nil {
		return err
	}
	return h.s.engine.PutLower(append(done.Lower, h.dir.PendingLower()...))
}

// sameFile reports whether a file has its content already: shape has found it as it was
// left at the version that it has in the copy.
func (s *Sync) sameFile(a *volume.Attr) (bool, error) {
	if !s.into.holds {
		return false, nil
	}
	return s.opt.Into.Settled(a, s.engine)
}

// hasRun reports whether content with a hash is here: in a chunk, or where it belongs in
// a file of the directory.
func (s *Sync) hasRun(ctx context.Context, it volume.ContentItem, run volume.ContentRun) (bool, error) {
	if s.opt.Into == nil {
		n, ok := s.opt.Chunks.Len(run.Hash)
		return ok && n == int64(run.Len), nil
	}
	b := buffer(run.Len)
	defer unbuffer(b)
	off := it.Off + int64(run.Off)
	n, err := s.read(ctx, it.Ino, b, off)
	if err != nil || n < run.Len || volume.ChunkID(sha256.Sum256(b)) != run.Hash {
		return false, err
	}
	return s.solid(ctx, it.Ino, off, run.Len)
}

// solid reports whether a range of a file in the directory has no holes: zeros may be there as one,
// where the leader has them as data.
func (s *Sync) solid(ctx context.Context, ino volume.Ino, off int64, n int) (bool, error) {
	a, err := s.engine.Inode(ino)
	if err != nil {
		return false, err
	}
	at, err := s.opt.Into.Seek(ctx, &a, off, true, s.engine)
	return err == nil && at >= off+int64(n), volume.Wrap(err, "look for holes in inode "+ino.String())
}

// read reads what the directory has; less if the file is shorter.
func (s *Sync) read(ctx context.Context, ino volume.Ino, b []byte, off int64) (int, error) {
	a, err := s.engine.Inode(ino)
	if err != nil {
		return 0, err
	}
	n, err := s.opt.Into.ReadAt(ctx, &a, b, off, s.engine)
	return n, volume.Wrap(err, "read what is there of inode "+ino.String())
}

// write puts content into a file of the directory, if it does not have it.
func (s *Sync) write(ctx context.Context, ino volume.Ino, off int64, data []byte) error {
	if s.into.holds && len(data) > 0 {
		b := buffer(len(data))
		defer unbuffer(b)
		n, err := s.read(ctx, ino, b, off)
		if err != nil {
			return err
		}
		if n == len(data) && bytes.Equal(b, data) {
			if solid, err := s.solid(ctx, ino, off, n); err != nil || solid {
				return err
			}
		}
	}
	for len(data) > 0 {
		n := min(len(data), volume.MaxWrite)
		done, err := s.opt.Into.Apply(ctx, &volume.Op{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: data[:n]}, s.engine)
		if err == nil && done.N != n {
			err = volume.Errorf(volume.NoSpace, "wrote %d of %d bytes", done.N, n)
		}
		if err != nil {
			return volume.Wrap(err, "store content of inode "+ino.String())
		}
		data, off = data[n:], off+int64(n)
	}
	return nil
}

// punchBetween makes holes of what lies between the runs of an item.
func (s *Sync) punchBetween(ctx context.Context, it volume.ContentItem, runs []gotRun) error {
	at := it.Off
	for _, run := range runs {
		off := it.Off + int64(run.off)
		if err := s.punch(ctx, hole{it.Ino, at, off - at}); err != nil {
			return err
		}
		at = off + int64(run.len)
	}
	return s.punch(ctx, hole{it.Ino, at, it.Off + int64(it.Len) - at})
}

// punch makes a hole, if there is data.
func (s *Sync) punch(ctx context.Context, h hole) error {
	if h.len <= 0 {
		return nil
	}
	a, err := s.engine.Inode(h.ino)
	if err != nil {
		return err
	}
	end := min(h.off+h.len, a.Size)
	at, err := s.opt.Into.Seek(ctx, &a, h.off, false, s.engine)
	if errors.Is(err, volume.NotSeekable) || err == nil && at >= end {
		return nil
	}
	if end == a.Size { // else what the last block has would stay, as zeros
		end += -end & (volume.HoleBlock - 1)
	}
	if err == nil {
		_, err = s.opt.Into.Apply(ctx, &volume.Op{Kind: volume.OpFallocate, Ino: h.ino, Alloc: volume.FallocPunchHole | volume.FallocKeepSize,
			Offset: at, Length: end - at}, s.engine)
	}
	return volume.Wrap(err, "make a hole in inode "+h.ino.String())
}

// settleDir gives the files of the directory their times and makes all of it durable,
// before the index says so.
func (s *Sync) settleDir(ctx context.Context) error {
	records, err := s.opt.Into.SettleAll(s.engine)
	if err == nil {
		err = s.opt.Into.Checkpoint(ctx)
	}
	if err != nil {
		return err
	}
	return s.engine.PutLower(records)
}
