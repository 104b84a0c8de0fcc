package hostdir

import (
	"sync"

	"wolfdisk/volume"
)

// holds are the files that somebody on this node has open for reading while other nodes may end
// them: an inode that ends loses its last name below, and then only a descriptor leads to it.
type holds struct {
	mu sync.Mutex
	m  map[volume.Ino]*heldFile
}

type heldFile struct {
	fd    *openFD // in use until the last Let
	count int
}

var _ volume.Holder = (*Dir)(nil)

// Hold implements volume.Holder.
func (d *Dir) Hold(ino volume.Ino, view volume.View) error {
	if d.holds.again(ino) {
		return nil
	}
	e, err := d.file(ino, false, view)
	if err != nil {
		return err
	}
	h := &d.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	if have := h.m[ino]; have != nil { // by another meanwhile
		have.count++
		d.files.put(e)
		return nil
	}
	if h.m == nil {
		h.m = map[volume.Ino]*heldFile{}
	}
	h.m[ino] = &heldFile{e, 1}
	return nil
}

// again holds what is held once more, if it is.
func (h *holds) again(ino volume.Ino) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	have := h.m[ino]
	if have != nil {
		have.count++
	}
	return have != nil
}

// Let implements volume.Holder.
func (d *Dir) Let(ino volume.Ino) {
	h := &d.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	have := h.m[ino]
	if have == nil {
		return
	}
	if have.count--; have.count == 0 {
		delete(h.m, ino)
		d.files.put(have.fd)
	}
}

// held is the descriptor of a file that is held, to be put back; nil if it is not.
func (d *Dir) held(ino volume.Ino) *openFD {
	h := &d.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	have := h.m[ino]
	if have == nil {
		return nil
	}
	d.files.use(have.fd)
	return have.fd
}

// letAll ends all holds.
func (d *Dir) letAll() {
	h := &d.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, have := range h.m {
		d.files.put(have.fd)
	}
	h.m = nil
}
