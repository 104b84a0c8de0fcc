package node

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"wolfdisk/hostdir"
	"wolfdisk/node/admin"
	"wolfdisk/volume"
)

// tellEveryReconcile is how often a reconcile says how far it has come.
const tellEveryReconcile = 500 * time.Millisecond

// reconcileVerb compares the real directory, or what is below a path in it, with the
// index while the node leads, and records what differs.
func (n *node) reconcileVerb(ctx context.Context, query url.Values, emit func(any) error) error {
	confirm := false
	if text := query.Get("confirm_deletes"); text != "" {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return admin.BadParam("confirm_deletes", text, "true or false")
		}
		confirm = v
	}
	st, l := n.storage(), n.leading()
	switch {
	case st != nil && st.dir == nil:
		return admin.Refused("WD-1408", "this node keeps chunks, not a real directory: nobody can have changed it", "run it on the node that leads")
	case l == nil:
		return admin.Refused("WD-1408", "this node does not lead: changes in its directory cannot be recorded", "run it on the node that leads")
	}
	path, parts, err := cleanPath(query.Get("path"))
	if err != nil {
		return err
	}
	if !n.reconciling.CompareAndSwap(false, true) {
		return volume.Errorf(volume.Busy, "a reconcile is running already: wait for its end")
	}
	defer n.reconciling.Store(false)
	files, _ := st.engine.Counts()
	p := n.beginProgress("reconciling", files, 0)
	defer n.endProgress(p)
	r := &reconciler{n: n, st: st, p: p, live: true, confirm: confirm, quietly: func(fn func(recordFunc) error) error {
		return l.AbsorbQuietly(func(record func(*volume.Op, []volume.LowerRecord) error) error { return fn(record) })
	}}
	told := time.Now()
	r.each = func() error {
		if now := time.Now(); now.Sub(told) >= tellEveryReconcile {
			told = now
			return emit(admin.ReconcileLine{Progress: p.show()})
		}
		return nil
	}
	r.tell = func(d hostdir.Difference) error {
		line := &admin.ReconcileDifference{Kind: d.Kind.String(), Fields: d.Fields.String()}
		if line.Path = d.Path; line.Path == "" {
			line.Path = "."
		}
		if !utf8.ValidString(line.Path) {
			line.RawPath, line.Path = []byte(line.Path), strings.ToValidUTF8(line.Path, "\uFFFD")
		}
		return emit(admin.ReconcileLine{Difference: line})
	}
	if err := n.reconcileBelow(ctx, r, parts); err != nil {
		if volume.KindOf(err) != volume.NotFound && strings.Contains(err.Error(), brakeCode) {
			return admin.Refused(brakeCode, strings.TrimPrefix(err.Error(), brakeCode+": "), "run wolfdiskctl reconcile --confirm-deletes if they were really deleted")
		}
		return err
	}
	if len(parts) == 0 && !r.unsettled { // what was noticed may lie elsewhere
		n.unwarn("WD-1401")
		n.unwarn(restlessCode)
	}
	if r.ops > 0 {
		n.log.Warn().Str("code", "WD-1403").Int("ops", r.ops).Str("path", path).Strs("among_them", r.shown).
			Msg("changes made behind the daemon: " + r.summary() + "; recorded as ops, followers get them")
	}
	err = emit(admin.ReconcileLine{Result: &admin.ReconcileResult{
		Path: path, Seconds: time.Since(p.begun).Seconds(), Names: p.done(), Differences: uint64(r.count), Ops: uint64(r.ops)}})
	if err == nil && r.unsettled {
		err = fmt.Errorf("%s is being changed behind the daemon all the time: what was found is recorded, and there may be more; run it again when that has ended", path)
	}
	return err
}

// cleanPath splits a path below the volume's root.
func cleanPath(text string) (path string, parts []string, err error) {
	for part := range strings.SplitSeq(text, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..", volume.CheckName(part) != nil:
			return "", nil, admin.BadParam("path", text, "a path below the root of the volume, without ..")
		}
		parts = append(parts, part)
	}
	if len(parts) > 0 && hostdir.IsReserved(volume.RootIno, parts[0]) {
		return "", nil, admin.BadParam("path", text, "a path in the volume: "+hostdir.Reserved+" is the daemon's own")
	}
	if len(parts) == 0 {
		return ".", nil, nil
	}
	return strings.Join(parts, "/"), parts, nil
}

// reconcileBelow reconciles the names on the way to a path, as far as the index knows
// them, and all that is below it. What is new on the way is recorded with all it holds.
func (n *node) reconcileBelow(ctx context.Context, r *reconciler, parts []string) error {
	if len(parts) == 0 {
		return r.run(ctx, scope{{}, {below: volume.RootIno}})
	}
	dir, path := volume.RootIno, ""
	for _, name := range parts {
		if err := r.run(ctx, scope{{parent: dir, name: name, path: path}}); err != nil {
			return err
		}
		e, err := r.st.engine.Entry(dir, name)
		switch {
		case err != nil && volume.KindOf(err) == volume.NotFound:
			if r.ops == 0 {
				return volume.Errorf(volume.NotFound, "%q: neither the volume nor the directory has it", path+name)
			}
			return nil
		case err != nil:
			return err
		case e.Type != volume.ModeDir:
			return nil
		}
		dir, path = e.Ino, path+name+"/"
	}
	return r.run(ctx, scope{{below: dir, path: path}})
}

// done is how many files were counted.
func (p *progress) done() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files
}
