package elect

import (
	"slices"
	"time"
)

// DialList is the addresses worth dialling and where they came from. Static ones stay;
// those that a beacon, a hello or a member record told expire when nobody has answered there
// or named them again for Expire. Membership is another matter and never expires.
type DialList struct {
	// Expire is how long an address that was told is tried without a word from it.
	Expire time.Duration
	list   []dialled
}

type dialled struct {
	address string
	static  bool
	alive   time.Duration // when it was last told or answered
}

// DefaultExpire: long enough for a reboot and a file system check.
const DefaultExpire = time.Hour

// RetryFor is how long an address that has expired is dialled when it is tried again: some tries.
const RetryFor = 10 * time.Second

// MaxDialled bounds the addresses that are not static; the one not heard for longest goes
// first.
const MaxDialled = 4096

// Static adds an address from the configuration.
func (d *DialList) Static(address string) {
	if i := d.find(address); i >= 0 {
		d.list[i].static = true
		return
	}
	d.list = append(d.list, dialled{address: address, static: true})
}

// Told adds an address that somebody named, or notes that it is still named.
func (d *DialList) Told(now time.Duration, address string) {
	if i := d.find(address); i >= 0 {
		d.list[i].alive = max(d.list[i].alive, now)
		return
	}
	if len(d.list) >= MaxDialled {
		d.forgetOldest()
	}
	d.list = append(d.list, dialled{address: address, alive: now})
}

// Again adds an address that has expired for a last try of RetryFor, and reports whether it was not
// on the list.
func (d *DialList) Again(now time.Duration, address string) bool {
	if d.find(address) >= 0 {
		return false
	}
	d.Told(now-d.expire()+RetryFor, address)
	return true
}

// Answered notes that a session was made there.
func (d *DialList) Answered(now time.Duration, address string) {
	if i := d.find(address); i >= 0 {
		d.list[i].alive = max(d.list[i].alive, now)
	}
}

// Addresses are those to dial now, in the order they came. What has expired is forgotten.
func (d *DialList) Addresses(now time.Duration) []string {
	expire := d.expire()
	d.list = slices.DeleteFunc(d.list, func(e dialled) bool { return !e.static && now-e.alive >= expire })
	addresses := make([]string, len(d.list))
	for i, e := range d.list {
		addresses[i] = e.address
	}
	return addresses
}

func (d *DialList) expire() time.Duration {
	if d.Expire == 0 {
		return DefaultExpire
	}
	return d.Expire
}

func (d *DialList) find(address string) int {
	return slices.IndexFunc(d.list, func(e dialled) bool { return e.address == address })
}

func (d *DialList) forgetOldest() {
	oldest := -1
	for i, e := range d.list {
		if !e.static && (oldest < 0 || e.alive < d.list[oldest].alive) {
			oldest = i
		}
	}
	if oldest >= 0 {
		d.list = slices.Delete(d.list, oldest, oldest+1)
	}
}
