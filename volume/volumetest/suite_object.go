package volumetest

import (
	"fmt"
	"slices"

	"wolfdisk/volume"
)

// objectChecks are about the attributes of our own, and what a front end for objects
// needs besides: conditions of removals, listing by name, inodes that are kept.
func objectChecks() []check {
	object := []volume.Xattr{{Name: volume.XattrObject, Value: []byte("meta")}, {Name: volume.XattrObject + ".1", Value: []byte("more")}}
	published := func(e *env) volume.Ino {
		ino := e.staged()
		e.write(ino, 0, "object")
		r := publishReq(ino, e.dir, "n")
		r.Xattrs = append([]volume.Xattr{{Name: "user.stays", Value: []byte("1")}}, object...)
		e.ok(r)
		e.same("attributes", e.xattrNames(ino), []string{"user.stays", volume.XattrObject, volume.XattrObject + ".1"})
		return ino
	}
	var checks []check
	for _, c := range []struct {
		what string
		req  volume.Request
	}{
		{"write", volume.Request{Kind: volume.OpWrite, Data: []byte("O")}},
		{"write of the same", volume.Request{Kind: volume.OpWrite, Data: []byte("object")}},
		{"truncate", volume.Request{Kind: volume.OpSetAttr, Set: volume.SetSize, Size: 3}},
		{"fallocate", volume.Request{Kind: volume.OpFallocate, Length: 100}},
	} {
		checks = append(checks, check{"a " + c.what + " removes what tells of the content", func(e *env) {
			ino := published(e)
			r := c.req
			r.Ino = ino
			e.ok(r)
			e.same("attributes", e.xattrNames(ino), []string{"user.stays"})
		}})
	}
	checks = append(checks,
		check{"what is no content changes nothing of it", func(e *env) {
			ino := published(e)
			e.chmod(ino, 0o600)
			e.rename(e.dir, "n", e.dir, "m")
			e.link(ino, e.dir, "l")
			e.ok(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetMtimeNow})
			e.same("value", string(e.xattr(ino, volume.XattrObject)), "meta")
		}},
		check{"removed one by one", func(e *env) {
			ino := published(e)
			e.ok(volume.Request{Kind: volume.OpRemoveXattr, Ino: ino, Name: volume.XattrObject})
			e.write(ino, 0, "x")
			e.same("attributes", e.xattrNames(ino), []string{"user.stays"})
		}},
		check{"not from a mount", func(e *env) {
			ino := published(e)
			fuse := volume.Caller{Front: volume.FrontFUSE}
			e.refuse(volume.Unsupported, volume.Request{Kind: volume.OpSetXattr, Caller: fuse, Ino: ino, Name: volume.XattrObject})
			e.refuse(volume.Unsupported, volume.Request{Kind: volume.OpRemoveXattr, Caller: fuse, Ino: ino, Name: volume.XattrObject})
			e.refuse(volume.Unsupported, volume.Request{Kind: volume.OpCreate, Caller: fuse, Parent: e.dir, Name: "x", Mode: volume.ModeFile, Xattrs: object})
		}},
		check{"created with a directory", func(e *env) {
			dir := e.ok(volume.Request{Kind: volume.OpCreate, Parent: e.dir, Name: "d", Mode: volume.ModeDir | 0o755, Xattrs: object[:1]}).Attr.Ino
			e.same("value", string(e.xattr(dir, volume.XattrObject)), "meta")
			e.mkdir(dir, "sub")
			e.same("value", string(e.xattr(dir, volume.XattrObject)), "meta")
		}},
		check{"created with others", func(e *env) {
			r := volume.Request{Kind: volume.OpCreate, Parent: e.dir, Name: "d", Mode: volume.ModeFile}
			for _, row := range []struct {
				want volume.Kind
				list []volume.Xattr
			}{
				{volume.Unsupported, []volume.Xattr{{Name: "user.a"}}},
				{volume.Invalid, []volume.Xattr{{Name: volume.XattrReserved}}},
				{volume.Invalid, []volume.Xattr{object[0], object[0]}},
				{volume.Invalid, []volume.Xattr{{Name: volume.XattrKeep}}},
				{volume.XattrTooBig, slices.Repeat(object[:1], volume.MaxOpXattrs+1)},
				{volume.XattrTooBig, []volume.Xattr{{Name: volume.XattrObject, Value: make([]byte, volume.MaxXattrLen+1)}}},
			} {
				r.Xattrs = row.list
				e.refuse(row.want, r)
			}
			r.Mode, r.Xattrs = volume.ModeFIFO, object
			e.refuse(volume.NotPermitted, r)
		}},
		check{"kept", func(e *env) {
			r := createReq(0, "", volume.ModeFile|0o600)
			r.Xattrs = []volume.Xattr{{Name: volume.XattrKeep, Value: []byte("why")}}
			ino := e.ok(r).Attr.Ino
			e.same("kept", e.kept(), []volume.Ino{ino})
			e.open(ino)()
			e.write(ino, 0, "alive")
			e.ok(publishReq(ino, e.dir, "n"))
			e.same("kept with a name", e.kept(), []volume.Ino(nil))
			e.same("attributes", e.xattrNames(ino), []string(nil))
			closeIt := e.open(ino)
			e.unlink(e.dir, "n")
			e.same("kept again", e.kept(), []volume.Ino(nil))
			closeIt()
			_, err := e.sys.Vol.GetAttr(e.ctx, ino)
			e.fails(volume.Stale, err, "after its last name and close")
		}},
		check{"kept no longer", func(e *env) {
			ino := e.staged()
			e.setXattr(ino, volume.XattrKeep, nil)
			e.same("kept", e.kept(), []volume.Ino{ino})
			closeIt := e.open(ino)
			e.ok(volume.Request{Kind: volume.OpRemoveXattr, Ino: ino, Name: volume.XattrKeep})
			closeIt()
			_, err := e.sys.Vol.GetAttr(e.ctx, ino)
			e.fails(volume.Stale, err, "after its last close")
		}},
		check{"what had a name is not kept", func(e *env) {
			ino := e.file(e.dir, "n")
			set := volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: volume.XattrKeep}
			e.refuse(volume.Invalid, set)
			defer e.open(ino)()
			e.unlink(e.dir, "n")
			e.refuse(volume.Invalid, set)
			r := publishReq(e.staged(), e.dir, "m")
			r.Xattrs = []volume.Xattr{{Name: volume.XattrKeep}}
			e.refuse(volume.Invalid, r)
		}},
		check{"conditions", func(e *env) {
			ino, dir := e.file(e.dir, "n"), e.mkdir(e.dir, "d")
			at := volume.Match{Version: e.attr(ino).Version}
			before := volume.Match{Version: at.Version - 1}
			set := volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: "user.a"}
			e.refuse(volume.Precondition, matching(set, before))
			e.ok(matching(set, at))
			e.refuse(volume.Precondition, matching(set, at))
			remove := volume.Request{Kind: volume.OpRemoveXattr, Ino: ino, Name: "user.a"}
			e.refuse(volume.Precondition, matching(remove, at))
			e.ok(matching(remove, volume.Match{Version: e.attr(ino).Version}))
			unlink := volume.Request{Kind: volume.OpUnlink, Parent: e.dir, Name: "n"}
			e.refuse(volume.Precondition, matching(unlink, at))
			e.ok(matching(unlink, volume.Match{Version: e.attr(ino).Version}))
			rmdir := volume.Request{Kind: volume.OpRmdir, Parent: e.dir, Name: "d"}
			e.refuse(volume.Precondition, matching(rmdir, volume.Match{Version: e.attr(dir).Version + 1}))
			e.ok(matching(rmdir, volume.Match{Version: e.attr(dir).Version}))
		}},
		check{"by name", func(e *env) {
			var want []string
			for i := range 40 {
				name := fmt.Sprintf("%c%d", "zAa~\x01\xff.-"[i%8], i*7919%40)
				e.file(e.dir, name)
				want = append(want, name)
			}
			slices.Sort(want)
			for _, from := range append([]string{"", "\x00", "a", "\xff\xff"}, want...) {
				i, _ := slices.BinarySearch(want, from)
				e.same(fmt.Sprintf("from %q", from), e.byName(e.dir, from, len(want)), append([]string(nil), want[i:]...))
				e.same(fmt.Sprintf("two from %q", from), e.byName(e.dir, from, 2), append([]string(nil), want[i:min(i+2, len(want))]...))
			}
			e.fails(volume.NotDir, e.byNameError(e.file(e.dir, "not a directory")), "a file")
			e.fails(volume.Stale, e.byNameError(volume.MakeIno(7, 7)), "nothing")
		}},
	)
	return checks
}

func (e *env) xattrNames(ino volume.Ino) []string {
	e.t.Helper()
	names, err := e.sys.Vol.ListXattr(e.ctx, ino)
	if err != nil {
		e.t.Fatalf("attributes of inode %s: %v", ino, err)
	}
	return names
}

// kept lists the inodes that are kept without a name.
func (e *env) kept() (list []volume.Ino) {
	e.t.Helper()
	r, ok := e.sys.Vol.(volume.KeptReader)
	if !ok {
		e.t.Skipf("a %T does not list what is kept", e.sys.Vol)
	}
	if err := r.ReadKept(e.ctx, 0, func(ino volume.Ino) bool { list = append(list, ino); return true }); err != nil {
		e.t.Fatalf("list what is kept: %v", err)
	}
	return list
}

// byName lists at most n entries of a directory by name.
func (e *env) byName(dir volume.Ino, from string, n int) (list []string) {
	e.t.Helper()
	r, ok := e.sys.Vol.(volume.NameReader)
	if !ok {
		e.t.Skipf("a %T does not list by name", e.sys.Vol)
	}
	err := r.ReadNames(e.ctx, dir, from, func(d volume.DirEntry) bool {
		a, err := e.sys.Vol.Lookup(e.ctx, dir, d.Name)
		if err != nil || a.Ino != d.Ino || a.Type() != d.Type {
			e.t.Errorf("entry %+v is %+v, %v", d, a, err)
		}
		list = append(list, d.Name)
		return len(list) < n
	})
	if err != nil {
		e.t.Fatalf("list inode %s by name: %v", dir, err)
	}
	return list
}

// byNameError is the error of listing by name.
func (e *env) byNameError(dir volume.Ino) error {
	r, ok := e.sys.Vol.(volume.NameReader)
	if !ok {
		e.t.Skipf("a %T does not list by name", e.sys.Vol)
	}
	return r.ReadNames(e.ctx, dir, "", func(volume.DirEntry) bool { return true })
}
