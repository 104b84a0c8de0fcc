package volumetest

import (
	"wolfdisk/volume"
)

// gone checks that an inode's life has ended, whatever is asked.
func (e *env) gone(ino volume.Ino) {
	e.t.Helper()
	_, err := e.sys.Vol.GetAttr(e.ctx, ino)
	e.fails(volume.Stale, err, "attributes of an ended inode")
	_, err = e.sys.Vol.ReadAt(e.ctx, ino, make([]byte, 1), 0)
	e.fails(volume.Stale, err, "content of an ended inode")
	_, err = e.sys.Vol.GetXattr(e.ctx, ino, "user.a")
	e.fails(volume.Stale, err, "attribute of an ended inode")
	err, disagree := e.p.Open(e.ctx, ino, false)
	e.fails(volume.Stale, err, "open an ended inode")
	e.same("disagreement", disagree, nil)
}

func lifeChecks() []check {
	return []check{
		{"a deleted file lives until the last close", func(e *env) {
			ino := e.file(e.dir, "n")
			e.write(ino, 0, "content")
			e.setXattr(ino, "user.a", []byte("v"))
			close1, close2 := e.open(ino), e.open(ino)
			res := e.unlink(e.dir, "n")
			e.same("answer", res.Attr, e.attr(ino))
			e.nlink(ino, 0)
			close1()
			e.same("content", e.read(ino, 0, 20), "content")
			e.same("attribute", string(e.xattr(ino, "user.a")), "v")
			e.write(ino, 7, "!")
			e.same("content", e.read(ino, 0, 20), "content!")
			close2()
			e.gone(ino)
		}},
		{"closing a file with a name changes nothing", func(e *env) {
			ino := e.file(e.dir, "n")
			before := e.sys.Vol.Position()
			e.open(ino)()
			e.same("position", e.sys.Vol.Position(), before)
			e.nlink(ino, 1)
		}},
		{"an open file that loses one of two names", func(e *env) {
			ino := e.file(e.dir, "a")
			e.link(ino, e.dir, "b")
			closeIt := e.open(ino)
			e.unlink(e.dir, "a")
			closeIt()
			e.nlink(ino, 1)
		}},
		{"a removed directory lives until the last close", func(e *env) {
			dir := e.mkdir(e.dir, "d")
			closeIt := e.open(dir)
			e.rmdir(e.dir, "d")
			e.nlink(dir, 0)
			e.same("names", e.names(dir), []string{})
			_, err := e.sys.Vol.Lookup(e.ctx, dir, "n")
			e.fails(volume.NotFound, err, "look up in a removed directory")
			e.refuse(volume.NotFound, createReq(dir, "n", volume.ModeFile))
			closeIt()
			e.gone(dir)
		}},
		{"a displaced directory lives until the last close", func(e *env) {
			e.mkdir(e.dir, "a")
			dir := e.mkdir(e.dir, "b")
			closeIt := e.open(dir)
			e.same("nlink", e.rename(e.dir, "a", e.dir, "b").Replaced.Nlink, uint32(0))
			e.nlink(dir, 0)
			closeIt()
			e.gone(dir)
		}},
		{"a nameless file that is not opened stays", func(e *env) {
			ino := e.staged()
			e.write(ino, 0, "x")
			e.file(e.dir, "other")
			e.same("content", e.read(ino, 0, 5), "x")
		}},
		{"a nameless file ends with its last close", func(e *env) {
			ino := e.staged()
			closeIt := e.open(ino)
			e.write(ino, 0, "x")
			closeIt()
			e.gone(ino)
		}},
		{"closing records one op", func(e *env) {
			ino := e.file(e.dir, "n")
			closeIt := e.open(ino)
			e.unlink(e.dir, "n")
			before := e.sys.Vol.Position().Version
			closeIt()
			e.same("version", e.sys.Vol.Position().Version, before+1)
		}},
		{"open and close of what is not there", func(e *env) {
			f := e.fixture()
			for _, ino := range []volume.Ino{f.never, f.ended, 0} {
				err, disagree := e.p.Open(e.ctx, ino, true)
				e.fails(volume.Stale, err, "open")
				e.same("disagreement", disagree, nil)
				err, disagree = e.p.Close(e.ctx, ino)
				e.fails(volume.Stale, err, "close")
				e.same("disagreement", disagree, nil)
			}
			err, disagree := e.p.Close(e.ctx, f.f)
			e.fails(volume.Invalid, err, "close of what is not open")
			e.same("disagreement", disagree, nil)
		}},
		{"open for writing", func(e *env) {
			f := e.fixture()
			err, disagree := e.p.Open(e.ctx, f.f, true)
			e.same("open", []any{err, disagree}, []any{nil, nil})
			err, disagree = e.p.Close(e.ctx, f.f)
			e.same("close", []any{err, disagree}, []any{nil, nil})
		}},
		{"every type can be opened", func(e *env) {
			f := e.fixture()
			for _, ino := range []volume.Ino{f.f, f.l, f.fifo, f.sub, f.staged, f.deleted, f.removed, volume.RootIno} {
				e.open(ino)
			}
		}},
		{"sync", func(e *env) {
			f := e.fixture()
			for _, ino := range []volume.Ino{0, f.f, f.sub, f.deleted, f.staged, volume.RootIno} {
				for _, data := range []bool{false, true} {
					if err := e.sys.Vol.Sync(e.ctx, ino, data); err != nil {
						e.t.Errorf("sync inode %s, data %t: %v", ino, data, err)
					}
				}
			}
			before := e.sys.Vol.Position()
			e.same("sync everything", e.sys.Vol.Sync(e.ctx, 0, false), nil)
			e.same("position", e.sys.Vol.Position(), before)
		}},
	}
}
