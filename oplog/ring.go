package oplog

import (
	"sort"

	"wolfdisk/volume"
)

// tailFrame is the largest frame that is kept in memory, bytes. Content that comes in
// large pieces is read back from the page cache, where it lies in any case: copying and
// collecting it would cost more, and a few such frames would push all others out.
const tailFrame = 64 << 10

// maxScratch bounds what is kept for putting together frames that are not kept, bytes.
const maxScratch = 1 << 20

// frameCost is what a ring entry takes beside its bytes.
const frameCost = 192

// ring holds the newest frames for readers, large ones excepted. Log.mu guards it.
type ring struct {
	max, bytes int64
	frames     []Frame
	head       int // frames[head:] are held
}

func (r *ring) push(f *Frame) {
	r.frames = append(r.frames, *f)
	r.bytes += int64(len(f.Bytes)) + frameCost
	for r.bytes > r.max && len(r.frames)-r.head > 1 {
		r.bytes -= int64(len(r.frames[r.head].Bytes)) + frameCost
		r.frames[r.head] = Frame{}
		r.head++
	}
	if r.head > 64 && r.head > len(r.frames)/2 {
		n := copy(r.frames, r.frames[r.head:])
		clear(r.frames[n:])
		r.frames, r.head = r.frames[:n], 0
	}
}

func (r *ring) clear() {
	r.frames, r.head, r.bytes = nil, 0, 0
}

// find is the frame that holds version v.
func (r *ring) find(v volume.Version) (*Frame, bool) {
	held := r.frames[r.head:]
	if len(held) == 0 || v < held[0].First {
		return nil, false
	}
	i := sort.Search(len(held), func(i int) bool { return held[i].Last >= v })
	if i == len(held) || held[i].First > v {
		return nil, false
	}
	return &held[i], true
}

// at is the frame that lies at a place of the log.
func (r *ring) at(ref volume.LogRef) (*Frame, bool) {
	held := r.frames[r.head:]
	i := sort.Search(len(held), func(i int) bool {
		h := &held[i].Ref
		return h.Segment > ref.Segment || h.Segment == ref.Segment && h.Frame >= ref.Frame
	})
	if i == len(held) || held[i].Ref.Segment != ref.Segment || held[i].Ref.Frame != ref.Frame {
		return nil, false
	}
	return &held[i], true
}

// slabLen is what is allocated at once for small frames: large enough that
// allocation costs nothing per frame, small enough that one frame held by
// somebody does not pin much.
const slabLen = 256 << 10

// slab hands out memory for frames, many from one allocation. Memory is never
// reused: frames are immutable and may be kept, the collector frees a slab with
// its last frame. It belongs to the appender.
type slab struct{ free []byte }

// reserve returns a buffer of n <= tailFrame bytes; keep says how many of them are used.
func (s *slab) reserve(n int) []byte {
	if len(s.free) < n {
		s.free = make([]byte, slabLen)
	}
	return s.free[:n:n]
}

// keep takes the first used bytes of what reserve(n) returned for good.
func (s *slab) keep(b []byte, used int) []byte {
	s.free = s.free[used:]
	return b[:used:used]
}
