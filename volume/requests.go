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
	// RequestSnapshot asks a leader for its index as it is now: the answer is a stream
	// of records (package index, Export). What comes after it follows as frames.
	RequestSnapshot uint16 = 4
	// RequestContent asks a node for content by inode ID; see package master.
	RequestContent uint16 = 5
	// RequestBarrier asks a leader for a version that no handler which runs now comes
	// behind: the answer is the version, 8 bytes big-endian.
	RequestBarrier uint16 = 6
	// RequestDigest asks a node for what it holds, to compare.
	RequestDigest uint16 = 7
	// RequestRanges asks a node where a file has data; see ServeRanges.
	RequestRanges uint16 = 10
	// RequestJoin asks a leader how to follow from where the hello said: the answer is
	// one byte, JoinStream or JoinSnapshot.
	RequestJoin uint16 = 8
	// RequestFrame asks a node for the frame of its log that holds a version: the body is
	// the version, 8 bytes big-endian, the answer is the frame.
	RequestFrame uint16 = 9
	// RequestForward asks a leader to do what a front end of another node was asked for;
	// see Forward.
	RequestForward uint16 = 11
	// RequestSync asks a follower to make the ops through a version durable: the body is the
	// version, 8 bytes big-endian; the answer is the version that is durable there, as many.
	RequestSync uint16 = 12
	// RequestFsync asks a leader to do what fsync does for an application on another node: the body is
	// the inode ID, 8 bytes big-endian, or 0 for all, and a byte that is 1 if times do not matter; the
	// answer is a byte of 0, when all is as durable as the leader promises.
	RequestFsync uint16 = 14
	// RequestMembers asks a node for the members of the cluster: no body; the answer are ops of
	// kind OpMember.
	RequestMembers uint16 = 13
	// RequestCounts asks a node how much it holds: no body; the answer is its version, the number
	// of files and the sum of their sizes in bytes, 8 bytes big-endian each.
	RequestCounts uint16 = 15
	// RequestProgress tells a leader how far a copy is that the asking follower makes; no answer.
	RequestProgress uint16 = 16
)

// Answers to RequestJoin.
const (
	JoinStream   byte = 0 // frames come
	JoinSnapshot byte = 1 // the log does not reach back: ask for a snapshot
)
