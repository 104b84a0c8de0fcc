package oplog

import (
	"context"
	"encoding/binary"
	"io"

	"wolfdisk/volume"
)

// CopyTo writes the frames behind version after, as they are, through what was last
// when it was called. ReadFrom reads them again.
func (l *Log) CopyTo(ctx context.Context, w io.Writer, after volume.Version) error {
	last := l.Last().Version
	if after >= last {
		return nil
	}
	r, err := l.Reader(after + 1)
	if err != nil {
		return err
	}
	defer r.Close()
	for after < last {
		f, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if _, err := w.Write(f.Bytes); err != nil {
			return err
		}
		after = f.Last
	}
	return nil
}

// AnswerPull is CopyTo for a request of another node: the body is the version, 8
// bytes, big-endian.
func (l *Log) AnswerPull(ctx context.Context, body []byte, w io.Writer) error {
	if len(body) != 8 {
		return volume.Errorf(volume.BadFormat, "pull request of %d bytes", len(body))
	}
	return l.CopyTo(ctx, w, volume.Version(binary.BigEndian.Uint64(body)))
}

// ReadFrom reads one frame from a stream of them. It returns io.EOF if the stream
// ends before it begins; the header is checked before anything of the size it
// declares is allocated, the payload is not.
func ReadFrom(r io.Reader) ([]byte, error) {
	head := make([]byte, maxFrameHeader)
	if _, err := io.ReadFull(r, head[:frameFixedLen]); err != nil {
		if err == io.EOF {
			return nil, err
		}
		return nil, volume.Errorf(volume.KindOf(err), "read frame header: %w", err)
	}
	n := headerLen(string(head[:head[10]%(volume.MaxNodeIDLen+1)]))
	if _, err := io.ReadFull(r, head[frameFixedLen:n]); err != nil {
		return nil, volume.Errorf(volume.KindOf(err), "read frame header: %w", err)
	}
	h, err := ParseHeader(head[:n])
	if err != nil {
		return nil, err
	}
	b := make([]byte, h.Len())
	copy(b, head[:n])
	if _, err := io.ReadFull(r, b[n:]); err != nil {
		return nil, volume.Errorf(volume.KindOf(err), "read frame %d: %w", h.First, err)
	}
	return b, nil
}

// BytesAfter is about how many bytes of frames follow version v: exact to within the
// grain of the sparse index.
func (l *Log) BytesAfter(v volume.Version) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for i := len(l.segs) - 1; i >= 0; i-- {
		s := l.segs[i]
		if s.head.first <= v+1 {
			if s.tail.Version > v {
				n += s.end - s.near(v+1)
			}
			break
		}
		n += s.end - segmentHeaderLen
	}
	return n
}
