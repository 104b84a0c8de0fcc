package volume

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
)

// Where a large file has data at all is asked before its content is (RequestRanges), so
// that holes of any size cost nothing. The request is version, inode ID and offset, 8
// bytes each; the answer
//
//	0  1  0, or 1 if there is no such inode (any more)
//	1  4  number of ranges; maxRanges says that there may be more behind the last
//	5     ranges: offset, length, 8 bytes each
//
// all big-endian. Ranges cover all data behind the offset, and may cover small holes.
const (
	maxRanges      = 4096
	rangeLen       = 16
	rangesHeadLen  = 5
	rangesBodyLen  = 24
	maxRangesBytes = rangesHeadLen + maxRanges*rangeLen
	// smallHole is what is not worth a range of its own, bytes.
	smallHole = 64 << 10
)

// Range is a part of a file, bytes.
type Range struct{ Off, Len int64 }

// RangesRequest is the body that asks where an inode has data from an offset on.
func RangesRequest(from Version, ino Ino, off int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(from))
	b = binary.BigEndian.AppendUint64(b, uint64(ino))
	return binary.BigEndian.AppendUint64(b, uint64(off))
}

// MaxRangesAnswer bounds the answer, bytes.
const MaxRangesAnswer = maxRangesBytes

// ServeRanges answers from a volume.
func ServeRanges(ctx context.Context, body []byte, r Reader, w io.Writer) error {
	if len(body) != rangesBodyLen || binary.BigEndian.Uint64(body[16:]) > uint64(MaxFileSize) {
		return Errorf(BadFormat, "request for ranges of %d bytes", len(body))
	}
	from, ino, at := Version(binary.BigEndian.Uint64(body)), Ino(binary.BigEndian.Uint64(body[8:])), int64(binary.BigEndian.Uint64(body[16:]))
	if v := r.Position().Version; v < from {
		return Errorf(Unavailable, "ranges at version %d: this node is at %d", from, v)
	}
	ranges, err := dataRanges(ctx, r, ino, at)
	out := make([]byte, rangesHeadLen, rangesHeadLen+len(ranges)*rangeLen)
	switch {
	case errors.Is(err, Stale) || errors.Is(err, NotFound):
		out[0], ranges = contentGone, nil
	case err != nil:
		return err
	}
	binary.BigEndian.PutUint32(out[1:], uint32(len(ranges)))
	for _, x := range ranges {
		out = binary.BigEndian.AppendUint64(out, uint64(x.Off))
		out = binary.BigEndian.AppendUint64(out, uint64(x.Len))
	}
	_, err = w.Write(out)
	return err
}

func dataRanges(ctx context.Context, r Reader, ino Ino, at int64) (list []Range, err error) {
	a, err := r.GetAttr(ctx, ino)
	if err != nil || !a.IsFile() {
		return nil, err
	}
	for at < a.Size {
		from, to, err := nextRun(ctx, r, ino, at, a.Size, false)
		if err != nil || from >= a.Size {
			return list, err
		}
		if n := len(list); n > 0 && from-(list[n-1].Off+list[n-1].Len) < smallHole {
			list[n-1].Len = to - list[n-1].Off
		} else if n == maxRanges {
			return list, nil
		} else {
			list = append(list, Range{from, to - from})
		}
		at = to
	}
	return list, nil
}

// DecodeRanges reads the answer for an offset; more says that there may be others behind
// the last.
func DecodeRanges(b []byte, off int64) (list []Range, more bool, err error) {
	bad := Errorf(BadFormat, "an answer with ranges of %d bytes", len(b))
	if len(b) < rangesHeadLen {
		return nil, false, bad
	}
	n := binary.BigEndian.Uint32(b[1:])
	if n > maxRanges || len(b) != rangesHeadLen+int(n)*rangeLen || b[0] != contentHere && (b[0] != contentGone || n > 0) {
		return nil, false, bad
	}
	for b = b[rangesHeadLen:]; len(b) > 0; b = b[rangeLen:] {
		from, length := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		if from < uint64(off) || length == 0 || from > uint64(MaxFileSize) || length > uint64(MaxFileSize)-from {
			return nil, false, bad
		}
		off = int64(from + length)
		list = append(list, Range{int64(from), int64(length)})
	}
	return list, n == maxRanges, nil
}
