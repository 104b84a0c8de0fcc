package volumetest

import (
	"strings"

	"wolfdisk/volume"
)

// data is content: mostly random, sometimes zeros.
func (g *Gen) data(most int) []byte {
	b := make([]byte, g.rnd.IntN(most+1))
	if g.chance(6) {
		return b
	}
	for i := range b {
		b[i] = byte(g.rnd.Uint32())
	}
	return b
}

// offset is mostly within 64 KiB, often at a page's edge, and rarely far beyond
// anything, to make large holes.
func (g *Gen) offset() int64 {
	switch g.rnd.IntN(12) {
	case 0:
		return 1<<32 + int64(g.rnd.IntN(3*pageSize))
	case 1, 2, 3:
		return int64(g.rnd.IntN(16)) * pageSize
	case 4:
		return 0
	}
	return int64(g.rnd.IntN(64 << 10))
}

func (g *Gen) time() volume.Time {
	return volume.Time{Sec: g.rnd.Int64N(4e9) - 1e9, Nsec: uint32(g.rnd.IntN(1e9))}
}

func (g *Gen) setAttr() Step {
	r := &volume.Request{Kind: volume.OpSetAttr, Ino: g.file(), KillPriv: g.chance(3)}
	if g.chance(3) {
		r.Ino = g.dir()
	}
	for _, bit := range []volume.SetMask{volume.SetMode, volume.SetUID, volume.SetGID, volume.SetAtime, volume.SetMtime,
		volume.SetAtimeNow, volume.SetMtimeNow} {
		if g.chance(3) {
			r.Set |= bit
		}
	}
	if r.Set&volume.SetMode != 0 {
		r.Mode = g.mode()
	}
	if r.Set&volume.SetUID != 0 {
		r.UID = uint32(g.rnd.IntN(3))
	}
	if r.Set&volume.SetGID != 0 {
		r.GID = uint32(g.rnd.IntN(3))
	}
	if r.Set&volume.SetAtime != 0 {
		r.Atime = g.time()
	}
	if r.Set&volume.SetMtime != 0 {
		r.Mtime = g.time()
	}
	return Step{Req: r}
}

func (g *Gen) truncate() Step {
	s := g.setAttr()
	r := s.Req
	if g.chance(2) {
		*r = volume.Request{Kind: volume.OpSetAttr, KillPriv: r.KillPriv}
	}
	r.Ino = g.file()
	r.Set |= volume.SetSize
	r.Size = g.offset()
	if g.chance(20) {
		r.Size = -1
	}
	return s
}

func (g *Gen) write() Step {
	r := &volume.Request{Kind: volume.OpWrite, Ino: g.file(), Offset: g.offset(), Data: g.data(9000), KillPriv: g.chance(4)}
	if g.chance(3) {
		r.Append, r.Offset = true, 0
	}
	switch g.rnd.IntN(40) {
	case 0:
		r.Data = g.data(200 << 10)
	case 1:
		r.Offset = volume.MaxNewSize
	case 2:
		r.Offset = -1
	}
	return Step{Req: r}
}

func (g *Gen) fallocate() Step {
	r := &volume.Request{Kind: volume.OpFallocate, Ino: g.file(), Offset: g.offset(), Length: 1 + int64(g.rnd.IntN(20000)), KillPriv: g.chance(6)}
	r.Alloc = pick(g, 0, volume.FallocKeepSize, volume.FallocKeepSize|volume.FallocPunchHole, volume.FallocKeepSize|volume.FallocPunchHole,
		volume.FallocZeroRange, volume.FallocZeroRange|volume.FallocKeepSize)
	switch g.rnd.IntN(30) {
	case 0:
		r.Alloc = pick[uint32](g, volume.FallocPunchHole, 0x08, 0x20, 0x40, volume.FallocPunchHole|volume.FallocZeroRange|volume.FallocKeepSize)
	case 1:
		r.Length = pick[int64](g, 0, -1)
	}
	return Step{Req: r}
}

func (g *Gen) copyChunks() Step {
	if len(g.pool.chunks) == 0 {
		return g.write()
	}
	r := &volume.Request{Kind: volume.OpCopyChunks, Ino: g.file(), Offset: g.offset()}
	for range 1 + g.rnd.IntN(3) {
		c := pick(g, g.pool.chunks...)
		if g.chance(4) {
			c = volume.ChunkRef{Length: c.Length} // a hole
		}
		cut := g.rnd.Int64N(c.Length)
		c.Length -= cut
		if !c.IsHole() {
			c.Offset += cut
		}
		r.Chunks = append(r.Chunks, c)
	}
	return Step{Req: r}
}

func (g *Gen) xattrName() string {
	if g.chance(12) {
		return pick(g, "", "user.", "user", "system.other", "nospace", "user."+strings.Repeat("x", 250), "user."+strings.Repeat("x", 251))
	}
	return pick(g, "user.a", "user.b", "user.c", "trusted.d", "security.e", volume.XattrCapability)
}

func (g *Gen) setXattr() Step {
	r := &volume.Request{Kind: volume.OpSetXattr, Ino: g.any(), Name: g.xattrName(), Data: g.data(100), Exclusive: g.chance(6), Replace: g.chance(6)}
	if g.chance(4) {
		r.Ino = g.dir()
	}
	if g.chance(30) {
		r.Data = make([]byte, volume.MaxXattrLen+1)
	}
	return Step{Req: r}
}

func (g *Gen) removeXattr() Step {
	r := &volume.Request{Kind: volume.OpRemoveXattr, Ino: g.any(), Name: g.xattrName()}
	if g.chance(3) {
		r.Name = pick(g, volume.XattrACLAccess, volume.XattrACLDefault)
	}
	return Step{Req: r}
}

func (g *Gen) setACL() Step {
	r := &volume.Request{Kind: volume.OpSetXattr, Ino: g.any(), Name: volume.XattrACLAccess, KillPriv: g.chance(4)}
	if g.chance(2) {
		r.Ino, r.Name = g.dir(), pick(g, volume.XattrACLAccess, volume.XattrACLDefault)
	}
	perm := func() uint16 { return uint16(g.rnd.IntN(8)) }
	a := MakeACL(uint32(g.rnd.IntN(0o1000)))
	if !g.chance(4) {
		a = MakeACL(uint32(g.rnd.IntN(0o1000)), ACLEntry{ACLUser, perm(), 1000}, ACLEntry{ACLGroup, perm(), 100}, ACLEntry{ACLMask, perm(), ^uint32(0)})
	}
	switch g.rnd.IntN(12) {
	case 0:
		a = nil
	case 1:
		a = a[1:]
	}
	r.Data = a.Bytes()
	return Step{Req: r}
}

func (g *Gen) openInode() Step {
	if i := g.some(g.pool.staged); i != 0 && g.chance(3) {
		return Step{Open: i}
	}
	return Step{Open: g.any()}
}

// closeInode closes what was opened: never more often, and so that the same Close
// is not handed out twice.
func (g *Gen) closeInode() Step {
	p := g.pool
	if len(p.open) == 0 {
		return g.openInode()
	}
	i := g.rnd.IntN(len(p.open))
	ino := p.open[i]
	p.open = append(p.open[:i], p.open[i+1:]...)
	return Step{Close: ino}
}
