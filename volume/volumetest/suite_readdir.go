package volumetest

import (
	"fmt"
	"slices"

	"wolfdisk/volume"
)

// listFrom lists at most n entries behind a cookie.
func (e *env) listFrom(dir volume.Ino, after uint64, n int) (list []volume.DirEntry) {
	e.t.Helper()
	err := e.sys.Vol.ReadDir(e.ctx, dir, after, func(d volume.DirEntry) bool {
		list = append(list, d)
		return len(list) < n
	})
	if err != nil {
		e.t.Fatalf("list behind %d: %v", after, err)
	}
	if len(list) > n {
		e.t.Fatalf("listing went on after the caller had said stop")
	}
	for _, d := range list {
		if d.Cookie <= after || d.Cookie < volume.FirstCookie {
			e.t.Fatalf("cookie %d behind %d", d.Cookie, after)
		}
		after = d.Cookie
	}
	return list
}

func readDirChecks() []check {
	return []check{
		{"cookies come from versions", func(e *env) {
			e.fixture()
			sub := e.mkdir(e.dir, "cookies")
			var want []volume.DirEntry
			for i, typ := range allTypes {
				name := fmt.Sprintf("n%d", len(allTypes)-i)
				res := e.ok(createReq(sub, name, typ.mode|0o644))
				want = append(want, volume.DirEntry{Name: name, Ino: res.Attr.Ino, Type: typ.mode, Cookie: volume.EntryCookie(res.Version, false)})
			}
			e.same("listing", e.listFrom(sub, 0, 100), want)
		}},
		{"a new name has a new cookie, others keep theirs", func(e *env) {
			a, b := e.file(e.dir, "a"), e.file(e.dir, "b")
			before := e.listFrom(e.dir, 0, 10)
			v := e.rename(e.dir, "a", e.dir, "c").Version
			w := e.link(b, e.dir, "d").Version
			e.same("listing", e.listFrom(e.dir, 0, 10), []volume.DirEntry{
				before[1],
				{Name: "c", Ino: a, Type: volume.ModeFile, Cookie: volume.EntryCookie(v, false)},
				{Name: "d", Ino: b, Type: volume.ModeFile, Cookie: volume.EntryCookie(w, false)},
			})
			x := e.rename(e.dir, "d", e.dir, "c") // both are names that exist: c is made again
			list := e.listFrom(e.dir, 0, 10)
			e.same("last", list[len(list)-1], volume.DirEntry{Name: "c", Ino: b, Type: volume.ModeFile, Cookie: volume.EntryCookie(x.Version, false)})
		}},
		{"an exchange makes two cookies", func(e *env) {
			a := e.file(e.dir, "a")
			d := e.mkdir(e.dir, "d")
			v := e.ok(exchangeReq(e.dir, "a", e.dir, "d")).Version
			e.same("listing", e.listFrom(e.dir, 0, 10), []volume.DirEntry{
				{Name: "d", Ino: a, Type: volume.ModeFile, Cookie: volume.EntryCookie(v, false)},
				{Name: "a", Ino: d, Type: volume.ModeDir, Cookie: volume.EntryCookie(v, true)},
			})
		}},
		{"a publish makes a new cookie", func(e *env) {
			e.file(e.dir, "a")
			e.file(e.dir, "b")
			ino := e.staged()
			v := e.ok(publishReq(ino, e.dir, "a")).Version
			list := e.listFrom(e.dir, 0, 10)
			e.same("last", list[1], volume.DirEntry{Name: "a", Ino: ino, Type: volume.ModeFile, Cookie: volume.EntryCookie(v, false)})
		}},
		{"listing in pieces", func(e *env) {
			var want []string
			for i := range 100 {
				name := fmt.Sprintf("%d", i*7919%100)
				e.file(e.dir, name)
				want = append(want, name)
			}
			for _, n := range []int{1, 2, 7, 99, 100, 101} {
				var got []string
				for after := uint64(0); ; {
					list := e.listFrom(e.dir, after, n)
					if len(list) == 0 {
						break
					}
					for _, d := range list {
						got = append(got, d.Name)
					}
					after = list[len(list)-1].Cookie
				}
				e.same(fmt.Sprintf("names in pieces of %d", n), got, want)
			}
		}},
		{"what stays is seen exactly once while others come and go", readDirChanging},
		{"behind any cookie", func(e *env) {
			e.fixture()
			all := e.listFrom(e.dir, 0, 100)
			last := all[len(all)-1].Cookie
			for after := range last + 5 {
				i, _ := slices.BinarySearchFunc(all, after+1, func(d volume.DirEntry, c uint64) int { return int(int64(d.Cookie) - int64(c)) })
				if after%5 == 0 || last-after < 40 {
					e.same(fmt.Sprintf("entries behind %d", after), len(e.listFrom(e.dir, after, 100)), len(all)-i)
				}
			}
			e.same("entries behind the greatest cookie", len(e.listFrom(e.dir, 1<<64-1, 100)), 0)
		}},
		{"dot names are not listed, and the directory may change while it is listed", func(e *env) {
			for i := range 20 {
				e.file(e.dir, fmt.Sprintf("n%d", i))
			}
			seen := 0
			err := e.sys.Vol.ReadDir(e.ctx, e.dir, 0, func(d volume.DirEntry) bool {
				if d.Name == "." || d.Name == ".." {
					e.t.Errorf("%q is listed", d.Name)
				}
				seen++
				if seen == 3 { // no lock may be held here
					e.unlink(e.dir, "n0")
					e.file(e.dir, "new")
				}
				return true
			})
			e.same("error", err, nil)
			if seen < 19 {
				e.t.Errorf("%d entries seen", seen)
			}
		}},
	}
}

func readDirChanging(e *env) {
	stays := map[string]int{}
	for i := range 60 {
		name := fmt.Sprintf("stay%d", i)
		e.file(e.dir, name)
		stays[name] = 0
		e.file(e.dir, fmt.Sprintf("go%d", i))
	}
	after := uint64(0)
	for round := 0; ; round++ {
		list := e.listFrom(e.dir, after, 10)
		if len(list) == 0 {
			break
		}
		after = list[len(list)-1].Cookie
		for _, d := range list {
			if _, ok := stays[d.Name]; ok {
				stays[d.Name]++
			}
		}
		if round < 10 {
			e.unlink(e.dir, fmt.Sprintf("go%d", round*3))
			e.rename(e.dir, fmt.Sprintf("go%d", round*3+1), e.dir, fmt.Sprintf("went%d", round))
			e.file(e.dir, fmt.Sprintf("new%d", round))
		}
	}
	for name, n := range stays {
		if n != 1 {
			e.t.Errorf("%s was seen %d times", name, n)
		}
	}
}
