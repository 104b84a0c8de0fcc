// Package wire carries sessions between nodes: the cluster key, mutual TLS, the
// hello, messages, requests and answers, and flow control. It knows no file system
// and no roles: a frame is bytes, a request is a number and bytes, and who may do
// what is decided by a [Handler]. docs/formats.md, section "Wire", draws the bytes.
//
// # Trust
//
// A key file ([Keys]) holds the cluster's ID and one or two keys. Each key and the
// ID give, by HKDF, an Ed25519 certificate authority that every holder can rebuild;
// each start of a node makes a fresh leaf that names node ID, role and store. Both
// sides of a TLS 1.3 handshake must show a leaf of an accepted key, and the hello
// must say what the leaf says. Until that is done a connection can make this
// process read 16 KiB and hold 64 KiB, lasts 5 seconds, and is one of at most 64:
// the oldest stranger makes room for the next.
//
// An authenticated peer is still untrusted input: every length is checked against
// the type's limit before it is read, every counter against what was granted, and
// what is not known ends the session with an error of kind BadFormat, also told to
// the peer. Nothing is skipped.
//
// # A session
//
// One TCP connection, full duplex. TLS; the dialer's hello; the listener's hello;
// the dialer's accept. Either side may refuse instead, with a [Refusal] that the
// other one reads. Then messages of at most 64 KiB:
//
//   - frames: one ordered stream of bytes each way, in which the frames lie,
//   - small messages: progress, durable version, credit, cancel, ping, pong, bye,
//   - requests, sent one after the other, and answers, any number at once,
//   - signals, whole messages of up to 1 MiB one way, on sessions that carry nothing else
//     ([CapControl]).
//
// A stream ([CapStream]) is greeted the same way and then is bytes both ways, TLS and no more: no
// messages, no flow control but TCP's.
//
// # Flow control
//
// The receiver grants bytes, separately for frames, for requests, and for each
// answer, and grants again when its user has consumed them. So a slow reader of one
// answer, or a slow disk behind the frames, holds up nothing else, and the memory
// that a peer can fill is the sum of the windows: with the defaults 8 MiB of
// frames, 8 MiB of requests, 32 answers of 512 KiB, and one message each.
//
// # Invariants
//
//   - The reading loop waits for nothing but the socket, and a sink's Signal, which must
//     not wait for the peer. What it has to say is posted and written by others, so two
//     nodes can not block each other.
//   - Small messages overtake bulk: they are written before the next message of
//     whoever writes next. Frames never overtake frames, nor pieces of an answer
//     each other.
//   - Frames get at least every second bulk message.
//   - When a session ends, what had arrived before is delivered, unless this side
//     ended it.
//   - No error or log line contains key material.
//
// # Ownership
//
// Slices passed to SendFrames, Call, Send and Write stay the caller's; they are
// copied before the method returns. Slices passed to a [Sink] are valid until its
// method returns; messages returned by [AnswerReader.Next] until the next call.
//
// # Locks
//
// As channels, so that waiting ends with a context: frameTurn (one batch of frames
// after the other), requestTurn (one request after the other), then in writer side,
// bulk, lock. As mutexes, innermost, never two at once: those of credit, window,
// frameQueue, incoming, AnswerReader, Session.callMu, Session.pingMu, writer.mu.
//
// # Goroutines
//
//   - Listener.accept, one per listener; ended by Close.
//   - Listener.serve, one per connection: greeting, then Handler.Session.
//   - writer.run, one per session: writes what was posted; ended with the session.
//   - Session.Serve, the caller's: delivers frames.
//   - Session.read, one per Serve: reads messages; ended with the session, Serve waits.
//   - incoming.start, at most MaxCalls per session: Sink.Request; Serve waits.
package wire
