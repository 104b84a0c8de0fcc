// Package slave is the follower's side: it receives frames, records them byte for
// byte in its own log, replays them into its index and content, and serves the tree
// read-only.
//
// # The way of a frame
//
// [Follower.Receive] runs on the session's reading goroutine: verify and append to the
// log, apply to the tree, tell the observers (kernel caches). It is the only writer
// of the tree, so a follower is at every moment the result of a prefix of the
// history. An op that does not fit is WrongHistory: the follower stops and keeps what
// it has.
//
// # Sessions
//
// [Follower.Follow] serves one session with the leader: frames in, progress out
// (received, applied, durable), and requests answered from this node's own log
// and chunks: a leader that starts behind pulls what it lacks.
//
// # Locks
//
// recvMu serialises Receive and Stop. It is taken before the log's and the index's
// own locks. Readers take none.
package slave
