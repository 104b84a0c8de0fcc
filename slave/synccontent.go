package slave

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/index"
	"wolfdisk/volume"
)

const (
	// batchBytes and batchItems are what is asked for at once: enough to hide the way
	// there and back, little enough to hold several in memory.
	batchBytes = 1 << 20
	batchItems = 512
	// inFlight is how many requests are under way.
	inFlight = 4
	// ownChunk is from where on a run gets a chunk of its own, so that equal content is
	// stored, and sent, once; bytes. It is what sealing has.
	ownChunk = 64 << 10
	// sharedChunk is the size of chunks that smaller runs are packed into, bytes.
	sharedChunk = 512 << 10
	// syncBytes and syncParts bound what is put before it is made durable and entered.
	syncBytes = 64 << 20
	syncParts = 8192
	// flushEvery is how often what was entered is put on disk: what a crash costs.
	flushEvery = 20 * time.Second
)

// batch is one request, and what came of it.
type batch struct {
	items []volume.ContentItem
	holes []hole // in files of a real directory, which may have data there
	end   cursor // behind the last item
	bytes uint64
	files uint64 // that end in it

	got  []gotItem
	err  error
	done chan struct{}
}

// hole is a range of a file that reads as zeros.
type hole struct {
	ino      volume.Ino
	off, len int64
}

// gotItem is the content of one item: runs whose Data is nil are here already.
type gotItem struct {
	runs []gotRun
	gone bool // there is no such file any more
}

type gotRun struct {
	off    int // from the item's
	len    int
	hash   volume.ChunkID
	data   []byte
	stored bool // as the chunk it is, just now
}

// content brings the content of all files of the snapshot.
func (s *Sync) content(ctx context.Context, leader Source, sources func() []Source) error {
	raw, err := s.engine.Cursor()
	if err != nil {
		return err
	}
	at, err := decodeCursor(raw)
	if err != nil || at == maxCursor {
		return err
	}
	if s.opt.Into != nil {
		if at, err = s.shape(ctx, raw == nil, at); err != nil {
			return err
		}
	}
	snap, err := s.engine.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	had, err := amountBefore(snap, at)
	if err != nil {
		return err
	}
	var all Amount
	all.Files, all.Bytes = snap.Counts()
	ctx, cancel := context.WithCancel(ctx)
	c := &collector{s: s, ctx: ctx, snap: snap, leader: leader, sources: sources, failed: map[string]time.Time{},
		count: s.opt.Phase("copying content", all, had), known: s.holdsSome() && !s.opt.Full}
	todo, ordered := make(chan *batch), make(chan *batch, inFlight)
	produced := make(chan error, 1)
	var fetchers sync.WaitGroup
	for range inFlight {
		fetchers.Go(func() { c.fetch(todo) })
	}
	go func() {
		defer close(ordered)
		defer close(todo)
		produced <- c.produce(at, func(b *batch) bool {
			for _, to := range []chan *batch{ordered, todo} {
				select {
				case to <- b:
				case <-ctx.Done():
					return false
				}
			}
			return true
		})
	}()
	err = c.collect(ordered)
	cancel()
	if perr := <-produced; err == nil {
		err = perr
	}
	fetchers.Wait()
	if err != nil {
		return err
	}
	if s.opt.Into != nil {
		if err := s.settleDir(ctx); err != nil {
			return err
		}
	}
	if err := s.engine.SetContent(nil, maxCursor.encode()); err != nil {
		return err
	}
	return s.engine.Flush()
}

// amountBefore is how much content an earlier run has brought, which ended at a cursor.
func amountBefore(snap *index.Snapshot, at cursor) (a Amount, err error) {
	if at.ino == 0 {
		return a, nil
	}
	err = snap.Inodes(0, func(i volume.Attr) bool {
		switch {
		case i.Ino > at.ino:
			return false
		case !i.IsFile():
		case i.Ino == at.ino:
			a.Bytes += uint64(min(at.off, i.Size))
		default:
			a.Files++
			a.Bytes += uint64(i.Size)
		}
		return true
	})
	return a, err
}

// holdsSome reports whether some of the content may be here already.
func (s *Sync) holdsSome() bool {
	if s.opt.Into != nil {
		return s.into.holds
	}
	return s.opt.Chunks.Stats().Chunks > 0
}

type collector struct {
	s       *Sync
	ctx     context.Context
	snap    *index.Snapshot
	leader  Source
	sources func() []Source
	count   func(files, bytes uint64, path string)
	known   bool // this store holds chunks, so hashes are worth asking for
	turn    atomic.Uint32

	mu     sync.Mutex
	failed map[string]time.Time // sources, and when they last failed to serve

	shared   []byte
	inShared []sharedRun
	parts    []index.Content
	unsynced int
	end      cursor // of the parts
	flushed  time.Time
}

// sharedRun is an extent whose chunk is still being filled.
type sharedRun struct {
	part, extent int
	off          int64 // in the chunk
}

// produce makes batches of all content from a cursor on, in order.
func (c *collector) produce(at cursor, emit func(*batch) bool) error {
	b := &batch{done: make(chan struct{})}
	send := func() bool {
		if len(b.items) == 0 && len(b.holes) == 0 {
			return true
		}
		ok := emit(b)
		b = &batch{done: make(chan struct{})}
		return ok
	}
	stopped := false
	var failed error
	err := c.snap.Inodes(at.ino, func(a volume.Attr) bool {
		if !a.IsFile() {
			return true
		}
		off := int64(0)
		if a.Ino == at.ino {
			off = at.off
		}
		add := func(off, end int64) bool {
			for off < end {
				n := min(volume.MaxContentItem-off%volume.MaxContentItem, end-off)
				if len(b.items) > 0 && (int64(b.bytes)+n > batchBytes || len(b.items) == batchItems) && !send() {
					stopped = true
					return false
				}
				b.items = append(b.items, volume.ContentItem{Ino: a.Ino, Off: off, Len: int(n)})
				b.bytes += uint64(n)
				off += n
				b.end = cursor{a.Ino, off}
			}
			return true
		}
		if c.s.opt.Into != nil && a.Size > 0 {
			var same bool
			if same, failed = c.s.sameFile(&a); failed != nil || same {
				c.count(1, uint64(a.Size-off), "")
				return failed == nil
			}
		}
		b.files++
		if a.Size <= volume.MaxContentItem {
			return add(off, a.Size)
		}
		failed = c.ranges(&a, off, add, func(off, end int64) bool {
			if !c.s.into.holds {
				return true
			}
			if len(b.holes) == batchItems && !send() {
				stopped = true
				return false
			}
			b.holes, b.end = append(b.holes, hole{a.Ino, off, end - off}), cursor{a.Ino, end}
			return true
		})
		return failed == nil && !stopped
	})
	if failed != nil {
		err = failed
	}
	if err != nil {
		return err
	}
	if stopped || !send() {
		return volume.Errorf(volume.Interrupted, "copy content: %w", context.Cause(c.ctx))
	}
	return nil
}

// ranges calls fn for the parts of a large file that have data, at the leader as it is
// now, and hole for the others. What has come there since is in the ops that follow.
func (c *collector) ranges(a *volume.Attr, off int64, fn, hole func(off, end int64) bool) error {
	for off < a.Size {
		b, err := c.leader.CallAll(c.ctx, volume.RequestRanges, volume.RangesRequest(c.s.from.Version, a.Ino, off), volume.MaxRangesAnswer)
		if err != nil {
			return volume.Wrap(err, "ask where a file has data")
		}
		list, more, err := volume.DecodeRanges(b, off)
		if err != nil {
			return err
		}
		for _, r := range list {
			if end := min(r.Off, a.Size); off < end && !hole(off, end) {
				return nil
			}
			off = r.Off + r.Len
			if r.Off < a.Size && !fn(r.Off, min(off, a.Size)) {
				return nil
			}
		}
		if !more {
			if off < a.Size {
				hole(off, a.Size)
			}
			return nil
		}
	}
	return nil
}

// fetch asks for batches until there are no more.
func (c *collector) fetch(todo <-chan *batch) {
	for b := range todo {
		b.err = c.fetchOne(b)
		close(b.done)
	}
}

// fetchOne asks one of the sources, and the leader if that one cannot serve.
func (c *collector) fetchOne(b *batch) error {
	others := c.working()
	n := int(c.turn.Add(1)) % (len(others) + 1)
	if n > 0 {
		from := others[n-1]
		ctx, cancel := context.WithTimeout(c.ctx, c.s.opt.Patience)
		err := c.ask(ctx, from, b)
		cancel()
		if err == nil || c.ctx.Err() != nil {
			return err
		}
		c.s.opt.Log0.Debug().Err(err).Str("peer", from.ID).Msg("sync: this node does not serve content: asking others")
		c.mu.Lock()
		c.failed[from.ID] = time.Now()
		c.mu.Unlock()
	}
	return c.ask(c.ctx, c.leader, b)
}

// working are the sources beside the leader, without those that failed lately.
func (c *collector) working() []Source {
	list := c.sources()
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(list, func(s Source) bool {
		at, failed := c.failed[s.ID]
		return failed && time.Since(at) < waitSource
	})
}

// ask brings a batch from one node: hashes first where chunks may be here already.
func (c *collector) ask(ctx context.Context, from Source, b *batch) error {
	b.got = make([]gotItem, len(b.items))
	want := make([]int, 0, len(b.items)) // indexes of items to be asked for whole
	var hashes []int
	for i, it := range b.items {
		if c.known && it.Len >= ownChunk {
			hashes = append(hashes, i)
		} else {
			want = append(want, i)
		}
	}
	if len(hashes) > 0 {
		missing, err := c.askHashes(ctx, from, b, hashes)
		if err != nil {
			return err
		}
		want = append(want, missing...)
	}
	if len(want) == 0 {
		return nil
	}
	return c.request(ctx, from, b, want, false, func(i int, r *volume.ContentReader, runs []volume.ContentRun) error {
		for _, run := range runs {
			data := buffer(run.Len)
			if err := r.Content(run, data); err != nil {
				return err
			}
			c.s.opt.From(from.ID, uint64(run.Len))
			got := gotRun{off: run.Off, len: run.Len, hash: run.Hash, data: data}
			if c.own(run.Len) {
				// Here and not where batches are put in order: packing and writing large
				// chunks is most of the work.
				err := c.put(c.ctx, run.Hash, data)
				unbuffer(data)
				if err != nil {
					return volume.Wrap(err, "store content")
				}
				got.data, got.stored = nil, true
			}
			b.got[i].runs = append(b.got[i].runs, got)
		}
		return nil
	})
}

// own reports whether a run of n bytes is a chunk of its own.
func (c *collector) own(n int) bool {
	size := int(c.s.opt.ChunkSize)
	return c.s.opt.Into == nil && n >= min(ownChunk, size) && n <= size
}

// askHashes says which items have content that is not here; the others are done.
func (c *collector) askHashes(ctx context.Context, from Source, b *batch, items []int) (missing []int, err error) {
	err = c.request(ctx, from, b, items, true, func(i int, _ *volume.ContentReader, runs []volume.ContentRun) error {
		var got []gotRun
		for _, run := range runs {
			here, err := c.s.hasRun(c.ctx, b.items[i], run)
			if err != nil {
				return err
			}
			if !here {
				missing = append(missing, i)
				return nil
			}
			got = append(got, gotRun{off: run.Off, len: run.Len, hash: run.Hash})
		}
		b.got[i].runs = got
		return nil
	})
	return missing, err
}

// request asks for some items of a batch and calls fn with what comes.
func (c *collector) request(ctx context.Context, from Source, b *batch, items []int, hashes bool, fn func(i int, r *volume.ContentReader, runs []volume.ContentRun) error) error {
	q := &volume.ContentRequest{Hashes: hashes, From: c.s.from.Version}
	for _, i := range items {
		q.Items = append(q.Items, b.items[i])
		b.got[i] = gotItem{}
	}
	a, err := from.Call(ctx, volume.RequestContent, q.Encode())
	if err != nil {
		return volume.Wrap(err, "ask for content")
	}
	defer a.Close()
	r := volume.NewContentReader(a, q)
	for _, i := range items {
		_, runs, gone, err := r.Next() // what is gone is gone in the ops that follow, too
		b.got[i].gone = gone
		if err == nil {
			err = fn(i, r, runs)
		}
		if err != nil {
			return volume.Wrap(err, "receive content")
		}
	}
	return nil
}

// collect stores batches in their order and enters them.
func (c *collector) collect(ordered <-chan *batch) error {
	c.flushed = time.Now()
	for b := range ordered {
		select {
		case <-b.done:
		case <-c.ctx.Done():
			return volume.Errorf(volume.Interrupted, "copy content: %w", context.Cause(c.ctx))
		}
		if b.err != nil {
			return b.err
		}
		for _, h := range b.holes {
			if err := c.s.punch(c.ctx, h); err != nil {
				return err
			}
		}
		for i := range b.items {
			if err := c.store(b.items[i], &b.got[i]); err != nil {
				return err
			}
		}
		c.end = b.end
		path, _ := index.PathOf(c.snap.Names, b.end.ino)
		c.count(b.files, b.bytes, path)
		if c.unsynced >= syncBytes || len(c.parts) >= syncParts {
			if err := c.enter(); err != nil {
				return err
			}
		}
	}
	if c.ctx.Err() != nil {
		return volume.Errorf(volume.Interrupted, "copy content: %w", context.Cause(c.ctx))
	}
	return c.enter()
}
