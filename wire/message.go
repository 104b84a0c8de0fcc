package wire

import (
	"encoding/binary"
	"fmt"
	"io"

	"wolfdisk/volume"
)

// A session's bytes, inside TLS: each side sends a preamble, a hello, and then
// messages. A message is a header of 8 bytes and a body:
//
//	0  magic  0x57
//	1  type
//	2  flags  big-endian, like all integers here
//	4  length of the body
//
// Type, flags and length are checked against msgSpecs before the body is read.
// A message that is not in the table ends the session: nothing is ever skipped.

const (
	headerLen = 8
	msgMagic  = 'W'
	// maxMessage bounds every message but the hello, in bytes: four full TLS
	// records, so that a small message never waits for more than that.
	maxMessage = 64 << 10
	maxBody    = maxMessage - headerLen
)

type msgType uint8

const (
	msgInvalid msgType = iota
	// Only before a session begins.
	msgHello
	msgAccept // the dialer agrees to the listener's hello
	msgRefuse
	// Only in a session.
	msgFrames   // a piece of the stream of frames
	msgProgress // received, applied, durable version
	msgDurable  // version
	msgRequest  // id, kind, answer window; a piece of the body
	msgAnswer   // id, sequence number; a piece of an answer, or its end
	msgCredit   // scope, request id, bytes
	msgCancel   // id
	msgPing     // nonce
	msgPong     // nonce
	msgBye      // a refusal, or nothing for a clean end
	msgSignal   // a piece of a signal

	msgEnd
)

// Flags of msgRequest and msgAnswer.
const (
	flagMore   = 1 << iota // the next piece belongs to the same body
	flagLast               // the answer ends here
	flagFailed             // with an error: its kind and text are the piece
)

// Lengths of the fixed parts of bodies, in bytes.
const (
	progressLen    = 24
	versionLen     = 8
	requestHeadLen = 8 + 2 + 4
	answerHeadLen  = 8 + 4
	creditLen      = 1 + 8 + 4
	idLen          = 8
	// maxRefusal bounds an encoded refusal: its text and room for the rest.
	maxRefusal = maxTextLen + 256
)

// Scopes of msgCredit.
const (
	creditFrames = iota
	creditRequests
	creditAnswer
)

var msgSpecs = [msgEnd]struct {
	name     string
	min, max int
	flags    uint16
	greeting bool // belongs before the session
}{
	msgHello:    {"hello", 1, maxHello, 0, true},
	msgAccept:   {"accept", 0, 0, 0, true},
	msgRefuse:   {"refuse", 1, maxRefusal, 0, true},
	msgFrames:   {"frames", 1, maxBody, 0, false},
	msgProgress: {"progress", progressLen, progressLen, 0, false},
	msgDurable:  {"durable", versionLen, versionLen, 0, false},
	msgRequest:  {"request", requestHeadLen, maxBody, flagMore, false},
	msgAnswer:   {"answer", answerHeadLen, maxBody, flagMore | flagLast | flagFailed, false},
	msgCredit:   {"credit", creditLen, creditLen, 0, false},
	msgCancel:   {"cancel", idLen, idLen, 0, false},
	msgPing:     {"ping", idLen, idLen, 0, false},
	msgPong:     {"pong", idLen, idLen, 0, false},
	msgBye:      {"bye", 0, maxRefusal, 0, false},
	msgSignal:   {"signal", 1, maxBody, flagMore, false},
}

func (t msgType) String() string {
	if t == msgInvalid || t >= msgEnd {
		return fmt.Sprintf("message type %d", uint8(t))
	}
	return msgSpecs[t].name
}

type header struct {
	typ   msgType
	flags uint16
	n     int // length of the body, in bytes
}

// appendHeader begins a message.
func appendHeader(b []byte, typ msgType, flags uint16, n int) []byte {
	b = append(b, msgMagic, byte(typ))
	b = binary.BigEndian.AppendUint16(b, flags)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// parseHeader checks a header of headerLen bytes; every error is of kind BadFormat.
func parseHeader(b []byte, greeting bool) (header, error) {
	typ := msgType(b[1])
	n := binary.BigEndian.Uint32(b[4:])
	flags := binary.BigEndian.Uint16(b[2:])
	if b[0] != msgMagic {
		return header{}, volume.Errorf(volume.BadFormat, "a message begins with %#02x instead of %#02x", b[0], msgMagic)
	}
	if typ == msgInvalid || typ >= msgEnd {
		return header{}, volume.Errorf(volume.BadFormat, "unknown message type %d", typ)
	}
	spec := &msgSpecs[typ]
	switch {
	case spec.greeting != greeting:
		return header{}, volume.Errorf(volume.BadFormat, "%s message out of place", typ)
	case n < uint32(spec.min) || n > uint32(spec.max):
		return header{}, volume.Errorf(volume.BadFormat, "%s message of %d bytes, expected %d to %d", typ, n, spec.min, spec.max)
	case flags&^spec.flags != 0:
		return header{}, volume.Errorf(volume.BadFormat, "%s message with unknown flags %#04x", typ, flags)
	case flags&flagFailed != 0 && flags&flagLast == 0, flags&flagMore != 0 && flags&flagLast != 0:
		return header{}, volume.Errorf(volume.BadFormat, "%s message with flags %#04x that exclude each other", typ, flags)
	}
	return header{typ: typ, flags: flags, n: int(n)}, nil
}

// Progress is how far a follower is.
type Progress struct {
	Received volume.Version // in its memory
	Applied  volume.Version // visible to its readers
	Durable  volume.Version // on its disk
}

func appendProgress(b []byte, p Progress) []byte {
	b = appendHeader(b, msgProgress, 0, progressLen)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Received))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Applied))
	return binary.BigEndian.AppendUint64(b, uint64(p.Durable))
}

func parseProgress(b []byte) Progress {
	return Progress{
		Received: volume.Version(binary.BigEndian.Uint64(b)),
		Applied:  volume.Version(binary.BigEndian.Uint64(b[8:])),
		Durable:  volume.Version(binary.BigEndian.Uint64(b[16:])),
	}
}

// appendID makes the messages whose body is one 64-bit number.
func appendID(b []byte, typ msgType, id uint64) []byte {
	return binary.BigEndian.AppendUint64(appendHeader(b, typ, 0, idLen), id)
}

func appendCredit(b []byte, scope byte, id uint64, n uint32) []byte {
	b = append(appendHeader(b, msgCredit, 0, creditLen), scope)
	b = binary.BigEndian.AppendUint64(b, id)
	return binary.BigEndian.AppendUint32(b, n)
}

// The preamble stands before the hello and never changes its layout: magic, format
// version, and a checksum over both.

const (
	preambleMagic = "WolfWire"
	preambleLen   = len(preambleMagic) + 2 + 4
	// formatVersion is the version of the preamble, the header and the hello's frame.
	formatVersion = 1
)

func appendPreamble(b []byte) []byte {
	start := len(b)
	b = append(b, preambleMagic...)
	b = binary.BigEndian.AppendUint16(b, formatVersion)
	return binary.BigEndian.AppendUint32(b, checksum(b[start:]))
}

func checkPreamble(b []byte) error {
	n := len(preambleMagic)
	if string(b[:n]) != preambleMagic {
		return volume.Errorf(volume.BadFormat, "the session does not begin with %q", preambleMagic)
	}
	if binary.BigEndian.Uint32(b[n+2:]) != checksum(b[:n+2]) {
		return volume.Errorf(volume.BadFormat, "the session's first bytes do not match their checksum")
	}
	if v := binary.BigEndian.Uint16(b[n:]); v != formatVersion {
		return refuse(volume.WrongVersion, CodeVersion, "the peer's session format is %d, this node's %d: update the older one", v, formatVersion)
	}
	return nil
}

// readGreeting reads one message of the greeting. The length is bounded by the
// type, and the sender is authenticated before this is called.
func readGreeting(r io.Reader) (msgType, []byte, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	h, err := parseHeader(head[:], true)
	if err != nil {
		return 0, nil, err
	}
	body := make([]byte, h.n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return h.typ, body, nil
}
