package volumetest

import (
	"fmt"
	"reflect"
	"strings"

	"wolfdisk/volume"
)

// try does a request; any disagreement of volume and model ends the check.
func (e *env) try(req volume.Request) (volume.Result, error) {
	e.t.Helper()
	res, err, disagree := e.p.Do(e.ctx, &req)
	if disagree != nil {
		e.t.Fatalf("%s\nvolume != model:\n%v", describeReq(&req), disagree)
	}
	return res, err
}

// ok does a request that must succeed.
func (e *env) ok(req volume.Request) volume.Result {
	e.t.Helper()
	res, err := e.try(req)
	if err != nil {
		e.t.Fatalf("%s: %v", describeReq(&req), err)
	}
	return res
}

// refuse does a request that must fail with a kind, and change nothing.
func (e *env) refuse(want volume.Kind, req volume.Request) {
	e.t.Helper()
	before := e.sys.Vol.Position()
	_, err := e.try(req)
	if err == nil || volume.KindOf(err) != want {
		e.t.Fatalf("%s: got %v, want %v", describeReq(&req), err, want)
	}
	if after := e.sys.Vol.Position(); after != before {
		e.t.Fatalf("%s was refused, but the position went from %s to %s", describeReq(&req), before, after)
	}
}

// nothing does a request that must succeed without changing anything.
func (e *env) nothing(req volume.Request) volume.Result {
	e.t.Helper()
	before := e.sys.Vol.Position()
	res := e.ok(req)
	if after := e.sys.Vol.Position(); after != before || res.Version != 0 {
		e.t.Fatalf("%s: version %d, position from %s to %s; want no change", describeReq(&req), res.Version, before, after)
	}
	return res
}

func (e *env) create(parent volume.Ino, name string, mode uint32) volume.Ino {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: mode}).Attr.Ino
}

func (e *env) file(parent volume.Ino, name string) volume.Ino {
	e.t.Helper()
	return e.create(parent, name, volume.ModeFile|0o644)
}

func (e *env) mkdir(parent volume.Ino, name string) volume.Ino {
	e.t.Helper()
	return e.create(parent, name, volume.ModeDir|0o755)
}

func (e *env) symlink(parent volume.Ino, name, target string) volume.Ino {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: volume.ModeLink, Target: target}).Attr.Ino
}

// staged is a nameless file.
func (e *env) staged() volume.Ino {
	e.t.Helper()
	return e.create(0, "", volume.ModeFile|0o644)
}

func (e *env) write(ino volume.Ino, off int64, data string) volume.Result {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: []byte(data)})
}

func (e *env) truncate(ino volume.Ino, size int64) volume.Result {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize, Size: size})
}

func (e *env) chmod(ino volume.Ino, mode uint32) volume.Result {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetMode, Mode: mode})
}

func (e *env) setXattr(ino volume.Ino, name string, value []byte) volume.Result {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: name, Data: value})
}

func (e *env) link(ino, parent volume.Ino, name string) volume.Result {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: parent, NewName: name})
}

func (e *env) unlink(parent volume.Ino, name string) volume.Result {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpUnlink, Parent: parent, Name: name})
}

func (e *env) rmdir(parent volume.Ino, name string) volume.Result {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpRmdir, Parent: parent, Name: name})
}

func (e *env) rename(parent volume.Ino, name string, newParent volume.Ino, newName string) volume.Result {
	e.t.Helper()
	return e.ok(volume.Request{Kind: volume.OpRename, Parent: parent, Name: name, NewParent: newParent, NewName: newName})
}

// open opens, and closes at the end of the check unless it was closed before.
func (e *env) open(ino volume.Ino) (closeIt func()) {
	e.t.Helper()
	err, disagree := e.p.Open(e.ctx, ino, false)
	if err != nil || disagree != nil {
		e.t.Fatalf("open inode %s: %v\nvolume != model: %v", ino, err, disagree)
	}
	closed := false
	closeIt = func() {
		e.t.Helper()
		if closed {
			return
		}
		closed = true
		if err, disagree := e.p.Close(e.ctx, ino); err != nil || disagree != nil {
			e.t.Errorf("close inode %s: %v\nvolume != model: %v", ino, err, disagree)
		}
	}
	e.t.Cleanup(closeIt)
	return closeIt
}

func (e *env) attr(ino volume.Ino) volume.Attr {
	e.t.Helper()
	a, err := e.sys.Vol.GetAttr(e.ctx, ino)
	if err != nil {
		e.t.Fatalf("attributes of inode %s: %v", ino, err)
	}
	return a
}

// names lists a directory in listing order.
func (e *env) names(dir volume.Ino) []string {
	e.t.Helper()
	list, err := listing(e.ctx, e.sys.Vol, dir)
	if err != nil {
		e.t.Fatalf("list inode %s: %v", dir, err)
	}
	names := []string{}
	for _, d := range list {
		names = append(names, d.Name)
	}
	return names
}

// read reads length bytes from off, or what there is.
func (e *env) read(ino volume.Ino, off int64, length int) string {
	e.t.Helper()
	p := make([]byte, length)
	for i := range p {
		p[i] = 0xee // what is not overwritten would show
	}
	n, err := e.sys.Vol.ReadAt(e.ctx, ino, p, off)
	if err != nil {
		e.t.Fatalf("read %d bytes at %d of inode %s: %v", length, off, ino, err)
	}
	return string(p[:n])
}

func (e *env) xattr(ino volume.Ino, name string) []byte {
	e.t.Helper()
	v, err := e.sys.Vol.GetXattr(e.ctx, ino, name)
	if err != nil {
		e.t.Fatalf("attribute %s of inode %s: %v", name, ino, err)
	}
	return v
}

// noXattr checks that an attribute is not there.
func (e *env) noXattr(ino volume.Ino, name string) {
	e.t.Helper()
	_, err := e.sys.Vol.GetXattr(e.ctx, ino, name)
	e.fails(volume.NoXattr, err, "attribute "+name)
}

// fails checks an error's kind.
func (e *env) fails(want volume.Kind, err error, what string) {
	e.t.Helper()
	if err == nil || volume.KindOf(err) != want {
		e.t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// same checks a value.
func (e *env) same(what string, got, want any) {
	e.t.Helper()
	if !reflect.DeepEqual(got, want) {
		e.t.Errorf("%s: got %s, want %s", what, shown(got), shown(want))
	}
}

// shown is a value for a message: content may be long, and no text.
func shown(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%.300q", s)
	}
	return strings.ToValidUTF8(fmt.Sprintf("%+v", v), "?")
}

// mode checks type and permission bits.
func (e *env) mode(ino volume.Ino, want uint32) {
	e.t.Helper()
	e.same("mode", octal(e.attr(ino).Mode), octal(want))
}

// nlink checks a link count.
func (e *env) nlink(ino volume.Ino, want uint32) {
	e.t.Helper()
	e.same("nlink", e.attr(ino).Nlink, want)
}

// fixture is one of everything, in a check's directory.
type fixture struct {
	*env
	f       volume.Ino // "f", a file that holds "hello"
	l       volume.Ino // "l", a symbolic link to "f"
	fifo    volume.Ino // "fifo"
	empty   volume.Ino // "empty", a directory
	sub     volume.Ino // "sub", a directory that holds file "x" and directory "y"
	x, y    volume.Ino
	staged  volume.Ino // a file created nameless
	deleted volume.Ino // a file without a name that had one, open
	removed volume.Ino // a directory without a name, open
	ended   volume.Ino // a file that is no more
	never   volume.Ino // an ID that nobody made
}

func (e *env) fixture() *fixture {
	e.t.Helper()
	f := &fixture{env: e, never: volume.MakeIno(0xfffff, 0xffffff)}
	f.f = e.file(e.dir, "f")
	e.write(f.f, 0, "hello")
	f.l = e.symlink(e.dir, "l", "f")
	f.fifo = e.create(e.dir, "fifo", volume.ModeFIFO|0o644)
	f.empty = e.mkdir(e.dir, "empty")
	f.sub = e.mkdir(e.dir, "sub")
	f.x = e.file(f.sub, "x")
	f.y = e.mkdir(f.sub, "y")
	f.staged = e.staged()
	f.deleted = e.file(e.dir, "deleted")
	e.open(f.deleted)
	e.unlink(e.dir, "deleted")
	f.removed = e.mkdir(e.dir, "removed")
	e.open(f.removed)
	e.rmdir(e.dir, "removed")
	f.ended = e.file(e.dir, "ended")
	e.unlink(e.dir, "ended")
	return f
}

// refusal is a request that must fail on the fixture.
type refusal struct {
	clause string
	want   volume.Kind
	req    func(f *fixture) volume.Request
}

// refusals makes a check of each row.
func refusals(rows []refusal) (checks []check) {
	for _, r := range rows {
		checks = append(checks, check{"refuse " + r.clause, func(e *env) {
			f := e.fixture()
			e.refuse(r.want, r.req(f))
		}})
	}
	return checks
}
