package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/node/admin"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

const (
	// holdTimeout is how long a node may take to stop where it is, and takeTimeout to
	// come to the version agreed on.
	holdTimeout = 10 * time.Second
	takeTimeout = time.Minute
	// endTimeout is how long letting go may take.
	endTimeout = 2 * time.Second
	// progressEvery is how often the asker is told how far it is.
	progressEvery = time.Second
	// shownVerify is how many differences status remembers.
	shownVerify = 20
)

// verifying is what a node has to do with comparisons.
type verifying struct {
	copies  copies
	running sync.Mutex // held by the comparison that this node leads
	last    atomic.Pointer[admin.VerifyResult]
	read    atomic.Pointer[progress] // counts content read here for it
}

// hashed counts content that was read here.
func (v *verifying) hashed(bytes int64) { v.read.Load().add(0, uint64(bytes), "") }

// verifyOptions are what is to be compared.
type verifyOptions struct {
	Path      []byte `json:"path"` // from the root; empty: everything
	NamesOnly bool   `json:"names_only"`
	// Connected leaves out the members that are not connected, which are otherwise
	// reported as not compared.
	Connected bool `json:"connected"`
}

func (n *node) verifyVerb(ctx context.Context, q url.Values, emit func(any) error) error {
	var opt verifyOptions
	for name, p := range map[string]*bool{"names_only": &opt.NamesOnly, "connected": &opt.Connected} {
		switch v := q.Get(name); v {
		case "", "false":
		case "true":
			*p = true
		default:
			return admin.BadParam(name, v, "true or false")
		}
	}
	opt.Path = []byte(n.inVolume(q.Get("path")))
	line := func(l admin.VerifyLine) error { return emit(l) }
	if n.leading() != nil {
		return n.compareAll(ctx, opt, line)
	}
	return n.askLeader(ctx, opt, line)
}

// inVolume is a path as the volume has it: one below the mount, or the leader's
// directory, may be given as it is seen from outside.
func (n *node) inVolume(p string) string {
	if p == "" {
		return ""
	}
	p = path.Clean("/" + p)
	for _, dir := range []string{n.cfg.Mount.Dir, n.cfg.Volume.Dir} {
		if dir == "" || dir == "/" {
			continue
		}
		if p == dir {
			return ""
		}
		if rest, ok := strings.CutPrefix(p, dir+"/"); ok {
			return rest
		}
	}
	return strings.TrimPrefix(p, "/")
}

// askLeader has the leader compare, and passes on what it says.
func (n *node) askLeader(ctx context.Context, opt verifyOptions, line func(admin.VerifyLine) error) error {
	s := n.leaderSession()
	if s == nil {
		return volume.Errorf(volume.Unavailable, "no leader is connected, and it is the leader that compares")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	body, err := json.Marshal(opt)
	if err != nil {
		return volume.Wrap(err, "ask the leader to compare")
	}
	a, err := s.Call(ctx, volume.RequestDigest, append(digestRequest(digestVerify, 0), body...))
	if err != nil {
		return err
	}
	defer a.Close()
	for {
		b, err := a.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var l admin.VerifyLine
		if err := json.Unmarshal(b, &l); err != nil {
			return volume.Errorf(volume.BadFormat, "the leader's answer: %w", err)
		}
		n.rememberVerify(l.Result)
		if l.Result != nil {
			l.Result.Shown = nil
		}
		if err := line(l); err != nil {
			return err
		}
	}
}

// rememberVerify keeps a result for status, until the daemon ends.
func (n *node) rememberVerify(r *admin.VerifyResult) {
	if r != nil {
		kept := *r
		n.verify.last.Store(&kept)
	}
}

// verifier is one comparison of all nodes, led by this one.
type verifier struct {
	n      *node
	opt    verifyOptions
	path   string
	base   *heldCopy
	mine   verifyCopy // whose content is compared: base, but in tests
	others []verifyCopy
	begun  time.Time

	names atomic.Uint64

	mu     sync.Mutex
	line   func(admin.VerifyLine) error
	failed error // of line: the asker is gone
	cancel context.CancelCauseFunc
	result admin.VerifyResult
}

// compareAll compares all nodes with this one, which leads, and says what it finds.
func (n *node) compareAll(ctx context.Context, opt verifyOptions, line func(admin.VerifyLine) error) error {
	if !n.verify.running.TryLock() {
		return volume.Errorf(volume.Busy, "a comparison is under way already: see wolfdiskctl status")
	}
	defer n.verify.running.Unlock()
	if n.ctx.Err() != nil {
		return volume.Errorf(volume.Closed, "the node is stopping")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(n.ctx, func() { cancel(volume.Errorf(volume.Closed, "the node is stopping")) })()
	v := &verifier{n: n, opt: opt, path: strings.Trim(string(opt.Path), "/"), begun: time.Now(), line: line, cancel: cancel}
	defer v.end()
	if err := v.agree(ctx); err != nil {
		return v.why(ctx, err)
	}
	v.result.Version = uint64(v.base.snap.Position().Version)
	v.result.Path, v.result.NamesOnly = v.path, opt.NamesOnly
	if err := v.compare(ctx); err != nil {
		return v.why(ctx, err)
	}
	return v.finish()
}

// why prefers what ended the comparison to what that made of a call.
func (v *verifier) why(ctx context.Context, err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failed != nil {
		return v.failed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (v *verifier) end() {
	var wg sync.WaitGroup
	for _, o := range v.others {
		wg.Add(1)
		go func() {
			defer wg.Done()
			o.end()
		}()
	}
	wg.Wait()
	if v.base != nil {
		v.base.end()
	}
}

// agree holds all nodes where they are, takes this one's index, and then theirs at the
// same version. Nobody waits for longer than the slowest takes to answer.
func (v *verifier) agree(ctx context.Context) error {
	sessions := v.sessions()
	held := make([]*remoteCopy, len(sessions))
	v.each(len(sessions), func(i int) {
		ctx, cancel := context.WithTimeout(ctx, holdTimeout)
		defer cancel()
		h, err := holdRemote(ctx, sessions[i])
		if err != nil {
			v.skipNode(sessions[i].Remote().NodeID, err.Error())
			return
		}
		held[i] = h
	})
	var from volume.Version
	for _, h := range held {
		if h != nil {
			v.others = append(v.others, h)
			from = max(from, h.at)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	base, err := v.n.ownCopy(wait, from, func(names uint64) { v.names.Add(names) })
	if err != nil {
		return err
	}
	v.base, v.mine = base, base
	at := base.snap.Position()
	taken := make([]bool, len(v.others))
	v.each(len(v.others), func(i int) {
		ctx, cancel := context.WithTimeout(ctx, takeTimeout)
		defer cancel()
		o := v.others[i].(*remoteCopy)
		d, err := o.take(ctx, at.Version)
		switch {
		case err != nil:
			v.skipNode(o.name(), err.Error())
		case d != at.Digest:
			v.differs("", "history", o.name(), "at version %d its ops are others than those of %s", at.Version, v.base.name())
			fallthrough
		default:
			taken[i] = true
		}
	})
	var others []verifyCopy
	for i, o := range v.others {
		if taken[i] {
			others = append(others, o)
		} else {
			o.end()
		}
	}
	v.others = others
	return ctx.Err()
}

// sessions are those with the nodes to be compared; members that are not there are
// reported.
func (v *verifier) sessions() (list []*wire.Session) {
	there := map[string]bool{v.n.cfg.Node.ID: true}
	for _, p := range v.n.peers.list() {
		if p.session == nil || p.hello.Role == volume.RoleClient || p.hello.Role == volume.RoleWitness {
			continue
		}
		there[p.hello.NodeID] = true
		list = append(list, p.session)
	}
	for _, m := range v.n.storage().engine.Members() {
		if !there[m.ID] && !m.Removed && !v.opt.Connected && m.Role != volume.RoleClient && m.Role != volume.RoleWitness {
			v.skipNode(m.ID, "not connected")
		}
	}
	return list
}

// each runs fn for 0 to n-1 at once and waits.
func (v *verifier) each(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			fn(i)
		}()
	}
	wg.Wait()
}

// compare compares names and attributes of all nodes, then content, and real directories
// beside both.
func (v *verifier) compare(ctx context.Context) error {
	var checks sync.WaitGroup
	defer checks.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	checks.Add(1)
	go func() {
		defer checks.Done()
		v.checkAll(ctx)
	}()
	files, bytes := v.base.snap.Counts()
	done := v.showProgress("verifying names", files, 0, func() uint64 { return v.names.Load() })
	err := v.compareNames(ctx)
	done()
	if err == nil && !v.opt.NamesOnly {
		done = v.showProgress("verifying content", files, bytes, nil)
		err = v.compareContent(ctx)
		done()
	}
	if err == nil {
		checks.Wait()
		err = ctx.Err()
	}
	return err
}

// showProgress shows a phase in status and tells the asker now and then, until the
// returned function is called.
func (v *verifier) showProgress(phase string, files, bytes uint64, count func() uint64) func() {
	if v.path != "" {
		files, bytes = 0, 0 // not known
	}
	p := v.n.beginProgress(phase, files, bytes)
	v.n.verify.read.Store(p)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(progressEvery)
		defer t.Stop()
		told := uint64(0)
		for {
			select {
			case <-stop:
				return
			case <-t.C:
			}
			if count != nil {
				now := count()
				p.add(now-told, 0, "")
				told = now
			}
			v.say(admin.VerifyLine{Progress: p.show()})
		}
	}()
	return func() {
		close(stop)
		<-stopped
		v.n.verify.read.Store(nil)
		v.n.endProgress(p)
	}
}

// checkAll compares real directories with their indexes.
func (v *verifier) checkAll(ctx context.Context) {
	all := append([]verifyCopy{v.base}, v.others...)
	v.each(len(all), func(i int) {
		c := all[i]
		err := c.check(ctx, func(path, what string) error {
			if v.below(path) {
				v.differs(path, "directory", c.name(), "the real directory: %s", what)
			}
			return ctx.Err()
		})
		if err != nil && ctx.Err() == nil {
			v.skipNode(c.name(), "its real directory could not be compared: "+err.Error())
		}
	})
}

// below reports whether a path is among what is compared.
func (v *verifier) below(path string) bool {
	path = strings.Trim(path, "/")
	return v.path == "" || path == v.path || strings.HasPrefix(path, v.path+"/")
}

// say sends a line. Once that has failed everything ends.
func (v *verifier) say(l admin.VerifyLine) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sayLocked(l)
}

func (v *verifier) sayLocked(l admin.VerifyLine) {
	if v.failed != nil {
		return
	}
	if err := v.line(l); err != nil {
		v.failed = err
		v.cancel(err)
	}
}

// differs reports a difference.
func (v *verifier) differs(path, kind, node, format string, args ...any) {
	d := admin.VerifyDifference{Kind: kind, Node: node, Detail: fmt.Sprintf(format, args...)}
	d.Path, d.RawPath = admin.PathText(path)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.Differences++
	if len(v.result.Shown) < shownVerify {
		v.result.Shown = append(v.result.Shown, d)
		v.n.log.Warn().Str("code", "WD-1410").Str("path", d.Path).Str("kind", kind).Str("node", node).Msg("the copies of the nodes differ: " + d.Detail)
	}
	v.sayLocked(admin.VerifyLine{Difference: &d})
}

// skip reports a file that could not be compared.
func (v *verifier) skip(path, node, reason string) {
	s := admin.VerifySkipped{Node: node, Reason: reason}
	s.Path, s.RawPath = admin.PathText(path)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.NotCompared++
	v.sayLocked(admin.VerifyLine{Skipped: &s})
}

// skipNode reports a node that could not be compared, once.
func (v *verifier) skipNode(node, reason string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, have := range v.result.Nodes {
		if have.ID == node {
			return
		}
	}
	v.result.NotCompared++
	v.result.Nodes = append(v.result.Nodes, admin.VerifyNode{ID: node, Reason: reason})
	v.sayLocked(admin.VerifyLine{Skipped: &admin.VerifySkipped{Node: node, Reason: reason}})
}

// skipped reports whether a node has been given up.
func (v *verifier) skipped(node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, have := range v.result.Nodes {
		if have.ID == node {
			return true
		}
	}
	return false
}

// finish says the result and remembers it.
func (v *verifier) finish() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := &v.result
	reasons := map[string]string{}
	for _, n := range r.Nodes {
		reasons[n.ID] = n.Reason
	}
	var nodes []admin.VerifyNode
	for _, c := range append([]verifyCopy{v.base}, v.others...) {
		if _, bad := reasons[c.name()]; !bad {
			nodes = append(nodes, admin.VerifyNode{ID: c.name(), Compared: true})
		}
	}
	r.Nodes = append(nodes, r.Nodes...)
	r.Time, r.Seconds, r.Names = time.Now().UTC(), time.Since(v.begun).Seconds(), v.names.Load()
	v.n.rememberVerify(r)
	said := *r
	said.Shown = nil
	v.sayLocked(admin.VerifyLine{Result: &said})
	return v.failed
}
