package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"wolfdisk/volume"
)

// Codes of errors are stable. Those from 1201 on are volume.Kind's numbers, which
// are stable themselves, plus 1200.
const (
	codeBadRequest = "WD-1101" // a parameter, or the body
	codeNoVerb     = "WD-1102" // this daemon does not know the path
	codeMethod     = "WD-1103" // the path exists, but not for this method
	codeBusy       = "WD-1104" // too many requests at once
	codeHost       = "WD-1105" // asked under a foreign host name
	codeTooLarge   = "WD-1106" // the body
	codeStopping   = "WD-1107" // the daemon is stopping
	codeUnsafe     = "WD-1405" // a reconcile that would remove too much

	kindCodes = 1200
)

// Error is an error as the API says it.
type Error struct {
	Code string `json:"code"`
	Text string `json:"error"`
	Hint string `json:"hint"`

	status int
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Text + " (" + e.Code + ")"
	}
	return e.Text + " (" + e.Code + "): " + e.Hint
}

// Unwrap gives the kind that the daemon's error had, so that it keeps its meaning
// over the socket.
func (e *Error) Unwrap() error {
	n, err := strconv.Atoi(strings.TrimPrefix(e.Code, "WD-"))
	if err != nil || n <= kindCodes || n > kindCodes+255 {
		return nil
	}
	return volume.Kind(n - kindCodes)
}

var kindStatus = map[volume.Kind]int{
	volume.NotFound:     http.StatusNotFound,
	volume.Invalid:      http.StatusBadRequest,
	volume.OutOfRange:   http.StatusBadRequest,
	volume.NotPermitted: http.StatusForbidden,
	volume.AccessDenied: http.StatusForbidden,
	volume.TooOld:       http.StatusGone,
	volume.Unsupported:  http.StatusNotImplemented,
	volume.Unavailable:  http.StatusServiceUnavailable,
	volume.Busy:         http.StatusServiceUnavailable,
	volume.Closed:       http.StatusServiceUnavailable,
}

var kindHints = map[volume.Kind]string{
	volume.TooOld: "ask from a later version: wolfdiskctl status shows what the log holds",
	volume.Closed: "the daemon is starting or stopping: ask again",
	volume.Busy:   "ask again",
}

// errorOf turns any error of the daemon into one of the API.
func errorOf(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	kind := volume.KindOf(err)
	status, ok := kindStatus[kind]
	if !ok {
		status = http.StatusInternalServerError
	}
	return &Error{Code: fmt.Sprintf("WD-%04d", kindCodes+int(kind)), Text: err.Error(), Hint: kindHints[kind], status: status}
}

func badRequest(format string, args ...any) *Error {
	return &Error{Code: codeBadRequest, Text: fmt.Sprintf(format, args...), status: http.StatusBadRequest}
}

func writeError(w http.ResponseWriter, e *Error) {
	status := e.status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	writeJSON(w, status, e)
}

// writeJSON encodes before it writes, so that no half answer looks like a whole one.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		// Only a programming error gets here: all types are ours.
		status, body = http.StatusInternalServerError, []byte(`{"code":"WD-1200","error":"encode the answer","hint":""}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // an error means that the asker is gone
}
