package volumetest

import (
	"fmt"
	"reflect"
	"slices"

	"wolfdisk/volume"
)

// requestChecks prove what holds for requests of any kind.
func requestChecks() []check {
	var checks []check
	for _, kind := range []volume.OpKind{0, volume.OpTruncate, volume.OpEnd, volume.OpReign, volume.OpMember, volume.OpMember + 1, 255} {
		checks = append(checks, check{fmt.Sprintf("refuse to be asked for %s", kind), func(e *env) {
			f := e.fixture()
			e.refuse(volume.Invalid, volume.Request{Kind: kind, Ino: f.f, Parent: f.dir, Name: "f"})
		}})
	}
	for _, row := range validRequests() {
		checks = append(checks, check{"unlisted fields count for nothing: " + row.clause, func(e *env) {
			r := row.req(e.fixture())
			garbage(&r, append(row.listed, "Kind", "Caller"))
			e.ok(r) // the model knows what is listed; the ops must be equal
		}})
		checks = append(checks, check{"the op says who asked: " + row.clause, func(e *env) {
			if e.sys.Ops == nil {
				e.t.Skip("ops are not to be had")
			}
			r := row.req(e.fixture())
			seq := 1<<40 + uint64(e.p.model.Position().Version) // one that nobody used
			r.Caller = volume.Caller{UID: 7, GID: 8, PID: 9, Front: volume.FrontForward, Client: "client-1", Seq: seq}
			res := e.ok(r)
			ops := e.sys.Ops(res.Version - 1)
			got := ops[0].Caller
			e.same("caller", []any{got.UID, got.Front, got.Client, got.Seq}, []any{uint32(7), volume.FrontForward, "client-1", seq})
		}})
	}
	return append(checks,
		check{"versions have no gaps, and times do not go back", func(e *env) {
			if e.sys.Ops == nil {
				e.t.Skip("ops are not to be had")
			}
			e.fixture()
			var version volume.Version
			var last volume.Time
			for _, op := range e.sys.Ops(0) {
				if version++; op.Version != version {
					e.t.Fatalf("version %d follows %d", op.Version, version-1)
				}
				if op.Time.Compare(last) < 0 {
					e.t.Fatalf("op %d: time %v follows %v", op.Version, op.Time, last)
				}
				last = op.Time
				if err := op.Validate(); err != nil {
					e.t.Fatal(err)
				}
			}
			e.same("last version", e.sys.Vol.Position().Version, version)
		}},
		check{"the first op opens the epoch", func(e *env) {
			if e.sys.Ops == nil {
				e.t.Skip("ops are not to be had")
			}
			first := e.sys.Ops(0)[0]
			e.same("kind", first.Kind, volume.OpReign)
			e.same("caller", first.Caller, volume.Caller{})
			e.same("epoch", e.sys.Vol.Position().Epoch, first.Epoch)
		}},
		check{"the position's digest chains over the ops", func(e *env) {
			if e.sys.Ops == nil {
				e.t.Skip("ops are not to be had")
			}
			var d volume.Digest
			enc := volume.NewEncoder()
			for _, op := range e.sys.Ops(0) {
				enc.Reset()
				raw, err := enc.Add(copyOp(op))
				if err != nil {
					e.t.Fatal(err)
				}
				d = d.Next(raw)
			}
			e.same("digest", e.sys.Vol.Position().Digest, d)
		}},
	)
}

type validRequest struct {
	clause string
	listed []string // the fields that count
	req    func(f *fixture) volume.Request
}

func validRequests() []validRequest {
	return []validRequest{
		{"create", []string{"Parent", "Name", "Mode", "Umask", "Exclusive", "Xattrs"},
			func(f *fixture) volume.Request { return createReq(f.dir, "n", volume.ModeFile|0o644) }},
		{"symlink", []string{"Parent", "Name", "Mode", "Umask", "Target", "Exclusive", "Xattrs"},
			func(f *fixture) volume.Request { return createReq(f.dir, "n", volume.ModeLink) }},
		{"link", []string{"Ino", "NewParent", "NewName"},
			func(f *fixture) volume.Request { return linkReq(f.f, f.dir, "n") }},
		{"unlink", []string{"Parent", "Name", "Match"},
			func(f *fixture) volume.Request { return removeReq(volume.OpUnlink, f.dir, "f") }},
		{"rmdir", []string{"Parent", "Name", "Match"},
			func(f *fixture) volume.Request { return removeReq(volume.OpRmdir, f.dir, "empty") }},
		{"rename", []string{"Parent", "Name", "NewParent", "NewName", "Exclusive", "Exchange"},
			func(f *fixture) volume.Request { return renameReq(f.dir, "f", f.dir, "l") }},
		{"chown", []string{"Ino", "Set", "UID", "KillPriv"},
			func(f *fixture) volume.Request {
				return setReq(f.f, volume.SetUID, func(r *volume.Request) { r.UID = 5 })
			}},
		{"truncate", []string{"Ino", "Set", "Size", "KillPriv"},
			func(f *fixture) volume.Request {
				return setReq(f.f, volume.SetSize, func(r *volume.Request) { r.Size = 3 })
			}},
		{"utimes", []string{"Ino", "Set", "Mtime", "KillPriv"},
			func(f *fixture) volume.Request {
				return setReq(f.f, volume.SetMtime, func(r *volume.Request) { r.Mtime.Sec = 3 })
			}},
		{"write", []string{"Ino", "Offset", "Append", "Data", "KillPriv"},
			func(f *fixture) volume.Request { return writeReq(f.f, 3, "data") }},
		{"fallocate", []string{"Ino", "Alloc", "Offset", "Length", "KillPriv"},
			func(f *fixture) volume.Request { return fallocReq(f.f, 0, 3, 10) }},
		{"setxattr", []string{"Ino", "Name", "Data", "Exclusive", "Replace", "KillPriv", "Match"},
			func(f *fixture) volume.Request { return xattrReq(f.f, "user.a", "v") }},
		{"removexattr", []string{"Ino", "Name", "Match"},
			func(f *fixture) volume.Request {
				f.setXattr(f.f, "user.a", nil)
				return removeXattrReq(f.f, "user.a")
			}},
		{"publish", []string{"Ino", "Parent", "Name", "Set", "Mode", "Xattrs", "Match"},
			func(f *fixture) volume.Request { return publishReq(f.staged, f.dir, "f") }},
		{"copy chunks", []string{"Ino", "Offset", "Chunks", "KillPriv"},
			func(f *fixture) volume.Request { return copyReq(f.f, 3, volume.ChunkRef{Length: 10}) }},
	}
}

// garbage fills the fields of a request that are not listed.
func garbage(r *volume.Request, listed []string) {
	junk := volume.Request{
		Ino: 77, Parent: 78, NewParent: 79, Name: "junk", NewName: "more junk", Mode: 0o7777, Umask: 0o777, Rdev: 99, Target: "junk",
		Set: 1 << 20, UID: 1234, GID: 5678, Atime: volume.Time{Sec: 9, Nsec: 9}, Mtime: volume.Time{Sec: 8, Nsec: 8},
		Alloc: 0x13, Offset: 12345, Length: 54321, Size: 777, Append: true, Data: []byte("junk"),
		Chunks: []volume.ChunkRef{{Length: 4}}, Xattrs: []volume.Xattr{{Name: "user.junk", Value: []byte("j")}},
		Exclusive: true, Replace: true, Exchange: true, KillPriv: true, Match: volume.Match{Absent: true, Version: 99},
	}
	to, from := reflect.ValueOf(r).Elem(), reflect.ValueOf(junk)
	for i := range to.NumField() {
		if !slices.Contains(listed, to.Type().Field(i).Name) {
			to.Field(i).Set(from.Field(i))
		}
	}
}
