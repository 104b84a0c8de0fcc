package admin

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"wolfdisk/node/version"
)

const (
	// maxWait bounds how long /readyz waits for readiness.
	maxWait = time.Minute
	// readyPoll is how often it looks meanwhile.
	readyPoll = 20 * time.Millisecond
)

func (s *Server) localRoutes() http.Handler {
	mux := s.commonRoutes()
	s.handle(mux, http.MethodGet, "/v1/status", nil, s.status)
	s.handle(mux, http.MethodGet, "/v1/servers", nil, s.servers)
	s.handle(mux, http.MethodGet, "/v1/stats", nil, s.stats)
	s.handle(mux, http.MethodPost, "/v1/stop", nil, s.stop)
	mux.HandleFunc("/v1/oplog", s.limit(s.streams, s.check(http.MethodGet, []string{"from", "limit", "follow"}, s.oplog)))
	s.verbRoutes(mux)
	return mux
}

func (s *Server) remoteRoutes(addr net.Addr) http.Handler { return checkHost(addr, s.commonRoutes()) }

// commonRoutes are those that read only.
func (s *Server) commonRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	s.handle(mux, http.MethodGet, "/healthz", nil, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
	})
	s.handle(mux, http.MethodGet, "/readyz", []string{"max_lag", "wait"}, s.ready)
	s.handle(mux, http.MethodGet, "/version", nil, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, version.Get(s.opts.Program))
	})
	mux.HandleFunc("/metrics", s.limit(s.requests, s.check(http.MethodGet, nil, s.metrics.ServeHTTP)))
	mux.HandleFunc("/", s.limit(s.requests, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			writeError(w, &Error{Code: codeNoVerb, Text: "there is no " + strconv.Quote(r.URL.Path) + " here",
				Hint: "the daemon may be older than the tool, or the path belongs to the socket only", status: http.StatusNotFound})
			return
		}
		s.check(http.MethodGet, nil, s.page)(w, r)
	}))
	return mux
}

func (s *Server) handle(mux *http.ServeMux, method, path string, params []string, h http.HandlerFunc) {
	mux.HandleFunc(path, s.limit(s.requests, s.check(method, params, h)))
}

// limit lets no more than a number of requests through at once.
func (s *Server) limit(slots chan struct{}, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			h(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			writeError(w, &Error{Code: codeBusy, Text: "too many requests at once", Hint: "ask again", status: http.StatusServiceUnavailable})
		}
	}
}

// check refuses other methods, unknown parameters and bodies that are too large.
func (s *Server) check(method string, params []string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && !(r.Method == http.MethodHead && method == http.MethodGet) {
			w.Header().Set("Allow", method)
			writeError(w, &Error{Code: codeMethod, Text: r.URL.Path + " takes " + method, status: http.StatusMethodNotAllowed})
			return
		}
		if r.ContentLength != 0 {
			// What is left of a body is read after the answer: not for ever.
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTimeout))
			if r.ContentLength > maxBodyBytes {
				w.Header().Set("Connection", "close")
				writeError(w, &Error{Code: codeTooLarge, Text: "the body is too large", status: http.StatusRequestEntityTooLarge})
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		}
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			writeError(w, badRequest("the parameters cannot be read: %v", err))
			return
		}
		for name := range query {
			if !slices.Contains(params, name) {
				e := badRequest("unknown parameter %q", name)
				e.Hint = "it takes none"
				if len(params) > 0 {
					e.Hint = "it takes " + strings.Join(params, ", ")
				}
				writeError(w, e)
				return
			}
		}
		h(w, r)
	}
}

// checkHost refuses requests that a foreign web page sent to this machine's
// loopback address under a name of its own.
func checkHost(addr net.Addr, h http.Handler) http.Handler {
	if a, err := netip.ParseAddrPort(addr.String()); err != nil || !a.Addr().IsLoopback() {
		return h // meant for others, who may know it by any name
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			writeError(w, &Error{Code: codeHost, Text: "asked under a foreign host name", Hint: "use localhost or the address", status: http.StatusForbidden})
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *Server) statusNow(ctx context.Context) Status {
	st := s.opts.Source.Status(ctx)
	st.complete()
	return st
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, s.statusNow(r.Context()))
}

func (s *Server) servers(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, ServersOf(s.opts.Source.Status(r.Context())))
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	st := statsOf(s.opts.Source.Status(r.Context()), now, now.Sub(s.started))
	samples := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(samples)
	for i, field := range []*uint64{&st.Goroutines, &st.HeapBytes, &st.MemoryBytes} {
		if samples[i].Value.Kind() == metrics.KindUint64 {
			*field = samples[i].Value.Uint64()
		}
	}
	writeJSON(w, http.StatusOK, st)
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	if err := s.opts.Source.Stop(r.Context()); err != nil {
		writeError(w, errorOf(err))
		return
	}
	writeJSON(w, http.StatusAccepted, Stopping{Stopping: true, PID: os.Getpid()})
}

// ready answers at once, or when the node is ready, or when the wait is over.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	maxLag, wait := ^uint64(0), time.Duration(0)
	var err error
	if text := query.Get("max_lag"); text != "" {
		if maxLag, err = strconv.ParseUint(text, 10, 64); err != nil {
			writeError(w, badRequest("max_lag %q: must be a number of ops", text))
			return
		}
	}
	if text := query.Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 || wait > maxWait {
			writeError(w, badRequest("wait %q: must be a duration up to %s", text, maxWait))
			return
		}
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + writeTimeout))
	answer := s.waitReady(r.Context(), maxLag, wait)
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

func (s *Server) waitReady(ctx context.Context, maxLag uint64, wait time.Duration) Readiness {
	deadline := time.Now().Add(wait)
	for {
		ok, reason := s.opts.Source.Ready(ctx, maxLag)
		if ok {
			return Readiness{Ready: true}
		}
		left := time.Until(deadline)
		if left <= 0 || ctx.Err() != nil {
			return Readiness{Reason: reason}
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(left, readyPoll)):
		}
	}
}
