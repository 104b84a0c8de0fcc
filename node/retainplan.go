package node

import (
	"time"

	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// retention is how much of the log is kept for those who may ask for it. Zero of a bound
// means that there is none.
type retention struct {
	keep  int64         // bytes that are kept in any case, unless they are too old
	slack int64         // bytes that may come on top before anything is done
	age   time.Duration // of a segment, after which it goes
	limit int64         // bytes beyond which nobody who is connected is waited for
}

// plan is the version through which the log is to be trimmed, the end of a segment; 0 if
// nothing is to go. now is what segments' ages are measured with; followers is the lowest
// version that a connected follower has made durable; nothing behind floor goes.
//
// The oldest segments go, each if what is left is still what has to be kept, or if it
// is too old. The active segment stays.
func (r retention) plan(segs []oplog.SegmentInfo, now time.Time, followers, floor volume.Version) (through volume.Version) {
	var total int64
	for _, s := range segs {
		total += s.Bytes
	}
	begun := r.keep > 0 && total > r.keep+r.slack
	limit := max(r.limit, r.keep)
	for i := range max(len(segs)-1, 0) {
		s := &segs[i]
		many := begun && total-s.Bytes >= r.keep
		old := r.age > 0 && !s.Written.IsZero() && now.Sub(s.Written) > r.age
		waited := s.Last > followers && (r.limit <= 0 || total-s.Bytes < limit)
		if !many && !old || waited || s.Last > floor {
			break
		}
		through = s.Last
		total -= s.Bytes
	}
	return through
}
