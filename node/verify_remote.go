package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"

	"wolfdisk/index"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// remoteCopy is the copy of another node, over its session.
type remoteCopy struct {
	s  *wire.Session
	id uint64
	at volume.Version // where it was held
}

// holdRemote holds a follower where it is.
func holdRemote(ctx context.Context, s *wire.Session) (*remoteCopy, error) {
	b, err := s.CallAll(ctx, volume.RequestDigest, digestRequest(digestHold, 0), 16)
	if err != nil {
		return nil, err
	}
	if len(b) != 16 {
		return nil, volume.Errorf(volume.BadFormat, "an answer of %d bytes when asked to hold", len(b))
	}
	return &remoteCopy{s: s, id: binary.BigEndian.Uint64(b), at: volume.Version(binary.BigEndian.Uint64(b[8:]))}, nil
}

// take has it take its index at version v, and returns the digest of its history.
func (r *remoteCopy) take(ctx context.Context, v volume.Version) (d volume.Digest, err error) {
	body := binary.BigEndian.AppendUint64(digestRequest(digestTake, r.id), uint64(v))
	b, err := r.s.CallAll(ctx, volume.RequestDigest, body, len(d))
	if err == nil && copy(d[:], b) != len(d) {
		err = volume.Errorf(volume.BadFormat, "an answer of %d bytes when asked to take the index", len(b))
	}
	return d, err
}

func (r *remoteCopy) name() string { return r.s.Remote().NodeID }

func (r *remoteCopy) find(ctx context.Context, path string) (index.Entry, error) {
	b, err := r.s.CallAll(ctx, volume.RequestDigest, append(digestRequest(digestFind, r.id), path...), index.MaxEntryLen)
	if err != nil {
		return index.Entry{}, err
	}
	return index.DecodeEntry(b)
}

func (r *remoteCopy) list(ctx context.Context, dir volume.Ino, fn func(*index.Entry) error) error {
	body := binary.BigEndian.AppendUint64(digestRequest(digestList, r.id), uint64(dir))
	return r.stream(ctx, body, func(in io.Reader) error { return readEntries(in, fn) })
}

func (r *remoteCopy) hash(ctx context.Context, files []verifyFile, fn func(*verifyHash) error) error {
	body := digestRequest(digestHash, r.id)
	for _, f := range files {
		body = appendFile(body, f)
	}
	return r.stream(ctx, body, func(in io.Reader) error {
		for _, f := range files {
			var h verifyHash
			err := readHash(in, &h)
			if err == nil && h.ino != f.ino {
				err = volume.Errorf(volume.BadFormat, "the hash of inode %s when that of %s was due", h.ino, f.ino)
			}
			if err == nil {
				err = fn(&h)
			}
			if err != nil {
				return noEnd(err)
			}
		}
		return nil
	})
}

func (r *remoteCopy) check(ctx context.Context, fn func(path, what string) error) error {
	return r.stream(ctx, digestRequest(digestCheck, r.id), func(in io.Reader) error {
		for {
			path, err := readSized(in, nil, maxVerifyPath)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			what, err := readSized(in, nil, maxVerifyText)
			if err != nil {
				return noEnd(err)
			}
			if err := fn(string(path), string(what)); err != nil {
				return err
			}
		}
	})
}

// stream calls read with an answer, of which it need not read all.
func (r *remoteCopy) stream(ctx context.Context, body []byte, read func(io.Reader) error) error {
	a, err := r.s.Call(ctx, volume.RequestDigest, body)
	if err != nil {
		return err
	}
	defer a.Close()
	return read(bufio.NewReaderSize(a, 64<<10))
}

// end tells it, unless the session is gone: then the lease ends.
func (r *remoteCopy) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if _, err := r.s.CallAll(ctx, volume.RequestDigest, digestRequest(digestEnd, r.id), 0); err != nil {
		return
	}
}
