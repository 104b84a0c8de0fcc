// Package discovery finds the other nodes of a cluster without being told their
// addresses: each node sends beacons by UDP multicast (elect.Beacon), and dials whose
// beacons it hears.
//
// # What a beacon may do
//
// It may cause a dial, and nothing else. It carries an HMAC under a key that is derived from
// the cluster key, so beacons of other clusters and forged ones are counted and ignored. Its
// counter grows, so a recorded one is ignored too as long as this daemon remembers its
// node (elect.ReplayWindow). Where it comes from is not protected: a beacon that names no
// host may be sent again from elsewhere before it is heard, and what is dialled then does
// not pass the session's TLS.
//
// # Where
//
// Group 239.255.0.1, port 9501, IPv4, as far as the next router (TTL 1), on all interfaces
// that are up and have an address, the loopback among them: so daemons of one machine find
// each other without a network. They share the port, and each hears every beacon, its own
// too. Interfaces are looked at again every 30 seconds. Where the group cannot be
// joined, or a packet to it cannot be sent, beacons go to the interface's broadcast
// address; the socket hears both.
//
// # When
//
// Every second at first, later every 5 seconds, each time up to a quarter less; and at once
// when a node is heard for the first time, but not more than once a second.
//
// # Ownership
//
// Run owns the socket. Its own goroutine sends; one other receives, and calls Found. Both
// end before Run returns. What they share is behind the mutex of beacons.
package discovery
