package index

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"wolfdisk/volume"
)

// TestPrefetch: what was read ahead is what is there, also while ops change it.
func TestPrefetch(t *testing.T) {
	e := openEngine(t, Options{})
	f := newFeeder(t, e)
	const files = 200
	name := func(i int) string { return fmt.Sprint("file-", i) }
	names := []string{"absent", "zz"}
	for i := range files {
		ls := []volume.LowerRecord{{Ino: volume.Ino(i + 2), Key: fmt.Appendf(nil, "key %d", i), Value: fmt.Appendf(nil, "value %d", i)}}
		if i%3 == 0 {
			ls = nil
		}
		if err := e.EnterWith(f.batch(file(volume.Ino(i+2), name(i))), func() ([]volume.LowerRecord, error) { return ls, nil }); err != nil {
			t.Fatal(err)
		}
		names = append(names, name(i))
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	forget := func() {
		e.cache.clear()
		e.entries.clear()
		e.lowers.clear()
	}
	size := func(v int64) *volume.Op {
		return &volume.Op{Kind: volume.OpTruncate, Ino: volume.Ino(2 + v%files), Size: v}
	}
	forget()
	if err := e.Prefetch(volume.RootIno, names); err != nil {
		t.Fatal(err)
	}
	cached := 0
	for i := range files {
		if _, ok, _ := e.cache.get(volume.Ino(i + 2)); ok {
			cached++
		}
	}
	if _, ok, _ := e.entries.get(nameKey{volume.RootIno, "absent"}); !ok || cached != files {
		t.Errorf("%d of %d inodes are in the cache, and an absent name: %v", cached, files, ok)
	}
	check := func() {
		t.Helper()
		for _, n := range names {
			var i int
			_, err := fmt.Sscanf(n, "file-%d", &i)
			d, derr := e.Entry(volume.RootIno, n)
			if err != nil {
				if volume.KindOf(derr) != volume.NotFound {
					t.Errorf("%q: %v, %v", n, d, derr)
				}
				continue
			}
			want := ""
			if i%3 != 0 {
				want = fmt.Sprint("value ", i)
			}
			v, lerr := e.Lower(d.Ino)
			if derr != nil || d.Ino != volume.Ino(i+2) || lerr != nil || string(v) != want {
				t.Errorf("%q is %v with %q, %v, %v", n, d, v, derr, lerr)
			}
		}
	}
	check()
	// A change that is entered while records are read ahead is not covered by what was there before.
	for round := range int64(20) {
		forget()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := e.Prefetch(volume.RootIno, names); err != nil {
				t.Error(err)
			}
		})
		for i := range int64(files) {
			if err := e.Enter(f.batch(size(round*files + i))); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		for i := range int64(files) {
			if a, err := e.Inode(volume.Ino(2 + i)); err != nil || a.Size != round*files+i {
				t.Fatalf("round %d: inode %d has size %d, %v", round, 2+i, a.Size, err)
			}
		}
	}
	check()
}
