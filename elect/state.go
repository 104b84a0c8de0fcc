package elect

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"wolfdisk/volume"
)

// State is what must outlive a run of the node. The machine changes Promise alone.
type State struct {
	Cluster volume.ID
	NodeID  string
	Store   volume.ID    // made with the state directory, so a wiped node is recognised
	Promise volume.Epoch // the highest epoch this node agreed to obey
	Boot    string       // the boot in which the daemon last ran
	Clean   bool         // it stopped cleanly
}

// A state file has two slots of SlotSize bytes, written in turn and followed by one
// fdatasync each, so that a torn write leaves the slot before it. The file is made with
// both slots filled, and never grows.
//
//	slot: magic "WOLFELEC" | format u32 | sequence u64 | length u32 | body | CRC-32C of all before, u32 | zeros
//	body: cluster ID | node ID | store ID | promise: number u64, leader, tag u32 | boot ID | flags u8 | length u16, the host's own bytes
//	flags: 1 clean stop
//
// Integers are little-endian; strings have a length of one byte.
const (
	// SlotSize is one slot: a block of every disk, so that a write tears no other.
	SlotSize = 4096
	// MaxHostLen bounds what the host keeps beside the state in the same slot, in bytes.
	MaxHostLen = 2048
	// MaxBootLen bounds a boot ID, in bytes.
	MaxBootLen = 64

	slotMagic  = "WOLFELEC"
	slotFormat = 1
	slotHead   = len(slotMagic) + 4 + 8 + 4
	slotClean  = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Slot is one slot of a state file.
type Slot struct {
	Seq   uint64 // grows by one with every write; the slot's place is Seq mod 2
	State State
	Host  []byte // the host's own, durable in the same write
}

// EncodeSlot makes the SlotSize bytes of a slot.
func EncodeSlot(s *Slot) ([]byte, error) {
	if err := s.State.check(volume.Invalid); err != nil {
		return nil, err
	}
	if len(s.Host) > MaxHostLen {
		return nil, volume.Errorf(volume.TooBig, "state: %d bytes of the host, at most %d", len(s.Host), MaxHostLen)
	}
	body := &writer{}
	s.visit(body)
	le := binary.LittleEndian
	b := append(make([]byte, 0, SlotSize), slotMagic...)
	b = le.AppendUint32(b, slotFormat)
	b = le.AppendUint64(b, s.Seq)
	b = le.AppendUint32(b, uint32(len(body.b)))
	b = append(b, body.b...)
	b = le.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:SlotSize], nil
}

func (s *Slot) visit(c coder) {
	st := &s.State
	c.fixed(st.Cluster[:])
	c.str(&st.NodeID, volume.MaxNodeIDLen)
	c.fixed(st.Store[:])
	visitEpoch(c, &st.Promise)
	c.str(&st.Boot, MaxBootLen)
	flags := uint8(0)
	if st.Clean {
		flags = slotClean
	}
	c.u8(&flags, slotClean)
	st.Clean = flags == slotClean
	c.bytes(&s.Host, MaxHostLen)
}

func (s *State) check(kind volume.Kind) error {
	if s.NodeID != "" {
		if err := volume.CheckNodeID(s.NodeID); err != nil {
			return volume.Errorf(kind, "state: %v", err)
		}
	}
	if len(s.Boot) > MaxBootLen {
		return volume.Errorf(kind, "state: boot ID of %d bytes, at most %d", len(s.Boot), MaxBootLen)
	}
	return checkEpoch(kind, s.Promise)
}

// DecodeSlot reads a slot: Corrupt if it is damaged, WrongVersion if it is intact and of
// a format that is not known here.
func DecodeSlot(b []byte) (*Slot, error) {
	bad := func(what string) error { return volume.Errorf(volume.Corrupt, "state slot: %s", what) }
	le := binary.LittleEndian
	if len(b) != SlotSize || !bytes.HasPrefix(b, []byte(slotMagic)) {
		return nil, bad("no magic")
	}
	n := le.Uint32(b[slotHead-4:])
	if n > uint32(SlotSize-slotHead-4) {
		return nil, bad("length")
	}
	end := slotHead + int(n)
	if le.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil, bad("checksum")
	}
	if f := le.Uint32(b[len(slotMagic):]); f != slotFormat {
		return nil, volume.Errorf(volume.WrongVersion, "state slot: format %d, this program knows %d", f, slotFormat)
	}
	s := &Slot{Seq: le.Uint64(b[len(slotMagic)+4:])}
	r := &reader{b: b[slotHead:end]}
	s.visit(r)
	if err := r.end(); err != nil {
		return nil, bad(err.Error())
	}
	if err := s.State.check(volume.Corrupt); err != nil {
		return nil, err
	}
	return s, nil
}

// ChooseSlot reads a state file of two slots: the intact one with the higher sequence
// number counts. A slot of a format not known here is never passed over, because it may
// hold a higher promise.
func ChooseSlot(file []byte) (*Slot, error) {
	if len(file) != 2*SlotSize {
		return nil, volume.Errorf(volume.Corrupt, "state file has %d bytes, not %d", len(file), 2*SlotSize)
	}
	var best *Slot
	for i := range 2 {
		s, err := DecodeSlot(file[i*SlotSize : (i+1)*SlotSize])
		switch {
		case volume.KindOf(err) == volume.WrongVersion:
			return nil, err
		case err == nil && (best == nil || s.Seq > best.Seq):
			best = s
		}
	}
	if best == nil {
		return nil, volume.Errorf(volume.Corrupt, "state file is damaged in both slots: restore it from a backup, or move the state directory away and let this node sync anew")
	}
	return best, nil
}
