package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/elect"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// Options of Run.
type Options struct {
	Where  Where
	Keys   *wire.Keys
	NodeID string
	// Address is where others reach this node: HOST:PORT, or :PORT at the host that its
	// beacons come from.
	Address string
	// CounterFile keeps the beacons' counter growing over restarts (STATE/beacon). If it is
	// empty the clock alone has to.
	CounterFile string
	// Found is told whose beacon came and where to dial, each time. It must not wait.
	Found func(id, address string)
	// Twin is told where another daemon with this node's ID is, each time; may be nil.
	Twin  func(address string)
	Stats *Stats // may be nil
	Log   zerolog.Logger

	now   func() time.Time
	links func() ([]link, error)
	pace  pace
}

// pace is how often what is done.
type pace struct {
	first, later time.Duration // between beacons
	firstFor     time.Duration // how long it is first
	answer       time.Duration // least between two beacons if one answers a new node
	look         time.Duration // between looks at the interfaces
}

var usual = pace{first: time.Second, later: 5 * time.Second, firstFor: 15 * time.Second, answer: time.Second, look: 30 * time.Second}

// Run sends beacons and hears those of others until ctx ends; that is no error. If the
// port cannot be had it is Unavailable.
func Run(ctx context.Context, opt Options) error {
	if opt.Where.Mode == ModeNone {
		return nil
	}
	if opt.Stats == nil {
		opt.Stats = &Stats{}
	}
	if opt.now == nil {
		opt.now = time.Now
	}
	if opt.links == nil {
		opt.links = links
	}
	if opt.pace == (pace{}) {
		opt.pace = usual
	}
	s, err := open(ctx, opt.Where)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	b, err := newBeacons(&opt)
	if err != nil {
		opt.Log.Warn().Err(err).Msg("the clock alone numbers the beacons")
	}
	r := &runner{opt: &opt, s: s, b: b, greet: make(chan struct{}, 1), failing: map[string]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.receive(ctx)
	}()
	r.send(ctx)
	err = s.conn.Close()
	<-done
	return volume.Wrap(err, "discovery: close the socket")
}

type runner struct {
	opt *Options
	s   *socket
	b   *beacons
	// greet holds a token when a new node was heard.
	greet chan struct{}

	// Of the sending goroutine.
	links   []link
	joined  map[string]bool // by address: the group is heard there
	failing map[string]bool // by name: told that nothing can be sent there
	warned  bool            // told of the counter's file
	none    bool            // told that there are no interfaces
}

// send sends beacons until ctx ends.
func (r *runner) send(ctx context.Context) {
	p := r.opt.pace
	begin := time.Now()
	looked, sent := time.Time{}, time.Time{}
	wait := time.NewTimer(jitter(p.first / 4)) // machines that start together do not speak together
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		case <-r.greet:
			if rest := p.answer - time.Since(sent); rest > 0 {
				wait.Reset(rest)
				continue
			}
		}
		if time.Since(looked) >= p.look {
			looked = time.Now()
			r.look()
		}
		r.beacon()
		sent = time.Now()
		next := p.later
		if time.Since(begin) < p.firstFor {
			next = p.first
		}
		wait.Reset(next - jitter(next/4))
	}
}

func jitter(most time.Duration) time.Duration {
	return rand.N(most + 1)
}

// look finds the interfaces, and joins the group on them.
func (r *runner) look() {
	list, err := r.opt.links()
	if err != nil {
		r.opt.Log.Warn().Err(err).Msg("discovery: the interfaces cannot be listed; going on with those known")
		return
	}
	r.links, r.joined = list, map[string]bool{}
	if len(list) == 0 && !r.none {
		r.opt.Log.Warn().Msg("discovery: no interface is up with an IPv4 address; looking again")
	}
	r.none = len(list) == 0
	if r.opt.Where.Mode != ModeMulticast {
		return
	}
	for _, l := range list {
		if !l.multicast {
			continue
		}
		if err := r.s.join(l); err != nil {
			r.opt.Log.Debug().Err(err).Str("interface", l.name).Msg("discovery: the group cannot be joined; trying broadcast")
			continue
		}
		r.joined[l.addr.String()] = true
	}
}

// beacon sends one beacon on each interface. Each has a number of its own, or who hears
// two would take the second for a replay.
func (r *runner) beacon() {
	for _, l := range r.links {
		p, err := r.b.make()
		if p == nil {
			r.opt.Log.Error().Err(err).Msg("discovery: this node's ID or address cannot stand in a beacon")
			return
		}
		if err != nil && !r.warned {
			r.warned = true
			r.opt.Log.Warn().Err(err).Msg("the clock alone numbers the beacons")
		}
		err = r.through(l, p)
		if err == nil {
			r.opt.Stats.Sent.Add(1)
		} else {
			r.opt.Stats.Failed.Add(1)
		}
		if failing := err != nil; failing != r.failing[l.name] {
			r.failing[l.name] = failing
			r.opt.Log.Info().AnErr("why", err).Str("interface", l.name).Bool("works", !failing).Msg("discovery: beacons on an interface")
		}
	}
}

// through sends one packet on an interface, to all where the group does not work.
func (r *runner) through(l link, p []byte) error {
	var err error
	if r.joined[l.addr.String()] {
		if err = r.s.multicast(l, p); err == nil {
			return nil
		}
	}
	if berr := r.s.broadcast(l, p); berr != nil {
		return errors.Join(err, berr)
	}
	return nil
}

// receivePause is after a read that failed.
const receivePause = time.Second

// receive takes packets until the socket is closed.
func (r *runner) receive(ctx context.Context) {
	buf := make([]byte, elect.MaxBeaconLen+1) // a longer one is none
	for {
		n, from, err := r.s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.opt.Log.Debug().Err(err).Msg("discovery: receive")
			select {
			case <-ctx.Done():
			case <-time.After(receivePause):
			}
			continue
		}
		r.packet(buf[:n], from.Addr())
	}
}

func (r *runner) packet(p []byte, from netip.Addr) {
	v, id, address, isNew := r.b.judge(p, from)
	switch v {
	case twin:
		if r.opt.Twin != nil {
			r.opt.Twin(address)
		}
	case heard:
		r.opt.Found(id, address)
		if isNew {
			select {
			case r.greet <- struct{}{}:
			default:
			}
		}
	}
}
