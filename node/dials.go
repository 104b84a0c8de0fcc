package node

import (
	"context"
	"sync"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// dials are the addresses that this node dials, each for a session for data and one for control, for
// as long as the list has it: those of the configuration for ever, those that a beacon or the list of
// members told until nobody has answered there, or named them again, for elect.DefaultExpire. Members
// are tried again every retryEvery after that: two that were cut off from each other for long may have
// nobody else who tells them where the other is.
type dials struct {
	n *node

	mu      sync.Mutex
	list    elect.DialList
	running map[string]context.CancelFunc
	busy    map[string]int  // sessions that were dialled there and are alive
	again   map[string]bool // addresses of members that have expired
}

func newDials(n *node) *dials {
	return &dials{n: n, running: map[string]context.CancelFunc{}, busy: map[string]int{}, again: map[string]bool{}}
}

// static has addresses of the configuration dialled.
func (d *dials) static(addrs []string) {
	d.mu.Lock()
	for _, a := range addrs {
		d.list.Static(a)
	}
	d.mu.Unlock()
	d.tend()
}

// told has addresses dialled that somebody named.
func (d *dials) told(addrs ...string) {
	d.mu.Lock()
	for _, a := range addrs {
		d.list.Told(bootClock(), a)
	}
	d.mu.Unlock()
	d.tend()
}

// members has the members of the cluster dialled.
func (d *dials) members(members []volume.Member) {
	d.told(d.addressesOf(members)...)
}

func (d *dials) addressesOf(members []volume.Member) (addrs []string) {
	for _, m := range members {
		if m.ID != d.n.cfg.Node.ID && m.Address != "" && !m.Removed {
			addrs = append(addrs, m.Address)
		}
	}
	return addrs
}

// retry has members tried again whose addresses have expired.
func (d *dials) retry(members []volume.Member) {
	d.mu.Lock()
	for _, a := range d.addressesOf(members) {
		if d.list.Again(bootClock(), a) {
			d.again[a] = true
		}
	}
	d.mu.Unlock()
	d.tend()
}

const (
	// tendEvery is how often it is looked for addresses that have expired.
	tendEvery = time.Minute
	// retryEvery is how often members are tried whose addresses have expired.
	retryEvery = 5 * time.Minute
)

func (d *dials) run(ctx context.Context) {
	t := time.NewTicker(tendEvery)
	defer t.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
			d.retry(d.n.members())
		case <-t.C:
			d.tend()
		}
	}
}

// tend begins to dial what is new on the list, and ends what has expired.
func (d *dials) tend() {
	connected := d.n.peers.addresses()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := bootClock()
	for _, a := range connected {
		d.list.Answered(now, a)
	}
	for a := range d.busy {
		d.list.Answered(now, a)
	}
	want := map[string]bool{}
	for _, a := range d.list.Addresses(now) {
		want[a] = true
		if d.running[a] != nil || d.n.ctx.Err() != nil {
			continue
		}
		ctx, cancel := context.WithCancel(d.n.ctx)
		d.running[a] = cancel
		d.n.background(func(context.Context) { d.dial(ctx, a) })
		d.n.background(func(context.Context) { d.n.control.dial(ctx, a) })
	}
	for a, cancel := range d.running {
		if !want[a] {
			if !d.again[a] {
				d.n.log.Info().Str("address", a).Msg("nobody has answered there for long: tried now and then, if it is a member's, or when it is named again")
			}
			cancel()
			delete(d.running, a)
		}
	}
}

// during counts a session with an address while fn runs: that is no address that expires.
func (d *dials) during(addr string, fn func() error) error {
	d.count(addr, 1)
	defer d.count(addr, -1)
	return fn()
}

func (d *dials) count(addr string, by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list.Answered(bootClock(), addr)
	delete(d.again, addr)
	if d.busy[addr] += by; d.busy[addr] == 0 {
		delete(d.busy, addr)
	}
}

// dial keeps a session to one address for as long as it is on the list.
func (d *dials) dial(ctx context.Context, addr string) {
	n := d.n
	id := "" // who answered there last
	addrs := func() []string {
		if id != "" && n.peers.connected(id) {
			return nil
		}
		return []string{addr}
	}
	h := &dialer{n, func(answered string) { id = answered }}
	wire.DialLoop(ctx, n.wire, addrs, h, func(ctx context.Context, s *wire.Session) error {
		return d.during(addr, func() error { return n.session(ctx, s, true) })
	})
}
