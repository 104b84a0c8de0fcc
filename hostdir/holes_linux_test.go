package hostdir

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// What is found to be a hole is punched in whole blocks: nodes keep a block that is punched in part.
func TestWholeHole(t *testing.T) {
	const block = volume.HoleBlock
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range []int64{0, 5*block + 100} {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(10*block + 500); err != nil {
		t.Fatal(err)
	}
	fd := int(f.Fd())
	if at, err := unix.Seek(fd, block, seekData); err != nil || at != 5*block {
		t.Skipf("no holes of %d bytes here: data at %d, %v", block, at, err)
	}
	const none = math.MaxInt64
	for _, c := range []struct{ off, end, next, wantOff, wantEnd int64 }{
		{block, 5 * block, 5 * block, block, 5 * block},
		{block + 10, 5 * block, 5 * block, block, 5 * block},
		{block + 10, 3*block + 10, 5 * block, block, 4 * block},
		{2*block + 10, 2*block + 20, 5 * block, 2 * block, 3 * block},
		{6 * block, 10*block + 500, none, 6 * block, 11 * block},
		{6*block + 10, 10*block + 500, none, 6 * block, 11 * block},
		{6*block + 10, 8 * block, none, 6 * block, 8 * block},
	} {
		off, length := wholeHole(fd, c.off, c.end, c.next)
		if got, want := fmt.Sprint(off, off+length), fmt.Sprint(c.wantOff, c.wantEnd); got != want {
			t.Errorf("hole %d to %d, then data at %d: %s, want %s", c.off, c.end, c.next, got, want)
		}
	}
}
