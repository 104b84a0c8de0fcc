package node

import (
	"context"
	"errors"
	"slices"
	"strings"

	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/node/exit"
	"wolfdisk/volume"
)

const (
	// maxRounds bounds the comparisons of a reconcile.
	maxRounds = 4096
	// restlessRounds is how often the same files, and nothing else, may have changed
	// again before somebody is taken to be writing to them all the time.
	restlessRounds = 3
	// portion is how many differences are kept in memory, those of missing names not
	// counted: more are found by another comparison.
	portion = 20_000
	// shownDifferences is how many differences a message lists.
	shownDifferences = 10
)

// reconcileStart turns into ops what the directory has and the index has not before
// anybody writes: edits made while the daemon was stopped or killed and, after a power loss, effects
// of ops whose end of the log was lost. It may be interrupted anywhere and
// is begun again by the next start.
func (n *node) reconcileStart(ctx context.Context, l *master.Leader) (settled bool, err error) {
	st := n.storage()
	if st.dir == nil {
		return true, nil
	}
	lost := n.recovery.lost()
	files, _ := st.engine.Counts()
	p := n.beginProgress("comparing", files, 0)
	defer n.endProgress(p)
	r := &reconciler{n: n, st: st, p: p, confirm: n.cfg.Insist.ConfirmDeletes, atStart: true}
	r.quietly = func(fn func(recordFunc) error) error { return fn(l.Absorb) }
	if n.recovery.pending() {
		r.suspects, r.base = n.recovery.Suspects, slices.Clone(n.recovery.Suspects)
	}
	whole := scope{{}, {below: volume.RootIno}}
	if err := r.run(ctx, whole); err != nil {
		return false, err
	}
	if r.ops == 0 {
		return !r.unsettled, nil
	}
	line := n.log.Warn().Int("ops", r.ops).Int("differences", r.count).Strs("among_them", r.shown)
	if lost {
		line.Str("code", "WD-1404").Msg("found in the directory after the power loss and recorded: changes that were never synced, or made since")
		return !r.unsettled, nil
	}
	line.Str("code", "WD-1403").Msg("the directory was changed while the daemon was stopped: " + r.summary() + "; recorded as ops, followers get them")
	return !r.unsettled, nil
}

// recordFunc records an op that says what the directory already is.
type recordFunc func(*volume.Op, []volume.LowerRecord) error

// scope is what a reconcile looks at: single names, and all below a directory.
type scope []scopePart

type scopePart struct {
	parent volume.Ino // of a name; 0 with no below: the root itself
	name   string
	path   string     // of the directory, with a slash at its end
	below  volume.Ino // a directory whose content is compared
}

// missing is a name that the directory lacks.
type missing struct {
	parent, ino volume.Ino
	name        string
}

// reconciler is one reconcile. It works in rounds of comparing and recording, for what
// is recorded may show more (what is in a new directory, a name that now leads to
// another file), until a comparison finds nothing.
type reconciler struct {
	n  *node
	st *storage
	p  *progress
	// quietly calls a function while no op is under way.
	quietly func(func(recordFunc) error) error
	live    bool                           // ops go on: what was found is looked at again when none is under way
	atStart bool                           // what is being recorded is remembered over a crash
	confirm bool                           // whatever is gone
	tell    func(hostdir.Difference) error // of what was recorded; may be nil
	each    func() error                   // between two directories; may be nil

	suspects []volume.Ino // not looked at yet
	base     []volume.Ino // suspects that stay such until the end
	before   []volume.Ino // what the last round found changed, in order
	restless int

	// touched are directories that got or lost names in this round.
	touched map[volume.Ino]struct{}

	count, ops int
	kinds      map[hostdir.DiffKind]int
	shown      []string
	files      uint64 // in the index when it began, without the root
	gone       uint64 // removed by this reconcile
	displaced  uint64 // gone with names that something else stands at
	unsettled  bool   // it ended though there may be more
}

// round is what one comparison found.
type round struct {
	byKind  map[hostdir.DiffKind][]hostdir.Difference
	missing []missing
	whole   bool // nothing was left out
}

var errPortion = errors.New("enough differences for one round")

// run reconciles what is in the scope.
func (r *reconciler) run(ctx context.Context, s scope) error {
	r.kinds, r.touched = map[hostdir.DiffKind]int{}, map[volume.Ino]struct{}{}
	r.files, _ = r.st.engine.Counts()
	r.files-- // the root
	for range maxRounds {
		// After a kill settling may show what a comparison could not tell from ops of ours.
		before, unlike := r.ops, r.st.dir.Unlike()
		found, err := r.compare(ctx, s)
		if err != nil {
			return err
		}
		if err := r.record(ctx, found); err != nil {
			return err
		}
		if err := r.dirTimes(ctx); err != nil {
			return err
		}
		if err := r.st.settle(); err != nil {
			return err
		}
		if r.ops == before && found.whole && !(r.atStart && r.st.dir.Unlike() > unlike) {
			return nil
		}
		if r.isRestless(found) {
			break
		}
		if err := r.st.log.Sync(ctx, r.st.log.Last().Version); err != nil {
			return err
		}
	}
	r.unsettled = true
	r.n.warn(restlessCode, "files in "+r.n.cfg.Volume.Dir+" are being changed behind the daemon all the time: "+strings.Join(r.shown, "; "),
		"stop whoever writes to the directory instead of the mount, then run wolfdiskctl reconcile")
	return nil
}

// restlessCode is the code of a directory that somebody changes all the time.
const restlessCode = "WD-1407"

// compare looks at all of the scope.
func (r *reconciler) compare(ctx context.Context, s scope) (*round, error) {
	f := &round{byKind: map[hostdir.DiffKind][]hostdir.Difference{}, whole: true}
	n := 0
	take := func(d hostdir.Difference) error {
		if d.Kind == hostdir.DiffMissing {
			f.missing = append(f.missing, missing{d.Parent, d.Ino, d.Name})
			return nil
		}
		f.byKind[d.Kind] = append(f.byKind[d.Kind], d)
		if n++; n >= portion {
			return errPortion
		}
		return nil
	}
	for _, part := range s {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := r.look(ctx, part, take); errors.Is(err, errPortion) {
			f.whole = false
			break
		} else if err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (r *reconciler) look(ctx context.Context, part scopePart, take func(hostdir.Difference) error) error {
	o := hostdir.CheckOptions{Live: r.live, Seen: func(path string, names int) { r.p.add(uint64(names), 0, "/"+path) }}
	if part.below == 0 {
		return r.st.dir.CheckName(ctx, r.st.engine, part.parent, part.name, part.path, o, take)
	}
	var failed error
	if r.each != nil {
		all, cancel := context.WithCancel(ctx)
		defer cancel()
		ctx = all
		count := o.Seen
		o.Seen = func(path string, names int) {
			count(path, names)
			if err := r.each(); err != nil && failed == nil {
				failed = err
				cancel()
			}
		}
	}
	err := r.st.dir.CheckBelow(ctx, r.st.engine, part.below, part.path, o, take)
	if failed != nil {
		return failed
	}
	return err
}

// record describes what was found: what has come before what has gone, so that a file
// that only moved stays the same inode; and what has gone only once nothing else is
// found, since what has come may lie below a name that is not seen yet.
//
// What is found is settled only afterwards: a settled file counts as one that
// was seen as the index has it.
func (r *reconciler) record(ctx context.Context, f *round) error {
	if err := r.brakeEarly(ctx, f); err != nil {
		return err
	}
	if err := r.remember(f.byKind[hostdir.DiffChanged]); err != nil {
		return err
	}
	changed := r.withSuspects(f.byKind[hostdir.DiffChanged])
	waits := !f.whole
	for _, d := range f.byKind[hostdir.DiffExtra] {
		left, err := r.arrived(ctx, d)
		if err != nil {
			return err
		}
		waits = waits || left
	}
	if err := r.brakeDisplaced(ctx, slices.Concat(f.byKind[hostdir.DiffType], f.byKind[hostdir.DiffReplaced])); err != nil {
		return err
	}
	for _, list := range [][]hostdir.Difference{changed, f.byKind[hostdir.DiffType], f.byKind[hostdir.DiffReplaced]} {
		for _, d := range list {
			waits = waits || d.Kind != hostdir.DiffChanged
			if err := r.describe(ctx, d); err != nil {
				return err
			}
		}
	}
	if waits {
		f.whole = f.whole && len(f.missing) == 0
		return nil
	}
	if err := r.brake(f.missing); err != nil {
		return err
	}
	for _, m := range f.missing {
		d := hostdir.Difference{Kind: hostdir.DiffMissing, Parent: m.parent, Name: m.name, Ino: m.ino, Path: r.pathOf(m.parent) + m.name}
		if err := r.describe(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// arrived records a name that has come and, if that is a directory, what is in it. left
// says that something in it was left to the next round.
func (r *reconciler) arrived(ctx context.Context, d hostdir.Difference) (left bool, err error) {
	todo := []hostdir.Difference{d}
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if err := r.describe(ctx, d); err != nil {
			return left, err
		}
		if d.Lower.Mode&volume.ModeType != volume.ModeDir {
			continue
		}
		e, err := r.st.engine.Entry(d.Parent, d.Name)
		if volume.KindOf(err) == volume.NotFound && err != nil || err == nil && e.Type != volume.ModeDir {
			left = true // something else has to move first
			continue
		}
		if err != nil {
			return left, err
		}
		err = r.look(ctx, scopePart{below: e.Ino, path: d.Path + "/"}, func(sub hostdir.Difference) error {
			if sub.Kind != hostdir.DiffExtra || len(todo) >= portion {
				left = true
				return nil
			}
			todo = append(todo, sub)
			return nil
		})
		if err != nil {
			return left, err
		}
	}
	return left, nil
}

// describe records one difference. It is looked at again first while ops go on, and if what was
// recorded before it may have moved what it is about.
func (r *reconciler) describe(ctx context.Context, d hostdir.Difference) error {
	before := r.ops
	err := r.quietly(func(record recordFunc) error {
		say := func(d hostdir.Difference) error {
			return r.st.dir.Describe(ctx, d, r.st.engine, r.st.engine.NewIno, func(op *volume.Op, lower []volume.LowerRecord) error {
				r.ops++
				return record(op, lower)
			})
		}
		stale := d.Kind == hostdir.DiffType || d.Kind == hostdir.DiffReplaced
		if !r.live && !stale || d.Parent == 0 && d.Ino != volume.RootIno {
			return say(d)
		}
		path := strings.TrimSuffix(d.Path, d.Name)
		return r.st.dir.CheckName(ctx, r.st.engine, d.Parent, d.Name, path, hostdir.CheckOptions{Live: r.live}, say)
	})
	if err != nil || r.ops == before {
		return err
	}
	if d.Parent != 0 && r.atStart {
		r.touched[d.Parent] = struct{}{}
	}
	r.count++
	r.kinds[d.Kind]++
	if len(r.shown) < shownDifferences {
		r.shown = append(r.shown, d.String())
	}
	r.n.log.Debug().Stringer("difference", d).Int("ops", r.ops-before).Msg("reconciled")
	if r.tell != nil {
		return r.tell(d)
	}
	return nil
}

// dirTimes gives the directories that names were recorded in the times they have below.
// While ops go on they get the time of the recording, as by any op.
func (r *reconciler) dirTimes(ctx context.Context) error {
	for ino := range r.touched {
		err := r.quietly(func(record recordFunc) error {
			return r.st.dir.DescribeTimes(ctx, ino, r.st.engine, func(op *volume.Op, lower []volume.LowerRecord) error {
				r.ops++
				return record(op, lower)
			})
		})
		if err != nil {
			return err
		}
	}
	clear(r.touched)
	return nil
}

// withSuspects adds the inodes that are to be recorded whole, whatever they look like. Of one
// that was found at several names one is enough.
func (r *reconciler) withSuspects(found []hostdir.Difference) []hostdir.Difference {
	known := map[volume.Ino]bool{}
	var changed []hostdir.Difference
	for _, d := range found {
		if !known[d.Ino] {
			known[d.Ino] = true
			changed = append(changed, d)
		}
	}
	for _, ino := range r.suspects {
		if !known[ino] {
			known[ino] = true
			changed = append(changed, hostdir.Difference{
				Kind: hostdir.DiffChanged, Ino: ino, Path: "inode " + ino.String(), Why: "its content may be half recorded, or was changed about when the power was lost"})
		}
	}
	r.suspects = nil
	return changed
}

// isRestless reports whether somebody changes the same files again and again: they are
// as they were a moment ago, and will not come to rest.
func (r *reconciler) isRestless(f *round) bool {
	var now []volume.Ino
	only := f.whole && len(f.missing) == 0
	for kind, list := range f.byKind {
		only = only && (kind == hostdir.DiffChanged || len(list) == 0)
		for _, d := range list {
			now = append(now, d.Ino)
		}
	}
	slices.Sort(now)
	again := only && len(now) > 0
	for _, ino := range now {
		if _, ok := slices.BinarySearch(r.before, ino); !ok {
			again = false
		}
	}
	r.before = now
	if r.restless++; !again {
		r.restless = 0
	}
	return r.restless >= restlessRounds
}

// pathOf is the path of a directory of the index, for messages.
func (r *reconciler) pathOf(dir volume.Ino) string {
	if path, _ := index.PathOf(r.st.engine.Names, dir); path != "" {
		return path + "/"
	}
	return ""
}

// summary counts what was found, in words.
func (r *reconciler) summary() string {
	var parts []string
	for kind := hostdir.DiffMissing; kind <= hostdir.DiffChanged; kind++ {
		if n := r.kinds[kind]; n > 0 {
			parts = append(parts, plural(n, kind.String()))
		}
	}
	return strings.Join(parts, ", ")
}

// recovered ends the recovery once directory and index agree and are on disk.
func (n *node) recovered(st *storage) error {
	if !n.recovery.pending() {
		return nil
	}
	if st.dir != nil && !n.between.Load() {
		if err := n.checkpointOf(st); err != nil {
			return err
		}
	}
	return n.recovery.end()
}

// postpone leaves what could not be settled to the next start, which looks at it again. Ops come
// now, so what was redone after a power loss must be on disk, and the next one is a new one.
func (n *node) postpone(st *storage) error {
	if err := n.checkpointOf(st); err != nil {
		return err
	}
	return n.recovery.reach(recoveryEdits)
}

// brakeCode is the code of a reconcile that would remove too much.
const brakeCode = "WD-1405"

// errBrake is the error of a reconcile that was stopped, with its exit code.
func errBrake(format string, args ...any) error {
	return exit.Errorf(exit.Unsafe, brakeCode+": "+format, args...)
}
