package wire

import (
	"sync"
	"testing"

	"wolfdisk/volume"
)

// Several hellos may be written at once from one lineage; the race detector looks on.
func TestEncodingChangesNothing(t *testing.T) {
	e := volume.Epoch{Number: 7, Leader: "a", Tag: 3}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if _, err := encode(func(c coder) { visitEpoch(c, &e) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
