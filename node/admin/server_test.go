package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update):\n%s", path, got)
	}
}

func request(t *testing.T, s *Server, method, path string, body io.Reader) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, 10*time.Second), method, "http://x"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := Dial(s.opts.StateDir).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// The JSON of the contract, byte for byte.
func TestStatusGolden(t *testing.T) {
	f := newFake()
	s := start(t, Options{Source: f})
	pretty := func(text string) []byte {
		var out bytes.Buffer
		if err := json.Indent(&out, []byte(text), "", "  "); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	_, h, text := request(t, s, "GET", "/v1/status", nil)
	if h.Get("Content-Type") != "application/json" {
		t.Errorf("type %q", h.Get("Content-Type"))
	}
	golden(t, "status.golden", pretty(text))
	_, _, text = request(t, s, "GET", "/v1/servers", nil)
	golden(t, "servers.golden", pretty(text))
	// Nothing is known: no field may be missing, no list null.
	f.set(func() { f.status = Status{} })
	_, _, text = request(t, s, "GET", "/v1/status", nil)
	golden(t, "status-empty.golden", pretty(text))
	// What is not under way and has not been is no list.
	if lists := strings.NewReplacer(`"progress":null`, "", `"verify":null`, "", `"chunks":null`, "", `"s3":null`, "").Replace(text); strings.Contains(lists, "null") {
		t.Error("a list is null")
	}
	f.set(func() { f.status.Peers = []Peer{{LagSeconds: math.NaN(), SyncPercent: math.Inf(1)}} })
	if code, _, text := request(t, s, "GET", "/v1/status", nil); code != 200 {
		t.Errorf("NaN: %d %s", code, text)
	}
}

func TestClientCalls(t *testing.T) {
	f := newFake()
	s := start(t, Options{Source: f})
	c, ctx := dial(t, s), within(t, 10*time.Second)
	want := sampleStatus()
	want.complete()
	if got, err := c.Status(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("status %+v, %v", got, err)
	}
	servers, err := c.Servers(ctx)
	if err != nil || len(servers.Servers) != 3 {
		t.Fatalf("servers %+v, %v", servers, err)
	}
	for i, id := range []string{"node-2", "node-9", "node-10"} {
		if got := servers.Servers[i]; got.ID != id || got.Self != (i == 0) || got.Leader != (i == 0) {
			t.Errorf("server %d is %+v", i, got)
		}
	}
	stats, err := c.Stats(ctx)
	if err != nil || stats.Version != 1234 || stats.MaxLagOps != 134 || stats.MaxLagSeconds != 1.25 || stats.Goroutines == 0 || stats.HeapBytes == 0 ||
		stats.MemoryBytes < stats.HeapBytes || stats.Peers != 2 || stats.Time.IsZero() {
		t.Errorf("stats %+v, %v", stats, err)
	}
	if v, err := c.Version(ctx); err != nil || v.Name != "wolfdisk-master" {
		t.Errorf("version %+v, %v", v, err)
	}
	f.set(func() { f.status.SchemaVersion = 0 })
	if err := c.checkSchema(2); err == nil || !strings.Contains(err.Error(), "version 2 of the admin API") {
		t.Errorf("newer daemon: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	f := newFake()
	s := start(t, Options{Source: f})
	tests := []struct {
		method, path string
		body         int
		status       int
		code         string
	}{
		{"GET", "/v1/nothing", 0, 404, codeNoVerb},
		{"GET", "/v2/status", 0, 404, codeNoVerb},
		{"POST", "/v1/status", 0, 405, codeMethod},
		{"GET", "/v1/stop", 0, 405, codeMethod},
		{"DELETE", "/metrics", 0, 405, codeMethod},
		{"GET", "/v1/status?x=1", 0, 400, codeBadRequest},
		{"GET", "/v1/status?%zz", 0, 400, codeBadRequest},
		{"GET", "/v1/oplog?from=-1", 0, 400, codeBadRequest},
		{"GET", "/v1/oplog?limit=x", 0, 400, codeBadRequest},
		{"GET", "/v1/oplog?follow=perhaps", 0, 400, codeBadRequest},
		{"GET", "/readyz?max_lag=x", 0, 400, codeBadRequest},
		{"GET", "/readyz?wait=1h", 0, 400, codeBadRequest},
		{"GET", "/readyz?wait=-1s", 0, 400, codeBadRequest},
		{"POST", "/v1/stop", maxBodyBytes + 1, 413, codeTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			var body io.Reader
			if tt.body > 0 {
				body = bytes.NewReader(make([]byte, tt.body))
			}
			status, _, text := request(t, s, tt.method, tt.path, body)
			var e map[string]any
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if status != tt.status || e["code"] != tt.code || e["error"] == "" || len(e) != 3 {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	select {
	case <-f.stopped:
		t.Error("one of these stopped the daemon")
	default:
	}
}

func TestGarbage(t *testing.T) {
	s := start(t, Options{Source: newFake()})
	for _, text := range []string{
		"\x00\x01\x02\x03\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxHeaderBytes) + "\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
		"GET /v1/oplog HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
	} {
		conn, err := dialSocket(within(t, 5*time.Second), s.opts.StateDir)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, text); err == nil {
			conn.CloseWrite()
			answer, _ := io.ReadAll(conn) // the connection may be reset: also an answer
			if len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 ")) {
				t.Errorf("%.40q is answered %.80q", text, answer)
			}
		}
		conn.Close()
	}
	if _, err := dial(t, s).Status(within(t, 5*time.Second)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestTooManyRequests(t *testing.T) {
	f := newFake()
	f.block = make(chan struct{})
	s := start(t, Options{Source: f})
	ctx := within(t, 20*time.Second)
	var wg sync.WaitGroup
	for range maxRequests {
		wg.Go(func() {
			if _, err := Dial(s.opts.StateDir).Status(ctx); err != nil {
				t.Errorf("one of the first: %v", err)
			}
		})
	}
	for len(s.requests) < maxRequests {
		if ctx.Err() != nil {
			t.Fatal("the requests never came")
		}
		time.Sleep(time.Millisecond)
	}
	_, err := dial(t, s).Status(ctx)
	var e *Error
	if !errors.As(err, &e) || e.Code != codeBusy || exit.Of(err) != exit.Unavailable {
		t.Errorf("one too many: %v", err)
	}
	close(f.block)
	wg.Wait()
}

func TestTooManyConnections(t *testing.T) {
	s := start(t, Options{Source: newFake()})
	var conns []net.Conn
	for range maxConns {
		conn, err := dialSocket(within(t, 5*time.Second), s.opts.StateDir)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	// All are held by idlers: the next one waits.
	if _, err := dial(t, s).Status(within(t, 200*time.Millisecond)); exit.Of(err) != exit.TimedOut {
		t.Errorf("one too many: %v", err)
	}
	for _, conn := range conns {
		conn.Close()
	}
	if _, err := dial(t, s).Status(within(t, 5*time.Second)); err != nil {
		t.Errorf("after they left: %v", err)
	}
}

func TestReady(t *testing.T) {
	f := newFake()
	f.mounted = false
	s := start(t, Options{Source: f})
	c := dial(t, s)
	if r, err := c.Ready(within(t, 5*time.Second), 0, 0); err != nil || r.Ready || r.Reason != "not mounted yet" {
		t.Errorf("%+v, %v", r, err)
	}
	began := time.Now()
	if r, err := c.Ready(within(t, 5*time.Second), 0, 100*time.Millisecond); err != nil || r.Ready || time.Since(began) < 100*time.Millisecond {
		t.Errorf("%+v, %v after %v", r, err, time.Since(began))
	}
	time.AfterFunc(50*time.Millisecond, func() { f.set(func() { f.mounted = true }) })
	if r, err := c.Ready(within(t, 5*time.Second), 0, time.Minute); err != nil || !r.Ready || r.Reason != "" {
		t.Errorf("%+v, %v", r, err)
	}
	f.set(func() { f.lag = 5 })
	for lag, want := range map[uint64]bool{0: false, 4: false, 5: true, math.MaxUint64: true} {
		if r, err := c.Ready(within(t, 5*time.Second), lag, 0); err != nil || r.Ready != want {
			t.Errorf("within %d: %+v, %v", lag, r, err)
		}
	}
	if code, _, _ := request(t, s, "GET", "/readyz", nil); code != 200 {
		t.Errorf("without a bound: %d", code)
	}
	if code, _, text := request(t, s, "GET", "/readyz?max_lag=1", nil); code != 503 || text != `{"ready":false,"reason":"behind"}`+"\n" {
		t.Errorf("behind: %d %s", code, text)
	}
}

func TestStop(t *testing.T) {
	f := newFake()
	s, err := Start(Options{StateDir: stateDir(t), Source: f, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	c := Dial(s.opts.StateDir)
	f.stopErr = volume.Errorf(volume.Busy, "a snapshot is being written")
	err = c.Stop(within(t, 5*time.Second))
	if volume.KindOf(err) != volume.Busy || exit.Of(err) != exit.Unavailable || !strings.Contains(err.Error(), "a snapshot is being written (WD-1221)") {
		t.Errorf("refused: %v", err)
	}
	f.stopErr = nil
	// This process is the daemon and does not end: the wait must not, either.
	if err := c.Stop(within(t, 200*time.Millisecond)); exit.Of(err) != exit.TimedOut {
		t.Errorf("stop: %v", err)
	}
	if len(f.stopped) != 1 {
		t.Errorf("%d calls of Stop", len(f.stopped))
	}
	if err := s.Close(within(t, time.Second)); err != nil {
		t.Fatal(err)
	}
	// Where the process cannot be watched, the socket tells.
	if err := c.waitGone(within(t, 5*time.Second), nil); err != nil {
		t.Errorf("wait: %v", err)
	}
	if err := c.Stop(within(t, 5*time.Second)); exit.Of(err) != exit.NotRunning {
		t.Errorf("stopped already: %v", err)
	}
}

func TestTCP(t *testing.T) {
	s := start(t, Options{Source: newFake(), Bind: "127.0.0.1:0"})
	get := func(host, path string) (int, http.Header, string) {
		req, err := http.NewRequestWithContext(within(t, 10*time.Second), "GET", "http://"+s.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header, string(text)
	}
	for path, want := range map[string]string{
		"/healthz": `{"ok":true}`, "/readyz": `"ready":true`, "/version": `"name":"wolfdisk-master"`, "/metrics": "wolfdisk_version 1234",
		"/": "<h1>node-2: leader, live</h1>",
	} {
		if code, _, text := get(s.Addr(), path); code != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.300s", path, code, text)
		}
	}
	for _, path := range []string{"/v1/status", "/v1/stop", "/v1/oplog", "/v1/servers", "/v1/stats"} {
		if code, _, text := get(s.Addr(), path); code != 404 {
			t.Errorf("%s is served without a password: %d %s", path, code, text)
		}
	}
	for host, want := range map[string]int{"localhost:80": 200, "[::1]:5": 200, "::1": 200, "127.0.0.1": 200, "evil.example:9502": 403, "evil.example": 403} {
		if code, _, _ := get(host, "/"); code != want {
			t.Errorf("as %s: %d, want %d", host, code, want)
		}
	}
	if _, h, _ := get("localhost", "/"); h.Get("Content-Security-Policy") == "" {
		t.Error("the page has no policy")
	}
}

func TestTCPBusy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var logged bytes.Buffer
	s, err := Start(Options{StateDir: stateDir(t), Source: newFake(), Bind: l.Addr().String(), BindIsDefault: true, Log: zerolog.New(&logged)})
	if err != nil {
		t.Fatal(err)
	}
	if s.Addr() != "" || !strings.Contains(logged.String(), `"level":"warn"`) || !strings.Contains(logged.String(), "socket only") {
		t.Errorf("address %q, log %s", s.Addr(), &logged)
	}
	if err := s.Close(within(t, time.Second)); err != nil {
		t.Error(err)
	}
	dir := stateDir(t)
	_, err = Start(Options{StateDir: dir, Source: newFake(), Bind: l.Addr().String(), Log: zerolog.Nop()})
	if exit.Of(err) != exit.Unavailable || !strings.Contains(err.Error(), "set [admin] bind to another address") {
		t.Errorf("chosen address: %v", err)
	}
	if _, err := os.Lstat(SocketPath(dir)); !os.IsNotExist(err) {
		t.Errorf("a failed start left the socket: %v", err)
	}
}

func TestPageEscapes(t *testing.T) {
	f := newFake()
	f.status.NodeID = "<script>x</script>"
	f.status.Warnings = []Warning{{"WD-9999", "<b>", "do & that"}}
	s := start(t, Options{Source: f})
	_, _, text := request(t, s, "GET", "/", nil)
	if strings.Contains(text, "<script>") || strings.Contains(text, "<b><") || !strings.Contains(text, "do &amp; that") {
		t.Errorf("%s", text)
	}
}

func TestMetrics(t *testing.T) {
	f := newFake()
	f.status.Peers = append(f.status.Peers, f.status.Peers[0], Peer{ID: "bad\xff"})
	s := start(t, Options{Source: f})
	code, _, text := request(t, s, "GET", "/metrics", nil)
	if code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	for _, want := range []string{"go_goroutines ", "process_open_fds ", `wolfdisk_build_info{commit=`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	ours := regexp.MustCompile(`(?m)^wolfdisk_[a-z_]+(\{.*\})? .*$`).FindAllString(text, -1)
	var lines []string
	for _, l := range ours {
		if !strings.HasPrefix(l, "wolfdisk_build_info") {
			lines = append(lines, l)
		}
	}
	golden(t, "metrics.golden", []byte(strings.Join(lines, "\n")+"\n"))
}

func TestErrorKinds(t *testing.T) {
	for k := volume.NotFound; k <= volume.Fault; k++ {
		e := errorOf(volume.Errorf(k, "text"))
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back Error
		if err := json.Unmarshal(body, &back); err != nil || volume.KindOf(&back) != k {
			t.Errorf("%v comes back as %v, %v", k, volume.KindOf(&back), err)
		}
		if e.status < 400 {
			t.Errorf("%v has status %d", k, e.status)
		}
	}
	if e := errorOf(errors.New("plain")); e.Code != "WD-1200" || e.status != 500 || e.Unwrap() != nil {
		t.Errorf("plain: %+v", e)
	}
	for _, code := range []string{"", "WD-", "WD-9999", "WD-1101", "nonsense", "WD-99999999999999999999"} {
		if err := (&Error{Code: code}).Unwrap(); err != nil {
			t.Errorf("%q has kind %v", code, err)
		}
	}
}

func TestCloseEndsStreams(t *testing.T) {
	f := newFake()
	f.add(1)
	s, err := Start(Options{StateDir: stateDir(t), Source: f, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	first := make(chan struct{})
	go func() {
		got <- Dial(s.opts.StateDir).Ops(context.Background(), OpsQuery{Follow: true}, func(OpLine) error { close(first); return nil })
	}()
	<-first
	began := time.Now()
	if err := s.Close(within(t, time.Second)); err != nil {
		t.Error(err)
	}
	if err := <-got; exit.Of(err) != exit.NotRunning || !strings.Contains(fmt.Sprint(err), "the daemon is stopping") {
		t.Errorf("the reader sees %v", err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("took %v", d)
	}
}
