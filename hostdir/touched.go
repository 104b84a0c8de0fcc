package hostdir

import (
	"wolfdisk/volume"
)

// deadPrefix begins the names in staging of files that are to be removed when a redo
// has found all it was looking for.
const deadPrefix = "dead-"

// Touched collects what the ops since a checkpoint concern: Add is called with each,
// in order. Its size is bounded by the number of names and inodes touched between
// two checkpoints. It is not safe for concurrent use.
type Touched struct {
	// Names maps each name touched to the inode that had it before the first op, 0 if
	// it was free.
	Names map[volume.NameRef]volume.Ino
	// Inodes maps each inode touched to whether it was created after the checkpoint.
	Inodes map[volume.Ino]bool
	// Last is the latest op's time.
	Last volume.Time
}

// NewTouched returns an empty set.
func NewTouched() *Touched {
	return &Touched{Names: map[volume.NameRef]volume.Ino{}, Inodes: map[volume.Ino]bool{}}
}

// Add notes an op.
func (t *Touched) Add(op *volume.Op) {
	if op.Kind == volume.OpReign || op.Kind == volume.OpMember {
		return
	}
	if op.Time.Compare(t.Last) > 0 {
		t.Last = op.Time
	}
	switch op.Kind {
	case volume.OpCreate:
		t.inode(op.Ino, true)
		if op.Parent != 0 {
			t.name(op.Parent, op.Name, 0)
		}
	case volume.OpLink:
		t.name(op.Parent, op.Name, 0)
	case volume.OpUnlink, volume.OpRmdir:
		t.name(op.Parent, op.Name, op.Ino)
	case volume.OpPublish:
		t.name(op.Parent, op.Name, op.Replaced)
	case volume.OpRename:
		t.name(op.Parent, op.Name, op.Ino)
		t.name(op.NewParent, op.NewName, op.Replaced)
	}
	t.inode(op.Ino, false)
	t.inode(op.Replaced, false)
}

func (t *Touched) inode(ino volume.Ino, created bool) {
	if ino == 0 {
		return
	}
	if _, ok := t.Inodes[ino]; !ok {
		t.Inodes[ino] = created
	}
}

func (t *Touched) name(dir volume.Ino, name string, held volume.Ino) {
	t.inode(dir, false)
	ref := volume.NameRef{Parent: dir, Name: name}
	if _, ok := t.Names[ref]; !ok {
		t.Names[ref] = held
	}
}
