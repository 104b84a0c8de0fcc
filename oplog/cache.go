package oplog

import "sync"

// payloadKey names a frame of this log. After a reset a place may hold another
// frame, so the number of resets is part of the name.
type payloadKey struct {
	resets  uint64
	segment uint64
	frame   int64
}

type payloadEntry struct {
	key        payloadKey
	raw        []byte
	prev, next *payloadEntry
}

// payloadCache keeps verified, decompressed payloads by last use, bounded in
// bytes. Payloads are immutable.
type payloadCache struct {
	mu    sync.Mutex // leaf: nothing is locked while it is held
	max   int64
	bytes int64
	byKey map[payloadKey]*payloadEntry
	list  payloadEntry // of a ring: list.next is the newest, list.prev the oldest
}

func newPayloadCache(max int64) *payloadCache {
	c := &payloadCache{max: max, byKey: make(map[payloadKey]*payloadEntry)}
	c.list.prev, c.list.next = &c.list, &c.list
	return c
}

func (c *payloadCache) get(key payloadKey) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[key]
	if e == nil {
		return nil, false
	}
	c.unlink(e)
	c.front(e)
	return e.raw, true
}

func (c *payloadCache) put(key payloadKey, raw []byte) {
	if int64(len(raw)) > c.max {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key] != nil {
		return // two readers missed at once; payloads of a place are equal
	}
	e := &payloadEntry{key: key, raw: raw}
	c.byKey[key] = e
	c.front(e)
	c.bytes += int64(len(raw))
	for c.bytes > c.max {
		old := c.list.prev
		c.unlink(old)
		delete(c.byKey, old.key)
		c.bytes -= int64(len(old.raw))
	}
}

// clear forgets everything.
func (c *payloadCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byKey)
	c.bytes = 0
	c.list.prev, c.list.next = &c.list, &c.list
}

func (c *payloadCache) front(e *payloadEntry) {
	e.prev, e.next = &c.list, c.list.next
	e.prev.next, e.next.prev = e, e
}

func (c *payloadCache) unlink(e *payloadEntry) {
	e.prev.next, e.next.prev = e.next, e.prev
}
