package wire

import "wolfdisk/volume"

// CapControl in a hello says that the session carries signals alone: heartbeats and all
// else that must never wait behind data. Two nodes keep one such session beside
// the one for data. The dialer asks for it, and the listener answers in kind.
const CapControl uint64 = 1 << 0

// MaxSignal bounds one signal, in bytes; see package elect.
const MaxSignal = 1 << 20

// SignalSink is a Sink that takes signals; the signals of a session whose sink takes none
// end it.
type SignalSink interface {
	Sink
	// Signal gets the signals in order, one at a time, in the reading goroutine. b is valid
	// until it returns. It must not wait for the peer. An error ends the session.
	Signal(b []byte) error
}

// SendSignal sends a message of 1 to MaxSignal bytes one way. It never waits: Busy if the peer
// has left too many unread, and then nothing is sent.
func (s *Session) SendSignal(b []byte) error {
	if len(b) == 0 || len(b) > MaxSignal {
		return volume.Errorf(volume.Invalid, "signal of %d bytes, 1 to %d can be sent", len(b), MaxSignal)
	}
	full := false
	err := s.postOwn("send signal", func(w *writer) {
		if full = len(w.small) > maxSmall; full {
			return
		}
		for rest := b; len(rest) > 0; {
			n, flags := min(len(rest), maxBody), uint16(0)
			if n < len(rest) {
				flags = flagMore
			}
			w.small = append(appendHeader(w.small, msgSignal, flags, n), rest[:n]...)
			rest = rest[n:]
		}
	})
	if err == nil && full {
		err = volume.Errorf(volume.Busy, "%s leaves signals unread", s.name())
	}
	return err
}

// gotSignal takes a piece of a signal, and hands it over when it is whole.
func (s *Session) gotSignal(sink Sink, flags uint16, body []byte) error {
	to, ok := sink.(SignalSink)
	if !ok {
		return volume.Errorf(volume.BadFormat, "a signal on a session for data")
	}
	if len(s.signal)+len(body) > MaxSignal {
		return volume.Errorf(volume.BadFormat, "a signal of more than %d bytes", MaxSignal)
	}
	if len(s.signal) == 0 && flags&flagMore == 0 {
		return to.Signal(body)
	}
	s.signal = append(s.signal, body...)
	if flags&flagMore != 0 {
		return nil
	}
	whole := s.signal
	s.signal = nil // seldom so large that it needs pieces
	return to.Signal(whole)
}
