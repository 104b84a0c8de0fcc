package chunkstore

import (
	"container/list"
	"sync"

	"wolfdisk/volume"
)

// cache keeps decoded chunks, the least recently used go first. The newest stays even
// if it is larger than the whole cache, or reading a large chunk piece by piece would
// decode it for every piece.
type cache struct {
	limit int64

	mu    sync.Mutex
	bytes int64
	order *list.List // of *cached, most recent first
	items map[volume.ChunkID]*list.Element
}

type cached struct {
	id      volume.ChunkID
	content []byte
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, order: list.New(), items: make(map[volume.ChunkID]*list.Element)}
}

func (c *cache) get(id volume.ChunkID) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.items[id]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*cached).content, true
}

func (c *cache) add(id volume.ChunkID, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[id]; ok {
		c.order.MoveToFront(el)
		return
	}
	c.items[id] = c.order.PushFront(&cached{id, content})
	c.bytes += int64(cap(content))
	for c.bytes > c.limit && c.order.Len() > 1 {
		c.dropLocked(c.order.Back())
	}
}

func (c *cache) remove(id volume.ChunkID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[id]; ok {
		c.dropLocked(el)
	}
}

func (c *cache) dropLocked(el *list.Element) {
	it := c.order.Remove(el).(*cached)
	delete(c.items, it.id)
	c.bytes -= int64(cap(it.content))
}
