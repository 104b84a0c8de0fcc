package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"time"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/volume"
)

const (
	// hashBuffer is how much of a file is read at once, bytes.
	hashBuffer = 1 << 20
	// zeroUnit is the unit in which zeros are left out of a hash, so that a hole costs
	// nothing wherever the copies keep theirs; it divides hashBuffer. Part of the protocol.
	zeroUnit = 64 << 10
	// hashSnapshot is how long hashing looks at the same snapshot of the index.
	hashSnapshot = 500 * time.Millisecond
	// versionWait is how long a node waits for an op that its leader had when it was asked.
	versionWait = 2 * time.Second
)

// verifyFile asks for the hash of a file, once this node has seen version want of it.
type verifyFile struct {
	ino  volume.Ino
	want volume.Version
}

// hashStatus says what became of hashing a file.
type hashStatus byte

const (
	hashOK         hashStatus = iota
	hashGone                  // no such file, any more
	hashChanging              // it changed while it was read
	hashUnreadable            // see text
)

// verifyHash is what a node's disk holds of a file.
type verifyHash struct {
	ino     volume.Ino
	status  hashStatus
	version volume.Version // that last changed the inode
	size    int64
	sum     [sha256.Size]byte
	text    string
}

// hash implements verifyCopy.
func (h *heldCopy) hash(ctx context.Context, files []verifyFile, fn func(*verifyHash) error) (err error) {
	s := &hasher{h: h, buf: make([]byte, hashBuffer)}
	defer func() { err = errors.Join(err, s.letGo()) }()
	for _, f := range files {
		got, err := s.file(ctx, f)
		if err == nil {
			err = fn(got)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type hasher struct {
	h   *heldCopy
	buf []byte
	sum hash.Hash

	// The index that chunks are found by, for a moment: small files share chunks, so the
	// next one is often in the chunk that was read last.
	snap    *index.Snapshot
	release func() error
	reader  *chunkstore.DiskReader
	until   time.Time
}

// file hashes one file. The error is only that nobody waits for it any more, or that the
// node stops.
func (s *hasher) file(ctx context.Context, f verifyFile) (*verifyHash, error) {
	got := &verifyHash{ino: f.ino}
	if err := s.await(ctx, f); err != nil {
		return nil, err
	}
	var err error
	if s.h.st.dir != nil {
		err = s.fromDir(ctx, got)
	} else {
		err = s.fromChunks(ctx, got, f.want)
	}
	if ctx.Err() != nil {
		return nil, volume.Errorf(volume.Interrupted, "hash inode %s: %w", f.ino, context.Cause(ctx))
	}
	switch kind := volume.KindOf(err); {
	case err == nil:
	case err == errChanging:
		got.status = hashChanging
	case kind == volume.NotFound || kind == volume.Stale:
		got.status = hashGone
	case kind == volume.Closed:
		return nil, err
	default:
		got.status, got.text = hashUnreadable, err.Error()
	}
	return got, nil
}

// errChanging says that a file changed while it was read.
var errChanging = volume.Errorf(volume.Busy, "the file changes while it is read")

// await waits a little for the version that is wanted.
func (s *hasher) await(ctx context.Context, f verifyFile) error {
	for end := time.Now().Add(versionWait); f.want > 0 && time.Now().Before(end); {
		a, err := s.h.st.engine.Inode(f.ino)
		if err == nil && a.Version >= f.want {
			return nil
		}
		if err == nil || volume.KindOf(err) == volume.NotFound {
			select {
			case <-ctx.Done():
				return volume.Errorf(volume.Interrupted, "wait for version %d: %w", f.want, context.Cause(ctx))
			case <-time.After(500 * time.Microsecond):
			}
			continue
		}
		return nil // reading it will say what is the matter
	}
	return nil
}

// fromChunks hashes a file as the index has it now, or had it a moment ago if that is
// not before version want of it: what its extents point to does not change, and is kept
// as long as the snapshot.
func (s *hasher) fromChunks(ctx context.Context, got *verifyHash, want volume.Version) error {
	fresh := s.snap == nil || time.Now().After(s.until)
	if fresh {
		if err := s.take(); err != nil {
			return err
		}
	}
	a, err := s.snap.Inode(got.ino)
	if !fresh && (err != nil || a.Version < want) {
		if err := s.take(); err != nil {
			return err
		}
		a, err = s.snap.Inode(got.ino)
	}
	if err != nil || !a.IsFile() {
		return notFile(err)
	}
	got.version, got.size = a.Version, a.Size
	return s.read(got,
		func(p []byte, off int64) (int, error) { return s.reader.ReadAt(ctx, &a, p, off) },
		func(off int64) (int64, error) { return s.reader.Seek(ctx, &a, off, false) })
}

// take takes the index as it is now.
func (s *hasher) take() (err error) {
	if err := s.letGo(); err != nil {
		return err
	}
	st := s.h.st
	if s.snap, s.release, err = s.h.n.holds.take(st.engine); err != nil {
		return err
	}
	s.reader, s.until = chunkstore.NewDiskReader(s.snap, st.log.DiskReader(), st.chunks), time.Now().Add(hashSnapshot)
	return nil
}

// letGo ends what take began.
func (s *hasher) letGo() error {
	if s.snap == nil {
		return nil
	}
	s.snap, s.reader = nil, nil
	return s.release()
}

// fromDir hashes a lower file. It is the content of a version only if nothing changed it
// meanwhile, neither in the index nor ahead of it.
func (s *hasher) fromDir(ctx context.Context, got *verifyHash) error {
	st := s.h.st
	a, err := s.settled(got.ino)
	if err != nil || !a.IsFile() {
		return notFile(err)
	}
	got.version, got.size = a.Version, a.Size
	changed := func() error {
		if now, err := st.engine.Inode(got.ino); err == nil && now.Version == a.Version {
			return ctx.Err()
		}
		return errChanging
	}
	err = s.read(got,
		func(p []byte, off int64) (int, error) {
			if err := changed(); err != nil {
				return 0, err
			}
			return st.dir.ReadAt(ctx, &a, p, off, st.engine)
		},
		func(off int64) (int64, error) { return st.dir.Seek(ctx, &a, off, false, st.engine) })
	now, nowErr := s.settled(got.ino)
	if nowErr != nil {
		return nowErr
	}
	if now.Version != a.Version {
		return errChanging
	}
	return err
}

// settled are an inode's attributes while no op on it is under way.
func (s *hasher) settled(ino volume.Ino) (a volume.Attr, err error) {
	err = s.h.n.quiet([]volume.Ino{ino}, func() error {
		a, err = s.h.st.engine.Inode(ino)
		return err
	})
	return a, err
}

func notFile(err error) error {
	if err == nil {
		err = volume.NotFound
	}
	return err
}

// read hashes size bytes: each unit that is not all zeros, with its place, and the size.
func (s *hasher) read(got *verifyHash, readAt func([]byte, int64) (int, error), seek func(int64) (int64, error)) error {
	if s.sum == nil {
		s.sum = sha256.New()
	}
	s.sum.Reset()
	for off := int64(0); off < got.size; {
		data, err := seek(off)
		if volume.KindOf(err) == volume.NotSeekable && err != nil {
			break
		}
		if err != nil {
			return err
		}
		off = max(off, data&^(zeroUnit-1))
		p := s.buf[:min(int64(len(s.buf)), got.size-off)]
		n, err := readAt(p, off)
		if err != nil {
			return err
		}
		if n < len(p) {
			return volume.Errorf(volume.Corrupt, "the file ends at %d instead of %d", off+int64(n), got.size)
		}
		s.units(p, off)
		off += int64(n)
		s.h.n.verify.hashed(int64(n))
	}
	s.sum.Write(binary.BigEndian.AppendUint64(nil, uint64(got.size)))
	s.sum.Sum(got.sum[:0])
	return nil
}

var zeros [zeroUnit]byte

// units hashes what is not zeros.
func (s *hasher) units(p []byte, off int64) {
	for len(p) > 0 {
		unit := p[:min(len(p), zeroUnit)]
		if !bytes.Equal(unit, zeros[:len(unit)]) {
			s.sum.Write(binary.BigEndian.AppendUint64(nil, uint64(off)))
			s.sum.Write(unit)
		}
		p, off = p[len(unit):], off+int64(len(unit))
	}
}
