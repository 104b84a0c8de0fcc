// Package slave is the follower's side: it receives frames, records them byte for
// byte in its own log, replays them into its index and content, and serves the tree
// read-only.
//
// # The way of a frame
//
// [Follower.Receive] runs in the goroutine that serves the session: verify and append to the
// log, apply to the tree, tell the observers (kernel caches). It is the only writer
// of the tree, so a follower is at every moment the result of a prefix of the
// history. An op that does not fit is WrongHistory: the follower stops and keeps what
// it has.
//
// # Sessions
//
// [Session] serves one session with the leader: frames go to a [Receiver], progress
// (received, applied, durable) goes out, and requests are answered from this node's own
// log and chunks, or by Options.Answer: a leader that starts behind pulls what it lacks.
//
// [Sync] is the other Receiver: it makes a copy from a snapshot of the leader's, and
// keeps the frames that come meanwhile in the copy's log.
//
// # Locks
//
// recvMu serialises Receive, Hold, Quiet and Stop. It is taken before the log's and the
// index's own locks. Readers take none.
package slave
