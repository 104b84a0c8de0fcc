package volumetest

import (
	"sync"

	"wolfdisk/volume"
)

// forwardChecks prove that a repeat of a forwarded request is answered, and not done
// twice, for every kind of request.
func forwardChecks() []check {
	var checks []check
	rows := append(validRequests(), moreForwarded()...)
	for _, row := range rows {
		checks = append(checks, check{"answer a repeat: " + row.clause, func(e *env) {
			f := e.fixture()
			r := e.number(row.req(f))
			first := e.ok(r)
			e.repeat(r, first)
			e.repeat(r, first)
			// Others have changed the tree meanwhile.
			e.create(e.dir, "other", volume.ModeFile|0o644)
			e.chmod(e.dir, 0o711)
			e.repeat(r, first)
		}})
		checks = append(checks, check{"answer one of several at once: " + row.clause, func(e *env) {
			r := e.number(row.req(e.fixture()))
			const callers = 3
			var results [callers]volume.Result
			var errs [callers]error
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					own := r
					results[i], errs[i] = e.sys.Vol.Do(e.ctx, &own)
				})
			}
			first := e.ok(r) // whoever did it: the ops must be those of one
			wg.Wait()
			for i := range callers {
				if errs[i] != nil || results[i].Version != first.Version || compared(results[i].Attr) != compared(first.Attr) {
					e.t.Fatalf("caller %d: %+v, %v; another: %+v", i, results[i], errs[i], first)
				}
			}
			e.repeat(r, first)
		}})
	}
	return append(checks,
		check{"a refused request may succeed when it is repeated", func(e *env) {
			r := e.number(createReq(e.dir, "n", volume.ModeFile|0o644))
			e.file(e.dir, "n")
			e.refuse(volume.Exists, r)
			e.unlink(e.dir, "n")
			e.repeat(r, e.ok(r))
		}},
		check{"a request that changed nothing is asked anew", func(e *env) {
			f := e.fixture()
			e.link(f.f, e.dir, "same")
			r := e.number(renameReq(e.dir, "same", e.dir, "f"))
			e.nothing(r)
			e.nothing(r)
			e.unlink(e.dir, "f")
			e.repeat(r, e.ok(r))
		}},
		check{"a repeat shows what became of the inode", func(e *env) {
			r := e.number(createReq(e.dir, "n", volume.ModeFile|0o644))
			ino := e.ok(r).Attr.Ino
			e.write(ino, 0, "hello")
			e.same("size", e.ok(r).Attr.Size, int64(5))
			e.unlink(e.dir, "n")
			a := e.ok(r).Attr
			e.same("inode, type and links at the end", []any{a.Ino, a.Type(), a.Nlink}, []any{ino, volume.ModeFile, uint32(0)})
		}},
		check{"numbers of two clients do not meet", func(e *env) {
			r := e.number(createReq(e.dir, "a", volume.ModeFile|0o644))
			e.ok(r)
			r.Caller.Client, r.Name = "client-2", "b"
			e.repeat(r, e.ok(r))
			r.Caller.Client, r.Name = "client", "c"
			e.repeat(r, e.ok(r))
		}},
		check{"without a number each is a request of its own", func(e *env) {
			ino := e.file(e.dir, "f")
			for range 2 {
				r := appendReq(ino, "x")
				r.Caller.Client = "client-1"
				e.ok(r)
			}
			e.same("size", e.attr(ino).Size, int64(2))
		}},
	)
}

// moreForwarded are requests of which doing twice would show.
func moreForwarded() []validRequest {
	return []validRequest{
		{clause: "exclusive create", req: func(f *fixture) volume.Request {
			r := createReq(f.dir, "n", volume.ModeFile|0o644)
			r.Exclusive = true
			return r
		}},
		{clause: "mkdir", req: func(f *fixture) volume.Request { return createReq(f.dir, "n", volume.ModeDir|0o755) }},
		{clause: "nameless", req: func(f *fixture) volume.Request { return createReq(0, "", volume.ModeFile|0o644) }},
		{clause: "append", req: func(f *fixture) volume.Request { return appendReq(f.f, " world") }},
		{clause: "exchange", req: func(f *fixture) volume.Request { return exchangeReq(f.dir, "f", f.dir, "sub") }},
		{clause: "rename of a directory", req: func(f *fixture) volume.Request { return renameReq(f.dir, "sub", f.dir, "empty") }},
		{clause: "truncate and chmod", req: func(f *fixture) volume.Request {
			return setReq(f.f, volume.SetSize|volume.SetMode|volume.SetMtimeNow, func(r *volume.Request) { r.Size, r.Mode = 2, 0o600 })
		}},
		{clause: "exclusive attribute", req: func(f *fixture) volume.Request {
			r := xattrReq(f.f, "user.new", "v")
			r.Exclusive = true
			return r
		}},
		{clause: "unlink of what is open", req: func(f *fixture) volume.Request {
			f.open(f.f)
			return removeReq(volume.OpUnlink, f.dir, "f")
		}},
		{clause: "append over the largest size", req: func(f *fixture) volume.Request {
			f.truncate(f.f, volume.MaxNewSize-1)
			return appendReq(f.f, "ab")
		}},
		{clause: "publish over nothing", req: func(f *fixture) volume.Request {
			r := publishReq(f.staged, f.dir, "n")
			r.Match.Absent = true
			return r
		}},
	}
}

func appendReq(ino volume.Ino, data string) volume.Request {
	return volume.Request{Kind: volume.OpWrite, Ino: ino, Append: true, Data: []byte(data)}
}

// number makes a request a forwarded one, with a number that nobody used.
func (e *env) number(r volume.Request) volume.Request {
	r.Caller.Client, r.Caller.Seq = "client-1", 1<<50+uint64(e.p.model.Position().Version)
	return r
}

// repeat does a forwarded request again: the answer is that to the first, and nothing is
// done.
func (e *env) repeat(r volume.Request, first volume.Result) {
	e.t.Helper()
	before := e.sys.Vol.Position()
	res := e.ok(r) // the model tells what the attributes are now
	if after := e.sys.Vol.Position(); after != before {
		e.t.Fatalf("%s was done twice: position from %s to %s", describeReq(&r), before, after)
	}
	e.same("version, N and offset of the repeat", []any{res.Version, res.N, res.Offset}, []any{first.Version, first.N, first.Offset})
	e.same("inodes of the repeat", []any{res.Attr.Ino, res.Replaced.Ino}, []any{first.Attr.Ino, first.Replaced.Ino})
}
