// Package admin is how a daemon is asked and told things: HTTP over the unix socket
// STATE/admin.sock, and a client for it. It knows what is said, not how the daemon
// does it: that is behind [Source].
//
// # Two listeners
//
// The socket carries everything. Whoever may open it may stop the daemon, so it is
// 0600 in a directory of 0700, and is never visible with other permissions: it is
// made in a fresh directory of 0700 and renamed into place, because the umask belongs
// to the whole process. A socket that is left over is replaced only when nobody
// answers on it. A TCP address, if configured, carries what reads only: /, /metrics,
// /healthz, /readyz, /version. It has no password and is meant for this machine.
//
// # Verbs
//
//	GET  /v1/status                              Status
//	GET  /v1/servers                             Servers
//	GET  /v1/stats                               Stats
//	GET  /v1/oplog?from=N&limit=N&follow=1       OpLine per line, until the end or for ever
//	POST /v1/stop                                Stopping; the daemon ends after the answer
//	GET  /v1/verify, /v1/members, /v1/conflicts, /v1/conflicts/show, /v1/conflicts/diff
//	POST /v1/scrub, /v1/reconcile, /v1/gc, /v1/export, /v1/resync,
//	     /v1/promote, /v1/demote, /v1/handover, /v1/member,
//	     /v1/conflicts/restore, /v1/conflicts/drop
//	                                             JSON lines, the last is the result; see [Verb]
//	GET  /readyz?max_lag=N&wait=DURATION         Readiness; 503 if not (yet) ready
//	GET  /healthz, /version, /metrics, /
//
// Answers are JSON. Errors are {"code","error","hint"} with a stable code (errors.go).
// An error in the middle of a stream is its last line, {"error":{"code",...}}; a stream
// that breaks off without one ends without the final chunk, which the client reports.
//
// # Limits
//
// Headers 16 KiB, bodies 64 KiB, 64 connections for each listener, 32 requests and 16
// streams at once. A request that does not come for 5 s is cut off, and so is an answer
// that is not taken for 30 s, or a connection that is idle for 2 min. Unknown parameters
// are errors.
//
// # Goroutines
//
// One per listener and one per connection, all ended by Close, which lets
// answers that are under way finish while its context allows. A stream has a timer
// that flushes.
package admin
