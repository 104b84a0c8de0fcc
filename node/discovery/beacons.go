package discovery

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// Stats counts packets. All are safe to read at any time.
type Stats struct {
	Sent   atomic.Uint64
	Failed atomic.Uint64 // could not be sent on an interface
	Heard  atomic.Uint64 // from other nodes of this cluster
	// Ignored:
	Foreign   atomic.Uint64 // of other clusters
	Forged    atomic.Uint64 // name this cluster and were not made with its key
	Replayed  atomic.Uint64 // not newer than the last one of their node
	Malformed atomic.Uint64
}

// Verdicts on a packet.
type verdict int

const (
	ignored verdict = iota // counted, and no more
	own                    // from this daemon itself
	twin                   // from another daemon with this node's ID
	heard                  // from another node
)

// beacons makes beacons, and judges what is heard.
type beacons struct {
	opt     *Options
	key     []byte
	keys    [][]byte
	counter *counter // of the sending goroutine

	mu     sync.Mutex // guards what follows
	sent   [ownRing]uint64
	next   int
	window elect.ReplayWindow
	seen   map[string]time.Time // when a node was heard last
}

const (
	// ownRing is how many own beacons are known again: those of the last rounds.
	ownRing = 256
	// silent is after how long a node that is heard again counts as new.
	silent = 30 * time.Second
	// clusterAt is where a beacon's cluster ID lies: behind magic and format.
	clusterAt = 8
)

func newBeacons(opt *Options) (*beacons, error) {
	c, err := openCounter(opt.CounterFile, opt.now)
	return &beacons{
		opt: opt, key: opt.Keys.BeaconKey(), keys: opt.Keys.BeaconKeys(), counter: c, seen: map[string]time.Time{},
	}, err
}

// make is the next beacon to send; an error of the counter's file comes with it.
func (b *beacons) make() (p []byte, err error) {
	n, cerr := b.counter.next()
	p, err = (&elect.Beacon{Cluster: b.opt.Keys.ClusterID(), Counter: n, NodeID: b.opt.NodeID, Address: b.opt.Address}).Encode(b.key)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[b.next%ownRing] = n
	b.next++
	return p, cerr
}

// judge says what a packet is worth: of a heard one, whose it is, where to dial, and
// whether the node is new.
func (b *beacons) judge(p []byte, from netip.Addr) (v verdict, id, address string, isNew bool) {
	st := b.opt.Stats
	beacon, err := elect.DecodeBeacon(p, b.keys...)
	cluster := b.opt.Keys.ClusterID()
	switch {
	case err == nil && beacon.Cluster != cluster:
		st.Foreign.Add(1) // a key used for two clusters cannot be made by us
		return ignored, "", "", false
	case err == nil:
	case volume.KindOf(err) == volume.Unauthorized && !namesCluster(p, cluster):
		st.Foreign.Add(1)
		return ignored, "", "", false
	case volume.KindOf(err) == volume.Unauthorized:
		st.Forged.Add(1)
		return ignored, "", "", false
	default:
		st.Malformed.Add(1)
		return ignored, "", "", false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if beacon.NodeID == b.opt.NodeID && slices.Contains(b.sent[:], beacon.Counter) {
		return own, "", "", false
	}
	if !b.window.Fresh(beacon) {
		st.Replayed.Add(1)
		return ignored, "", "", false
	}
	address, ok := dialAddress(beacon.Address, from)
	if !ok {
		st.Malformed.Add(1)
		return ignored, "", "", false
	}
	if beacon.NodeID == b.opt.NodeID {
		return twin, beacon.NodeID, address, false
	}
	st.Heard.Add(1)
	return heard, beacon.NodeID, address, b.isNew(beacon.NodeID)
}

// isNew notes that a node was heard, and reports whether it had not been for long. What
// is noted is bounded as the replay window is.
func (b *beacons) isNew(id string) bool {
	now := b.opt.now()
	last, known := b.seen[id]
	if !known && len(b.seen) >= elect.MaxBeaconNodes {
		for old, at := range b.seen {
			if now.Sub(at) > silent {
				delete(b.seen, old)
			}
		}
		if len(b.seen) >= elect.MaxBeaconNodes {
			return true // and not noted: a beacon a second more, at most
		}
	}
	b.seen[id] = now
	return !known || now.Sub(last) > silent
}

// namesCluster reports whether a packet claims to be of a cluster.
func namesCluster(p []byte, cluster volume.ID) bool {
	return len(p) >= clusterAt+len(cluster) && volume.ID(p[clusterAt:clusterAt+len(cluster)]) == cluster
}

// dialAddress is where to dial: what the beacon says, or its port at the host it came from.
func dialAddress(said string, from netip.Addr) (string, bool) {
	host, port, err := net.SplitHostPort(said)
	if err != nil || port == "" || port == "0" {
		return "", false
	}
	if host != "" {
		return said, true
	}
	if !from.IsValid() {
		return "", false
	}
	return net.JoinHostPort(from.Unmap().String(), port), true
}
