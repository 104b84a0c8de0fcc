package oplog

import (
	"errors"
	"io/fs"
	"time"

	"wolfdisk/volume"
)

// SegmentInfo describes a segment to somebody who decides how much to Trim. Its number
// in a LogRef is First.
type SegmentInfo struct {
	First, Last volume.Version // Last is First - 1 if it is empty
	Bytes       int64
	// Written is when the file was last written, by its file system; zero for the
	// active segment, which is never trimmed.
	Written time.Time
}

// Segments lists all segments, oldest first; the last one is the active one.
func (l *Log) Segments() ([]SegmentInfo, error) {
	l.mu.Lock()
	segs := l.segs
	list := make([]SegmentInfo, len(segs))
	for i, s := range segs {
		list[i] = SegmentInfo{First: s.head.first, Last: s.tail.Version, Bytes: s.end}
	}
	l.mu.Unlock()
	for i := range list[:len(list)-1] {
		st, err := l.fs.Stat(segs[i].path)
		if errors.Is(err, fs.ErrNotExist) { // trimmed meanwhile
			continue
		}
		if err != nil {
			return nil, volume.Errorf(ioKind(err), "oplog: look at segment %s: %w", segs[i].path, err)
		}
		list[i].Written = st.ModTime()
	}
	return list, nil
}
