package wire

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"wolfdisk/volume"
)

// maxSmall bounds the small messages that wait to be written, in bytes. Only a
// peer that pings without reading the answers can fill it.
const maxSmall = 256 << 10

// writer puts messages on the connection. There are two ways in:
//
// Small messages (progress, credit, pings ...) are posted: they never wait for the
// network. Whoever writes next takes all of them along, before its own message; if
// nobody is writing, the session's writing goroutine does. So a reading loop can
// answer without ever being blocked by a peer that does the same.
//
// Bulk messages (frames, requests, answers) are written by their senders, one
// message of at most 64 KiB at a time. Requests and answers first queue among
// themselves, so that frames get every second turn however many answers there are.
//
// Lock order: side, bulk, lock, mu. The first three are channels, so that waiting
// for them ends with a context.
type writer struct {
	conn    net.Conn
	timeout time.Duration // of one write; guarded by lock
	done    <-chan struct{}
	side    chan struct{} // one request or answer wants to write
	bulk    chan struct{} // one bulk message is being written
	lock    chan struct{} // guards conn for writing, and out
	out     []byte
	wake    chan struct{} // capacity 1: something was posted

	mu            sync.Mutex
	small         []byte
	progress      Progress
	durable       volume.Version
	hasProgress   bool
	hasDurable    bool
	frameCredit   uint32
	requestCredit uint32
}

func newWriter(conn net.Conn, timeout time.Duration, done <-chan struct{}) *writer {
	sem := func() chan struct{} { return make(chan struct{}, 1) }
	return &writer{conn: conn, timeout: timeout, done: done, side: sem(), bulk: sem(), lock: sem(), wake: sem()}
}

// post queues small messages; false if the peer has let too many pile up.
func (w *writer) post(add func(w *writer)) bool {
	w.mu.Lock()
	add(w)
	ok := len(w.small) <= maxSmall
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return ok
}

// run writes what was posted until the session ends.
func (w *writer) run() error {
	for {
		select {
		case <-w.wake:
		case <-w.done:
			return nil
		}
		if err := acquire(context.Background(), w.done, w.lock); err != nil {
			return nil
		}
		err := w.flush(w.begin())
		release(w.lock)
		if err != nil {
			return err
		}
	}
}

// begin starts what will be written with what was posted; needs lock.
func (w *writer) begin() []byte {
	out := w.out[:0]
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hasProgress {
		out = appendProgress(out, w.progress)
	}
	if w.hasDurable {
		out = appendID(out, msgDurable, uint64(w.durable))
	}
	if w.frameCredit > 0 {
		out = appendCredit(out, creditFrames, 0, w.frameCredit)
	}
	if w.requestCredit > 0 {
		out = appendCredit(out, creditRequests, 0, w.requestCredit)
	}
	w.hasProgress, w.hasDurable, w.frameCredit, w.requestCredit = false, false, 0, 0
	out = append(out, w.small...)
	w.small = w.small[:0]
	return out
}

// flush writes out; needs lock. After an error the connection is useless.
func (w *writer) flush(out []byte) error {
	if cap(out) <= maxMessage+maxSmall {
		w.out = out
	}
	if len(out) == 0 {
		return nil
	}
	w.conn.SetWriteDeadline(time.Now().Add(w.timeout))
	_, err := w.conn.Write(out)
	return err
}

// write sends one bulk message: a header, a fixed part, and n bytes of src.
func (w *writer) write(ctx context.Context, side bool, h header, fixed []byte, src io.Reader) error {
	if side {
		if err := acquire(ctx, w.done, w.side); err != nil {
			return err
		}
		defer release(w.side)
	}
	if err := acquire(ctx, w.done, w.bulk); err != nil {
		return err
	}
	defer release(w.bulk)
	if err := acquire(ctx, w.done, w.lock); err != nil {
		return err
	}
	defer release(w.lock)
	out := appendHeader(w.begin(), h.typ, h.flags, len(fixed)+h.n)
	out = append(out, fixed...)
	at := len(out)
	out = grow(out, h.n)
	if _, err := io.ReadFull(src, out[at:]); err != nil {
		return volume.Errorf(volume.Fault, "a sender holds fewer bytes than it said: %w", err)
	}
	if err := w.flush(out); err != nil {
		return &writeError{err}
	}
	return nil
}

// grow lengthens b by n bytes whose content does not matter.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}

// writeError marks the failure of the connection, as opposed to a context's.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// last writes what was posted and a bye, and gives up soon: the session is over,
// and somebody may be stuck in a write.
func (w *writer) last(bye []byte) {
	timer := time.NewTimer(lingerTime)
	defer timer.Stop()
	select {
	case w.lock <- struct{}{}:
	case <-timer.C:
		return
	}
	defer release(w.lock)
	w.timeout = lingerTime
	w.flush(append(w.begin(), bye...)) // best effort: the session ends either way
}

// requestHead and answerHead encode the fixed parts of the two.
func requestHead(b []byte, id uint64, kind uint16, window uint32) []byte {
	b = binary.BigEndian.AppendUint64(b, id)
	b = binary.BigEndian.AppendUint16(b, kind)
	return binary.BigEndian.AppendUint32(b, window)
}

func answerHead(b []byte, id uint64, seq uint32) []byte {
	b = binary.BigEndian.AppendUint64(b, id)
	return binary.BigEndian.AppendUint32(b, seq)
}
