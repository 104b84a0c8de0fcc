// Package node is one process: configuration, state on disk, roles, sessions, the
// mount and the admin API, put together from the packages below it.
//
// # Life
//
// [Run] prepares (state directory, lock, key, own state, mount point), opens the
// volume (storage.go: log, index, content; what a crash or power loss took is
// brought back), listens and dials, and takes its role. A leader hears the nodes it
// knows, pulls what it lacks, claims an epoch above every promise and then takes
// changes (lead.go). A follower serves what it has and follows whoever leads
// (follow.go). It ends when it is told to, when its mount is unmounted, or when it
// cannot go on; release undoes everything in order.
//
// # Front ends
//
// They reach the volume through one [Handle], which can be switched to another volume
// while they run (a role change) and remembers what they have open.
//
// # Sessions
//
// Either side dials. Two nodes keep one session: of two dialled at once the lower ID's
// stays. The leader compares histories (join.go) when a follower comes: it streams,
// pulls, or refuses; nobody's copy is ever cut to fit. Every session carries the
// leader's epoch; one below a node's promise is refused with the promise.
//
// # State
//
// "state" (state.go) holds identity, promise, boot and checkpoint in two slots. The
// promise is on disk before anybody is told of it. "recovery" (recovery.go) is there from a
// power loss until directory and index agree again.
//
// # Locks
//
// followMu, then mu; peers.mu, observers.mu, Handle's and stateFile's are leaves. mu is
// never held over I/O. No lock is held while a Handle waits for its calls.
//
// # Goroutines
//
// One per known address (dial), per session those of wire and the feed or the
// follower's report, checkpoint, idleWork, the mount's and the admin server's. All end
// with node.ctx, and release waits for them.
package node
