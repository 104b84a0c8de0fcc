package wire

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

const (
	// sameRefusal is how long the same complaint about the same host is not repeated.
	sameRefusal = time.Minute
	// maxRefusals bounds the hosts that are remembered, and so the lines a minute
	// that strangers can cause.
	maxRefusals = 128
)

// refusalLog writes one line per host and reason, and not a flood of them.
type refusalLog struct {
	log zerolog.Logger

	mu    sync.Mutex
	since time.Time
	seen  map[string]bool
}

func (l *refusalLog) refused(addr string, err error) {
	kind := volume.KindOf(err)
	if kind == volume.Interrupted {
		return // we are stopping
	}
	if errors.Is(err, ErrSelf) {
		return // the dialing side says so
	}
	r := refusalOf(err)
	host, _, serr := net.SplitHostPort(addr)
	if serr != nil {
		host = addr
	}
	if !l.first(host + r.Code + kind.Error()) {
		return
	}
	l.log.Warn().Str("code", r.Code).Str("addr", addr).Err(err).Msg("session refused")
}

func (l *refusalLog) first(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) > sameRefusal {
		l.since, l.seen = now, map[string]bool{}
	}
	if l.seen[key] || len(l.seen) >= maxRefusals {
		return false
	}
	l.seen[key] = true
	return true
}
