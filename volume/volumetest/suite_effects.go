package volumetest

import (
	"maps"
	"reflect"

	"wolfdisk/volume"
)

// effectChecks prove, for every kind of request, which inodes get a new ctime and
// version, which a new mtime, and that no other inode changes at all.
func effectChecks() []check {
	type inos = []volume.Ino
	rows := []struct {
		clause string
		req    func(f *fixture) volume.Request
		ctime  func(f *fixture) inos
		mtime  func(f *fixture) inos // besides; a subset
	}{
		{"create", func(f *fixture) volume.Request { return createReq(f.sub, "n", volume.ModeFile) },
			func(f *fixture) inos { return inos{f.sub} }, func(f *fixture) inos { return inos{f.sub} }},
		{"mkdir", func(f *fixture) volume.Request { return createReq(f.sub, "n", volume.ModeDir) },
			func(f *fixture) inos { return inos{f.sub} }, func(f *fixture) inos { return inos{f.sub} }},
		{"create nameless", func(f *fixture) volume.Request { return createReq(0, "", volume.ModeFile) },
			func(f *fixture) inos { return nil }, func(f *fixture) inos { return nil }},
		{"create nameless in a parent", func(f *fixture) volume.Request { return createReq(f.sub, "", volume.ModeFile) },
			func(f *fixture) inos { return nil }, func(f *fixture) inos { return nil }},
		{"link", func(f *fixture) volume.Request { return linkReq(f.f, f.sub, "n") },
			func(f *fixture) inos { return inos{f.f, f.sub} }, func(f *fixture) inos { return inos{f.sub} }},
		{"unlink", func(f *fixture) volume.Request { return removeReq(volume.OpUnlink, f.sub, "x") },
			func(f *fixture) inos { return inos{f.sub, f.x} }, func(f *fixture) inos { return inos{f.sub} }},
		{"rmdir", func(f *fixture) volume.Request { return removeReq(volume.OpRmdir, f.sub, "y") },
			func(f *fixture) inos { return inos{f.sub, f.y} }, func(f *fixture) inos { return inos{f.sub} }},
		{"rename", func(f *fixture) volume.Request { return renameReq(f.dir, "f", f.dir, "n") },
			func(f *fixture) inos { return inos{f.dir, f.f} }, func(f *fixture) inos { return inos{f.dir} }},
		{"rename to another directory", func(f *fixture) volume.Request { return renameReq(f.dir, "f", f.sub, "n") },
			func(f *fixture) inos { return inos{f.dir, f.f, f.sub} }, func(f *fixture) inos { return inos{f.dir, f.sub} }},
		{"rename over", func(f *fixture) volume.Request { return renameReq(f.dir, "f", f.sub, "x") },
			func(f *fixture) inos { return inos{f.dir, f.f, f.sub, f.x} }, func(f *fixture) inos { return inos{f.dir, f.sub} }},
		{"rename a directory", func(f *fixture) volume.Request { return renameReq(f.dir, "empty", f.sub, "y") },
			func(f *fixture) inos { return inos{f.dir, f.empty, f.sub, f.y} }, func(f *fixture) inos { return inos{f.dir, f.sub} }},
		{"exchange", func(f *fixture) volume.Request { return exchangeReq(f.dir, "empty", f.sub, "x") },
			func(f *fixture) inos { return inos{f.dir, f.empty, f.sub, f.x} }, func(f *fixture) inos { return inos{f.dir, f.sub} }},
		{"chmod", func(f *fixture) volume.Request { return setReq(f.f, volume.SetMode, nil) },
			func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return nil }},
		{"chown of a symlink", func(f *fixture) volume.Request { return setReq(f.l, volume.SetUID, nil) },
			func(f *fixture) inos { return inos{f.l} }, func(f *fixture) inos { return nil }},
		{"atime", func(f *fixture) volume.Request { return setReq(f.f, volume.SetAtime, nil) },
			func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return nil }},
		{"mtime now", func(f *fixture) volume.Request { return setReq(f.f, volume.SetMtimeNow, nil) },
			func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return inos{f.f} }},
		{"truncate to the same size", func(f *fixture) volume.Request {
			return setReq(f.f, volume.SetSize, func(r *volume.Request) { r.Size = 5 })
		}, func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return inos{f.f} }},
		{"write", func(f *fixture) volume.Request { return writeReq(f.x, 0, "x") },
			func(f *fixture) inos { return inos{f.x} }, func(f *fixture) inos { return inos{f.x} }},
		{"write to a deleted file", func(f *fixture) volume.Request { return writeReq(f.deleted, 0, "x") },
			func(f *fixture) inos { return inos{f.deleted} }, func(f *fixture) inos { return inos{f.deleted} }},
		{"fallocate keep-size", func(f *fixture) volume.Request { return fallocReq(f.f, volume.FallocKeepSize, 0, 1) },
			func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return inos{f.f} }},
		{"punch", func(f *fixture) volume.Request { return fallocReq(f.f, punch, 0, 1) },
			func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return inos{f.f} }},
		{"copy chunks", func(f *fixture) volume.Request { return copyReq(f.f, 0, volume.ChunkRef{Length: 1}) },
			func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return inos{f.f} }},
		{"setxattr", func(f *fixture) volume.Request { return xattrReq(f.sub, "user.a", "") },
			func(f *fixture) inos { return inos{f.sub} }, func(f *fixture) inos { return nil }},
		{"removexattr", func(f *fixture) volume.Request {
			f.setXattr(f.f, "user.a", nil)
			return removeXattrReq(f.f, "user.a")
		}, func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return nil }},
		{"setxattr of an ACL", func(f *fixture) volume.Request { return aclReq(f.f, volume.XattrACLAccess, MakeACL(0o700)) },
			func(f *fixture) inos { return inos{f.f} }, func(f *fixture) inos { return nil }},
		{"publish", func(f *fixture) volume.Request { return publishReq(f.staged, f.sub, "n") },
			func(f *fixture) inos { return inos{f.staged, f.sub} }, func(f *fixture) inos { return inos{f.sub} }},
		{"publish over", func(f *fixture) volume.Request { return publishReq(f.staged, f.sub, "x") },
			func(f *fixture) inos { return inos{f.staged, f.sub, f.x} }, func(f *fixture) inos { return inos{f.sub} }},
	}
	var checks []check
	for _, row := range rows {
		for _, open := range []bool{false, true} {
			clause := row.clause
			if open {
				clause += ", all open"
			}
			checks = append(checks, check{clause, func(e *env) {
				f := e.fixture()
				if open {
					for _, ino := range []volume.Ino{f.f, f.x, f.y, f.sub, f.empty, f.l} {
						f.open(ino)
					}
				}
				req := row.req(f)
				before := f.attrs()
				res := e.ok(req)
				e.effects(before, f.attrs(), res, row.ctime(f), row.mtime(f))
			}})
		}
	}
	return checks
}

// attrs are the attributes of all inodes of the fixture that live.
func (f *fixture) attrs() map[volume.Ino]volume.Attr {
	all := map[volume.Ino]volume.Attr{}
	for _, ino := range []volume.Ino{volume.RootIno, f.dir, f.f, f.l, f.fifo, f.empty, f.sub, f.x, f.y, f.staged, f.deleted, f.removed} {
		if a, err := f.sys.Vol.GetAttr(f.ctx, ino); err == nil {
			all[ino] = a
		} else if volume.KindOf(err) != volume.Stale {
			f.t.Fatalf("attributes of inode %s: %v", ino, err)
		}
	}
	return all
}

func (e *env) effects(before, after map[volume.Ino]volume.Attr, res volume.Result, ctime, mtime []volume.Ino) {
	e.t.Helper()
	has := func(list []volume.Ino, ino volume.Ino) bool {
		for _, i := range list {
			if i == ino {
				return true
			}
		}
		return false
	}
	for ino := range maps.Keys(before) {
		a, lives := after[ino]
		if !lives {
			if !has(ctime, ino) {
				e.t.Errorf("inode %s has ended", ino)
			}
			continue
		}
		b := before[ino]
		if !has(ctime, ino) {
			if !reflect.DeepEqual(a, b) {
				e.t.Errorf("inode %s changed from %+v to %+v", ino, b, a)
			}
			continue
		}
		if a.Version != res.Version || a.Ctime != res.Attr.Ctime {
			e.t.Errorf("inode %s has version %d and ctime %v, the op %d and %v", ino, a.Version, a.Ctime, res.Version, res.Attr.Ctime)
		}
		want := b.Mtime
		if has(mtime, ino) {
			want = a.Ctime
		}
		e.same("mtime", a.Mtime, want)
		e.same("btime", a.Btime, b.Btime)
	}
}
