package volumetest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wolfdisk/volume"
)

// raceCheck proves one clause about requests that compete.
type raceCheck struct {
	name string
	run  func(t *testing.T, sys System)
}

const racers = 8

// race runs fn in several goroutines and counts successes; errors must be of a kind
// that is listed.
func race(t *testing.T, allowed []volume.Kind, fn func(i int) error) int {
	t.Helper()
	var wg sync.WaitGroup
	var won atomic.Int32
	for i := range racers {
		wg.Go(func() {
			err := fn(i)
			if err == nil {
				won.Add(1)
				return
			}
			for _, k := range allowed {
				if volume.KindOf(err) == k {
					return
				}
			}
			t.Errorf("racer %d: %v", i, err)
		})
	}
	wg.Wait()
	return int(won.Load())
}

// must does a request that has to succeed.
func must(t *testing.T, sys System, req volume.Request) volume.Result {
	t.Helper()
	res, err := sys.Vol.Do(t.Context(), &req)
	if err != nil {
		t.Fatalf("%s: %v", describeReq(&req), err)
	}
	return res
}

func raceChecks() []raceCheck {
	return []raceCheck{
		{"one creates a name", func(t *testing.T, sys System) {
			for round := range 20 {
				name := fmt.Sprintf("n%d", round)
				won := race(t, []volume.Kind{volume.Exists}, func(i int) error {
					r := createReq(volume.RootIno, name, allTypes[i%len(allTypes)].mode)
					_, err := sys.Vol.Do(t.Context(), &r)
					return err
				})
				if won != 1 {
					t.Errorf("%d created %s", won, name)
				}
			}
		}},
		{"one removes a name", func(t *testing.T, sys System) {
			for range 20 {
				must(t, sys, createReq(volume.RootIno, "n", volume.ModeFile))
				won := race(t, []volume.Kind{volume.NotFound}, func(int) error {
					r := removeReq(volume.OpUnlink, volume.RootIno, "n")
					_, err := sys.Vol.Do(t.Context(), &r)
					return err
				})
				if won != 1 {
					t.Errorf("%d removed it", won)
				}
			}
		}},
		{"one publishes where the name must be free", func(t *testing.T, sys System) {
			for round := range 10 {
				name := fmt.Sprintf("n%d", round)
				won := race(t, []volume.Kind{volume.Precondition}, func(int) error {
					r := createReq(0, "", volume.ModeFile)
					res, err := sys.Vol.Do(t.Context(), &r)
					if err != nil {
						return err
					}
					r = matching(publishReq(res.Attr.Ino, volume.RootIno, name), volume.Match{Absent: true})
					_, err = sys.Vol.Do(t.Context(), &r)
					return err
				})
				if won != 1 {
					t.Errorf("%d published %s", won, name)
				}
			}
		}},
		{"appends do not overlap", raceAppend},
		{"writes to one page do not get lost", raceWrite},
		{"renames of directories make no loop", raceRename},
		{"links and unlinks count", raceLink},
		{"a directory is not removed under a new name", raceRmdir},
		{"open against unlink", raceOpen},
	}
}

func raceAppend(t *testing.T, sys System) {
	ino := must(t, sys, createReq(volume.RootIno, "n", volume.ModeFile)).Attr.Ino
	const each, length = 30, 100
	race(t, nil, func(i int) error {
		for range each {
			r := writeReq(ino, 0, strings.Repeat(string(rune('a'+i)), length))
			r.Append = true
			res, err := sys.Vol.Do(t.Context(), &r)
			if err != nil {
				return err
			}
			if res.Offset%length != 0 || res.N != length {
				return volume.Errorf(volume.Fault, "%d bytes were appended at %d", res.N, res.Offset)
			}
		}
		return nil
	})
	p := make([]byte, racers*each*length+1)
	n, err := sys.Vol.ReadAt(t.Context(), ino, p, 0)
	if err != nil || n != len(p)-1 {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	counts := map[string]int{}
	for i := range racers * each {
		counts[string(p[i*length:(i+1)*length])]++
	}
	for i := range racers {
		if got := counts[strings.Repeat(string(rune('a'+i)), length)]; got != each {
			t.Errorf("%d whole appends of racer %d", got, i)
		}
	}
}

func raceWrite(t *testing.T, sys System) {
	ino := must(t, sys, createReq(volume.RootIno, "n", volume.ModeFile)).Attr.Ino
	race(t, nil, func(i int) error {
		for round := range 20 {
			r := writeReq(ino, int64((round*racers+i)*7), strings.Repeat(string(rune('a'+i)), 7))
			if _, err := sys.Vol.Do(t.Context(), &r); err != nil {
				return err
			}
		}
		return nil
	})
	var want strings.Builder
	for range 20 {
		for i := range racers {
			want.WriteString(strings.Repeat(string(rune('a'+i)), 7))
		}
	}
	p := make([]byte, want.Len()+1)
	n, err := sys.Vol.ReadAt(t.Context(), ino, p, 0)
	if err != nil || string(p[:n]) != want.String() {
		t.Errorf("content differs (%d bytes, %v)", n, err)
	}
}

func raceRename(t *testing.T, sys System) {
	var dirs []volume.Ino
	for i := range racers {
		dirs = append(dirs, must(t, sys, createReq(volume.RootIno, fmt.Sprintf("d%d", i), volume.ModeDir|0o755)).Attr.Ino)
	}
	race(t, nil, func(i int) error {
		own := fmt.Sprintf("d%d", i)
		at := volume.RootIno
		for round := range 40 {
			to := dirs[(i+1+round)%racers]
			if round%3 == 2 {
				to = volume.RootIno
			}
			r := renameReq(at, own, to, own)
			_, err := sys.Vol.Do(t.Context(), &r)
			if err == nil {
				at = to
			} else if volume.KindOf(err) != volume.Invalid {
				return err
			}
		}
		return nil
	})
	snap, err := Tree(t.Context(), sys.Vol)
	if err != nil {
		t.Fatal(err)
	}
	if len(snap) != racers+1 {
		t.Errorf("%d of %d directories can be reached", len(snap)-1, racers)
	}
}

func raceLink(t *testing.T, sys System) {
	ino := must(t, sys, createReq(volume.RootIno, "n", volume.ModeFile)).Attr.Ino
	race(t, nil, func(i int) error {
		for round := range 20 {
			name := fmt.Sprintf("n%d-%d", i, round)
			link := linkReq(ino, volume.RootIno, name)
			if _, err := sys.Vol.Do(t.Context(), &link); err != nil {
				return err
			}
			if round%2 == 0 {
				unlink := removeReq(volume.OpUnlink, volume.RootIno, name)
				if _, err := sys.Vol.Do(t.Context(), &unlink); err != nil {
					return err
				}
			}
		}
		return nil
	})
	a, err := sys.Vol.GetAttr(t.Context(), ino)
	if err != nil || a.Nlink != 1+racers*10 {
		t.Errorf("nlink %d, %v", a.Nlink, err)
	}
}

func raceRmdir(t *testing.T, sys System) {
	for range 30 {
		dir := must(t, sys, createReq(volume.RootIno, "d", volume.ModeDir|0o755)).Attr.Ino
		var removed atomic.Bool
		created := race(t, []volume.Kind{volume.NotFound, volume.NotEmpty, volume.Stale, volume.Fenced}, func(i int) error {
			if i == 0 {
				r := removeReq(volume.OpRmdir, volume.RootIno, "d")
				_, err := sys.Vol.Do(t.Context(), &r)
				removed.Store(err == nil)
				if err == nil {
					return volume.Fenced // not counted among the creates
				}
				return err
			}
			r := createReq(dir, fmt.Sprintf("f%d", i), volume.ModeFile)
			_, err := sys.Vol.Do(t.Context(), &r)
			return err
		})
		if removed.Load() && created > 0 {
			t.Errorf("%d names were made in a removed directory", created)
		}
		if removed.Load() {
			continue
		}
		if created != racers-1 {
			t.Errorf("%d of %d names were made in a directory that stays", created, racers-1)
		}
		for i := 1; i < racers; i++ {
			must(t, sys, removeReq(volume.OpUnlink, dir, fmt.Sprintf("f%d", i)))
		}
		must(t, sys, removeReq(volume.OpRmdir, volume.RootIno, "d"))
	}
}

// raceOpen opens while the last name goes: who got in can read to the end, and
// nothing is left when all have closed.
func raceOpen(t *testing.T, sys System) {
	for range 30 {
		ino := must(t, sys, createReq(volume.RootIno, "n", volume.ModeFile)).Attr.Ino
		must(t, sys, writeReq(ino, 0, "content"))
		race(t, []volume.Kind{volume.Stale}, func(i int) error {
			if i == 0 {
				r := removeReq(volume.OpUnlink, volume.RootIno, "n")
				_, err := sys.Vol.Do(t.Context(), &r)
				return err
			}
			if err := sys.Vol.Open(t.Context(), ino, true); err != nil {
				return err
			}
			p := make([]byte, 20)
			n, err := sys.Vol.ReadAt(t.Context(), ino, p, 0)
			if err != nil || string(p[:n]) != "content" {
				return volume.Errorf(volume.Fault, "read %q, %v from an open file", p[:n], err)
			}
			return volume.Wrap(sys.Vol.Close(t.Context(), ino), "close an open file")
		})
		if _, err := sys.Vol.GetAttr(t.Context(), ino); volume.KindOf(err) != volume.Stale {
			t.Errorf("after the last close: %v", err)
		}
	}
}
