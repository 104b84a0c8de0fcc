package volume

import (
	"context"
	"errors"
	"unicode/utf8"
)

// A request is forwarded (RequestForward) by a node that takes no changes itself. The body
// is the encoded request (requestcodec.go), the answer
//
//	0  1  0, and the encoded result behind it
//	0  1  1, the error's kind (1 byte) and its text behind it
//
// A request that was answered this way is done or refused, and its error is the
// volume's. Any other error is that of the way: nobody knows whether the request was done,
// and it is to be repeated, at whoever leads now, with the same client and number.
const (
	forwardDone   byte = 0
	forwardFailed byte = 1
	// maxForwardText bounds the text of an error, bytes.
	maxForwardText = 1024
	// MaxForwardAnswer bounds the answer, bytes.
	MaxForwardAnswer = 2 + max(maxForwardText, MaxResultLen)
)

// Unanswered is the error of a forwarded request whose fate is unknown.
type Unanswered struct{ Err error }

func (e *Unanswered) Error() string { return "forward: no answer: " + e.Err.Error() }

// Unwrap gives the way's error to errors.Is and errors.As.
func (e *Unanswered) Unwrap() error { return e.Err }

// Repeatable reports whether a forwarded request is to be repeated at the next leader:
// because there was no answer, or because it came from a node that does not lead (any
// more), or whose log failed, so that a successor may have the op or not.
func Repeatable(err error) bool {
	var u *Unanswered
	if errors.As(err, &u) {
		return true
	}
	switch KindOf(err) {
	case ReadOnly, Fenced, Closed, Fault:
		return true
	}
	return false
}

// Forward asks another node to do a request. call is Session.CallAll of a session with
// it. Caller.Client and Caller.Seq must name the request: see Caller.
func Forward(ctx context.Context, call func(ctx context.Context, kind uint16, body []byte, max int) ([]byte, error), req *Request) (Result, error) {
	if err := checkForwarded(req); err != nil {
		return Result{}, err
	}
	body, err := EncodeRequest(req)
	if err != nil {
		return Result{}, err
	}
	answer, err := call(ctx, RequestForward, body, MaxForwardAnswer)
	if err != nil {
		return Result{}, &Unanswered{err}
	}
	switch {
	case len(answer) > 1 && answer[0] == forwardDone:
		res, err := DecodeResult(answer[1:])
		if err != nil {
			return Result{}, &Unanswered{err}
		}
		return res, nil
	case len(answer) > 1 && len(answer) <= 2+maxForwardText && answer[0] == forwardFailed:
		return Result{}, decodeError(answer[1:])
	}
	return Result{}, &Unanswered{Errorf(BadFormat, "an answer of %d bytes", len(answer))}
}

// ServeForward does a request that another node forwards. The error it returns ends the
// call without an answer; what the volume says is in the answer.
func ServeForward(ctx context.Context, body []byte, v Volume) ([]byte, error) {
	res, err := serveForward(ctx, body, v)
	if ctx.Err() != nil {
		// Nobody listens, and an error may be due to just that.
		return nil, Errorf(Interrupted, "forwarded request: %w", context.Cause(ctx))
	}
	if err != nil {
		return encodeError(err), nil
	}
	b, err := EncodeResult(res)
	if err != nil {
		return nil, err
	}
	return append([]byte{forwardDone}, b...), nil
}

func serveForward(ctx context.Context, body []byte, v Volume) (Result, error) {
	req, err := DecodeRequest(body)
	if err == nil {
		err = checkForwarded(req)
	}
	if err != nil || ctx.Err() != nil {
		return Result{}, err
	}
	return v.Do(ctx, req)
}

func checkForwarded(req *Request) error {
	if CheckNodeID(req.Caller.Client) != nil || req.Caller.Seq == 0 {
		return Errorf(Invalid, "forward a %s request: it must have the ID of its client and a number, not %q and %d", req.Kind, req.Caller.Client, req.Caller.Seq)
	}
	return nil
}

// encodeError keeps an error's kind, and its text unless that is the kind's own.
func encodeError(err error) []byte {
	kind := KindOf(err)
	b := []byte{forwardFailed, byte(kind)}
	if err == error(kind) {
		return b
	}
	text := err.Error()
	if len(text) > maxForwardText {
		text = text[:maxForwardText]
		for !utf8.ValidString(text) && len(text) > maxForwardText-utf8.UTFMax {
			text = text[:len(text)-1]
		}
	}
	return append(b, text...)
}

// decodeError is the volume's error again. A kind that is not known here is Unknown, as
// everywhere.
func decodeError(b []byte) error {
	kind := Kind(b[0])
	if !kind.valid() {
		kind = Unknown
	}
	if len(b) == 1 {
		return kind
	}
	text := []rune(string(b[1:]))
	for i, r := range text {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			text[i] = '?' // it may end in a log or on a terminal
		}
	}
	return &Error{Kind: kind, Text: string(text)}
}
