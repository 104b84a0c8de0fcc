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
// members told until nobody has answered there, or named them again, for elect.DefaultExpire. A node
// that comes back later dials by itself.
type dials struct {
	n *node

	mu      sync.Mutex
	list    elect.DialList
	running map[string]context.CancelFunc
	busy    map[string]int // sessions that were dialled there and are alive
}

func newDials(n *node) *dials {
	return &dials{n: n, running: map[string]context.CancelFunc{}, busy: map[string]int{}}
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
	var addrs []string
	for _, m := range members {
		if m.ID != d.n.cfg.Node.ID && m.Address != "" && !m.Removed {
			addrs = append(addrs, m.Address)
		}
	}
	d.told(addrs...)
}

// tendEvery is how often it is looked for addresses that have expired.
const tendEvery = time.Minute

func (d *dials) run(ctx context.Context) {
	t := time.NewTicker(tendEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
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
			d.n.log.Info().Str("address", a).Msg("nobody has answered there for long: not dialled any more until it is named again")
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
