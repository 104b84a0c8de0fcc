package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"wolfdisk/node/exit"
	"wolfdisk/node/version"
	"wolfdisk/volume"
)

// maxAnswer bounds an answer that is read whole, in bytes.
const maxAnswer = 64 << 20

// Client asks the daemon of one state directory. It holds no connection while
// nothing is asked for long, and survives restarts of the daemon. Errors have the
// exit code that a tool should end with.
type Client struct {
	dir  string
	http *http.Client
}

// Dial makes a client. It does not connect yet: each call does, and says
// exit.NotRunning when nobody answers.
func Dial(stateDir string) *Client {
	return &Client{dir: stateDir, http: &http.Client{
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSocket(ctx, stateDir) },
			DisableCompression: true,
			MaxIdleConns:       2,
			IdleConnTimeout:    10 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the node's state.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.get(ctx, "/v1/status", nil, &s)
	if err == nil {
		err = c.checkSchema(s.SchemaVersion)
	}
	return s, err
}

// Servers asks for the nodes of the cluster.
func (c *Client) Servers(ctx context.Context) (s Servers, err error) {
	err = c.get(ctx, "/v1/servers", nil, &s)
	if err == nil {
		err = c.checkSchema(s.SchemaVersion)
	}
	return s, err
}

// Stats asks for the numbers to watch.
func (c *Client) Stats(ctx context.Context) (s Stats, err error) {
	err = c.get(ctx, "/v1/stats", nil, &s)
	if err == nil {
		err = c.checkSchema(s.SchemaVersion)
	}
	return s, err
}

// Version asks which build the daemon is.
func (c *Client) Version(ctx context.Context) (v version.Info, err error) {
	err = c.get(ctx, "/version", nil, &v)
	return v, err
}

// Ready asks whether the node is ready, and lets the daemon wait for that, up to a
// minute.
func (c *Client) Ready(ctx context.Context, maxLag uint64, wait time.Duration) (r Readiness, err error) {
	query := url.Values{"max_lag": {strconv.FormatUint(maxLag, 10)}, "wait": {min(wait, maxWait).String()}}
	err = c.get(ctx, "/readyz", query, &r)
	return r, err
}

// OpsQuery says which ops to read.
type OpsQuery struct {
	From   volume.Version // 0: the first there is
	Limit  uint64         // 0: all
	Follow bool           // wait for more at the end
}

// Ops calls fn for ops of the log, in order, until they end, ctx ends, or fn fails,
// whose error it returns.
func (c *Client) Ops(ctx context.Context, q OpsQuery, fn func(OpLine) error) error {
	query := url.Values{"from": {strconv.FormatUint(uint64(q.From), 10)}}
	if q.Limit != 0 {
		query.Set("limit", strconv.FormatUint(q.Limit, 10))
	}
	if q.Follow {
		query.Set("follow", "1")
	}
	return c.Verb(ctx, http.MethodGet, "oplog", query, func(text []byte) error {
		var line OpLine
		if err := json.Unmarshal(text, &line); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		return fn(line)
	})
}

// Stop asks the daemon to stop and returns when it is gone, as far as that can be
// seen: when its process has ended, or, if that is not visible from here, when
// nobody answers on the socket any more.
func (c *Client) Stop(ctx context.Context) error {
	conn, err := dialSocket(ctx, c.dir)
	if err != nil {
		return c.explain(ctx, "stop", err)
	}
	w := watchPeer(conn)
	conn.Close() // it was only to learn who answers
	if w != nil {
		defer w.close()
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/stop", nil)
	switch {
	case err == nil:
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			return readError(resp)
		}
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		// It stops so fast that there is no answer.
	default:
		return err
	}
	c.Close()
	return c.waitGone(ctx, w)
}

func (c *Client) waitGone(ctx context.Context, w *watch) error {
	const pause = 20 * time.Millisecond
	for {
		if ctx.Err() != nil {
			return exit.Errorf(exit.TimedOut, "the daemon was asked to stop and has not ended in time: it may wait for its stop_timeout, see its log")
		}
		if w != nil {
			gone, err := w.ended(pause)
			if gone || err != nil {
				return err
			}
			continue
		}
		conn, err := dialSocket(ctx, c.dir)
		if err == nil {
			conn.Close() // still there
		} else if ctx.Err() == nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (c *Client) get(ctx context.Context, path string, query url.Values, v any) error {
	resp, err := c.do(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// "Not ready" is an answer, too.
	if _, ready := v.(*Readiness); resp.StatusCode != http.StatusOK && !(ready && resp.StatusCode == http.StatusServiceUnavailable) {
		return readError(resp)
	}
	body, err := readAll(resp.Body)
	if err != nil {
		return c.explain(ctx, "read "+path, err)
	}
	if resp.StatusCode != http.StatusOK && !bytes.Contains(body, []byte(`"ready"`)) {
		return parseError(resp, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return body, err
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "wolfdisk", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, "ask the daemon", err)
	}
	return resp, nil
}

// explain says what it means that the daemon could not be asked.
func (c *Client) explain(ctx context.Context, verb string, err error) error {
	socket := SocketPath(c.dir)
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // the URL is ours and tells nobody anything
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return exit.Errorf(exit.NotRunning, "no daemon answers on %s: start one with wolfdisk-master -m DIR --state-dir %s or wolfdisk-slave -m DIR --state-dir %s, or name another --state-dir (%w)",
			socket, c.dir, c.dir, err)
	case errors.Is(err, fs.ErrPermission):
		return exit.Errorf(exit.Failed, "%s may be used by the daemon's user only: run this as that user (%w)", socket, err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return exit.Errorf(exit.TimedOut, "the daemon on %s does not answer in time: see its log, or give a longer --timeout (%w)", socket, err)
	}
	return fmt.Errorf("%s on %s: %w", verb, socket, err)
}

func readError(resp *http.Response) error {
	body, err := readAll(resp.Body)
	if err != nil {
		return fmt.Errorf("the daemon answers %s, and then: %w", resp.Status, err)
	}
	return parseError(resp, body)
}

func parseError(resp *http.Response, body []byte) error {
	var e Error
	if err := json.Unmarshal(body, &e); err != nil || e.Code == "" {
		return fmt.Errorf("the daemon answers %s: %.200q", resp.Status, body)
	}
	return coded(&e)
}

// coded gives an error of the daemon the exit code to end with.
func coded(e *Error) error {
	switch e.Code {
	case codeBadRequest:
		return exit.With(exit.Usage, e)
	case codeBusy:
		return exit.With(exit.Unavailable, e)
	case codeUnsafe:
		return exit.With(exit.Unsafe, e)
	case codeStopping:
		return exit.With(exit.NotRunning, e)
	}
	return exit.With(exit.Of(e), e)
}

func (c *Client) checkSchema(v int) error {
	if v != SchemaVersion {
		return fmt.Errorf("the daemon on %s speaks version %d of the admin API, this tool %d: use the tool that came with the daemon", SocketPath(c.dir), v, SchemaVersion)
	}
	return nil
}
