package node

import (
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"wolfdisk/node/admin"
)

const (
	// strangerFor is how long a warning about an address stands after the last time it was
	// true: who is there tries again within seconds.
	strangerFor = time.Minute
	// maxStrangers bounds the warnings about addresses, which anybody can cause.
	maxStrangers = 16
)

// warnings are what status says to be not as it should be.
type warnings struct {
	mu     sync.Mutex
	states map[string]admin.Warning // by code, or by a known node's ID
	// strangers are by address: of one that is dialled, or the host that somebody without
	// a name came from. No session with a node takes these back for sure, so they expire.
	strangers map[string]strangerWarning
}

type strangerWarning struct {
	admin.Warning
	seen time.Time // last
}

// set notes a warning, and reports whether it is news.
func (w *warnings) set(key string, a admin.Warning) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.states == nil {
		w.states = map[string]admin.Warning{}
	}
	old := w.states[key].Code
	w.states[key] = a
	return old != a.Code
}

func (w *warnings) drop(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.states, key)
}

// stranger notes a warning about an address, and reports whether it is news.
func (w *warnings) stranger(where string, a admin.Warning, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	old, known := w.strangers[where]
	if !known && len(w.strangers) >= maxStrangers {
		return false
	}
	if w.strangers == nil {
		w.strangers = map[string]strangerWarning{}
	}
	w.strangers[where] = strangerWarning{a, now}
	return old.Code != a.Code
}

// known takes back what was said about an address: a node of the cluster is there.
func (w *warnings) known(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.strangers, addr)
	delete(w.strangers, hostOf(addr))
}

func (w *warnings) expire(now time.Time) {
	for where, s := range w.strangers {
		if now.Sub(s.seen) > strangerFor {
			delete(w.strangers, where)
		}
	}
}

// list is every warning that is true now, in an order that does not change.
func (w *warnings) list(now time.Time) (list []admin.Warning) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	for _, key := range slices.Sorted(maps.Keys(w.states)) {
		list = append(list, w.states[key])
	}
	for _, where := range slices.Sorted(maps.Keys(w.strangers)) {
		list = append(list, w.strangers[where].Warning)
	}
	return list
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// warn notes a state that wants attention; it stays in status until it is taken back, or the
// daemon ends.
func (n *node) warn(code, text, hint string) { n.warnAs(code, code, text, hint) }

// warnAs is warn for what can be so of several nodes at once; each has its key.
func (n *node) warnAs(key, code, text, hint string) {
	n.log.Warn().Str("code", code).Msg(text + "; " + hint)
	n.warnings.set(key, admin.Warning{Code: code, Text: text, Hint: hint})
}

// unwarn takes a warning back.
func (n *node) unwarn(code string) { n.warnings.drop(code) }

const seeLogs = "see the logs of both nodes"

// warnPeer notes why a node is not connected; it is taken back when it connects. One that was removed may
// never do so again: of it is warned as long as it tries.
func (n *node) warnPeer(id, code, text string) {
	if code == codeRemoved {
		n.warnings.drop("peer " + id)
		n.warnStranger("node "+id, code, text)
		return
	}
	if n.warnings.set("peer "+id, admin.Warning{Code: code, Text: text, Hint: seeLogs}) {
		n.log.Warn().Str("code", code).Str("peer", id).Msg(text)
	}
}

// warnStranger notes why there is no session with whoever is at an address.
func (n *node) warnStranger(where, code, text string) {
	if n.warnings.stranger(where, admin.Warning{Code: code, Text: text, Hint: seeLogs}, time.Now()) {
		n.log.Warn().Str("code", code).Str("address", where).Msg(text)
	}
}

// unwarnPeer takes back what was said about a node, and about the address of its session.
func (n *node) unwarnPeer(id, addr string) {
	n.warnings.drop("peer " + id)
	n.warnings.known("node " + id)
	n.warnings.known(addr)
}
