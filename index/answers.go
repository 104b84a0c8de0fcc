package index

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// The answers to forwarded requests. A client whose leader went away does not know what
// became of its request, and repeats it at the next one. So the op of a request that has a
// number (volume.Caller) leaves its answer here, in the op's own batch: who holds the op
// holds the answer, by replay, by snapshot, after a restart or a promotion.
//
// Nothing is kept of a request that made no op. One that had nothing to change may be
// asked for again. One that was refused may succeed when it is repeated, because the tree
// has changed meanwhile; but who repeats it has not heard the refusal, so it was never
// answered, and a request takes effect at some moment before its answer.
//
// A client's answers are numbered in the order of their ops, whatever the numbers of its
// requests; the newest volume.MaxAnswers stay. Of clients the volume.MaxClients stay whose
// newest answer is the newest. Both depend on nothing but the ops, so all nodes agree.

// answer is the value of an a key.
type answer struct {
	kind    volume.OpKind // of the op
	seq     uint64
	version volume.Version
	n       int64 // content taken, bytes
	offset  int64 // where it went
	// subject and replaced are what the op left of the inodes it concerned: of one that
	// has ended since there is nothing else. replaced may be none (Ino 0).
	subject, replaced volume.Attr
}

const (
	answerLen     = 1 + 8 + 8 + 8 + 8
	answerAttrLen = 8 + inodeLen
)

func (a *answer) encode() []byte {
	b := make([]byte, 0, answerLen+2*answerAttrLen)
	b = append(b, byte(a.kind))
	for _, v := range [...]uint64{a.seq, uint64(a.version), uint64(a.n), uint64(a.offset)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = appendAnswerAttr(b, a.subject)
	if a.replaced.Ino != 0 {
		b = appendAnswerAttr(b, a.replaced)
	}
	return b
}

// appendAnswerAttr writes attributes as an inode record has them. Nothing else of the
// record: it is not the same on every node while somebody has an ended inode open.
func appendAnswerAttr(b []byte, a volume.Attr) []byte {
	n := inode{Attr: a}
	return append(binary.LittleEndian.AppendUint64(b, uint64(a.Ino)), n.encode()...)
}

func decodeAnswer(b []byte) (a answer, err error) {
	bad := volume.Errorf(volume.Corrupt, "index: answer to a forwarded request of %d bytes", len(b))
	if len(b) != answerLen+answerAttrLen && len(b) != answerLen+2*answerAttrLen {
		return a, bad
	}
	le := binary.LittleEndian
	a.kind, a.seq, a.version = volume.OpKind(b[0]), le.Uint64(b[1:]), volume.Version(le.Uint64(b[9:]))
	a.n, a.offset = int64(le.Uint64(b[17:])), int64(le.Uint64(b[25:]))
	for b, to := b[answerLen:], &a.subject; len(b) > 0; b, to = b[answerAttrLen:], &a.replaced {
		ino := volume.Ino(le.Uint64(b))
		n, err := decodeInode(ino, b[8:answerAttrLen])
		if err != nil || !ino.Valid() {
			return a, bad
		}
		*to = n.Attr
	}
	if a.n < 0 || a.offset < 0 || a.seq == 0 || a.version == 0 {
		return a, bad
	}
	return a, nil
}

// tail is the newest answer of a client; zero once the client is forgotten.
type tail struct {
	last    uint64 // its number
	version volume.Version
}

func clientPrefix(kind byte, client string) []byte {
	b := make([]byte, 0, 2+len(client)+8)
	return append(append(b, kind, byte(len(client))), client...)
}

func keyClient(kind byte, client string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(clientPrefix(kind, client), n)
}

// cutClientKey takes a key of kind a or b apart.
func cutClientKey(key []byte) (client string, n uint64, ok bool) {
	if len(key) < 2 || key[1] == 0 || key[1] > volume.MaxNodeIDLen || len(key) != 2+int(key[1])+8 {
		return "", 0, false
	}
	at := 2 + int(key[1])
	return string(key[2:at]), beUint64(key[at:]), true
}

// forwardable reports whether an op of a kind can be the answer to a request.
func forwardable(k volume.OpKind) bool {
	switch k {
	case volume.OpEnd, volume.OpReign, volume.OpMember:
		return false
	}
	return true
}

// remember leaves the answer to a forwarded request, which the op has just done.
func (t *entering) remember(op *volume.Op) error {
	c := &op.Caller
	if c.Client == "" || c.Seq == 0 || !forwardable(op.Kind) {
		return nil
	}
	a := answer{kind: op.Kind, seq: c.Seq, version: op.Version, subject: t.left(op.Ino)}
	if op.Replaced != 0 {
		a.replaced = t.left(op.Replaced)
	}
	switch off, length, _ := op.ContentRange(); op.Kind {
	case volume.OpWrite, volume.OpCopyChunks:
		a.offset, a.n = off, length
	}
	tl, err := t.clientTail(c.Client)
	if err != nil {
		return err
	}
	tl = tail{tl.last + 1, op.Version}
	err = errors.Join(
		t.b.Set(keyClient(kAnswer, c.Client, tl.last), a.encode(), nil),
		t.b.Set(keyClient(kAsked, c.Client, c.Seq), binary.BigEndian.AppendUint64(nil, tl.last), nil))
	if err == nil && tl.last > volume.MaxAnswers {
		err = t.dropAnswer(c.Client, tl.last-volume.MaxAnswers, c.Seq)
	}
	t.tails[c.Client] = tl
	return err
}

// left is what the present op left of an inode.
func (t *entering) left(ino volume.Ino) volume.Attr {
	if n := t.inodes[ino]; n != nil {
		return n.Attr
	}
	if t.gone != nil && t.gone.Ino == ino {
		return t.gone.Attr
	}
	return volume.Attr{Ino: ino} // an inode that the op names and does not touch: there is none
}

// clientTail is a client's newest answer; for a new client another may have to go.
func (t *entering) clientTail(client string) (tail, error) {
	if t.tails == nil {
		t.tails = map[string]tail{}
	}
	tl, ok := t.tails[client]
	if !ok {
		tl = t.e.tails[client]
	}
	if tl.last != 0 {
		return tl, nil
	}
	oldest, clients := "", 0
	look := func(c string, tl tail) {
		if tl.last == 0 {
			return
		}
		if clients++; oldest == "" || tl.version < t.tailOf(oldest).version {
			oldest = c
		}
	}
	for c := range t.e.tails {
		look(c, t.tailOf(c))
	}
	for c, tl := range t.tails {
		if _, known := t.e.tails[c]; !known {
			look(c, tl)
		}
	}
	if clients < volume.MaxClients {
		return tl, nil
	}
	t.tails[oldest] = tail{}
	return tl, errors.Join(
		dropAll(t.r, t.b, clientPrefix(kAnswer, oldest)),
		dropAll(t.r, t.b, clientPrefix(kAsked, oldest)))
}

func (t *entering) tailOf(client string) tail {
	if tl, ok := t.tails[client]; ok {
		return tl
	}
	return t.e.tails[client]
}

// dropAnswer removes an answer by its number. asked is the request that is being
// answered: should it have been answered before, the way to it leads to the new answer.
func (t *entering) dropAnswer(client string, n, asked uint64) error {
	key := keyClient(kAnswer, client, n)
	val, ok, err := get(t.r, key)
	if err != nil || !ok {
		return err
	}
	a, err := decodeAnswer(val)
	if err != nil {
		return err
	}
	way := keyClient(kAsked, client, a.seq)
	if val, ok, err = get(t.r, way); err != nil {
		return err
	}
	if ok && len(val) == 8 && beUint64(val) == n && a.seq != asked {
		if err := t.b.Delete(way, nil); err != nil {
			return err
		}
	}
	return t.b.Delete(key, nil)
}

// keepTails makes the batch's tails those of the engine, once it is committed.
func (t *entering) keepTails() {
	for c, tl := range t.tails {
		if tl.last == 0 {
			delete(t.e.tails, c)
		} else {
			t.e.tails[c] = tl
		}
	}
}

// loadTails finds the newest answer of every client.
func (e *Engine) loadTails() (err error) {
	e.tails = map[string]tail{}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kAnswer}, UpperBound: after([]byte{kAnswer})})
	if err != nil {
		return volume.Wrap(err, "index: read answers")
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; {
		client, _, good := cutClientKey(it.Key())
		if !good {
			return volume.Errorf(volume.Corrupt, "index: key %x of an answer", it.Key())
		}
		end := after(clientPrefix(kAnswer, client))
		it.SeekLT(end)
		val, err := it.ValueAndErr()
		if err != nil {
			return volume.Wrap(err, "index: read answers")
		}
		a, err := decodeAnswer(val)
		if err != nil {
			return err
		}
		_, n, _ := cutClientKey(it.Key())
		e.tails[client] = tail{n, a.version}
		ok = it.SeekGE(end)
	}
	return volume.Wrap(it.Error(), "index: read answers")
}

// Answered finds the answer to a forwarded request: false if its op is not here, or too
// many of the client's came behind it. Attributes are the present ones, which the client
// may show; of an inode that has ended since, those that the op left. A client that has
// used a number for two requests gets Invalid.
func (e *Engine) Answered(req *volume.Request) (res volume.Result, ok bool, err error) {
	c := &req.Caller
	val, ok, err := e.get(keyClient(kAsked, c.Client, c.Seq))
	if err != nil || !ok {
		return res, false, err
	}
	if len(val) != 8 {
		return res, false, volume.Errorf(volume.Corrupt, "index: way to an answer of %d bytes", len(val))
	}
	if val, ok, err = e.get(keyClient(kAnswer, c.Client, beUint64(val))); err != nil || !ok {
		return res, false, err // gone between the two looks
	}
	a, err := decodeAnswer(val)
	if err != nil {
		return res, false, err
	}
	if a.seq != c.Seq {
		return res, false, nil // as above, and a new client of that name has come
	}
	if !a.answers(req) {
		return res, false, volume.Errorf(volume.Invalid, "node %s has used number %d for another request, a %s: it must not use one twice", c.Client, c.Seq, a.kind)
	}
	res = volume.Result{Version: a.version, N: int(a.n), Offset: a.offset}
	if res.Attr, err = e.attrNow(a.subject); err == nil {
		res.Replaced, err = e.attrNow(a.replaced)
	}
	return res, err == nil, err
}

// attrNow is the present state of what an op left.
func (e *Engine) attrNow(left volume.Attr) (volume.Attr, error) {
	if left.Ino == 0 {
		return left, nil
	}
	n, err := e.inode(left.Ino)
	switch {
	case err == volume.NotFound || err == nil && n.flags&fEnded != 0:
		left.Nlink = 0
		return left, nil
	case err != nil:
		return left, err
	}
	return n.Attr, nil
}

// answers reports whether the answer can be that of a request, as far as can be told.
func (a *answer) answers(req *volume.Request) bool {
	if namesIno(req.Kind) && req.Ino != a.subject.Ino {
		return false
	}
	switch req.Kind {
	case a.kind:
		return true
	case volume.OpSetAttr:
		return a.kind == volume.OpTruncate
	case volume.OpSetXattr: // an ACL that says no more than a mode, or nothing
		return a.kind == volume.OpRemoveXattr || a.kind == volume.OpSetAttr
	}
	return false
}

// namesIno reports whether a request of a kind names its subject by Ino.
func namesIno(k volume.OpKind) bool {
	switch k {
	case volume.OpCreate, volume.OpUnlink, volume.OpRmdir, volume.OpRename:
		return false
	}
	return true
}
