package hostdir

import (
	"sync"

	"wolfdisk/volume"
)

// pending holds records that wait to be stored in the index. What was handed out is
// remembered until the next time, for it may not be readable in the index yet.
type pending struct {
	mu    sync.Mutex
	fresh map[volume.Ino]*record
	taken map[volume.Ino]*record
	// owners finds by their keys the inodes of files that have several names, of records that were made
	// because there were none; until they are readable in the index.
	owners, ownersTaken map[string]volume.Ino
	// refused collects what lower file systems did not take since the inode's last
	// record.
	refused map[volume.Ino]uint8
}

func newPending() *pending {
	return &pending{fresh: map[volume.Ino]*record{}, owners: map[string]volume.Ino{}, refused: map[volume.Ino]uint8{}}
}

func (p *pending) find(ino volume.Ino) *record {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.fresh[ino]; r != nil {
		return r
	}
	return p.taken[ino]
}

func (p *pending) put(ino volume.Ino, r *record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.flags |= p.refused[ino]
	delete(p.refused, ino)
	p.fresh[ino] = r
}

// own notes whose a file is that has several names.
func (p *pending) own(key string, ino volume.Ino) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owners[key] = ino
}

// owner is whose a file was last noted to be, 0 if it was not.
func (p *pending) owner(key string) volume.Ino {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ino := p.owners[key]; ino != 0 {
		return ino
	}
	return p.ownersTaken[key]
}

// refuse notes what the lower file system did not take.
func (p *pending) refuse(ino volume.Ino, flag uint8) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[ino] |= flag
}

// refusals is what was refused for an inode since its last record.
func (p *pending) refusals(ino volume.Ino) uint8 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[ino]
}

// takeRefused returns and forgets what was refused for an inode.
func (p *pending) takeRefused(ino volume.Ino) uint8 {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.refused[ino]
	delete(p.refused, ino)
	return f
}

// forget drops all that is kept about an inode whose life has ended.
func (p *pending) forget(ino volume.Ino) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fresh, ino)
	delete(p.taken, ino)
	delete(p.refused, ino)
}

func (p *pending) take() []volume.LowerRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ownersTaken, p.owners = p.owners, map[string]volume.Ino{}
	if len(p.fresh) == 0 {
		p.taken = nil
		return nil
	}
	out := make([]volume.LowerRecord, 0, len(p.fresh))
	for ino, r := range p.fresh {
		out = append(out, r.encode(ino))
	}
	p.taken, p.fresh = p.fresh, map[volume.Ino]*record{}
	return out
}

// PendingLower returns the records that were made aside of ops (by settling, or found
// again after a crash) since it was last called. The caller stores them in the
// index soon, dropping those of inodes that are gone; one that is lost costs nothing
// but the detection of a foreign change to that file.
func (d *Dir) PendingLower() []volume.LowerRecord { return d.pending.take() }
