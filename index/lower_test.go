package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"wolfdisk/volume"
)

// TestLowerRecords puts, replaces and drops records of the backing in every way there is, and
// finds what a plain map has: through the cache, without it, and by key.
func TestLowerRecords(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		e := openEngine(t, Options{})
		f := newFeeder(t, e)
		type rec struct{ key, value string }
		want := map[volume.Ino]*rec{} // nil: the inode is there, without a record
		var pinned []volume.Ino
		next := volume.Ino(2)
		some := func() volume.Ino {
			for ino := range want {
				if rnd.IntN(3) == 0 {
					return ino
				}
			}
			return 0
		}
		record := func(ino volume.Ino) volume.LowerRecord {
			l := volume.LowerRecord{Ino: ino}
			want[ino] = nil
			if rnd.IntN(5) > 0 {
				l.Value = fmt.Appendf(nil, "value %d", rnd.IntN(1000))
				if rnd.IntN(2) > 0 {
					l.Key = fmt.Appendf(nil, "key %s %d", ino, rnd.IntN(3))
				}
				want[ino] = &rec{string(l.Key), string(l.Value)}
			}
			return l
		}
		for range 300 {
			switch rnd.IntN(5) {
			case 0, 1: // made with its record, in one batch with others
				var ops []*volume.Op
				var ls []volume.LowerRecord
				for range 1 + rnd.IntN(3) {
					ops = append(ops, file(next, fmt.Sprint(next)))
					ls = append(ls, record(next))
					next++
				}
				if err := e.EnterWith(f.batch(ops...), func() ([]volume.LowerRecord, error) { return ls, nil }); err != nil {
					t.Fatal(err)
				}
			case 2:
				if ino := some(); ino != 0 {
					ls := []volume.LowerRecord{record(ino), record(ino)}
					if rnd.IntN(3) == 0 { // as many as are read ahead, also of what there is not
						for ino := range want {
							ls = append(ls, record(ino))
						}
						ls = append(ls, volume.LowerRecord{Ino: next, Value: []byte("of none")})
					}
					if err := e.PutLower(ls); err != nil {
						t.Fatal(err)
					}
				}
			case 3: // ends, at once or when nobody has it open any more
				if ino := some(); ino != 0 {
					if rnd.IntN(2) == 0 {
						if err := e.Pin(ino); err != nil {
							t.Fatal(err)
						}
						pinned = append(pinned, ino)
					}
					f.enter(&volume.Op{Kind: volume.OpUnlink, Parent: root, Name: fmt.Sprint(ino), Ino: ino, Flags: volume.OpEnds})
					delete(want, ino)
				}
			case 4:
				for _, ino := range pinned {
					if err := e.Unpin(ino); err != nil {
						t.Fatal(err)
					}
				}
				pinned = nil
				if rnd.IntN(2) == 0 {
					e.lowers.clear()
				}
			}
		}
		for _, ino := range pinned {
			if err := e.Unpin(ino); err != nil {
				t.Fatal(err)
			}
		}
		for _, from := range []string{"cache", "store"} {
			for ino := volume.Ino(2); ino < next; ino++ {
				got, err := e.Lower(ino)
				r := want[ino]
				switch {
				case err != nil:
					t.Fatal(err)
				case r == nil && got != nil, r != nil && !bytes.Equal(got, []byte(r.value)):
					t.Errorf("seed %d, from the %s: inode %s has %q, want %+v", seed, from, ino, got, r)
				case r != nil && r.key != "":
					if i, err := e.LowerIno([]byte(r.key)); err != nil || i != ino {
						t.Errorf("seed %d: key %q leads to %s, %v", seed, r.key, i, err)
					}
				}
			}
			e.lowers.clear()
		}
		last, seen := volume.Ino(0), 0
		if err := e.Lowers(func(ino volume.Ino, value []byte) error {
			if r := want[ino]; r == nil || string(value) != r.value || ino <= last {
				t.Errorf("seed %d: %s has %q, want %+v, behind %s", seed, ino, value, r, last)
			}
			last, seen = ino, seen+1
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		keys := 0
		for k := range dump(t, e) {
			if k[0] == kLower || k[0] == kLowerIx {
				keys++
			}
		}
		n := 0
		for _, r := range want {
			if r != nil {
				n++
				if r.key != "" {
					n++
				}
			}
		}
		for _, r := range want {
			if r != nil {
				seen--
			}
		}
		if seen != 0 {
			t.Errorf("seed %d: %d records too many are listed", seed, seen)
		}
		if keys != n {
			t.Errorf("seed %d: the store holds %d keys of records, want %d", seed, keys, n)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
