package hostdir

import (
	"context"
	"encoding/binary"

	"wolfdisk/volume"
)

// Ops of other nodes are recorded before they are applied, a frame at a time. How far the last
// frame has come is noted in the head of the intent file, in two places that ops take by
// turns, so that one of them is whole at any moment:
//
//	1024, 2048  by the last bit of the op's version; 1,024 bytes each:
//	   0  4   state: 0 nothing, 1 the op is being applied, 2 it was; written last, atomically
//	   4  2   length of the record of the inode   6  2  of that of the replaced inode
//	   8  8   version of the op                  16  8  version at the frame's end
//	  24  16  digest there
//	  40  8   inode                              48  8  replaced inode
//	  64  256 the first record                  320  256 the second
//
// The records, of ops that change names, are those before the op: the index may have lost
// them when the process died, and then nothing else says which of two files is which.
const (
	progressAt   = 1024
	progressLen  = 1024
	recordRoom   = 256
	progressBusy = 1
	progressDone = 2
)

// progress is one of the two places, as an earlier process has left it.
type progress struct {
	state   uint32
	version volume.Version
	end     volume.Position // without the epoch
	records []volume.LowerRecord
}

func (n *intentFile) progress(v volume.Version) []byte {
	return n.mem[progressAt+progressLen*int(v&1):][:progressLen]
}

var _ volume.Resumer = (*Dir)(nil)

// Applying implements volume.Resumer.
func (d *Dir) Applying(op *volume.Op, end volume.Position, view volume.View) error {
	if d.closed.Load() {
		return nil // as Apply will say
	}
	b, le := d.intents.progress(op.Version), binary.LittleEndian
	stateOf(b).Store(0)
	le.PutUint32(b[4:], 0)
	le.PutUint64(b[8:], uint64(op.Version))
	le.PutUint64(b[16:], uint64(end.Version))
	copy(b[24:40], end.Digest[:])
	switch op.Kind {
	case volume.OpLink, volume.OpUnlink, volume.OpRmdir, volume.OpRename, volume.OpPublish, volume.OpEnd:
		for i, ino := range [2]volume.Ino{op.Ino, op.Replaced} {
			le.PutUint64(b[40+8*i:], uint64(ino))
			if ino == 0 || ino == volume.RootIno {
				continue
			}
			rec, err := d.recordOf(ino, view)
			if err != nil {
				return err
			}
			if rec != nil {
				le.PutUint16(b[4+2*i:], uint16(copy(b[64+recordRoom*i:][:recordRoom], rec.encode(ino).Value)))
			}
		}
	}
	stateOf(b).Store(progressBusy)
	return nil
}

// Applied implements volume.Resumer.
func (d *Dir) Applied(op *volume.Op) {
	if !d.closed.Load() {
		stateOf(d.intents.progress(op.Version)).Store(progressDone)
	}
}

// readProgress decodes a place; the state is 0 if there is nothing in it.
func readProgress(b []byte) (p progress) {
	le := binary.LittleEndian
	p.state = stateOf(b).Load()
	if p.state != progressBusy && p.state != progressDone {
		return progress{}
	}
	p.version = volume.Version(le.Uint64(b[8:]))
	p.end.Version = volume.Version(le.Uint64(b[16:]))
	copy(p.end.Digest[:], b[24:40])
	for i := range 2 {
		ino, n := volume.Ino(le.Uint64(b[40+8*i:])), int(le.Uint16(b[4+2*i:]))
		if n == 0 || n > recordRoom || !ino.Valid() {
			continue
		}
		value := append([]byte(nil), b[64+recordRoom*i:][:n]...)
		if rec, err := decodeRecord(value); err == nil {
			p.records = append(p.records, rec.encode(ino))
		}
	}
	return p
}

// lastProgress is what was noted last of a frame; the state is 0 if nothing was.
func (n *intentFile) lastProgress(end volume.Position) (last progress) {
	for v := range volume.Version(2) {
		p := readProgress(n.progress(v))
		if p.state != 0 && p.end.Version == end.Version && p.end.Digest == end.Digest && p.version >= last.version {
			last = p
		}
	}
	return last
}

// Unapplied is the first op of the last frame of the log, which other nodes made and which goes
// from first to end, that may not be applied in the directory; it is behind the end if all are.
func (d *Dir) Unapplied(first volume.Version, end volume.Position) volume.Version {
	p := d.intents.lastProgress(end)
	switch {
	case p.state == 0 || p.version < first || p.version > end.Version:
		return first
	case p.state == progressDone:
		return p.version + 1
	}
	return p.version
}

// Before says which lower files the inodes are that ops touch, from before they were applied.
type Before struct {
	keys map[string]volume.Ino
	// born is the inode that the first of the ops was making, 0 if none, and at its name.
	born volume.Ino
	at   volume.NameRef
}

// Remember prepares Reapply. The index must stand right before the ops that touched has seen, the
// first of which is given, of a frame that ends at end; and earlier is what the ops between the last
// checkpoint and them touched, whose records may be lost. The caller stores PendingLower before
// the index goes on.
func (d *Dir) Remember(ctx context.Context, view volume.View, first *volume.Op, end volume.Position, earlier, touched *Touched) (*Before, error) {
	b := &Before{keys: make(map[string]volume.Ino, len(touched.Inodes))}
	if p := d.intents.lastProgress(end); p.state == progressBusy && p.version == first.Version {
		if first.Kind == volume.OpCreate && first.Parent != 0 {
			b.born, b.at = first.Ino, volume.NameRef{Parent: first.Parent, Name: first.Name}
		}
		for _, l := range p.records {
			if err := d.recall(l, view); err != nil {
				return nil, volume.Wrap(err, "take over the record of inode "+l.Ino.String())
			}
		}
	}
	if err := d.Relearn(ctx, view, earlier); err != nil {
		return nil, err
	}
	for ino := range touched.Inodes {
		rec, err := d.recordOf(ino, view)
		if err != nil {
			return nil, err
		}
		if rec != nil {
			b.keys[rec.key] = ino
		}
	}
	return b, nil
}

// recall takes a noted record for an inode that has lost its own.
func (d *Dir) recall(l volume.LowerRecord, view volume.View) error {
	if _, err := view.Inode(l.Ino); err != nil {
		if volume.KindOf(err) == volume.NotFound {
			return nil
		}
		return err
	}
	rec, err := d.recordOf(l.Ino, view)
	if err != nil || rec != nil {
		return err
	}
	if rec, err = decodeRecord(l.Value); err == nil && d.known(rec) {
		d.pending.put(l.Ino, rec)
	}
	return err
}
