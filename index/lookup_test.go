package index

import (
	"testing"

	"wolfdisk/volume"
)

// A name that one file takes over from another is found at every moment.
func TestLookupWhileReplaced(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	const first = 2
	f.enter(file(first, "name"))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for last := volume.Ino(0); ; {
			select {
			case <-stop:
				return
			default:
			}
			a, err := e.Lookup(root, "name")
			if err != nil || a.Ino < last {
				t.Errorf("found %d after %d, %v", a.Ino, last, err)
				return
			}
			last = a.Ino
		}
	}()
	for ino := volume.Ino(first + 1); ino < 4000; ino++ {
		f.enter(file(ino, "new"))
		f.enter(&volume.Op{Kind: volume.OpRename, Ino: ino, Parent: root, Name: "new", NewParent: root, NewName: "name", Replaced: ino - 1, Flags: volume.OpEnds})
	}
	close(stop)
	<-done
}
