package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"wolfdisk/volume"
)

// Verb is something that the daemon can be asked to do, over the socket only. It
// answers with JSON lines as the work goes on: the last one is the result.
type Verb struct {
	// Method is POST for what changes anything, else GET.
	Method string
	// Params are the parameters it takes; any other is refused.
	Params []string
	// Run does the work and ends with ctx, which ends when the asker is gone or the
	// daemon stops. emit sends one line; its error is to be returned. An error becomes
	// the answer, or the last line of it.
	Run func(ctx context.Context, query url.Values, emit func(any) error) error
}

func (s *Server) verbRoutes(mux *http.ServeMux) {
	for name, v := range s.opts.Verbs {
		mux.HandleFunc("/v1/"+name, s.limit(s.streams, s.check(v.Method, v.Params, func(w http.ResponseWriter, r *http.Request) {
			s.verb(w, r, v)
		})))
	}
}

func (s *Server) verb(w http.ResponseWriter, r *http.Request, v Verb) {
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	out := newLineWriter(w)
	defer out.close()
	err := v.Run(ctx, r.URL.Query(), out.write)
	switch {
	case s.ctx.Err() != nil: // whatever the verb made of it
		out.fail(&Error{Code: codeStopping, Text: "the daemon is stopping", status: http.StatusServiceUnavailable})
	case err == nil, r.Context().Err() != nil: // done, or the asker is gone
	default:
		out.fail(errorOf(err))
	}
}

// Verb asks the daemon for a verb and calls fn with each line of the answer, valid only
// then. An error of the daemon, or of fn, ends it and is returned.
func (c *Client) Verb(ctx context.Context, method, name string, query url.Values, fn func(line []byte) error) error {
	resp, err := c.do(ctx, method, "/v1/"+name, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return readError(resp)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, streamBytes), maxLine)
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte(`{"error":`)) {
			var last streamError
			if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
				return fmt.Errorf("read the answer of %s: %w", name, err)
			}
			if last.Error != nil {
				return coded(last.Error)
			}
		}
		if err := fn(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return c.explain(ctx, "read the answer of "+name, err)
	}
	return nil
}

// BadParam is the error of a verb whose parameter cannot be used; a tool ends with the
// exit code for wrong usage.
func BadParam(name, value, must string) error {
	return &Error{Code: codeBadRequest, Text: fmt.Sprintf("%s %q: must be %s", name, value, must), status: http.StatusBadRequest}
}

// Refused is the error of a verb that would be unsafe.
func Refused(code, text, hint string) error {
	return &Error{Code: code, Text: text, Hint: hint, status: kindStatus[volume.NotPermitted]}
}
