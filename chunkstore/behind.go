package chunkstore

// A snapshot, or sealing after a long time of writing, puts chunks as fast as the disk
// takes them. Left alone, the page cache swallows hundreds of MiB, each page of them
// fresh, pushes out what is read, and the fsync pays for all of it at once. So the disk
// is told to begin as soon as there is something worth it, and what is durable and not
// among the last that was written leaves the page cache; who reads it brings it back.

const (
	// writtenApart is from where on a payload that is stored as it is, is written by a
	// call of its own instead of being copied behind its header, bytes.
	writtenApart = 64 << 10
	// beginStep is after how much the disk is told to begin, bytes.
	beginStep = 8 << 20
	// cachedTail is how much of what was written last stays in the page cache, bytes.
	cachedTail = 128 << 20
	// cachePage is what the advice is rounded down to, bytes.
	cachePage = 4 << 10
)

// begin has the disk start with what was written, without waiting for it.
func (a *active) begin() {
	if a.end-a.started < beginStep {
		return
	}
	beginWriting(a.f, a.started, a.end-a.started)
	a.started = a.end
}

// behind is what is durable and still in the page cache because it was written, oldest
// first. Guarded by Store.writeMu.
type behind struct {
	spans []span
	bytes int64
	tail  int64 // cachedTail, or what a test sets
}

// span is a range of a pack, bytes.
type span struct {
	pack     uint32
	from, to int64
}

// add notes what of a pack has just become durable, and drops what is too old.
func (c *behind) add(f *files, a *active) {
	if a.end <= a.cached {
		return
	}
	n := a.end - a.cached
	if k := len(c.spans) - 1; k >= 0 && c.spans[k].pack == a.num && c.spans[k].to-c.spans[k].from+n <= beginStep {
		c.spans[k].to = a.end
	} else {
		c.spans = append(c.spans, span{a.num, a.cached, a.end})
	}
	c.bytes, a.cached = c.bytes+n, a.end
	tail := c.tail
	if tail == 0 {
		tail = cachedTail
	}
	for len(c.spans) > 0 && c.bytes-(c.spans[0].to-c.spans[0].from) >= tail {
		old := c.spans[0]
		c.spans, c.bytes = c.spans[1:], c.bytes-(old.to-old.from)
		p, err := f.acquire(old.pack)
		if err != nil {
			continue // the pack is gone, or cannot be opened: it is only about memory
		}
		dropCached(p, old.from&^(cachePage-1), old.to&^(cachePage-1))
		f.release(p)
	}
}
