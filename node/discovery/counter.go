package discovery

import (
	"fmt"
	"os"
	"time"

	"wolfdisk/volume"
)

// counter numbers beacons. It follows the clock, which makes it grow over restarts, and a
// file that makes it grow even if the clock was set back meanwhile: otherwise nobody would
// listen to this node until the clock is past where it was.
type counter struct {
	file  string // empty: the clock alone
	last  uint64
	saved uint64 // no number above it is used before it is raised on disk
	now   func() time.Time
}

const (
	counterFormat = "wolfdisk-beacon 1\n%d\n"
	// counterAhead is how far ahead the file is, in ns: it is written about once an hour.
	counterAhead = uint64(time.Hour)
	// maxCounterFile bounds the file, bytes.
	maxCounterFile = 64
)

// openCounter begins behind what was used before. A file that cannot be read is no
// reason not to find anybody: the clock is nearly always right.
func openCounter(file string, now func() time.Time) (*counter, error) {
	c := &counter{file: file, now: now}
	if file == "" {
		return c, nil
	}
	b, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return c, nil
	}
	if err == nil && (len(b) > maxCounterFile || !scanned(b, &c.last)) {
		err = volume.Errorf(volume.BadFormat, "it is none")
	}
	return c, volume.Wrap(err, "discovery: read the counter "+file)
}

func scanned(b []byte, n *uint64) bool {
	var v uint64
	if _, err := fmt.Sscanf(string(b), counterFormat, &v); err != nil || string(b) != fmt.Sprintf(counterFormat, v) {
		return false
	}
	*n = v
	return true
}

// next is the next number; it is good even with an error, which says that the file could
// not be written.
func (c *counter) next() (uint64, error) {
	c.last = max(c.last+1, uint64(c.now().UnixNano()))
	if c.file == "" || c.last <= c.saved {
		return c.last, nil
	}
	c.saved = c.last + counterAhead
	tmp := c.file + ".new"
	err := os.WriteFile(tmp, fmt.Appendf(nil, counterFormat, c.saved), 0o600)
	if err == nil {
		err = os.Rename(tmp, c.file)
	}
	return c.last, volume.Wrap(err, "discovery: write the counter")
}
