package volume

// Kinds of requests between nodes, carried opaquely by the sessions. Numbers are
// part of the protocol.
const (
	// RequestPull asks a node for the frames of its log behind a version: the body
	// is the version, 8 bytes big-endian. Answers are frames, one per message.
	RequestPull uint16 = 1
	// RequestChunk asks for a chunk: the body is its ID, the answer its content.
	RequestChunk uint16 = 2
	// RequestPosition asks for the last version of a node's log: no body, the answer
	// is the version, 8 bytes big-endian.
	RequestPosition uint16 = 3
)
