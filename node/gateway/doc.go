// Package gateway is the S3 gateway as a node runs it: it listens, has the keys, and sees to it
// that a change is made by the node that leads. What an S3 request means is package s3's business.
//
// # Who answers
//
// Reads are answered from the node's own volume. An operation that changes something is answered
// here if this node leads; otherwise [Gateway] forwards the request (forward.go) over a stream of the
// cluster (wire.CapStream), as it came: method, target, host, headers and body, so that its signature
// holds. The leader verifies it once more (serve.go) and answers, never forwarding again. The answer
// says at which version the leader was then, and the client is answered when this node is there, so
// that whoever made a change sees it at once where he made it.
//
// A leader answers forwarded requests whether it serves S3 itself or not, but with its own keys.
//
// # When the leader changes
//
// Nothing of a body is read before the leader asks for it (Expect: 100-continue). Until then a request
// can be offered to another leader, and is, for as long as changes wait at a mount. Later the client
// is answered 503, and sends it again. Requests that have no body are offered again only if they
// cannot have been done.
//
// # Locks
//
// Gateway.mu, then nothing.
//
// # Goroutines
//
// One that serves clients, one that serves other nodes' streams once there is one, one that lets go of
// a leader that leads no more, one that makes buckets if there are any to make. All end with Shutdown.
package gateway
