package daemon

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Manager is the service manager that started this process, if it wants to hear how
// the process is: systemd, by the protocol of sd_notify(3), or whatever else binds the
// socket that NOTIFY_SOCKET names. Methods may be called concurrently, and on nil.
type Manager struct {
	addr     *net.UnixAddr
	watchdog time.Duration
	now      func() (time.Duration, error) // the monotonic clock, since the boot

	mu       sync.Mutex
	log      zerolog.Logger
	ready    bool
	stopping bool
	failed   bool   // the last message did not arrive
	status   string // the last one that was sent
}

// managerVars are the variables a manager sets for the one process it started.
var managerVars = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

// sendTimeout bounds how long a message waits for a manager that does not read.
const sendTimeout = 2 * time.Second

// newManager takes from the environment who wants to hear; nil if nobody does. An
// error means that the environment cannot be what a manager has set.
func newManager(environ []string, pid int) (*Manager, error) {
	vars := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		vars[name] = value
	}
	name := vars["NOTIFY_SOCKET"]
	if name == "" {
		return nil, nil
	}
	if len(name) < 2 || name[0] != '/' && name[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET %q: must be the path of a socket, or @ and an abstract name", name)
	}
	m := &Manager{addr: &net.UnixAddr{Name: name, Net: "unixgram"}, now: sinceBoot, log: zerolog.Nop()}
	if vars["WATCHDOG_USEC"] == "" || vars["WATCHDOG_PID"] != "" && vars["WATCHDOG_PID"] != strconv.Itoa(pid) {
		return m, nil
	}
	usec, err := strconv.ParseInt(vars["WATCHDOG_USEC"], 10, 64)
	if err != nil || usec <= 0 || usec > int64(1<<62/time.Microsecond) {
		return m, fmt.Errorf("WATCHDOG_USEC %q: must be a number of microseconds", vars["WATCHDOG_USEC"])
	}
	m.watchdog = time.Duration(usec) * time.Microsecond
	return m, nil
}

// Listens reports whether there is anybody to tell.
func (m *Manager) Listens() bool { return m != nil }

// Watchdog is how long the manager waits for Alive before it ends the process; 0 if it
// does not wait for it.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Ready says that the daemon does its work: its role is known and its mount usable.
// What comes after the first call, or while the daemon stops, is not sent.
func (m *Manager) Ready() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready || m.stopping {
		return
	}
	m.ready = true
	m.sendLocked("READY=1")
}

// Stopping says that the daemon has begun to stop.
func (m *Manager) Stopping() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		return
	}
	m.stopping = true
	m.sendLocked("STOPPING=1", "STATUS=stopping")
}

// Status describes in a line what the daemon is doing.
func (m *Manager) Status(text string) {
	if m == nil {
		return
	}
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == 0 {
			return ' '
		}
		return r
	}, text)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping || text == m.status {
		return
	}
	m.status = text
	m.sendLocked("STATUS=" + text)
}

// Alive says that the daemon is not stuck, if the manager wants to hear it.
func (m *Manager) Alive() {
	if m == nil || m.watchdog == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sendLocked("WATCHDOG=1")
}

// reloading frames a reload. Before the daemon is ready a manager waits for its first
// READY=1, which the end of a reload must not be taken for; while it stops there is
// nothing to come back to.
func (m *Manager) reloading(reload func()) {
	if m == nil {
		reload()
		return
	}
	m.mu.Lock()
	framed := m.ready && !m.stopping
	if framed {
		lines := []string{"RELOADING=1"}
		if t, err := m.now(); err == nil {
			lines = append(lines, "MONOTONIC_USEC="+strconv.FormatInt(t.Microseconds(), 10))
		} else {
			m.log.Warn().Err(err).Msg("could not read the monotonic clock for the service manager")
		}
		m.sendLocked(lines...)
	}
	m.mu.Unlock()
	reload()
	m.mu.Lock()
	defer m.mu.Unlock()
	if framed && !m.stopping {
		m.sendLocked("READY=1")
	}
}

// sendLocked sends a message, which a manager that has gone away does not get: then the
// daemon goes on, and says so once. The socket is looked up anew each time, because a
// manager that was restarted has bound another.
func (m *Manager) sendLocked(lines ...string) {
	err := m.write(strings.Join(lines, "\n"))
	if err != nil && !m.failed {
		// Whoever only waited for READY=1 is expected to leave.
		level := zerolog.WarnLevel
		if m.ready && lines[0] != "READY=1" {
			level = zerolog.DebugLevel
		}
		m.log.WithLevel(level).Err(err).Str("socket", m.addr.Name).Msg("could not tell the service manager")
	}
	m.failed = err != nil
}

func (m *Manager) write(text string) error {
	conn, err := net.DialUnix("unixgram", nil, m.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(text))
	return err
}
