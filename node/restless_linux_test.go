package node

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/node/admin"
	"wolfdisk/volume"
)

func (m *machine) warned(code string) bool {
	for _, w := range m.n.warnings.list(time.Now()) {
		if w.Code == code {
			return true
		}
	}
	return false
}

// reconcile runs the verb; each is called with every difference.
func (m *machine) reconcile(path string, each func()) (res admin.ReconcileResult, err error) {
	m.t.Helper()
	err = m.n.reconcileVerb(context.Background(), url.Values{"path": {path}}, func(v any) error {
		l := v.(admin.ReconcileLine)
		if l.Difference != nil && each != nil {
			each()
		}
		if l.Result != nil {
			res = *l.Result
		}
		return nil
	})
	return res, err
}

// writer changes a file in the directory each time it is called.
func (m *machine) writer(name string) func() {
	i := 0
	return func() {
		i++
		m.must(os.WriteFile(m.in(name), bytes.Repeat([]byte("a"), i), 0o600))
	}
}

// TestReconcileWarnings: only a comparison of everything that came to its end takes the warning back
// that files were changed behind the daemon.
func TestReconcileWarnings(t *testing.T) {
	m := newMachine(t)
	m.must(m.lead(context.Background()))
	m.file(volume.RootIno, "a", "text")
	m.file(volume.RootIno, "b", "text")
	m.must(m.n.release())
	m.must(m.lead(context.Background()))
	m.n.warn("WD-1401", "changed", "")
	m.must(os.WriteFile(m.in("a"), []byte("other"), 0o600))
	if r, err := m.reconcile("b", nil); r.Differences != 0 || err != nil || !m.warned("WD-1401") {
		t.Errorf("of one path: %+v, %v, warned %v", r, err, m.warned("WD-1401"))
	}
	if r, err := m.reconcile("", m.writer("a")); err == nil || !m.warned("WD-1401") || !m.warned("WD-1407") {
		t.Errorf("with somebody who writes all the time: %+v, %v, warned %v %v", r, err, m.warned("WD-1401"), m.warned("WD-1407"))
	}
	if r, err := m.reconcile("", nil); err != nil || m.warned("WD-1401") || m.warned("WD-1407") {
		t.Errorf("of all: %+v, %v, warned %v %v", r, err, m.warned("WD-1401"), m.warned("WD-1407"))
	}
	m.agree()
	m.kill()
}

// TestRestlessStart: a start that found somebody writing all the time leaves what it could not settle
// to the next one, however the daemon is stopped.
func TestRestlessStart(t *testing.T) {
	ctx := context.Background()
	m := newMachine(t)
	m.must(m.lead(ctx))
	m.file(volume.RootIno, "a", "text")
	m.must(m.n.release())
	m.stop = m.writer("a")
	m.stop()
	m.must(m.lead(ctx))
	m.stop = nil
	if !m.warned("WD-1407") || m.n.recovery.Stage != recoveryEdits || len(m.n.recovery.Suspects) == 0 {
		t.Errorf("warned %v, recovery %+v", m.warned("WD-1407"), m.n.recovery)
	}
	m.must(m.n.release())
	m.must(m.lead(ctx))
	m.agree()
	m.again()
	m.kill()
}

// TestAttributesAfterKill: attributes that somebody gave a directory while the killed
// daemon was down are found at the next start, though the log touched it since the last
// checkpoint.
func TestAttributesAfterKill(t *testing.T) {
	ctx := context.Background()
	m := newMachine(t)
	m.must(m.lead(ctx))
	dir := m.mkdir(volume.RootIno, "d")
	m.file(dir, "f", "text")
	m.kill()
	m.must(unix.Lsetxattr(m.in("d"), "user.k", []byte("v"), 0))
	m.must(m.lead(ctx))
	m.agree()
	if got, err := m.n.leading().GetXattr(ctx, dir, "user.k"); err != nil || string(got) != "v" {
		t.Errorf("the volume has %q, %v", got, err)
	}
	m.again()
	m.kill()
}
