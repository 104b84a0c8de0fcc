package node

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"wolfdisk/chunkstore"
	"wolfdisk/node/admin"
	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// lostChunk is a chunk that is damaged or absent.
type lostChunk struct {
	where string
	err   error // what is wrong with it
	// paths are some files that use it; used says that there is any.
	paths []string
	used  bool
}

// maxLost bounds the chunks that are kept until it is known whose they are.
const maxLost = 64 << 10

// chunks checks every chunk and pack.
func (s *scrubber) chunks() error {
	store := s.st.chunks
	if store == nil {
		return nil
	}
	var packs []admin.ScrubDamage
	var errs []error // of the packs
	var ended error
	err := store.Verify(s.ctx, func(id volume.ChunkID, pack uint32, off int64, err error) {
		if ended != nil {
			return
		}
		where := fmt.Sprintf("pack %08d at %d", pack, off)
		if id == (volume.ChunkID{}) {
			packs = append(packs, admin.ScrubDamage{Kind: "pack", What: "header or index of a pack", Where: where})
			errs = append(errs, err)
			return
		}
		n, _ := store.Len(id)
		s.result.Chunks++
		s.result.ChunkBytes += uint64(n)
		if err != nil {
			ended = s.lose(id, where, err)
		}
		if ended == nil {
			ended = s.read(n, "")
		}
	})
	if err = errors.Join(ended, err); err != nil {
		return err
	}
	for i, d := range packs {
		var failed error
		if s.opt.repair {
			failed = s.rewritePacks()
			d.Repaired = failed == nil
		}
		if err := s.damage(d, errs[i], failed); err != nil {
			return err
		}
	}
	return nil
}

// rewritePacks copies what is live out of damaged packs, and removes these.
func (s *scrubber) rewritePacks() error {
	_, err := s.st.chunks.Compact(s.ctx, chunkstore.CompactOptions{MinDead: 2}) // no pack is that dead
	return err
}

// lose notes a chunk until it is known which files use it.
func (s *scrubber) lose(id volume.ChunkID, where string, err error) error {
	l := &lostChunk{where: where, err: err}
	if len(s.lost) >= maxLost {
		return s.tellChunk(id, l)
	}
	s.lost[id] = l
	return nil
}

// extents checks that what the index says about content is there: that each chunk is in
// the store and long enough, and that what lies in the log can be read.
func (s *scrubber) extents() error {
	if s.st.chunks == nil {
		return nil
	}
	e := extentCheck{scrubber: s, log: s.st.log.DiskReader(), buf: make([]byte, volume.MaxWrite)}
	var ended error
	err := s.snap.EachExtent(func(ino volume.Ino, x volume.Extent) bool {
		ended = e.extent(ino, &x)
		return ended == nil
	})
	if ended == nil && err != nil && !s.whole {
		return nil // the index is damaged there, which was told
	}
	return errors.Join(ended, err)
}

// extentCheck checks extents in their order.
type extentCheck struct {
	*scrubber
	log  *oplog.DiskReader
	buf  []byte
	last volume.Ino
	told bool // of content of last that cannot be read: one line for a file
}

func (e *extentCheck) extent(ino volume.Ino, x *volume.Extent) error {
	e.result.Extents++
	if ino != e.last {
		e.last, e.told = ino, false
	}
	switch {
	case x.InLog && e.told, !x.InLog && x.Chunk.IsHole():
		return nil
	case !x.InLog:
		return e.chunkExtent(ino, x)
	}
	if g := e.gapAt(x.Log); g != nil {
		e.told = true
		e.addPaths(&g.damage.Paths, ino)
		return e.read(0, "")
	}
	err := e.logExtent(e.log, e.buf, x)
	if err == nil {
		return e.read(x.Len, "")
	}
	e.told = true
	return e.contentDamage(ino, x, err)
}

// logExtent reads what an extent says lies in the log, past what is in memory.
func (s *scrubber) logExtent(log *oplog.DiskReader, buf []byte, x *volume.Extent) error {
	if x.Len > int64(len(buf)) {
		return volume.Errorf(volume.Corrupt, "%d bytes in one frame", x.Len)
	}
	return log.ReadLog(s.ctx, x.Log, buf[:x.Len])
}

// contentDamage tells of an extent into the log that cannot be read although the log is
// not damaged there: it leads nowhere, or the damage is newer than the look at the log.
func (s *scrubber) contentDamage(ino volume.Ino, x *volume.Extent, what error) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	d := admin.ScrubDamage{
		Kind: "content", What: "content in the log", Where: fmt.Sprintf("inode %s, %d bytes at %d", ino, x.Len, x.Off), Paths: s.paths(ino),
	}
	var failed error
	if s.opt.repair {
		if _, failed = s.st.log.Repair(s.ctx, x.Log); failed == nil {
			failed = s.st.log.DiskReader().ReadLog(s.ctx, x.Log, make([]byte, x.Len))
		}
		d.Repaired = failed == nil
	}
	return s.damage(d, what, failed)
}

func (s *scrubber) chunkExtent(ino volume.Ino, x *volume.Extent) error {
	l := s.lost[x.Chunk.ID]
	if l == nil {
		n, here := s.st.chunks.Held(x.Chunk.ID)
		if here && x.Chunk.Offset+x.Len <= n {
			return nil
		}
		err := volume.Errorf(volume.Missing, "the chunk is not here")
		if here {
			err = volume.Errorf(volume.Corrupt, "the chunk has %d bytes, %d at %d are wanted", n, x.Len, x.Chunk.Offset)
		}
		if err := s.lose(x.Chunk.ID, "no pack", err); err != nil {
			return err
		}
		if l = s.lost[x.Chunk.ID]; l == nil {
			return nil // told already
		}
	}
	l.used = true
	s.addPaths(&l.paths, ino)
	return nil
}

// addPaths adds the names of an inode to those that are told with a damage.
func (s *scrubber) addPaths(list *[]string, ino volume.Ino) {
	if len(*list) >= maxPaths {
		return
	}
	for _, p := range s.paths(ino) {
		if len(*list) < maxPaths && !slices.Contains(*list, p) {
			*list = append(*list, p)
		}
	}
}

// tellLost repairs and tells of the chunks that are damaged or absent.
func (s *scrubber) tellLost() error {
	for id, l := range s.lost {
		if err := s.tellChunk(id, l); err != nil {
			return err
		}
	}
	if s.forgot {
		if err := s.rewritePacks(); err != nil {
			s.n.log.Warn().Err(err).Msg("scrub: a pack that still holds a damaged chunk of nobody could not be rewritten: the next start finds it again")
		}
	}
	if s.opt.repair && len(s.lost) > 0 {
		return s.st.chunks.Sync(s.ctx)
	}
	return nil
}

func (s *scrubber) tellChunk(id volume.ChunkID, l *lostChunk) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	d := admin.ScrubDamage{Kind: "chunk", What: "chunk " + id.String(), Where: l.where, Paths: l.paths}
	var failed error
	if s.opt.repair {
		failed = s.healChunk(id, l)
		d.Repaired = failed == nil
	}
	return s.damage(d, l.err, failed)
}

// healChunk makes a chunk whole, or else sees to it that nobody needs it.
func (s *scrubber) healChunk(id volume.ChunkID, l *lostChunk) error {
	err := s.st.chunks.Heal(s.ctx, id)
	if err == nil || s.ctx.Err() != nil {
		return err
	}
	if l.used {
		if err = s.healFiles(id, err); err != nil {
			return err
		}
	} else if s.lost[id] != l || !s.whole {
		return err // whether anybody uses it is not known
	}
	s.forgot = s.forgot || s.st.chunks.Forget(id)
	return nil
}

// healFiles has the leader's files take the place of a chunk that nobody has whole.
func (s *scrubber) healFiles(id volume.ChunkID, cause error) error {
	leader := s.n.leaderSession()
	if leader == nil || s.n.leading() != nil {
		return cause
	}
	h := fileHealer{n: s.n, st: s.st, leader: leader, id: id}
	if err := h.heal(s.ctx); err != nil {
		return errors.Join(cause, err)
	}
	return nil
}

// files reads every file whole, through the volume in charge: the only thing that can be
// done for a real directory.
func (s *scrubber) files() error {
	if !s.opt.readFiles {
		return nil
	}
	buf := make([]byte, 1<<20)
	var ended error
	err := s.snap.Inodes(0, func(a volume.Attr) bool {
		if a.IsFile() && a.Size > 0 {
			ended = s.file(&a, buf)
		}
		return ended == nil
	})
	return errors.Join(ended, err)
}

func (s *scrubber) file(a *volume.Attr, buf []byte) error {
	var r volume.Reader
	switch l, f := s.n.leading(), s.n.following(); {
	case l != nil:
		r = l
	case f != nil:
		r = f
	default:
		return volume.Errorf(volume.Unavailable, "no volume is in charge")
	}
	s.result.Files++
	for off := int64(0); ; {
		n, err := r.ReadAt(s.ctx, a.Ino, buf, off)
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if errors.Is(err, volume.Stale) || errors.Is(err, volume.NotFound) {
			return nil // it was removed meanwhile
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return s.damage(admin.ScrubDamage{
				Kind: "file", What: "content", Where: fmt.Sprintf("inode %s at %d", a.Ino, off), Paths: s.paths(a.Ino),
			}, err, nil)
		}
		s.result.FileBytes += uint64(n)
		off += int64(n)
		if err := s.read(int64(n), ""); err != nil || n == 0 {
			return err
		}
	}
}
