// Package node is one process: configuration, state on disk, roles, sessions, the
// mount and the admin API, put together from the packages below it.
//
// # Life
//
// [Run] prepares (state directory, lock, key, own state, mount point), listens, opens the
// volume if there is one (follow.go, storage.go: log, index, content; what a crash or power loss
// took is brought back), starts the election and dials. It ends when it is told to, when its mount is
// unmounted, or when it cannot go on; release hands over and undoes everything in order.
//
// # Roles
//
// elector.go is the host of the election's machine (package elect): one goroutine steps it, and
// one worker (electwork.go) does what it wants done: lead (lead.go), follow and step down
// (roles.go), resolve a fork (roles.go, package conflict), pull. Nothing else changes the role. Ops
// enter a leader through one gate (master.Gate), which the machine opens and shuts.
//
// # Front ends
//
// They reach the volume through one [Handle], which can be switched to another volume
// while they run (a role change) and remembers what they have open. A change that comes while
// nobody leads waits (vacancy.go) and is forwarded if the next leader is another node (front.go).
// The mount is one, S3 the other (package gateway, s3.go): it forwards whole requests to whoever leads.
//
// # Sessions
//
// Either side dials. Two nodes keep one session for data and one for the election's messages
// (control.go): of two dialled at once the lower ID's stays. A node follows on a session if the
// election says that its other side leads; the leader compares histories (join.go) and streams, sends a
// snapshot, or keeps it out; nobody's copy is ever cut to fit. Every session carries the
// leader's epoch; one below what a node obeys is refused with the promise.
//
// # State
//
// "state" (state.go) holds identity, promise, boot and checkpoint in two slots. The
// promise is on disk before anybody is told of it. "recovery" (recovery.go) is there from a
// power loss until directory and index agree again.
//
// # Locks
//
// followMu, then mu; peers.mu, control.mu, elector.mu, observers.mu, vacancy.mu, Handle's and
// stateFile's are leaves. mu is never held over I/O. No lock is held while a Handle waits for its calls.
//
// # Goroutines
//
// Two per known address (dial), per session those of wire and the feed or the
// follower's report, the elector's two, checkpoint, idleWork, retain, collect, the mount's, the S3
// gateway's and the admin server's. All end with node.ctx, and release waits for them.
package node
