package index

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// Batch is a run of consecutive ops that enter together, normally one frame.
type Batch struct {
	Ops   []*volume.Op
	After volume.Position // behind the last op
	// Frame is where the ops' frame lies in this node's log; an op's content is at
	// its DataOff in it. Only extents need it.
	Frame volume.LogRef
	Lower []volume.LowerRecord
}

// Enter makes ops part of the state. It is all or nothing; an op that does not fit
// is WrongHistory. Any other error leaves the engine broken: it answers no further
// Enter, because what was recorded in the log is no longer in the index.
func (e *Engine) Enter(b Batch) error { return e.EnterWith(b, nil) }

// EnterWith is Enter with something done between knowing that the ops fit and making
// them visible: apply brings the lower side to them while the index still shows the
// tree before. Its records are entered too; its error leaves the index as it was.
func (e *Engine) EnterWith(b Batch, apply func() ([]volume.LowerRecord, error)) error {
	e.enterMu.Lock()
	defer e.enterMu.Unlock()
	if e.broken != nil {
		return e.broken
	}
	t := e.begin(b)
	defer t.b.Close()
	for _, op := range b.Ops {
		if err := t.enter(op); err != nil {
			if volume.KindOf(err) != volume.WrongHistory {
				e.broken = err
			}
			return volume.Wrapf(err, "enter op %d (%s)", op.Version, op.Kind)
		}
	}
	if t.m.pos.Version != b.After.Version {
		return volume.Errorf(volume.WrongHistory, "ops end at version %d, not at %d", t.m.pos.Version, b.After.Version)
	}
	t.m.pos = b.After
	if apply != nil {
		lower, err := apply()
		if err != nil {
			return err
		}
		b.Lower = append(b.Lower, lower...)
	}
	if err := t.commit(b.Lower); err != nil {
		e.broken = err
		return err
	}
	return nil
}

// entering is the state of one Enter: reads see what the ops before it in the batch
// did.
type entering struct {
	e      *Engine
	r      pebble.Reader // the store, or the batch over the store
	b      *pebble.Batch
	frame  volume.LogRef
	m      meta
	inodes map[volume.Ino]*inode // read or changed; nil once gone
	names  map[nameKey]dirent    // changed; zero once gone
	lowers map[volume.Ino][]byte // changed, as stored; nil once gone
	lists  []func()              // changes of lineage and members, made after the commit
	tails  map[string]tail       // newest answers, by client: those that the batch changes
	gone   *inode                // what the present op has ended
	ended  []*inode              // what the batch has ended, if somebody wants to know
}

func (e *Engine) begin(b Batch) *entering {
	t := &entering{e: e, r: e.db, frame: b.Frame, m: *e.meta.Load(), inodes: make(map[volume.Ino]*inode, 4), names: make(map[nameKey]dirent, 2), lowers: make(map[volume.Ino][]byte, 2)}
	if len(b.Ops) > 1 || b.Ops[0].Replaced != 0 { // reads see what the batch did before
		t.b = e.db.NewIndexedBatch()
		t.r = t.b
	} else {
		t.b = e.db.NewBatch()
	}
	return t
}

func (t *entering) commit(lower []volume.LowerRecord) error {
	err := t.putLower(lower)
	for ino, n := range t.inodes {
		if n == nil {
			err = errors.Join(err, t.b.Delete(keyIno(kInode, ino), nil))
		} else {
			err = errors.Join(err, t.b.Set(keyIno(kInode, ino), n.encode(), nil))
		}
	}
	err = errors.Join(err, t.b.Set(metaKey, t.m.encode(), nil))
	if err == nil {
		err = t.e.room(t.b, t.m.pos.Version)
	}
	if err == nil {
		for _, n := range t.ended {
			t.e.opt.Ending(&n.Attr)
		}
		err = t.b.Commit(pebble.NoSync)
	}
	if err != nil {
		return volume.Wrap(err, "index: commit")
	}
	t.e.keepLowers(t.lowers)
	for ino, n := range t.inodes {
		if n == nil {
			t.e.cache.drop(ino)
			t.e.lowers.drop(ino)
		} else {
			t.e.cache.put(ino, *n)
		}
	}
	for k, d := range t.names {
		t.e.entries.put(k, d)
	}
	m := t.m
	t.e.meta.Store(&m)
	t.keepTails()
	for _, f := range t.lists {
		f()
	}
	return nil
}

func misfit(format string, args ...any) error {
	return volume.Errorf(volume.WrongHistory, format, args...)
}

// inode returns the record of an inode that the op changes.
func (t *entering) inode(ino volume.Ino) (*inode, error) {
	if n, ok := t.inodes[ino]; ok {
		if n == nil {
			return nil, misfit("inode %s has ended", ino)
		}
		return n, nil
	}
	n, err := t.e.inode(ino)
	if err == volume.NotFound {
		return nil, misfit("there is no inode %s", ino)
	}
	if err != nil {
		return nil, err
	}
	if n.flags&fEnded != 0 {
		return nil, misfit("inode %s has ended", ino)
	}
	t.inodes[ino] = &n
	return &n, nil
}

func (t *entering) dir(ino volume.Ino) (*inode, error) {
	n, err := t.inode(ino)
	if err == nil && !n.IsDir() {
		err = misfit("inode %s is not a directory", ino)
	}
	return n, err
}

func (t *entering) enter(op *volume.Op) error {
	if op.Version != t.m.pos.Version+1 {
		return misfit("version %d does not follow %d", op.Version, t.m.pos.Version)
	}
	if op.Time.Compare(t.m.time) < 0 {
		return misfit("time goes back")
	}
	if t.m.pos.Epoch.IsZero() && op.Kind != volume.OpReign {
		return misfit("the first op opens no epoch")
	}
	var err error
	t.gone = nil
	switch op.Kind {
	case volume.OpCreate:
		err = t.create(op)
	case volume.OpLink:
		err = t.link(op)
	case volume.OpUnlink, volume.OpRmdir:
		err = t.unlink(op)
	case volume.OpRename:
		err = t.rename(op)
	case volume.OpPublish:
		err = t.publish(op)
	case volume.OpSetAttr:
		err = t.setAttr(op)
	case volume.OpWrite, volume.OpTruncate, volume.OpFallocate, volume.OpCopyChunks:
		err = t.content(op)
	case volume.OpSetXattr, volume.OpRemoveXattr:
		err = t.xattr(op)
	case volume.OpEnd:
		err = t.endOrphan(op)
	case volume.OpReign:
		err = t.reign(op)
	case volume.OpMember:
		err = t.member(op)
	default:
		err = volume.Errorf(volume.BadFormat, "unknown op kind %d", op.Kind)
	}
	if err == nil {
		err = t.remember(op)
	}
	if err != nil {
		return err
	}
	t.m.pos.Version, t.m.time = op.Version, op.Time
	return nil
}

// touch notes that the op changed an inode.
func touch(op *volume.Op, n *inode) {
	n.Ctime, n.Version = op.Time, op.Version
}

// touchDir notes that the op changed a directory's entries.
func touchDir(op *volume.Op, n *inode) {
	n.Mtime = op.Time
	touch(op, n)
}

func (t *entering) create(op *volume.Op) error {
	if err := t.unused(op.Ino); err != nil {
		return err
	}
	n := &inode{Attr: volume.Attr{
		Ino: op.Ino, Mode: op.Mode, UID: op.UID, GID: op.GID, Rdev: op.Rdev, Size: int64(len(op.Target)),
		Atime: op.Time, Mtime: op.Time, Ctime: op.Time, Btime: op.Time, Version: op.Version,
	}}
	t.inodes[op.Ino] = n
	t.lowers[op.Ino] = nil // the inode is new, so there is nothing to look for
	if op.Target != "" {
		if err := t.b.Set(keyIno(kTarget, op.Ino), []byte(op.Target), nil); err != nil {
			return err
		}
	}
	for _, x := range op.Xattrs {
		if err := t.putXattr(n, x.Name, x.Value); err != nil {
			return err
		}
	}
	if op.Ino.Tag() == t.m.inoTag {
		t.m.inoCount = max(t.m.inoCount, op.Ino.Count())
	}
	if op.Parent == 0 {
		n.flags |= fNamelessBorn
		return t.b.Set(keyIno(kOrphan, op.Ino), nil, nil)
	}
	p, err := t.dir(op.Parent)
	if err != nil {
		return err
	}
	return t.addName(op, p, op.Name, n, false)
}

// unused checks that an inode ID was never given out.
func (t *entering) unused(ino volume.Ino) error {
	if ino.Tag() == t.m.inoTag && ino.Count() > t.m.inoCount {
		return nil
	}
	if _, ok := t.inodes[ino]; ok {
		return misfit("inode %s exists", ino)
	}
	switch _, err := t.e.inode(ino); err {
	case volume.NotFound:
		return nil
	case nil:
		return misfit("inode %s exists", ino)
	default:
		return err
	}
}

// dirent is an entry by what the batch has done so far.
func (t *entering) dirent(dir volume.Ino, name string) (dirent, bool, error) {
	if d, ok := t.names[nameKey{dir, name}]; ok {
		return d, d.ino != 0, nil
	}
	return t.e.dirent(dir, name)
}

// addName gives an inode a name that must be free.
func (t *entering) addName(op *volume.Op, p *inode, name string, n *inode, second bool) error {
	if p.Nlink == 0 {
		return misfit("directory %s is removed", p.Ino)
	}
	if _, taken, err := t.dirent(p.Ino, name); err != nil || taken {
		if err == nil {
			err = misfit("%q in directory %s exists", name, p.Ino)
		}
		return err
	}
	d := dirent{ino: n.Ino, typ: n.Type(), cookie: volume.EntryCookie(op.Version, second)}
	t.names[nameKey{p.Ino, name}] = d
	err := errors.Join(
		t.b.Set(keyInoName(kDirent, p.Ino, name), d.encode(""), nil),
		t.b.Set(keyInoNum(kCookie, p.Ino, d.cookie), d.encode(name), nil),
		t.b.Set(keyBackName(n.Ino, p.Ino, name), nil, nil))
	if n.Nlink == 0 {
		t.m.files++
		t.m.bytes += fileBytes(n)
		if n.Ctime == op.Time && n.Version == op.Version {
			// made by this op
		} else if err == nil {
			err = t.b.Delete(keyIno(kOrphan, n.Ino), nil)
		}
	}
	if n.flags&(fNamelessBorn|fHasXattrs) == fNamelessBorn|fHasXattrs && err == nil {
		err = t.b.Delete(keyInoName(kXattr, n.Ino, volume.XattrKeep), nil)
	}
	n.flags &^= fNamelessBorn
	if n.IsDir() {
		n.Nlink = max(n.Nlink, 2)
		n.parent = p.Ino
		p.Nlink++
	} else {
		n.Nlink++
	}
	p.entries++
	touch(op, n)
	touchDir(op, p)
	return err
}

func fileBytes(n *inode) uint64 {
	if n.IsFile() {
		return uint64(n.Size)
	}
	return 0
}

// dropName takes a name from the inode the op says has it. The inode may be left
// without any.
func (t *entering) dropName(op *volume.Op, p *inode, name string, ino volume.Ino) (*inode, error) {
	d, ok, err := t.dirent(p.Ino, name)
	if err != nil {
		return nil, err
	}
	if !ok || d.ino != ino {
		return nil, misfit("%q in directory %s is not inode %s", name, p.Ino, ino)
	}
	n, err := t.inode(ino)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		t.b.Delete(keyInoName(kDirent, p.Ino, name), nil),
		t.b.Delete(keyInoNum(kCookie, p.Ino, d.cookie), nil),
		t.b.Delete(keyBackName(ino, p.Ino, name), nil))
	t.names[nameKey{p.Ino, name}] = dirent{}
	p.entries--
	if n.IsDir() {
		p.Nlink--
	}
	touch(op, n)
	touchDir(op, p)
	return n, err
}

// lose counts down the links of an inode that lost a name for good.
func (t *entering) lose(op *volume.Op, n *inode) error {
	if n.IsDir() {
		if n.entries != 0 {
			return misfit("directory %s is not empty", n.Ino)
		}
		n.Nlink = 0
	} else {
		n.Nlink--
	}
	if n.Nlink > 0 {
		if op.Flags&volume.OpEnds != 0 {
			return misfit("inode %s is to end, but has %d names", n.Ino, n.Nlink)
		}
		return nil
	}
	t.m.files--
	t.m.bytes -= fileBytes(n)
	if op.Flags&volume.OpEnds != 0 {
		return t.end(n)
	}
	return t.b.Set(keyIno(kOrphan, n.Ino), nil, nil)
}

func (t *entering) link(op *volume.Op) error {
	p, err := t.dir(op.Parent)
	if err != nil {
		return err
	}
	n, err := t.inode(op.Ino)
	if err != nil {
		return err
	}
	if n.IsDir() {
		return misfit("link of directory %s", n.Ino)
	}
	if n.Nlink == 0 && n.flags&fNamelessBorn == 0 {
		return misfit("link of inode %s, which has lost its last name", n.Ino)
	}
	return t.addName(op, p, op.Name, n, false)
}

func (t *entering) unlink(op *volume.Op) error {
	p, err := t.dir(op.Parent)
	if err != nil {
		return err
	}
	n, err := t.dropName(op, p, op.Name, op.Ino)
	if err != nil {
		return err
	}
	if n.IsDir() != (op.Kind == volume.OpRmdir) {
		return misfit("inode %s has another type", n.Ino)
	}
	return t.lose(op, n)
}

// move puts an inode that has just lost its old name to a new one, without passing
// through the state of having none.
func (t *entering) move(op *volume.Op, p *inode, name string, n *inode, second bool) error {
	if !n.IsDir() {
		n.Nlink-- // addName counts it again
		if n.Nlink == 0 {
			t.m.files--
			t.m.bytes -= fileBytes(n)
		}
	}
	return t.addName(op, p, name, n, second)
}

func (t *entering) rename(op *volume.Op) error {
	if op.Flags&volume.OpEnds != 0 && (op.Replaced == 0 || op.Flags&volume.OpExchange != 0) {
		return misfit("rename that displaces nothing is to end it")
	}
	if op.Parent == op.NewParent && op.Name == op.NewName {
		return misfit("rename of %q in directory %s to itself", op.Name, op.Parent)
	}
	p1, err := t.dir(op.Parent)
	if err != nil {
		return err
	}
	p2, err := t.dir(op.NewParent)
	if err != nil {
		return err
	}
	n, err := t.dropName(op, p1, op.Name, op.Ino)
	if err != nil {
		return err
	}
	if err := t.checkMove(op, n, p1, p2); err != nil {
		return err
	}
	if op.Replaced != 0 {
		r, err := t.dropName(op, p2, op.NewName, op.Replaced)
		if err != nil {
			return err
		}
		if op.Flags&volume.OpExchange != 0 {
			err = t.move(op, p1, op.Name, r, true)
		} else {
			err = t.lose(op, r)
		}
		if err != nil {
			return err
		}
	}
	return t.move(op, p2, op.NewName, n, false)
}

// checkMove refuses a rename that would make a loop, or put a directory in the place
// of something else.
func (t *entering) checkMove(op *volume.Op, n, p1, p2 *inode) error {
	if n.IsDir() && p1 != p2 {
		if below, err := t.within(p2.Ino, n.Ino); err != nil || below {
			return loopOr(err, op)
		}
	}
	if op.Replaced == 0 {
		return nil
	}
	r, err := t.inode(op.Replaced)
	if err != nil {
		return err
	}
	if op.Flags&volume.OpExchange == 0 {
		if r.Ino == n.Ino || r.IsDir() != n.IsDir() {
			return misfit("inode %s does not displace inode %s", n.Ino, r.Ino)
		}
		return nil
	}
	if r.IsDir() && p1 != p2 {
		if below, err := t.within(p1.Ino, r.Ino); err != nil || below {
			return loopOr(err, op)
		}
	}
	return nil
}

func loopOr(err error, op *volume.Op) error {
	if err != nil {
		return err
	}
	return misfit("rename of inode %s makes a loop", op.Ino)
}

// within is within by what the batch has done so far.
func (t *entering) within(dir, top volume.Ino) (bool, error) {
	return within(dir, top, func(dir volume.Ino) (volume.Ino, error) {
		n, err := t.dir(dir)
		if err != nil {
			return 0, err
		}
		return n.parent, nil
	})
}

func (t *entering) publish(op *volume.Op) error {
	p, err := t.dir(op.Parent)
	if err != nil {
		return err
	}
	n, err := t.inode(op.Ino)
	if err != nil {
		return err
	}
	if !n.IsFile() || n.flags&fNamelessBorn == 0 {
		return misfit("publish of inode %s, which is not staged", n.Ino)
	}
	if op.Flags&volume.OpEnds != 0 && op.Replaced == 0 {
		return misfit("publish that displaces nothing is to end it")
	}
	if op.Replaced != 0 {
		r, err := t.dropName(op, p, op.Name, op.Replaced)
		if err == nil && r.IsDir() {
			err = misfit("publish over directory %s", r.Ino)
		}
		if err == nil {
			err = t.lose(op, r)
		}
		if err != nil {
			return err
		}
	}
	for _, x := range op.Xattrs {
		if err := t.putXattr(n, x.Name, x.Value); err != nil {
			return err
		}
	}
	if err := t.setMode(op, n); err != nil {
		return err
	}
	return t.addName(op, p, op.Name, n, false)
}

func (t *entering) endOrphan(op *volume.Op) error {
	n, err := t.inode(op.Ino)
	if err != nil {
		return err
	}
	if n.Nlink != 0 {
		return misfit("end of inode %s, which has %d names", n.Ino, n.Nlink)
	}
	if err := t.b.Delete(keyIno(kOrphan, n.Ino), nil); err != nil {
		return err
	}
	return t.end(n)
}

// end removes an inode, or keeps it aside while somebody here has it open.
func (t *entering) end(n *inode) error {
	t.gone = n
	if t.e.opt.Ending != nil {
		t.ended = append(t.ended, n)
	}
	if t.e.pins.has(n.Ino) {
		n.flags |= fEnded
		return t.b.Set(keyIno(kLimbo, n.Ino), nil, nil)
	}
	t.inodes[n.Ino] = nil
	return errors.Join(dropContent(t.r, t.b, n), t.e.dropLower(t.b, n.Ino, t.lowers))
}

// dropContent removes everything about an inode but its record and the backing's.
func dropContent(r pebble.Reader, b *pebble.Batch, n *inode) (err error) {
	if n.Type() == volume.ModeLink {
		err = b.Delete(keyIno(kTarget, n.Ino), nil)
	}
	if n.flags&fHasXattrs != 0 {
		err = errors.Join(err, dropAll(r, b, keyIno(kXattr, n.Ino)))
	}
	if n.IsFile() && n.Size > 0 {
		err = errors.Join(err, dropAll(r, b, keyIno(kExtent, n.Ino)))
	}
	return err
}

// dropAll deletes every key with a prefix: singly while there are few, because
// range deletions slow down later reads.
func dropAll(r pebble.Reader, b *pebble.Batch, prefix []byte) error {
	const few = 256
	count := 0
	err := scan(r, prefix, prefix, func(key, _ []byte) error {
		if count++; count > few {
			return errStop
		}
		return b.Delete(key, nil)
	})
	if err == nil && count > few {
		err = b.DeleteRange(prefix, after(prefix), nil)
	}
	return err
}

// dropLower removes the backing's record of an inode. What the batch changes is in changed.
func (e *Engine) dropLower(b *pebble.Batch, ino volume.Ino, changed map[volume.Ino][]byte) error {
	v, ok := changed[ino]
	if !ok {
		var err error
		if v, err = e.lower(ino); err != nil {
			return err
		}
	}
	changed[ino] = nil
	if v == nil {
		return nil
	}
	var err error
	if n := lowerKeyLen(v); n > 0 {
		err = b.Delete(append([]byte{kLowerIx}, v[2:2+n]...), nil)
	}
	return errors.Join(err, b.Delete(keyIno(kLower, ino), nil))
}

func lowerKeyLen(v []byte) int {
	if len(v) < 2 || len(v) < 2+int(binary.LittleEndian.Uint16(v)) {
		return 0
	}
	return int(binary.LittleEndian.Uint16(v))
}

func (t *entering) putLower(records []volume.LowerRecord) error {
	for _, l := range records {
		if n, known := t.inodes[l.Ino]; known && n == nil {
			continue // ended in this batch
		}
		if err := t.e.putLower(t.b, l, t.lowers); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) putLower(b *pebble.Batch, l volume.LowerRecord, changed map[volume.Ino][]byte) error {
	if err := e.dropLower(b, l.Ino, changed); err != nil || l.Value == nil {
		return err
	}
	v := binary.LittleEndian.AppendUint16(make([]byte, 0, 2+len(l.Key)+len(l.Value)), uint16(len(l.Key)))
	v = append(append(v, l.Key...), l.Value...)
	changed[l.Ino] = v
	err := b.Set(keyIno(kLower, l.Ino), v, nil)
	if len(l.Key) > 0 {
		err = errors.Join(err, b.Set(append([]byte{kLowerIx}, l.Key...), key64(0, uint64(l.Ino))[1:], nil))
	}
	return err
}

// keepLowers takes what a batch that is committed has changed into the cache.
func (e *Engine) keepLowers(changed map[volume.Ino][]byte) {
	for ino, v := range changed {
		e.lowers.put(ino, v)
	}
}

func (t *entering) reign(op *volume.Op) error {
	r := volume.Reign{Epoch: op.Epoch, First: op.Version, Participants: op.Participants}
	if last := t.m.pos.Epoch; op.Epoch.Number <= last.Number {
		return misfit("epoch %s does not follow %s", op.Epoch, last)
	}
	t.m.pos.Epoch = op.Epoch
	if t.m.inoTag != op.Epoch.Tag {
		t.m.inoTag, t.m.inoCount = op.Epoch.Tag, 0
	}
	e := t.e
	t.lists = append(t.lists, func() {
		e.lineageMu.Lock()
		defer e.lineageMu.Unlock()
		e.lineage = append(e.lineage[:len(e.lineage):len(e.lineage)], r)
	})
	return t.b.Set(key64(kReign, uint64(op.Version)), encodeReign(r), nil)
}

func (t *entering) member(op *volume.Op) error {
	e, m := t.e, op.Member
	t.lists = append(t.lists, func() {
		e.lineageMu.Lock()
		defer e.lineageMu.Unlock()
		e.members[m.ID] = m
	})
	// One that was removed stays known as such, or it would be taken up again when it comes.
	return t.b.Set(append([]byte{kMember}, m.ID...), encodeMember(m), nil)
}
