package oplog

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// The durable mark is a small file that says through which version this log was
// made durable: written after each sync, so it only ever says what is true, and
// synced itself by the background only, about every Options.SyncEvery while there are
// ops: in a daemon a quarter of a second.
// By it recovery tells a torn tail from damage to acknowledged data.
//
// It also names the epoch in which ops were last numbered here. Frames say what was
// durable where they were made; only those of this epoch speak of this log.
//
//	  0  8  magic "WDdurab" and a zero
//	  8  4  format version
//	 12  4  0
//	 16 16  volume ID
//	 32  8  version
//	 40 16  digest after it
//	 56  8  own epoch: number, 0 if there is none
//	 64  4  its tag
//	 68  1  length of its leader ID, bytes
//	 72 64  its leader ID, padded with zeros
//	136  8  XXH3-64 of the mark up to here
const (
	markMagic = "WDdurab\x00"
	markLen   = 144
	markName  = "durable"
)

// durableMark is what the mark says.
type durableMark struct {
	version volume.Version
	digest  volume.Digest
	own     volume.Epoch
}

func (m *durableMark) encode(id volume.ID) []byte {
	le := binary.LittleEndian
	b := make([]byte, markLen)
	copy(b, markMagic)
	le.PutUint32(b[8:], FormatVersion)
	copy(b[16:], id[:])
	le.PutUint64(b[32:], uint64(m.version))
	copy(b[40:], m.digest[:])
	le.PutUint64(b[56:], m.own.Number)
	le.PutUint32(b[64:], m.own.Tag)
	b[68] = byte(len(m.own.Leader))
	copy(b[72:136], m.own.Leader)
	le.PutUint64(b[136:], xxh3.Hash(b[:136]))
	return b
}

// parseMark reads a durable mark; ok is false if it is torn or was never written.
func parseMark(b []byte) (id volume.ID, m durableMark, ok bool) {
	le := binary.LittleEndian
	if len(b) < markLen || string(b[:8]) != markMagic || le.Uint32(b[8:]) != FormatVersion ||
		le.Uint64(b[136:]) != xxh3.Hash(b[:136]) || b[68] > volume.MaxNodeIDLen {
		return id, m, false
	}
	return volume.ID(b[16:32]), durableMark{
		version: volume.Version(le.Uint64(b[32:])),
		digest:  volume.Digest(b[40:56]),
		own:     volume.Epoch{Number: le.Uint64(b[56:]), Tag: le.Uint32(b[64:]), Leader: string(b[72 : 72+b[68]])},
	}, true
}

// openMark opens the durable mark and reads it.
func (l *Log) openMark() error {
	f, err := l.fs.OpenReadWrite(l.fs.PathJoin(l.opts.Dir, markName), writeCategory)
	if err != nil {
		return volume.Errorf(ioKind(err), "open durable mark: %w", err)
	}
	l.markFile = f
	var b [markLen]byte
	n, err := f.ReadAt(b[:], 0)
	if n < markLen && err != nil && !errors.Is(err, io.EOF) {
		return volume.Errorf(ioKind(err), "read durable mark: %w", err)
	}
	id, m, ok := parseMark(b[:n])
	if !ok {
		return nil // new, or torn: no evidence
	}
	if id != l.opts.Volume {
		return volume.Errorf(volume.WrongVolume, "durable mark: this is the log of volume %s, not of %s", id, l.opts.Volume)
	}
	l.marked = m
	return nil
}

// writeMark changes the mark. It is evidence for recovery and nothing else depends
// on it, so a failure is worth a warning only.
func (l *Log) writeMark(change func(m *durableMark)) {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	change(&l.marked)
	if _, err := l.markFile.WriteAt(l.marked.encode(l.opts.Volume), 0); err != nil {
		l.log.Warn().Err(err).Msg("oplog: writing the durable mark")
	}
}

// markDurable notes that everything through a position is durable.
func (l *Log) markDurable(p volume.Position) {
	l.writeMark(func(m *durableMark) { m.version, m.digest = p.Version, p.Digest })
}

// markOwn notes that ops are numbered here in an epoch. w is held.
func (l *Log) markOwn(e volume.Epoch) {
	if l.own != e {
		l.own = e
		l.writeMark(func(m *durableMark) { m.own = e })
	}
}

// syncMark makes the mark durable.
func (l *Log) syncMark() error {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	if err := l.markFile.SyncData(); err != nil {
		return volume.Errorf(ioKind(err), "sync durable mark: %w", err)
	}
	return nil
}

// remark makes the mark say, durably, that the log begins anew behind a position.
func (l *Log) remark(p volume.Position) error {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	l.marked = durableMark{version: p.Version, digest: p.Digest}
	_, err := l.markFile.WriteAt(l.marked.encode(l.opts.Volume), 0)
	if err == nil {
		err = l.markFile.SyncData()
	}
	if err != nil {
		return volume.Errorf(ioKind(err), "write durable mark: %w", err)
	}
	return nil
}
