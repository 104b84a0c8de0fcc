package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"wolfdisk/volume"
)

const (
	// flushDelay gathers lines that come close together into one write.
	flushDelay = 5 * time.Millisecond
	// headDelay leaves an early error the time to become the answer's status.
	headDelay   = 50 * time.Millisecond
	streamBytes = 32 << 10
	// maxLine bounds a line of a stream, for the client: the longest names,
	// escaped, fit many times.
	maxLine = 256 << 10
)

// streamError is the last line of a stream that failed.
type streamError struct {
	Error *Error `json:"error"`
}

// lineWriter writes JSON lines and sends them soon. Methods may be called from
// one goroutine; the timer is the second.
type lineWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu    sync.Mutex // guards the rest
	buf   *bufio.Writer
	timer *time.Timer
	armed bool
	begun bool  // something was sent, so the status is 200
	err   error // the first that happened; nothing is written after it
}

// newLineWriter sends the head of the answer after a moment, if no line comes: the
// asker knows then that its request was accepted.
func newLineWriter(w http.ResponseWriter) *lineWriter {
	l := &lineWriter{w: w, rc: http.NewResponseController(w), buf: bufio.NewWriterSize(w, streamBytes), armed: true}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(headDelay, l.flushDue)
	return l
}

// write adds a line. It fails when the asker is gone or takes nothing any more.
func (l *lineWriter) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = l.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if l.err == nil {
		_, l.err = l.buf.Write(append(line, '\n'))
	}
	if l.buf.Buffered() < len(line)+1 {
		l.begun = true // the buffer was full
	}
	if l.err == nil && !l.armed {
		l.armed = true
		l.timer.Reset(flushDelay)
	}
	return l.err
}

// fail ends the stream with an error: as the whole answer if nothing was sent yet,
// otherwise as the last line.
func (l *lineWriter) fail(e *Error) {
	l.mu.Lock()
	whole := !l.begun && l.buf.Buffered() == 0
	if whole {
		writeError(l.w, e)
		l.begun = true
	}
	l.mu.Unlock()
	if !whole {
		l.write(streamError{e}) // an error means that the asker is gone
	}
}

func (l *lineWriter) flushDue() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	l.flushLocked()
}

func (l *lineWriter) flushLocked() {
	l.begun = true
	if l.err == nil {
		l.err = l.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if l.err == nil {
		l.err = l.buf.Flush()
	}
	if l.err == nil {
		l.err = l.rc.Flush()
	}
}

// close sends what is left. The timer does not run any more afterwards: nothing
// may touch the answer once its handler has returned.
func (l *lineWriter) close() {
	l.timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushLocked()
	l.err = http.ErrHandlerTimeout // for a timer that was already on its way
}

var errEnough = errors.New("enough lines")

func (s *Server) oplog(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var from, limit uint64
	for name, dst := range map[string]*uint64{"from": &from, "limit": &limit} {
		if text := query.Get(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				writeError(w, badRequest("%s %q: must be a number", name, text))
				return
			}
			*dst = n
		}
	}
	follow := false
	if text := query.Get("follow"); text != "" {
		var err error
		if follow, err = strconv.ParseBool(text); err != nil {
			writeError(w, badRequest("follow %q: must be 1 or 0", text))
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	out := newLineWriter(w)
	defer out.close()
	s.stream(r.Context(), out, volume.Version(from), limit, follow)
}

func (s *Server) stream(ctx context.Context, out *lineWriter, from volume.Version, limit uint64, follow bool) {
	var n uint64
	err := s.opts.Source.Ops(ctx, from, follow, func(line OpLine) error {
		if err := out.write(line); err != nil {
			return err
		}
		if n++; limit != 0 && n >= limit {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough), err == nil && !follow:
	case s.ctx.Err() != nil: // whatever the source made of it
		out.fail(&Error{Code: codeStopping, Text: "the daemon is stopping", status: http.StatusServiceUnavailable})
	case err == nil, ctx.Err() != nil: // the asker is gone
	default:
		out.fail(errorOf(err))
	}
}
