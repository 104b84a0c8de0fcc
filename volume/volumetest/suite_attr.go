package volumetest

import (
	"fmt"

	"wolfdisk/volume"
)

// setReq is a setattr; fill says what it sets.
func setReq(ino volume.Ino, set volume.SetMask, fill func(r *volume.Request)) volume.Request {
	r := volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: set}
	if fill != nil {
		fill(&r)
	}
	return r
}

func attrChecks() []check {
	checks := append(chmodChecks(), chownChecks()...)
	checks = append(checks, timeChecks()...)
	checks = append(checks, truncateChecks()...)
	return append(checks, refusals(attrRefusals())...)
}

func chmodChecks() []check {
	var checks []check
	for _, mode := range []uint32{0, 0o777, 0o4755, 0o2755, 0o1777, 0o7777, 0o644} {
		for _, typ := range allTypes {
			if typ.mode == volume.ModeLink {
				continue
			}
			checks = append(checks, check{fmt.Sprintf("chmod %o of a %s", mode, typ.name), func(e *env) {
				ino := e.ok(createReq(e.dir, "n", typ.mode|0o700)).Attr.Ino
				before := e.attr(ino)
				res := e.chmod(ino, mode)
				before.Mode, before.Ctime, before.Version = typ.mode|mode, res.Attr.Ctime, res.Version
				e.same("attributes", e.attr(ino), before)
			}})
		}
	}
	return append(checks,
		check{"type bits of a mode do not count", func(e *env) {
			ino := e.file(e.dir, "n")
			e.same("mode", octal(e.chmod(ino, volume.ModeDir|0o600).Attr.Mode), octal(volume.ModeFile|0o600))
		}},
		check{"an empty set changes nothing", func(e *env) {
			f := e.fixture()
			for _, ino := range []volume.Ino{f.f, f.l, f.fifo, f.sub, f.staged, f.deleted, f.removed} {
				r := setReq(ino, 0, func(r *volume.Request) { r.Mode, r.UID, r.GID, r.Size, r.KillPriv = 0o777, 1, 2, 3, true })
				e.same("answer", e.nothing(r).Attr, e.attr(ino))
			}
		}},
		check{"attributes that are not in the set do not count", func(e *env) {
			ino := e.file(e.dir, "n")
			before := e.attr(ino)
			res := e.ok(setReq(ino, volume.SetUID, func(r *volume.Request) {
				r.UID, r.GID, r.Mode, r.Size = 9, 8, 0o777, 7
				r.Atime, r.Mtime = volume.Time{Sec: 1}, volume.Time{Sec: 2}
			}))
			before.UID, before.Ctime, before.Version = 9, res.Attr.Ctime, res.Version
			e.same("attributes", e.attr(ino), before)
		}},
		check{"the root can be changed", func(e *env) {
			e.ok(setReq(volume.RootIno, volume.SetMode|volume.SetUID|volume.SetGID, func(r *volume.Request) { r.Mode, r.UID, r.GID = 0o1777, 3, 4 }))
			a := e.attr(volume.RootIno)
			e.same("root", []uint32{a.Mode, a.UID, a.GID}, []uint32{volume.ModeDir | 0o1777, 3, 4})
		}},
		check{"a deleted open file can be changed", func(e *env) {
			f := e.fixture()
			e.same("mode", octal(e.chmod(f.deleted, 0o111).Attr.Mode), octal(volume.ModeFile|0o111))
			e.same("mode", octal(e.chmod(f.removed, 0o111).Attr.Mode), octal(volume.ModeDir|0o111))
		}},
	)
}

func chownChecks() []check {
	var checks []check
	for _, row := range []struct{ mode, want uint32 }{
		{0o4755, 0o755}, {0o6755, 0o755}, {0o2755, 0o755}, {0o2745, 0o2745}, {0o6745, 0o2745}, {0o755, 0o755}, {0o7777, 0o1777}, {0o4000, 0},
	} {
		for _, set := range []volume.SetMask{volume.SetUID, volume.SetGID, volume.SetUID | volume.SetGID} {
			checks = append(checks, check{fmt.Sprintf("chown (%d) of mode %o with kill-priv", set, row.mode), func(e *env) {
				own := func(r *volume.Request) { r.UID, r.GID, r.KillPriv = 1, 2, true }
				ino := e.create(e.dir, "f", volume.ModeFile|row.mode)
				e.mode(e.ok(setReq(ino, set, own)).Attr.Ino, volume.ModeFile|row.want)
				fifo := e.create(e.dir, "fifo", volume.ModeFIFO|row.mode)
				e.mode(e.ok(setReq(fifo, set, own)).Attr.Ino, volume.ModeFIFO|row.want)
				dir := e.create(e.dir, "d", volume.ModeDir|row.mode)
				e.mode(e.ok(setReq(dir, set, own)).Attr.Ino, volume.ModeDir|row.mode)
			}})
		}
		checks = append(checks, check{fmt.Sprintf("an empty set of mode %o with kill-priv", row.mode), func(e *env) {
			kill := func(r *volume.Request) { r.KillPriv = true }
			ino, dir := e.create(e.dir, "f", volume.ModeFile|row.mode), e.create(e.dir, "d", volume.ModeDir|row.mode)
			if row.mode == row.want {
				e.nothing(setReq(ino, 0, kill))
			} else {
				e.ok(setReq(ino, 0, kill))
			}
			e.mode(ino, volume.ModeFile|row.want)
			e.nothing(setReq(dir, 0, kill))
			e.mode(dir, volume.ModeDir|row.mode)
		}})
		checks = append(checks, check{fmt.Sprintf("chown of mode %o without kill-priv", row.mode), func(e *env) {
			ino := e.create(e.dir, "f", volume.ModeFile|row.mode)
			e.mode(e.ok(setReq(ino, volume.SetUID, func(r *volume.Request) { r.UID = 1 })).Attr.Ino, volume.ModeFile|row.mode)
		}})
	}
	return append(checks,
		check{"an explicit mode wins over kill-priv", func(e *env) {
			ino := e.create(e.dir, "f", volume.ModeFile|0o6755)
			r := setReq(ino, volume.SetUID|volume.SetMode, func(r *volume.Request) { r.UID, r.Mode, r.KillPriv = 1, 0o4711, true })
			e.mode(e.ok(r).Attr.Ino, volume.ModeFile|0o4711)
		}},
		check{"chown drops capabilities, chmod does not", func(e *env) {
			ino := e.file(e.dir, "f")
			e.setXattr(ino, volume.XattrCapability, []byte("caps"))
			e.chmod(ino, 0o755)
			e.same("capability", string(e.xattr(ino, volume.XattrCapability)), "caps")
			e.ok(setReq(ino, volume.SetGID, func(r *volume.Request) { r.GID = 5 }))
			e.noXattr(ino, volume.XattrCapability)
		}},
		check{"an empty set with kill-priv drops capabilities", func(e *env) {
			ino := e.file(e.dir, "f")
			e.setXattr(ino, volume.XattrCapability, []byte("caps"))
			e.nothing(setReq(ino, 0, func(*volume.Request) {}))
			e.ok(setReq(ino, 0, func(r *volume.Request) { r.KillPriv = true }))
			e.noXattr(ino, volume.XattrCapability)
		}},
		check{"chown of a directory keeps capabilities", func(e *env) {
			dir := e.mkdir(e.dir, "d")
			e.setXattr(dir, volume.XattrCapability, []byte("caps"))
			e.ok(setReq(dir, volume.SetGID, func(r *volume.Request) { r.GID, r.KillPriv = 5, true }))
			e.same("capability", string(e.xattr(dir, volume.XattrCapability)), "caps")
		}},
		check{"chown of a symlink", func(e *env) {
			l := e.symlink(e.dir, "l", "t")
			a := e.ok(setReq(l, volume.SetUID|volume.SetGID, func(r *volume.Request) { r.UID, r.GID, r.KillPriv = 5, 6, true })).Attr
			e.same("owner and mode", []uint32{a.UID, a.GID, a.Mode}, []uint32{5, 6, volume.ModeLink | 0o777})
		}},
		check{"the greatest IDs", func(e *env) {
			ino := e.file(e.dir, "f")
			a := e.ok(setReq(ino, volume.SetUID|volume.SetGID, func(r *volume.Request) { r.UID, r.GID = 1<<32-2, 1<<32-3 })).Attr
			e.same("owner", []uint32{a.UID, a.GID}, []uint32{1<<32 - 2, 1<<32 - 3})
		}},
	)
}

func timeChecks() []check {
	var checks []check
	for _, tm := range []volume.Time{{}, {Sec: 1, Nsec: 1}, {Sec: -1, Nsec: 999999999}, {Sec: -1 << 40}, {Sec: 1 << 40, Nsec: 5}, {Sec: 1<<63 - 1, Nsec: 999999999}, {Sec: -1 << 63}} {
		for _, typ := range allTypes {
			checks = append(checks, check{fmt.Sprintf("utimes of a %s to %d.%09d", typ.name, tm.Sec, tm.Nsec), func(e *env) {
				ino := e.ok(createReq(e.dir, "n", typ.mode|0o644)).Attr.Ino
				before := e.attr(ino)
				res := e.ok(setReq(ino, volume.SetMtime, func(r *volume.Request) { r.Mtime = tm }))
				e.same("times", []volume.Time{res.Attr.Mtime, res.Attr.Atime}, []volume.Time{tm, before.Atime})
				res = e.ok(setReq(ino, volume.SetAtime, func(r *volume.Request) { r.Atime = tm }))
				e.same("times", []volume.Time{res.Attr.Mtime, res.Attr.Atime}, []volume.Time{tm, tm})
				e.same("read back", e.attr(ino), res.Attr)
			}})
		}
	}
	return append(checks,
		check{"now is the op's time", func(e *env) {
			ino := e.file(e.dir, "n")
			old := volume.Time{Sec: 5}
			e.ok(setReq(ino, volume.SetAtime|volume.SetMtime, func(r *volume.Request) { r.Atime, r.Mtime = old, old }))
			a := e.ok(setReq(ino, volume.SetAtimeNow, nil)).Attr
			e.same("atime now", []volume.Time{a.Atime, a.Mtime}, []volume.Time{a.Ctime, old})
			a = e.ok(setReq(ino, volume.SetMtimeNow, nil)).Attr
			e.same("mtime now", a.Mtime, a.Ctime)
		}},
		check{"now wins over an explicit time", func(e *env) {
			ino := e.file(e.dir, "n")
			all := volume.SetAtime | volume.SetMtime | volume.SetAtimeNow | volume.SetMtimeNow
			a := e.ok(setReq(ino, all, func(r *volume.Request) { r.Atime, r.Mtime = volume.Time{Sec: 1}, volume.Time{Sec: 2} })).Attr
			e.same("times", []volume.Time{a.Atime, a.Mtime}, []volume.Time{a.Ctime, a.Ctime})
		}},
		check{"ctime never goes back", func(e *env) {
			ino := e.file(e.dir, "n")
			last := e.attr(ino).Ctime
			for i := range 200 {
				a := e.chmod(ino, uint32(i)).Attr
				if a.Ctime.Compare(last) < 0 {
					e.t.Fatalf("ctime went from %v to %v", last, a.Ctime)
				}
				last = a.Ctime
			}
		}},
		check{"a future mtime does not move ctime", func(e *env) {
			ino := e.file(e.dir, "n")
			a := e.ok(setReq(ino, volume.SetMtime, func(r *volume.Request) { r.Mtime = volume.Time{Sec: 1 << 40} })).Attr
			if a.Ctime.Sec >= 1<<40 {
				e.t.Errorf("ctime %v follows mtime", a.Ctime)
			}
			b := e.chmod(ino, 0o600).Attr
			if b.Ctime.Sec >= 1<<40 {
				e.t.Errorf("a later ctime %v follows mtime", b.Ctime)
			}
		}},
		check{"reading does not change atime", func(e *env) {
			f := e.fixture()
			before := []volume.Attr{e.attr(f.f), e.attr(f.l), e.attr(e.dir)}
			e.read(f.f, 0, 5)
			e.names(e.dir)
			_, err := e.sys.Vol.ReadLink(e.ctx, f.l)
			e.same("read link", err, nil)
			e.same("attributes", []volume.Attr{e.attr(f.f), e.attr(f.l), e.attr(e.dir)}, before)
		}},
	)
}

func truncateChecks() []check {
	var checks []check
	for _, row := range []struct {
		size int64
		want string
	}{{0, ""}, {2, "he"}, {5, "hello"}, {8, "hello\x00\x00\x00"}} {
		checks = append(checks, check{fmt.Sprintf("truncate 5 bytes to %d", row.size), func(e *env) {
			f := e.fixture()
			res := e.truncate(f.f, row.size)
			e.same("size", res.Attr.Size, row.size)
			e.same("times", []volume.Time{res.Attr.Mtime}, []volume.Time{res.Attr.Ctime})
			e.same("version", res.Attr.Version, res.Version)
			e.same("content", e.read(f.f, 0, 20), row.want)
		}})
	}
	return append(checks,
		check{"down and up again reads zeros", func(e *env) {
			ino := e.file(e.dir, "n")
			e.write(ino, 0, "abcdefgh")
			e.truncate(ino, 3)
			e.truncate(ino, 8)
			e.same("content", e.read(ino, 0, 20), "abc\x00\x00\x00\x00\x00")
		}},
		check{"up over pages and down into one", func(e *env) {
			ino := e.file(e.dir, "n")
			e.write(ino, 0, "x")
			e.truncate(ino, 100000)
			e.write(ino, 99999, "y")
			e.same("end", e.read(ino, 99990, 100), "\x00\x00\x00\x00\x00\x00\x00\x00\x00y")
			e.truncate(ino, 50000)
			e.truncate(ino, 100000)
			e.same("end", e.read(ino, 99990, 100), "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		}},
		check{"a deleted open file", func(e *env) {
			f := e.fixture()
			e.same("size", e.truncate(f.deleted, 9).Attr.Size, int64(9))
		}},
		check{"with kill-priv clears setuid and capabilities", func(e *env) {
			ino := e.create(e.dir, "f", volume.ModeFile|0o6755)
			e.setXattr(ino, volume.XattrCapability, []byte("caps"))
			e.ok(setReq(ino, volume.SetSize, func(r *volume.Request) { r.KillPriv = true }))
			e.mode(ino, volume.ModeFile|0o755)
			e.noXattr(ino, volume.XattrCapability)
		}},
		check{"with mode, owner and times in one request", func(e *env) {
			f := e.fixture()
			old := volume.Time{Sec: 7, Nsec: 8}
			set := volume.SetSize | volume.SetMode | volume.SetUID | volume.SetMtime
			res := e.ok(setReq(f.f, set, func(r *volume.Request) { r.Size, r.Mode, r.UID, r.Mtime = 2, 0o4700, 12, old }))
			a := e.attr(f.f)
			e.same("answer", res.Attr, a)
			e.same("version", a.Version, res.Version)
			e.same("attributes", []any{a.Size, a.Mode, a.UID, a.Mtime}, []any{int64(2), volume.ModeFile | uint32(0o4700), uint32(12), old})
		}},
		check{"with mtime now in one request", func(e *env) {
			f := e.fixture()
			a := e.ok(setReq(f.f, volume.SetSize|volume.SetMtimeNow, func(r *volume.Request) { r.Size = 1 })).Attr
			e.same("times", a.Mtime, a.Ctime)
		}},
	)
}

func attrRefusals() []refusal {
	size := func(ino volume.Ino, size int64) volume.Request {
		return setReq(ino, volume.SetSize, func(r *volume.Request) { r.Size = size })
	}
	return []refusal{
		{"an unknown inode", volume.Stale, func(f *fixture) volume.Request { return setReq(f.never, volume.SetMode, nil) }},
		{"an ended inode", volume.Stale, func(f *fixture) volume.Request { return setReq(f.ended, volume.SetMode, nil) }},
		{"inode 0", volume.Stale, func(f *fixture) volume.Request { return setReq(0, volume.SetMode, nil) }},
		{"mode of a symlink", volume.Unsupported, func(f *fixture) volume.Request { return setReq(f.l, volume.SetMode, nil) }},
		{"mode and owner of a symlink", volume.Unsupported, func(f *fixture) volume.Request {
			return setReq(f.l, volume.SetMode|volume.SetUID, func(r *volume.Request) { r.UID = 7 })
		}},
		{"size of a directory", volume.IsDir, func(f *fixture) volume.Request { return size(f.sub, 0) }},
		{"size of a symlink", volume.Invalid, func(f *fixture) volume.Request { return size(f.l, 0) }},
		{"size of a fifo", volume.Invalid, func(f *fixture) volume.Request { return size(f.fifo, 0) }},
		{"a size beyond the largest", volume.TooBig, func(f *fixture) volume.Request { return size(f.f, volume.MaxNewSize+1) }},
		{"a negative size", volume.Invalid, func(f *fixture) volume.Request { return size(f.f, -1) }},
		{"size of an unknown inode", volume.Stale, func(f *fixture) volume.Request { return size(f.never, 0) }},
		{"mode with a bad size leaves the mode", volume.Invalid, func(f *fixture) volume.Request {
			return setReq(f.f, volume.SetSize|volume.SetMode, func(r *volume.Request) { r.Size = -5 })
		}},
		{"nanoseconds of atime", volume.Invalid, func(f *fixture) volume.Request {
			return setReq(f.f, volume.SetAtime, func(r *volume.Request) { r.Atime.Nsec = 1e9 })
		}},
		{"nanoseconds of mtime", volume.Invalid, func(f *fixture) volume.Request {
			return setReq(f.f, volume.SetMtime, func(r *volume.Request) { r.Mtime.Nsec = 1<<32 - 1 })
		}},
		{"nanoseconds leave the size", volume.Invalid, func(f *fixture) volume.Request {
			return setReq(f.f, volume.SetMtime|volume.SetSize, func(r *volume.Request) { r.Mtime.Nsec = 1e9 })
		}},
	}
}
