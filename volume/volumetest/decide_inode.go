package volumetest

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"wolfdisk/volume"
)

// kill takes from an op's inode what KillPriv says the caller may not keep.
func kill(n *inode, op *volume.Op) {
	if n.attr.IsDir() {
		return
	}
	mode := n.attr.Mode & volume.ModePerm &^ volume.ModeSetUID
	if mode&0o010 != 0 {
		mode &^= volume.ModeSetGID
	}
	if mode != n.attr.Mode&volume.ModePerm {
		op.Mask |= volume.SetMode
		op.Mode = mode
	}
	dropCaps(n, op)
}

func dropCaps(n *inode, op *volume.Op) {
	if _, ok := n.xattrs[volume.XattrCapability]; ok {
		op.Flags |= volume.OpDropCaps
	}
}

func (m *Model) decideSetAttr(req *volume.Request, now volume.Time) (decision, error) {
	n, err := m.live(req.Ino)
	if err != nil {
		return decision{}, err
	}
	d := decision{n: n}
	if req.Set&volume.SetSize != 0 {
		if _, err := m.file(req.Ino); err != nil {
			return decision{}, err
		}
		if req.Size < 0 {
			return decision{}, volume.Invalid
		}
		if req.Size > volume.MaxNewSize {
			return decision{}, volume.TooBig
		}
		op := newOp(req, volume.OpTruncate)
		op.Ino, op.Size = req.Ino, req.Size
		if req.KillPriv {
			kill(n, op)
		}
		d.ops = append(d.ops, op)
	}

	const explicit = volume.SetMode | volume.SetUID | volume.SetGID | volume.SetAtime | volume.SetMtime
	op := newOp(req, volume.OpSetAttr)
	op.Ino = req.Ino
	op.Mask = req.Set & explicit
	if req.Set&volume.SetAtimeNow != 0 {
		op.Mask |= volume.SetAtime
	}
	if req.Set&volume.SetMtimeNow != 0 {
		op.Mask |= volume.SetMtime
	}
	if req.Set == 0 && req.KillPriv {
		if kill(n, op); op.Mask != 0 || op.Flags != 0 {
			d.ops = append(d.ops, op)
		}
		return d, nil
	}
	if op.Mask == 0 {
		return d, nil
	}
	if op.Mask&volume.SetMode != 0 {
		if n.attr.Type() == volume.ModeLink {
			return decision{}, volume.Unsupported
		}
		op.Mode = req.Mode & volume.ModePerm
	}
	if op.Mask&volume.SetUID != 0 {
		op.UID = req.UID
	}
	if op.Mask&volume.SetGID != 0 {
		op.GID = req.GID
	}
	if op.Atime, err = chosenTime(req.Set, volume.SetAtime, volume.SetAtimeNow, req.Atime, now); err != nil {
		return decision{}, err
	}
	if op.Mtime, err = chosenTime(req.Set, volume.SetMtime, volume.SetMtimeNow, req.Mtime, now); err != nil {
		return decision{}, err
	}
	if op.Mask&(volume.SetUID|volume.SetGID) != 0 && !n.attr.IsDir() {
		dropCaps(n, op)
	}
	if req.KillPriv && op.Mask&volume.SetMode == 0 {
		kill(n, op)
	}
	for _, first := range d.ops {
		first.Caller.Seq = 0 // the last op says that the request is done
	}
	d.ops = append(d.ops, op)
	return d, nil
}

func chosenTime(set, bit, bitNow volume.SetMask, t, now volume.Time) (volume.Time, error) {
	switch {
	case set&bitNow != 0:
		return now, nil
	case set&bit == 0:
		return volume.Time{}, nil
	case t.Nsec >= 1e9:
		return volume.Time{}, volume.Invalid
	}
	return t, nil
}

func (m *Model) decideWrite(req *volume.Request) (decision, error) {
	n, err := m.file(req.Ino)
	if err != nil {
		return decision{}, err
	}
	off := req.Offset
	if req.Append {
		off = n.attr.Size
	}
	d := decision{n: n, offset: off}
	switch {
	case off < 0, len(req.Data) > volume.MaxWrite:
		return decision{}, volume.Invalid
	case len(req.Data) == 0:
		return d, nil
	case off >= volume.MaxNewSize:
		return decision{}, volume.TooBig
	}
	d.count = len(req.Data)
	if room := volume.MaxNewSize - off; room < int64(d.count) {
		d.count = int(room)
	}
	op := newOp(req, volume.OpWrite)
	op.Ino, op.Offset, op.Data = req.Ino, off, bytes.Clone(req.Data[:d.count])
	if req.KillPriv {
		kill(n, op)
	}
	d.ops = []*volume.Op{op}
	return d, nil
}

func (m *Model) decideFallocate(req *volume.Request) (decision, error) {
	n, err := m.file(req.Ino)
	if err != nil {
		return decision{}, err
	}
	if req.Offset < 0 || req.Length <= 0 {
		return decision{}, volume.Invalid
	}
	switch req.Alloc {
	case 0, volume.FallocKeepSize, volume.FallocPunchHole | volume.FallocKeepSize,
		volume.FallocZeroRange, volume.FallocZeroRange | volume.FallocKeepSize:
	default:
		return decision{}, volume.Unsupported
	}
	if req.Offset > volume.MaxNewSize || req.Length > volume.MaxNewSize-req.Offset {
		return decision{}, volume.TooBig
	}
	op := newOp(req, volume.OpFallocate)
	op.Ino, op.Alloc, op.Offset, op.Length = req.Ino, req.Alloc, req.Offset, req.Length
	if req.KillPriv {
		kill(n, op)
	}
	return decision{ops: []*volume.Op{op}, n: n}, nil
}

func (m *Model) decideCopyChunks(req *volume.Request) (decision, error) {
	n, err := m.file(req.Ino)
	if err != nil {
		return decision{}, err
	}
	op := newOp(req, volume.OpCopyChunks)
	op.Ino, op.Offset, op.Chunks = req.Ino, req.Offset, slices.Clone(req.Chunks)
	if op.Validate() != nil {
		return decision{}, volume.Invalid
	}
	if err := m.haveChunks(op.Chunks); err != nil {
		return decision{}, err
	}
	if req.KillPriv {
		kill(n, op)
	}
	_, length, _ := op.ContentRange()
	return decision{ops: []*volume.Op{op}, n: n, count: int(length), offset: req.Offset}, nil
}

func (m *Model) haveChunks(list []volume.ChunkRef) error {
	for _, c := range list {
		if data := m.opt.Chunks[c.ID]; !c.IsHole() && int64(len(data)) < c.Offset+c.Length {
			return volume.Errorf(volume.Missing, "chunk %s: %d bytes at %d are not to be had", c.ID, c.Length, c.Offset)
		}
	}
	return nil
}

// checkXattr is what can be said about an attribute without looking whether it is
// there.
func checkXattr(n *inode, name string, value []byte) error {
	if name == "" || len(name) > volume.MaxXattrNameLen || strings.Contains(name, "\x00") {
		return volume.OutOfRange
	}
	if len(value) > volume.MaxXattrLen {
		return volume.XattrTooBig
	}
	if isACL(name) {
		if n.attr.Type() == volume.ModeLink {
			return volume.Unsupported
		}
		return nil
	}
	for _, prefix := range []string{"user.", "trusted.", "security.", volume.XattrReserved} {
		switch {
		case !strings.HasPrefix(name, prefix):
		case name == prefix:
			return volume.Invalid
		case (prefix == "user." || prefix == volume.XattrReserved) && !n.attr.IsFile() && !n.attr.IsDir():
			return volume.NotPermitted
		default:
			return nil
		}
	}
	return volume.Unsupported
}

func isACL(name string) bool {
	return name == volume.XattrACLAccess || name == volume.XattrACLDefault
}

// mayXattr is checkXattr for a request about one attribute.
func mayXattr(n *inode, req *volume.Request, value []byte) error {
	if err := checkXattr(n, req.Name, value); err != nil {
		return err
	}
	switch {
	case volume.IsReservedXattr(req.Name) && req.Caller.Front == volume.FrontFUSE:
		return volume.Unsupported
	case !unchanged(req, n):
		return volume.Precondition
	case req.Name == volume.XattrKeep && req.Kind == volume.OpSetXattr && !n.linkable:
		return volume.Invalid
	}
	return nil
}

func (m *Model) decideSetXattr(req *volume.Request) (decision, error) {
	n, err := m.live(req.Ino)
	if err != nil {
		return decision{}, err
	}
	if err := mayXattr(n, req, req.Data); err != nil {
		return decision{}, err
	}
	_, there := n.xattrs[req.Name]
	if there && req.Exclusive {
		return decision{}, volume.Exists
	}
	if !there && req.Replace {
		return decision{}, volume.NoXattr
	}
	if isACL(req.Name) {
		return decideSetACL(n, req, there)
	}
	if !there {
		total := len(req.Name) + 1
		for name := range n.xattrs {
			total += len(name) + 1
		}
		if total > volume.MaxXattrsLen {
			return decision{}, volume.NoSpace
		}
	}
	op := newOp(req, volume.OpSetXattr)
	op.Ino, op.Name, op.Data = req.Ino, req.Name, bytes.Clone(req.Data)
	return decision{ops: []*volume.Op{op}, n: n}, nil
}

func decideSetACL(n *inode, req *volume.Request, there bool) (decision, error) {
	acl, ok := parseACL(req.Data)
	if !ok {
		return decision{}, volume.Invalid
	}
	d := decision{n: n}
	removal := newOp(req, volume.OpRemoveXattr)
	removal.Ino, removal.Name = req.Ino, req.Name
	if len(acl) == 0 {
		if there {
			d.ops = []*volume.Op{removal}
		}
		return d, nil
	}
	op := newOp(req, volume.OpSetXattr)
	op.Ino, op.Name, op.Data = req.Ino, req.Name, bytes.Clone(req.Data)
	if req.Name == volume.XattrACLDefault {
		if !n.attr.IsDir() {
			return decision{}, volume.AccessDenied
		}
		d.ops = []*volume.Op{op}
		return d, nil
	}
	mode := n.attr.Mode&volume.ModePerm&^0o777 | acl.mode()
	if req.KillPriv {
		mode &^= volume.ModeSetGID
	}
	if acl.minimal() {
		op = removal
		if !there {
			op = newOp(req, volume.OpSetAttr)
			op.Ino = req.Ino
		}
	}
	op.Mask, op.Mode = volume.SetMode, mode
	d.ops = []*volume.Op{op}
	return d, nil
}

func (m *Model) decideRemoveXattr(req *volume.Request) (decision, error) {
	n, err := m.live(req.Ino)
	if err != nil {
		return decision{}, err
	}
	if err := mayXattr(n, req, nil); err != nil {
		return decision{}, err
	}
	if _, ok := n.xattrs[req.Name]; !ok {
		if isACL(req.Name) {
			return decision{n: n}, nil
		}
		return decision{}, volume.NoXattr
	}
	op := newOp(req, volume.OpRemoveXattr)
	op.Ino, op.Name = req.Ino, req.Name
	return decision{ops: []*volume.Op{op}, n: n}, nil
}

// publishedXattrs checks, copies and sorts what a publish sets.
func publishedXattrs(n *inode, asked []volume.Xattr) ([]volume.Xattr, error) {
	if len(asked) > volume.MaxOpXattrs {
		return nil, volume.XattrTooBig
	}
	var list []volume.Xattr
	for _, x := range asked {
		if err := checkXattr(n, x.Name, x.Value); err != nil {
			return nil, err
		}
		if isACL(x.Name) {
			return nil, volume.Unsupported
		}
		list = append(list, volume.Xattr{Name: x.Name, Value: bytes.Clone(x.Value)})
	}
	slices.SortFunc(list, func(a, b volume.Xattr) int { return cmp.Compare(a.Name, b.Name) })
	for i := range list {
		if i > 0 && list[i].Name == list[i-1].Name || list[i].Name == volume.XattrKeep {
			return nil, volume.Invalid
		}
	}
	return list, nil
}
