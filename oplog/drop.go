package oplog

// defaultCachedTail is how much of the log's end stays in the page cache, bytes. What lies
// before it is read seldom, and a log that is written as fast as the disk goes would
// otherwise push everything else out. Feeds that are no further behind, and whoever
// reads on a follower what has just come, find it there.
const defaultCachedTail = 128 << 20

const (
	// dropStep is how much is dropped at once at least, bytes.
	dropStep = 8 << 20
	// pageSize is what the advice is rounded down to, bytes.
	pageSize = 4 << 10
)

// dropOld takes what is durable and lies before the tail out of the page cache.
func (l *Log) dropOld() {
	type part struct {
		s        *segment
		from, to int64
	}
	var parts []part
	l.mu.Lock()
	keep := l.cachedTail
	for i := len(l.segs) - 1; i >= 0; i-- {
		s := l.segs[i]
		if to := (s.synced - max(keep, 0)) &^ (pageSize - 1); to-s.dropped >= dropStep || to > s.dropped && s != l.active {
			l.acquireLocked(s)
			parts = append(parts, part{s, s.dropped, to})
			s.dropped = to
		}
		if keep -= s.end; keep < 0 && s.dropped >= s.end&^(pageSize-1) {
			break
		}
	}
	l.mu.Unlock()
	for _, p := range parts {
		file, err := l.openAcquired(p.s)
		if err != nil {
			continue // it is only about memory
		}
		dropCached(file, p.from, p.to)
		l.release(p.s)
	}
}
