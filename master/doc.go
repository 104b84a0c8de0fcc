// Package master is the leader's side: it decides requests, applies and records them,
// and ships the log to every follower from the follower's own position.
//
// # The way of an op
//
// [Leader.Do] finds the objects of a request, takes their locks, has the index decide
// the op, applies its content to the backing, and commits: the op is numbered and
// appended to the log, entered into the index, and only then answered. The locks
// are held all the way, so the order of versions is the order of effects on every
// object. A failure after the backing has been changed stops the writer for good:
// read-only and loud, rather than diverging from the followers. Only an op that the gate
// does not let in is taken back.
//
// Concurrent handlers share a frame (commit.go): whoever gets commitMu first writes
// what has queued up. The first commit of an epoch puts its OpReign in front: a
// leader that never wrote leaves no trace.
//
// # Feeding
//
// A [Feed] serves one follower's session: it reads the log from the follower's
// position and sends frames as they are. The log only tells it that there is more;
// nothing is queued for it, so a slow follower costs the writer nothing.
//
// # Locks, in order
//
// gate (shared) - renameMu - locks of inodes, ascending - commitMu - queueMu, the
// index's own. Observers are called under commitMu and must not call back.
package master
