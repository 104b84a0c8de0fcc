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
	fd    *openFD // in use until the last Release
	count int
}

// Retain implements volume.Backing.
func (d *Dir) Retain(ino volume.Ino, view volume.View) error {
	if d.holds.again(ino) {
		return nil
	}
	e, err := d.file(ino, false, view)
	if err != nil {
		return err
	}
	if !d.holds.first(ino, e) {
		d.files.put(e) // by another meanwhile
	}
	return nil
}

// first holds a descriptor unless the inode is held already, which is then held once more.
func (h *holds) first(ino volume.Ino, e *openFD) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if have := h.m[ino]; have != nil {
		have.count++
		return false
	}
	if h.m == nil {
		h.m = map[volume.Ino]*heldFile{}
	}
	h.m[ino] = &heldFile{e, 1}
	return true
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

// Release implements volume.Backing.
func (d *Dir) Release(ino volume.Ino) {
	if last := d.holds.let(ino); last != nil {
		d.files.put(last)
	}
}

// let is the descriptor that nobody holds any more, nil if there is none.
func (h *holds) let(ino volume.Ino) *openFD {
	h.mu.Lock()
	defer h.mu.Unlock()
	have := h.m[ino]
	if have == nil {
		return nil
	}
	if have.count--; have.count > 0 {
		return nil
	}
	delete(h.m, ino)
	return have.fd
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
