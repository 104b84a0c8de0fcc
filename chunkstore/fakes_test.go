package chunkstore

import (
	"context"
	"slices"
	"sync"

	"wolfdisk/volume"
)

// fakeLog is a log of segments that only holds content.
type fakeLog struct {
	mu       sync.Mutex
	segments map[uint64][]byte
	now      uint64 // the segment written to
	bad      map[uint64]bool
	reads    int
}

func newFakeLog() *fakeLog {
	return &fakeLog{segments: map[uint64][]byte{1: nil}, now: 1, bad: map[uint64]bool{}}
}

const fakeFrame = 64 // where content begins in its "frame"

func (l *fakeLog) add(data []byte) volume.LogRef {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.segments[l.now])
	l.segments[l.now] = append(l.segments[l.now], data...)
	return volume.LogRef{Segment: l.now, Frame: int64(at), Offset: fakeFrame}
}

// roll begins a segment and returns the number of the last one.
func (l *fakeLog) roll() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now++
	return l.now - 1
}

func (l *fakeLog) trim(through uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.segments {
		if n <= through {
			delete(l.segments, n)
		}
	}
}

func (l *fakeLog) ReadLog(_ context.Context, ref volume.LogRef, p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	s, ok := l.segments[ref.Segment]
	if !ok {
		return volume.Errorf(volume.Missing, "segment %d is gone", ref.Segment)
	}
	if l.bad[ref.Segment] {
		return volume.Errorf(volume.Corrupt, "segment %d is damaged", ref.Segment)
	}
	at := ref.Frame + int64(ref.Offset) - fakeFrame
	if at < 0 || at+int64(len(p)) > int64(len(s)) {
		return volume.Errorf(volume.Corrupt, "segment %d has no %d bytes at %d", ref.Segment, len(p), at)
	}
	copy(p, s[at:])
	return nil
}

// fakeIndex holds extents, sorted and apart.
type fakeIndex struct {
	mu    sync.Mutex
	files map[volume.Ino][]volume.Extent
}

func newFakeIndex() *fakeIndex { return &fakeIndex{files: map[volume.Ino][]volume.Extent{}} }

func cut(e volume.Extent, off, end int64) volume.Extent {
	if skip := off - e.Off; skip > 0 {
		e.Off, e.Len = off, e.Len-skip
		if e.InLog {
			e.Log.Offset += uint32(skip)
		} else if !e.Chunk.IsHole() {
			e.Chunk.Offset += skip
		}
	}
	e.Len = min(e.Len, end-e.Off)
	if !e.InLog && !e.Chunk.IsHole() {
		e.Chunk.Length = e.Len
	}
	return e
}

func (x *fakeIndex) clearLocked(ino volume.Ino, off, end int64) {
	var list []volume.Extent
	for _, e := range x.files[ino] {
		if e.Off+e.Len <= off || e.Off >= end {
			list = append(list, e)
			continue
		}
		if e.Off < off {
			list = append(list, cut(e, e.Off, off))
		}
		if e.Off+e.Len > end {
			list = append(list, cut(e, end, e.Off+e.Len))
		}
	}
	x.files[ino] = list
}

func (x *fakeIndex) setLocked(ino volume.Ino, e volume.Extent) {
	x.clearLocked(ino, e.Off, e.Off+e.Len)
	x.files[ino] = append(x.files[ino], e)
	slices.SortFunc(x.files[ino], func(a, b volume.Extent) int { return int(a.Off>>1 - b.Off>>1) })
}

func (x *fakeIndex) set(ino volume.Ino, e volume.Extent) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.setLocked(ino, e)
}

func (x *fakeIndex) clear(ino volume.Ino, off, end int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.clearLocked(ino, off, end)
}

func (x *fakeIndex) snapshot(ino volume.Ino) []volume.Extent {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.files[ino])
}

func (x *fakeIndex) Extents(ino volume.Ino, off, length int64, fn func(volume.Extent) bool) error {
	end := off + length
	for _, e := range x.snapshot(ino) {
		if e.Off < end && e.Off+e.Len > off && !fn(cut(e, off, end)) {
			return nil
		}
	}
	return nil
}

// LogExtents makes the index a SealSource.
func (x *fakeIndex) LogExtents(_ context.Context, through uint64, fn func(volume.Ino, volume.Extent) bool) error {
	x.mu.Lock()
	inos := make([]volume.Ino, 0, len(x.files))
	for ino := range x.files {
		inos = append(inos, ino)
	}
	x.mu.Unlock()
	slices.Sort(inos)
	for _, ino := range inos {
		for _, e := range x.snapshot(ino) {
			if e.InLog && e.Log.Segment <= through && !fn(ino, e) {
				return nil
			}
		}
	}
	return nil
}

// replace enters a replacement where the index still says Old.
func (x *fakeIndex) replace(list []Replacement) (taken int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range list {
		for _, e := range x.files[r.Ino] {
			end := r.Old.Off + r.Old.Len
			if e.Off <= r.Old.Off && e.Off+e.Len >= end && cut(e, r.Old.Off, end) == r.Old {
				x.setLocked(r.Ino, r.New)
				taken++
				break
			}
		}
	}
	return taken
}

// live are the chunks that the index names.
func (x *fakeIndex) live() map[volume.ChunkID]bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := map[volume.ChunkID]bool{}
	for _, list := range x.files {
		for _, e := range list {
			if !e.InLog && !e.Chunk.IsHole() {
				m[e.Chunk.ID] = true
			}
		}
	}
	return m
}
