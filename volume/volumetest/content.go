package volumetest

import "math"

const pageSize = 4096 // bytes

// content is a sparse file: pages that are not there are zeros.
type content struct {
	pages map[int64]*[pageSize]byte // by offset / pageSize
}

func (c *content) clone() content {
	d := content{pages: make(map[int64]*[pageSize]byte, len(c.pages))}
	for i, p := range c.pages {
		q := *p
		d.pages[i] = &q
	}
	return d
}

// read fills p from off.
func (c *content) read(p []byte, off int64) {
	for len(p) > 0 {
		at := off % pageSize
		n := min(int64(len(p)), pageSize-at)
		if page := c.pages[off/pageSize]; page != nil {
			copy(p[:n], page[at:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

func (c *content) write(p []byte, off int64) {
	if c.pages == nil {
		c.pages = map[int64]*[pageSize]byte{}
	}
	for len(p) > 0 {
		at := off % pageSize
		page := c.pages[off/pageSize]
		if page == nil {
			page = new([pageSize]byte)
			c.pages[off/pageSize] = page
		}
		n := copy(page[at:], p)
		p, off = p[n:], off+int64(n)
	}
}

// zero makes [off, end) read as zeros; whole pages become holes.
func (c *content) zero(off, end int64) {
	for i, page := range c.pages {
		first := i * pageSize
		from := max(off, first) - first
		to := min(pageSize, end-first)
		switch {
		case from >= to:
		case from == 0 && to == pageSize:
			delete(c.pages, i)
		default:
			clear(page[from:to])
		}
	}
}

// seek finds the first byte at or behind off that is data, or a hole, in a file of
// the given size; ok is false if there is none before the end.
func (c *content) seek(off, size int64, hole bool) (at int64, ok bool) {
	if hole {
		for c.pages[off/pageSize] != nil {
			if off/pageSize == math.MaxInt64/pageSize {
				return size, true
			}
			off = (off/pageSize + 1) * pageSize
		}
		return min(off, size), true
	}
	next := int64(math.MaxInt64)
	for i := range c.pages {
		if i >= off/pageSize {
			next = min(next, max(i*pageSize, off))
		}
	}
	return next, next < size
}
